"""Begins an operation on a machine: finalizers, intent, one POST, in this order.

An operator that dies between any two of these leaves enough behind for the next one to find out
what became of it; see `domain.operation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import OperationKind, OperationState, PatchTarget, PatchTargetStatus
from azpatch.azure.port import (
    Accepted,
    AzureClient,
    AzureError,
    Busy,
    Denied,
    Throttled,
    Unconfirmed,
)
from azpatch.domain import target as decide
from azpatch.domain.ending import begun, dropped
from azpatch.domain.facts import Machine, MachineView
from azpatch.domain.operation import LOOK_EARLY
from azpatch.domain.outcome import NOT_SENT
from azpatch.domain.plan import LOOK_AT_FOREIGN, Idle, fingerprint
from azpatch.domain.selection import Selection, install_parameters
from azpatch.kube.port import KubeError
from azpatch.reconcile.context import Context
from azpatch.reconcile.looks import Subject
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Stored

FRESH = 60.0
"""Real seconds that the look at the machine and the intent may be old when the POST goes out."""

REFUSED_AGAIN = timedelta(hours=1)
"""After a refusal that will most likely be repeated: a request that Azure calls wrong."""

THROTTLED_AGAIN = timedelta(minutes=1)
"""After a 429 that does not say when: the buckets of guest patching fill up by the minute."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """What is to begin, and on what it was decided."""

    kind: OperationKind
    stored: Stored[PatchTarget]
    policy: Stored[PatchPolicy]
    subscription: Stored[AzureSubscription]
    client: AzureClient
    machine: Machine
    status: PatchTargetStatus
    view: MachineView
    selection: Selection | None
    verified: float
    """Monotonic time of the look at the machine."""


@dataclass(frozen=True, slots=True)
class Started:
    """How it went."""

    look_after: timedelta
    accepted: tuple[str, Accepted] | None = None
    """Attempt id and Azure's answer."""
    obstacle: Idle | None = None
    """Why it did not begin."""


