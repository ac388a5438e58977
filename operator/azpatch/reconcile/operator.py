"""The reconcilers and what runs beside them, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from random import Random

from azpatch.azure.port import AzureClients
from azpatch.clock import Clock
from azpatch.domain.ids import subscription_of
from azpatch.kube.fencing import LeadersOnly
from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Kube
from azpatch.reconcile.calendars import Calendars
from azpatch.reconcile.context import Context
from azpatch.reconcile.holds import Holds
from azpatch.reconcile.inventory import Changes, Inventory
from azpatch.reconcile.looks import Looks
from azpatch.reconcile.machine import MachineReconciler
from azpatch.reconcile.policy import PolicyReconciler
from azpatch.reconcile.queue import Key, Result, WorkQueue
from azpatch.reconcile.refresh import Refresher
from azpatch.reconcile.rereads import Rereads
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.run import RunReconciler
from azpatch.reconcile.sight import Sight
from azpatch.reconcile.slots import Slots
from azpatch.reconcile.store import Store
from azpatch.reconcile.subscription import (
    SubscriptionReconciler,
    is_gated,
    usable_subscriptions,
)
from azpatch.reconcile.terms import Terms


class Operator:
    """Reconciles by kind; wakes who is concerned when Azure changed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._subscriptions = SubscriptionReconciler(context)
        self._policies = PolicyReconciler(context)
        self._runs = RunReconciler(context)
        self._machines = MachineReconciler(context)

    async def reconcile(self, key: Key) -> Result:
        """One key."""
        match key.kind:
            case AZURE_SUBSCRIPTION.kind:
                return await self._subscriptions.reconcile(key)
            case PATCH_POLICY.kind:
                return await self._policies.reconcile(key)
            case PATCH_RUN.kind:
                return await self._runs.reconcile(key)
            case PATCH_TARGET.kind:
                return await self._machines.reconcile(key)
        raise AssertionError(f"nobody reconciles {key}")

    async def run_background(self) -> None:
        """The inventory's loops, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._context.refresher.run(), name="inventory")
            tasks.create_task(self._context.looks.run(), name="look-ups")

    def health(self) -> Sequence[str]:
        """The loops end the operator when they fail; there is nothing else to tell."""
        return ()

    async def close(self) -> None:
        """Ends the connections to Azure."""
        for client in self._subscriptions.clients():
            await client.close()


def build(
    *,
    clock: Clock,
    random: Random,
    kube: Kube,
    azure: AzureClients,
    store: Store,
    queue: WorkQueue,
    inventory_interval: timedelta,
    leading: Callable[[], bool],
) -> Operator:
    """An operator over these ports. What it decides is done only while `leading` says that this
    process holds the Lease."""
    inventory = Inventory(clock)

    def wake_machine(machine_key: str) -> None:
        for target in store.targets_on(machine_key):
            queue.add(own_key(target))

    def known(subscription_id: str) -> Iterator[str]:
        for target in store.targets():
            if target.parsed and subscription_of(target.parsed.spec.machine_id) == subscription_id:
                yield target.parsed.spec.machine_id

    def gated(subscription_id: str) -> bool:
        subscription = usable_subscriptions(store).get(subscription_id)
        return subscription is not None and is_gated(subscription)

    def changed(subscription_id: str, changes: Changes) -> None:
        for subscription in store.subscriptions():
            parsed = subscription.parsed
            if parsed and parsed.spec.subscription_id.lower() == subscription_id:
                queue.add(own_key(subscription))
        for machine_key in changes.machines:
            wake_machine(machine_key)
        if changes.subscription:
            for target in store.targets():
                if target.parsed and subscription_of(target.parsed.spec.machine_id) == (
                    subscription_id
                ):
                    queue.add(own_key(target))
        if changes.machines or changes.subscription:
            for policy in store.policies():
                queue.add(own_key(policy))

    calendars = Calendars()
    leaders_kube = LeadersOnly(kube, leading)
    return Operator(
        Context(
            clock=clock,
            random=random,
            kube=leaders_kube,
            azure=azure,
            store=store,
            queue=queue,
            inventory=inventory,
            refresher=Refresher(
                inventory, clock, random, inventory_interval, known, gated, changed
            ),
            looks=Looks(inventory, clock, wake_machine),
            slots=Slots(),
            calendars=calendars,
            terms=Terms(store, calendars),
            holds=Holds(),
            rereads=Rereads(leaders_kube, store, queue),
            sight=Sight(),
            decided={},
            leading=leading,
        )
    )
