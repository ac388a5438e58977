"""The operator can die between any two steps, and the next one finds out what became of them."""

from __future__ import annotations

from datetime import datetime

import pytest
from dying import dies_before
from fakes import MINUTE, PATCH, VM, World, assessment_row, machine

from azpatch.azure.port import AzureError, Progress, Retry
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    MachineView,
    RebootStatus,
)
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_TARGET

SUCCEEDED, RUNS = GuestStatus.SUCCEEDED, GuestStatus.IN_PROGRESS
LASTS = 4 * MINUTE


class Guest:
    """A machine that carries out what is sent to it, and notes what must not happen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: tuple[str, str, datetime] | None = None
        self.began: list[str] = []
        self.collisions = 0
        self.dead = False
        """The operator: nothing of what it still does gets out."""

    def post(self, _machine: str) -> AzureError | None:
        if self.dead:
            return Retry("Dead", "It never got out.")
        if self._running:
            self.collisions += 1
        kind, _, _ = self._world.azure.posts[-1]
        operation = f"op-{len(self._world.azure.posts)}"
        self._running = (kind, operation, self._world.clock.now())
        self.began.append(kind)
        self._show(kind, operation, RUNS)
        return None

    def tick(self) -> None:
        """Ends what has run for long enough."""
        if self._running is None or self._world.clock.now() - self._running[2] < LASTS:
            return
        kind, operation, _ = self._running
        self._running = None
        self._show(kind, operation, SUCCEEDED)

    def _show(self, kind: str, operation: str, status: GuestStatus) -> None:
        azure, now = self._world.azure, self._world.clock.now()
        if kind == "Assess":
            missing = 0 if "Install" in self.began else 1
            assessed = AssessmentResult(
                status, start_time=now, last_modified=now, activity_id=operation
            )
            azure.change(assessment=assessed)
            if status is SUCCEEDED:
                azure.operations[operation] = Progress(False, assessment=assessed)
                azure.rows[key(VM)] = assessment_row(
                    start_time=now - LASTS, last_modified=now, critical_and_security=missing
                )
                azure.patches[key(VM)] = (PATCH,) * missing
            return
        installed = InstallationResult(
            status,
            last_modified=now,
            activity_id=operation,
            installed=1,
            reboot_status=RebootStatus.NOT_NEEDED,
        )
        azure.change(installation=installed)
        azure.install_rows[key(VM)] = installed
        if status is SUCCEEDED:
            azure.operations[operation] = Progress(False, installation=installed)


async def story(point: int | None) -> tuple[World, Guest, int]:
    """A machine is assessed, installed on and assessed again; before its write number `point`
    the operator dies. Returns the number of writes that got out before."""
    world = World()
    world.azure.add(machine())
    guest = Guest(world)
    written = await dies_before(point, world, guest, 120)
    return world, guest, written


WRITES = 40
"""More than the story has."""


async def test_the_story_without_a_crash() -> None:
    world, guest, written = await story(None)
    assert guest.began == ["Assess", "Install", "Assess"]
    assert world.compliant() == ("True", "Compliant")
    assert 15 < written < WRITES


@pytest.mark.parametrize("point", range(WRITES))
async def test_dying_before_any_write_loses_and_doubles_nothing(point: int) -> None:
    world, guest, _ = await story(point)

    assert guest.collisions == 0, "at most one operation in flight"
    assert guest.began.count("Install") == 1, "nothing is sent again that had begun"
    assert world.compliant() == ("True", "Compliant")
    assert world.ready() == "UpToDate"
    assert world.kube.finalizers(PATCH_TARGET) == []
    assert isinstance(world.azure.views[key(VM)], MachineView)
