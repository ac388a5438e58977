"""Keeps the inventory true: one bulk reading per identity, on an interval and when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from itertools import chain
from random import Random

import structlog

from azpatch.azure.port import AzureClient, AzureError, Gone, Retry, SignInFailed
from azpatch.clock import Clock
from azpatch.domain.facts import Feature, Permissions, Snapshot
from azpatch.reconcile.inventory import Changes, Inventory, SubscriptionInventory

YOUNG_ENOUGH = timedelta(minutes=1)
"""An inventory younger than this is not read anew for a changed object."""

CONFIRMATIONS = 50
"""GETs that one refresh spends on machines that vanished: well below ARM's burst of 250 reads."""

FAILED_AGAIN_AFTER = timedelta(minutes=1)
"""A refresh that failed is tried again this soon, or after the interval if that is shorter."""


log = structlog.get_logger(__name__)


class Refresher:
    """The loops that read. `on_change(subscription_id, changes)` tells what became different;
    `gated(subscription_id)`: whether it takes the features to say what its machines may be sent."""

    def __init__(
        self,
        inventory: Inventory,
        clock: Clock,
        random: Random,
        interval: timedelta,
        known: Callable[[str], Iterable[str]],
        gated: Callable[[str], bool],
        on_change: Callable[[str, Changes], None],
    ) -> None:
        self._inventory = inventory
        self._clock = clock
        self._random = random
        self._interval = interval
        self._known = known
        self._gated = gated
        self._on_change = on_change
        self._asked = asyncio.Event()
        self._due: dict[AzureClient, timedelta] = {}
        self._reading: set[AzureClient] = set()
        self.rounds = 0
        """Refreshes that ended, well or not."""

    def ask(self, subscription_id: str) -> None:
        """Read this subscription's identity now, unless what is here is young enough."""
        subscription = self._inventory.subscription(subscription_id)
        if subscription is None:
            return
        now = self._clock.elapsed()
        if subscription.refreshed is None or now - subscription.refreshed > YOUNG_ENOUGH:
            self.force(subscription_id)

    def force(self, subscription_id: str) -> None:
        """Read this subscription's identity now."""
        subscription = self._inventory.subscription(subscription_id)
        if subscription is not None:
            self._due[subscription.client] = self._clock.elapsed()
            self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as readings:
            while True:
                self._asked.clear()
                clients = dict.fromkeys(s.client for s in self._inventory.subscriptions())
                self._due = {c: self._due.get(c, self._clock.elapsed()) for c in clients}
                now = self._clock.elapsed()
                for client in [c for c in self._waiting() if self._due[c] <= now]:
                    self._reading.add(client)
                    readings.create_task(self._read(client))
                await self._wait()

    def _waiting(self) -> list[AzureClient]:
        """Identities that are not being read. One that takes long to answer delays no other."""
        return [client for client in self._due if client not in self._reading]

    async def _wait(self) -> None:
        """Until the next identity is due or somebody asks."""
        due = min((self._due[client] for client in self._waiting()), default=None)
        if due is None:
            await self._asked.wait()
            return
        pause = max(due - self._clock.elapsed(), timedelta(0))
        sleeping = asyncio.ensure_future(self._clock.sleep(pause))
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((sleeping, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            asked.cancel()

    async def _read(self, client: AzureClient) -> None:
        try:
            await self._refresh(client)
        finally:
            self._reading.discard(client)
            self._asked.set()

    async def _refresh(self, client: AzureClient) -> None:
        jitter = 1 - self._random.random() / 10
        self._due[client] = self._clock.elapsed() + self._interval * jitter
        mine = [s for s in self._inventory.subscriptions() if s.client is client]
        try:
            snapshot = await client.snapshot([s.subscription_id for s in mine])
        except AzureError as error:
            self._failed(mine, error)
        else:
            # A machine that is seen before its image definition was asked for would be taken for
            # one whose definition cannot be read.
            rebuilt = await self._definitions(client, mine, snapshot)
            for subscription in mine:
                await self._take(subscription, snapshot, rebuilt)
            for other in self._inventory.subscriptions():
                if other.client is not client and (machines := other.made_from(rebuilt)):
                    self._on_change(other.subscription_id, Changes(machines))
        self.rounds += 1

    def _failed(self, mine: Iterable[SubscriptionInventory], error: AzureError) -> None:
        """These, of one identity, are read again soon."""
        again = min(self._interval, error.retry_after or FAILED_AGAIN_AFTER)
        for subscription in mine:
            self._due[subscription.client] = self._clock.elapsed() + again
            if not _same(subscription.error, error):
                # The first of equal errors is kept: their words may hold ids and times.
                subscription.error = error
                self._on_change(subscription.subscription_id, Changes(subscription=True))
        log.warning("inventory not refreshed", error=str(error), code=error.code)

    async def _definitions(
        self, client: AzureClient, mine: Iterable[SubscriptionInventory], snapshot: Snapshot
    ) -> frozenset[str]:
        """Reads the image definitions of an identity's machines; those that are known otherwise
        now."""
        lost = (
            machine
            for subscription in mine
            for machine_key, machine in subscription.machines.items()
            if machine_key not in snapshot.machines
        )
        machines = chain(snapshot.machines.values(), lost)
        others = {s.client for s in self._inventory.subscriptions()} - {client}
        return await self._inventory.definitions.refresh(
            client, snapshot.definitions, machines, others
        )

    async def _take(
        self, subscription: SubscriptionInventory, snapshot: Snapshot, rebuilt: frozenset[str]
    ) -> None:
        """Machines and what gates them become visible at once: a machine that is seen before its
        subscription's features were read would be taken for one whose features cannot be read.
        `rebuilt`: image definitions that are known otherwise now."""
        began = self._clock.elapsed()
        features = await self._features(subscription)
        if isinstance(features, AzureError) and self._awaits_features(subscription):
            self._failed([subscription], features)
            return
        permissions, rights_error = await self._permissions(subscription)
        news = subscription.permissions != permissions or subscription.error is not None
        if not isinstance(features, AzureError):
            news = subscription.take_features(features, began) or news
        subscription.permissions, subscription.rights_error = permissions, rights_error
        subscription.error = None
        known = self._known(subscription.subscription_id)
        changes = subscription.take(snapshot, known, self._clock.elapsed())
        await self._confirm(subscription)
        machines = changes.machines | subscription.made_from(rebuilt)
        self._on_change(
            subscription.subscription_id, Changes(machines, changes.subscription or news)
        )

    async def _confirm(self, subscription: SubscriptionInventory) -> None:
        """Asks ARM about machines that Resource Graph no longer shows."""
        asked = subscription.asked
        for machine_key in sorted(subscription.missing, key=lambda k: (asked.get(k, 0), k))[
            :CONFIRMATIONS
        ]:
            asked[machine_key] = self.rounds
            try:
                view = await subscription.client.machine(machine_key)
            except Gone:
                subscription.confirm_gone(machine_key)
            except AzureError as error:
                log.info("vanished machine not confirmed", machine=machine_key, code=error.code)
            else:
                subscription.confirm_there(view.machine)
        for machine_key in asked.keys() - subscription.missing:
            del asked[machine_key]
        if not subscription.missing:
            subscription.shrunk = 0

    async def look_at_features(self, subscription_id: str, younger_than: timedelta) -> bool:
        """Reads one subscription's features now, unless what is here is younger. False: Azure does
        not answer, and what is here may be old."""
        subscription = self._inventory.subscription(subscription_id)
        if subscription is None:
            return False
        began = self._clock.elapsed()
        read = subscription.features_read
        if read is not None and began - read < younger_than:
            return True
        features = await self._features(subscription)
        if isinstance(features, AzureError):
            return False
        if subscription.take_features(features, began):
            self._on_change(subscription.subscription_id, Changes(subscription=True))
        return True

    def _awaits_features(self, subscription: SubscriptionInventory) -> bool:
        """They decide about its machines, of which this process has seen none yet."""
        first = subscription.refreshed is None and subscription.features_read is None
        return first and self._gated(subscription.subscription_id)

    async def _features(
        self, subscription: SubscriptionInventory
    ) -> tuple[Feature, ...] | AzureError | None:
        """What could be read last stays while Azure does not answer, which is the error; a refusal
        is an answer, None. An identity that gets no token has asked nothing."""
        try:
            return await subscription.client.features(subscription.subscription_id)
        except AzureError as error:
            log.info(
                "features not read", subscription=subscription.subscription_id, code=error.code
            )
            return error if isinstance(error, (Retry, SignInFailed)) else None

    async def _permissions(
        self, subscription: SubscriptionInventory
    ) -> tuple[Mapping[str, tuple[Permissions, ...]] | None, AzureError | None]:
        """Likewise; and why they cannot be read."""
        try:
            held = {
                scope: await subscription.client.permissions(scope) for scope in subscription.scopes
            }
        except AzureError as error:
            log.info(
                "permissions not read", subscription=subscription.subscription_id, code=error.code
            )
            if isinstance(error, Retry):
                return subscription.permissions, subscription.rights_error
            return None, error
        return held, None


def _same(one: AzureError | None, other: AzureError) -> bool:
    return one is not None and (type(one), one.code) == (type(other), other.code)
