"""Machines that come under a selector, and leave it."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import IMAGE, MINUTE, SECOND, World, machine, numbered

from azpatch.azure.port import Retry
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_TARGET

SOON = 20 * SECOND
REFRESHED = 6 * MINUTE


def selecting(**fields: Any) -> dict[str, Any]:
    return {"selector": {"azureSubscriptions": ["prod"], **fields}}


@pytest.fixture
def world() -> World:
    """Two machines, of which the first has the tag. Both were assessed an hour ago."""
    world = World()
    world.azure.add(machine(id=numbered(1), tags={"ring": "0"}))
    world.azure.add(machine(id=numbered(2)))
    for number in (1, 2):
        world.due(numbered(number))
    return world


def declare(world: World, name: str = "web-linux", **spec: Any) -> None:
    """A policy that assesses only."""
    world.policy(name, install=None, schedule=None, **spec)


def chosen(world: World, policy: str = "web-linux") -> set[str]:
    return {
        raw["spec"]["machineId"].rsplit("/", 1)[-1]
        for raw in world.kube.all(PATCH_TARGET)
        if raw["spec"]["policy"] == policy
    }


async def test_machines_come_and_go_with_their_tags(world: World) -> None:
    declare(world, target=selecting(tags={"ring": ["0"]}))
    async with world.operator_runs():
        await world.passes(SOON)
        assert chosen(world) == {"web-1"}
        world.azure.add(machine(id=numbered(1)))
        world.azure.add(machine(id=numbered(2), tags={"Ring": "0"}))
        await world.passes(REFRESHED)
        assert chosen(world) == {"web-2"}


async def test_the_more_specific_policy_has_the_machine_whichever_came_first(world: World) -> None:
    declare(world, target=selecting())
    async with world.operator_runs():
        await world.passes(SOON)
        declare(world, "one", target={"virtualMachine": {"id": numbered(1)}})
        await world.passes(REFRESHED)

    governed = {
        (raw["spec"]["policy"], raw["spec"]["machineId"].rsplit("/", 1)[-1])
        for raw in world.kube.all(PATCH_TARGET)
        if raw["status"]["governs"]
    }
    assert governed == {("one", "web-1"), ("web-linux", "web-2")}


async def test_after_a_restart_nobody_leaves_for_lack_of_an_image_definition(world: World) -> None:
    """Its class is guessed until the definition is read: its PatchTarget, with all that it knows,
    must not be made anew."""
    world.azure.definitions[key(IMAGE)] = Retry("ServiceUnavailable", "For the test.")
    declare(world, target=selecting(imageClasses=["GalleryGeneralized"]))
    async with world.operator_runs():
        await world.passes(SOON)
        assert chosen(world) == {"web-1", "web-2"}
    before = {raw["metadata"]["uid"] for raw in world.kube.all(PATCH_TARGET)}
    for number in (1, 2):
        world.azure.add(machine(id=numbered(number), computer_name=None))
    async with world.operator_runs():
        await world.passes(REFRESHED)
        assert {raw["metadata"]["uid"] for raw in world.kube.all(PATCH_TARGET)} == before


async def test_a_machine_that_is_gone_is_no_longer_selected(world: World) -> None:
    declare(world, target=selecting())
    async with world.operator_runs():
        await world.passes(SOON)
        assert chosen(world) == {"web-1", "web-2"}
        del world.azure.views[key(numbered(2))]
        await world.passes(3 * REFRESHED)
        assert chosen(world) == {"web-1"}
