"""What other people and the platform do to machines, at whatever moment.

Each happens now, also in the middle of an operation, without a request and without a right: a
person in the portal, another automation, Azure itself. An `Action` is how it is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from azsim import power, throttling
from azsim.arcguest import ArcGuest
from azsim.fleet import ArcStatus, Model, PowerState
from azsim.http import ArmError
from azsim.operations import Operation
from azsim.patching import Kind, begin, check_ready, patch_limits
from azsim.selection import parse_install
from azsim.virtualmachine import VirtualMachine

if TYPE_CHECKING:
    from azsim.cloud import Cloud
    from azsim.machine import Machine


class By(StrEnum):
    """Who begins a foreign operation: a colleague in the portal, or Azure by itself."""

    COLLEAGUE = "Colleague"
    PLATFORM = "Platform"


_NAMES = {By.COLLEAGUE: ("a colleague", "User"), By.PLATFORM: ("the platform", "Platform")}
"""Who → the journal's principal, and `startedBy` of Resource Graph's rows."""


class Deed(StrEnum):
    """What can be done to a machine. rebuild makes it anew under its name, with a new vmId."""

    STOP = "stop"
    DEALLOCATE = "deallocate"
    START = "start"
    DELETE = "delete"
    REBUILD = "rebuild"
    LOSE_AGENT = "loseAgent"
    AGENT_BACK = "agentBack"
    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"
    ASSESS = "assess"
    INSTALL = "install"


class Action(Model):
    """One thing done to one machine now.

    `machine` is a resource id or a name that only one machine has. `by` is whose assess or install
    it is. `body` is that of installPatches, and install needs it.

    `disconnect` cuts an Arc-enabled server off, which Azure knows at once, and `reconnect` ends
    that; a virtual machine has neither. `loseAgent` and `agentBack` do the same to a server, and
    Azure notices later. `stop` and `start` switch a server off and on; nobody deallocates one.
    """

    machine: str = Field(min_length=1)
    action: Deed
    by: By = By.COLLEAGUE
    body: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.action is Deed.INSTALL and self.body is None:
            raise ValueError("install needs a body, that of installPatches")
        if self.action is not Deed.INSTALL and self.body is not None:
            raise ValueError("body goes with install only")
        if self.action not in (Deed.ASSESS, Deed.INSTALL) and "by" in self.model_fields_set:
            raise ValueError("by goes with assess and install only")
        return self


class Meddling:
    """The deeds, by a machine's id or its name. Each raises LookupError for no such machine."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def do(self, action: Action) -> str | None:
        """What an `Action` says; the id of the operation, if it began one.

        LookupError; ArmError 400 for what is not done to such a machine, or if Azure would refuse
        the operation.
        """
        if action.action is Deed.ASSESS:
            return self.assess(action.machine, by=action.by)
        if action.action is Deed.INSTALL:
            return self.install(action.machine, action.body or {}, by=action.by)
        deeds: Mapping[Deed, Callable[[str], object]] = {
            Deed.STOP: self.stop,
            Deed.DEALLOCATE: self.deallocate,
            Deed.START: self.start,
            Deed.DELETE: self.delete,
            Deed.REBUILD: self.rebuild,
            Deed.LOSE_AGENT: self.lose_agent,
            Deed.AGENT_BACK: self.agent_back,
            Deed.DISCONNECT: self.disconnect,
            Deed.RECONNECT: self.reconnect,
        }
        deeds[action.action](action.machine)
        return None

    def stop(self, machine: str) -> None:
        """Shut it down; it keeps its place."""
        found = self._find(machine)
        if isinstance(found, VirtualMachine):
            power.stop(self._cloud, found, PowerState.STOPPED)
        else:
            self._arc(found, Deed.STOP).switch_off()

    def deallocate(self, machine: str) -> None:
        """Shut it down and give its place back."""
        found = self._find(machine)
        if not isinstance(found, VirtualMachine):
            raise _senseless(Deed.DEALLOCATE, found)
        power.stop(self._cloud, found, PowerState.DEALLOCATED)

    def start(self, machine: str) -> None:
        """Start it."""
        found = self._find(machine)
        if isinstance(found, VirtualMachine):
            power.start(self._cloud, found)
        else:
            self._arc(found, Deed.START).switch_on()

    def disconnect(self, machine: str) -> None:
        """An Arc-enabled server is cut off, and Azure knows at once."""
        self._arc(self._find(machine), Deed.DISCONNECT).disconnect()

    def reconnect(self, machine: str) -> None:
        """An Arc-enabled server is connected again. ArmError 400 for one that is Expired."""
        guest = self._arc(self._find(machine), Deed.RECONNECT)
        if guest.machine.status is ArcStatus.EXPIRED:
            raise ArmError(
                400,
                "InvalidAction",
                f"'{machine}' is Expired: it has to be onboarded anew, which is rebuild.",
            )
        guest.reconnect()

    def delete(self, machine: str) -> None:
        """Delete it."""
        self._cloud.remove_machine(self._find(machine))

    def rebuild(self, machine: str) -> str:
        """Delete it and make it anew under its name, as the fleet file has it; the new vmId."""
        return power.rebuild(self._cloud, self._find(machine)).vm_id

    def lose_agent(self, machine: str) -> None:
        """Its agent goes silent, until `agent_back` or a start."""
        self._cloud.guest(self._find(machine)).lose_agent()

    def agent_back(self, machine: str) -> None:
        """Its agent reports again, if it was lost."""
        self._cloud.guest(self._find(machine)).agent_back()

    def assess(self, machine: str, *, by: By = By.COLLEAGUE) -> str:
        """Somebody else's assessment; the operation's id. ArmError 409, 429 if it is refused."""
        found = self._find(machine)
        operation = self._begin(found, "Assess", by, {})
        self._cloud.guest(found).assess(operation)
        return operation.id

    def install(self, machine: str, body: Mapping[str, Any], *, by: By = By.COLLEAGUE) -> str:
        """Somebody else's installation, with the body of installPatches; the operation's id.

        ArmError 400 for a body that Azure refuses, 409 and 429 as for any installation.
        """
        found = self._find(machine)
        install = parse_install(dict(body), found.os_type)
        operation = self._begin(found, "Install", by, body)
        self._cloud.guest(found).install(operation, install)
        return operation.id

    def _begin(self, machine: Machine, kind: Kind, by: By, body: Mapping[str, Any]) -> Operation:
        cloud = self._cloud
        check_ready(cloud, machine)
        principal, started_by = _NAMES[by]
        # The budget of the machine and the region is everyone's.
        throttling.charge(
            cloud.buckets,
            cloud.now,
            machine.subscription_id.lower(),
            principal,
            throttling.WRITES,
            *patch_limits(machine),
        )
        return begin(cloud, machine, kind, principal=principal, started_by=started_by, body=body)

    def _arc(self, machine: Machine, deed: Deed) -> ArcGuest:
        guest = self._cloud.guest(machine)
        if not isinstance(guest, ArcGuest):
            raise _senseless(deed, machine)
        return guest

    def _find(self, machine: str) -> Machine:
        self._cloud.catch_up()
        wanted = machine.lower()
        if (by_id := self._cloud.machines.get(wanted)) is not None:
            return by_id
        found = [each for each in self._cloud.machines.values() if each.name.lower() == wanted]
        if len(found) != 1:
            raise LookupError(f"{len(found)} machines are called {machine!r}, not one")
        return found[0]


def _senseless(deed: Deed, machine: Machine) -> ArmError:
    kind = "a virtual machine" if isinstance(machine, VirtualMachine) else "an Arc-enabled server"
    return ArmError(400, "InvalidAction", f"'{machine.name}' is {kind}: no {deed} for it.")
