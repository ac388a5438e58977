"""What the API server holds, as last seen: every watched object, parsed once.

Filled by the watch, by the resync's LIST and by the answers to our own writes, in any order; the
newest resourceVersion stays. An object that cannot be read is kept with the reason, so that it is
reported, not lost.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from azpatch.api.common import UnreadableObjectError
from azpatch.api.policy import PatchPolicy
from azpatch.api.run import PatchRun
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import OPERATION_FINALIZER, PatchTarget, RunEntry
from azpatch.domain import ids
from azpatch.domain.naming import window_of
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    NAMESPACE,
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    WATCHED,
    Kind,
    Object,
)

REMEMBERED_DELETIONS = 10_000
"""uids of deleted objects: an answer to our own write that arrives after the DELETED event must not
bring the object back. As many as the largest policy has machines, about 1 MiB."""

ParsedT = TypeVar("ParsedT")
Name = tuple[str, str]
"""Namespace ("" if cluster-scoped) and name."""


class NamespaceObject(BaseModel):
    """What grants ask of a Namespace."""

    name: str
    labels: dict[str, str] = {}

    @classmethod
    def from_object(cls, raw: Mapping[str, Any]) -> NamespaceObject:
        """Reads the API server's JSON."""
        meta = raw["metadata"]
        return cls(name=meta["name"], labels=meta.get("labels") or {})


MODELS: Mapping[Kind, Any] = {
    AZURE_SUBSCRIPTION: AzureSubscription,
    PATCH_POLICY: PatchPolicy,
    PATCH_RUN: PatchRun,
    PATCH_TARGET: PatchTarget,
    NAMESPACE: NamespaceObject,
}


@dataclass(frozen=True, slots=True)
class Stored(Generic[ParsedT]):
    """One object. Exactly one of `parsed` and `error` is set. Never changed, only replaced."""

    kind: Kind
    raw: Object
    """As the API server sent it, without managedFields; and without the status, unless the object
    could not be read: with ten thousand of them, what is kept twice is half of the memory."""
    parsed: ParsedT | None
    error: str | None
    """Why it could not be read, with the path of the field."""

    @property
    def namespace(self) -> str:
        """ "" if cluster-scoped."""
        return str(self.raw["metadata"].get("namespace") or "")

    @property
    def name(self) -> str:
        """metadata.name"""
        return str(self.raw["metadata"]["name"])

    @property
    def uid(self) -> str:
        """metadata.uid"""
        return str(self.raw["metadata"]["uid"])

    @property
    def resource_version(self) -> str:
        """metadata.resourceVersion"""
        return str(self.raw["metadata"]["resourceVersion"])

    @property
    def generation(self) -> int:
        """metadata.generation, 0 where the kind has none."""
        return int(self.raw["metadata"].get("generation") or 0)

    @property
    def finalizers(self) -> tuple[str, ...]:
        """metadata.finalizers"""
        return tuple(self.raw["metadata"].get("finalizers") or ())

    @property
    def deleting(self) -> bool:
        """It has a deletionTimestamp."""
        return bool(self.raw["metadata"].get("deletionTimestamp"))


