"""Machines that carry out what runs send to them, as time passes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from fakes import (
    DAY,
    MINUTE,
    PATCH,
    START,
    World,
    assessment_row,
    machine,
    numbered,
)

from azpatch.api.run import PatchRun
from azpatch.api.target import RunEntry
from azpatch.azure.port import AzureError, Progress, Retry
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    InstalledPatch,
    RebootStatus,
)
from azpatch.domain.ids import key
from azpatch.kube.port import (
    PATCH_TARGET,
)

EVENING = {"name": "evening", "daily": {}, "startTime": "18:00", "duration": "4h"}
"""It is noon, UTC, on a Monday."""
LASTS = 4 * MINUTE
FIRST, SECOND_RUN = "web-linux-202611231800", "web-linux-202611241800"
CANARY = {"name": "canary", "machines": 1, "soak": "1h"}
REST = {"name": "rest", "machines": "100%"}


class Fleet:
    """Machines that carry out what is sent to them, and note what must not happen."""

    def __init__(self, count: int = 4, waves: Collection[dict[str, Any]] = (), **rollout: Any):
        self.world = World()
        self._running: dict[str, tuple[str, str, datetime]] = {}
        self.installs: list[tuple[str, datetime]] = []
        """(machine, when it was sent)"""
        self.collisions = 0
        self.broken: Callable[[str], bool] = lambda _machine: False
        """On which an install fails."""
        self.brought: tuple[InstalledPatch, ...] | None = None
        """What an install brings, as Resource Graph has it."""
        self.lag = timedelta(0)
        """How late the rows of an assessment's counts are in Resource Graph; those of its patches
        are late by as much again."""
        self._late: list[tuple[datetime, Callable[[], None]]] = []
        self.dead = False
        self._refuses_until = START
        self.patched: set[str] = set()
        self.world.azure.post = self.post
        for number in range(1, count + 1):
            self.add(number)
        self.rollout = {"maxUnavailable": "100%", "waves": list(waves), **rollout}
        self.scheduled(EVENING)

    def add(self, number: int, **changes: Any) -> None:
        """A machine that misses a patch, as others' assessment of a moment ago found."""
        id_ = numbered(number)
        self.world.azure.add(machine(id=id_, vm_id=f"vm-{number}", **changes))
        now = self.world.clock.now()
        row = {"start_time": now - 2 * MINUTE, "last_modified": now - MINUTE}
        self.world.due(id_, **(row if now > START else {}))

    def scheduled(self, *windows: dict[str, Any], **more: Any) -> None:
        """The policy: all Linux machines of the subscription, in these windows."""
        spec = {
            "target": {"selector": {"azureSubscriptions": ["prod"]}},
            "assessment": {"maxAge": "168h"},
            "schedule": {"windows": list(windows)},
            "rollout": self.rollout,
            **more,
        }
        self.world.policy(**spec)

    def refuses_until(self, time: datetime) -> None:
        """Azure takes no operation before."""
        self._refuses_until = time

    def post(self, machine_id: str) -> AzureError | None:
        if self.dead:
            return Retry("Dead", "It never got out.")
        id_, now = key(machine_id), self.world.clock.now()
        if now < self._refuses_until:
            return Retry("Busy", "Come again later.")
        self.collisions += id_ in self._running
        kind, _, _ = self.world.azure.posts[-1]
        operation = f"op-{len(self.world.azure.posts)}"
        self._running[id_] = (kind, operation, now)
        if kind == "Install":
            self.installs.append((name(id_), now))
        self._show(id_, kind, operation, GuestStatus.IN_PROGRESS)
        return None

    def tick(self) -> None:
        """Ends what has run for long enough."""
        now = self.world.clock.now()
        for due, arrives in list(self._late):
            if due <= now:
                arrives()
                self._late.remove((due, arrives))
        for id_, (kind, operation, since) in list(self._running.items()):
            if now - since < LASTS:
                continue
            del self._running[id_]
            failed = kind == "Install" and self.broken(name(id_))
            status = GuestStatus.FAILED if failed else GuestStatus.SUCCEEDED
            if kind == "Install" and not failed:
                self.patched.add(id_)
            self._show(id_, kind, operation, status)

    def _show(self, id_: str, kind: str, operation: str, status: GuestStatus) -> None:
        azure, now = self.world.azure, self.world.clock.now()
        ends = status is not GuestStatus.IN_PROGRESS
        if kind == "Assess":
            missing = 0 if id_ in self.patched else 1
            assessed = AssessmentResult(
                status, start_time=now, last_modified=now, activity_id=operation
            )
            azure.change(id_, assessment=assessed)
            if ends:
                azure.operations[operation] = Progress(False, assessment=assessed)
                row = assessment_row(
                    start_time=now - LASTS, last_modified=now, critical_and_security=missing
                )
                self._later(self.lag, azure.rows, id_, row)
                self._later(2 * self.lag, azure.patches, id_, (PATCH,) * missing)
            return
        bad = status is GuestStatus.FAILED
        installed = InstallationResult(
            status,
            last_modified=now,
            activity_id=operation,
            installed=1,
            failed=int(bad),
            reboot_status=RebootStatus.NOT_NEEDED,
            patches=self.brought,
        )
        azure.change(id_, installation=installed)
        azure.install_rows[id_] = installed
        if ends:
            azure.operations[operation] = Progress(False, installation=installed)

    def _later(self, by: timedelta, rows: dict[str, Any], id_: str, row: Any) -> None:
        if by:
            arrives = partial(rows.__setitem__, id_, row)
            self._late.append((self.world.clock.now() + by, arrives))
        else:
            rows[id_] = row

    async def passes(self, by: timedelta) -> None:
        """Time, minute by minute."""
        end = self.world.clock.now() + by
        while self.world.clock.now() < end:
            await self.world.passes(min(MINUTE, end - self.world.clock.now()))
            self.tick()

    async def until(self, hour: int, minute: int = 0, day: int = 0) -> None:
        """That time of the day, or of one after it."""
        at = START.replace(hour=hour, minute=minute) + day * DAY
        await self.passes(at - self.world.clock.now())

    def entries(self) -> dict[str, RunEntry]:
        """The parts of the machines in runs."""
        found = {}
        for raw in self.world.kube.all(PATCH_TARGET):
            entry = self.world.status(raw["spec"]["machineId"]).run
            if entry is not None:
                found[name(raw["spec"]["machineId"])] = entry
        return found

    def states(self) -> dict[str, str]:
        return {machine: str(entry.state) for machine, entry in self.entries().items()}

    def wave(self, wave: str) -> set[str]:
        """Machines in it."""
        return {machine for machine, entry in self.entries().items() if entry.wave == wave}

    @property
    def run(self) -> PatchRun:
        """The only one."""
        (run,) = self.world.runs()
        return run

    @property
    def seen(self) -> tuple[str | None, str]:
        """Phase of the only run, and the reason of its Ready."""
        status = self.run.status
        ready = next(one for one in status.conditions if one.type == "Ready")
        return status.phase, ready.reason

    def began(self) -> dict[str, datetime]:
        """When the first install of each machine did."""
        found: dict[str, datetime] = {}
        for machine_name, at in self.installs:
            found.setdefault(machine_name, at)
        return found


def name(machine_id: str) -> str:
    return machine_id.rsplit("/", 1)[-1]
