"""What is not worth a write yet.

In a wave of thousands each machine waits a second or two for its run and for its slot. Told each
time, it would cost as much as what is sent, and nobody could read it before it is over.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from azpatch.api.common import ConditionType
from azpatch.api.reasons import Reason
from azpatch.api.target import Attempts, PatchTargetStatus
from azpatch.domain.conditions import find

MOMENT = timedelta(seconds=30)
"""A wait that may be over sooner is told when it was not. A policy and a run that have room let a
machine go within 5 s or twice that, and Resource Graph is asked for patches every 15 s at first."""

_COUNTED: Collection[str] = (
    "governs",
    "operation",
    "foreign_operation_since",
    "installation",
    "run",
)
"""By these others count the machine: slots, groups and runs."""


def momentary(before: PatchTargetStatus, after: PatchTargetStatus) -> bool:
    """Whether all the news is that a machine to which something can be sent, as its status says
    already, waits for what may come in a moment, and what bears on that alone."""
    if before == after:
        return False
    was, now = (find(status.conditions, ConditionType.READY) for status in (before, after))
    if was is None or now is None or (was.status, now.status) != ("True", "True"):
        return False
    if any(getattr(before, name) != getattr(after, name) for name in _COUNTED):
        return False
    match now.reason:
        case Reason.WAITING_FOR_SLOT | Reason.WAITING_FOR_TURN:
            # The intent will tell the rest, too.
            return True
        case Reason.WAITING_FOR_RUN:
            # A run is made of those that say that they are due.
            return _same_but_for_the_window(before, after)
        case Reason.WAITING_FOR_RESOURCE_GRAPH:
            # Half of the rows came; the other half will tell both.
            return was.reason == now.reason
    return False


def _same_but_for_the_window(before: PatchTargetStatus, after: PatchTargetStatus) -> bool:
    """`attempts` forgets the last window when another has opened; so does who reads it."""
    was, now = before.attempts or Attempts(), after.attempts or Attempts()
    attempts = was.replace(
        window_start=now.window_start,
        install_posts=now.install_posts,
        retry_after=now.retry_after,
    )
    same = after.replace(conditions=before.conditions, attempts=before.attempts) == before
    others = [
        [c for c in status.conditions if c.type != ConditionType.READY]
        for status in (before, after)
    ]
    return same and attempts == now and others[0] == others[1]
