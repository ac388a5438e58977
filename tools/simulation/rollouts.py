"""Policies that install in waves: of the fleets that have windows, most have one, with machines
enough that there is somebody in a second wave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from azpatch.kube.port import Object
from simulation import fleets, images, matrices
from simulation.fleets import GROUP, START, Fleet
from simulation.images import Built, subscription_id
from simulation.schedules import ZONES

Raw = dict[str, Any]

AMONG_WINDOWED = 0.85
"""Of the fleets with windows."""

TEAM = "team"
"""The policy's name, and a tag of the machines that it selects."""

MEMBERS = (5, 6, 6, 7, 9)
LATE = (0, 1, 2)
"""Machines that it means only when somebody broadens its target."""

READY = 0.95
"""Of these fleets, so many can be patched as far as matrix and preview feature go: where nothing
can be, no run is made."""

SOAKS = ("3m", "10m", "40m", "2h")
RINGS = ("0", "1", "2")

APPROVAL = 0.25
"""Of the policies with waves."""

PINNED = 0.26
"""Likewise."""

SHARED = (201, 202, 203, 204)
"""Numbers of packages that a canary and others lack alike, of a policy that pins: without, nobody
would lack what a canary was given."""

REPORTED = (("ubuntu", "22.04"),) * 7 + (("ubuntu", "24.04"), ("debian", "12"), None)
"""What the agents of its machines report; None: nothing."""

FAILED = (0, 1, 2, "20%", "50%")
"""What maxFailed may be."""

LEADS = ("30m", "3h", "24h")

NOBODY = "9"
"""A ring that no machine has."""

BAD = (
    {"failingPatches": ["package-*"]},
    {"failingPatches": ["package-*"]},
    {"internalError": True},
    {"agentLost": True},
    {"noResult": True},
    {"exceedsWindow": True},
)
"""What an install may come to."""


def drawn(fleet: Fleet, random: Random) -> Fleet:
    """The fleet; of some, with machines of one team more, and its policy."""
    windowed = any("windows" in raw["spec"]["schedule"] for raw in fleet.policies)
    if not windowed or random.random() >= AMONG_WINDOWED:
        return fleet
    by_image = random.random() < 0.4
    built = images.USUAL["web"] if by_image else images.OTHERS["ubuntu"]
    count, late = random.choice(MEMBERS), random.choice(LATE)
    subscriptions = len(fleet.subscriptions)
    machines = [
        _machine(random, number, built, subscriptions, late=number > count)
        for number in range(1, count + late + 1)
    ]
    policy = _policy(random, built, subscriptions)
    policy, machines = _pinned(policy, machines)
    others = [raw for raw in fleet.policies if not by_image or not _same_target(raw, policy)]
    whole = replace(
        fleet,
        azure={**fleet.azure, "machines": [*fleet.azure["machines"], *machines]},
        policies=[*others, policy],
        truths={
            **fleet.truths,
            **{fleets.id_of(one).lower(): fleets.truth_of(one, built) for one in machines},
        },
    )
    return _ready(whole) if random.random() < READY else whole


def has_waves(fleet: Fleet) -> bool:
    """Somebody in it installs in waves."""
    return any(raw["spec"].get("rollout", {}).get("waves") for raw in fleet.policies)


def needs_people(fleet: Fleet) -> bool:
    """Some runs in it are somebody's to look after: they have waves, or wait for an approval."""
    asked = any("approval" in raw["spec"].get("rollout", {}) for raw in fleet.policies)
    return asked or has_waves(fleet)


def _same_target(one: Object, other: Object) -> bool:
    return bool(one["spec"]["target"] == other["spec"]["target"])


def _ready(fleet: Fleet) -> Fleet:
    """Nothing forbids an install on a usual machine."""
    if any(fleets.registers(raw) for raw in fleet.subscriptions):
        return fleet
    azure = [
        {**one, "features": [fleets.FEATURE]} if "features" in one else one
        for one in fleet.azure["subscriptions"]
    ]
    declared = [
        {
            **raw,
            "spec": {**matrices.without(raw["spec"]), "supportMatrix": matrices.WITH_FEATURE},
        }
        for raw in fleet.subscriptions
    ]
    return replace(
        fleet,
        azure={**fleet.azure, "subscriptions": azure},
        subscriptions=declared,
        matrices={},
    )


def _machine(random: Random, number: int, built: Built, subscriptions: int, *, late: bool) -> Raw:
    guest = fleets.guest(random, missing=(1, 4))
    guest["missing"][0]["classification"] = "Security"
    if random.random() < 0.25:
        guest["failures"] = {**random.choice(BAD), "times": random.choice((1, 2, 2))}
    tags = {TEAM: "late" if late else "runs", "ring": RINGS[number % len(RINGS)]}
    return {
        "name": f"run-{number}",
        "subscription": subscription_id(random.randint(1, subscriptions)),
        "group": GROUP,
        "osType": built.truth.os_type,
        "image": dict(built.image),
        **built.fields,
        "tags": tags,
        "guest": guest,
        **({"power": "stopped"} if random.random() < 0.05 else {}),
        **({"availabilitySet": "as-runs"} if random.random() < 0.2 else {}),
    }


