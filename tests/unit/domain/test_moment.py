"""What is told of a machine only when it lasts."""

from __future__ import annotations

from typing import Any

import pytest
from domain_builders import HOUR, NOW, assessed, entry, installed, operation

from azpatch.api.common import Condition
from azpatch.api.target import Attempts, PatchTargetStatus, RunState
from azpatch.domain.moment import momentary

DUE = Attempts(due_since=NOW - HOUR)


def status(
    reason: str, ready: str = "True", compliant: str = "PatchesMissing", **facts: Any
) -> PatchTargetStatus:
    conditions = [("Ready", ready, reason), ("Compliant", "Unknown", compliant)]
    return PatchTargetStatus(
        governs=True,
        conditions=tuple(
            Condition(
                type=type_,
                status=value,
                reason=why,
                message="",
                observed_generation=1,
                last_transition_time=NOW,
            )
            for type_, value, why in conditions
        ),
        **{"attempts": DUE, "assessment": assessed(), **facts},
    )


OPENED = Attempts(due_since=NOW - HOUR, window_start=NOW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            status("WaitingForWindow"),
            status("WaitingForRun", attempts=OPENED),
            id="the window opens and its run is made",
        ),
        pytest.param(status("WaitingForWave"), status("WaitingForSlot"), id="it asks for a slot"),
        pytest.param(
            status("WaitingForWave"), status("WaitingForTurn"), id="its install is in the line"
        ),
        pytest.param(
            status("WaitingForResourceGraph", compliant="WaitingForResourceGraph"),
            status("WaitingForSlot", assessment=assessed(selected=3)),
            id="the intent tells what was found, too",
        ),
        pytest.param(
            status("WaitingForResourceGraph"),
            status("WaitingForResourceGraph", assessment=assessed(other=3)),
            id="half of the rows came",
        ),
    ],
)
def test_a_wait_that_may_be_over_in_a_moment_is_not_told_yet(
    before: PatchTargetStatus, after: PatchTargetStatus
) -> None:
    assert momentary(before, after)


SLOT = status("WaitingForSlot")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(SLOT, SLOT, id="nothing is news"),
        pytest.param(PatchTargetStatus(), SLOT, id="the first word"),
        pytest.param(status("VMStopped", ready="False"), SLOT, id="it runs again"),
        pytest.param(
            status("ForeignOperation", ready="False"), SLOT, id="it gives a foreign slot back"
        ),
        pytest.param(status("WaitingForWave"), status("VMStopped", "False"), id="it was stopped"),
        pytest.param(
            status("WaitingForWave"), status("WaitingForSlot", run=entry()), id="it is in a run"
        ),
        pytest.param(
            status("Working", run=entry(RunState.RUNNING)),
            status("WaitingForSlot", run=entry(RunState.FAILED)),
            id="its part is over",
        ),
        pytest.param(
            status("OperationInProgress", operation=operation()), SLOT, id="an operation ended"
        ),
        pytest.param(
            status("WaitingForWave"),
            status("WaitingForSlot", installation=installed()),
            id="an install ended",
        ),
        pytest.param(
            status("WaitingForWindow", attempts=None),
            status("WaitingForRun"),
            id="runs are made of those that are due",
        ),
        pytest.param(
            status("WaitingForResourceGraph", compliant="WaitingForResourceGraph"),
            status("WaitingForRun"),
            id="it is known now what is missing",
        ),
        pytest.param(
            status("Working"), status("WaitingForResourceGraph"), id="an assessment ended"
        ),
        pytest.param(status("WaitingForWindow"), status("WaitingForWave"), id="a longer wait"),
    ],
)
def test_all_else_is_told_at_once(before: PatchTargetStatus, after: PatchTargetStatus) -> None:
    assert not momentary(before, after)
