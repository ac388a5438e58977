"""What later waves of a run are given: what its first wave was, where its patchSet is Pinned.

For Windows that is an instant, written down with the run's terms. For Linux it is `name=version` of
each package that the first wave's installs brought, by distribution and version of the machines;
Resource Graph tells it, some time after the installs. What is pinned is never more than what was
given: a row that does not come makes it less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.api.patch_set import (
    PACKAGE_OVERHEAD,
    PATCH_SET_BYTES_MOST,
    SYSTEM_BYTES_MOST,
    SYSTEM_OVERHEAD,
    LinuxPatchSet,
    PatchSet,
    PinnedSystem,
)
from azpatch.api.reasons import Reason
from azpatch.api.run import Effective
from azpatch.api.target import RunState
from azpatch.domain.given import Given, Reading
from azpatch.domain.pins import pinned
from azpatch.domain.run_facts import RunFacts, RunMember, named
from azpatch.domain.run_failures import Failures
from azpatch.domain.run_gate import Stop, WaveProgress, gate
from azpatch.domain.words import at, counted

PATIENCE = timedelta(minutes=30)
"""How long the rows of the first wave's installs may lag behind its end before what is there is
taken: Microsoft says that most rows appear within 30 seconds, and the guest cuts very long lists,
of which the rest never comes."""


def dated(effective: Effective, now: datetime) -> Effective:
    """The terms of a run that is admitted now, with the instant that its Windows updates must have
    been published by."""
    windows = effective.install.windows
    if not pinned(effective) or windows is None:
        return effective
    until = windows.max_patch_publish_date or now.replace(microsecond=0)
    return effective.replace(patch_set=PatchSet(max_patch_publish_date=until))


# --- what the first wave was given ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unread:
    """What the first wave was given is not known (yet): no other begins."""

    reason: Reason
    message: str
    members: tuple[RunMember, ...]
    """Whose installs are to be read (again)."""
    until: datetime | None
    """When what is there is taken; None: that time has passed, and it is not enough."""


@dataclass(frozen=True, slots=True)
class FirstWave:
    """The first wave of a run that has machines, when it has passed its gate."""

    name: str
    ended: datetime
    members: tuple[RunMember, ...]
    """Its Linux machines that succeeded."""


def first_wave(
    effective: Effective, waves: Sequence[WaveProgress], failures: Failures
) -> FirstWave | None:
    """None: it has not passed its gate, or nothing of it is to be pinned (any more), for one. Its
    soak is not asked: what it was given is read meanwhile."""
    known = effective.patch_set is not None and effective.patch_set.linux is not None
    filled = [wave for wave in waves if wave.members]
    if not pinned(effective) or known or all(wave.over for wave in filled[1:]):
        return None
    wave = filled[0]
    if not wave.over or gate(wave, effective.rollout, failures) is not None:
        return None
    members = tuple(
        one
        for one in wave.members
        if one.entry.state is RunState.SUCCEEDED
        and one.entry.system is not None
        # Of one that was made anew since nothing tells what it was given.
        and one.installation is not None
    )
    return FirstWave(wave.name, wave.end, members)


def read(wave: FirstWave, reading: Reading, now: datetime) -> LinuxPatchSet | Unread | Stop:
    """What it was given; or that this is not known yet; or why it cannot be pinned."""
    systems: dict[str, list[RunMember]] = {}
    for member in wave.members:
        systems.setdefault(member.entry.system or "", []).append(member)
    short = [one for one in wave.members if not _whole(one, reading)]
    until = wave.ended + PATIENCE
    if short and now < until:
        return _reading(wave, short, until)
    hidden = [
        name
        for name, members in systems.items()
        if not any(_whole(one, reading) or _shown(one, reading) for one in members)
    ]
    if hidden:
        return _not_shown(wave, short, hidden)
    return _bounded(
        wave,
        [(name, _packages(members, reading)) for name, members in sorted(systems.items())],
        now,
    )


def _given(member: RunMember, reading: Reading) -> Given | None:
    activity = member.installation.activity_id if member.installation else None
    return reading.get(activity.lower()) if activity else None


def _shown(member: RunMember, reading: Reading) -> bool:
    found = _given(member, reading)
    return found is not None and found.listed > 0


def _whole(member: RunMember, reading: Reading) -> bool:
    """All is known of what it was given."""
    brought = member.installation.installed if member.installation else 0
    if brought == 0:
        return True
    found = _given(member, reading)
    return found is not None and found.listed >= max(brought, found.counted)


def _packages(members: Iterable[RunMember], reading: Reading) -> tuple[str, ...]:
    found = [_given(one, reading) for one in members]
    return tuple(sorted({mask for one in found if one is not None for mask in one.packages}))


def _reading(wave: FirstWave, short: Sequence[RunMember], until: datetime) -> Unread:
    return Unread(
        Reason.READING_PATCH_SET,
        f"Wave {wave.name} passed its gate. What {_named(short)} of it "
        f"{'was' if len(short) == 1 else 'were'} given is being read from Azure Resource Graph, "
        f"for the waves after it; at {at(until)} what is there is taken.",
        tuple(short),
        until,
    )


def _not_shown(wave: FirstWave, short: Sequence[RunMember], hidden: Sequence[str]) -> Unread:
    return Unread(
        Reason.PATCH_SET_NOT_SHOWN,
        f"Azure Resource Graph does not show what {_named(short)} of wave {wave.name} "
        f"{'was' if len(short) == 1 else 'were'} given ({_listed(hidden)}), so nothing can be "
        "pinned for the waves after it. It is asked again. See that the identity may read "
        "patchInstallationResults; set spec.cancelled of the PatchRun to end it: the next window's "
        "run begins with this wave again.",
        tuple(short),
        None,
    )


def _named(members: Sequence[RunMember]) -> str:
    return named([one.machine_id for one in members])


def _listed(names: Sequence[str]) -> str:
    more = len(names) - 3
    told = ", ".join(sorted(names)[:3])
    return f"{told} and {more} more" if more > 0 else told


def _bounded(
    wave: FirstWave, found: Sequence[tuple[str, tuple[str, ...]]], now: datetime
) -> LinuxPatchSet | Stop:
    sizes = {name: _size(packages) for name, packages in found}
    largest = max(sizes, key=lambda name: sizes[name], default=None)
    if largest is not None and sizes[largest] > SYSTEM_BYTES_MOST:
        number = len(dict(found)[largest])
        return _too_large(
            f"Wave {wave.name} was given {counted(number, 'package')} on {largest}: "
            f"{sizes[largest]} bytes as name=version, and {SYSTEM_BYTES_MOST} can be pinned for "
            "one distribution and version."
        )
    total = sum(SYSTEM_OVERHEAD + len(name.encode()) + size for name, size in sizes.items())
    if total > PATCH_SET_BYTES_MOST:
        return _too_large(
            f"What wave {wave.name} was given on {len(found)} distributions and versions takes "
            f"{total} bytes as name=version, and {PATCH_SET_BYTES_MOST} can be pinned in one run."
        )
    systems = tuple(PinnedSystem(name=name, packages=packages) for name, packages in found)
    return LinuxPatchSet(wave=wave.name, recorded_time=now, systems=systems)


def _size(packages: Iterable[str]) -> int:
    return sum(PACKAGE_OVERHEAD + len(one.encode()) for one in packages)


def _too_large(arithmetic: str) -> Stop:
    return Stop(
        Reason.PATCH_SET_TOO_LARGE,
        f"{arithmetic} Set spec.cancelled of the PatchRun to end it, and in the policy fewer "
        "packages (classifications, or packageNameMasksToExclude), or rollout.patchSet Latest.",
    )


@dataclass(frozen=True, slots=True)
class Pinning:
    """How far that is."""

    effective: Effective
    """The terms, with what is pinned as soon as it is known."""
    unread: Unread | None = None
    stop: Stop | None = None


def pinning(
    effective: Effective,
    waves: Sequence[WaveProgress],
    facts: RunFacts,
    failures: Failures,
    now: datetime,
) -> Pinning:
    """Pins what the first wave was given, once it has passed its gate and that is known."""
    wave = first_wave(effective, waves, failures)
    if wave is None:
        return Pinning(effective)
    match read(wave, facts.given, now):
        case LinuxPatchSet() as linux:
            known = effective.patch_set or PatchSet()
            return Pinning(effective.replace(patch_set=known.replace(linux=linux)))
        case Unread() as unread:
            return Pinning(effective, unread=unread)
        case Stop() as stop:
            return Pinning(effective, stop=stop)
