"""Which keys a change of an object concerns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azpatch.domain import ids
from azpatch.kube.port import AZURE_SUBSCRIPTION, NAMESPACE, PATCH_POLICY, PATCH_RUN, PATCH_TARGET
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Store, Stored


def own_key(stored: Stored[Any]) -> Key:
    """The key under which an object itself is reconciled."""
    return Key(stored.kind.kind, stored.namespace, stored.name)


def keys(store: Store, stored: Stored[Any]) -> Iterator[Key]:
    """Every key that is concerned when this object came, changed or went.

    An AzureSubscription and a Namespace bear on every policy: by grants, and by the labels that
    grants select. A PatchTarget bears on its policy, whose counts and slots it fills, and on the
    policies that want the same machine, of which one governs it; and on the run that it is in.
    """
    if stored.kind != NAMESPACE:
        yield own_key(stored)
    if stored.kind in (AZURE_SUBSCRIPTION, NAMESPACE):
        yield from (own_key(policy) for policy in store.policies())
    elif stored.kind == PATCH_RUN:
        yield _policy_of_run(stored)
    elif stored.kind == PATCH_TARGET:
        yield from _run_of(store, stored)
        spec = stored.raw.get("spec") or {}
        machine = ids.key(str(spec.get("machineId", "")))
        others = [other for other in store.targets_on(machine) if other.uid != stored.uid]
        yield from {policy_key(target): None for target in (stored, *others)}
        yield from (own_key(other) for other in others)


def owner(store: Store, key: Key) -> Key | None:
    """Whose turns a key takes in the work queue: a PatchTarget's policy's, so that a wave of one
    does not hold up the machines of another."""
    target = store.target(key.namespace, key.name) if key.kind == PATCH_TARGET.kind else None
    return None if target is None else policy_key(target)


def _policy_of_run(run: Stored[Any]) -> Key:
    spec = run.raw.get("spec") or {}
    name = str((spec.get("policyRef") or {}).get("name", ""))
    return Key(PATCH_POLICY.kind, run.namespace, name)


def _run_of(store: Store, target: Stored[Any]) -> Iterator[Key]:
    """The PatchRun that the machine is in, whose waves it bears on; and those that assess."""
    entry = target.parsed.status.run if target.parsed is not None else None
    run = store.run_of(target.namespace, entry)
    if run is not None and (run.parsed is None or not run.parsed.over):
        yield own_key(run)
    policy = str((target.raw.get("spec") or {}).get("policy", ""))
    for one in store.runs_of(target.namespace, policy):
        if one.parsed is not None and not one.parsed.installs and not one.parsed.over:
            yield own_key(one)


def policy_key(target: Stored[Any]) -> Key:
    """The key of a PatchTarget's policy."""
    spec = target.raw.get("spec") or {}
    return Key(PATCH_POLICY.kind, target.namespace, str(spec.get("policy", "")))
