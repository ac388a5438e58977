"""What each watched event does: into the store, and its keys into the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kopf

from azpatch.kube.port import WATCHED, Kind
from azpatch.reconcile import routing
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Store, Stored

Enqueue = Callable[[Key], None]


def register(registry: kopf.OperatorRegistry, store: Store, enqueue: Enqueue) -> None:
    """One handler for each watched kind."""
    for kind in WATCHED:
        _register(registry, kind, store, enqueue)


def _register(registry: kopf.OperatorRegistry, kind: Kind, store: Store, enqueue: Enqueue) -> None:
    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        take_in(kind, event, store, enqueue)

    kopf.on.event(kind.group, kind.version, kind.plural, id=f"{kind.kind} seen", registry=registry)(
        seen
    )


def take_in(kind: Kind, event: kopf.RawEvent, store: Store, enqueue: Enqueue) -> None:
    """Observes or forgets the object and enqueues the keys that it concerns.

    The echo of our own write enqueues too: the store has had it since the write, but the policy
    that counts the written PatchTarget learns of it here.
    """
    raw = dict(event["object"])
    meta = event["object"]["metadata"]
    namespace, name = meta.get("namespace") or "", meta["name"]
    before = store.get(kind, namespace, name)
    if event["type"] == "DELETED":
        store.forget(kind, namespace, name, meta["uid"])
        concerned = before
    else:
        new = store.observe(kind, raw)
        if not new and event["type"] is None:
            return  # The watch's own first listing, of what the resync has enqueued already.
        concerned = store.get(kind, namespace, name)
        if kind.kind == "Namespace" and not _relabelled(before, concerned):
            return
    if concerned is None:
        return
    if (
        kind.kind == "AzureSubscription"
        and event["type"] != "DELETED"
        and _as_declared(before, concerned)
    ):
        enqueue(routing.own_key(concerned))
        return
    for key in routing.keys(store, concerned):
        enqueue(key)


def _as_declared(before: Stored[Any] | None, after: Stored[Any]) -> bool:
    """Policies ask what an AzureSubscription declares, not what its status says."""
    return before is not None and (before.uid, before.generation, before.deleting) == (
        after.uid,
        after.generation,
        after.deleting,
    )


def _relabelled(before: Stored[Any] | None, after: Stored[Any] | None) -> bool:
    """Grants ask for a Namespace's labels only; its other changes are many and of no account."""
    return (before and before.parsed) != (after and after.parsed)
