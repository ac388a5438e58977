"""A machine that waits until Azure's budgets have room for its operation, and what it says of that.

Thousands of machines wait at the same time, and the wait is no news of any of them: it costs no
write, unless it is long enough for a person to wonder.
"""

from __future__ import annotations

from datetime import timedelta

from azpatch.api.common import ConditionType
from azpatch.api.reasons import Reason
from azpatch.api.target import OperationKind, PatchTargetStatus
from azpatch.domain.conditions import find
from azpatch.domain.plan import Idle
from azpatch.domain.precedence import yields
from azpatch.domain.target import blocked
from azpatch.reconcile.context import Context
from azpatch.reconcile.decision import Decision
from azpatch.reconcile.memory import MachineMemory, Memory
from azpatch.reconcile.queue import Key
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.waiting import untold

LONG = timedelta(minutes=10)
"""A longer wait is told. In that time Azure takes some 2,600 operations of one subscription and
region, so that the wait of a fleet of this size costs nothing."""

LONGEST_APPOINTMENT = timedelta(minutes=5)
"""Who has to wait longer asks again after this: others may have left the line, or Azure may have
more room than was known."""

IN_LINE = Idle(
    True,
    Reason.WAITING_FOR_TURN,
    "Azure takes only so many operations a minute in one subscription and region, and other "
    "machines are before this one in the line. It is sent when its turn comes.",
)


class Line:
    """Places in the line of those who want to send something to a machine."""

    def __init__(self, context: Context, memory: Memory) -> None:
        self._context = context
        self._memory = memory

    def join(self, decision: Decision, kind: OperationKind, memory: MachineMemory) -> timedelta:
        """Takes or keeps the machine's place; how long it is until its turn, zero: now."""
        memory.in_line = True
        machine, policy = decision.machine, decision.policy
        last = yields(kind, decision.declared, decision.target, decision.status, decision.standing)
        name = f"{policy.namespace}/{policy.name}"
        return self._context.azure.reserve(machine.id, machine.location, name, yields=last)

    def leave(self, memory: MachineMemory) -> None:
        """Gives the machine's place back, unless another PatchTarget of it stands there too."""
        if not memory.in_line:
            return
        memory.in_line = False
        others = self._context.store.targets_on(memory.machine_key)
        if not any(self._memory.in_line(own_key(other)) for other in others):
            self._context.azure.release(memory.machine_key)


def while_in_line(
    context: Context,
    key: Key,
    decision: Decision,
    kind: OperationKind,
    wait: timedelta,
    memory: MachineMemory,
) -> tuple[PatchTargetStatus | None, timedelta]:
    """The status of a machine that waits, None: it stays as it is; and when to ask again."""
    again = min(wait, LONGEST_APPOINTMENT)
    waits = blocked(decision.target, decision.status, IN_LINE, context.clock.now())
    says = find(decision.target.status.conditions, ConditionType.READY)
    if wait > LONG or (says is not None and says.reason == Reason.WAITING_FOR_TURN):
        # What was said once is not taken back while the rest of the wait is short.
        return waits, again
    if says is None or context.decided.get(key) != decision.policy.generation:
        # It says what is known of it. What was declared may be new, and the policy must not count
        # by what the old one came to.
        return decision.status, again
    if kind is OperationKind.ASSESS or says.reason == Reason.WAITING_FOR_SLOT:
        return None, again
    # It says still that its wave, or its window, keeps the install.
    moment = untold(context, key, decision, waits, memory)
    return (waits, again) if moment is None else (None, min(moment, again))
