"""What policies of worlds that last for weeks ask for besides windows and waves: an approval, few
unavailable in a group, what the canary was given, or that hardly any fail.

Drawn by a source of its own, so that nothing else is drawn otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from azpatch.kube.port import Object
from simulation import rollouts, spread
from simulation.fleets import Fleet

Raw = dict[str, Any]

GROUPS = 0.35
"""Of the worlds: their machines are in groups."""

APPROVAL = 0.25
"""Of the policies."""

PINNED = 0.5
FAILED = 0.5
"""Of those with waves."""


def drawn(fleet: Fleet, random: Random) -> Fleet:
    """The fleet; of some policies, the rollout asks for more, and the machines are in groups."""
    grouped = random.random() < GROUPS
    policies = [
        {**raw, "spec": {**raw["spec"], "rollout": _rollout(random, raw, grouped=grouped)}}
        for raw in fleet.policies
    ]
    machines = fleet.azure["machines"]
    if grouped:
        machines = [_placed(random, machine) for machine in machines]
    return replace(fleet, azure={**fleet.azure, "machines": machines}, policies=policies)


def pins(policy: Object) -> bool:
    """Its later waves are given what its first was."""
    return bool(policy["spec"]["rollout"].get("patchSet") == "Pinned")


def _placed(random: Random, machine: Raw) -> Raw:
    place = spread.place(random, machine)
    return {**machine, **place, "tags": {**machine["tags"], **place.get("tags", {})}}


def _rollout(random: Random, policy: Object, *, grouped: bool) -> Raw:
    declared: Raw = policy["spec"]["rollout"]
    more = dict(_more(random, waves="waves" in declared))
    return {**declared, **more, **(spread.rollout(random) if grouped else {})}


def _more(random: Random, *, waves: bool) -> Iterator[tuple[str, Any]]:
    if random.random() < APPROVAL:
        yield "approval", {"mode": "Required", "leadTime": random.choice(rollouts.LEADS)}
    if waves and random.random() < PINNED:
        yield "patchSet", "Pinned"
    if waves and random.random() < FAILED:
        yield "maxFailed", random.choice(rollouts.FAILED)
