"""A machine waits for its turn before anything is looked at or written for its operation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fakes import HOUR, MINUTE, SECOND, VM, World, machine

from azpatch.azure.port import OverBudget
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_POLICY, PATCH_TARGET, Conflict

SOON = 20 * SECOND


@pytest.fixture
def world() -> World:
    world = World()
    world.azure.add(machine())
    return world


def line_until(world: World, after: timedelta) -> Callable[[str], timedelta]:
    """Its turn comes after this time."""
    turn = world.clock.now() + after
    return lambda _machine: max(turn - world.clock.now(), timedelta(0))


def writes(world: World) -> list[str]:
    return [line for line in world.journal if "PatchTarget" in line]


async def test_without_a_token_nothing_is_looked_at_and_nothing_begins(world: World) -> None:
    world.azure.turn = line_until(world, 3 * MINUTE)
    async with world.operator_runs():
        await world.passes(2 * MINUTE)
        assert world.azure.asked("machine") == 0
        assert world.azure.posts == []
        assert world.kube.finalizers(PATCH_TARGET) == []

        await world.passes(MINUTE + SOON)
        assert [kind for kind, _, _ in world.azure.posts] == ["Assess"]


async def test_a_machine_that_is_new_says_what_is_known_of_it_while_it_waits(world: World) -> None:
    world.azure.turn = line_until(world, 3 * MINUTE)
    async with world.operator_runs():
        await world.passes(2 * MINUTE)

    assert world.ready() == "Working"
    assert world.status().image is not None
    assert writes(world) == ["create PatchTarget", "status PatchTarget"]


async def test_a_short_wait_costs_no_write(world: World) -> None:
    world.due()
    world.policy(install=None, schedule=None)
    async with world.operator_runs():
        await world.passes(SOON)
        assert world.status().conditions
        before = list(world.journal)

        world.azure.turn = line_until(world, 23 * HOUR + 5 * MINUTE)
        await world.passes(23 * HOUR + MINUTE)
        assert writes(world) == [line for line in before if "PatchTarget" in line]
        assert world.azure.in_line == {key(VM): ("westeurope", "web/web-linux", True)}


async def test_a_long_wait_is_told_once(world: World) -> None:
    world.azure.turn = line_until(world, 40 * MINUTE)
    async with world.operator_runs():
        await world.passes(39 * MINUTE)
        assert world.ready() == "WaitingForTurn"
        assert writes(world) == ["create PatchTarget", "status PatchTarget"]

        await world.passes(2 * MINUTE)
        assert world.ready() == "OperationInProgress"


async def test_who_waits_asks_again_because_others_may_have_left_the_line(world: World) -> None:
    world.azure.turn = line_until(world, 40 * MINUTE)
    async with world.operator_runs():
        await world.passes(MINUTE)
        world.azure.turn = line_until(world, timedelta(0))
        await world.passes(5 * MINUTE)
        assert len(world.azure.posts) == 1


async def test_the_place_is_used_up_by_the_operation(world: World) -> None:
    async with world.operator_runs():
        await world.passes(SOON)
    assert len(world.azure.posts) == 1
    assert world.azure.in_line == {}


@pytest.mark.parametrize("change", ["suspended", "deleted"])
async def test_the_place_is_given_back_when_nothing_is_to_be_sent_any_more(
    world: World, change: str
) -> None:
    world.azure.turn = line_until(world, 40 * MINUTE)
    async with world.operator_runs():
        await world.passes(MINUTE)
        assert list(world.azure.in_line) == [key(VM)]
        if change == "suspended":
            world.policy(suspend=True)
        else:
            await world.kube.delete(PATCH_POLICY, world.kube.all(PATCH_POLICY)[0])
            for raw in world.kube.all(PATCH_TARGET):
                await world.kube.delete(PATCH_TARGET, raw)
        await world.passes(SOON)
        assert world.azure.in_line == {}


async def test_the_place_is_given_back_when_the_machine_turns_out_to_be_stopped(
    world: World,
) -> None:
    async def stops() -> None:
        world.azure.change(machine=machine(power_state="Deallocated"))

    world.azure.turn = line_until(world, MINUTE)
    async with world.operator_runs():
        await world.passes(SOON)
        await stops()
        await world.passes(MINUTE)
        assert world.azure.asked("machine") == 1
        assert world.azure.in_line == {}
        assert world.azure.posts == []


async def test_the_place_is_kept_over_a_conflict(world: World) -> None:
    refusals = ["status PatchTarget Intent"]

    def refuse(line: str) -> Conflict | None:
        if refusals and line == refusals[0]:
            refusals.pop()
            assert list(world.azure.in_line) == [key(VM)]
            return Conflict("changed")
        return None

    world.kube.refuse = refuse
    async with world.operator_runs():
        await world.passes(SOON)
    assert not refusals
    assert len(world.azure.posts) == 1


async def test_a_look_that_was_put_off_says_nothing_of_the_machine(world: World) -> None:
    world.azure.broken["machine"] = OverBudget("OverBudget", "later", 30 * SECOND)
    async with world.operator_runs():
        await world.passes(SOON)
        assert [line for line in writes(world) if line.startswith("status")] == []

        del world.azure.broken["machine"]
        await world.passes(30 * SECOND)
        assert len(world.azure.posts) == 1


NOON = {"windows": [{"name": "now", "daily": {}, "startTime": "12:00", "duration": "4h"}]}


NIGHT = {"windows": [{"name": "night", "daily": {}, "startTime": "01:00", "duration": "4h"}]}


@pytest.mark.parametrize(
    ("schedule", "yields"),
    [({"always": {}}, False), (NOON, False), (NIGHT, True)],
    ids=["always", "in a window", "before one"],
)
async def test_it_stands_in_its_policys_name_and_yields_unless_an_install_waits_for_it(
    schedule: dict[str, Any], yields: bool, world: World
) -> None:
    world.policy(schedule=schedule)
    world.azure.turn = line_until(world, HOUR)
    async with world.operator_runs():
        await world.passes(SOON)
    assert world.azure.in_line == {key(VM): ("westeurope", "web/web-linux", yields)}
