"""A machine's part in a run: whether its turn has come, and what its install came to there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from azpatch.api.reasons import Reason
from azpatch.api.rollout import ApprovalMode, Wave
from azpatch.api.run import Effective, PatchRun, RunPhase
from azpatch.api.target import (
    Installation,
    OperationState,
    Outcome,
    PatchTargetStatus,
    RunEntry,
    RunState,
)
from azpatch.domain.attempts import ASSESSMENT_RETRIES, POSTS_PER_WINDOW, WINDOW, Turn
from azpatch.domain.availability import reassessment_due, went_well
from azpatch.domain.lifting import Lifted, lifted
from azpatch.domain.opening import UNKNOWN_TURN, Opening, Shut
from azpatch.domain.waves import waves_of

Hold = tuple[Reason, str]
"""Why nothing is installed on a machine now, for a program and for a person."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is under way, as its machines look at it."""

    name: str
    uid: str
    effective: Effective
    recorded: datetime | None
    """Since when all of its machines say that they are in it."""
    begun: Mapping[str, datetime]
    """Waves that have begun, and when."""
    stopped: Hold | None
    """Why nothing is started in it, whatever the wave."""
    lifted: Lifted
    """Which windows and freezes do not hold for it."""

    def wave(self, name: str) -> Wave | None:
        """One of its waves."""
        return next((one for one in waves_of(self.effective.rollout) if one.name == name), None)

    def within_windows(self, found: Opening, wave: str) -> Opening:
        """Where one window follows the other without end, none is ever seen to close: a wave of the
        week before has had its window."""
        begun, turn = self.begun.get(wave), found.turn
        if begun is None or isinstance(found, Shut) or turn is None or turn.start is None:
            return found
        return replace(found, late=True) if turn.goes_on and begun < turn.start else found

    def without_windows(self, found: Opening, wave: str, now: datetime) -> Opening:
        """Where those of the schedule do not hold for it, the run itself is the window in which
        installs are counted, and each wave is one of WINDOW for whoever is not there."""
        begun, turn = self.begun.get(wave), UNKNOWN_TURN
        if self.recorded is not None:
            turn = Turn(self.recorded, self.recorded + WINDOW, None, own=True)
        if begun is None or isinstance(found, Shut):
            return replace(found, turn=turn)
        ends = begun + WINDOW
        asks = [at for at in (found.holds_until, ends) if at is not None and at > now]
        return replace(found, turn=turn, late=now >= ends, holds_until=min(asks, default=None))


@dataclass(frozen=True, slots=True)
class Part:
    """A machine's part in its policy's runs."""

    runs: bool
    """The policy installs by runs."""
    run: OpenRun | None
    """The one that is under way."""
    entry: RunEntry | None
    """As the PatchTarget has it: of this run, or of one before."""
    offered: str | None = None
    """The wave of this run that it is to be in."""
    assess_since: datetime | None = None
    """Since when an Assess run wants it assessed; None: none does."""
    system: str | None = None
    """The machine's distribution and version, as far as it is known and bears on the run."""

    @property
    def mine(self) -> OpenRun | None:
        """The run, if the machine is in it, and not at its end there."""
        entry, run = self.entry, self.run
        if run is None or entry is None or entry.uid != run.uid or not entry.under_way:
            return None
        return run

    @property
    def begun(self) -> bool:
        """Its wave has begun."""
        return (
            self.mine is not None and self.entry is not None and self.entry.wave in self.mine.begun
        )


APART = Part(runs=False, run=None, entry=None)
"""Of a policy without runs."""


def open_run(run: PatchRun, *, approval: bool = False) -> OpenRun | None:
    """None: it is over, or has no terms yet. `approval`: the policy asks for one now."""
    effective, membership = run.status.effective, run.status.membership
    if run.over or effective is None:
        return None
    return OpenRun(
        name=run.metadata.name,
        uid=run.metadata.uid or "",
        effective=effective,
        recorded=membership.recorded_time if membership else None,
        begun={one.name: one.start_time for one in run.status.waves if one.start_time},
        stopped=_stopped(run, approval=approval),
        lifted=lifted(run.spec),
    )


def needs_approval(run: PatchRun, approval: bool) -> bool:
    """Whether it must be approved, and is not. The policy says that: when the run was admitted, or
    now (`approval`); never the run's own spec."""
    effective = run.status.effective
    frozen = effective is not None and effective.rollout.approval.mode is ApprovalMode.REQUIRED
    return (approval or frozen) and not run.spec.approved


