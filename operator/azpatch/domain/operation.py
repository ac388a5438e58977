"""An operation in flight: what the evidence says of it.

The operator can die between any two steps of an operation, and an answer can be lost. What then is
known is the intent, written before the POST, with the last activity id that the machine had.
Whether an operation began since is seen by the `traces` that one leaves on machines of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from azpatch.api.common import MachineKind
from azpatch.api.target import Operation, OperationKind, OperationState, PatchTargetStatus
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    Machine,
    MachineView,
    OperationError,
)
from azpatch.domain.ids import is_another_vm
from azpatch.domain.traces import Traces, same_id, shown_of, superseded

ASSESSMENT_DEADLINE = timedelta(hours=2)
"""From the intent."""

INSTALL_GRACE = timedelta(minutes=90)
"""An install's deadline is its intent, its maximumDuration and this: Azure does not stop an install
at the end of its duration, and waits up to 25 minutes for a reboot."""

UNANSWERED = timedelta(hours=24)
"""How long after its deadline an operation is still asked about while Azure does not answer."""

ROW_AWAITED = timedelta(minutes=15)
"""How long the instance view's summary of an ended install waits for the fuller row of Resource
Graph, which alone tells of the reboot and of each patch; and the result of an install on an Azure
Arc-enabled server, of which some patches failed, for the names of these."""

ROW_RUNS_AT_MOST = timedelta(days=1)
"""For how long a row of an Arc-enabled server that says InProgress is believed: Azure ends, or
gives up, the longest install within some six hours."""

SENT_WITHIN = timedelta(minutes=2)
"""From an intent until its POST has arrived, and by how much clocks differ."""

LOOK_EARLY = timedelta(minutes=1)
"""Between two looks at ARM while it is not known whether an operation began."""

LOOK_ASSESSMENT = timedelta(minutes=5)
LOOK_INSTALL = timedelta(minutes=10)
"""Between two looks at ARM while an operation runs. Resource Graph, asked in bulk, is earlier."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What could be learnt of an operation. None: not asked, or no answer."""

    running: bool | None = None
    """What the operation's own URL says."""
    unread: bool = False
    """There is such a URL, and it could not be read this time: it will still tell."""
    result: AssessmentResult | InstallationResult | None = None
    """The operation's own result, from its URL."""
    error: OperationError | None = None
    """The operation's own failure, from its URL."""
    ended: datetime | None = None
    """When the operation ended, from its URL."""
    view: MachineView | None = None
    """ARM's view of the machine."""
    row: InstallationResult | None = None
    """Resource Graph's newest install row."""
    machine_gone: bool = False
    """ARM answered 404 for the machine."""
    denied: bool = False
    """ARM answered 403 for the machine."""


@dataclass(frozen=True, slots=True)
class Going:
    """It may still run. `operation` is what is known of it now."""

    operation: Operation
    look_after: timedelta


@dataclass(frozen=True, slots=True)
class NeverStarted:
    """It did not begin: the attempt is dropped, and does not count."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended, with Azure's result."""

    result: AssessmentResult | InstallationResult


class LostReason(StrEnum):
    """Why a result will not be known."""

    DEADLINE = "ResultUnknown"
    ACCESS = "AccessLost"
    GONE = "MachineGone"
    REPLACED = "MachineReplaced"
    SUPERSEDED = "Superseded"


@dataclass(frozen=True, slots=True)
class Lost:
    """Its result will not be known."""

    reason: LostReason


Judgement = Going | NeverStarted | Ended | Lost
ShownT = TypeVar("ShownT", AssessmentResult, InstallationResult)


def deadline(kind: OperationKind, intent: datetime, maximum_duration: timedelta) -> datetime:
    """When an operation's outcome becomes Unknown."""
    if kind is OperationKind.ASSESS:
        return intent + ASSESSMENT_DEADLINE
    return intent + maximum_duration + INSTALL_GRACE


