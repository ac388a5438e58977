"""Which operations go behind all installs at Azure's bucket."""

from __future__ import annotations

from dataclasses import replace

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    RUN,
    STANDING,
    assessed,
    condition,
    installed,
    patch_policy,
    patch_target,
    terms,
)

from azpatch.api.reasons import Reason
from azpatch.api.target import OperationKind, Outcome, PatchTargetStatus, RunEntry, RunState
from azpatch.domain.attempts import Turn
from azpatch.domain.lifting import NOTHING
from azpatch.domain.opening import Open, Opening, Shut
from azpatch.domain.precedence import yields
from azpatch.domain.run_entry import APART, OpenRun, Part

OPEN = Open(NOW + HOUR, Turn(NOW, NOW + HOUR, NOW + DAY))
SHUT = Shut(Reason.WAITING_FOR_WINDOW, "Tomorrow.", NOW + DAY, Turn(None, None, NOW + DAY))
TODAY, YESTERDAY = "2026-11-23T12:00:00Z", "2026-11-22T12:00:00Z"
"""When windows began that a run was made for."""

NEW = PatchTargetStatus(
    governs=True, conditions=(condition("Compliant", "Unknown", "NotAssessed"),)
)
OLD = PatchTargetStatus(
    governs=True,
    assessment=assessed(),
    conditions=(condition("Compliant", "False", "PatchesMissing"),),
)
"""Its assessment is older than maxAge, say."""

BETWEEN_RUNS = Part(runs=True, run=None, entry=None)
UNDER_WAY = OpenRun(
    name=RUN,
    effective=terms(),
    uid=f"uid-{RUN}",
    recorded=NOW,
    begun={"first": NOW},
    stopped=None,
    lifted=NOTHING,
)
PAUSED = replace(UNDER_WAY, stopped=(Reason.RUN_PAUSED, "It is paused."))


def member(wave: str = "first", run: OpenRun = UNDER_WAY) -> Part:
    """The part of a machine that is in the run."""
    return Part(
        runs=True,
        run=run,
        entry=RunEntry(name=RUN, uid=f"uid-{RUN}", wave=wave, state=RunState.PENDING),
    )


def yielding(
    status: PatchTargetStatus,
    *,
    part: Part = BETWEEN_RUNS,
    opening: Opening = OPEN,
    kind: OperationKind = OperationKind.ASSESS,
    scheduled: str | None = None,
) -> bool:
    known = {"lastScheduleTime": scheduled} if scheduled else {}
    policy = patch_policy(schedule=NIGHTS if part.runs else {"always": {}}, status=known)
    standing = replace(STANDING, part=part, opening=opening)
    return yields(kind, policy, patch_target(PatchTargetStatus()), status, standing)


@pytest.mark.parametrize("part", [APART, member()], ids=["no runs", "in a run"])
def test_an_install_never_yields(part: Part) -> None:
    assert not yielding(OLD, part=part, kind=OperationKind.INSTALL)


UNVERIFIED = OLD.replace(installation=installed(time=NOW))
STILL_BAD = OLD.replace(
    assessment=assessed(status="Failed"), installation=installed(Outcome.NOT_BACK)
)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(UNVERIFIED, id="none ended since the install"),
        pytest.param(STILL_BAD, id="the last one after an install that ended badly failed"),
    ],
)
@pytest.mark.parametrize("opening", [OPEN, SHUT], ids=["open", "shut"])
def test_the_assessment_that_ends_an_install_does_not(
    status: PatchTargetStatus, opening: Opening
) -> None:
    assert not yielding(status, opening=opening)
    assert not yielding(status, part=APART)


@pytest.mark.parametrize("scheduled", [None, YESTERDAY])
def test_one_that_a_run_waits_for_does_not_while_the_window_is_open(scheduled: str | None) -> None:
    assert not yielding(NEW, scheduled=scheduled)


@pytest.mark.parametrize(
    ("status", "part", "opening", "scheduled"),
    [
        pytest.param(NEW, BETWEEN_RUNS, SHUT, None, id="no window is open"),
        pytest.param(NEW, BETWEEN_RUNS, OPEN, TODAY, id="the window had its run"),
        pytest.param(OLD, BETWEEN_RUNS, OPEN, None, id="whether it is due is known"),
        pytest.param(OLD, APART, Open(None), None, id="without windows, and it is known too"),
    ],
)
def test_any_other_yields(
    status: PatchTargetStatus, part: Part, opening: Opening, scheduled: str | None
) -> None:
    assert yielding(status, part=part, opening=opening, scheduled=scheduled)


def test_one_that_tells_whether_an_install_is_due_does_not_where_there_are_no_windows() -> None:
    assert not yielding(NEW, part=APART, opening=Open(None))
    assert yielding(NEW, part=APART, opening=SHUT), "a freeze holds"


def test_one_before_an_install_whose_turn_has_come_in_a_run_does_not() -> None:
    assert not yielding(OLD, part=member(), scheduled=TODAY)


@pytest.mark.parametrize(
    ("part", "opening"),
    [
        pytest.param(member("second"), OPEN, id="a wave that has not begun"),
        pytest.param(member(run=PAUSED), OPEN, id="a run that is paused"),
        pytest.param(member(), SHUT, id="a window that is over"),
    ],
)
def test_one_in_a_run_that_does_not_go_on_yields(part: Part, opening: Opening) -> None:
    assert yielding(OLD, part=part, opening=opening, scheduled=TODAY)
