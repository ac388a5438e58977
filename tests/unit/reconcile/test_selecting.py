"""Machines that come under a selector, and leave it."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import IMAGE, MINUTE, SECOND, World, machine, numbered

from azpatch.azure.port import Retry
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_TARGET, Kind, Object, Unavailable

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


# --- many more at once ----------------------------------------------------------------------------


def fleet(world: World, numbers: range, **tags: str) -> None:
    for number in numbers:
        world.azure.add(machine(id=numbered(number), vm_id=f"vm-{number}", tags=tags))
        world.due(numbered(number))


def warnings(world: World) -> list[tuple[str, str]]:
    return [(reason, note) for reason, note, warning in world.kube.events if warning]


async def test_a_selector_that_suddenly_means_far_more_machines_is_told_before_they_join(
    world: World,
) -> None:
    fleet(world, range(3, 24), ring="1")
    scheduled = {"windows": [{"name": "w", "daily": {}, "startTime": "20:00", "duration": "4h"}]}
    world.policy(target=selecting(tags={"ring": ["0"]}), schedule=scheduled)
    there: list[int] = []
    event = world.kube.event

    async def tells(*arguments: Any, **more: Any) -> None:
        there.append(len(chosen(world)))
        await event(*arguments, **more)

    world.kube.event = tells  # type: ignore[method-assign]
    async with world.operator_runs():
        await world.passes(MINUTE)
        assert warnings(world) == []
        world.policy(target=selecting(tags={"ring": ["0", "1"]}), schedule=scheduled)
        await world.passes(MINUTE)
        assert len(chosen(world)) == 22

    ((reason, note),) = warnings(world)
    assert reason == "ManyMoreMachines"
    assert note.startswith("The policy had 1 machine and means 21 more from now on. No PatchRun")
    assert there == [1], "before there was a PatchTarget of any of them"


async def test_machines_that_get_the_tag_are_told_too(world: World) -> None:
    declare(world, target=selecting(tags={"ring": ["0"]}))
    async with world.operator_runs():
        await world.passes(MINUTE)
        fleet(world, range(3, 13), ring="0")
        await world.passes(REFRESHED)

    ((_, note),) = warnings(world)
    assert note.startswith("The policy had 1 machine and means 10 more from now on. They are ass")


async def test_a_new_policy_means_what_it_means(world: World) -> None:
    fleet(world, range(3, 24))
    declare(world, target=selecting())
    async with world.operator_runs():
        await world.passes(REFRESHED)

    assert len(chosen(world)) == 23
    assert warnings(world) == []


async def test_what_the_api_server_did_not_take_of_a_new_policy_is_not_told(world: World) -> None:
    fleet(world, range(3, 24))
    declare(world, target=selecting())
    create = world.kube.create

    async def refuses(kind: Kind, body: Object) -> Object:
        if kind == PATCH_TARGET and len(chosen(world)) > 3:
            raise Unavailable("Not now.")
        return await create(kind, body)

    world.kube.create = refuses  # type: ignore[method-assign]
    async with world.operator_runs():
        await world.passes(SOON)
        world.kube.create = create  # type: ignore[method-assign]
        await world.passes(REFRESHED)

    assert len(chosen(world)) == 23
    assert warnings(world) == []
