"""What machines were built from costs no request a machine: the whole operator on 10,000 machines.

Everything but the sockets is real: the operator's process, its Azure adapter on Microsoft's
pipeline, azsim with its rights and its journal. Of forty image definitions Resource Graph shows
ten; the others lie elsewhere, are shared, may not be read, or are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
import structlog

from azpatch.api.common import API_VERSION
from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_TARGET, Object
from azsim.journal import RequestEntry
from simulation.fleets import (
    GROUP,
    NAMESPACES,
    OPERATOR,
    OPERATOR_CLIENT,
    OPERATOR_SECRET,
    SECRET_NAME,
    START,
    TENANT,
    Fleet,
    grants,
    machine_id,
    subscription_id,
)
from simulation.loop import run as run_virtual
from simulation.world import World

MACHINES = 10_000
SUBSCRIPTIONS = (1, 2, 3)
HUB, FOREIGN = 8, 9
"""Subscriptions with galleries only: one that the identity may read, and one that it may not."""

DEFINITIONS: Mapping[str, int] = {
    "shown": 10,
    "hub": 10,
    "direct": 5,
    "community": 5,
    "refused": 5,
    "deleted": 5,
}
"""Of each kind so many. Every other one is specialized."""

IMAGES = [f"{kind}-{n}" for kind, count in DEFINITIONS.items() for n in range(count)]

TOLD: Mapping[str, tuple[str, str]] = {
    "shown-0": ("High", "osState of the image definition is Generalized."),
    "hub-1": ("High", "osState of the image definition is Specialized."),
    "direct-0": ("High", "osState of the image definition is Generalized."),
    "community-1": ("High", "osState of the image definition is Specialized."),
    "refused-1": ("Medium", "The image definition cannot be read, so osProfile decides"),
    "deleted-0": ("Medium", "The image definition does not exist any more (404), so osProfile"),
}
"""Confidence and evidence of a machine built from each of these."""

REFRESH = timedelta(minutes=30)
SEEN = timedelta(minutes=40)
"""Two refreshes at the start, while the subscriptions become known one by one, and one more."""


# --- the fleet ------------------------------------------------------------------------------------


def gallery(kind: str, **more: Any) -> dict[str, Any]:
    images = [
        {
            "name": f"{kind}-{n}",
            "osState": "Specialized" if n % 2 else "Generalized",
            "deleted": kind == "deleted",
        }
        for n in range(DEFINITIONS[kind])
    ]
    return {"name": kind, "group": "rg-images", "images": images, **more}


GALLERIES: Mapping[int, list[dict[str, Any]]] = {
    1: [gallery("shown")],
    HUB: [gallery("hub"), gallery("deleted")],
    FOREIGN: [
        gallery("refused"),
        gallery("direct", uniqueName="5ab1-DIRECT", sharedWith=[TENANT]),
        gallery("community", publicName="azsim-1a2b"),
    ],
}
"""By the subscription that they lie in."""


def reference(image: str) -> dict[str, str]:
    kind = image.partition("-")[0]
    if kind == "direct":
        return {"sharedGalleryImageId": f"/SharedGalleries/5ab1-DIRECT/Images/{image}"}
    if kind == "community":
        return {"communityGalleryImageId": f"/CommunityGalleries/azsim-1a2b/Images/{image}"}
    return {"gallery": f"{kind}/{image}/1.0.0"}


def machines() -> Iterator[dict[str, Any]]:
    for n in range(MACHINES):
        yield {
            "name": f"vm-{n}",
            "group": GROUP,
            "subscription": subscription_id(SUBSCRIPTIONS[n // len(IMAGES) % len(SUBSCRIPTIONS)]),
            "image": reference(IMAGES[n % len(IMAGES)]),
        }


def resource(kind: str, metadata: dict[str, str], spec: dict[str, Any]) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def fleet() -> Fleet:
    """The machines, and a policy that only looks for one machine of each that is TOLD."""
    identity = {
        "type": "ClientSecret",
        "clientId": OPERATOR_CLIENT,
        "secretRef": {"name": SECRET_NAME},
    }
    principal = {
        "name": OPERATOR,
        "clientId": OPERATOR_CLIENT,
        "tenantId": TENANT,
        "secret": OPERATOR_SECRET,
        "roleAssignments": [
            {"scope": f"/subscriptions/{subscription_id(n)}", "role": "Reader"}
            for n in (*SUBSCRIPTIONS, HUB)
        ],
    }
    return Fleet(
        azure={
            "principals": [principal],
            "subscriptions": [
                {"id": subscription_id(n), "galleries": GALLERIES.get(n, [])}
                for n in (*SUBSCRIPTIONS, HUB, FOREIGN)
            ],
            "machines": list(machines()),
        },
        subscriptions=[
            resource(
                "AzureSubscription",
                {"name": f"sub-{n}"},
                {
                    "subscriptionId": subscription_id(n),
                    "tenantId": TENANT,
                    "identity": identity,
                    "supportMatrix": "2025-02",
                    "grants": grants("Read"),
                },
            )
            for n in SUBSCRIPTIONS
        ],
        policies=[
            resource(
                "PatchPolicy",
                {"name": image, "namespace": NAMESPACES[0]},
                {
                    "target": {"virtualMachine": {"id": machine_id(f"vm-{IMAGES.index(image)}")}},
                    "assessment": {"mode": "None"},
                },
            )
            for image in TOLD
        ],
    )


# --- what came of it ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """After some refreshes."""

    async def live() -> World:
        world = World(1, fleet(), REFRESH)
        with patch("time.time", lambda: START.timestamp() + world.loop.time()):
            world.start_operator()
            await asyncio.sleep(SEEN.total_seconds())
        return world

    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield run_virtual(live)
    finally:
        structlog.configure(**configured)


def requests(world: World) -> list[RequestEntry]:
    """What the operator asked of Resource Manager."""
    return [entry for entry in world.journal.requests() if entry.principal == OPERATOR]


def queries(world: World) -> list[RequestEntry]:
    return [r for r in requests(world) if r.path.endswith("Microsoft.ResourceGraph/resources")]


def test_each_definition_that_resource_graph_does_not_show_is_asked_for_once(
    world: World,
) -> None:
    asked = Counter(
        r.path.rpartition("/")[2] for r in requests(world) if "galleries/" in r.path.lower()
    )
    assert asked == Counter(name for name in IMAGES if not name.startswith("shown"))


def test_nothing_is_asked_about_a_single_machine(world: World) -> None:
    about = [r for r in requests(world) if "/virtualmachines/" in r.path.lower()]
    inside = [r for r in queries(world) if "/virtualmachines/" in r.body["query"].lower()]
    assert (about, [r for r in inside if "vm-" in r.body["query"].lower()]) == ([], [])


def test_all_else_is_a_few_pages_a_refresh(world: World) -> None:
    """Ten pages of machines and one of each other kind; three reads of each subscription: its
    features, their names, its permissions."""
    pages = Counter(r.body["query"] for r in queries(world))
    refreshes = min(pages.values())
    assert refreshes >= 3
    assert sorted(pages.values()) == [*[refreshes] * 4, refreshes * MACHINES // 1000]
    rest = len(requests(world)) - len(queries(world)) - len(IMAGES) + DEFINITIONS["shown"]
    assert rest <= refreshes * 3 * len(SUBSCRIPTIONS)


def test_every_machine_has_its_class(world: World) -> None:
    counted: Counter[str] = Counter()
    for subscription in world.api.list(AZURE_SUBSCRIPTION):
        counted.update(subscription["status"]["machines"]["byImageClass"])
    odd = sum(n // 2 for n in DEFINITIONS.values())
    specialized = MACHINES // len(IMAGES) * odd
    assert counted == {
        "GalleryGeneralized": MACHINES - specialized,
        "GallerySpecialized": specialized,
    }


@pytest.mark.parametrize("image", TOLD)
def test_a_machine_says_what_its_class_rests_on(world: World, image: str) -> None:
    (target,) = [t for t in world.api.list(PATCH_TARGET) if t["spec"]["policy"] == image]
    confidence, evidence = TOLD[image]
    told = target["status"]["image"]
    assert told["confidence"] == confidence
    assert told["evidence"].startswith(evidence)
    assert told["class"] == ("GallerySpecialized" if image[-1] == "1" else "GalleryGeneralized")
