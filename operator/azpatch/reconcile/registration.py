"""Registers the preview feature: a last look at what is declared, the record, one POST.

See `domain.registration` for what is decided and what becomes of an operator that dies in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from azpatch.api.subscription import AzureSubscription, FeatureRegistration
from azpatch.api.target import AzureError as AzureWords
from azpatch.azure.port import AzureClient, AzureError, NeverSent, Unconfirmed
from azpatch.domain import registration as decide
from azpatch.domain import subscription as summary
from azpatch.domain.registration import Next, RegistrationFacts, Send
from azpatch.domain.subscription import SubscriptionFacts
from azpatch.kube.port import AZURE_SUBSCRIPTION
from azpatch.reconcile.context import Context
from azpatch.reconcile.queue import Result
from azpatch.reconcile.refusals import registration_again
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Stored

FRESH = timedelta(seconds=30)
"""How old, in Azure's time, a look at the features may be that something is decided by."""

ROOM = 60.0
"""Real seconds after the record in which the POST is over, or is not sent any more."""

SHORTLY = timedelta(seconds=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Case:
    stored: Stored[AzureSubscription]
    subscription: AzureSubscription
    facts: SubscriptionFacts
    client: AzureClient


class Registrar:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def step(
        self,
        stored: Stored[AzureSubscription],
        subscription: AzureSubscription,
        gather: Callable[[], SubscriptionFacts],
    ) -> tuple[SubscriptionFacts, Next]:
        """What is to be done, and the facts that say so: looked at anew if it is something.

        `gather` gives the facts as the inventory has them.
        """
        facts = gather()
        step = self._decide(subscription, facts, recorded(subscription))
        if step.send is None and step.wake is None:
            return facts, step
        id_ = subscription.spec.subscription_id
        fresh = await self._context.refresher.look_at_features(id_, FRESH)
        facts = gather()
        step = self._decide(subscription, facts, recorded(subscription))
        if step.send is not None and stored.deleting:
            return facts, Next(step.record, told=step.told)
        known = summary.registration_facts(subscription, facts, step.record)
        if step.send is not None and not fresh and known is not None:
            return facts, decide.put_off(step, known, self._context.clock.now())
        return facts, step

    async def send(
        self, stored: Stored[AzureSubscription], facts: SubscriptionFacts, step: Next
    ) -> Result:
        """Records what is about to be sent, and sends it once.

        Raises NotLeading, with nothing sent, if the Lease was lost on the way, and KubeError.
        """
        assert stored.parsed is not None
        inventory = self._context.inventory.subscription(stored.parsed.spec.subscription_id)
        newest = await self._reread(stored)
        if newest is None or inventory is None:
            return Result(SHORTLY)
        case = _Case(newest, stored.parsed, facts, inventory.client)
        if step.send is Send.COMPUTE:
            assert step.record is not None
            await self._compute(case, step.record)
        else:
            await self._feature(case)
            # What was read before the POST says nothing any more.
            inventory.features_read = None
        return Result(SHORTLY)

    async def _reread(self, stored: Stored[AzureSubscription]) -> Stored[AzureSubscription] | None:
        """The object as the API server holds it now; None if that is not what was decided by. A
        watch may lag, or be broken, and another operator may have written the record."""
        await self._context.rereads.read(AZURE_SUBSCRIPTION, "", stored.name)
        newest = self._context.store.subscription(stored.name)
        if newest is None or newest.parsed is None or stored.parsed is None:
            return None
        same = newest.uid == stored.uid and newest.generation == stored.generation
        if not same or newest.deleting or newest.parsed.status != stored.parsed.status:
            return None
        return newest

    async def _feature(self, case: _Case) -> None:
        now, began = self._context.clock.now(), self._context.clock.monotonic()
        attempt_id = str(UUID(int=self._context.random.getrandbits(128), version=4))
        record = decide.intended(_facts(case, None), attempt_id, now)
        stored = await self._record(case, record)
        spec = case.subscription.spec
        error = await self._post(
            Send.FEATURE,
            began,
            lambda: case.client.register_feature(spec.subscription_id, record.feature, attempt_id),
        )
        if error is None:
            record = decide.requested(record)
        elif isinstance(error, Unconfirmed | TimeoutError):
            record = decide.unconfirmed(record, _words(error))
        else:
            again = self._context.clock.now() + registration_again(error)
            record = decide.not_taken(record, _words(error), again)
        await self._record(_Case(stored, case.subscription, case.facts, case.client), record)

    async def _compute(self, case: _Case, record: FeatureRegistration) -> None:
        began = self._context.clock.monotonic()
        stored = await self._record(case, record)
        id_ = case.subscription.spec.subscription_id
        error = await self._post(
            Send.COMPUTE, began, lambda: case.client.register_compute(id_, record.attempt_id)
        )
        now = self._context.clock.now()
        if error is None:
            record = decide.completed(record, now)
        else:
            record = decide.compute_not_taken(
                record, _words(error), now + registration_again(error)
            )
        await self._record(_Case(stored, case.subscription, case.facts, case.client), record)

    async def _post(
        self, what: Send, began: float, post: Callable[[], Awaitable[None]]
    ) -> AzureError | TimeoutError | None:
        """One POST, at a moment at which the Lease is held; what went wrong."""
        self._context.must_lead()
        left = ROOM - (self._context.clock.monotonic() - began)
        if left <= 0:
            return NeverSent("TooLate", "Writing it down took too long, and it was not sent.")
        try:
            async with asyncio.timeout(left):
                await post()
        except (AzureError, TimeoutError) as error:
            log.warning("not answered, or refused", request=what, error=str(error))
            return error
        log.info("sent", request=what)
        return None

    async def _record(self, case: _Case, record: FeatureRegistration) -> Stored[AzureSubscription]:
        """Writes the record, and the condition that goes with it."""
        key = own_key(case.stored)
        async with self._context.holds.lock(key):
            now = self._context.clock.now()
            facts = _facts(case, record)
            # With this write the edit has been answered.
            told = decide.next_step(replace(facts, edited=False), now).told
            status = summary.status(case.subscription, case.facts, Next(record, told=told), now)
            return await self._context.write_status(self._context.newest(case.stored), status)

    def _decide(
        self,
        subscription: AzureSubscription,
        facts: SubscriptionFacts,
        record: FeatureRegistration | None,
    ) -> Next:
        return summary.registration(subscription, facts, record, self._context.clock.now())


def recorded(subscription: AzureSubscription) -> FeatureRegistration | None:
    """What is recorded of the registration."""
    feature = subscription.status.preview_feature
    return feature.registration if feature else None


def _facts(case: _Case, record: FeatureRegistration | None) -> RegistrationFacts:
    found = summary.registration_facts(case.subscription, case.facts, record)
    # Else there would be nothing to send.
    assert found is not None
    return found


def _words(error: AzureError | TimeoutError) -> AzureWords | None:
    return (
        AzureWords(code=error.code, message=error.message)
        if isinstance(error, AzureError)
        else None
    )
