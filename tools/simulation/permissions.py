"""What people had declared when an intent was written: may this policy do this to this machine?

Worked out from the objects of the API server alone, not with the operator's code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.kube.port import AZURE_SUBSCRIPTION, NAMESPACE, PATCH_POLICY, Kind, Object
from judging.calendar_by_day import may_start
from simulation.apiserver import ApiServer, WatchEvent

ACCESS = ("Read", "Assess", "Patch", "Configure")
NEEDED = {"Assess": "Assess", "Install": "Patch"}
"""The access that an operation needs."""

DECLARED = (AZURE_SUBSCRIPTION, PATCH_POLICY, NAMESPACE)


View = Mapping[Kind, Mapping[tuple[str, str], Object]]
"""The declared objects at one time, by namespace and name."""


@dataclass(frozen=True)
class _Was:
    """What an object was until a change."""

    until: datetime
    kind: Kind
    key: tuple[str, str]
    object: Object | None


class Declarations:
    """The declared objects now, and as they were a moment ago."""

    def __init__(
        self, api: ApiServer, now: Callable[[], datetime], clock_errors: Iterable[timedelta]
    ) -> None:
        self._now = now
        self._clock_errors = clock_errors
        self._current: dict[Kind, dict[tuple[str, str], Object]] = {
            kind: {_key(raw): raw for raw in api.list(kind)} for kind in DECLARED
        }
        self._past: deque[_Was] = deque(maxlen=200)
        api.watchers.append(self._changed)

    def _changed(self, event: WatchEvent) -> None:
        if event.kind not in DECLARED:
            return
        objects, key = self._current[event.kind], _key(event.object)
        before = objects.get(key)
        if event.change == "DELETED":
            objects.pop(key, None)
        else:
            objects[key] = event.object
        if _declared(before) != _declared(objects.get(key)):
            self._past.append(_Was(self._now(), event.kind, key, before))

    def forbidden(self, target: Object, kind: str, within: timedelta) -> str | None:
        """Why this PatchTarget's policy must not send this, now and at every moment `within`
        before; None: it may, or might a moment ago, which the operator's watch may still show."""
        reasons = [
            _forbidden(view, target, kind) or self._shut(view, target, kind, within)
            for view in self.views(within)
        ]
        return reasons[0] if all(reasons) else None

    def may_start(self, target: Object, within: timedelta) -> bool:
        """Whether the windows and freezes let an install start, now and at every moment `within`
        before, whatever an operator's clock showed."""
        return not any(
            _forbidden(view, alive(target), "Install")
            or not all(
                _open(view, target, at + error)
                for error in self._clock_errors
                for at in (self._now(), self._now() - within)
            )
            for view in self.views(within)
        )

    def _shut(self, view: View, target: Object, kind: str, within: timedelta) -> str | None:
        """An operator whose clock is wrong goes by it."""
        if kind != "Install":
            return None
        times = (self._now(), self._now() - within)
        if any(_open(view, target, at + error) for at in times for error in self._clock_errors):
            return None
        return "no window is open that is long enough, or a freeze holds"

    def ever_forbidden(self, target: Object, kind: str, within: timedelta) -> bool:
        """Whether it was, at any moment within this time."""
        return any(_forbidden(view, alive(target), kind) for view in self.views(within))

    def lately(self, policy: Object, within: timedelta) -> Iterator[Object]:
        """This policy as it is declared, and as it was at any moment within this time."""
        for view in self.views(within):
            was = view[PATCH_POLICY].get(_key(policy))
            if was is not None and was["metadata"]["uid"] == policy["metadata"]["uid"]:
                yield was

    def views(self, within: timedelta) -> Iterator[View]:
        """The declared objects now, and after each change that is no older than this, as they were
        before it."""
        yield self._current
        view = {kind: dict(objects) for kind, objects in self._current.items()}
        for was in reversed(self._past):
            if was.until < self._now() - within:
                return
            if was.object is None:
                view[was.kind].pop(was.key, None)
            else:
                view[was.kind][was.key] = was.object
            yield {kind: dict(objects) for kind, objects in view.items()}


def alive(target: Object) -> Object:
    """As it was before its deletion."""
    meta = {k: v for k, v in target["metadata"].items() if k != "deletionTimestamp"}
    return {**target, "metadata": meta}


def _key(raw: Object) -> tuple[str, str]:
    return str(raw["metadata"].get("namespace") or ""), raw["metadata"]["name"]


def _declared(raw: Object | None) -> object:
    """What a person sees to: not its status."""
    if raw is None:
        return None
    meta = raw["metadata"]
    return meta["uid"], raw.get("spec"), meta.get("deletionTimestamp"), meta.get("labels")


def _forbidden(view: View, target: Object, kind: str) -> str | None:
    meta, machine = target["metadata"], target["spec"]["machineId"].lower()
    namespace = meta["namespace"]
    policy = view[PATCH_POLICY].get((namespace, target["spec"]["policy"]))
    owners = [owner["uid"] for owner in meta["ownerReferences"]]
    if policy is None or policy["metadata"]["uid"] not in owners:
        return "its policy is deleted"
    if policy["metadata"].get("deletionTimestamp") or meta.get("deletionTimestamp"):
        return "it, or its policy, is being deleted"
    if policy["spec"].get("suspend"):
        return "its policy is suspended"
    if kind == "Install" and policy["spec"].get("install") is None:
        return "its policy does not install"
    return _not_granted(view, namespace, machine, NEEDED[kind])


def _open(view: View, target: Object, at: datetime) -> bool:
    key = (target["metadata"]["namespace"], target["spec"]["policy"])
    spec, id_ = view[PATCH_POLICY][key]["spec"], target["spec"]["machineId"].split("/")[2]
    freezes = [
        freeze
        for raw in view[AZURE_SUBSCRIPTION].values()
        if raw["spec"]["subscriptionId"].lower() == id_.lower()
        for freeze in raw["spec"].get("freezes", ())
    ]
    return may_start(spec["schedule"], freezes, spec["install"]["maximumDuration"], at)


def _not_granted(
    view: View,
    namespace: str,
    machine: str,
    needed: str,
) -> str | None:
    parts = machine.split("/")
    subscription, group = parts[2], parts[4]
    for raw in view[AZURE_SUBSCRIPTION].values():
        if raw["spec"]["subscriptionId"].lower() != subscription:
            continue
        if raw["metadata"].get("deletionTimestamp"):
            continue
        for grant in raw["spec"].get("grants", ()):
            groups = [name.lower() for name in grant.get("resourceGroups", ())]
            if namespace not in grant["namespaces"].get("names", ()):
                continue
            if groups and group not in groups:
                continue
            if ACCESS.index(grant["access"]) >= ACCESS.index(needed):
                return None
    return f"no grant gives {namespace} the access {needed}"
