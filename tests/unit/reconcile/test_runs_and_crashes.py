"""Runs whose operator dies, and what the next one makes of them."""

from __future__ import annotations

import pytest
from dying import dies_before
from fakes import (
    MINUTE,
    numbered,
)
from run_fleet import EVENING, LASTS, REST, Fleet

from azpatch.azure.port import Retry
from azpatch.domain.ids import key
from azpatch.kube.port import (
    KubeError,
    NotFound,
)


async def test_the_next_operator_knows_the_tags_before_it_says_who_is_in_which_wave() -> None:
    fleet = Fleet(0, [{"name": "ring", "tags": {"ring": ["0"]}}, REST])
    for number in range(1, 5):
        fleet.add(number, tags={"ring": "0"} if number < 3 else {})

    def no_member(line: str) -> KubeError | None:
        return NotFound("x") if fleet.world.runs() and line.startswith("status PatchT") else None

    fleet.world.kube.refuse = no_member
    async with fleet.world.operator_runs():
        await fleet.until(18, 3)
        assert fleet.entries() == {}
    fleet.world.kube.refuse = lambda _line: None
    fleet.world.azure.broken["snapshot"] = Retry("Busy", "Later.")
    async with fleet.world.operator_runs():
        await fleet.passes(2 * MINUTE)
        assert fleet.entries() == {}
        fleet.world.azure.broken.clear()
        await fleet.passes(8 * MINUTE)
        assert fleet.wave("ring") == {"web-1", "web-2"}
        assert fleet.wave("rest") == {"web-3", "web-4"}


def rings_of_which_the_second_is_compliant() -> Fleet:
    """web-1 is in the first, web-2 in the second, and web-3 in none."""
    rings = [{"name": f"ring-{one}", "tags": {"ring": [one]}, "soak": "1h"} for one in "01"]
    fleet = Fleet(0, [*rings, REST])
    fleet.add(1, tags={"ring": "0"})
    fleet.add(2, tags={"ring": "1"})
    fleet.add(3)
    fleet.world.due(numbered(2), critical_and_security=0)
    fleet.world.azure.patches[key(numbered(2))] = ()
    return fleet


async def test_the_next_operator_passes_over_no_wave_by_tags_that_it_has_not_read() -> None:
    """Nor does it end the run for a wave that nobody seems to be in."""
    fleet = rings_of_which_the_second_is_compliant()
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        assert fleet.seen == ("Waiting", "Soaking")
    await fleet.until(19, 30)
    fleet.world.azure.broken["snapshot"] = Retry("Busy", "Later.")
    async with fleet.world.operator_runs():
        await fleet.passes(5 * MINUTE)
        assert fleet.seen == ("Waiting", "InventoryPending")
        assert set(fleet.began()) == {"web-1"}
        fleet.world.azure.broken.clear()
        await fleet.passes(15 * MINUTE)
        assert set(fleet.began()) == {"web-1", "web-3"}


async def test_a_machine_that_azure_does_not_show_to_the_next_operator_holds_no_wave() -> None:
    fleet = Fleet(0, [{"name": "ring", "tags": {"ring": ["0"]}}, {**REST, "windows": ["evening"]}])
    fleet.add(1, tags={"ring": "0"})
    fleet.add(2)
    fleet.add(3)
    fleet.world.due(numbered(1), critical_and_security=0)
    fleet.world.azure.patches[key(numbered(1))] = ()
    fleet.scheduled(EVENING, {**EVENING, "name": "noon", "startTime": "12:00"})
    async with fleet.world.operator_runs():
        await fleet.passes(10 * MINUTE)
        assert fleet.began() == {}
    fleet.world.azure.hidden.add(key(numbered(3)))
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        assert "web-2" in fleet.began()


async def test_tags_that_are_never_read_are_not_waited_for_without_end() -> None:
    fleet = rings_of_which_the_second_is_compliant()
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        assert fleet.seen == ("Waiting", "Soaking")
    fleet.world.azure.broken["snapshot"] = Retry("Busy", "Later.")
    await fleet.until(19, 30)
    async with fleet.world.operator_runs():
        await fleet.until(19, 45)
        assert fleet.seen == ("Failed", "GateNotPassed")
        ready = next(one for one in fleet.world.told().status.conditions if one.type == "Ready")
        assert (ready.status, ready.reason) == ("False", "AzureSubscriptionNotReady")


async def story(point: int | None) -> tuple[Fleet, int]:
    """A wave of two machines and one of one, soon; before its write number `point` the operator
    dies. One success opens the gate: an install whose beginning it could not write down is none."""
    canary = {"name": "canary", "machines": 2, "soak": "5m"}
    fleet = Fleet(3, [canary, REST], minSucceeded=1)
    fleet.scheduled({**EVENING, "startTime": "12:02"})
    written = await dies_before(point, fleet.world, fleet, 90)
    return fleet, written


WRITES = 90
"""More than the story has."""


async def test_the_story_without_a_crash() -> None:
    fleet, written = await story(None)
    assert len(fleet.installs) == 3
    assert fleet.seen == ("Succeeded", "Complete")
    assert 40 < written < WRITES


@pytest.mark.parametrize("point", range(WRITES))
async def test_dying_before_any_write_loses_no_wave_and_doubles_no_install(point: int) -> None:
    fleet, _ = await story(point)

    began = fleet.began()
    assert fleet.collisions == 0
    assert len(fleet.installs) == len(began) == 3
    assert fleet.seen == ("Succeeded", "Complete")
    assert set(fleet.states().values()) <= {"Succeeded", "Skipped"}
    (last,) = fleet.wave("rest")
    canaries = [began[machine_name] for machine_name in fleet.wave("canary")]
    assert began[last] >= max(canaries) + LASTS + 5 * MINUTE, "after the soak"
