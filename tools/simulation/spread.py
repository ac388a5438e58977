"""rollout.spread: some fleets have availability sets, zones and tags, and policies that speak of
them. Which machines are a group is worked out here anew, from the fleet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from azpatch.kube.port import Object
from judging.invariants import Rollout
from simulation.fleets import Fleet, id_of
from simulation.targets import share

ONE_IN = 4
"""Fleets of which one has groups."""

BY_DEFAULT = ({"by": "AvailabilitySet", "maxUnavailable": 1},)

TAG, VALUES = "role", ("db", "web")


def drawn(fleet: Fleet, random: Random) -> Fleet:
    """The fleet; of some, the machines are in groups, and most policies look at them."""
    if random.randrange(ONE_IN):
        return fleet
    machines = [{**machine, **place(random, machine)} for machine in fleet.azure["machines"]]
    policies = [
        {**raw, "spec": {**raw["spec"], "rollout": {**raw["spec"]["rollout"], **rollout(random)}}}
        for raw in fleet.policies
    ]
    return replace(fleet, azure={**fleet.azure, "machines": machines}, policies=policies)


def place(random: Random, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Azure has a machine in a set or in a zone, in neither if it is one of a scale set or of
    somebody else's hardware."""
    found: dict[str, Any] = {}
    if random.random() < 0.7:
        found["tags"] = {random.choice((TAG, TAG.title())): random.choice(VALUES)}
    drawn = random.random()
    if "arc" in machine or "scaleSet" in machine:
        return found
    if drawn < 0.5:
        found["availabilitySet"] = random.choice(("as-1", "as-1", "as-2"))
    elif drawn < 0.8:
        found["zone"] = random.choice(("1", "2"))
    return found


def rollout(random: Random) -> dict[str, Any]:
    """What a policy says of groups. Often nobody waits for anything but groups."""
    said: dict[str, Any] = {"maxUnavailable": "100%"} if random.random() < 0.5 else {}
    kind = random.random()
    if kind < 0.4:
        return said
    if kind < 0.5:
        return {**said, "spread": []}
    entries = [
        {"by": "AvailabilitySet", "maxUnavailable": random.choice((1, "50%"))},
        {"by": "Zone", "maxUnavailable": random.choice((1, 2, "50%"))},
        {"by": "Tag", "key": TAG.upper(), "maxUnavailable": random.choice((1, 2, "50%"))},
    ]
    return {**said, "spread": random.sample(entries, random.randint(1, 3))}


class Groups:
    """The groups of one fleet. Its machines stay in theirs, also those that are made anew."""

    def __init__(self, fleet: Fleet) -> None:
        self._machines = {id_of(machine).lower(): machine for machine in fleet.azure["machines"]}

    def of(self, policy: Object, machine: str) -> Iterator[Rollout]:
        """What the policy's spread allows in each group that the machine is in."""
        rollout = policy["spec"].get("rollout") or {}
        entries: Sequence[Mapping[str, Any]] = rollout.get("spread", BY_DEFAULT)
        for entry in entries:
            name = _group(entry, self._machines[machine])
            if name is None:
                continue
            members = frozenset(
                key for key, found in self._machines.items() if _group(entry, found) == name
            )
            yield Rollout(
                f"{policy['metadata']['name']}, {entry['by']} {name[-1]}",
                members,
                share(entry["maxUnavailable"], len(members)),
                frozenset({machine}),
            )


def _group(entry: Mapping[str, Any], machine: Mapping[str, Any]) -> tuple[str, ...] | None:
    subscription, location = machine["subscription"], machine.get("location", "")
    if entry["by"] == "AvailabilitySet":
        name = machine.get("availabilitySet")
        return (subscription, machine["group"], name) if name else None
    if entry["by"] == "Zone":
        zone = machine.get("zone")
        return (subscription, location, zone) if zone else None
    tags = {name.lower(): value for name, value in machine.get("tags", {}).items()}
    value = tags.get(entry["key"].lower())
    return (value,) if value else None
