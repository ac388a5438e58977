"""Subscriptions in which azpatch registers the preview feature, and what happens to that."""

from __future__ import annotations

from contextvars import Context
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION
from azsim import features
from azsim.calls import Call
from azsim.faults import Delay, Drop
from simulation import fleets, matrices
from simulation.apiserver import WatchEvent
from simulation.injections import Troublemaker
from simulation.world import World

ONE_IN = 4
"""Fleets of which one waits for it."""

STEPS = ("Intent", "Requested", "Registered", "Complete")
FAULTS: tuple[dict[str, Any], ...] = (
    {"drop": Drop.BEFORE},
    {"drop": Drop.AFTER},
    {"status": 403},
    {"status": 503},
    {"delay": Delay(request=timedelta(seconds=90))},
    {"delay": Delay(answer=timedelta(seconds=90))},
)


def drawn(fleet: fleets.Fleet, random: Random) -> fleets.Fleet:
    """The fleet; of some, the preview feature is yet to be registered, by azpatch."""
    if random.randrange(ONE_IN):
        return fleet
    feature = {
        **fleets.FEATURE,
        "state": random.choice(("NotRegistered", "Unregistered")),
        "registeringTakes": f"{random.randint(1, 20)}m",
    }
    azure = [{**one, "features": [feature]} for one in fleet.azure["subscriptions"]]
    needed = {
        "supportMatrix": matrices.WITH_FEATURE,
        "previewFeature": {"mode": "Register"},
        "grants": fleets.grants("Configure"),
    }
    declared = [
        {**raw, "spec": {**matrices.without(raw["spec"]), **needed}} for raw in fleet.subscriptions
    ]
    return replace(
        fleet,
        azure={**fleet.azure, "subscriptions": azure},
        subscriptions=declared,
        matrices={},
    )


class Registrations:
    """The trouble that comes over the registrations of one world."""

    def __init__(self, world: World, trouble: Troublemaker) -> None:
        self._world = world
        self._trouble = trouble
        self._random = world.random("registration trouble")
        if any(fleets.registers(raw) for raw in world.fleet.subscriptions):
            self._begin()

    def _begin(self) -> None:
        random = self._random
        if random.random() < 0.6:
            fault = random.choice(FAULTS)
            self._trouble.fault(operation=Call.FEATURES, method="POST", count=1, **fault)
        self._deadly = random.choice((*STEPS, None))
        self._world.api.watchers.append(self._changed)
        if random.random() < 0.5:
            hours = random.uniform(0.02, 3)
            self._world.loop.call_later(hours * 3600, self._taken_back, context=Context())

    def _changed(self, event: WatchEvent) -> None:
        """The operator dies, or is stopped, in the midst of the step that was drawn."""
        if event.kind != AZURE_SUBSCRIPTION or self._deadly is None:
            return
        feature = (event.object.get("status") or {}).get("previewFeature") or {}
        if (feature.get("registration") or {}).get("step") != self._deadly:
            return
        self._deadly = None
        kind = self._random.choice(("the operator crashes", "two leaders overlap"))
        delay = self._random.choice((0.0, 0.02, 0.1, 1.0))
        self._world.loop.call_later(
            delay, self._trouble.make, kind, "registration", context=Context()
        )

    def _taken_back(self) -> None:
        """A person unregisters the features, and registers them again by hand."""
        cloud = self._world.cloud
        cloud.catch_up()
        for subscription in cloud.subscriptions.values():
            for feature in subscription.features.values():
                features.take_back(cloud, subscription, feature)
        self._trouble.later(timedelta(hours=1), timedelta(hours=2), self._given_back)

    def _given_back(self) -> None:
        cloud = self._world.cloud
        cloud.catch_up()
        for subscription in cloud.subscriptions.values():
            for feature in subscription.features.values():
                features.begin(cloud, subscription, feature)
