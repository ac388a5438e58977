"""Windows and freezes: some fleets have them, and people change them at the worst moment."""

from __future__ import annotations

from contextvars import Context
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY
from judging.calendar_by_day import duration
from simulation.fleets import START, Fleet
from simulation.injections import Troublemaker
from simulation.world import World

ONE_IN = 4
"""Fleets of which one has windows."""

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Chatham")
ROOM = ("10m", "40m", "2h", "5h")
"""How much longer than an install a window is."""

FROZEN_AT_FIRST = 0.3
"""Of these policies."""

CHANGES = (0, 1, 2, 4)
"""How many people make, within the hours of trouble."""

ALWAYS: dict[str, Any] = {"always": {}}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday")
"""It begins on a Monday."""

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def drawn(fleet: Fleet, random: Random) -> Fleet:
    """The fleet; of some, the policies have windows and the subscriptions freezes."""
    if random.randrange(ONE_IN):
        return fleet
    policies = []
    for raw in fleet.policies:
        schedule = _schedule(random, raw["spec"]["install"])
        if random.random() < FROZEN_AT_FIRST:
            schedule = {**schedule, "freezes": [_freeze(random, START)]}
        policies.append({**raw, "spec": {**raw["spec"], "schedule": schedule}})
    return replace(fleet, policies=policies)


def _schedule(random: Random, install: dict[str, Any]) -> dict[str, Any]:
    """One to three windows, of each day or of some. Sometimes there is none, as always."""
    if random.random() < 0.2:
        return ALWAYS
    return {
        "timeZone": random.choice(ZONES),
        "windows": [_window(random, number, install) for number in range(random.randint(1, 3))],
    }


def _window(random: Random, number: int, install: dict[str, Any]) -> dict[str, Any]:
    needed = duration(install["maximumDuration"])
    recurs: dict[str, Any] = {"daily": {}}
    if random.random() < 0.3:
        recurs = {"weekly": {"days": random.sample(DAYS, 3)}}
    return {
        "name": f"w{number}",
        **recurs,
        "startTime": f"{random.randint(0, 23):02}:{random.choice((0, 13, 30, 59)):02}",
        "duration": f"{(needed + duration(random.choice(ROOM))) // MINUTE}m",
    }


class Schedules:
    """What people do to them in one world."""

    def __init__(self, world: World, trouble: Troublemaker, hours: int) -> None:
        self._world, self._trouble = world, trouble
        self._random = world.random("schedules")
        if not any("windows" in raw["spec"]["schedule"] for raw in world.fleet.policies):
            return
        for _ in range(self._random.choice(CHANGES)):
            act = self._random.choice((self._change_windows, self._freeze, self._freeze))
            seconds = self._random.uniform(60, hours * HOUR.total_seconds())
            world.loop.call_later(seconds, act, context=Context())

    def _change_windows(self) -> None:
        """A person gives a policy other windows, or none."""
        policies = [one for one in self._world.api.list(PATCH_POLICY) if "install" in one["spec"]]
        if self._trouble.over or not policies:
            return
        policy = self._random.choice(policies)
        self._world.story.tell("all", f"*** other windows for {policy['metadata']['name']}")
        schedule = _schedule(self._random, policy["spec"]["install"])
        changes = {"schedule": schedule}
        if "waves" in policy["spec"].get("rollout", {}):
            changes["rollout"] = fitting(policy["spec"]["rollout"], schedule)
        self._trouble.apply(policy, **changes)

    def _freeze(self) -> None:
        """A freeze is declared that holds already, or soon, and is taken away later."""
        kind = self._random.choice((PATCH_POLICY, AZURE_SUBSCRIPTION))
        declared = [
            one
            for one in self._world.api.list(kind)
            if kind == AZURE_SUBSCRIPTION or "schedule" in one["spec"]
        ]
        if self._trouble.over or not declared:
            return
        chosen = self._random.choice(declared)
        self._world.story.tell("all", f"*** {chosen['metadata']['name']} is frozen")
        self._set(chosen, [_freeze(self._random, self._world.clock.now())])
        self._trouble.later(HOUR, 6 * HOUR, lambda: self._set(chosen, []))

    def _set(self, declared: Any, freezes: list[dict[str, Any]]) -> None:
        if declared["kind"] == AZURE_SUBSCRIPTION.kind:
            self._trouble.apply(declared, freezes=freezes)
            return
        meta = declared["metadata"]
        now = self._world.api.find(PATCH_POLICY, meta["namespace"], meta["name"])
        if now is not None and "schedule" in now["spec"]:
            self._trouble.apply(now, schedule={**now["spec"]["schedule"], "freezes": freezes})


def _freeze(random: Random, now: datetime) -> dict[str, Any]:
    """One that holds already, or soon, for some hours."""
    zone = random.choice(ZONES)
    start = now.astimezone(ZoneInfo(zone)) + random.choice((-1, 0.1, 1)) * HOUR
    return {
        "name": "freeze",
        "start": _local(start),
        "end": _local(start + random.choice((1.2, 3, 9)) * HOUR),
        "timeZone": zone,
    }


def _local(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:00}"


def fitting(rollout: dict[str, Any], schedule: dict[str, Any]) -> dict[str, Any]:
    """The rollout as the API server takes it beside this schedule: without waves where there is no
    window, and without windows that the schedule does not have."""
    names = [window["name"] for window in schedule.get("windows", ())]
    if not names:
        return {field: value for field, value in rollout.items() if field != "waves"}
    return {**rollout, "waves": [_with_windows(wave, names) for wave in rollout.get("waves", ())]}


def _with_windows(wave: dict[str, Any], names: list[str]) -> dict[str, Any]:
    left = [name for name in wave.get("windows", ()) if name in names]
    rest = {field: value for field, value in wave.items() if field != "windows"}
    return {**rest, "windows": left} if left else rest
