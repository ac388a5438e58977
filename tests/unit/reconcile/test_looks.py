"""Bulk look-ups in Resource Graph: batched, backing off, waking on news only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from fakes import (
    HOUR,
    MINUTE,
    PATCH,
    SECOND,
    START,
    SUBSCRIPTION,
    VM,
    Azure,
    VirtualClock,
    assessment_row,
    numbered,
    settle,
)

from azpatch.azure.port import Retry
from azpatch.domain.facts import GuestStatus, InstallationResult
from azpatch.domain.ids import key
from azpatch.reconcile.inventory import Inventory
from azpatch.reconcile.looks import Looks, Subject

READS = {
    Subject.ASSESSMENT: "assessments",
    Subject.PATCHES: "missing_patches",
    Subject.INSTALLATION: "installations",
}


class Looking:
    """Look-ups through one identity."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.azure = Azure([])
        self.inventory = Inventory(self.clock)
        self.inventory.configure(SUBSCRIPTION, self.azure, ())
        self.woken: list[str] = []
        self.looks = Looks(self.inventory, self.clock, self.woken.append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.looks.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def times(self, read: str, until: int) -> list[int]:
        """At which second it was read, as long as the test lasts."""
        seen = []
        for second in range(until):
            before = self.azure.asked(read)
            await self.clock.advance(SECOND)
            if self.azure.asked(read) > before:
                seen.append(second + 1)
        return seen


@pytest.fixture
def looking() -> Looking:
    return Looking()


async def test_nothing_wanted_nothing_asked(looking: Looking) -> None:
    async with looking.running():
        await looking.clock.advance(HOUR)
    assert looking.azure.reads == []


@pytest.mark.parametrize("subject", Subject)
async def test_what_does_not_appear_is_asked_for_at_once_and_twice_as_late_each_time(
    looking: Looking, subject: Subject
) -> None:
    """With backoff from 15 s to 15 min."""
    async with looking.running():
        looking.looks.want(VM, subject)
        await settle()
        assert looking.azure.reads == [(READS[subject], 1)]
        times = await looking.times(READS[subject], 4 * 3600)

    waits = [b - a for a, b in zip([0, *times], times, strict=False)]
    assert waits[:7] == [15, 30, 60, 120, 240, 480, 900]
    assert set(waits[7:]) == {900}


@pytest.mark.parametrize("subject", [Subject.ASSESSMENT, Subject.INSTALLATION])
async def test_an_operation_in_flight_is_looked_at_after_another_tenth_of_its_age(
    looking: Looking, subject: Subject
) -> None:
    """Each time 15 s later at most: so long are look-ups gathered into one query."""
    async with looking.running():
        looking.looks.want(VM, subject, following=True)
        await settle()
        assert looking.azure.reads == [], "it has only just begun"
        times = await looking.times(READS[subject], 2 * 3600)

    assert times[:3] == [30, 60, 105]
    waits = [(age, then - age) for age, then in pairwise(times)]
    assert all(wait <= 30 + age / 10 + 15 for age, wait in waits)
    assert waits[-1][1] == 300, "every five minutes in the end"


async def test_who_waited_for_a_row_and_then_follows_an_operation_waits_no_longer_than_it(
    looking: Looking,
) -> None:
    async with looking.running():
        looking.looks.want(VM, Subject.ASSESSMENT)
        await looking.clock.advance(HOUR)
        looking.looks.want(VM, Subject.ASSESSMENT, following=True)
        times = await looking.times("assessments", 180)
    assert times[0] <= 30


async def test_all_that_are_due_are_asked_for_in_one_query_per_identity(looking: Looking) -> None:
    other, there = Azure([]), VM.replace(SUBSCRIPTION, "2" * 8)
    looking.inventory.configure("2" * 8, other, ())
    for number in range(3):
        looking.looks.want(numbered(number), Subject.ASSESSMENT)
    looking.looks.want(numbered(0), Subject.PATCHES)
    looking.looks.want(there, Subject.ASSESSMENT)
    async with looking.running():
        pass
    assert sorted(looking.azure.reads) == [("assessments", 3), ("missing_patches", 1)]
    assert other.reads == [("assessments", 1)]


async def test_wanted_twice_is_asked_for_once(looking: Looking) -> None:
    looking.looks.want(VM, Subject.ASSESSMENT)
    looking.looks.want(VM.upper(), Subject.ASSESSMENT)
    async with looking.running():
        pass
    assert looking.azure.reads == [("assessments", 1)]


async def test_what_is_not_wanted_any_more_is_not_asked_for(looking: Looking) -> None:
    async with looking.running():
        looking.looks.want(VM, Subject.ASSESSMENT)
        looking.looks.want(VM, Subject.PATCHES)
        await settle()
        looking.looks.enough(VM.upper(), Subject.ASSESSMENT)
        await looking.clock.advance(MINUTE)
        assert looking.azure.asked("assessments") == 1
        assert looking.azure.asked("missing_patches") > 1
        looking.looks.enough(VM)
        asked = looking.azure.asked("missing_patches")
        await looking.clock.advance(HOUR)
        assert looking.azure.asked("missing_patches") == asked


async def test_a_row_wakes_when_it_is_news_and_an_older_one_never(looking: Looking) -> None:
    new = assessment_row(last_modified=START)
    async with looking.running():
        looking.looks.want(VM, Subject.ASSESSMENT, following=True)
        await looking.clock.advance(MINUTE)
        assert looking.woken == [], "no row"
        looking.azure.rows[key(VM)] = new
        await looking.clock.advance(HOUR)
        assert looking.woken == [key(VM)], "once"
        looking.azure.rows[key(VM)] = assessment_row(last_modified=START - MINUTE)
        await looking.clock.advance(HOUR)
        assert looking.woken == [key(VM)]
        assert looking.inventory.row(VM) == new


async def test_an_installs_row_wakes_when_it_changes(looking: Looking) -> None:
    async with looking.running():
        looking.looks.want(VM, Subject.INSTALLATION, following=True)
        for status in (GuestStatus.IN_PROGRESS, GuestStatus.SUCCEEDED):
            looking.azure.install_rows[key(VM)] = InstallationResult(status, activity_id="a")
            await looking.clock.advance(HOUR)
        assert looking.woken == [key(VM), key(VM)]
        assert looking.inventory.installations[key(VM)].status is GuestStatus.SUCCEEDED


@pytest.mark.parametrize("patches", [(PATCH,), ()], ids=["some are missing", "none is"])
async def test_patches_wake_whoever_asked_for_them(
    looking: Looking, patches: tuple[object, ...]
) -> None:
    if patches:
        looking.azure.patches[key(VM)] = (PATCH,)
    looking.looks.want(VM, Subject.PATCHES)
    async with looking.running():
        pass
    assert looking.woken == [key(VM)]
    assert looking.inventory.patches[key(VM)].patches == patches


async def test_a_look_up_that_fails_is_made_again_and_keeps_no_other(looking: Looking) -> None:
    looking.azure.broken["assessments"] = Retry("HTTP503", "Later.")
    looking.azure.patches[key(VM)] = (PATCH,)
    async with looking.running():
        looking.looks.want(VM, Subject.ASSESSMENT)
        looking.looks.want(VM, Subject.PATCHES)
        await settle()
        assert looking.woken == [key(VM)]
        looking.azure.broken.clear()
        looking.azure.rows[key(VM)] = assessment_row()
        await looking.clock.advance(15 * SECOND)
        assert looking.inventory.row(VM) == assessment_row()


async def test_machines_of_a_subscription_that_is_not_configured_are_not_asked_for(
    looking: Looking,
) -> None:
    looking.inventory.remove(SUBSCRIPTION)
    looking.looks.want(VM, Subject.ASSESSMENT)
    async with looking.running():
        pass
    assert looking.azure.reads == []
