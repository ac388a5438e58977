"""What a PatchTarget's status says: the facts brought together, and three conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from azpatch.api.common import Condition, ConditionType, Support
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.target import (
    AssessmentStatus,
    Attempts,
    Operation,
    OperationState,
    Outcome,
    PatchTarget,
    PatchTargetStatus,
)
from azpatch.domain import run_entry
from azpatch.domain.attempts import Turn, became_due, no_longer_due
from azpatch.domain.availability import reassessment_due, went_well
from azpatch.domain.conditions import Finding, Status, merge
from azpatch.domain.observe import Observed
from azpatch.domain.outcome import ASSESSMENT_STALE
from azpatch.domain.plan import AskSlot, Idle, Plan, Standing, is_due, obstacle
from azpatch.domain.policy_machines import operation_of
from azpatch.domain.selection import Selection
from azpatch.domain.words import QUOTED_ON_MACHINE, quoted


def settled(
    target: PatchTarget,
    policy: PatchPolicy,
    observed: Observed,
    selection: Selection | None,
    plan: Plan,
    standing: Standing,
    now: datetime,
) -> PatchTargetStatus:
    """The status of a machine with nothing in flight."""
    turn = standing.opening.turn
    status = observed.status.replace(
        governs=standing.governs,
        assessment=_with_selection(observed, selection),
        attempts=_attempts(policy, observed.status, selection, turn, now),
    )
    due = None if selection is None else is_due(policy, status, selection)
    status = status.replace(
        run=run_entry.progressed(
            replace(standing.part, entry=status.run),
            status,
            obstacle(plan, standing),
            due,
            standing.opening,
        )
    )
    if isinstance(plan, Idle) and plan.reason is Reason.GOVERNED_ELSEWHERE:
        findings = (_ready(plan), *_elsewhere(plan))
    else:
        findings = (
            _ready(plan),
            _supported(policy, observed),
            _compliant(policy, status, observed, selection, plan, now),
        )
    return _with_conditions(target, status, findings, now)


def _elsewhere(plan: Idle) -> tuple[Finding, Finding]:
    """Of a machine that another policy governs, that policy speaks."""
    return (
        Finding(ConditionType.SUPPORTED, "Unknown", plan.reason, plan.message),
        Finding(ConditionType.COMPLIANT, "Unknown", plan.reason, plan.message),
    )


def in_flight(target: PatchTarget, status: PatchTargetStatus, now: datetime) -> PatchTargetStatus:
    """The status while an operation is recorded: only Ready speaks of it."""
    operation = status.operation
    assert operation is not None
    if operation.state is OperationState.UNCONFIRMED:
        ready = Finding(
            ConditionType.READY,
            "False",
            Reason.OPERATION_UNCONFIRMED,
            f"Whether Azure took a request to {operation.kind.lower()} is not known"
            f"{_why(operation)}. The machine is watched until it is clear what became of it; "
            "nothing more is sent before.",
        )
    else:
        ready = Finding(
            ConditionType.READY, "True", Reason.OPERATION_IN_PROGRESS, _going(operation)
        )
    return _with_conditions(target, status, (ready,), now, _but_ready(status))


def _going(operation: Operation) -> str:
    if operation.state is OperationState.INTENT:
        return (
            f"{operation.kind} is being sent, and Azure's answer is not known yet. If it was lost, "
            "it is found out on the machine whether the operation began; nothing more is sent "
            "before that."
        )
    return f"{operation.kind} is in flight; its result is read when it ends."


def _why(operation: Operation) -> str:
    error = operation.error
    return f" {quoted(error.code, error.message, QUOTED_ON_MACHINE)}" if error else ""


def blocked(
    target: PatchTarget, status: PatchTargetStatus, idle: Idle, now: datetime
) -> PatchTargetStatus:
    """The status when a look at the machine, or Azure's answer, told what is in the way."""
    if idle.reason == Reason.FOREIGN_OPERATION:
        status = status.replace(foreign_operation_since=status.foreign_operation_since or now)
    return _with_conditions(target, status, (_ready(idle),), now, _but_ready(status))


