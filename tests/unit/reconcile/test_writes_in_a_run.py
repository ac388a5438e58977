"""What a run costs the API server: how often the PatchTarget of a machine is written in it.

The most that is sent to a machine in one window is two installs, each with the assessment after it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from fakes import MINUTE, SECOND, START, numbered
from run_fleet import EVENING, Fleet, name

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Kind, Object

GOAL = 16
"""Writes of one PatchTarget, its finalizer's included."""

ONE_INSTALL = [
    "WaitingForWave",
    "finalizer",
    "Install Intent",
    "Install Started",
    "Assess Intent",
    "Assess Started",
    "UpToDate",
    "no finalizer",
]
TWO_INSTALLS = [
    *ONE_INSTALL[:6],
    "WaitingForResourceGraph",
    *ONE_INSTALL[2:],
]


class Told(Fleet):
    """Machines whose first installs fail; and what is written of each from 18:00 on."""

    def __init__(self, count: int = 1, failures: int = 0, **rollout: Any) -> None:
        super().__init__(count, maxFailed=count, **rollout)
        self.scheduled({**EVENING, "duration": "8h"})
        self.broken = lambda machine: self.tries()[machine] <= failures
        self.writes: defaultdict[str, list[str]] = defaultdict(list)
        """Of each machine: the operation that stands in its status, else the reason of Ready."""
        kube = self.world.kube
        replace_status, set_finalizers = kube.replace_status, kube.set_finalizers

        async def status(kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
            answer = await replace_status(kind, base, status)
            self._note(kind, answer, _said(kind, status))
            return answer

        async def finalizers(kind: Kind, base: Object, names: Sequence[str]) -> Object:
            answer = await set_finalizers(kind, base, names)
            self._note(kind, answer, "finalizer" if names else "no finalizer")
            return answer

        kube.replace_status = status  # type: ignore[method-assign]
        kube.set_finalizers = finalizers  # type: ignore[method-assign]

    def _note(self, kind: Kind, target: Object, said: str) -> None:
        if kind == PATCH_TARGET and self.world.clock.now().hour >= 18:
            self.writes[name(target["spec"]["machineId"])].append(said)

    def tries(self) -> Counter[str]:
        """Installs of each machine."""
        return Counter(machine for machine, _ in self.installs)


def _said(kind: Kind, status: Mapping[str, Any]) -> str:
    if kind != PATCH_TARGET:
        return ""
    operation = status.get("operation")
    if operation:
        return f"{operation['kind']} {operation['state']}"
    return next(str(c["reason"]) for c in status["conditions"] if c["type"] == "Ready")


@pytest.mark.parametrize(
    ("failures", "written"),
    [
        pytest.param(0, ONE_INSTALL, id="one install"),
        pytest.param(1, TWO_INSTALLS, id="a second after a failed one"),
    ],
)
async def test_each_write_tells_what_has_begun_or_ended(failures: int, written: list[str]) -> None:
    fleet = Told(failures=failures)
    async with fleet.world.operator_runs():
        await fleet.until(21)

    assert fleet.states() == {"web-1": "Succeeded"}
    assert fleet.tries() == {"web-1": 1 + failures}
    assert fleet.writes["web-1"] == written


async def test_the_longest_part_in_one_window_takes_no_more_than_the_goal() -> None:
    """Both machines fail once and wait for each other's slot, and Resource Graph is late."""
    fleet = Told(2, failures=1, maxUnavailable=1)
    fleet.lag = 2 * MINUTE
    async with fleet.world.operator_runs():
        await fleet.until(21)

    assert fleet.states() == {"web-1": "Succeeded", "web-2": "Succeeded"}
    assert fleet.tries() == {"web-1": 2, "web-2": 2}
    assert [len(writes) for _, writes in sorted(fleet.writes.items())] == [GOAL - 1, GOAL]
    assert fleet.writes["web-2"].count("WaitingForSlot") == 2


async def test_a_machine_that_fails_twice_takes_no_more_either() -> None:
    fleet = Told(failures=2)
    async with fleet.world.operator_runs():
        await fleet.until(21)

    assert fleet.states() == {"web-1": "Failed"}
    assert len(fleet.writes["web-1"]) <= GOAL


async def test_a_wait_for_a_slot_is_told_when_it_lasts() -> None:
    fleet = Told(2, maxUnavailable=1)
    async with fleet.world.operator_runs():
        await fleet.until(18)
        await fleet.passes(20 * SECOND)
        assert fleet.world.ready(numbered(2)) == "WaitingForWave"
        await fleet.passes(MINUTE)
        assert fleet.world.ready(numbered(2)) == "WaitingForSlot"
        await fleet.until(21)

    assert fleet.writes["web-1"] == ONE_INSTALL
    assert fleet.writes["web-2"] == [ONE_INSTALL[0], "WaitingForSlot", *ONE_INSTALL[1:]]


async def test_an_assessment_that_waits_in_azures_line_costs_one_more() -> None:
    fleet = Told()
    waits = iter([0 * SECOND, 20 * SECOND])
    fleet.world.azure.turn = lambda _machine: next(waits, 0 * SECOND)
    async with fleet.world.operator_runs():
        await fleet.until(21)

    assert fleet.states() == {"web-1": "Succeeded"}
    assert fleet.writes["web-1"] == [*ONE_INSTALL[:4], "Working", *ONE_INSTALL[4:]]


def line_until(fleet: Fleet, turn: datetime) -> Callable[[str], timedelta]:
    """From 18:00 on nobody's turn comes before this time."""
    clock = fleet.world.clock
    return lambda _machine: (
        max(turn - clock.now(), 0 * SECOND) if clock.now().hour >= 18 else 0 * SECOND
    )


async def test_an_install_in_azures_line_does_not_say_for_long_that_its_wave_waits() -> None:
    fleet = Told()
    fleet.world.azure.turn = line_until(fleet, START.replace(hour=18, minute=9))
    async with fleet.world.operator_runs():
        await fleet.until(18)
        await fleet.passes(20 * SECOND)
        assert fleet.world.ready(numbered(1)) == "WaitingForWave"
        await fleet.passes(MINUTE)
        assert fleet.world.ready(numbered(1)) == "WaitingForTurn"
        await fleet.until(21)

    assert fleet.states() == {"web-1": "Succeeded"}
    assert fleet.writes["web-1"] == [ONE_INSTALL[0], "WaitingForTurn", *ONE_INSTALL[1:]]


async def test_who_has_said_that_it_waits_for_its_slot_does_not_tell_a_short_line() -> None:
    fleet = Told(2, maxUnavailable=1)
    turn = START.replace(hour=18, minute=15)
    line = line_until(fleet, turn)
    fleet.world.azure.turn = lambda machine: (
        line(machine) if fleet.world.ready(machine) == "WaitingForSlot" else 0 * SECOND
    )
    async with fleet.world.operator_runs():
        await fleet.until(21)

    assert fleet.began()["web-2"] >= turn
    assert fleet.writes["web-2"] == [ONE_INSTALL[0], "WaitingForSlot", *ONE_INSTALL[1:]]


async def test_at_rest_no_machine_is_written() -> None:
    fleet = Told(2)
    async with fleet.world.operator_runs():
        await fleet.until(19)
        written = {machine: len(writes) for machine, writes in fleet.writes.items()}
        await fleet.until(23)

    assert {machine: len(writes) for machine, writes in fleet.writes.items()} == written


# --- the finalizer between two installs -----------------------------------------------------------


async def between_two_installs(fleet: Fleet) -> None:
    """The first has failed and was assessed; what that found does not appear."""
    fleet.lag = 30 * MINUTE
    await fleet.until(18, 20)
    assert fleet.world.ready(numbered(1)) == "WaitingForResourceGraph"
    assert fleet.world.kube.finalizers(PATCH_TARGET) == ["azpatch.dev/operation"]


async def test_it_holds_nobody_up_who_deletes_the_patch_target() -> None:
    fleet = Told(failures=1)
    async with fleet.world.operator_runs():
        await between_two_installs(fleet)
        (target,) = fleet.world.kube.all(PATCH_TARGET)
        await fleet.world.kube.delete(PATCH_TARGET, target)
        await fleet.passes(SECOND)

        uids = [one["metadata"]["uid"] for one in fleet.world.kube.all(PATCH_TARGET)]
        assert target["metadata"]["uid"] not in uids


async def test_it_goes_with_the_machines_part_in_the_run() -> None:
    fleet = Told(failures=1)
    async with fleet.world.operator_runs():
        await between_two_installs(fleet)
        fleet.world.says(fleet.run, cancelled=True)
        await fleet.passes(MINUTE)

        assert fleet.world.kube.finalizers(PATCH_TARGET) == []
    assert fleet.states() == {"web-1": "Failed"}


async def test_it_does_not_stay_where_a_policy_that_is_gone_has_left_its_patch_target() -> None:
    """`kubectl delete --cascade=orphan`: nobody may be there when that is deleted one day."""
    fleet = Told(failures=1)
    kube = fleet.world.kube
    async with fleet.world.operator_runs():
        await between_two_installs(fleet)
        (target,) = kube.all(PATCH_TARGET)
        del target["metadata"]["ownerReferences"]
        kube.put(PATCH_TARGET, target)
        for kind in (PATCH_POLICY, PATCH_RUN):
            (owner,) = kube.all(kind)
            await kube.delete(kind, owner)
        await fleet.passes(10 * MINUTE)

        assert kube.all(PATCH_POLICY) == []
        assert kube.finalizers(PATCH_TARGET) == []


async def test_who_comes_after_a_crash_keeps_it() -> None:
    fleet = Told(failures=1)
    async with fleet.world.operator_runs():
        await between_two_installs(fleet)
    async with fleet.world.operator_runs():
        await fleet.passes(5 * MINUTE)
        assert fleet.world.kube.finalizers(PATCH_TARGET) == ["azpatch.dev/operation"]
        await fleet.until(21)
        assert fleet.world.kube.finalizers(PATCH_TARGET) == []
    assert fleet.states() == {"web-1": "Succeeded"}
