"""A run, told by the reconciles that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from domain_builders import (
    DAY,
    HOUR,
    NOW,
    member,
    patch_run,
    terms,
)

from azpatch.api.reasons import Reason
from azpatch.api.run import Effective, PatchRunStatus
from azpatch.api.target import RunState
from azpatch.domain.opening import Open, Opening, Shut
from azpatch.domain.run import Progress, progress
from azpatch.domain.run_facts import RunFacts, RunMember

PENDING, RUNNING, SUCCEEDED, FAILED, SKIPPED = (
    RunState.PENDING,
    RunState.RUNNING,
    RunState.SUCCEEDED,
    RunState.FAILED,
    RunState.SKIPPED,
)
MINUTE = timedelta(minutes=1)
OPEN = Open(NOW + 4 * HOUR, holds_until=NOW + 4 * HOUR)
SHUT = Shut(Reason.WAITING_FOR_WINDOW, "Window nights opens tomorrow.", NOW + DAY)

CANARY_AND_REST_WAVES = [
    {"name": "canary", "machines": 2, "soak": "24h"},
    {"name": "rest", "machines": "100%"},
]
CANARY_AND_REST = terms(waves=CANARY_AND_REST_WAVES)


def facts(members: Sequence[RunMember], opening: Opening = OPEN, **changes: Any) -> RunFacts:
    openings = {one.entry.wave: opening for one in members}
    return RunFacts(**{"members": members, "awaited": 0, "openings": openings, **changes})


def canary(number: int, state: RunState, reason: str | None = None, **more: Any) -> RunMember:
    return member(number, state, reason, wave="canary", **more)


def rest(number: int, state: RunState = PENDING, reason: str | None = None) -> RunMember:
    return member(number, state, reason, wave="rest")


class Story:
    """A run and what it comes to, told by the reconciles that it gets."""

    def __init__(self, effective: Effective = CANARY_AND_REST, **spec: Any) -> None:
        self.run = patch_run(PatchRunStatus(effective=effective), **spec)
        self.effective = effective

    def goes_on(
        self,
        members: Sequence[RunMember],
        opening: Opening = OPEN,
        at: datetime = NOW,
        **changes: Any,
    ) -> Progress:
        found = progress(self.run, "uid-1", self.effective, facts(members, opening, **changes), at)
        self.run = self.run.replace(status=found.status)
        return found

    def says(self, **spec: Any) -> None:
        """A person, in the run's spec."""
        self.run = patch_run(self.run.status, **spec)

    @property
    def status(self) -> PatchRunStatus:
        return self.run.status

    @property
    def seen(self) -> tuple[str | None, str]:
        """Phase, and the reason of Ready."""
        ready = next(one for one in self.status.conditions if one.type == "Ready")
        return self.status.phase, ready.reason

    @property
    def begun(self) -> list[str]:
        return [wave.name for wave in self.status.waves if wave.start_time is not None]

    @property
    def message(self) -> str:
        return next(one.message for one in self.status.conditions if one.type == "Ready")

    @property
    def conditions(self) -> dict[str, str]:
        return {one.type: one.status for one in self.status.conditions}


def story(
    members: Sequence[RunMember], effective: Effective = CANARY_AND_REST, **changes: Any
) -> Story:
    """Of a run whose first wave began before."""
    told = Story(effective)
    told.goes_on([member_before(one) for one in members])
    told.goes_on(members, **changes)
    return told


def member_before(one: RunMember) -> RunMember:
    return RunMember(one.machine_id, one.entry.replace(state=PENDING, reason=None), None)
