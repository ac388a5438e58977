"""A support matrix of one's own, through the whole operator."""

from __future__ import annotations

from typing import Any

from fakes import HOUR, MINUTE, World, machine

from azpatch.domain.own_matrix import MATRIX_KEY
from azpatch.kube.port import AZURE_SUBSCRIPTION

OWN = """
revision: contoso-1
product: Contoso's own choice
source: {title: Decision 7, document: wiki, date: 2026-10-01}
marketplaceRules: "2026-04"
automaticGuestPatching: "2024-07"
imageClasses:
  GalleryGeneralized: {supported: [SUPPORTED], unsupported: [UNSUPPORTED]}
"""
PATCHED = "OnDemandAssessment, OnDemandPatching"
BY_PLATFORM = "PeriodicAssessment, ScheduledPatching, AutomaticGuestPatching"
EVERYTHING_ON_DEMAND = OWN.replace("UNSUPPORTED", BY_PLATFORM).replace("SUPPORTED", PATCHED)
NOTHING = OWN.replace("UNSUPPORTED", f"{PATCHED}, {BY_PLATFORM}").replace("SUPPORTED", "")


def referring() -> World:
    world = World()
    world.subscription(supportMatrix=None, supportMatrixRef={"name": "ours"})
    world.azure.add(machine())
    return world


def ready(world: World) -> tuple[str, str]:
    (subscription,) = world.kube.all(AZURE_SUBSCRIPTION)
    return next(
        (c["status"], c["reason"])
        for c in subscription["status"]["conditions"]
        if c["type"] == "Ready"
    )


def posts(world: World) -> list[str]:
    return [line for line in world.journal if line.startswith("POST")]


def in_force(world: World) -> dict[str, Any]:
    (subscription,) = world.kube.all(AZURE_SUBSCRIPTION)
    found: dict[str, Any] = subscription["status"]["supportMatrix"]
    return found


async def test_nothing_is_sent_before_there_is_one() -> None:
    world = referring()
    async with world.operator_runs():
        await world.passes(HOUR)
        assert ready(world) == ("False", "SupportMatrixNotFound")
        assert world.ready() == "SupportMatrixMissing"
        assert posts(world) == []

        world.kube.config_maps["ours"] = {MATRIX_KEY: EVERYTHING_ON_DEMAND}
        await world.passes(HOUR)

    assert ready(world) == ("True", "UpToDate")
    assert posts(world) != []


async def test_the_last_good_one_outlives_the_config_map_and_the_operator() -> None:
    world = referring()
    world.kube.config_maps["ours"] = {MATRIX_KEY: EVERYTHING_ON_DEMAND}
    async with world.operator_runs():
        await world.passes(MINUTE)
        world.kube.config_maps["ours"] = {MATRIX_KEY: "broken"}
        await world.passes(HOUR)
        assert ready(world) == ("False", "SupportMatrixInvalid")
        sent = len(posts(world))
    del world.kube.config_maps["ours"]
    async with world.operator_runs():
        await world.passes(30 * HOUR)

    assert ready(world) == ("False", "SupportMatrixNotFound")
    assert in_force(world) == {"revision": "contoso-1", "text": EVERYTHING_ON_DEMAND}
    assert len(posts(world)) > sent > 0


async def test_another_one_is_taken_within_minutes_and_every_machine_judged_anew() -> None:
    world = referring()
    world.policy(install=None, schedule=None, assessment={"mode": "None"})
    world.kube.config_maps["ours"] = {MATRIX_KEY: EVERYTHING_ON_DEMAND}
    async with world.operator_runs():
        await world.passes(HOUR)
        before = {verdict.verdict for verdict in world.status().verdicts}
        world.kube.config_maps["ours"] = {MATRIX_KEY: NOTHING}
        await world.passes(10 * MINUTE)
        after = {verdict.verdict for verdict in world.status().verdicts}

    assert "Supported" in before
    assert after == {"Unsupported"}