class Store:
    """Objects by kind, namespace and name, with the indexes that the reconcilers ask for."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Name, Stored[Any]]] = {kind: {} for kind in WATCHED}
        self._by_policy: dict[Name, dict[Name, Stored[PatchTarget]]] = {}
        self._runs: dict[Name, dict[Name, Stored[PatchRun]]] = {}
        self._by_machine: dict[str, dict[Name, Stored[PatchTarget]]] = {}
        self._windows: dict[str, datetime] = {}
        """See `scheduled`; by the policy's uid."""
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self.synced: set[Kind] = set()
        """Kinds whose first LIST is in."""
        self._all_synced = asyncio.Event()

    def observe(self, kind: Kind, raw: Mapping[str, Any]) -> bool:
        """Takes the object in if it is newer than what is here; True if it was."""
        meta = raw["metadata"]
        name = (meta.get("namespace") or "", meta["name"])
        if kind == PATCH_RUN:
            self._note_run(meta)
        if meta["uid"] in self._deleted:
            return False
        known = self._objects[kind].get(name)
        if known and not _newer(meta["resourceVersion"], known.resource_version):
            return False
        if known:
            self._unindex(known)
        stored = _read(kind, raw)
        self._objects[kind][name] = stored
        self._index(stored)
        if kind == PATCH_POLICY and stored.parsed is not None:
            self._note_window(stored.uid, stored.parsed.status.last_schedule_time)
        return True

    def forget(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        """The object with this uid is deleted; True if it was here. One that was made anew under
        the same name stays."""
        self._deleted[uid] = None
        while len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        if kind == PATCH_POLICY:
            self._windows.pop(uid, None)
        known = self._objects[kind].get((namespace, name))
        if known is None or known.uid != uid:
            return False
        del self._objects[kind][namespace, name]
        self._unindex(known)
        return True

    def sweep(
        self, kind: Kind, before: Collection[str], listed: Collection[str]
    ) -> tuple[Stored[Any], ...]:
        """Ends a whole LIST, whose objects were observed; returns those it showed to be deleted.

        `before`: the `uids` of the kind from before the LIST was asked for; `listed`: those that it
        showed. Only the former can be missed by it: an object that came in since may be younger
        than the LIST.
        """
        gone = tuple(
            stored for stored in self.all(kind) if stored.uid in before and stored.uid not in listed
        )
        for stored in gone:
            self.forget(kind, stored.namespace, stored.name, stored.uid)
        self.synced.add(kind)
        if self.synced.issuperset(WATCHED):
            self._all_synced.set()
        return gone

    @property
    def is_synced(self) -> bool:
        """The first LIST of every watched kind is in."""
        return self._all_synced.is_set()

    async def wait_synced(self) -> None:
        """Until the first LIST of every watched kind is in."""
        await self._all_synced.wait()

    def get(self, kind: Kind, namespace: str, name: str) -> Stored[Any] | None:
        """One object; namespace "" if cluster-scoped."""
        return self._objects[kind].get((namespace, name))

    def all(self, kind: Kind) -> tuple[Stored[Any], ...]:
        """Every object of the kind, in the order in which they came."""
        return tuple(self._objects[kind].values())

    def uids(self, kind: Kind) -> frozenset[str]:
        """The uids of every object of the kind."""
        return frozenset(stored.uid for stored in self._objects[kind].values())

    def subscription(self, name: str) -> Stored[AzureSubscription] | None:
        """One AzureSubscription by its object's name."""
        return self.get(AZURE_SUBSCRIPTION, "", name)

    def subscriptions(self) -> tuple[Stored[AzureSubscription], ...]:
        """Every AzureSubscription."""
        return self.all(AZURE_SUBSCRIPTION)

    def policy(self, namespace: str, name: str) -> Stored[PatchPolicy] | None:
        """One PatchPolicy."""
        return self.get(PATCH_POLICY, namespace, name)

    def policies(self) -> tuple[Stored[PatchPolicy], ...]:
        """Every PatchPolicy."""
        return self.all(PATCH_POLICY)

    def run(self, namespace: str, name: str) -> Stored[PatchRun] | None:
        """One PatchRun."""
        return self.get(PATCH_RUN, namespace, name)

    def run_of(self, namespace: str, entry: RunEntry | None) -> Stored[PatchRun] | None:
        """The PatchRun that a machine says it is in; None also if another has its name since."""
        found = self.run(namespace, entry.name) if entry is not None else None
        return found if found is not None and entry and found.uid == entry.uid else None

    def runs_of(self, namespace: str, policy: str) -> tuple[Stored[PatchRun], ...]:
        """The PatchRuns of a policy (spec.policyRef)."""
        return tuple(self._runs.get((namespace, policy), {}).values())

    def scheduled(self, policy_uid: str) -> datetime | None:
        """The start of the last window that this process saw the policy to have a PatchRun for: by
        a run, which may be gone again, or by its status, which others write too."""
        return self._windows.get(policy_uid)

    def target(self, namespace: str, name: str) -> Stored[PatchTarget] | None:
        """One PatchTarget."""
        return self.get(PATCH_TARGET, namespace, name)

    def targets(self) -> tuple[Stored[PatchTarget], ...]:
        """Every PatchTarget."""
        return self.all(PATCH_TARGET)

    def targets_of(self, namespace: str, policy: str) -> tuple[Stored[PatchTarget], ...]:
        """The PatchTargets of a policy (spec.policy)."""
        return tuple(self._by_policy.get((namespace, policy), {}).values())

    def targets_on(self, machine_key: str) -> tuple[Stored[PatchTarget], ...]:
        """The PatchTargets of a machine (`ids.key` of spec.machineId), in all namespaces."""
        return tuple(self._by_machine.get(machine_key, {}).values())

    def policy_of(self, target: Stored[PatchTarget]) -> Stored[PatchPolicy] | None:
        """The policy that made the PatchTarget, not one that has its name since."""
        name = str((target.raw.get("spec") or {}).get("policy", ""))
        policy = self.policy(target.namespace, name)
        return policy if policy is not None and owns(policy, target) else None

    def leaving(self, target: Stored[PatchTarget]) -> bool:
        """The PatchTarget or its policy is being deleted, or the policy is gone already."""
        policy = self.policy_of(target)
        return target.deleting or policy is None or policy.deleting

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """The labels of a Namespace; None if it is not there."""
        stored: Stored[NamespaceObject] | None = self.get(NAMESPACE, "", name)
        return stored.parsed.labels if stored and stored.parsed else None

    def _index(self, stored: Stored[Any]) -> None:
        for index, key in self._entries(stored):
            index.setdefault(key, {})[stored.namespace, stored.name] = stored

    def _note_run(self, meta: Mapping[str, Any]) -> None:
        """Also one that is gone before its maker is answered."""
        window = window_of(meta["name"])
        for owner in meta.get("ownerReferences") or ():
            if owner.get("controller"):
                self._note_window(owner["uid"], window)

    def _note_window(self, policy_uid: str, window: datetime | None) -> None:
        if window is not None and policy_uid not in self._deleted:
            self._windows[policy_uid] = max(window, self._windows.get(policy_uid, window))

    def _unindex(self, stored: Stored[Any]) -> None:
        for index, key in self._entries(stored):
            index[key].pop((stored.namespace, stored.name))
            if not index[key]:
                del index[key]

    def _entries(
        self, stored: Stored[Any]
    ) -> Iterator[tuple[dict[Any, dict[Name, Stored[Any]]], Any]]:
        """Where the object is indexed: from its JSON, so that an unreadable target is found too."""
        spec = stored.raw.get("spec") or {}
        if stored.kind == PATCH_RUN:
            yield self._runs, (stored.namespace, str((spec.get("policyRef") or {}).get("name", "")))
        if stored.kind != PATCH_TARGET:
            return
        yield self._by_policy, (stored.namespace, str(spec.get("policy", "")))
        yield self._by_machine, ids.key(str(spec.get("machineId", "")))


def owns(policy: Stored[PatchPolicy], target: Stored[PatchTarget]) -> bool:
    """Whether the policy made the PatchTarget: after one is deleted and made anew under its name,
    what the first has left behind is not the second's."""
    return not target.raw["metadata"].get("ownerReferences") or made(policy, target)


def made(policy: Stored[PatchPolicy], child: Stored[Any]) -> bool:
    """Whether the policy's reconciler made it. Of a PatchRun nothing less will do: the windows that
    there were runs for are counted by their names, and a person may have made this one."""
    owners = child.raw["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == policy.uid for owner in owners)


def serves(policy: Stored[PatchPolicy], run: PatchRun) -> bool:
    """Whether the run did not begin under another policy that had the name before."""
    return run.status.policy_uid in (None, policy.uid)


def busy(stored: Stored[PatchTarget]) -> bool:
    """An operation is in flight on it, or may be. One that cannot be read holds the lock too."""
    if stored.parsed is not None:
        return stored.parsed.status.operation is not None
    recorded = bool((stored.raw.get("status") or {}).get("operation"))
    return recorded or OPERATION_FINALIZER in stored.finalizers


def _newer(version: str, than: str) -> bool:
    """Compared as integers where they are; otherwise any change counts."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def _read(kind: Kind, raw: Mapping[str, Any]) -> Stored[Any]:
    meta = {name: value for name, value in raw["metadata"].items() if name != "managedFields"}
    whole = {**raw, "metadata": meta}
    try:
        parsed = MODELS[kind].from_object(whole)
    except UnreadableObjectError as error:
        return Stored(kind, _kept(whole), None, str(error))
    return Stored(kind, _kept(whole, without=("status",)), parsed, None)


def _kept(value: Any, without: Container[str] = ()) -> Any:
    """A copy in which equal names are one string: each answer of the API server has its own."""
    if isinstance(value, Mapping):
        return {intern(name): _kept(v) for name, v in value.items() if name not in without}
    if isinstance(value, list):
        return [_kept(item) for item in value]
    return value
