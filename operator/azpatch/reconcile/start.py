"""Begins an operation on a machine: finalizers, a last look at what is declared, intent, one POST.

An operator that dies between any two of these leaves enough behind for the next one to find out
what became of it; see `domain.operation`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from azpatch.api.reasons import Reason
from azpatch.api.target import AzureError as AzureWords
from azpatch.api.target import OperationKind, OperationState, PatchTarget
from azpatch.azure.port import (
    Accepted,
    AzureError,
    Unconfirmed,
)
from azpatch.domain import run_entry
from azpatch.domain import target as decide
from azpatch.domain.ending import begun, dropped
from azpatch.domain.facts import MachineView
from azpatch.domain.operation import LOOK_EARLY
from azpatch.domain.pins import parameters
from azpatch.domain.plan import Idle, fingerprint
from azpatch.domain.traces import before, traces_of
from azpatch.kube.port import AZURE_SUBSCRIPTION, NAMESPACE, PATCH_POLICY, PATCH_RUN, KubeError
from azpatch.reconcile.context import Context
from azpatch.reconcile.decision import Decision
from azpatch.reconcile.looks import Subject
from azpatch.reconcile.refusals import of_operation
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Stored

FRESH = 60.0
"""Real seconds that the look at the machine may be old when the POST goes out."""

ROOM = 15.0
"""Real seconds of these that a POST needs at least: one that is cut off counts as unconfirmed."""

DECLARED = 5.0
"""Real seconds from when what people declared is asked for until the intent stands, or a run is
made. If the API server is slower, who suspends a policy meanwhile would see it start something."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """How it went."""

    look_after: timedelta
    began: bool = True
    """False: nothing was sent, and there is nothing to follow."""
    accepted: tuple[str, Accepted] | None = None
    """Attempt id and Azure's answer."""
    obstacle: Idle | None = None
    """Why it did not begin."""


NOT_ANY_MORE = Started(timedelta(seconds=1), began=False)
"""What was decided changed while the machine was looked at: decide anew."""