def judge(
    operation: Operation, vm_id: str | None, traces: Traces, evidence: Evidence, now: datetime
) -> Judgement:
    """What an operation has come to. `vm_id` is the machine that it was sent to, `traces` are those
    of its kind."""
    if evidence.machine_gone:
        return Lost(LostReason.GONE)
    view = evidence.view
    replaced = view is not None and is_another_vm(view.machine.vm_id, vm_id)
    if view is not None and replaced and not _went_to(view, operation, traces):
        return Lost(LostReason.REPLACED)
    ended = _own_word(operation, traces, evidence)
    if ended is not None:
        return _with_names(operation, ended, _by_row(operation, traces, evidence), now)
    if operation.operation_id is None and (evidence.running or evidence.unread):
        # What began since may be somebody else's, as long as ours can speak for itself.
        judgement: Judgement = Going(operation, _pause(operation, now))
    else:
        operation = _named(operation, traces, evidence)
        row = _by_row(operation, traces, evidence)
        if row is not None and not evidence.running:
            return Ended(row)
        judgement = _by_view(operation, traces, evidence, now)
    if isinstance(judgement, Going) and _is_lost(operation, evidence, now):
        if evidence.denied:
            return Lost(LostReason.ACCESS)
        harmless = operation.kind is OperationKind.ASSESS and evidence.view is not None
        if harmless and _in_doubt(judgement.operation):
            # Nothing was ever seen of it. To assess again harms nobody; to take the machine for
            # one that was assessed would.
            return NeverStarted()
        return Lost(LostReason.DEADLINE)
    return judgement


def _went_to(view: MachineView, operation: Operation, traces: Traces) -> bool:
    """Another machine has the name, and the install is on that one: it was made between our last
    look at the one before it and the POST."""
    shown = shown_of(operation.kind, view)
    if operation.kind is not OperationKind.INSTALL or shown is None:
        return False
    if operation.operation_id is not None:
        return same_id(shown.activity_id, operation.operation_id)
    made = view.machine.time_created
    in_time = made is not None and made <= operation.intent_time + SENT_WITHIN
    return in_time and traces.began(operation, view) is not None


def _in_doubt(operation: Operation) -> bool:
    """It is not known whether it began."""
    return operation.operation_id is None and operation.state is not OperationState.STARTED


def unrecorded(evidence: Evidence, status: PatchTargetStatus) -> Evidence:
    """Without what the status has as an earlier operation's end: of the one in flight it tells
    nothing, whatever times a guest's clock gave it. What was the last before that one stays: that
    it still is says something."""
    old = (status.assessment, status.installation)
    before = status.operation.previous_activity_id if status.operation else None

    def news(shown: ShownT | None) -> ShownT | None:
        if shown is None or same_id(shown.activity_id, before):
            return shown
        known = any(one and same_id(one.activity_id, shown.activity_id) for one in old)
        return None if known else shown

    view = evidence.view
    if view is not None:
        view = replace(view, assessment=news(view.assessment), installation=news(view.installation))
    return replace(evidence, view=view, row=news(evidence.row))


def _is_lost(operation: Operation, evidence: Evidence, now: datetime) -> bool:
    """Past the deadline, on the word of Azure; without one only a day later."""
    if now < operation.deadline:
        return False
    asked = evidence.view is not None or evidence.denied or evidence.running
    return bool(asked) or now >= operation.deadline + UNANSWERED


def _own_word(
    operation: Operation, traces: Traces, evidence: Evidence
) -> AssessmentResult | InstallationResult | None:
    result = evidence.result
    if result is not None:
        # An assessment's result says when it began, and only the operation when it ended.
        return replace(result, last_modified=result.last_modified or evidence.ended)
    if evidence.error is None:
        return None
    failed = AssessmentResult if operation.kind is OperationKind.ASSESS else InstallationResult
    row = _by_row(operation, traces, evidence)
    return failed(
        GuestStatus.FAILED,
        start_time=row.start_time if row else None,
        last_modified=evidence.ended or (row.last_modified if row else None),
        activity_id=operation.operation_id or (row.activity_id if row else None),
        error=evidence.error,
    )