def cut_off(
    target: PatchTarget, status: PatchTargetStatus, idle: Idle, now: datetime
) -> PatchTargetStatus:
    """The status of a machine of which nothing can be decided: no run waits for it."""
    status = status.replace(run=run_entry.cut_off(status.run, idle.reason))
    return blocked(target, status, idle, now)


def _but_ready(status: PatchTargetStatus) -> tuple[Condition, ...]:
    """The other conditions, as they were found last: maybe in the words of another version."""
    return tuple(c for c in status.conditions if c.type != ConditionType.READY)


def _with_conditions(
    target: PatchTarget,
    status: PatchTargetStatus,
    findings: tuple[Finding, ...],
    now: datetime,
    kept: tuple[Condition, ...] = (),
) -> PatchTargetStatus:
    generation = target.metadata.generation or 0
    found = merge(target.status.conditions, findings, generation, now)
    return status.replace(conditions=(*found, *kept))


def _with_selection(observed: Observed, selection: Selection | None) -> AssessmentStatus | None:
    assessment = observed.status.assessment
    if assessment is None or selection is None or observed.row is None:
        return assessment
    return assessment.replace(
        selected=selection.selected, ubuntu_pro_required=len(selection.ubuntu_pro) or None
    )


def _attempts(
    policy: PatchPolicy,
    status: PatchTargetStatus,
    selection: Selection | None,
    turn: Turn | None,
    now: datetime,
) -> Attempts | None:
    """Unchanged as long as it is not known whether the machine is due."""
    if selection is None:
        return status.attempts
    if is_due(policy, status, selection):
        due = became_due(status.attempts, now, turn)
        if turn is not None and turn.own:
            # A one-time run is counted from its first install on; without any, as before.
            return (status.attempts or due).replace(due_since=due.due_since)
        return due
    return no_longer_due(status.attempts)


def _ready(plan: Plan) -> Finding:
    match plan:
        case Idle(ready, reason, message):
            return Finding(ConditionType.READY, "True" if ready else "False", reason, message)
        case AskSlot():
            return Finding(
                ConditionType.READY,
                "True",
                Reason.WAITING_FOR_SLOT,
                "An install is due. It is sent as soon as rollout.maxUnavailable and "
                "rollout.spread leave room.",
            )
        case _:
            return Finding(
                ConditionType.READY,
                "True",
                Reason.WORKING,
                f"{plan.kind} is about to be sent.",
            )


def _supported(policy: PatchPolicy, observed: Observed) -> Finding:
    operation = operation_of(policy.spec)
    ruling = next(r for r in (observed.assess, observed.patch) if r.operation is operation)
    return Finding(
        ConditionType.SUPPORTED, _SUPPORTED[ruling.support], ruling.reason, ruling.message
    )


_SUPPORTED: Mapping[Support, Status] = {
    Support.SUPPORTED: "True",
    Support.UNSUPPORTED: "False",
    Support.UNKNOWN: "Unknown",
}


# --- Compliant ------------------------------------------------------------------------------------


def _unknown(reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.COMPLIANT, "Unknown", reason, message)


def _no(reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.COMPLIANT, "False", reason, message)


def _yes(reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.COMPLIANT, "True", reason, message)


def _compliant(
    policy: PatchPolicy,
    status: PatchTargetStatus,
    observed: Observed,
    selection: Selection | None,
    plan: Plan,
    now: datetime,
) -> Finding:
    if isinstance(plan, Idle) and plan.reason is Reason.OS_NOT_SELECTED:
        return _unknown(plan.reason, plan.message)
    if reassessment_due(status):
        return _after_install(status)
    assessment = status.assessment
    if assessment is None:
        return _unknown(Reason.NOT_ASSESSED, "No assessment has told yet what is missing.")
    if not went_well(assessment.status):
        return _unknown(
            Reason.ASSESSMENT_FAILED, "The last assessment failed, so what is missing is not known."
        )
    if now - assessment.time > ASSESSMENT_STALE:
        return _unknown(
            Reason.ASSESSMENT_OUTDATED,
            "The last assessment is older than seven days; see Ready for what keeps the next.",
        )
    if policy.spec.install is None:
        return _by_counts(assessment)
    if observed.row is None or selection is None:
        return _unknown(
            Reason.WAITING_FOR_RESOURCE_GRAPH,
            "What the assessment found has not appeared in Azure Resource Graph yet.",
        )
    return _by_selection(policy, status, selection, plan)


