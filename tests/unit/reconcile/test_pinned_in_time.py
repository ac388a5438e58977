"""Pinned patch sets: later waves get what the first was given, as time passes."""

from __future__ import annotations

from collections.abc import Mapping

from run_fleet import CANARY, REST, Fleet

from azpatch.azure.port import Retry
from azpatch.domain.facts import (
    InstalledPatch,
)

JAMMY = {"os_name": "ubuntu", "os_version": "22.04"}
PINNED = {"packageNameMasksToInclude": ["openssl=3.0-1"]}


def alike(canary_is: Mapping[str, str] = JAMMY) -> Fleet:
    """Three machines of one distribution and version, whose policy pins. The canary is web-3."""
    fleet = Fleet(3, [{**CANARY, "soak": "10m"}, REST], patchSet="Pinned")
    for number in (1, 2, 3):
        fleet.add(number, **(canary_is if number == 3 else JAMMY))
    fleet.brought = (InstalledPatch("openssl", "3.0-1", None, ("Security",), "Installed"),)
    return fleet


async def test_later_waves_get_what_the_first_was_given() -> None:
    fleet = alike()
    async with fleet.world.operator_runs():
        await fleet.until(19)
    first, *later = [body["linuxParameters"] for body in fleet.world.azure.bodies]
    assert first == {"classificationsToInclude": ["Critical", "Security"]}
    assert later == [PINNED, PINNED]
    assert fleet.seen == ("Succeeded", "Complete")


async def test_no_wave_begins_before_it_is_known_and_who_comes_after_a_crash_asks_again() -> None:
    fleet = alike()
    fleet.world.azure.broken["installs"] = Retry("ServiceUnavailable", "Not now.")
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        assert fleet.seen == ("Waiting", "ReadingPatchSet")
    async with fleet.world.operator_runs():
        await fleet.until(19)
        assert fleet.seen == ("Waiting", "PatchSetNotShown")
        assert len(fleet.installs) == 1
        fleet.world.azure.broken.clear()
        await fleet.until(20)
    assert [body["linuxParameters"] for body in fleet.world.azure.bodies[1:]] == [PINNED, PINNED]


async def test_resource_graph_is_asked_less_and_less_often() -> None:
    fleet = alike()
    fleet.world.azure.broken["installs"] = Retry("ServiceUnavailable", "Not now.")
    async with fleet.world.operator_runs():
        await fleet.until(21)
    assert 6 <= fleet.world.azure.asked("installs") <= 20


async def test_machines_that_nothing_vouches_for_are_left_to_the_next_run() -> None:
    fleet = alike({"os_name": "debian", "os_version": "12"})
    async with fleet.world.operator_runs():
        await fleet.until(19)
    assert len(fleet.installs) == 1
    told = {entry.reason for entry in fleet.entries().values() if entry.wave == "rest"}
    assert told == {"SystemNotPinned"}
    assert fleet.seen == ("Succeeded", "Complete")


async def test_more_than_can_be_pinned_stalls_the_run_until_somebody_ends_it() -> None:
    fleet = alike()
    fleet.brought = tuple(
        InstalledPatch(f"package-{number}", "1.0", None, ("Security",), "Installed")
        for number in range(1200)
    )
    async with fleet.world.operator_runs():
        await fleet.until(19)
        assert fleet.seen == ("Paused", "PatchSetTooLarge")
        assert len(fleet.installs) == 1
        fleet.world.says(fleet.run, cancelled=True)
        await fleet.until(19, 5)
    assert fleet.seen == ("Cancelled", "RunCancelled")