class Starter:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def start(self, start: Start) -> Started:
        """Writes the intent and sends the operation, once."""
        policy, subscription = own_key(start.policy), own_key(start.subscription)
        with self._context.holds.hold(policy, subscription):
            stored = await self._intend(start)
        assert stored.parsed is not None
        operation = stored.parsed.status.operation
        assert operation is not None
        if self._context.clock.monotonic() - start.verified > FRESH:
            log.warning("attempt dropped, it took too long", machine=start.machine.id)
            return await self._drop(stored, _too_late(self._context.clock.now()))
        try:
            accepted = await self._post(start, operation.attempt_id)
        except Unconfirmed as error:
            log.warning("answer lost", machine=start.machine.id, kind=start.kind, code=error.code)
            return await self._unconfirmed(stored)
        except AzureError as error:
            log.info("not started", machine=start.machine.id, kind=start.kind, error=str(error))
            return await self._drop(stored, _refusal(error, self._context.clock.now()))
        log.info(
            "started",
            policy=f"{start.policy.namespace}/{start.policy.name}",
            machine=start.machine.id,
            kind=start.kind,
            operation=accepted.operation_id,
        )
        await self._accepted(stored, accepted)
        return Started(LOOK_EARLY, accepted=(operation.attempt_id, accepted))

    async def _intend(self, start: Start) -> Stored[PatchTarget]:
        """What reads the result must outlive the operation: finalizers first, then the intent."""
        for owner in (start.policy, start.subscription):
            async with self._context.holds.lock(own_key(owner)):
                await self._context.add_finalizer(self._context.newest(owner))
        stored = await self._context.add_finalizer(start.stored)
        assert stored.parsed is not None
        policy = start.policy.parsed
        assert policy is not None
        hash_ = None
        if start.kind is OperationKind.INSTALL:
            assert start.selection is not None
            hash_ = fingerprint(policy, start.machine, start.selection)
        now = self._context.clock.now()
        status = begun(
            start.status,
            start.kind,
            start.view,
            policy.spec.install,
            str(UUID(int=self._context.random.getrandbits(128), version=4)),
            hash_,
            now,
        )
        status = decide.in_flight(stored.parsed, status, now)
        return await self._context.write_status(stored, status)

    async def _post(self, start: Start, attempt_id: str) -> Accepted:
        if start.kind is OperationKind.ASSESS:
            return await start.client.assess(start.machine.id, attempt_id)
        policy = start.policy.parsed
        assert policy is not None
        assert policy.spec.install is not None
        assert start.machine.os_type is not None
        parameters = install_parameters(policy.spec.install, start.machine.os_type)
        assert parameters is not None
        return await start.client.install(start.machine.id, parameters, attempt_id)

    async def _accepted(self, stored: Stored[PatchTarget], accepted: Accepted) -> None:
        try:
            await self._record(stored, OperationState.STARTED, accepted.operation_id)
        except KubeError as error:
            # Azure's answer is in memory; who follows the operation writes it down.
            log.info("answer not written down yet", target=stored.name, error=str(error))
        self._watch(stored)

    async def _unconfirmed(self, stored: Stored[PatchTarget]) -> Started:
        await self._record(stored, OperationState.UNCONFIRMED, None)
        self._watch(stored)
        return Started(LOOK_EARLY)

    async def _record(
        self, stored: Stored[PatchTarget], state: OperationState, operation_id: str | None
    ) -> None:
        target = stored.parsed
        assert target is not None
        assert target.status.operation is not None
        operation = target.status.operation.replace(state=state, operation_id=operation_id)
        status = target.status.replace(operation=operation)
        now = self._context.clock.now()
        await self._context.write_status(stored, decide.in_flight(target, status, now))

    def _watch(self, stored: Stored[PatchTarget]) -> None:
        assert stored.parsed is not None
        assert stored.parsed.status.operation is not None
        subject = subject_of(stored.parsed.status.operation.kind)
        self._context.looks.want(stored.parsed.spec.machine_id, subject, following=True)

    async def _drop(self, stored: Stored[PatchTarget], obstacle: Idle) -> Started:
        """It did not begin for certain."""
        target = stored.parsed
        assert target is not None
        now = self._context.clock.now()
        status = decide.blocked(target, dropped(target.status), obstacle, now)
        stored = await self._context.write_status(stored, status)
        await self._context.remove_finalizer(stored)
        assert obstacle.wake is not None
        return Started(max(obstacle.wake - now, timedelta(seconds=1)), obstacle=obstacle)


def subject_of(kind: OperationKind) -> Subject:
    """Where Resource Graph shows an operation."""
    return Subject.ASSESSMENT if kind is OperationKind.ASSESS else Subject.INSTALLATION


def _too_late(now: datetime) -> Idle:
    return Idle(
        True,
        Reason.RETRY_LATER,
        "The request was about to go out too long after the last look at the machine; it is "
        "looked at again.",
        now + timedelta(seconds=10),
    )


def _refusal(error: AzureError, now: datetime) -> Idle:
    """Why Azure did not take the operation, and when it is tried again."""
    match error:
        case Busy():
            reason, wait = Reason.FOREIGN_OPERATION, error.retry_after or LOOK_AT_FOREIGN
            return Idle(False, reason, NOT_SENT[reason].message, now + wait)
        case Throttled():
            reason, wait = Reason.THROTTLED, error.retry_after or THROTTLED_AGAIN
            return Idle(True, reason, NOT_SENT[reason].message, now + wait)
        case Denied():
            reason, wait = Reason.ACCESS_MISSING, REFUSED_AGAIN
        case _:
            reason, wait = Reason.REJECTED, REFUSED_AGAIN
    return Idle(
        False,
        reason,
        f"Azure refused the operation. It says {error.code}: {error.message.rstrip('.')}. It is "
        "sent again in an hour.",
        now + wait,
    )
