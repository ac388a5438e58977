"""Whether a policy needs a run now, which machines belong in it, and which runs are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    RUN,
    assessed,
    condition,
    installed,
    numbered,
    operation,
    patch_policy,
    patch_run,
    patch_target,
)

from azpatch.api.common import OperationName, Support
from azpatch.api.policy import PatchPolicy, RunHistory
from azpatch.api.reasons import Reason
from azpatch.api.run import PatchRun, PatchRunStatus, RunPhase
from azpatch.api.target import Attempts, Outcome, PatchTarget, PatchTargetStatus, Verdict
from azpatch.domain.attempts import Turn
from azpatch.domain.naming import run_name
from azpatch.domain.opening import Open, Opening, Shut, Timing
from azpatch.domain.run_need import GATHERING, NONE, Need, Runs, need, superfluous
from azpatch.domain.windows import Span

POLICY = patch_policy(schedule=NIGHTS)
WINDOW = Span(NOW, NOW + 6 * HOUR)
OPEN = Open(NOW + 4 * HOUR, Turn(NOW, NOW + 6 * HOUR, NOW + DAY), WINDOW)
SHUT = Shut(Reason.WAITING_FOR_WINDOW, "Tomorrow.", NOW + DAY, Turn(None, None, NOW + DAY))

DUE = PatchTargetStatus(
    governs=True,
    verdicts=(
        Verdict(
            operation=OperationName.ON_DEMAND_PATCHING,
            verdict=Support.SUPPORTED,
            reason=Reason.DETECTED_SUPPORTED,
        ),
    ),
    assessment=assessed(),
    attempts=Attempts(due_since=NOW - DAY),
    conditions=(
        condition("Ready", "True", "WaitingForRun"),
        condition("Compliant", "False", "PatchesMissing"),
    ),
)
UNKNOWN = DUE.replace(
    attempts=None,
    conditions=(
        condition("Ready", "True", "Working"),
        condition("Compliant", "Unknown", "NotAssessed"),
    ),
)


def ready(reason: str, status: PatchTargetStatus = DUE) -> PatchTargetStatus:
    """The same with this reason of Ready."""
    _, compliant = status.conditions
    return status.replace(conditions=(condition("Ready", "False", reason), compliant))


def targets(*statuses: PatchTargetStatus) -> list[PatchTarget]:
    return [
        patch_target(status, machine_id=numbered(number)) for number, status in enumerate(statuses)
    ]


def needed(
    *statuses: PatchTargetStatus,
    policy: PatchPolicy = POLICY,
    runs: Sequence[PatchRun] = (),
    opening: Opening = OPEN,
    since: datetime = NOW - DAY,
    at: datetime = NOW,
    undecided: int = 0,
    scheduled: datetime | None = None,
) -> Need:
    timing = Timing(opening, opening.span, None, None)
    return need(policy, targets(*statuses), runs, timing, since, at, undecided, scheduled)


def over(name: str, phase: RunPhase = RunPhase.SUCCEEDED, at: datetime = NOW) -> PatchRun:
    return patch_run(PatchRunStatus(phase=phase, completion_time=at), name=name)


# --- one for each window --------------------------------------------------------------------------


def test_a_window_in_which_a_machine_is_due_has_a_run() -> None:
    assert needed(DUE) == Need(NOW)
    assert needed() == NONE
    assert needed(DUE, opening=SHUT) == NONE


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(patch_policy(schedule={"always": {}}), id="it installs at any time"),
        pytest.param(patch_policy(install=None, schedule=None), id="it does not install"),
        pytest.param(patch_policy(schedule=NIGHTS, suspend=True), id="it is suspended"),
        pytest.param(
            patch_policy(schedule=NIGHTS, status={"lastScheduleTime": "2026-11-23T12:00:00Z"}),
            id="there was one, which somebody deleted",
        ),
        pytest.param(
            patch_policy(schedule=NIGHTS, status={"lastScheduleTime": "2026-11-23T13:00:00Z"}),
            id="the window began earlier by now than the one that there was one for",
        ),
    ],
)
def test_a_policy_needs_none_when(policy: PatchPolicy) -> None:
    assert needed(DUE, policy=policy) == NONE


def test_nor_when_there_was_one_of_which_its_status_does_not_tell_yet() -> None:
    assert needed(DUE, scheduled=NOW) == NONE
    assert needed(DUE, scheduled=NOW - DAY) == Need(NOW)
    told = patch_policy(schedule=NIGHTS, status={"lastScheduleTime": "2026-11-23T12:00:00Z"})
    assert needed(DUE, policy=told, scheduled=NOW - DAY) == NONE


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(patch_run(), NONE, id="one that has just been made"),
        pytest.param(
            patch_run(PatchRunStatus(phase=RunPhase.PAUSED), name="web-linux-202611211200"),
            NONE,
            id="one of an earlier window that is under way",
        ),
        pytest.param(over(RUN), NONE, id="one of this window that is over"),
        pytest.param(over("web-linux-202611221200"), Need(NOW), id="one before"),
    ],
)
def test_one_at_a_time_and_one_for_each_window(run: PatchRun, expected: Need) -> None:
    assert needed(DUE, runs=[run]) == expected


# --- whose machine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "joins"),
    [
        pytest.param(DUE, True, id="due"),
        pytest.param(DUE.replace(attempts=None), False, id="not due"),
        pytest.param(DUE.replace(attempts=Attempts(install_posts=1)), False, id="not due any more"),
        pytest.param(DUE.replace(governs=False), False, id="another policy's"),
        pytest.param(DUE.replace(verdicts=()), False, id="not known to be supported"),
        pytest.param(DUE.replace(operation=operation()), False, id="installed on now"),
        pytest.param(
            DUE.replace(installation=installed(Outcome.FAILED, time=NOW)),
            False,
            id="held by a failure",
        ),
        pytest.param(ready("VMStopped"), True, id="off"),
        pytest.param(ready("ArcDisconnected"), True, id="disconnected"),
        pytest.param(ready("AccessTooLow"), False, id="not granted"),
        pytest.param(ready("NothingInstallable"), False, id="nothing of it can be installed"),
        pytest.param(ready("AttemptsExhausted"), True, id="tried twice in the window before"),
    ],
)
def test_in_it_is_who_is_due_and_can_be_patched(status: PatchTargetStatus, joins: bool) -> None:
    assert needed(status) == (Need(NOW) if joins else NONE)


def test_a_target_that_is_going_is_not() -> None:
    (going,) = targets(DUE)
    meta = going.metadata.replace(deletion_timestamp=NOW)
    timing = Timing(OPEN, OPEN.span, None, None)

    found = need(POLICY, [going.replace(metadata=meta)], (), timing, NOW, NOW)

    assert found == NONE


# --- who is waited for ----------------------------------------------------------------------------


def test_it_waits_for_machines_of_which_it_is_being_found_out() -> None:
    assert needed(DUE, UNKNOWN) == Need(None, NOW + GATHERING)
    assert needed(UNKNOWN) == NONE, "somebody must be due"


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(ready("VMStopped", UNKNOWN), id="one that is off"),
        pytest.param(UNKNOWN.replace(governs=False), id="another policy's"),
        pytest.param(
            UNKNOWN.replace(verdicts=(UNKNOWN.verdicts[0].replace(verdict=Support.UNSUPPORTED),)),
            id="one that cannot be patched",
        ),
    ],
)
def test_but_not_for(status: PatchTargetStatus) -> None:
    assert needed(DUE, status) == Need(NOW)


def test_it_waits_for_half_an_hour_at_most() -> None:
    assert needed(DUE, UNKNOWN, at=NOW + GATHERING - timedelta(seconds=1)).window is None
    assert needed(DUE, UNKNOWN, at=NOW + GATHERING) == Need(NOW)


def test_in_a_short_window_for_a_quarter_of_it() -> None:
    short = Open(NOW + HOUR, Turn(NOW, NOW + 3 * HOUR, NOW + DAY), Span(NOW, NOW + 3 * HOUR))

    assert needed(DUE, UNKNOWN, opening=short) == Need(None, NOW + HOUR / 4)


def test_an_operator_that_starts_in_a_window_gathers_from_then_on() -> None:
    late = NOW + 2 * HOUR

    assert needed(DUE, UNKNOWN, since=late, at=late) == Need(None, late + GATHERING)
    just = NOW + 4 * HOUR
    assert needed(DUE, UNKNOWN, since=just, at=just) == Need(NOW), "there is no time to lose"


def test_who_still_goes_by_an_older_generation_is_waited_for_likewise() -> None:
    assert needed(DUE, DUE, undecided=1) == needed(DUE, UNKNOWN)
    assert needed(DUE, DUE, undecided=1, at=NOW + GATHERING) == Need(NOW)


# --- history, and what the policy tells -----------------------------------------------------------


def names(runs: Sequence[PatchRun]) -> set[str]:
    return {run.metadata.name for run in runs}


def nightly(count: int, phase: RunPhase) -> list[PatchRun]:
    """The runs of some nights, the last of which is last night's."""
    nights = [NOW - (number + 1) * DAY for number in range(count)]
    return [over(run_name("web-linux", night), phase, night) for night in nights]


