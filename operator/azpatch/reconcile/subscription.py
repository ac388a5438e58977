"""Reconciles AzureSubscriptions: how they are read, and what their status says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from azpatch.api.reasons import Reason
from azpatch.api.subscription import AzureSubscription, IdentityType, SupportMatrixStatus
from azpatch.azure.port import AzureClient, Credentials, Denied
from azpatch.domain import subscription as decide
from azpatch.domain.feature import FeatureGate, Gate, feature_gate
from azpatch.domain.ids import subscription_of
from azpatch.domain.membership import usable
from azpatch.domain.own_matrix import MatrixTrouble, chosen, in_force
from azpatch.domain.rights import scopes
from azpatch.domain.subscription import SubscriptionFacts, Trouble, duplicate, duplicate_of
from azpatch.kube.port import NotFound
from azpatch.reconcile.context import Context
from azpatch.reconcile.inventory import SubscriptionInventory
from azpatch.reconcile.queue import Key, Result
from azpatch.reconcile.refusals import of_subscription
from azpatch.reconcile.registration import SHORTLY, Registrar
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Store, Stored, busy

SECRET_KEY = "AZURE_CLIENT_SECRET"

log = structlog.get_logger(__name__)


def usable_subscriptions(store: Store) -> Mapping[str, AzureSubscription]:
    """The AzureSubscriptions that count, by subscription id."""
    return usable(sorted(_parsed(store.subscriptions()), key=decide.seniority))


def subscriptions_of(store: Store, machine_ids: Iterable[str]) -> list[AzureSubscription]:
    """Those that count and that these machines are in, by subscription id."""
    usable, ids = usable_subscriptions(store), set(map(subscription_of, machine_ids))
    return [usable[id_] for id_ in sorted(ids & usable.keys())]


def gate_of(
    subscription: AzureSubscription, inventory: SubscriptionInventory | None
) -> FeatureGate | None:
    """The preview feature gate of a subscription, as last read; None: its matrix has none."""
    matrix = in_force(subscription)
    if matrix is None or matrix.preview_feature is None:
        return None
    needed = matrix.preview_feature
    features = inventory.features if inventory else None
    return feature_gate(subscription.spec.preview_feature, needed, features)


def is_gated(subscription: AzureSubscription) -> bool:
    """Whether it takes the features to say what its machines may be sent, or may take them: its
    matrix is not known yet."""
    gate = gate_of(subscription, None)
    return in_force(subscription) is None or (gate is not None and gate.gate is not Gate.PASSED)


def _parsed(stored: Iterable[Stored[AzureSubscription]]) -> list[AzureSubscription]:
    return [one.parsed for one in stored if one.parsed is not None]


@dataclass(frozen=True, slots=True)
class _Identity:
    """Credentials, or why there are none."""

    credentials: Credentials | None
    trouble: Trouble | None = None


class SubscriptionReconciler:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._registrar = Registrar(context)
        self._clients: dict[Credentials, AzureClient] = {}
        self._ids: dict[str, str] = {}
        """Subscription id by name of the AzureSubscription that configured it."""
        self._generations: dict[str, int] = {}

    async def reconcile(self, key: Key) -> Result:
        """Gather, decide, write status."""
        stored = self._context.store.subscription(key.name)
        if stored is None:
            self._forget(key.name)
            return Result()
        if stored.parsed is None:
            log.error("AzureSubscription cannot be read", name=key.name, error=stored.error)
            await self._context.write_unreadable(stored)
            await self._release(key, stored)
            return Result()
        parsed = stored.parsed
        trouble = await self._configure(stored, parsed)
        matrix, wrong = await self._matrix(parsed)
        facts, step = await self._registrar.step(
            stored,
            parsed,
            lambda: replace(self._facts(parsed, trouble), matrix=matrix, matrix_trouble=wrong),
        )
        if step.send is not None:
            return await self._registrar.send(stored, facts, step)
        now = self._context.clock.now()
        status = decide.status(parsed, facts, step, now)
        async with self._context.holds.lock(key):
            written = await self._context.write_status(self._context.newest(stored), status)
        if status.support_matrix != stored.parsed.status.support_matrix:
            self._judge_anew(stored.parsed)
        await self._release(key, written)
        return Result(max(step.wake - now, SHORTLY) if step.wake else None)

    async def _matrix(
        self, subscription: AzureSubscription
    ) -> tuple[SupportMatrixStatus | None, MatrixTrouble | None]:
        """The matrix that spec asks for, or the last good one and what is wrong."""
        data = None
        if subscription.spec.support_matrix_ref is not None:
            with suppress(NotFound):
                data = await self._context.kube.config_map(
                    subscription.spec.support_matrix_ref.name
                )
        return chosen(subscription, data)

    def _judge_anew(self, subscription: AzureSubscription) -> None:
        """Another matrix is in force: every machine of the subscription is looked at."""
        id_ = subscription.spec.subscription_id.lower()
        for target in self._context.store.targets():
            if target.parsed and subscription_of(target.parsed.spec.machine_id) == id_:
                self._context.queue.add(own_key(target))

    async def _release(self, key: Key, stored: Stored[AzureSubscription]) -> None:
        """Takes the finalizer off when no operation needs the subscription."""
        async with self._context.holds.lock(key):
            if not self._in_use(key, stored):
                await self._context.remove_finalizer(self._context.newest(stored))

    def clients(self) -> tuple[AzureClient, ...]:
        """Every client made so far."""
        return tuple(self._clients.values())

    async def _configure(
        self, stored: Stored[AzureSubscription], subscription: AzureSubscription
    ) -> Trouble | None:
        """Makes the inventory read this subscription; what keeps it from that."""
        first = duplicate_of(subscription, _parsed(self._context.store.subscriptions()))
        if first is not None:
            return duplicate(first)
        identity = await self._identity(subscription)
        if identity.credentials is None:
            return identity.trouble
        client = self._clients.get(identity.credentials)
        if client is None:
            client = self._context.azure.client(identity.credentials)
            self._clients[identity.credentials] = client
        name, id_ = stored.name, subscription.spec.subscription_id
        where = scopes(id_, subscription.spec.grants)
        news = self._context.inventory.configure(id_, client, where)
        self._ids[name] = id_
        if news:
            await self._close_unused()
            self._context.refresher.force(id_)
        elif self._generations.get(name) != stored.generation:
            self._context.refresher.ask(id_)
        self._generations[name] = stored.generation
        return self._reading_trouble(id_)

    async def _close_unused(self) -> None:
        """A secret that was replaced leaves a client behind."""
        used = {inventory.client for inventory in self._context.inventory.subscriptions()}
        for credentials, client in list(self._clients.items()):
            if client not in used:
                del self._clients[credentials]
                await client.close()

    async def _identity(self, subscription: AzureSubscription) -> _Identity:
        tenant, identity = subscription.spec.tenant_id, subscription.spec.identity
        if identity is None:
            return _Identity(Credentials(IdentityType.WORKLOAD_IDENTITY, tenant))
        if identity.secret_ref is None:
            return _Identity(Credentials(identity.type, tenant, identity.client_id))
        name = identity.secret_ref.name
        try:
            data = await self._context.kube.secret(name)
            secret = data[SECRET_KEY].decode().strip()
        except (NotFound, KeyError, UnicodeDecodeError):
            return _Identity(
                None,
                Trouble(
                    Reason.SECRET_NOT_FOUND,
                    f"There is no Secret {name} with key {SECRET_KEY} in the operator's namespace. "
                    "It is looked for every few minutes; create it.",
                    stalled=True,
                ),
            )
        return _Identity(Credentials(identity.type, tenant, identity.client_id, secret))

    def _reading_trouble(self, subscription_id: str) -> Trouble | None:
        inventory = self._context.inventory.subscription(subscription_id)
        if inventory is None:
            return None
        if inventory.error is not None:
            return of_subscription(inventory.error)
        if not inventory.machines and _allows_nothing(inventory):
            return Trouble(
                Reason.SUBSCRIPTION_NOT_FOUND,
                f"There is no subscription {subscription_id} that this identity may see anything "
                "of. Check spec.subscriptionId and spec.tenantId, and give the identity its role.",
                stalled=True,
            )
        return None

    def _facts(self, subscription: AzureSubscription, trouble: Trouble | None) -> SubscriptionFacts:
        inventory = self._context.inventory.subscription(subscription.spec.subscription_id)
        if inventory is None or (trouble and trouble.reason is Reason.DUPLICATE_SUBSCRIPTION):
            gate = gate_of(subscription, None)
            return SubscriptionFacts(trouble, False, 0, None, False, gate, (), ())
        return SubscriptionFacts(
            trouble=trouble,
            read=inventory.refreshed is not None,
            shrunk=inventory.shrunk,
            permissions=inventory.permissions,
            denied=isinstance(inventory.rights_error, Denied),
            gate=gate_of(subscription, inventory),
            image_classes=[
                image.image_class
                for image in self._context.inventory.images(inventory.subscription_id)
            ],
            detected=[row.detected for row in inventory.assessments.values() if row.detected],
        )

    def _in_use(self, key: Key, stored: Stored[AzureSubscription]) -> bool:
        """An operation is in flight on one of its machines, or about to be."""
        mine = str((stored.raw.get("spec") or {}).get("subscriptionId", "")).lower()
        return self._context.holds.held(key) or any(
            busy(target)
            and subscription_of(str((target.raw.get("spec") or {}).get("machineId", ""))) == mine
            for target in self._context.store.targets()
        )

    def _forget(self, name: str) -> None:
        """One that was second for the same subscription comes first now."""
        id_ = self._ids.pop(name, None)
        self._generations.pop(name, None)
        if id_ is not None and id_ not in self._ids.values():
            self._context.inventory.remove(id_)
        for other in self._context.store.subscriptions():
            self._context.queue.add(own_key(other))


def _allows_nothing(inventory: SubscriptionInventory) -> bool:
    """Azure shows the identity no right at all there; it does not tell whether there is a there."""
    if isinstance(inventory.rights_error, Denied):
        return True
    return inventory.permissions is not None and not any(inventory.permissions.values())
