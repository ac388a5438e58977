"""Runs that people make, when it is least welcome: one-time installs, and assessments."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    Conflict,
    NotFound,
    Object,
)
from judging import runs
from simulation.apiserver import WatchEvent
from simulation.injections import Troublemaker
from simulation.targets import entry_of, machine_of
from simulation.world import World

ONE_IN = 3
AMONG = 1
"""Worlds in which people make runs: those whose seed leaves this, divided by ONE_IN."""

PLANNED = (1, 2, 2, 3, 4)
"""How often somebody makes one, or two, in one world."""

ASSESS = 0.3
"""Of these runs."""

IMMEDIATE = 0.55
LIFTED = 0.35
NAMED = 0.4
STRANGER = 0.08
"""Of the others: start Immediate, an override, machines by name, and of these with one that no
policy has."""

ENDLESS = 0.04
"""Without notAfter, which azpatch refuses."""

NOT_AFTER = tuple(
    timedelta(minutes=minutes) for minutes in (2, 15, 40, 60, 120, 300, 720, 1500, 4320)
)

DUE = 0.75
"""So often they choose a policy of which a machine is due, if there is one."""

TWO = 0.25
"""So often two people make one for the same policy."""

TWINS_AFTER = (0.0, 0.01, 0.3, 5.0, 240.0)
"""Seconds."""

MOMENTS = ("any", "declared", "declared", "gone", "under way", "under way", "intent", "over")
"""Some time; a policy, or an AzureSubscription, is changed: suspended, frozen, edited; a policy is
deleted; the members of a run are recorded; an install is about to be sent; a run is over."""

OFTEN = ("declared", "intent")
"""Moments of which a world has many."""

AFTER = (0.0, 0.0, 0.004, 0.05, 1.0, 20.0, 300.0)
"""Seconds from a moment until somebody acts."""

FATES = (
    *("left alone",) * 4,
    *("applied again",) * 2,
    "cancelled",
    "deleted",
    "the operator crashes",
    "the operator crashes",
    "two leaders overlap",
    "the watch is cut",
    "the policy is suspended",
    "the policy is deleted",
)
"""What becomes of one that was just made."""

TURNS = ("made", "made", "recorded", "intent", "over")
"""When: it was made, its members are recorded, one of its installs is about to be sent, or it is
over."""

FATE_AFTER = (0.0, 0.02, 0.1, 0.5, 2.0, 30.0, 600.0, 3600.0)
"""Seconds from then on."""

AGAIN_AFTER = (0.0, 0.05, 3.0, 120.0, 2400.0, 7200.0)
"""Seconds from a run's deletion until GitOps applies its manifest again."""


@dataclass
class _Plan:
    moment: str
    nth: int
    after: float


@dataclass
class _Fate:
    run: Object
    turn: str
    after: float
    what: str