def test_the_last_that_succeeded_and_the_last_others_are_kept() -> None:
    well, failed = nightly(8, RunPhase.SUCCEEDED), nightly(5, RunPhase.FAILED)
    cancelled = [
        over(f"cancelled-{number}", RunPhase.CANCELLED, NOW - 30 * DAY + number * DAY)
        for number in range(3)
    ]
    runs = [*well, *failed, *cancelled, patch_run(name="under-way")]

    assert names(superfluous(runs, None, None, "web-linux")) == names([*well[6:], *cancelled[:2]])
    assert names(superfluous(runs, RunHistory(succeeded=0, failed=1), None, "web-linux")) == names(
        [*well, *failed[1:], *cancelled]
    )


def test_the_run_of_the_window_that_is_open_stays() -> None:
    assert superfluous([over(RUN)], RunHistory(succeeded=0, failed=0), NOW, "web-linux") == ()


def test_a_policy_tells_of_the_run_under_way_and_of_the_last() -> None:
    first, second = (
        over("web-linux-202611211200", at=NOW - 2 * DAY),
        over("web-linux-202611221200", at=NOW - DAY),
    )

    found = Runs.of([second, patch_run(), first], NOW)

    assert found.current == patch_run()
    assert found.last == second
    assert found.scheduled == NOW
    assert Runs.of([], None) == Runs(None, None, None)
