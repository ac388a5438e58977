"""Installs in windows and outside freezes, as time passes."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import DAY, HOUR, MINUTE, SECOND, START, VM, World, assessment_row, machine

from azpatch.api.policy import PatchPolicy, PatchPolicyStatus
from azpatch.azure.port import Progress
from azpatch.domain.facts import GuestStatus, InstallationResult
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_POLICY

SOON = 20 * SECOND
EVENING = {"name": "evening", "daily": {}, "startTime": "18:00", "duration": "4h"}
"""It is noon, UTC, on a Monday."""


@pytest.fixture
def due() -> World:
    """An install is due, under a policy that installs in the evening."""
    world = World()
    world.azure.add(machine())
    world.due()
    scheduled(world)
    return world


def scheduled(world: World, *windows: dict[str, Any], **more: Any) -> None:
    world.policy(schedule={"windows": list(windows) or [EVENING], **more})


def told(world: World) -> PatchPolicyStatus:
    (raw,) = world.kube.all(PATCH_POLICY)
    return PatchPolicy.from_object(raw).status


def condition(world: World, type_: str) -> tuple[str, str] | None:
    found = (c for c in told(world).conditions if c.type == type_)
    return next(((c.status, c.reason) for c in found), None)


def installs(world: World) -> int:
    return sum(kind == "Install" for kind, *_ in world.azure.posts)


def reassessed_daily(world: World) -> None:
    """The rows of others' assessments keep coming, so that no assessment of ours is due."""
    now = world.clock.now()
    world.azure.rows[key(VM)] = assessment_row(
        start_time=now - 5 * MINUTE, last_modified=now, activity_id=f"of {now}"
    )


async def test_an_install_waits_for_its_window_and_starts_as_it_opens(due: World) -> None:
    async with due.operator_runs():
        await due.passes(5 * HOUR + 59 * MINUTE)
        assert installs(due) == 0
        assert due.ready() == "WaitingForWindow"
        assert condition(due, "Ready") == ("True", "WaitingForWindow")
        window = told(due).next_window
        assert window is not None
        assert (window.start, window.end) == (START + 6 * HOUR, START + 10 * HOUR)
        await due.passes(MINUTE + SOON)
        assert installs(due) == 1


async def test_none_starts_that_would_not_be_over_when_the_window_ends(due: World) -> None:
    due.azure.add(machine(power_state="Stopped"))
    async with due.operator_runs():
        await due.passes(8 * HOUR + 10 * MINUTE)
        due.azure.add(machine())
        await due.passes(30 * MINUTE)
        assert installs(due) == 0
        assert due.ready() == "WaitingForWindow"
        window = told(due).next_window
        assert window is not None
        assert window.start == START + 30 * HOUR, "this evening's is of no use any more"


async def test_in_a_freeze_nothing_is_installed_and_machines_are_assessed(due: World) -> None:
    due.subscription(
        freezes=[{"name": "peak", "start": "2026-11-20T00:00:00", "end": "2026-11-25T00:00:00"}]
    )
    async with due.operator_runs():
        await due.passes(30 * HOUR)
        kinds = {kind for kind, *_ in due.azure.posts}
        assert kinds == {"Assess"}


async def test_a_freeze_is_told_on_the_policy_and_the_machine(due: World) -> None:
    scheduled(due, freezes=[{**_days(-3, 2), "name": "peak", "reason": "retail"}])
    async with due.operator_runs():
        await due.passes(5 * MINUTE)
        assert due.ready() == "Frozen"
        assert condition(due, "Ready") == ("True", "Frozen")
        window = told(due).next_window
        assert window is not None
        assert window.start == START + 2 * DAY + 6 * HOUR


async def test_a_freeze_that_is_declared_when_a_window_is_open_is_obeyed_at_once(
    due: World,
) -> None:
    scheduled(due, {**EVENING, "startTime": "12:10"})
    async with due.operator_runs():
        await due.passes(5 * MINUTE)
        due.subscription(
            freezes=[{"name": "now", "start": "2026-11-23T00:00:00", "end": "2026-11-24T00:00:00"}]
        )
        await due.passes(2 * HOUR)
        assert installs(due) == 0
        assert due.ready() == "Frozen"


