"""The operator whole in virtual time, on a calm fleet: no trouble at all, and no computer that is
too slow, so that only what the operator decides counts."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import structlog

from azpatch.kube.port import AZURE_SUBSCRIPTION, Object
from azpatch.reconcile.queue import LONGEST_REST
from azpatch.settings import Settings
from simulation import fleets, images
from simulation.fleets import START
from simulation.loop import run as run_virtual
from simulation.world import World

NAMESPACE = fleets.NAMESPACES[0]
INVENTORY = timedelta(minutes=5)
LOOK_EVERY = timedelta(minutes=1)

RESTS = "azpatch.reconcile.queue.SHORTEST_REST"
"""A policy rests between two looks at its machines for some times the length of a look, and in
virtual time a look has no length. So here it rests as long as one that looks at ten thousand
machines may at most."""

WORKERS = "simulation.operator_process.WORKERS"
"""The simulation has few, for more to happen at once; here there are as many as by default."""

ASSESSING, INSTALLING = timedelta(seconds=20), timedelta(seconds=30)
"""What a machine takes."""


@dataclass(frozen=True)
class Place:
    """A subscription and region, and so one bucket of Azure's."""

    subscription: int
    location: str
    share: int
    """Of the machines: one part in the sum of all shares, times this."""


HERE = (Place(1, "westeurope", 1),)


def run(fleet: fleets.Fleet, watch: Callable[[World], None], limit: timedelta) -> float:
    """Runs one operator until what `watch` attached to the world sets `ended`, or for `limit` of
    Azure's time. Seconds of processor that it took."""
    logs = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(100_000, 20, 50)
    began = time.process_time()
    try:
        run_virtual(lambda: _run(fleet, watch, limit))
    finally:
        gc.set_threshold(700, 10, 10)
        structlog.configure(**logs)
    return time.process_time() - began


async def _run(fleet: fleets.Fleet, watch: Callable[[World], None], limit: timedelta) -> None:
    world = World(0, fleet, INVENTORY)
    watch(world)
    loop = world.loop
    with (
        patch("time.time", lambda: START.timestamp() + loop.time()),
        patch(RESTS, LONGEST_REST),
        patch(WORKERS, Settings.model_fields["workers"].default),
    ):
        world.start_operator()
        # In steps, as time may not stand still while nobody waits for anything.
        for _ in range(limit // LOOK_EVERY):
            if await _ended(world):
                break
    for process in world.living():
        process.process.kill()


async def _ended(world: World) -> bool:
    try:
        async with asyncio.timeout(LOOK_EVERY.total_seconds()):
            await world.ended.wait()
    except TimeoutError:
        return False
    return True


def calm_fleet(machines: int, places: Sequence[Place] = HERE, **policy: Any) -> fleets.Fleet:
    """Machines of one image that lack one patch each, that needs no reboot, and one policy that may
    install on all of them at once; `policy`: fields of its spec, where they differ."""
    numbers = sorted({place.subscription for place in places})
    return fleets.Fleet(
        azure={
            "principals": [fleets.operator(numbers)],
            "subscriptions": [fleets.subscription(number, [fleets.FEATURE]) for number in numbers],
            "machines": [
                _machine(number, place)
                for number, place in enumerate(placed(machines, places), start=1)
            ],
            "resourceGraph": {"lag": "20s"},
        },
        subscriptions=[_declared(number) for number in numbers],
        policies=[_policy(policy)],
    )


def placed(machines: int, places: Sequence[Place]) -> Iterator[Place]:
    """The place of each machine, one after another."""
    turns = [place for place in places for _ in range(place.share)]
    for number in range(machines):
        yield turns[number % len(turns)]


def _machine(number: int, place: Place) -> dict[str, Any]:
    return {
        "name": f"vm-{number}",
        "subscription": images.subscription_id(place.subscription),
        "location": place.location,
        "group": fleets.GROUP,
        "osType": "Linux",
        "image": {"id": f"{images.image_id('web')}/versions/1.0.0"},
        "guest": {
            "missing": [
                {
                    **fleets.patch(Random(number), 1),
                    "classification": "Security",
                    "rebootBehavior": "NeverReboots",
                }
            ],
            "durations": {
                "assess": _seconds(ASSESSING),
                "prepare": _seconds(INSTALLING / 3),
                "perPatch": _seconds(INSTALLING * 2 / 3),
            },
        },
    }


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f}s"


def _declared(number: int) -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": AZURE_SUBSCRIPTION.kind,
        "metadata": {"name": f"sub-{number}"},
        "spec": {
            "subscriptionId": images.subscription_id(number),
            "tenantId": fleets.TENANT,
            "identity": {
                "type": "ClientSecret",
                "clientId": fleets.OPERATOR_CLIENT,
                "secretRef": {"name": fleets.SECRET_NAME},
            },
            "supportMatrix": "2023-05",
            "grants": fleets.grants("Patch"),
        },
    }


def _policy(fields: dict[str, Any]) -> Object:
    policy = fleets.policy(
        Random(0), "wave", NAMESPACE, {"galleryImage": {"id": images.image_id("web")}}
    )
    spec = policy["spec"]
    spec["assessment"]["maxAge"] = "168h"
    spec["install"].update(rebootSetting="IfRequired", onUndeterminedSupport="Try")
    spec["rollout"]["maxUnavailable"] = "100%"
    spec.update(fields)
    return policy
