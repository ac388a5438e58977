"""Wrong operators: each differs from the real one in one thing that a careless change could bring.

They are made from outside, by patching the product's parts; it has no switch for them. Run as a
program with a name, a first seed and a number of seeds, it prints the first seed that catches it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from month_mutations import MONTHS
from one_time_mutations import ONE_TIME
from run_mutations import RUNS
from support_mutations import gate_ignored, verdict_ignored

from azpatch.api.common import MachineKind
from azpatch.api.target import OperationState
from azpatch.azure.port import Unconfirmed
from azpatch.domain import (
    attempts,
    detection,
    look,
    observe,
    operation,
    plan,
    registration,
    traces,
    windows,
)
from azpatch.domain.windows import Calendar
from azpatch.reconcile import calendars, decision, flight, machine, policy, refusals
from azpatch.reconcile.context import Context
from azpatch.reconcile.inventory import SubscriptionInventory
from azpatch.reconcile.slots import Slots, first_come
from azpatch.reconcile.start import Starter
from simulation.run import simulate

NEVER = timedelta(days=1000)

Patches = list[AbstractContextManager[Any]]


def intent_forgotten() -> Patches:
    """What is about to be sent is not written down."""
    write = Context.write_status

    async def write_status(self: Context, stored: Any, status: Any) -> Any:
        begun = getattr(status, "operation", None)
        if begun is not None and begun.state is OperationState.INTENT:
            return replace(stored, parsed=stored.parsed.replace(status=status))
        return await write(self, stored, status)

    return [patch.object(Context, "write_status", write_status)]


def intent_after_the_post() -> Patches:
    """The POST goes out first."""
    intend, post = Starter._intend, Starter._post
    answers: dict[int, Any] = {}

    async def early(self: Starter, kind: Any, case: Any, view: Any) -> Any:
        answer: object
        try:
            answer = await post(self, kind, case, "00000000-0000-4000-8000-000000000000")
        except Exception as error:
            answer = error
        answers[id(self)] = answer
        return await intend(self, kind, case, view)

    async def late(self: Starter, kind: Any, case: Any, attempt_id: str) -> Any:
        answer = answers.pop(id(self))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return [patch.object(Starter, "_intend", early), patch.object(Starter, "_post", late)]


def post_retried() -> Patches:
    """A POST whose answer is lost is sent again."""
    post = Starter._post

    async def twice(self: Starter, kind: Any, decision: Any, attempt_id: str) -> Any:
        try:
            return await post(self, kind, decision, attempt_id)
        except Unconfirmed:
            return await post(self, kind, decision, attempt_id)

    return [patch.object(Starter, "_post", twice)]


def recovery_that_does_not_look() -> Patches:
    """An intent whose answer is not known is taken for one that never left."""
    judge = operation.judge

    def hasty(op: Any, *rest: Any) -> Any:
        if op.state is not OperationState.STARTED:
            return operation.NeverStarted()
        return judge(op, *rest)

    return [
        patch.object(flight, "judge", hasty),
        # The look before each POST would find what recovery does not.
        patch.object(look, "_going", lambda view, status, now: None),
    ]


def finalizer_released_early() -> Patches:
    """The lock is let go as soon as Azure has answered."""
    accepted = Starter._accepted

    async def careless(self: Starter, stored: Any, answer: Any) -> None:
        await accepted(self, stored, answer)
        await self._context.remove_finalizer(self._context.newest(stored))

    return [patch.object(Starter, "_accepted", careless)]


def stale_row_trusted() -> Patches:
    """Whatever Resource Graph shows is taken for the newest."""
    return [
        patch.object(SubscriptionInventory, "_newer", lambda self, key, row: True),
        patch.object(observe, "_speaks_for", lambda row, status: True),
        patch.object(
            detection, "counts", lambda row, machine, since: row.last_modified is not None
        ),
    ]


def budget_off_by_one() -> Patches:
    """One slot more than maxUnavailable."""
    hand_out = Slots.hand_out

    def generous(self: Slots, policy: Any, limit: int, *rest: Any) -> Any:
        return hand_out(self, policy, limit + 1, *rest)

    return [patch.object(Slots, "hand_out", generous)]


def spread_ignored() -> Patches:
    """Groups keep nobody waiting."""
    return [patch.object(policy, "choose", lambda context, of, line, free: first_come(line, free))]


def deadline_ignored() -> Patches:
    """An operation without a result is waited for for ever."""
    return [patch.object(operation, "_is_lost", lambda op, evidence, now: False)]


def absence_taken_for_deletion() -> Patches:
    """What Resource Graph does not show is gone."""
    take = SubscriptionInventory.take

    def rash(self: SubscriptionInventory, snapshot: Any, known: Any, now: Any) -> Any:
        changes = take(self, snapshot, known, now)
        for machine_key in list(self.missing):
            self.confirm_gone(machine_key)
        return changes

    return [patch.object(SubscriptionInventory, "take", rash)]


def vm_id_ignored() -> Patches:
    """A machine made anew under an old name passes for the old one."""
    cleared, judge, watch = look.cleared, operation.judge, observe.observe

    def blind(view: Any, known: Any, status: Any, now: Any) -> Any:
        return cleared(view, replace(known, vm_id=view.machine.vm_id), status, now)

    def same(op: Any, vm_id: Any, *rest: Any) -> Any:
        return judge(op, None, *rest)

    def unaware(status: Any, policy: Any, around: Any, now: Any) -> Any:
        known = status.machine
        if known is not None:
            around = replace(
                around,
                machine=replace(around.machine, vm_id=known.vm_id, time_created=known.time_created),
            )
        return watch(status, policy, around, now)

    return [
        patch.object(machine, "cleared", blind),
        patch.object(flight, "judge", same),
        patch.object(decision, "observe", unaware),
    ]


def giving_up_after_an_error() -> Patches:
    """What Azure refused, or a guest failed at, is never tried again."""
    return [
        patch.object(refusals, "AZURE_AGAIN", NEVER),
        patch.object(refusals, "REFUSED_AGAIN", NEVER),
        patch.object(attempts, "assessment_retry", lambda failures, max_age: NEVER),
        patch.object(plan, "assessment_retry", lambda failures, max_age: NEVER),
    ]


def lost_answer_never_retried() -> Patches:
    """A POST without an answer is waited for for ever."""
    is_lost = operation._is_lost

    def patient(op: Any, evidence: Any, now: Any) -> bool:
        return op.state is OperationState.STARTED and is_lost(op, evidence, now)

    return [
        patch.object(traces, "NOT_STARTED_AFTER", NEVER),
        patch.object(traces, "ARC_NOT_STARTED_AFTER", NEVER),
        patch.object(operation, "_is_lost", patient),
    ]


def registration_hurried() -> Patches:
    """A registration whose answer is lost is sent again at once."""
    return [patch.object(registration, "NOT_BEGUN_AFTER", timedelta(0))]


def rows_ignored_on_arc() -> Patches:
    """What Resource Graph shows to be at work on an Arc-enabled server does not count."""
    going = look._going

    def careless(view: Any, status: Any, now: Any) -> Any:
        return None if view.machine.kind is MachineKind.ARC_SERVER else going(view, status, now)

    return [patch.object(look, "_going", careless)]


def absence_hurried_on_arc() -> Patches:
    """An operation on an Arc-enabled server that does not show when it is looked for did not
    begin."""

    def never(self: Any, operation: Any, view: Any, now: Any) -> bool:
        asked = view.requested
        return bool(view.agent_ready) and (asked is None or not traces._may_be(operation, asked))

    return [patch.object(traces._ByTime, "never", never)]


def url_taken_for_activity_on_arc() -> Patches:
    """The operation's URL is taken to name its activity, as a virtual machine's does."""
    return [patch.object(traces._ByTime, "activity", lambda self, operation_id: operation_id)]


def billing_ignored() -> Patches:
    """What Azure charges for an Arc-enabled server is incurred unasked."""
    return [patch.object(decision, "_unpaid", lambda machine, subscription: None)]


def window_end_ignored() -> Patches:
    """An install starts though it would not be over when the window ends."""
    opening = calendars.opening

    def hasty(calendar: Any, needed: timedelta, now: datetime) -> Any:
        return opening(calendar, timedelta(0), now)

    return [patch.object(calendars, "opening", hasty)]


def freezes_ignored() -> Patches:
    """Freezes close nothing."""
    return [patch.object(Calendar, "stretches", lambda self, span: (span,))]


def zones_ignored() -> Patches:
    """Windows and freezes are read in UTC."""
    return [patch.object(windows, "zone", lambda name: ZoneInfo("UTC"))]


@dataclass(frozen=True)
class Mutation:
    """How to make it, which seeds catch it, and by what."""

    make: Callable[[], Patches]
    first: int
    within: int
    """Seeds from `first` on, one of which must fail."""
    by: str
    """The invariant that the first of these to fail finds broken. An operator that fails at
    everything would be caught too, and prove nothing."""
    word: str = ""
    """What the violation says besides: whoever stands still breaks the sixth."""


def _listed(make: Callable[[], Iterator[AbstractContextManager[Any]]]) -> Callable[[], Patches]:
    return lambda: [*make()]


LISTED = {**RUNS, **ONE_TIME, **MONTHS}

MUTATIONS = {
    "intent forgotten": Mutation(intent_forgotten, 0, 3, "intent"),
    "intent written after the POST": Mutation(intent_after_the_post, 0, 3, "intent"),
    "the POST retried": Mutation(post_retried, 3, 5, "1 at most one"),
    "recovery that does not look": Mutation(recovery_that_does_not_look, 3, 10, "1 at most one"),
    "finalizer released early": Mutation(finalizer_released_early, 24, 1, "finalizer"),
    "a stale row trusted": Mutation(stale_row_trusted, 0, 8, "5 evidence"),
    "budget off by one": Mutation(budget_off_by_one, 0, 10, "3 maxUnavailable"),
    "spread ignored": Mutation(spread_ignored, 16, 12, "3 spread"),
    "deadline ignored": Mutation(deadline_ignored, 30, 1, "6 it gets there", "Install in flight"),
    "absence taken for deletion": Mutation(absence_taken_for_deletion, 0, 10, "absence"),
    "vmId ignored": Mutation(
        vm_id_ignored,
        0,
        8,
        "6 it gets there",
        "its status is of the machine that had the name before",
    ),
    "giving up after an error": Mutation(
        giving_up_after_an_error, 5, 6, "6 it gets there", "Ready=AssessmentFailed"
    ),
    "a lost answer never retried": Mutation(
        lost_answer_never_retried, 174, 1, "6 it gets there", "Assess in flight"
    ),
    # Seeds in which a registration is long on its way.
    "a registration not waited for": Mutation(
        registration_hurried, 174, 1, "a feature is registered once"
    ),
    "the verdict ignored": Mutation(lambda: [*verdict_ignored()], 0, 3, "5 support"),
    "the gate ignored": Mutation(lambda: [*gate_ignored()], 2, 8, "5 support"),
    "Arc: what runs ignored": Mutation(rows_ignored_on_arc, 20, 6, "1 at most one"),
    # Seeds in which an answer about a server is lost and its row comes late.
    "Arc: absence of a row hurried": Mutation(absence_hurried_on_arc, 75, 5, "1 at most one"),
    "Arc: a URL taken for an activity": Mutation(url_taken_for_activity_on_arc, 14, 8, "9 claims"),
    "Arc: billing ignored": Mutation(billing_ignored, 4, 9, "5 support"),
    "a window's end ignored": Mutation(window_end_ignored, 21, 1, "2, 7 declared"),
    "freezes ignored": Mutation(freezes_ignored, 21, 1, "2, 7 declared"),
    "time zones ignored": Mutation(zones_ignored, 13, 1, "2, 7 declared"),
    **{name: Mutation(_listed(make), *seeds) for name, (make, *seeds) in LISTED.items()},
}


def first_caught(make: Callable[[], Patches], seeds: range) -> tuple[int, str] | None:
    """The first seed that fails with the mutation, and why."""
    with ExitStack() as stack:
        for patched in make():
            stack.enter_context(patched)
        for seed in seeds:
            outcome = simulate(seed)
            if outcome.violation is not None:
                return seed, outcome.violation
    return None


if __name__ == "__main__":
    chosen = MUTATIONS[sys.argv[1]]
    first, count = int(sys.argv[2]), int(sys.argv[3])
    found = first_caught(chosen.make, range(first, first + count))
    print(f"{found[0]} {found[1]}" if found else "not caught")