def _policy(random: Random, built: Built, subscriptions: int) -> Object:
    target: Raw = {
        "selector": {
            "azureSubscriptions": [f"sub-{number}" for number in range(1, subscriptions + 1)],
            "tags": {TEAM: ["runs"]},
        }
    }
    if built.target is not None:
        target = {"galleryImage": {"id": built.target}}
    raw = fleets.policy(random, TEAM, random.choice(fleets.NAMESPACES), target)
    schedule = _schedule(random, raw["spec"]["install"])
    names = [window["name"] for window in schedule["windows"]]
    spec = {**raw["spec"], "schedule": schedule, "rollout": rollout(random, names)}
    return {**raw, "spec": with_approval(spec)}


def with_approval(spec: Raw) -> Raw:
    """Some ask for one. Drawn by what the policy says, so that nothing else is drawn otherwise."""
    random = Random(json.dumps(spec, sort_keys=True))
    if random.random() >= APPROVAL:
        return spec
    approval = {"mode": "Required", "leadTime": random.choice(LEADS)}
    return {**spec, "rollout": {**spec["rollout"], "approval": approval}}


def _pinned(policy: Object, machines: list[Raw]) -> tuple[Object, list[Raw]]:
    """Some policies pin, and then machines have more in common. Drawn by what the policy says, so
    that nothing else is drawn otherwise."""
    spec = policy["spec"]
    random = Random(f"pinned {json.dumps(spec, sort_keys=True)}")
    if random.random() >= PINNED:
        return policy, machines
    pinning = {**spec, "rollout": {**spec["rollout"], "patchSet": "Pinned"}}
    return {**policy, "spec": pinning}, [_alike(random, one) for one in machines]


def _alike(random: Random, machine: Raw) -> Raw:
    guest, reported = dict(machine["guest"]), random.choice(REPORTED)
    if reported is not None:
        guest["os"], guest["osVersion"] = reported
    shared = random.sample(SHARED, random.choice((2, 3, 3, 4)))
    # The same package in an older version, where its mirror is behind.
    more = [
        {
            "name": f"package-{number}",
            "version": f"1.{number}" if random.random() < 0.9 else f"1.{number - 100}",
            "classification": "Security",
            "rebootBehavior": "NeverReboots",
        }
        for number in shared
    ]
    guest["missing"] = [*guest["missing"], *more]
    return {**machine, "guest": guest}


def broadened(target: Mapping[str, Any]) -> Raw | None:
    """The target with the machines that come late; None: it has no more to mean."""
    selector = target.get("selector")
    if selector is None or TEAM not in selector.get("tags", {}):
        return None
    return {"selector": {**selector, "tags": {TEAM: ["runs", "late"]}}}


def _schedule(random: Random, install: Raw) -> Raw:
    """Windows that are open while there is trouble, long enough for some waves; others later."""
    zone = random.choice(ZONES)
    needed = timedelta(hours=int(install["maximumDuration"][2]))
    windows = []
    for number in range(random.randint(1, 3)):
        soon = number == 0 or random.random() < 0.5
        hours = random.uniform(-1, 0.7) if soon else random.uniform(1, 20)
        start = (START + timedelta(hours=hours)).astimezone(ZoneInfo(zone))
        length = needed + timedelta(minutes=random.choice((90, 180, 300, 420)))
        windows.append(
            {
                "name": f"w{number}",
                "daily": {},
                "startTime": f"{start:%H:%M}",
                "duration": f"{length // timedelta(minutes=1)}m",
            }
        )
    return {"timeZone": zone, "windows": windows}


def rollout(random: Random, windows: list[str]) -> Raw:
    """How carefully."""
    return {
        "maxUnavailable": random.choice((1, 2, "30%", "50%", "60%", "100%")),
        "maxFailed": random.choice(FAILED),
        "minSucceeded": random.choice((1, 1, "50%", "50%", "80%", "100%")),
        "waves": list(_waves(random, windows)),
    }


def _waves(random: Random, windows: list[str]) -> Iterator[Raw]:
    if random.random() < 0.35:
        ring = NOBODY if random.random() < 0.2 else random.choice(RINGS)
        yield _wave(random, windows, "canary", tags={"ring": [ring]})
    else:
        yield _wave(random, windows, "canary", machines=random.choice((1, 2, "10%", "34%")))
    if random.random() < 0.4:
        yield _wave(random, windows, "early", machines=random.choice(("50%", "67%", 4)))
    if random.random() < 0.9:
        rest = _wave(random, windows, "rest", machines="100%")
        yield {field: value for field, value in rest.items() if field != "soak"}
    else:
        yield {"name": "rest", "machines": "100%", "windows": [random.choice(windows)]}


def _wave(random: Random, windows: list[str], name: str, **who: Any) -> Raw:
    wave = {"name": name, **who}
    if random.random() < 0.75:
        wave["soak"] = random.choice(SOAKS)
    if random.random() < 0.2:
        wave["windows"] = random.sample(windows, random.randint(1, len(windows)))
    return wave
