"""Whether a policy needs a run now, which machines belong in it, and which runs are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.api.common import ConditionType, Support
from azpatch.api.policy import PatchPolicy, RunHistory
from azpatch.api.reasons import Reason
from azpatch.api.rollout import ApprovalMode
from azpatch.api.run import PatchRun, RunPhase
from azpatch.api.target import PatchTarget, PatchTargetStatus
from azpatch.domain.availability import held_by_failure, installing
from azpatch.domain.conditions import find
from azpatch.domain.naming import run_name
from azpatch.domain.opening import Open, Opening, Shut, Timing
from azpatch.domain.policy_machines import PolicyMachine, machines_of
from azpatch.domain.policy_problems import PASSING, kept_by

GATHERING = timedelta(minutes=30)
"""From when a window opens until a run is made at the latest, though of some machines it is not
known yet whether they are due: they would have to wait for the next window."""

GATHERING_SHARE = 4
"""One part in so many of the time that installs may start in, where that is shorter."""


@dataclass(frozen=True, slots=True)
class Need:
    """Whether a run is to be made."""

    window: datetime | None
    """When the window began that one is to be made for; None: none is to be made now."""
    again: datetime | None = None
    """When to look again at the latest; None: when something changes."""


NONE = Need(None)


def need(
    policy: PatchPolicy,
    targets: Sequence[PatchTarget],
    runs: Iterable[PatchRun],
    timing: Timing,
    since: datetime,
    now: datetime,
    undecided: int = 0,
    scheduled: datetime | None = None,
) -> Need:
    """One run for each window in which a machine is due, and one at a time. `since`: when the
    policy was first looked at as it is now; `undecided`: how many machines still go by an older
    generation; `scheduled`: the start of the last window that a run was seen for."""
    if not policy.spec.runs or policy.spec.suspend:
        return NONE
    found = _window(policy, timing, now)
    if isinstance(found, Need):
        return found
    window, opens, closes = found
    if _had(policy, runs, scheduled, window):
        return NONE
    machines = machines_of(policy, targets)
    if not any(may_join(machine) for machine in machines):
        return NONE
    until = gathering_until(max(opens, since), closes)
    if now < until and (undecided or any(is_awaited(machine) for machine in machines)):
        return Need(None, until)
    return Need(window)


def _window(
    policy: PatchPolicy, timing: Timing, now: datetime
) -> tuple[datetime, datetime, datetime] | Need:
    """The window that a run may be made for now: when it begins, since when one may be, and until
    when that is of use. One that must be approved is made before its window."""
    opening, approval = timing.opening, policy.spec.approval
    if isinstance(opening, Open):
        start = opening.turn.start if opening.turn else None
        if start is None:
            return NONE
        return start, opening.span.start if opening.span else now, opening.until or now
    if approval.mode is ApprovalMode.NONE or timing.next is None:
        return NONE
    opens = timing.next.start - approval.lead_time
    if now < opens:
        return Need(None, opens)
    return timing.next.start, opens, timing.next.start


def last_scheduled(policy: PatchPolicy, scheduled: datetime | None) -> datetime | None:
    """When the window began that the policy's last run was made for, whoever made it, and though it
    is gone; None: there was none. `scheduled`: see `need`."""
    known = (policy.status.last_schedule_time, scheduled)
    return max((at for at in known if at is not None), default=None)


def _had(
    policy: PatchPolicy, runs: Iterable[PatchRun], scheduled: datetime | None, window: datetime
) -> bool:
    """There is one under way, or was one for this window."""
    last, name = last_scheduled(policy, scheduled), run_name(policy.metadata.name, window)
    if last is not None and last >= window:
        return True
    return any(_under_way(run) or run.metadata.name == name for run in runs)


def _under_way(run: PatchRun) -> bool:
    """No other may begin. A one-time run that waits to be let in is in nobody's way."""
    return run.installs and not run.over and not _is_asked_for(run)


def _is_asked_for(run: PatchRun) -> bool:
    """A person made it, and it has not been let in."""
    return run.one_time and run.status.effective is None


def gathered(
    policy: PatchPolicy, target: PatchTarget, status: PatchTargetStatus, opening: Opening
) -> bool:
    """Installs may start, and it is found out of this machine whether one is due; in a window only
    as long as its run has not been made. `status`: newer than the target's own."""
    if isinstance(opening, Shut) or policy.spec.install is None:
        return False
    if policy.spec.runs:
        start = opening.turn.start if opening.turn else None
        last = policy.status.last_schedule_time
        if start is None or (last is not None and last >= start):
            return False
    return any(map(is_awaited, machines_of(policy, [target.replace(status=status)])))


def gathering_until(since: datetime, closes: datetime) -> datetime:
    """Until when at most it is being found out who is due, where installs, or a run, may begin
    until `closes`."""
    left = max(closes - since, timedelta(0))
    return since + min(GATHERING, left / GATHERING_SHARE)


def is_awaited(machine: PolicyMachine) -> bool:
    """Whether it is due is being found out."""
    if not machine.governed or machine.skipped or machine.support is Support.UNSUPPORTED:
        return False
    return machine.compliant == "Unknown" and kept_by(machine) is None


def may_join(machine: PolicyMachine) -> bool:
    """It is due, Azure can patch it, and nothing but time stands in the way, or that it is off."""
    status = machine.status
    ready = find(status.conditions, ConditionType.READY)
    return (
        machine.governed
        and machine.target.metadata.deletion_timestamp is None
        and machine.support is Support.SUPPORTED
        and status.attempts is not None
        and status.attempts.due_since is not None
        and not installing(status)
        and not held_by_failure(status)
        and (ready is None or ready.reason != Reason.NOTHING_INSTALLABLE)
        and kept_by(machine) in (None, *PASSING)
    )


# --- history --------------------------------------------------------------------------------------


def superfluous(
    runs: Iterable[PatchRun], history: RunHistory | None, window: datetime | None, policy: str
) -> tuple[PatchRun, ...]:
    """Runs that are over and not among the last that are kept. That of the window that is open
    stays: it says that there was one. What a person made a person removes."""
    kept, name = history or RunHistory(), run_name(policy, window) if window else None
    over = sorted(
        (run for run in runs if run.over and not run.one_time and run.metadata.name != name),
        key=_ended,
        reverse=True,
    )
    well = [run for run in over if run.status.phase is RunPhase.SUCCEEDED]
    badly = [run for run in over if run.status.phase is not RunPhase.SUCCEEDED]
    return (*well[kept.succeeded :], *badly[kept.failed :])


@dataclass(frozen=True, slots=True)
class Runs:
    """A policy's runs, as its status tells of them."""

    current: PatchRun | None
    """The one under way."""
    last: PatchRun | None
    """The one that was over last."""
    scheduled: datetime | None
    """See `need`."""

    @classmethod
    def of(cls, runs: Sequence[PatchRun], scheduled: datetime | None) -> Runs:
        """Of these. Those that were not let in, and those that only assess, are people's own."""
        counted = [run for run in runs if run.installs and not _is_asked_for(run)]
        return cls(
            current=min(
                (run for run in counted if not run.over),
                key=lambda run: run.metadata.name,
                default=None,
            ),
            last=max((run for run in counted if run.over), key=_ended, default=None),
            scheduled=scheduled,
        )


NO_RUNS = Runs(None, None, None)


def _ended(run: PatchRun) -> tuple[datetime, str]:
    created = run.metadata.creation_timestamp
    when = run.status.completion_time or created
    assert when is not None
    return when, run.metadata.name
