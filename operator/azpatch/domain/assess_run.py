"""An Assess run: each of its machines once, however new its last assessment is.

It has no waves, no slots and no members on the PatchTargets. A machine is done when an assessment
of it has ended that began after the run did, so a crash loses nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from azpatch.api.common import OperationName, Support
from azpatch.api.reasons import Reason
from azpatch.api.run import (
    FAILURES_LISTED,
    PatchRun,
    PatchRunStatus,
    RunFailure,
    RunMachines,
    RunMembership,
    RunPhase,
)
from azpatch.api.target import AssessmentStatus, OperationKind, RunState
from azpatch.domain.availability import went_well
from azpatch.domain.conditions import merge
from azpatch.domain.one_time import meant
from azpatch.domain.policy_machines import PolicyMachine
from azpatch.domain.policy_problems import kept_from_assessing
from azpatch.domain.run_facts import azure_said, counted_by
from azpatch.domain.run_state import State, findings
from azpatch.domain.words import counted

DECIDED = timedelta(minutes=10)
"""By then each machine has been looked at, and what keeps an assessment from it stands on it."""

LONGEST = timedelta(hours=24)
"""What has not been assessed by then is Skipped: some machines can be asked for for ever."""


def assessing(
    run: PatchRun,
    policy_uid: str,
    machines: Sequence[PolicyMachine],
    suspended: bool,
    now: datetime,
) -> PatchRunStatus:
    """The status of an Assess run that may begin, or has. `machines`: all of the policy's."""
    since = run.status.start_time or now
    is_for = meant(run)
    here = [one for one in machines if one.governed and is_for(one.target)]
    stopped = not wants_more(run) or now >= since + LONGEST
    decided = now >= since + DECIDED
    parts = {one.target.spec.machine_id: _part(one, since, decided, stopped) for one in here}
    counts = counted_by(list(parts.values()))
    state = _state(run, counts, suspended)
    failed = [one for one in here if parts[one.target.spec.machine_id] is RunState.FAILED]
    generation, over = run.metadata.generation or 0, not (counts.pending or counts.running)
    omitted = len(failed) - FAILURES_LISTED
    return PatchRunStatus(
        observed_generation=generation,
        phase=state.phase,
        conditions=merge(run.status.conditions, findings(state), generation, now),
        policy_uid=policy_uid,
        membership=RunMembership(total=len(here), recorded_time=since),
        machines=counts,
        failures=tuple(map(_failure, failed[:FAILURES_LISTED])),
        failures_omitted=omitted if omitted > 0 else None,
        start_time=since,
        completion_time=(run.status.completion_time or now) if over else None,
    )


def wants_more(run: PatchRun) -> bool:
    """Machines may still be assessed for it."""
    return not run.spec.cancelled and run.metadata.deletion_timestamp is None


def _part(machine: PolicyMachine, since: datetime, decided: bool, stopped: bool) -> RunState:
    """How far the machine is in a run that began at `since`. `decided`: it has said what keeps an
    assessment from it; `stopped`: nothing more is awaited but what is in flight."""
    assessment, operation = machine.status.assessment, machine.status.operation
    if assessment is not None and assessment.began >= since:
        return _came_to(machine, assessment)
    if operation is not None and operation.kind is OperationKind.ASSESS:
        return RunState.RUNNING
    if stopped or _never(machine) or (decided and kept_from_assessing(machine) is not None):
        return RunState.SKIPPED
    return RunState.PENDING


def _came_to(machine: PolicyMachine, assessment: AssessmentStatus) -> RunState:
    """That Azure does not support the machine is no failure."""
    if went_well(assessment.status):
        return RunState.SUCCEEDED
    return RunState.SKIPPED if _never(machine) else RunState.FAILED


def _never(machine: PolicyMachine) -> bool:
    """Azure does not assess such machines."""
    return any(
        one.operation is OperationName.ON_DEMAND_ASSESSMENT and one.verdict is Support.UNSUPPORTED
        for one in machine.status.verdicts
    )


def _failure(machine: PolicyMachine) -> RunFailure:
    return RunFailure(
        machine_id=machine.target.spec.machine_id,
        reason=Reason.ASSESSMENT_FAILED,
        message=azure_said(machine.status.assessment),
    )


def _state(run: PatchRun, counts: RunMachines, suspended: bool) -> State:
    left = counts.pending + counts.running
    if left and run.spec.cancelled:
        flying = counted(counts.running, "machine")
        return State(
            RunPhase.CANCELLING,
            Reason.RUN_CANCELLED,
            f"spec.cancelled is true. Nothing more is started; {flying} in progress.",
        )
    if left and suspended and not counts.running:
        return State(
            RunPhase.WAITING, Reason.SUSPENDED, "The policy is suspended: nothing more is started."
        )
    if left:
        return State(
            RunPhase.RUNNING,
            Reason.RUN_UNDER_WAY,
            f"{counted(counts.running, 'machine')} in progress; {counts.pending} wait for their "
            "turn.",
        )
    told = _summed_up(counts)
    if run.spec.cancelled:
        return State(RunPhase.CANCELLED, Reason.RUN_CANCELLED, f"spec.cancelled is true. {told}")
    if counts.failed:
        return State(RunPhase.FAILED, Reason.ASSESSMENT_FAILED, told)
    return State(RunPhase.SUCCEEDED, Reason.COMPLETE, told)


def _summed_up(counts: RunMachines) -> str:
    total = counts.succeeded + counts.failed + counts.skipped
    parts = [
        (counts.succeeded, "were assessed" if counts.succeeded > 1 else "was assessed"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped: their PatchTargets say why"),
    ]
    shown = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"Of {counted(total, 'machine')} {shown}." if total else "The policy has no machine."