async def test_a_window_that_is_added_while_a_machine_waits_is_used(due: World) -> None:
    async with due.operator_runs():
        await due.passes(5 * MINUTE)
        scheduled(due, EVENING, {**EVENING, "name": "noon", "startTime": "12:00"})
        await due.passes(SOON)
        assert installs(due) == 1


async def test_what_failed_twice_in_a_window_is_tried_again_in_the_next(due: World) -> None:
    due.azure.post = lambda _machine: None
    async with due.operator_runs():
        await due.passes(6 * HOUR + SOON)
        for _ in range(4):
            failed = InstallationResult(GuestStatus.FAILED, activity_id="x", failed=1, installed=1)
            for number in range(1, len(due.azure.posts) + 1):
                due.azure.operations[f"op-{number}"] = Progress(False, installation=failed)
            await due.passes(25 * MINUTE)
            reassessed_daily(due)
        assert installs(due) <= 2
        in_window = installs(due)
        await due.passes(15 * HOUR)
        assert installs(due) == in_window, "none between the windows"


async def test_windows_that_overlap_have_two_installs_together(due: World) -> None:
    late = {**EVENING, "name": "late", "startTime": "20:00", "duration": "6h"}
    scheduled(due, EVENING, late)
    async with due.operator_runs():
        for _ in range(16 * 4):
            for number in range(1, len(due.azure.posts) + 1):
                failed = InstallationResult(GuestStatus.FAILED, failed=1, installed=1)
                result = Progress(False, installation=failed)
                if due.azure.posts[number - 1][0] == "Assess":
                    done = assessment_row(activity_id=f"op-{number}", last_modified=due.clock.now())
                    result = Progress(False, assessment=done)
                    due.azure.rows[key(VM)] = done
                due.azure.operations.setdefault(f"op-{number}", result)
            await due.passes(15 * MINUTE)
    assert installs(due) == 2


async def test_a_freeze_for_ever_leaves_what_runs_to_its_end(due: World) -> None:
    scheduled(due, {**EVENING, "startTime": "12:00"})
    forever = {"start": "2026-11-24T00:00:00", "end": "9999-12-31T23:59:59", "name": "for-ever"}
    async with due.operator_runs():
        await due.passes(MINUTE)
        due.subscription(freezes=[{**forever, "timeZone": "America/New_York"}])
        succeeded = InstallationResult(GuestStatus.SUCCEEDED, activity_id="op-1", installed=1)
        due.azure.operations["op-1"] = Progress(False, installation=succeeded)
        await due.passes(30 * MINUTE)
        assert due.status().installation is not None


async def test_windows_too_short_to_begin_in_stall_the_policy(due: World) -> None:
    scheduled(due, {**EVENING, "duration": "2h"})
    async with due.operator_runs():
        await due.passes(MINUTE)
        assert condition(due, "Stalled") == ("True", "WindowTooShort")


@pytest.mark.parametrize("whose", ["policy", "subscription"])
async def test_a_time_zone_that_nobody_knows_stops_installs_and_is_told(
    due: World, whose: str
) -> None:
    if whose == "policy":
        scheduled(due, timeZone="Europe/Belin")
    else:
        due.subscription(freezes=[{**_days(5, 6), "name": "f", "timeZone": "Europe/Belin"}])
    async with due.operator_runs():
        await due.passes(7 * HOUR)
        assert installs(due) == 0
        assert due.ready() == "TimeZoneUnknown"
        assert condition(due, "Stalled") == ("True", "TimeZoneUnknown")


async def test_an_operator_that_starts_in_a_window_installs_in_it(due: World) -> None:
    async with due.operator_runs():
        await due.passes(HOUR)
    await due.passes(6 * HOUR)
    async with due.operator_runs():
        await due.passes(MINUTE)
        assert installs(due) == 1


async def test_who_missed_two_windows_is_overdue(due: World) -> None:
    due.azure.add(machine(power_state="Stopped"))
    async with due.operator_runs():
        await due.passes(2 * DAY)
        machines = told(due).machines
        assert machines is not None
        assert machines.overdue == 1
        assert due.ready() == "VMStopped"


def _days(first: int, last: int) -> dict[str, str]:
    """A freeze from the midnight of some days from now to that of others."""
    midnight = START.replace(hour=0, tzinfo=None)
    return {
        "start": (midnight + first * DAY).isoformat(),
        "end": (midnight + last * DAY).isoformat(),
    }
