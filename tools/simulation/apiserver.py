"""The API server in memory: what the real one promises about objects, and nothing else.

resourceVersions that grow with every change, preconditions, generations, finalizers, deletion,
garbage collection by owner references, namespaces that take their objects with them, refusals of
what the operator's models refuse, and a history from which watches are fed.
`tests/component/test_kube_semantics.py` holds it to the same specification as the real one.
Everything here happens at once; delays and losses are the network's (`kube`).

Objects are never changed, only replaced, so that they may be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from azpatch.api.common import UnreadableObjectError
from azpatch.kube.port import (
    NAMESPACE,
    PATCH_POLICY,
    PATCH_RUN,
    Conflict,
    Kind,
    NotFound,
    Object,
    Refused,
)
from azpatch.reconcile.store import MODELS

Change = Literal["ADDED", "MODIFIED", "DELETED"]
Name = tuple[Kind, str, str]
"""Kind, namespace ("" if cluster-scoped), name."""

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", namespaced=True)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)

UNDECIDED: Mapping[Kind, Mapping[str, Any]] = {
    PATCH_POLICY: {"observedGeneration": -1},
    PATCH_RUN: {"observedGeneration": -1},
}
"""The schema's default status, by kind."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change, in the order of resourceVersions."""

    change: Change
    kind: Kind
    object: Object


