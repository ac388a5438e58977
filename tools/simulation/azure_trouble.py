"""What goes wrong in Azure, and what others do to its machines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from azsim.arcmachine import ArcMachine
from azsim.faults import Fault, azure_away, sign_in_down
from azsim.fleet import Patch
from azsim.http import ArmError
from azsim.meddling import By, Meddling
from simulation import fleets
from simulation.maker import MINUTE, Maker
from simulation.world import World


class AzureTrouble(Maker):
    """Faults of azsim's, and meddling with its machines."""

    def __init__(self, world: World, random: Random) -> None:
        super().__init__(world, random)
        self._meddling = Meddling(world.cloud)

    def fault(self, **fields: Any) -> None:
        """A fault of azsim's, until it has struck, or for an hour."""
        made = Fault(**{"lasts": timedelta(hours=1), **fields})
        self.world.cloud.faults.add(made)

    def request(self, machine: str) -> dict[str, Any]:
        """Which requests about the machine: mostly those of the protocol."""
        operation = self.random.choice(
            ("assessPatches", "installPatches", "getMachine", "getOperation", "query", "query")
        )
        count = self.random.choice((1, 1, 2, 4))
        if operation == "query":
            return {"operation": operation, "count": count}
        return {"operation": operation, "machine": machine, "count": count}

    def error_status(self, machine: str) -> None:
        """Azure answers with an error."""
        status = self.random.choice((400, 401, 403, 404, 409, 412, 429, 500, 502, 503, 504))
        fields: dict[str, Any] = {"status": status}
        if status in (429, 503) and self.random.random() < 0.7:
            fields["retry_after"] = timedelta(seconds=self.random.randint(1, 300))
        self.fault(**self.request(machine), **fields)

    def lost_request(self, machine: str) -> None:
        """The connection ends before the request is processed."""
        self.fault(**self.request(machine), drop="Before")

    def lost_answer(self, machine: str) -> None:
        """The connection ends after it is."""
        operation = self.random.choice(("assessPatches", "installPatches", "getOperation"))
        self.fault(operation=operation, machine=machine, count=1, drop="After")

    def slow(self, machine: str) -> None:
        """A request takes long to arrive, or its answer to come back."""
        there, back = self.random.choice(((30, 0), (0, 30), (0, 90), (50, 50)))
        delay = {"request": timedelta(seconds=there), "answer": timedelta(seconds=back)}
        self.fault(**self.request(machine), delay=delay)

    def garbage(self, machine: str) -> None:
        """An answer that is none."""
        kind = self.random.choice(("Html", "Truncated", "Empty"))
        strip = self.random.random() < 0.5
        self.fault(**self.request(machine), garbage=kind, strip_headers=strip)

    def away(self, machine: str) -> None:
        """All of Azure, for ten minutes."""
        self.world.cloud.faults.add(azure_away(10 * MINUTE))

    def sign_in(self, machine: str) -> None:
        """Nobody gets a token, and those that are out are refused."""
        status = self.random.choice((503, 401, None))
        self.world.cloud.faults.add(sign_in_down(15 * MINUTE, status))
        self.fault(operation="getMachine", machine=machine, status=401, count=1)

    def graph_frozen(self, machine: str) -> None:
        """Resource Graph stands still."""
        self.fault(graph="Frozen", lasts=self.random.randint(5, 90) * MINUTE)

    def graph_stale(self, machine: str) -> None:
        """A replica shows what was."""
        self.fault(graph="Stale", machine=machine, lasts=self.random.randint(5, 120) * MINUTE)

    def graph_missing(self, machine: str) -> None:
        """Rows are missing: a machine's, or everything."""
        fields: dict[str, Any] = {"rows": self.random.choice(("Machine", "Patches", "All"))}
        if self.random.random() < 0.7:
            fields["machine"] = machine
        self.fault(graph="Missing", lasts=self.random.randint(5, 90) * MINUTE, **fields)

    def stop_machine(self, machine: str) -> None:
        """Somebody stops it, and starts it again."""
        with suppress(LookupError, ArmError):
            self._meddling.stop(machine)
            self.later(5 * MINUTE, 90 * MINUTE, lambda: self._start(machine))

    def _start(self, machine: str) -> None:
        with suppress(LookupError, ArmError):
            self._meddling.start(machine)

    def delete_machine(self, machine: str) -> None:
        """Somebody deletes it."""
        with suppress(LookupError, ArmError):
            self._meddling.delete(machine)

    def rebuild_machine(self, machine: str) -> None:
        """Somebody deletes it and makes another one under its name."""
        with suppress(LookupError, ArmError):
            self._meddling.rebuild(machine)

    def lose_agent(self, machine: str) -> None:
        """Its agent falls silent."""
        with suppress(LookupError, ArmError):
            self._meddling.lose_agent(machine)
            self.later(5 * MINUTE, 60 * MINUTE, lambda: self._agent_back(machine))

    def _agent_back(self, machine: str) -> None:
        with suppress(LookupError, ArmError):
            self._meddling.agent_back(machine)

    def disconnect(self, machine: str) -> None:
        """An Arc-enabled server is cut off, for minutes or for hours; what its guest does goes on,
        and Azure hears of it when it is back, or never."""
        machine = self._server(machine)
        with suppress(LookupError, ArmError):
            if self.random.random() < 0.5:
                self._meddling.disconnect(machine)
            else:
                self._meddling.lose_agent(machine)
            self.later(
                5 * MINUTE,
                self.random.choice((40, 400)) * MINUTE,
                partial(self._reconnect, machine),
            )

    def _reconnect(self, machine: str) -> None:
        with suppress(LookupError, ArmError):
            self._meddling.reconnect(machine)

    def _server(self, machine: str) -> str:
        """It, if it is an Arc-enabled server, or one that there is; there are few of them."""
        machines = self.world.cloud.machines
        servers = [key for key in sorted(machines) if isinstance(machines[key], ArcMachine)]
        return machine if machine in servers or not servers else self.random.choice(servers)

    def foreign_assessment(self, machine: str) -> None:
        """A colleague, or the platform, assesses it."""
        self._foreign(machine, self.assess)

    def foreign_install(self, machine: str) -> None:
        """A colleague, or the platform, installs on it."""
        self._foreign(machine, self.install)

    def _foreign(self, machine: str, act: Callable[[str], None]) -> None:
        """Once on a virtual machine. On a server, where what others do is seen late and by its rows
        alone, they are at it for longer."""
        if self.random.random() < 0.4:
            machine = self._server(machine)
        act(machine)
        if not isinstance(self.world.cloud.machines.get(machine), ArcMachine):
            return
        for _ in range(6):
            again = self.random.choice((self.assess, self.install))
            seconds = self.random.uniform(60, 5400)
            self.world.loop.call_later(
                seconds, self._unless_over, again, machine, context=Context()
            )

    def _unless_over(self, act: Callable[[str], None], machine: str) -> None:
        if not self.over:
            act(machine)

    def assess(self, machine: str) -> None:
        """Somebody's assessment, if Azure takes it."""
        with suppress(LookupError, ArmError):
            self._meddling.assess(machine, by=self._somebody())

    def install(self, machine: str) -> None:
        """Somebody's install, if Azure takes it."""
        with suppress(LookupError, ArmError):
            self._meddling.install(machine, self._body(machine), by=self._somebody())

    def _somebody(self) -> By:
        return self.random.choice((By.COLLEAGUE, By.PLATFORM))

    def _body(self, machine: str) -> dict[str, Any]:
        os_type = self.world.cloud.machines[machine].os_type.value.lower()
        return {
            "maximumDuration": "PT1H",
            "rebootSetting": self.random.choice(("IfRequired", "Never")),
            f"{os_type}Parameters": {"classificationsToInclude": ["Critical", "Security"]},
        }

    def new_patches(self, machine: str) -> None:
        """Patches are published."""
        found = self.world.cloud.machines.get(machine)
        if found is not None:
            windows = found.os_type.value == "Windows"
            number = self.random.randint(100, 999)
            found.missing.append(
                Patch.model_validate(fleets.patch(self.random, number, windows=windows))
            )