class Starter:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def start(
        self,
        kind: OperationKind,
        first: Decision,
        again: Callable[[], Decision | None],
        view: MachineView,
        verified: float,
    ) -> Started:
        """Writes the intent and sends the operation, once.

        `again` decides anew, from memory; None if it no longer comes to the same. `verified` is
        the monotonic time of the look that gave `view`. Raises NotLeading, with nothing sent, if
        the Lease was lost on the way, and KubeError.
        """
        with self._context.holds.hold(own_key(first.policy), own_key(first.subscription)):
            await self._finalizers(first)
            asked = self._context.clock.monotonic()
            await self._reread(first)
            decision = again()
            late = self._left(verified) < ROOM or self._since(asked) > DECLARED
            if decision is None or late:
                return NOT_ANY_MORE
            self._context.must_lead()
            stored, attempt_id = await self._intend(kind, decision, view)
        # The last moment: whoever leads now finds the intent, and waits for what may come of it.
        self._context.must_lead()
        left = self._left(verified)
        if left <= 0 or self._since(asked) > DECLARED:
            log.warning("attempt dropped, it took too long", machine=decision.machine.id)
            return await self._drop(decision, stored, _too_late(self._context.clock.now()))
        try:
            async with asyncio.timeout(left):
                accepted = await self._post(kind, decision, attempt_id)
        except (Unconfirmed, TimeoutError) as error:
            log.warning("answer lost", machine=decision.machine.id, kind=kind, error=str(error))
            return await self._unconfirmed(stored, error)
        except AzureError as error:
            log.info("not started", machine=decision.machine.id, kind=kind, error=str(error))
            obstacle = of_operation(error, self._context.clock.now())
            return await self._drop(decision, stored, obstacle)
        log.info(
            "started",
            policy=f"{decision.policy.namespace}/{decision.policy.name}",
            machine=decision.machine.id,
            kind=kind,
            operation=accepted.operation_id,
        )
        await self._accepted(stored, accepted)
        return Started(LOOK_EARLY, accepted=(attempt_id, accepted))

    def _left(self, verified: float) -> float:
        """Real seconds that the look at the machine is still fresh."""
        return FRESH - self._since(verified)

    def _since(self, then: float) -> float:
        """Real seconds."""
        return self._context.clock.monotonic() - then

    async def _finalizers(self, first: Decision) -> None:
        """What reads the result must outlive the operation."""
        for owner in (first.policy, first.subscription):
            async with self._context.holds.lock(own_key(owner)):
                await self._context.add_finalizer(self._context.newest(owner))
        await self._context.add_finalizer(self._context.newest(first.stored))

    async def _reread(self, first: Decision) -> None:
        """What people declared, as the API server holds it now: a watch may lag, or be broken, and
        who suspended a policy a moment ago must not see it start something."""
        policy = first.policy
        run = first.standing.part.mine
        declared = [
            (PATCH_POLICY, policy.namespace, policy.name),
            (AZURE_SUBSCRIPTION, "", first.subscription.name),
            (NAMESPACE, "", policy.namespace),
            *([(PATCH_RUN, policy.namespace, run.name)] if run else []),
        ]
        ended = await asyncio.gather(
            *(self._context.rereads.read(*one) for one in declared), return_exceptions=True
        )
        for error in ended:
            if error is not None:
                raise error

    async def _intend(
        self, kind: OperationKind, decision: Decision, view: MachineView
    ) -> tuple[Stored[PatchTarget], str]:
        hash_ = None
        if kind is OperationKind.INSTALL:
            assert decision.selection is not None
            hash_ = fingerprint(
                decision.declared, decision.machine, decision.selection, decision.standing.pins
            )
        attempt_id = str(UUID(int=self._context.random.getrandbits(128), version=4))
        now = self._context.clock.now()
        install = decision.declared.spec.install
        previous = before(kind, view, decision.status)
        turn = decision.standing.opening.turn
        status = begun(decision.status, kind, previous, install, attempt_id, hash_, now, turn)
        status = decide.in_flight(decision.target, status, now)
        return await self._context.write_status(decision.stored, status), attempt_id

    async def _post(self, kind: OperationKind, decision: Decision, attempt_id: str) -> Accepted:
        if kind is OperationKind.ASSESS:
            return await decision.client.assess(decision.machine.id, attempt_id)
        install, os_type = decision.declared.spec.install, decision.machine.os_type
        assert install is not None
        assert os_type is not None
        body = parameters(install, os_type, decision.standing.pins)
        assert body is not None
        return await decision.client.install(decision.machine.id, body, attempt_id)

    async def _accepted(self, stored: Stored[PatchTarget], accepted: Accepted) -> None:
        target = stored.parsed
        assert target is not None
        try:
            activity = traces_of(target.spec.machine_id).activity(accepted.operation_id)
            await self._record(stored, OperationState.STARTED, activity)
        except KubeError as error:
            # Azure's answer is in memory; who follows the operation writes it down.
            log.info("answer not written down yet", target=stored.name, error=str(error))
        self._watch(stored)

    async def _unconfirmed(
        self, stored: Stored[PatchTarget], error: Unconfirmed | TimeoutError
    ) -> Started:
        words = None
        if isinstance(error, Unconfirmed):
            words = AzureWords(code=error.code, message=error.message)
        await self._record(stored, OperationState.UNCONFIRMED, None, words)
        self._watch(stored)
        return Started(LOOK_EARLY)

    async def _record(
        self,
        stored: Stored[PatchTarget],
        state: OperationState,
        operation_id: str | None,
        error: AzureWords | None = None,
    ) -> None:
        target = stored.parsed
        assert target is not None
        assert target.status.operation is not None
        operation = target.status.operation.replace(
            state=state, operation_id=operation_id, error=error
        )
        status = target.status.replace(operation=operation)
        now = self._context.clock.now()
        await self._context.write_status(stored, decide.in_flight(target, status, now))

    def _watch(self, stored: Stored[PatchTarget]) -> None:
        assert stored.parsed is not None
        assert stored.parsed.status.operation is not None
        subject = subject_of(stored.parsed.status.operation.kind)
        self._context.looks.want(stored.parsed.spec.machine_id, subject, following=True)

    async def _drop(
        self, decision: Decision, stored: Stored[PatchTarget], obstacle: Idle
    ) -> Started:
        """It did not begin for certain: as if it had not been tried."""
        target = stored.parsed
        assert target is not None
        now = self._context.clock.now()
        status = dropped(target.status).replace(attempts=decision.status.attempts)
        status = decide.blocked(target, status, obstacle, now)
        stored = await self._context.write_status(stored, status)
        await release(self._context, stored)
        assert obstacle.wake is not None
        wait = max(obstacle.wake - now, timedelta(seconds=1))
        return Started(wait, began=False, obstacle=obstacle)


async def release(context: Context, stored: Stored[PatchTarget]) -> None:
    """Takes the finalizer off, with nothing in flight. In the midst of its part in a run another
    operation follows soon, and the finalizer stays for that, unless the PatchTarget is being
    deleted, or its policy is gone and left it behind. Raises KubeError."""
    entry = stored.parsed.status.run if stored.parsed is not None else None
    left = stored.deleting or context.store.policy_of(stored) is None
    if left or not run_entry.midway(entry):
        await context.remove_finalizer(stored)


def subject_of(kind: OperationKind) -> Subject:
    """Where Resource Graph shows an operation."""
    return Subject.ASSESSMENT if kind is OperationKind.ASSESS else Subject.INSTALLATION


def _too_late(now: datetime) -> Idle:
    return Idle(
        True,
        Reason.RETRY_LATER,
        "The request was about to go out too long after the last look at the machine, or at what "
        "is declared; both are looked at again.",
        now + timedelta(seconds=10),
    )
