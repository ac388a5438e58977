"""The machines of a run, and what else its decision looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from azpatch.api.run import PatchRun, RunMachines
from azpatch.api.target import AssessmentStatus, Installation, PatchTarget, RunEntry, RunState
from azpatch.domain.given import Reading
from azpatch.domain.opening import Opening
from azpatch.domain.windows import Calendar
from azpatch.domain.words import counted


@dataclass(frozen=True, slots=True)
class RunMember:
    """A machine in the run, as its PatchTarget has it."""

    machine_id: str
    entry: RunEntry
    installation: Installation | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run's decision looks at."""

    members: Sequence[RunMember]
    awaited: int
    """Machines that are to be in it, and do not say so yet."""
    openings: Mapping[str, Opening]
    """By wave, where its machines may soonest be installed on."""
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    """By wave, where it has windows that can be read."""
    up_to_date: frozenset[str] = frozenset()
    """Waves by tags in which nobody is due, because every machine that has the tags is compliant,
    and there is one."""
    untold: frozenset[str] = frozenset()
    """Those of which that is not known, because the tags of a machine are not."""
    suspended: bool = False
    """The policy is."""
    unapproved: bool = False
    """Somebody must approve it, and nobody has."""
    deadline: datetime | None = None
    """When the window ends that the run was made for."""
    given: Reading = field(default_factory=dict)
    """What is known of what the first wave was given, where that is to be pinned."""
    unpinned: bool = False
    """That is not known yet, and no wave begins before."""
    abandoned: bool = False
    """There is no such policy any more, or it does not install any more."""
    one_time: bool = False
    """A person made it."""
    named: int = 0
    """Machines that the run names; 0: it is for all."""

    @property
    def not_due(self) -> int:
        """Of these, the ones that are not in it."""
        return max(0, self.named - len(self.members))


def members_of(run: PatchRun, targets: Sequence[PatchTarget]) -> list[RunMember]:
    """Those of the policy's machines that say that they are in it."""
    return [
        RunMember(one.spec.machine_id, one.status.run, one.status.installation)
        for one in targets
        if one.status.run is not None and one.status.run.uid == run.metadata.uid
    ]


# --- in numbers and words -------------------------------------------------------------------------


def in_numbers(members: Sequence[RunMember], *, over: bool) -> RunMachines:
    """In numbers. Of a run that is over nothing is pending: what was is skipped."""
    return counted_by([one.entry.state for one in members], over=over)


def counted_by(states: Sequence[RunState], *, over: bool = False) -> RunMachines:
    """The same, of their states."""
    pending = states.count(RunState.PENDING)
    return RunMachines(
        pending=0 if over else pending,
        running=states.count(RunState.RUNNING),
        succeeded=states.count(RunState.SUCCEEDED),
        failed=states.count(RunState.FAILED),
        skipped=states.count(RunState.SKIPPED) + (pending if over else 0),
    )


def azure_said(of: Installation | AssessmentStatus | None) -> str:
    """Azure's code and words for what failed; empty if it gave none."""
    error = of.error if of else None
    return f"{error.code}: {error.message}" if error else ""


def summed_up(members: Sequence[RunMember]) -> str:
    """What a run came to, in a sentence."""
    counts = in_numbers(members, over=True)
    parts = [
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
    ]
    told = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"Of {counted(len(members), 'machine')} {told}."


_NAMED = 3


def named(machine_ids: Sequence[str]) -> str:
    """Some of them by name, and how many more there are."""
    names = [one.rsplit("/", 1)[-1] for one in machine_ids]
    more = len(names) - _NAMED
    told = ", ".join(names[:_NAMED])
    return f"{told} and {more} more" if more > 0 else told