class OneTimePeople:
    """Who may make runs in one world."""

    def __init__(self, world: World, trouble: Troublemaker, hours: int) -> None:
        self._world, self._trouble = world, trouble
        self._random: Random = world.random("one-time")
        self._names = 0
        self._plan: list[_Plan] = []
        self._hurried: set[str] = set()
        """Moments that somebody in a hurry has taken."""
        self._fates: dict[tuple[str, str], _Fate] = {}
        """Those that wait for their turn, by the run's namespace and name."""
        if world.seed % ONE_IN != AMONG:
            return
        for _ in range(self._random.choice(PLANNED)):
            moment = self._random.choice(MOMENTS)
            nth = self._random.randint(1, 6 if moment in OFTEN else 1)
            plan = _Plan(moment, nth, self._random.choice(AFTER))
            self._plan.append(plan)
            # A moment that does not come is not waited for.
            self._in(self._random.uniform(0.05, 0.95) * hours * 3600, partial(self._late, plan))
        world.api.watchers.append(self._changed)

    # --- moments ----------------------------------------------------------------------------------

    def _changed(self, event: WatchEvent) -> None:
        self._fate_comes(event)
        self._hurry(event)
        for moment, policy in self._moments(event):
            for plan in list(self._plan):
                if plan.moment != moment:
                    continue
                plan.nth -= 1
                if plan.nth <= 0:
                    self._plan.remove(plan)
                    self._in(plan.after, partial(self._make, policy))

    def _moments(self, event: WatchEvent) -> list[tuple[str, tuple[str, str] | None]]:
        """With the policy, where it is one's."""
        raw, meta = event.object, event.object["metadata"]
        status, here = raw.get("status") or {}, meta.get("namespace", "")
        if event.kind == PATCH_POLICY:
            gone = event.change == "DELETED" or meta.get("deletionTimestamp")
            anew = status.get("observedGeneration") != meta["generation"]
            what = "gone" if gone else "declared"
            return [(what, (here, meta["name"]))] if gone or anew else []
        if event.kind == AZURE_SUBSCRIPTION:
            anew = status.get("observedGeneration") != meta["generation"]
            return [("declared", None)] if anew else []
        if event.kind == PATCH_RUN and event.change == "MODIFIED":
            policy = here, raw["spec"]["policyRef"]["name"]
            if runs.is_over(raw):
                return [("over", policy)]
            return [("under way", policy)] if "membership" in status else []
        if event.kind == PATCH_TARGET:
            operation = status.get("operation") or {}
            if (operation.get("kind"), operation.get("state")) == ("Install", "Intent"):
                return [("intent", (here, raw["spec"]["policy"]))]
        return []

    def _hurry(self, event: WatchEvent) -> None:
        """The first machine that is due where an approval is needed, and the first that is due in a
        freeze, somebody wants to be patched at once, and says so of this machine alone: so no other
        is waited for, and no run of the policy's own is under way."""
        if event.kind != PATCH_TARGET or event.change == "DELETED":
            return
        status, meta = event.object.get("status") or {}, event.object["metadata"]
        policy = event.object["spec"]["policy"]
        if "dueSince" not in (status.get("attempts") or {}):
            return
        declared = self._world.api.find(PATCH_POLICY, meta["namespace"], policy)
        rollout = (declared or {}).get("spec", {}).get("rollout") or {}
        reasons = {c["reason"] for c in status.get("conditions", ()) if c["type"] == "Ready"}
        found = {"approval"} if "approval" in rollout else set()
        found |= {"freeze"} if "Frozen" in reasons else set()
        for moment in sorted(found - self._hurried):
            self._hurried.add(moment)
            until = self._world.clock.now() + timedelta(hours=3)
            spec = {
                "policyRef": {"name": policy},
                "operation": "Install",
                "start": "Immediate",
                "machines": {"ids": [event.object["spec"]["machineId"]]},
                "notAfter": f"{until:%Y-%m-%dT%H:%M:%SZ}",
            }
            named = {"namespace": meta["namespace"], "name": f"hurry-{moment}"}
            manifest = {"kind": PATCH_RUN.kind, "metadata": named, "spec": spec}
            self._in(0.0, partial(self._create, manifest))

    def _create(self, manifest: Object) -> Object | None:
        if self._trouble.over:
            return None
        with suppress(Conflict, NotFound):
            run = self._world.api.create(PATCH_RUN, manifest)
            name = manifest["metadata"]["name"]
            self._world.story.tell("all", f"*** {name} is made: {manifest['spec']}")
            self._world.one_time += 1
            return run
        return None

    def _fate_comes(self, event: WatchEvent) -> None:
        raw, here = event.object, event.object["metadata"].get("namespace", "")
        turn, name = None, ""
        if event.kind == PATCH_RUN:
            name = raw["metadata"]["name"]
            recorded = "membership" in (raw.get("status") or {})
            turn = "over" if runs.is_over(raw) else "recorded" if recorded else None
        elif event.kind == PATCH_TARGET and entry_of(raw).get("state") == "Running":
            turn, name = "intent", entry_of(raw)["name"]
        fate = self._fates.get((here, name))
        if fate is not None and fate.turn == turn:
            del self._fates[here, name]
            self._in(fate.after, partial(self._befalls, fate.what, fate.run))

    def _late(self, plan: _Plan) -> None:
        if plan in self._plan:
            self._plan.remove(plan)
            self._make(None)

    def _in(self, seconds: float, act: Callable[[], object]) -> None:
        self._world.loop.call_later(seconds, act, context=Context())

    # --- what they do -----------------------------------------------------------------------------

    def _make(self, policy: tuple[str, str] | None) -> None:
        """A run for the policy, or for any; with a fate."""
        if self._trouble.over:
            return
        policy = policy or self._chosen()
        if policy is None:
            return
        self._apply(self._manifest(*policy))
        if self._random.random() < TWO:
            twin = self._manifest(*policy)
            self._in(self._random.choice(TWINS_AFTER), partial(self._apply, twin))

    def _chosen(self) -> tuple[str, str] | None:
        """The policy of a machine that is due, where there is one: else there is nothing to do."""
        due = [
            (one["metadata"]["namespace"], one["spec"]["policy"])
            for one in self._world.api.list(PATCH_TARGET)
            if "dueSince" in ((one.get("status") or {}).get("attempts") or {})
        ]
        there = [
            (one["metadata"]["namespace"], one["metadata"]["name"])
            for one in self._world.api.list(PATCH_POLICY)
        ]
        wanted = due if due and self._random.random() < DUE else there
        return self._random.choice(wanted) if wanted else None

    def _manifest(self, namespace: str, policy: str) -> Object:
        self._names += 1
        return {
            "kind": PATCH_RUN.kind,
            "metadata": {"namespace": namespace, "name": f"once-{self._names}"},
            "spec": self._spec(namespace, policy),
        }

    def _spec(self, namespace: str, policy: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"policyRef": {"name": policy}, "operation": "Install"}
        if self._random.random() < ASSESS:
            spec["operation"] = "Assess"
        else:
            if self._random.random() < IMMEDIATE:
                spec["start"] = "Immediate"
            if self._random.random() < LIFTED:
                lifts = self._random.choice(({"windows": True}, {"freezes": True}, BOTH))
                spec["override"] = {**lifts, "reason": "CVE-2026-1"}
        machines = [
            target["spec"]["machineId"]
            for target in self._world.api.list(PATCH_TARGET)
            if (target["metadata"]["namespace"], target["spec"]["policy"]) == (namespace, policy)
        ]
        if machines and self._random.random() < NAMED:
            ids = self._random.sample(machines, self._random.randint(1, len(machines)))
            if self._random.random() < STRANGER:
                ids[0] = f"{ids[0]}-stranger"
            spec["machines"] = {"ids": [one.upper() if len(ids) == 1 else one for one in ids]}
        elif self._random.random() < 0.3:
            spec["machines"] = {"all": {}}
        until = self._world.clock.now() + self._random.choice(NOT_AFTER)
        if self._random.random() >= ENDLESS:
            spec["notAfter"] = f"{until:%Y-%m-%dT%H:%M:%SZ}"
        return spec

    def _apply(self, manifest: Object) -> None:
        run = self._create(manifest)
        if run is None:
            return
        choice = self._random.choice
        fate = _Fate(run, choice(TURNS), choice(FATE_AFTER), choice(FATES))
        if fate.turn == "made":
            self._in(fate.after, partial(self._befalls, fate.what, run))
        else:
            self._fates[run["metadata"]["namespace"], run["metadata"]["name"]] = fate

    def _befalls(self, fate: str, run: Object) -> None:
        if self._trouble.over or fate == "left alone":
            return
        meta = run["metadata"]
        self._world.story.tell("all", f"*** {meta['name']}: {fate}")
        if fate == "cancelled":
            current = self._world.api.find(PATCH_RUN, meta["namespace"], meta["name"])
            if current is not None and current["metadata"]["uid"] == meta["uid"]:
                spec = {**current["spec"], "cancelled": True}
                self._world.api.replace_spec(PATCH_RUN, meta["namespace"], meta["name"], spec)
        elif fate in ("deleted", "applied again"):
            with suppress(NotFound, Conflict):
                self._world.deleted_by_hand.add(meta["uid"])
                self._world.api.delete(PATCH_RUN, meta["namespace"], meta["name"], meta["uid"])
            if fate == "applied again":
                again = {**run, "metadata": {f: meta[f] for f in ("namespace", "name")}}
                self._in(self._random.choice(AGAIN_AFTER), partial(self._apply, again))
        else:
            self._strike(fate, run)

    def _strike(self, kind: str, run: Object) -> None:
        meta, policy = run["metadata"], run["spec"]["policyRef"]["name"]
        machines = [
            machine_of(target)
            for target in self._world.api.list(PATCH_TARGET)
            if (target["metadata"]["namespace"], target["spec"]["policy"])
            == (meta["namespace"], policy)
        ]
        if machines:
            self._trouble.make(kind, self._random.choice(machines))


BOTH = {"windows": True, "freezes": True}
