"""What one machine is given in a run whose patchSet is Pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from azpatch.api.common import MachineKind, OsType
from azpatch.api.install import Install
from azpatch.api.patch_set import SYSTEM_LONGEST
from azpatch.api.reasons import Reason
from azpatch.api.rollout import PatchSetMode
from azpatch.api.run import Effective
from azpatch.domain.facts import Machine
from azpatch.domain.run_entry import Hold, Part
from azpatch.domain.selection import Selection, install_parameters
from azpatch.domain.words import at


@dataclass(frozen=True, slots=True)
class PublishedUntil:
    """A Windows machine: of what the policy selects, what was published until then."""

    time: datetime


@dataclass(frozen=True, slots=True)
class Exactly:
    """A Linux machine of a later wave: these, whatever else the policy selects."""

    run: str
    packages: tuple[str, ...]
    """`name=version` of each."""


@dataclass(frozen=True, slots=True)
class NotVouchedFor:
    """A Linux machine of a later wave, of a distribution and version that the first did not have,
    or of none that is known."""

    run: str
    system: str | None


Pins = PublishedUntil | Exactly | NotVouchedFor


def pinned(effective: Effective) -> bool:
    """The run's patchSet is Pinned."""
    return effective.rollout.patch_set is PatchSetMode.PINNED


def system_of(machine: Machine) -> str | None:
    """Distribution and version of a Linux machine, as its agent reports them, in lower case; None:
    it has not, or the machine is no Linux machine."""
    if machine.os_type is not OsType.LINUX:
        return None
    if machine.kind is MachineKind.ARC_SERVER:
        words = machine.os_sku or ""
    elif machine.os_name and machine.os_version:
        words = f"{machine.os_name} {machine.os_version}"
    else:
        return None
    return " ".join(words.lower().split())[:SYSTEM_LONGEST] or None


def system_for(part: Part, machine: Machine) -> str | None:
    """The same, where the run that is under way goes by it."""
    if part.run is None or not pinned(part.run.effective):
        return None
    return system_of(machine)


def pins_of(part: Part, machine: Machine) -> Pins | None:
    """What its run pins for the machine; None: nothing, and it is given what the policy selects."""
    run, entry = part.mine, part.entry
    if run is None or entry is None or not pinned(run.effective):
        return None
    known = run.effective.patch_set
    if known is None:
        return None
    if machine.os_type is OsType.WINDOWS:
        until = known.max_patch_publish_date
        return PublishedUntil(until) if until is not None else None
    if known.linux is None or entry.wave == known.linux.wave:
        return None
    system = entry.system or system_of(machine)
    packages = next((one.packages for one in known.linux.systems if one.name == system), None)
    if packages is None:
        return NotVouchedFor(run.name, system)
    return Exactly(run.name, packages)


def parameters(install: Install, os_type: OsType, pins: Pins | None) -> dict[str, object] | None:
    """The body of installPatches. None: the policy selects nothing for this operating system."""
    body = install_parameters(install, os_type)
    match pins:
        case PublishedUntil(time) if install.windows is not None:
            windows = install.windows.replace(max_patch_publish_date=time)
            return install_parameters(install.replace(windows=windows), os_type)
        case Exactly(_, packages) if body is not None:
            # No classification: the guest would take what it has of those, in its newest version.
            kept = _excluding(body["linuxParameters"])
            return body | {"linuxParameters": {"packageNameMasksToInclude": [*packages], **kept}}
        case _:
            return body


def _excluding(linux: object) -> Mapping[str, object]:
    assert isinstance(linux, dict)
    return {name: masks for name, masks in linux.items() if name == "packageNameMasksToExclude"}


def withheld(pins: Pins | None, selection: Selection, *, reboot: bool) -> Hold | None:
    """Why the machine, though it is due, is given nothing in its run; None: it is. `reboot`: it
    waits for one that the policy would perform."""
    match pins:
        case NotVouchedFor(run, system):
            whose = f"has {system}" if system else "does not say which distribution it has"
            return (
                Reason.SYSTEM_NOT_PINNED,
                f"The machine {whose}, and no machine of the first wave of PatchRun {run} that "
                "succeeded does: nothing vouches for what it would be given. See that the first "
                "wave has one.",
            )
        case Exactly(run, packages) if not packages or not (reboot or _misses(packages, selection)):
            return (
                Reason.NOTHING_PINNED,
                f"The machine misses nothing of what the first wave of PatchRun {run} was given. "
                "What it does miss is for the next run.",
            )
        case PublishedUntil(time) if not (reboot or _published(time, selection)):
            return (
                Reason.NOTHING_PINNED,
                f"What the machine misses was published after {at(time)}, up to when its PatchRun "
                "installs. It is for the next run.",
            )
    return None


def _misses(packages: tuple[str, ...], selection: Selection) -> bool:
    """By name: an assessment tells the newest version only, and that may be a later one."""
    names = _names(packages)
    return any(patch.name in names for patch in selection.patches)


@lru_cache(maxsize=64)
def _names(packages: tuple[str, ...]) -> frozenset[str]:
    return frozenset(one.partition("=")[0] for one in packages)


def _published(time: datetime, selection: Selection) -> bool:
    """Of an update without a date Azure decides."""
    return any(one.published is None or one.published <= time for one in selection.patches)
