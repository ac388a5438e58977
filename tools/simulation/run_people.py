"""What people do to PatchRuns, and to policies that are at one, when it is least welcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from azpatch.kube.port import (
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    Conflict,
    NotFound,
    Object,
)
from judging import runs
from judging.calendar_by_day import duration
from simulation import rollouts
from simulation.apiserver import WatchEvent
from simulation.injections import Troublemaker
from simulation.targets import entry_of, machine_of
from simulation.world import World

PLANNED = (0, 1, 2, 2, 3)
"""How often they act in one world."""

ACKNOWLEDGED = 0.85
"""Of the runs that are paused."""

APPROVED = 0.85
"""Of the runs that wait for it."""

TOO_FEW = 0.25
"""Of these acknowledgements, one failure is left out."""

AFTER = (0.0, 0.0, 0.004, 0.05, 1.0, 20.0, 300.0)
"""Seconds from a moment until somebody acts."""

MOMENTS = ("made", "recorded", "wave", "paused", "intent", "intent", "failed", "ended")
"""A run is made, or its members recorded; a wave begins; it is paused; a member's install is about
to be sent, has failed, or the machine is at its end in the run."""

OFTEN = ("intent", "failed", "ended")
"""Moments of which a run has many."""


@dataclass
class _Plan:
    moment: str
    nth: int
    after: float
    act: str


class RunPeople:
    """The owners of the policies of one world."""

    def __init__(self, world: World, trouble: Troublemaker) -> None:
        self._world, self._trouble = world, trouble
        self._random: Random = world.random("runs")
        self._paused: set[str] = set()
        self._approvers: Random = world.random("approvals")
        self._asked: set[str] = set()
        if not rollouts.needs_people(world.fleet):
            return
        self._plan = [self._planned() for _ in range(self._random.choice(PLANNED))]
        self._before: dict[str, Object] = {}
        world.api.watchers.append(self._changed)

    # --- moments ----------------------------------------------------------------------------------

    def _planned(self) -> _Plan:
        moment, act = self._random.choice(MOMENTS), self._random.choice(list(ACTS))
        nth = self._random.randint(1, 3 if moment in OFTEN else 1)
        return _Plan(moment, nth, self._random.choice(AFTER), act)

    def _changed(self, event: WatchEvent) -> None:
        if event.kind not in (PATCH_RUN, PATCH_TARGET) or event.change == "DELETED":
            return
        uid = event.object["metadata"]["uid"]
        before, self._before[uid] = self._before.get(uid), event.object
        if event.kind == PATCH_RUN:
            for moment in _moments(before, event.object):
                self._come(moment, event.object)
            self._acknowledge_later(event.object)
            self._approve_later(event.object)
            return
        entry, was = entry_of(event.object), entry_of(before) if before else {}
        run = self._world.api.find(
            PATCH_RUN, event.object["metadata"]["namespace"], entry.get("name", "")
        )
        if run is None or entry == was:
            return
        if entry["state"] == "Running" and was.get("state") != "Running":
            self._come("intent", run)
        if entry["state"] == "Failed" or entry.get("reason"):
            self._come("failed", run)
        if entry["state"] not in ("Pending", "Running"):
            self._come("ended", run)

    def _come(self, moment: str, run: Object) -> None:
        for plan in list(self._plan):
            if plan.moment != moment:
                continue
            plan.nth -= 1
            if plan.nth <= 0:
                self._plan.remove(plan)
                self._in(plan.after, partial(self._act, plan.act, run))

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        self._world.loop.call_later(seconds, act, context=Context())

    def _act(self, act: str, run: Object) -> None:
        if self._trouble.over:
            return
        self._world.story.tell("all", f"*** {run['metadata']['name']}: {act}")
        ACTS[act](self, run)

    # --- what they do -----------------------------------------------------------------------------

    def _acknowledge_later(self, run: Object) -> None:
        """Somebody looks into the failures of a paused run, and lets it go on."""
        uid, paused = run["metadata"]["uid"], run.get("status", {}).get("phase") == "Paused"
        if not paused:
            self._paused.discard(uid)
        elif uid not in self._paused:
            self._paused.add(uid)
            if self._random.random() < ACKNOWLEDGED:
                self._in(self._random.uniform(5, 900), lambda: self.acknowledge(run))

    def _approve_later(self, run: Object) -> None:
        """Somebody who may looks at a run that waits for that, sooner or later, or never."""
        uid = run["metadata"]["uid"]
        if run.get("status", {}).get("phase") != "AwaitingApproval" or uid in self._asked:
            return
        self._asked.add(uid)
        if self._approvers.random() < APPROVED:
            self._in(self._approvers.uniform(5, 7200), lambda: self._approve(run))

    def _approve(self, run: Object) -> None:
        self._world.story.tell("all", f"*** {run['metadata']['name']}: approved")
        self._say(run, lambda spec: {"approved": True, "approvedBy": "anna"})

    def acknowledge(self, run: Object) -> None:
        """All failures that the run tells of, or one too few."""
        meta = run["metadata"]
        now = self._world.api.find(PATCH_RUN, meta["namespace"], meta["name"]) or run
        failed = len((now.get("status") or {}).get("failures", ()))
        if self._random.random() < TOO_FEW:
            failed -= 1
            self._in(self._random.uniform(60, 3600), lambda: self.acknowledge(run))
        self._world.story.tell("all", f"*** {run['metadata']['name']}: {failed} acknowledged")
        self._say(run, lambda spec: {"acknowledgedFailures": max(failed, spec.get(FAILURES, 0))})

    def cancel(self, run: Object) -> None:
        """For good."""
        self._say(run, lambda spec: {"cancelled": True})

    def delete(self, run: Object) -> None:
        """By hand."""
        meta = run["metadata"]
        with suppress(NotFound, Conflict):
            self._world.deleted_by_hand.add(meta["uid"])
            self._world.api.delete(PATCH_RUN, meta["namespace"], meta["name"], meta["uid"])

    def edit_install(self, run: Object) -> None:
        """What is installed, and for how long at most: an hour fits in every window."""
        policy = self._policy(run)
        if policy is None or "install" not in policy["spec"]:
            return
        classes = self._random.choice((["Critical", "Security", "Other"], ["Security"]))
        install = {
            **policy["spec"]["install"],
            "linux": {"classificationsToInclude": classes},
            "rebootSetting": self._random.choice(("IfRequired", "Never", "Always")),
            "maximumDuration": self._random.choice(["PT1H", *_fitting(policy, "PT1H30M")]),
        }
        self._trouble.apply(policy, install=install)

    def edit_rollout(self, run: Object) -> None:
        """Other waves, another budget; some ask for an approval from now on."""
        policy = self._policy(run)
        windows = (policy or {}).get("spec", {}).get("schedule", {}).get("windows", ())
        if policy is not None and windows:
            names = [window["name"] for window in windows]
            spec = {**policy["spec"], "rollout": rollouts.rollout(self._random, names)}
            self._trouble.apply(policy, rollout=rollouts.with_approval(spec)["rollout"])

    def broaden(self, run: Object) -> None:
        """More machines."""
        policy = self._policy(run)
        target = rollouts.broadened(policy["spec"]["target"]) if policy is not None else None
        if policy is not None and target is not None:
            self._trouble.apply(policy, target=target)

    def suspend(self, run: Object) -> None:
        """And resume it."""
        self._make("the policy is suspended", run)

    def crash(self, run: Object) -> None:
        """The operator dies."""
        self._make("the operator crashes", run)

    def two_leaders(self, run: Object) -> None:
        """Two operators overlap."""
        self._make("two leaders overlap", run)

    def cut_watch(self, run: Object) -> None:
        """What people do is not seen."""
        self._make("the watch is cut", run)

    def _make(self, kind: str, run: Object) -> None:
        machines = [
            machine_of(one)
            for one in self._world.api.list(PATCH_TARGET)
            if entry_of(one).get("name") == run["metadata"]["name"]
        ]
        if machines:
            self._trouble.make(kind, self._random.choice(machines))

    def _policy(self, run: Object) -> Object | None:
        meta, name = run["metadata"], run["spec"]["policyRef"]["name"]
        found = self._world.api.find(PATCH_POLICY, meta["namespace"], name)
        return found if found is not None and runs.belongs(run, found) else None

    def _say(self, run: Object, changes: Callable[[Object], dict[str, Any]]) -> None:
        meta = run["metadata"]
        current = self._world.api.find(PATCH_RUN, meta["namespace"], meta["name"])
        if current is not None and current["metadata"]["uid"] == meta["uid"]:
            spec = {**current["spec"], **changes(current["spec"])}
            self._world.api.replace_spec(PATCH_RUN, meta["namespace"], meta["name"], spec)


FAILURES = "acknowledgedFailures"

ACTS: dict[str, Callable[[RunPeople, Object], None]] = {
    "cancelled": RunPeople.cancel,
    "deleted": RunPeople.delete,
    "failures acknowledged": RunPeople.acknowledge,
    "other terms": RunPeople.edit_install,
    "other waves": RunPeople.edit_rollout,
    "a broader target": RunPeople.broaden,
    "suspended": RunPeople.suspend,
    "the operator dies": RunPeople.crash,
    "two leaders": RunPeople.two_leaders,
    "the watch is cut": RunPeople.cut_watch,
}


def _moments(before: Object | None, run: Object) -> list[str]:
    was, status = (before or {}).get("status", {}), run.get("status", {})
    found = [] if before is not None else ["made"]
    if "membership" in status and "membership" not in was:
        found.append("recorded")
    if _begun(status) > _begun(was):
        found.append("wave")
    if status.get("phase") == "Paused" != was.get("phase"):
        found.append("paused")
    return found


def _begun(status: Object) -> int:
    return sum("startTime" in wave for wave in status.get("waves", ()))


def _fitting(policy: Object, longest: str) -> list[str]:
    """How long an install may take, if that fits in each window: the API server refuses it else."""
    windows = policy["spec"]["schedule"].get("windows", ())
    fits = all(duration(window["duration"]) >= duration(longest) for window in windows)
    return [longest] if fits else []