def _after_install(status: PatchTargetStatus) -> Finding:
    """Until the assessment after it, an install's own outcome is what is known."""
    assert status.installation is not None
    match status.installation.outcome:
        case Outcome.FAILED:
            return _no(Reason.INSTALL_FAILED, "The last install failed; an assessment follows.")
        case Outcome.INCOMPLETE:
            return _no(
                Reason.INSTALL_INCOMPLETE,
                "maximumDuration ended before everything was in; an assessment follows.",
            )
        case Outcome.NOT_BACK:
            return _no(
                Reason.NOT_BACK,
                "The machine did not come back from its reboot. Look at its console or boot "
                "diagnostics, and at its agent.",
            )
        case Outcome.SUPERSEDED:
            return _unknown(
                Reason.SUPERSEDED, "A newer operation replaced the install; an assessment follows."
            )
        case Outcome.UNKNOWN:
            reason = Reason(status.installation.reason or Reason.RESULT_UNKNOWN)
            return _unknown(
                reason, "The last install's result is not known; an assessment follows."
            )
        case Outcome.SUCCEEDED if status.installation.reason == Reason.REBOOT_PENDING:
            return _no(
                Reason.REBOOT_PENDING,
                "The install succeeded and needs a reboot that did not take place.",
            )
        case _:
            return _unknown(
                Reason.NOT_ASSESSED,
                "The install ended; the assessment after it tells what is left.",
            )


def _by_counts(assessment: AssessmentStatus) -> Finding:
    """Without a selection of its own, a policy looks at what is critical or for security."""
    if assessment.critical_and_security:
        return _no(
            Reason.PATCHES_MISSING,
            f"{assessment.critical_and_security} critical and security patches are missing.",
        )
    if assessment.reboot_pending:
        return _no(Reason.REBOOT_PENDING, "The machine waits for a reboot.")
    return _yes(Reason.COMPLIANT, "No critical or security patch is missing.")


def _by_selection(
    policy: PatchPolicy, status: PatchTargetStatus, selection: Selection, plan: Plan
) -> Finding:
    assert status.assessment is not None
    if selection.selected:
        return _missing(status, selection.selected, plan)
    if status.assessment.reboot_pending:
        setting = policy.spec.install.reboot_setting if policy.spec.install else ""
        return _no(
            Reason.REBOOT_PENDING,
            f"Nothing is missing, but the machine waits for a reboot (rebootSetting {setting}).",
        )
    if selection.ubuntu_pro:
        return _yes(
            Reason.UBUNTU_PRO_REQUIRED,
            f"Nothing is missing but {len(selection.ubuntu_pro)} patches that need Ubuntu Pro.",
        )
    return _yes(Reason.COMPLIANT, "Nothing that the policy selects is missing.")


_AFTER_OUTCOME = {
    Outcome.FAILED: (Reason.INSTALL_FAILED, "the last install failed"),
    Outcome.INCOMPLETE: (Reason.INSTALL_INCOMPLETE, "the last install ran out of time"),
}


def _missing(status: PatchTargetStatus, count: int, plan: Plan) -> Finding:
    patches = f"{count} selected {'patch is' if count == 1 else 'patches are'} missing"
    if isinstance(plan, Idle) and plan.reason is Reason.NOTHING_INSTALLABLE:
        return _no(plan.reason, f"{patches}. {plan.message}")
    outcome = status.installation.outcome if status.installation else None
    if outcome in _AFTER_OUTCOME:
        reason, what = _AFTER_OUTCOME[outcome]
        error = status.installation.error if status.installation else None
        words = f" Azure says {error.code}: {error.message.rstrip('.')}." if error else ""
        return _no(reason, f"{patches}; {what}.{words}")
    return _no(Reason.PATCHES_MISSING, f"{patches}.")