def _with_names(
    operation: Operation,
    result: AssessmentResult | InstallationResult,
    row: InstallationResult | None,
    now: datetime,
) -> Judgement:
    """What the operation says of itself; of an install that lists no patches and of which some
    failed, with their names."""
    if not isinstance(result, InstallationResult) or result.patches is not None:
        return Ended(result)
    if row is not None and same_id(row.activity_id, result.activity_id):
        return Ended(replace(result, patches=row.patches))
    young = result.last_modified is not None and now - result.last_modified < ROW_AWAITED
    if result.failed and young:
        return Going(operation, LOOK_EARLY)
    return Ended(result)


def _by_row(operation: Operation, traces: Traces, evidence: Evidence) -> InstallationResult | None:
    row = evidence.row
    if operation.kind is OperationKind.ASSESS or row is None or not row.status.ended:
        return None
    return row if traces.answers(operation, row) else None


def _named(operation: Operation, traces: Traces, evidence: Evidence) -> Operation:
    """With the activity that is seen to have begun since the intent, where none is known."""
    if operation.operation_id is not None or evidence.view is None:
        return operation
    began = traces.began(operation, evidence.view)
    return operation if began is None else _begun_as(operation, began)


def _by_view(operation: Operation, traces: Traces, evidence: Evidence, now: datetime) -> Judgement:
    view = evidence.view
    if view is None:
        return Going(operation, _pause(operation, now))
    shown = shown_of(operation.kind, view)
    if shown is not None and traces.answers(operation, shown):
        over = shown.status.ended and _enough(shown, now)
        return Ended(shown) if over else Going(operation, _pause(operation, now))
    if shown is not None and not evidence.unread and superseded(operation, shown, now):
        return Lost(LostReason.SUPERSEDED)
    if _in_doubt(operation) and traces.never(operation, view, now):
        return NeverStarted()
    return Going(operation, _pause(operation, now))


def _begun_as(operation: Operation, activity_id: str) -> Operation:
    """Whose it is, only Azure's answer to the POST can tell."""
    answered = operation.state is OperationState.STARTED
    state = OperationState.STARTED if answered else OperationState.UNCONFIRMED
    return operation.replace(operation_id=activity_id, state=state)


def _enough(seen: AssessmentResult | InstallationResult, now: datetime) -> bool:
    """An assessment's summary says all; an install's waits a while for its row, unless it is it."""
    if isinstance(seen, AssessmentResult) or seen.patches is not None:
        return True
    return seen.last_modified is None or now - seen.last_modified >= ROW_AWAITED


def _pause(operation: Operation, now: datetime) -> timedelta:
    if _in_doubt(operation):
        return LOOK_EARLY
    steady = LOOK_ASSESSMENT if operation.kind is OperationKind.ASSESS else LOOK_INSTALL
    left = operation.deadline - now
    return min(steady, left) if left > timedelta(0) else steady


def at_work(view: MachineView, now: datetime) -> tuple[AssessmentResult | InstallationResult, ...]:
    """The operations that are under way on the machine, anyone's, as it shows them."""
    return tuple(
        one
        for one in (view.installation, view.assessment)
        if one is not None
        and one.status is GuestStatus.IN_PROGRESS
        and not _abandoned(one, view.machine, now)
    )


def _abandoned(
    going: AssessmentResult | InstallationResult, machine: Machine, now: datetime
) -> bool:
    """A row is no present truth: that of a server that was replaced in the middle says for ever
    that something runs."""
    seen = going.start_time or going.last_modified
    if machine.kind is not MachineKind.ARC_SERVER or seen is None:
        return False
    return now - seen > ROW_RUNS_AT_MOST


def running(view: MachineView, ended: str | None, now: datetime) -> bool:
    """Another operation than `ended`, an activity id, is under way on the machine."""
    return any(not same_id(one.activity_id, ended) for one in at_work(view, now))
