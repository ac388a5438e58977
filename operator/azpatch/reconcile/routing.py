"""Which keys a change of an object concerns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azpatch.domain import ids
from azpatch.kube.port import AZURE_SUBSCRIPTION, NAMESPACE, PATCH_POLICY, PATCH_TARGET
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Store, Stored


def own_key(stored: Stored[Any]) -> Key:
    """The key under which an object itself is reconciled."""
    return Key(stored.kind.kind, stored.namespace, stored.name)


def keys(store: Store, stored: Stored[Any]) -> Iterator[Key]:
    """Every key that is concerned when this object came, changed or went.

    An AzureSubscription and a Namespace bear on every policy: by grants, and by the labels that
    grants select. A PatchTarget bears on its policy, whose counts and slots it fills, and on the
    policies that want the same machine, of which one governs it.
    """
    if stored.kind != NAMESPACE:
        yield own_key(stored)
    if stored.kind in (AZURE_SUBSCRIPTION, NAMESPACE):
        yield from (own_key(policy) for policy in store.policies())
    elif stored.kind == PATCH_TARGET:
        spec = stored.raw.get("spec") or {}
        machine = ids.key(str(spec.get("machineId", "")))
        others = [other for other in store.targets_on(machine) if other.uid != stored.uid]
        yield from {policy_key(target): None for target in (stored, *others)}
        yield from (own_key(other) for other in others)


def policy_key(target: Stored[Any]) -> Key:
    """The key of a PatchTarget's policy."""
    spec = target.raw.get("spec") or {}
    return Key(PATCH_POLICY.kind, target.namespace, str(spec.get("policy", "")))
