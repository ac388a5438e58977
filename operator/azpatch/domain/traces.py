"""What an operation leaves behind on a machine, and how it is known again: by kind of machine.

A virtual machine names the activity of its last operation of each kind, strongly consistent, and
the operation's URL names the same activity. An Azure Arc-enabled server does neither: there are the
rows of Resource Graph, which come late, hours late from a server that was cut off; and, where ARM
shows it, the operation that the service asked the agent for last. docs/adr/0013 has the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from azpatch.api.common import MachineKind
from azpatch.api.target import Operation, OperationKind, PatchTargetStatus
from azpatch.domain.arc import kind_of
from azpatch.domain.facts import AssessmentResult, InstallationResult, MachineView, Requested

Shown = AssessmentResult | InstallationResult

NOT_STARTED_AFTER = timedelta(minutes=15)
"""A POST that reached Azure shows in the instance view well before."""

OF_BEFORE = timedelta(days=1)
"""What began so long before the intent is not ours, whatever is wrong with the guest's clock."""

ARC_NOT_STARTED_AFTER = timedelta(minutes=60)
"""Azure holds an operation for a silent agent for up to half an hour, and its request may show as
late. Counted is the time in which the server was Connected: one that is cut off tells nothing."""

CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much Azure's clock may be behind ours. Who else began something so shortly before is taken
for us: it is followed, and nothing is sent beside it."""

SERVICE_BEHIND = timedelta(minutes=5)
"""Likewise of the clock that times what was asked for. That may be further behind: its id was
another one in the look before the intent, so that it was asked for since."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What is compared with later: how the machine is before an operation."""

    activity_id: str | None
    start_time: datetime | None
    """When its last operation of the kind began, by Azure's clock."""


class Traces(Protocol):
    """Of an operation of ours on machines of one kind."""

    rows_lag: bool
    """What is shown may be older than what the operation itself told, and may not be there yet."""

    def activity(self, operation_id: str) -> str | None:
        """The activity id that the operation's URL tells, by its last segment; None: it tells
        none."""
        ...

    def activity_before(
        self, kind: OperationKind, view: MachineView, status: PatchTargetStatus
    ) -> str | None:
        """The activity id to compare with later."""
        ...

    def began(self, operation: Operation, view: MachineView) -> str | None:
        """The activity id of an operation of this kind that began since the intent; None: none is
        seen."""
        ...

    def never(self, operation: Operation, view: MachineView, now: datetime) -> bool:
        """Whether an operation that is not seen to have begun, did not and will not."""
        ...

    def answers(self, operation: Operation, shown: Shown) -> bool:
        """Whether what is shown of the machine's last operation of this kind is the answer to ours.

        An install must be ours. Any assessment that began since answers for ours: it superseded it.
        """
        ...


class _ByActivity:
    """Virtual machines."""

    rows_lag = False

    def activity(self, operation_id: str) -> str | None:
        return operation_id

    def activity_before(
        self, kind: OperationKind, view: MachineView, status: PatchTargetStatus
    ) -> str | None:
        shown = shown_of(kind, view)
        if shown is not None and shown.activity_id is not None:
            return shown.activity_id
        # ARM may leave its summaries out for once.
        known = status.assessment if kind is OperationKind.ASSESS else status.installation
        return known.activity_id if known else None

    def began(self, operation: Operation, view: MachineView) -> str | None:
        shown = shown_of(operation.kind, view)
        if shown is None or not self._is_newer(operation, shown):
            return None
        return shown.activity_id

    def never(self, operation: Operation, view: MachineView, now: datetime) -> bool:
        shown = shown_of(operation.kind, view)
        if shown is None and operation.previous_activity_id is not None:
            return False  # ARM has left its summaries out: that ours is not there says nothing.
        return now - operation.intent_time >= NOT_STARTED_AFTER

    def answers(self, operation: Operation, shown: Shown) -> bool:
        if operation.kind is OperationKind.ASSESS:
            return self._is_newer(operation, shown)
        return same_id(shown.activity_id, operation.operation_id)

    def _is_newer(self, operation: Operation, shown: Shown) -> bool:
        """By its activity; what began days before is not, where none was known."""
        start = shown.start_time
        old = start is not None and start < operation.intent_time - OF_BEFORE
        return not old and _is_new(shown.activity_id, operation)


