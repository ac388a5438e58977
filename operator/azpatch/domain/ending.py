"""What the beginning and the end of an operation leave in a PatchTarget's status."""

from __future__ import annotations

from datetime import datetime, timedelta

from azpatch.api.install import Install
from azpatch.api.target import (
    AssessmentStatus,
    Attempts,
    AzureError,
    Installation,
    Operation,
    OperationKind,
    OperationState,
    Outcome,
    PatchTargetStatus,
)
from azpatch.domain import run_entry
from azpatch.domain.attempts import (
    POSTS_PER_WINDOW,
    Turn,
    became_due,
    not_in_this_window,
    not_posted,
    posted,
)
from azpatch.domain.clocks import no_earlier
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    OperationError,
)
from azpatch.domain.operation import deadline
from azpatch.domain.outcome import InstallOutcome, Retry, brought_nothing
from azpatch.domain.traces import Previous

RESULT_MISSING = "Unknown"
"""Stands for Azure's status where there is none."""

ACCESS_RETRY = timedelta(minutes=15)
"""After a 403: a role that was given back works within minutes."""


def begun(
    status: PatchTargetStatus,
    kind: OperationKind,
    previous: Previous,
    install: Install | None,
    attempt_id: str,
    selected_hash: str | None,
    now: datetime,
    turn: Turn | None,
) -> PatchTargetStatus:
    """The status with the intent: what is about to be sent, and what was there before it."""
    duration = install.maximum_duration if install else timedelta(0)
    attempts = status.attempts
    run = status.run
    if kind is OperationKind.INSTALL:
        attempts = posted(became_due(attempts, now, turn), selected_hash)
        run = run_entry.begun(run)
    return status.replace(
        attempts=attempts,
        run=run,
        operation=Operation(
            kind=kind,
            intent_time=now,
            attempt_id=attempt_id,
            previous_activity_id=previous.activity_id,
            previous_start_time=previous.start_time,
            deadline=deadline(kind, now, duration),
            state=OperationState.INTENT,
        ),
    )


def dropped(status: PatchTargetStatus) -> PatchTargetStatus:
    """The operation did not start: as if it had not been tried."""
    operation, attempts, run = status.operation, status.attempts, status.run
    if operation is not None and operation.kind is OperationKind.INSTALL:
        attempts = not_posted(attempts).replace(selected_hash=None) if attempts else None
        run = run_entry.not_begun(run)
    return status.replace(operation=None, attempts=attempts, run=run)


def assessed(
    status: PatchTargetStatus,
    result: AssessmentResult | None,
    succeeded: bool,
    now: datetime,
) -> PatchTargetStatus:
    """An assessment ended; `result` is None where it is not known."""
    operation = status.operation
    started = (result.start_time if result else None) or (
        operation.intent_time if operation else now
    )
    if status.installation is not None:
        # It was sent after the install had ended, whatever the guest's clock says.
        started = max(started, status.installation.time)
    attempts = status.attempts or Attempts()
    failures = 0 if succeeded else attempts.failed_assessments + 1
    attempts = attempts.replace(failed_assessments=failures)
    return status.replace(
        operation=None,
        attempts=None if attempts == Attempts() else attempts,
        assessment=AssessmentStatus(
            time=(result.last_modified if result else None) or no_earlier(now, started),
            start_time=started,
            status=result.status if result else RESULT_MISSING,
            activity_id=result.activity_id if result else _begun_as(operation),
            critical_and_security=result.critical_and_security if result else None,
            other=result.other if result else None,
            reboot_pending=result.reboot_pending if result else None,
            error=_error(result.error) if result else None,
        ),
    )


def installed(
    status: PatchTargetStatus,
    result: InstallationResult | None,
    outcome: InstallOutcome,
    now: datetime,
    turn: Turn | None,
) -> PatchTargetStatus:
    """An install ended; `result` is None where it is not known."""
    assert outcome.outcome is not None
    operation = status.operation
    counts = result or InstallationResult(GuestStatus.UNKNOWN)
    return status.replace(
        operation=None,
        attempts=_attempts(status.attempts, counts, outcome, now, turn),
        run=run_entry.ended_as(status.run, operation.state if operation else None, outcome.outcome),
        installation=Installation(
            time=install_end(status, result, now),
            start_time=_install_start(status, result),
            status=result.status if result else RESULT_MISSING,
            outcome=outcome.outcome,
            reason=outcome.reason,
            activity_id=counts.activity_id or (operation.operation_id if operation else None),
            installed=counts.installed,
            failed=counts.failed,
            pending=counts.pending,
            not_selected=counts.not_selected,
            excluded=counts.excluded,
            reboot_status=counts.reboot_status,
            error=_error(counts.error),
        ),
    )


def install_end(
    status: PatchTargetStatus, result: InstallationResult | None, now: datetime
) -> datetime:
    """Where Azure does not say when an install ended: now, which is after what was before it."""
    if result is not None and result.last_modified is not None:
        return result.last_modified
    last = status.assessment
    return no_earlier(now, _install_start(status, result), last.began if last else None)


def _install_start(status: PatchTargetStatus, result: InstallationResult | None) -> datetime | None:
    told = result.start_time if result else None
    return told or (status.operation.intent_time if status.operation else None)


def _attempts(
    attempts: Attempts | None,
    result: InstallationResult,
    outcome: InstallOutcome,
    now: datetime,
    turn: Turn | None,
) -> Attempts:
    attempts = attempts or Attempts()
    return attempts.replace(
        selected_hash=attempts.selected_hash if _futile(attempts, result, outcome) else None,
        retry_after=_retry_after(attempts, outcome.retry, now, turn),
    )


def _futile(attempts: Attempts, result: InstallationResult, outcome: InstallOutcome) -> bool:
    """The same again would bring nothing, and perhaps reboot, for ever.

    A failure is tried once more first, and one that names no patch says nothing of the patches.
    """
    if result.installed > 0 or outcome.outcome in (Outcome.UNKNOWN, Outcome.SUPERSEDED):
        return False
    if outcome.outcome is Outcome.FAILED:
        return brought_nothing(result) and attempts.install_posts >= POSTS_PER_WINDOW
    return True


def _retry_after(
    attempts: Attempts, retry: Retry, now: datetime, turn: Turn | None
) -> datetime | None:
    match retry:
        case Retry.NEXT_WINDOW | Retry.NOT_IN_WINDOW:
            return not_in_this_window(attempts, now, turn)
        case Retry.BACKOFF:
            return now + ACCESS_RETRY
        case _:
            return None


def _begun_as(operation: Operation | None) -> str | None:
    """The id of an operation whose result is not known."""
    return operation.operation_id if operation else None


def _error(error: OperationError | None) -> AzureError | None:
    """The guest's own words before the summary's."""
    if error is None:
        return None
    code, message = error.details[0] if error.details else (error.code, error.message)
    return AzureError(code=code, message=message)