def _stopped(run: PatchRun, *, approval: bool) -> Hold | None:
    name = run.metadata.name
    if run.spec.cancelled or run.metadata.deletion_timestamp is not None:
        return Reason.RUN_CANCELLED, f"PatchRun {name} is cancelled: nothing more is started in it."
    if needs_approval(run, approval) or run.status.phase is RunPhase.AWAITING_APPROVAL:
        return (
            Reason.AWAITING_APPROVAL,
            f"PatchRun {name} begins when somebody who may has approved it.",
        )
    if run.status.phase is RunPhase.PAUSED:
        return (
            Reason.RUN_PAUSED,
            f"PatchRun {name} is paused; its condition Ready says why, and how it goes on.",
        )
    return None


def held_back(part: Part, opening: Opening) -> Hold | None:
    """Why the machine's turn has not come, though it is due; None: it has, as far as runs go. Where
    no window is open that is said first, unless the machine is in a run."""
    joins = joined(part)
    if part.mine is None and joins is None:
        return None if not part.runs or isinstance(opening, Shut) else _not_in_it(part)
    # Who is about to say that it is in the run says at once what it waits for there.
    run, entry = part.run, joins or part.entry
    assert run is not None
    assert entry is not None
    if run.stopped is not None:
        return run.stopped
    if entry.wave not in run.begun:
        return (
            Reason.WAITING_FOR_WAVE,
            f"Wave {entry.wave} of PatchRun {run.name} has not begun; the PatchRun says what it "
            "waits for.",
        )
    if run.recorded is None or joins is not None:
        return (
            Reason.WAITING_FOR_RUN,
            f"PatchRun {run.name} begins when all of its machines have said that they are in it.",
        )
    return None


def _not_in_it(part: Part) -> Hold:
    run, entry = part.run, part.entry
    if run is not None and entry is not None and entry.uid == run.uid:
        return (
            Reason.RUN_ENDED,
            f"Its part in PatchRun {run.name} is over ({entry.state}). What is still missing is "
            "for the next run.",
        )
    if run is None or run.recorded is None:
        return (
            Reason.WAITING_FOR_RUN,
            "An install is due. The next PatchRun takes the machine; there is one for each window, "
            "made when the policy's machines are known to be due or not.",
        )
    return (
        Reason.WAITING_FOR_RUN,
        f"PatchRun {run.name} began without this machine; the next run takes it.",
    )


def has_turn(part: Part, opening: Opening) -> bool:
    """It is in a run, and nothing of the run and its windows keeps it."""
    return (
        part.mine is not None and not isinstance(opening, Shut) and held_back(part, opening) is None
    )


# --- how far it is --------------------------------------------------------------------------------


def progressed(
    part: Part,
    status: PatchTargetStatus,
    obstacle: Reason | None,
    due: bool | None,
    opening: Opening,
) -> RunEntry | None:
    """The entry of a machine with nothing in flight. `obstacle`: what keeps an install from it
    beside the run and its windows; `due`: None where that is not known."""
    entry = part.entry
    if (new := joined(part)) is not None:
        return new
    if entry is not None and _lacks_system(entry, part):
        entry = entry.replace(system=part.system)
    if entry is None or not entry.under_way:
        return entry
    if part.mine is None:
        return _ended(entry, RunState.SKIPPED, Reason.RUN_ENDED)
    over = part.begun and (isinstance(opening, Shut) or opening.late)
    if entry.state is RunState.PENDING:
        return _pending(entry, obstacle if over or obstacle in _AT_ONCE else None, due)
    if status.installation is None:
        return entry.replace(state=RunState.PENDING)
    again = (
        not over
        and part.mine.stopped is None
        and _one_try_left(status)
        and not _put_right(status, due)
    )
    return _running(entry, status, status.installation, obstacle if over else None, again=again)


def _lacks_system(entry: RunEntry, part: Part) -> bool:
    """It was not known when the machine came into the run. What is installed may change it, so it
    is written down before."""
    return entry.system is None and part.system is not None and entry.state is RunState.PENDING


def joined(part: Part) -> RunEntry | None:
    """The entry of a machine that is to be in the run and does not say so yet."""
    run, entry = part.run, part.entry
    if run is None or part.offered is None or (entry is not None and entry.uid == run.uid):
        return None
    return RunEntry(
        name=run.name,
        uid=run.uid,
        wave=part.offered,
        state=RunState.PENDING,
        system=part.system,
    )


def _pending(entry: RunEntry, obstacle: Reason | None, due: bool | None) -> RunEntry:
    """Its wave's window is over with something in the way: the next may be a month off. Who only
    had no room yet goes on in it."""
    if due is False:
        return _ended(entry, RunState.SKIPPED, Reason.UP_TO_DATE)
    if obstacle is not None:
        return _ended(entry, RunState.SKIPPED, obstacle)
    return entry


