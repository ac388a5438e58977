"""A whole wave, every machine assessed, installed on and assessed again, against the bound that
Azure's own token bucket sets: on the real parts at a stated pace, and in virtual time."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import structlog

from azpatch.kube.port import AZURE_SUBSCRIPTION, Object
from azpatch.reconcile.queue import LONGEST_REST
from azsim.journal import Entry, RequestEntry
from bench_report import Figure, times
from simulation import fleets, images
from simulation.loop import run as run_virtual
from simulation.world import START, World

OPERATIONS = 3
"""Of each machine: assessed, installed, assessed again. None of them is spared."""

BURST, PER_MINUTE = 600, 200
"""Azure's bucket for guest patching, of one subscription and region, as Microsoft publishes it."""

TOO_MANY = 429
ENDINGS = ("/assesspatches", "/installpatches")

NAMESPACE = fleets.NAMESPACES[0]
INVENTORY = timedelta(minutes=5)
LOOK_EVERY = timedelta(minutes=1)

RESTS = "azpatch.reconcile.queue.SHORTEST_REST"
"""A policy rests between two runs for some times the length of a run, and in virtual time a run has
no length. So here it rests as long as one that looks at ten thousand machines may at most."""


def bound(machines: int) -> timedelta:
    """From the first POST to the last one, with a full bucket at the first: no client is faster."""
    return timedelta(minutes=max(0, machines * OPERATIONS - BURST) / PER_MINUTE)


def patience(machines: int) -> timedelta:
    """Azure's time that a wave is given: far more than it needs."""
    return 2 * bound(machines) + timedelta(hours=2)


@dataclass
class Wave:
    """What azsim's journal tells of one."""

    machines: int
    first: datetime | None = None
    last: datetime | None = None
    """Of the POSTs that Azure took."""
    posts: int = 0
    refused: int = 0
    """For lack of budget, of all requests."""
    requests: int = 0

    def read(self, at: datetime, method: str, path: str, status: int) -> None:
        """Takes in one request."""
        self.requests += 1
        self.refused += status == TOO_MANY
        if method == "POST" and path.lower().endswith(ENDINGS) and status < 300:
            self.posts += 1
            self.first = self.first or at
            self.last = at

    @property
    def complete(self) -> bool:
        """As many operations as a wave has were taken."""
        return self.posts >= self.machines * OPERATIONS

    @property
    def span(self) -> timedelta:
        """From the first POST to the last."""
        return self.last - self.first if self.first and self.last else timedelta(0)

    def figures(self, where: str, costs: str) -> list[Figure]:
        """`costs` says what it took to measure."""
        least = bound(self.machines)
        done = "" if self.complete else f"NOT COMPLETE, {self.posts:,} POSTs; "
        return [
            Figure(
                f"{where}: from the first POST to the last, to the token bucket's own bound",
                times(self.span.total_seconds(), least.total_seconds()),
                f"{done}{_minutes(self.span)} to {_minutes(least)} of Azure's time; {costs}",
            ),
            Figure(
                f"{where}: requests refused for lack of budget (429)",
                f"{self.refused}",
                f"of {self.requests:,}; {self.posts / self.machines:.2f} operations a machine",
            ),
        ]


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.1f} min"


# --- in virtual time ------------------------------------------------------------------------------


def simulated(machines: int) -> list[Figure]:
    """The operator whole, on the simulation's wire and API server, with no trouble at all."""
    logs = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(100_000, 20, 50)
    began = time.process_time()
    try:
        wave = run_virtual(lambda: _simulated(machines))
    finally:
        gc.set_threshold(700, 10, 10)
        structlog.configure(**logs)
    spent = time.process_time() - began
    where = f"{machines:,} machines in virtual time"
    return wave.figures(where, f"{spent:.0f} s of processor, {spent / machines * 1000:.0f} ms each")


async def _simulated(machines: int) -> Wave:
    wave = Wave(machines)
    world = World(0, calm_fleet(machines), INVENTORY)

    def read(entry: Entry) -> None:
        if isinstance(entry, RequestEntry):
            wave.read(entry.time, entry.method, entry.path, entry.status)
        if wave.complete:
            world.ended.set()

    world.journal.listeners.append(read)
    loop = world.loop
    with (
        patch("time.time", lambda: START.timestamp() + loop.time()),
        patch(RESTS, LONGEST_REST),
    ):
        world.start_operator()
        # In steps, as time may not stand still while nobody waits for anything.
        for _ in range(patience(machines) // LOOK_EVERY):
            if await _ended(world):
                break
    for process in world.living():
        process.process.kill()
    return wave


async def _ended(world: World) -> bool:
    try:
        async with asyncio.timeout(LOOK_EVERY.total_seconds()):
            await world.ended.wait()
    except TimeoutError:
        return False
    return True


def calm_fleet(machines: int) -> fleets.Fleet:
    """Machines of one image that lack one patch each, that needs no reboot, and one policy that may
    install on all of them at once."""
    subscription = images.subscription_id(1)
    return fleets.Fleet(
        azure={
            "principals": [
                {
                    "name": fleets.OPERATOR,
                    "clientId": fleets.OPERATOR_CLIENT,
                    "tenantId": fleets.TENANT,
                    "secret": fleets.OPERATOR_SECRET,
                }
            ],
            "subscriptions": [
                {
                    "id": subscription,
                    "features": [fleets.FEATURE],
                    "galleries": [
                        {"name": "golden", "group": "rg-images", "images": images.DEFINITIONS}
                    ],
                }
            ],
            "machines": list(_machines(machines, subscription)),
            "resourceGraph": {"lag": "20s"},
        },
        subscriptions=[
            _object(
                AZURE_SUBSCRIPTION.kind,
                {"name": "sub-1"},
                {
                    "subscriptionId": subscription,
                    "tenantId": fleets.TENANT,
                    "identity": {
                        "type": "ClientSecret",
                        "clientId": fleets.OPERATOR_CLIENT,
                        "secretRef": {"name": fleets.SECRET_NAME},
                    },
                    "supportMatrix": "2023-05",
                    "grants": fleets.grants("Patch"),
                },
            )
        ],
        policies=[_policy()],
    )


def _machines(machines: int, subscription: str) -> Iterable[dict[str, Any]]:
    for number in range(1, machines + 1):
        yield {
            "name": f"vm-{number}",
            "subscription": subscription,
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
                "durations": {"assess": "20s", "prepare": "10s", "perPatch": "20s"},
            },
        }


def _policy() -> Object:
    policy = fleets.policy(
        Random(0), "wave", NAMESPACE, {"galleryImage": {"id": images.image_id("web")}}
    )
    policy["spec"]["assessment"]["maxAge"] = "168h"
    policy["spec"]["install"].update(rebootSetting="IfRequired", onUndeterminedSupport="Try")
    policy["spec"]["rollout"]["maxUnavailable"] = "100%"
    return policy


def _object(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> Object:
    return {"apiVersion": "azpatch.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