class ApiServer:
    """The objects of one cluster."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._objects: dict[Name, Object] = {}
        self._version = 0
        self.watchers: list[Callable[[WatchEvent], None]] = []
        """Told of every change at once, in order, but not of the Lease's renewals: they are most of
        all changes, and nobody watches it."""

    # --- reading ----------------------------------------------------------------------------------

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object; None if it is not there."""
        return self._objects.get((kind, namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """One object. Raises NotFound."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise NotFound(f'{kind.plural} "{name}" not found')
        return found

    def list(self, kind: Kind) -> Sequence[Object]:
        """Every object of a kind."""
        return [raw for (of, _, _), raw in self._objects.items() if of == kind]

    # --- writing ----------------------------------------------------------------------------------

    def create(self, kind: Kind, body: Object) -> Object:
        """A new object. Raises Conflict if its name is taken; Refused in a namespace that ends, or
        if the models refuse it."""
        meta = body["metadata"]
        namespace = str(meta.get("namespace") or "")
        if kind.namespaced:
            home = self.find(NAMESPACE, "", namespace)
            if home is None:
                raise NotFound(f'namespaces "{namespace}" not found')
            if home["metadata"].get("deletionTimestamp"):
                raise Refused(f"unable to create new content in namespace {namespace}")
        if (kind, namespace, meta["name"]) in self._objects:
            raise Conflict(f'{kind.plural} "{meta["name"]}" already exists')
        made = {
            "uid": f"uid-{self._version + 1}",
            "generation": 1,
            "creationTimestamp": self._timestamp(),
        }
        status = {"status": dict(UNDECIDED[kind])} if kind in UNDECIDED else {}
        spoken = {field: value for field, value in body.items() if field != "status"}
        _admit(kind, spoken)
        return self._put("ADDED", kind, {**spoken, **status, "metadata": {**meta, **made}})

    def replace(self, kind: Kind, base: Object, spec: Mapping[str, Any]) -> Object:
        """Another spec. Raises NotFound, Conflict if `base` is not current, or Refused."""
        meta = self._matching(kind, base)["metadata"]
        return self.replace_spec(kind, str(meta.get("namespace") or ""), meta["name"], spec)

    def replace_spec(
        self, kind: Kind, namespace: str, name: str, spec: Mapping[str, Any]
    ) -> Object:
        """A person applies another spec. Raises NotFound, or Refused if the models refuse it."""
        current = self.get(kind, namespace, name)
        if current.get("spec") == spec:
            return current
        meta = current["metadata"]
        meta = {**meta, "generation": meta["generation"] + 1}
        changed = {**current, "spec": dict(spec), "metadata": meta}
        _admit(kind, changed)
        return self._put("MODIFIED", kind, changed)

    def replace_data(self, namespace: str, name: str, data: Mapping[str, str]) -> Object:
        """A person applies another ConfigMap under its name."""
        current = self.get(CONFIG_MAP, namespace, name)
        return self._put("MODIFIED", CONFIG_MAP, {**current, "data": dict(data)})

    def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        """Raises NotFound, or Conflict if `base` is not current."""
        current = self._matching(kind, base)
        if current.get("status") == status:
            return current
        return self._put("MODIFIED", kind, {**current, "status": dict(status)})

    def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        """Raises NotFound, or Conflict if `base` is not current; Refused to add one to an object
        that is being deleted."""
        current = self._matching(kind, base)
        meta = current["metadata"]
        before = meta.get("finalizers") or []
        if list(finalizers) == before:
            return current
        if meta.get("deletionTimestamp") and set(finalizers) - set(before):
            raise Refused("no new finalizers can be added if the object is being deleted")
        meta = {field: value for field, value in meta.items() if field != "finalizers"}
        if finalizers:
            meta["finalizers"] = list(finalizers)
        changed = {**current, "metadata": meta}
        if meta.get("deletionTimestamp") and not finalizers:
            return self._remove(kind, changed)
        return self._put("MODIFIED", kind, changed)

    def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """Ends the object, or marks it while finalizers hold it. Raises NotFound, or Conflict if
        another one has the name."""
        current = self.get(kind, namespace, name)
        meta = current["metadata"]
        if uid is not None and meta["uid"] != uid:
            raise Conflict(f"the UID in the precondition is not {meta['uid']}")
        if meta.get("deletionTimestamp"):
            return
        marked = {
            **current,
            "metadata": {
                **meta,
                "deletionTimestamp": self._timestamp(),
                "generation": meta["generation"] + 1,
            },
        }
        if meta.get("finalizers") or kind == NAMESPACE:
            self._put("MODIFIED", kind, marked)
        else:
            self._remove(kind, marked)

    # --- the controller manager -------------------------------------------------------------------

    def collect_garbage(self) -> None:
        """Deletes what has lost its owner, and the content of namespaces that end."""
        uids = {raw["metadata"]["uid"] for raw in self._objects.values()}
        for (kind, namespace, name), raw in list(self._objects.items()):
            meta = raw["metadata"]
            owners = meta.get("ownerReferences") or ()
            orphaned = owners and not any(owner["uid"] in uids for owner in owners)
            home = self.find(NAMESPACE, "", namespace) if namespace else None
            ends = home is not None and home["metadata"].get("deletionTimestamp")
            if (orphaned or ends) and not meta.get("deletionTimestamp"):
                self.delete(kind, namespace, name)
        for name in list(self._ending_namespaces()):
            self._remove(NAMESPACE, self.get(NAMESPACE, "", name))

    def _ending_namespaces(self) -> Iterator[str]:
        inhabited = {namespace for _, namespace, _ in self._objects}
        for raw in self.list(NAMESPACE):
            meta = raw["metadata"]
            if meta.get("deletionTimestamp") and meta["name"] not in inhabited:
                yield meta["name"]

    # --- underneath -------------------------------------------------------------------------------

    def _matching(self, kind: Kind, base: Object) -> Object:
        meta = base["metadata"]
        current = self.get(kind, str(meta.get("namespace") or ""), meta["name"])
        if current["metadata"]["uid"] != meta["uid"]:
            raise Conflict("the object was made anew under its name")
        if current["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise Conflict("the object has been modified")
        return current

    def _put(self, change: Change, kind: Kind, raw: Object) -> Object:
        stored = self._versioned(raw)
        meta = stored["metadata"]
        self._objects[kind, str(meta.get("namespace") or ""), meta["name"]] = stored
        self._tell(WatchEvent(change, kind, stored))
        return stored

    def _remove(self, kind: Kind, raw: Object) -> Object:
        last = self._versioned(raw)
        meta = last["metadata"]
        del self._objects[kind, str(meta.get("namespace") or ""), meta["name"]]
        self._tell(WatchEvent("DELETED", kind, last))
        return last

    def _versioned(self, raw: Object) -> Object:
        self._version += 1
        return {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(self._version)}}

    def _tell(self, event: WatchEvent) -> None:
        if event.kind == LEASE and event.change == "MODIFIED":
            return
        for watcher in list(self.watchers):
            watcher(event)

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _admit(kind: Kind, raw: Object) -> None:
    """Stands for the schema, which is generated from the models: what they refuse. Not its defaults
    and its pruning, nor what they take and it does not."""
    model = MODELS.get(kind)
    if model is None:
        return
    try:
        model.from_object(raw)
    except UnreadableObjectError as error:
        raise Refused(str(error)) from error
