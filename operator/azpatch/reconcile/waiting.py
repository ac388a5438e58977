"""A machine that waits: when to decide again, and when its status says what it waits for."""

from __future__ import annotations

from datetime import datetime, timedelta

from azpatch.api.target import PatchTargetStatus
from azpatch.domain.moment import MOMENT, momentary
from azpatch.domain.plan import AskSlot, Idle, Plan
from azpatch.reconcile.context import Context
from azpatch.reconcile.decision import Decision
from azpatch.reconcile.memory import MachineMemory
from azpatch.reconcile.queue import Key

PAST = timedelta(minutes=1)
"""A wake-up that is over already is put off this long: it must not become a loop."""


def untold(
    context: Context,
    key: Key,
    decision: Decision,
    status: PatchTargetStatus,
    memory: MachineMemory,
) -> timedelta | None:
    """For how long the status need not be written, because what it would tell may be over in a
    moment; None: it is time. What was declared anew is told at once: the policy counts by it."""
    now, known = context.clock.elapsed(), context.decided.get(key)
    since, memory.untold = memory.untold, None
    if known != decision.policy.generation or not momentary(decision.target.status, status):
        return None
    since = now if since is None else since
    left = since + MOMENT - now
    if left <= timedelta(0):
        return None
    memory.untold = since
    return left


def again(decision: Decision, step: Plan, now: datetime) -> timedelta | None:
    """When to decide again. The end of a window may be that of the machine's part in a run, though
    it is off then, and nothing else wakes it."""
    wakes = [_until(step, now)]
    holds_until = decision.standing.opening.holds_until
    if decision.standing.part.mine is not None and holds_until is not None:
        wakes.append(holds_until - now if holds_until > now else PAST)
    return min((wake for wake in wakes if wake is not None), default=None)


def _until(step: Plan, now: datetime) -> timedelta | None:
    if isinstance(step, Idle | AskSlot) and step.wake is not None:
        return step.wake - now if step.wake > now else PAST
    return None