_AT_ONCE = (Reason.SYSTEM_NOT_PINNED, Reason.NOTHING_PINNED)
"""No window of the run will change it."""

_BAD = {
    Outcome.FAILED: Reason.INSTALL_FAILED,
    Outcome.NOT_BACK: Reason.NOT_BACK,
    Outcome.UNKNOWN: Reason.RESULT_UNKNOWN,
    Outcome.SUPERSEDED: Reason.SUPERSEDED,
    Outcome.INCOMPLETE: Reason.INSTALL_INCOMPLETE,
    Outcome.SKIPPED: Reason.MACHINE_GONE,
}
_FAILURES = (Outcome.FAILED, Outcome.NOT_BACK, Outcome.UNKNOWN)
_TRIED_AGAIN = (Outcome.FAILED, Outcome.SUPERSEDED)


def _running(
    entry: RunEntry,
    status: PatchTargetStatus,
    installation: Installation,
    obstacle: Reason | None,
    *,
    again: bool,
) -> RunEntry:
    outcome = installation.outcome
    if outcome is Outcome.SUCCEEDED:
        return _verified(entry, status, obstacle)
    reason = Reason(installation.reason or _BAD[outcome])
    if outcome in _TRIED_AGAIN and again:
        return entry.replace(reason=reason) if outcome in _FAILURES else entry
    return _ended(entry, RunState.FAILED if outcome in _FAILURES else RunState.SKIPPED, reason)


def _verified(entry: RunEntry, status: PatchTargetStatus, obstacle: Reason | None) -> RunEntry:
    """An install counts when the assessment after it went well. Where none will, nothing vouches
    for it, and nothing speaks against it."""
    assessment = status.assessment
    if not reassessment_due(status) and assessment is not None and went_well(assessment.status):
        return _ended(entry, RunState.SUCCEEDED, None)
    failed = status.attempts.failed_assessments if status.attempts else 0
    if failed > len(ASSESSMENT_RETRIES):
        return _ended(entry, RunState.SKIPPED, Reason.ASSESSMENT_FAILED)
    return entry if obstacle is None else _ended(entry, RunState.SKIPPED, obstacle)


def _put_right(status: PatchTargetStatus, due: bool | None) -> bool:
    """Nothing is missing since the last install, however that went: there is nothing to try."""
    return due is False and not reassessment_due(status)


def _one_try_left(status: PatchTargetStatus) -> bool:
    return status.attempts is None or status.attempts.install_posts < POSTS_PER_WINDOW


def begun(entry: RunEntry | None) -> RunEntry | None:
    """An install is about to be sent."""
    if entry is None or not entry.under_way:
        return entry
    return entry.replace(state=RunState.RUNNING)


def midway(entry: RunEntry | None) -> bool:
    """From its first install in the run until its part there is over."""
    return entry is not None and entry.state is RunState.RUNNING


def not_begun(entry: RunEntry | None) -> RunEntry | None:
    """It did not start after all. One whose first install failed is still at that."""
    if entry is None or entry.state is not RunState.RUNNING or entry.reason is not None:
        return entry
    return entry.replace(state=RunState.PENDING)


def ended_as(
    entry: RunEntry | None, state: OperationState | None, outcome: Outcome
) -> RunEntry | None:
    """An install has ended. One whose beginning Azure did not confirm may be somebody else's, and
    vouches for nothing."""
    doubtful = state is OperationState.UNCONFIRMED and outcome is Outcome.SUCCEEDED
    if entry is None or not entry.under_way or not doubtful:
        return entry
    return _ended(entry, RunState.SKIPPED, Reason.OPERATION_UNCONFIRMED)


def cut_off(entry: RunEntry | None, reason: Reason) -> RunEntry | None:
    """Nothing can be decided of the machine, for a reason that nobody may ever mend; nothing is in
    flight on it."""
    if entry is None or not entry.under_way:
        return entry
    return _ended(entry, RunState.SKIPPED, reason)


def replaced(entry: RunEntry | None) -> RunEntry | None:
    """Another machine has the name now."""
    if entry is None or not entry.under_way:
        return entry
    return _ended(entry, RunState.SKIPPED, Reason.MACHINE_REPLACED)


def _ended(entry: RunEntry, state: RunState, reason: Reason | None) -> RunEntry:
    return entry.replace(state=state, reason=reason)


WAITS_FOR_RUN: Collection[Reason] = frozenset(
    {
        Reason.AWAITING_APPROVAL,
        Reason.RUN_CANCELLED,
        Reason.RUN_ENDED,
        Reason.RUN_PAUSED,
        Reason.WAITING_FOR_RUN,
        Reason.WAITING_FOR_WAVE,
    }
)
"""Why a machine that is due waits for its run."""