class _ByTime:
    """Azure Arc-enabled servers."""

    rows_lag = True

    def activity(self, operation_id: str) -> str | None:
        return None

    def activity_before(
        self, kind: OperationKind, view: MachineView, status: PatchTargetStatus
    ) -> str | None:
        if view.requested is not None:
            return view.requested.activity_id
        return view.installation.activity_id if view.installation else None

    def began(self, operation: Operation, view: MachineView) -> str | None:
        asked = view.requested
        if asked is not None and asked.kind and asked.time and _may_be(operation, asked):
            return asked.activity_id
        shown = shown_of(operation.kind, view)
        if shown is None or not self._began_since(operation, shown):
            return None
        return shown.activity_id

    def never(self, operation: Operation, view: MachineView, now: datetime) -> bool:
        # Without a request, that nothing is seen says nothing: rows may be hours late.
        if not view.agent_ready or view.requested is None or _may_be(operation, view.requested):
            return False
        heard = max(operation.intent_time, view.machine.arc_status_since or operation.intent_time)
        return now - heard >= ARC_NOT_STARTED_AFTER

    def answers(self, operation: Operation, shown: Shown) -> bool:
        if operation.operation_id is not None:
            if same_id(shown.activity_id, operation.operation_id):
                return True
            if operation.kind is OperationKind.INSTALL:
                return False
        return self._began_since(operation, shown)

    def _began_since(self, operation: Operation, shown: Shown) -> bool:
        if same_id(shown.activity_id, operation.previous_activity_id):
            return False
        return shown.start_time is not None and _since(operation, shown.start_time)


_TRACES: Mapping[MachineKind, Traces] = {
    MachineKind.VIRTUAL_MACHINE: _ByActivity(),
    MachineKind.ARC_SERVER: _ByTime(),
}


def traces_of(machine_id: str) -> Traces:
    """How operations show on this machine."""
    return _TRACES[kind_of(machine_id)]


def before(kind: OperationKind, view: MachineView, status: PatchTargetStatus) -> Previous:
    """The machine, before an operation of this kind is sent to it."""
    shown = shown_of(kind, view)
    activity = traces_of(view.machine.id).activity_before(kind, view, status)
    return Previous(activity, shown.start_time if shown else None)


def superseded(operation: Operation, shown: Shown, now: datetime) -> bool:
    """Whether another install that has ended stands in the place of ours, of which nothing will be
    shown any more: ours had ended before, or Azure gave it up for that one."""
    ours, start = operation.operation_id, shown.start_time
    if operation.kind is OperationKind.ASSESS or ours is None or start is None:
        return False
    another = _is_new(shown.activity_id, operation) and not same_id(shown.activity_id, ours)
    # Until ours shows, what began just before it does.
    may_still_show = now - operation.intent_time < NOT_STARTED_AFTER
    return another and shown.status.ended and not may_still_show and _since(operation, start)


def shown_of(kind: OperationKind, view: MachineView) -> Shown | None:
    """The machine's last operation of a kind."""
    return view.assessment if kind is OperationKind.ASSESS else view.installation


def same_id(one: str | None, other: str | None) -> bool:
    """Two of Azure's ids, compared without case; None equals nothing."""
    return one is not None and other is not None and one.lower() == other.lower()


def _is_new(activity_id: str | None, operation: Operation) -> bool:
    return activity_id is not None and not same_id(activity_id, operation.previous_activity_id)


def _may_be(operation: Operation, asked: Requested) -> bool:
    """What was asked for last is another than before, and as far as is known of our kind and time:
    something began that may be ours."""
    if not _is_new(asked.activity_id, operation) or asked.kind not in (None, operation.kind):
        return False
    return asked.time is None or asked.time >= operation.intent_time - SERVICE_BEHIND


def _since(operation: Operation, time: datetime) -> bool:
    """Since the intent by our clock, and by Azure's after what was there before it."""
    before = operation.previous_start_time
    return time >= operation.intent_time - CLOCKS_DIFFER and (before is None or time > before)
