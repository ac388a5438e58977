"""What people had declared when an intent was written: may this policy do this to this machine?

Worked out from the objects of the API server alone, not with the operator's code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    NAMESPACE,
    PATCH_POLICY,
    PATCH_RUN,
    Kind,
    Object,
)
from judging import runs
from judging.calendar_by_day import may_start
from simulation.apiserver import ApiServer, WatchEvent
from simulation.targets import entry_of

ACCESS = ("Read", "Assess", "Patch", "Configure")
NEEDED = {"Assess": "Assess", "Install": "Patch"}
"""The access that an operation needs."""

DECLARED = (AZURE_SUBSCRIPTION, PATCH_POLICY, NAMESPACE, PATCH_RUN)
"""What an operation needs leave from: also a PatchRun, by what it says of itself."""

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
            _forbidden(view, target, kind)
            or _not_its_turn(view, target, kind)
            or self._shut(view, target, kind, within)
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

    def may_begin(self, run: Object, target: Object, within: timedelta) -> bool:
        """Likewise, whether they let a one-time run begin with this machine, whatever its wave."""
        return not any(
            _forbidden(view, alive(target), "Install")
            or not all(
                _open(view, target, at + error, run)
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

    def lately(self, policy: Object, within: timedelta) -> Iterator[tuple[Object, Object | None]]:
        """This policy as it is declared, and as it was at any moment within this time; with the run
        that was under way."""
        for view in self.views(within):
            was = view[PATCH_POLICY].get(_key(policy))
            if was is not None and was["metadata"]["uid"] == policy["metadata"]["uid"]:
                yield was, run_under_way(view, was)

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
    """What a person sees to: not its status, unless it is a run's."""
    if raw is None:
        return None
    meta = raw["metadata"]
    declared = (meta["uid"], raw.get("spec"), meta.get("deletionTimestamp"), meta.get("labels"))
    if raw.get("kind") != PATCH_RUN.kind:
        return declared
    status = raw.get("status") or {}
    said = [status.get(field) for field in ("phase", "effective", "membership")]
    return *declared, said, runs.begun(raw)


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


def run_of(view: View, target: Object) -> Object | None:
    """The PatchRun that the PatchTarget says it is in, whether over or not."""
    return view[PATCH_RUN].get((target["metadata"]["namespace"], entry_of(target).get("name", "")))


def run_under_way(view: View, policy: Object) -> Object | None:
    """The policy's, of which there is one at most."""
    found = [run for run in view[PATCH_RUN].values() if runs.belongs(run, policy)]
    return next((run for run in found if runs.is_under_way(run)), None)


def _not_its_turn(view: View, target: Object, kind: str) -> str | None:
    if kind != "Install":
        return None
    policy = view[PATCH_POLICY][target["metadata"]["namespace"], target["spec"]["policy"]]
    return runs.not_its_turn(policy, run_of(view, target), entry_of(target))


def _open(view: View, target: Object, at: datetime, asked: Object | None = None) -> bool:
    """`asked`: a run that has not begun, by whose leave it would be."""
    key = (target["metadata"]["namespace"], target["spec"]["policy"])
    policy, id_ = view[PATCH_POLICY][key], target["spec"]["machineId"].split("/")[2]
    if asked is None:
        schedule, maximum_duration, run = _terms(view, policy, target)
    else:
        schedule = dict(runs.with_lifted(asked, {}, policy["spec"]["schedule"]))
        maximum_duration, run = policy["spec"]["install"]["maximumDuration"], asked
    freezes = [
        freeze
        for raw in view[AZURE_SUBSCRIPTION].values()
        if raw["spec"]["subscriptionId"].lower() == id_.lower()
        for freeze in raw["spec"].get("freezes", ())
        if run is None or not runs.lifts_freezes(run)
    ]
    return may_start(schedule, freezes, maximum_duration, at)


def _terms(view: View, policy: Object, target: Object) -> tuple[Object, str, Object | None]:
    """The policy's schedule and maximumDuration; of a machine in a run that goes on the windows of
    its wave, but for what a person lifted, what is frozen there, and the run."""
    schedule, run, entry = policy["spec"]["schedule"], run_of(view, target), entry_of(target)
    going = run is not None and runs.is_under_way(run) and runs.belongs(run, policy)
    if run is None or not going or entry["state"] not in runs.UNDER_WAY:
        return schedule, policy["spec"]["install"]["maximumDuration"], None
    wave = next(one for one in runs.waves_of(run) if one["name"] == entry["wave"])
    held = runs.with_lifted(run, wave, schedule)
    return dict(held), run["status"]["effective"]["install"]["maximumDuration"], run


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
