"""A machine's part in a run: how far it is, and why its turn has not come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NOW,
    RUN,
    assessed,
    entry,
    installed,
    operation,
    patch_run,
    terms,
)

from azpatch.api.reasons import Reason
from azpatch.api.run import PatchRunStatus, RunMembership, RunPhase, WaveStatus
from azpatch.api.target import (
    Attempts,
    OperationKind,
    OperationState,
    Outcome,
    PatchTargetStatus,
    RunEntry,
    RunState,
)
from azpatch.domain import run_entry
from azpatch.domain.ending import begun, dropped
from azpatch.domain.lifting import NOTHING
from azpatch.domain.opening import Open, Opening, Shut
from azpatch.domain.run_entry import APART, OpenRun, Part, held_back, open_run, progressed
from azpatch.domain.traces import Previous

PENDING, RUNNING = entry(), entry(RunState.RUNNING)
OPEN = Open(None)
SHUT = Shut(Reason.WAITING_FOR_WINDOW, "Window nights opens tomorrow.", NOW + DAY)
UNDER_WAY = OpenRun(
    name=RUN,
    uid=f"uid-{RUN}",
    effective=terms(),
    recorded=NOW,
    begun={"all": NOW},
    stopped=None,
    lifted=NOTHING,
)
STOPPED = replace(UNDER_WAY, stopped=(Reason.RUN_PAUSED, "It is paused."))


def part(mine: RunEntry | None = PENDING, run: OpenRun | None = UNDER_WAY, **changes: Any) -> Part:
    return Part(runs=True, run=run, entry=mine, **changes)


def after(
    outcome: Outcome,
    *,
    posts: int = 1,
    shut: bool = False,
    run: OpenRun = UNDER_WAY,
    before: RunEntry = RUNNING,
    status: PatchTargetStatus | None = None,
    obstacle: Reason | None = None,
    due: bool | None = True,
    **ended: Any,
) -> tuple[str, str | None]:
    """State and reason of a machine whose install has ended."""
    known = status or PatchTargetStatus(
        assessment=assessed(),
        installation=installed(outcome, **ended),
        attempts=Attempts(install_posts=posts),
    )
    opening: Opening = SHUT if shut else OPEN
    found = progressed(part(before, run), known, obstacle, due, opening)
    assert found is not None
    return found.state, found.reason


# --- what an outcome comes to ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "posts", "shut", "expected"),
    [
        pytest.param(Outcome.SUCCEEDED, 1, False, ("Succeeded", None), id="succeeded"),
        pytest.param(Outcome.SUCCEEDED, 2, True, ("Succeeded", None), id="at the second try"),
        pytest.param(
            Outcome.FAILED, 1, False, ("Running", "InstallFailed"), id="failed: once more"
        ),
        pytest.param(Outcome.FAILED, 2, False, ("Failed", "InstallFailed"), id="failed twice"),
        pytest.param(
            Outcome.FAILED, 1, True, ("Failed", "InstallFailed"), id="failed as the window ended"
        ),
        pytest.param(
            Outcome.INCOMPLETE, 1, False, ("Skipped", "InstallIncomplete"), id="out of time"
        ),
        pytest.param(Outcome.SUPERSEDED, 1, False, ("Running", None), id="superseded: once more"),
        pytest.param(
            Outcome.SUPERSEDED, 2, False, ("Skipped", "Superseded"), id="superseded twice"
        ),
        pytest.param(Outcome.NOT_BACK, 1, False, ("Failed", "NotBack"), id="not back"),
        pytest.param(Outcome.UNKNOWN, 1, False, ("Failed", "ResultUnknown"), id="no result"),
        pytest.param(Outcome.SKIPPED, 1, False, ("Skipped", "MachineGone"), id="404"),
    ],
)
def test_the_end_of_an_install_in_a_run(
    outcome: Outcome, posts: int, shut: bool, expected: tuple[str, str | None]
) -> None:
    assert after(outcome, posts=posts, shut=shut) == expected


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        pytest.param(
            Outcome.SUCCEEDED, Reason.REBOOT_PENDING, ("Succeeded", None), id="only a reboot left"
        ),
        pytest.param(
            Outcome.SUCCEEDED, Reason.UBUNTU_PRO_REQUIRED, ("Succeeded", None), id="Ubuntu Pro only"
        ),
        pytest.param(Outcome.UNKNOWN, Reason.ACCESS_LOST, ("Failed", "AccessLost"), id="403"),
    ],
)
def test_the_outcomes_own_reason_is_told(
    outcome: Outcome, reason: Reason, expected: tuple[str, str | None]
) -> None:
    assert after(outcome, reason=reason) == expected


def test_a_failure_in_a_run_that_is_paused_is_not_tried_again() -> None:
    assert after(Outcome.FAILED, run=STOPPED) == ("Failed", "InstallFailed")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.FAILED, ("Failed", "InstallFailed")),
        (Outcome.SUPERSEDED, ("Skipped", "Superseded")),
    ],
)
def test_nothing_is_tried_again_on_a_machine_that_misses_nothing_any_more(
    outcome: Outcome, expected: tuple[str, str | None]
) -> None:
    assert after(outcome, due=False) == expected
    before = PatchTargetStatus(
        assessment=assessed(), installation=installed(outcome, time=NOW + HOUR)
    )
    assert after(outcome, status=before, due=False)[0] == "Running", "that was before the install"


def test_a_second_try_that_succeeds_takes_the_failure_back() -> None:
    tried = entry(RunState.RUNNING, Reason.INSTALL_FAILED)

    assert after(Outcome.SUCCEEDED, posts=2, before=tried) == ("Succeeded", None)


def test_a_success_counts_when_the_assessment_after_it_went_well() -> None:
    just = PatchTargetStatus(
        assessment=assessed(), installation=installed(time=NOW), attempts=Attempts(install_posts=1)
    )
    failing = just.replace(
        assessment=assessed(time=NOW, start_time=NOW + HOUR, status="Failed"),
        attempts=Attempts(install_posts=1, failed_assessments=1),
    )

    assert after(Outcome.SUCCEEDED, status=just) == ("Running", None)
    assert after(Outcome.SUCCEEDED, status=failing) == ("Running", None)


def test_a_success_that_no_assessment_vouches_for_is_none() -> None:
    given_up = PatchTargetStatus(
        assessment=assessed(time=NOW, start_time=NOW + HOUR, status="Failed"),
        installation=installed(time=NOW),
        attempts=Attempts(install_posts=1, failed_assessments=4),
    )
    off = PatchTargetStatus(assessment=assessed(), installation=installed(time=NOW))

    assert after(Outcome.SUCCEEDED, status=given_up) == ("Skipped", "AssessmentFailed")
    assert after(Outcome.SUCCEEDED, status=off, shut=True, obstacle=Reason.VM_STOPPED) == (
        "Skipped",
        "VMStopped",
    )


# --- a machine whose turn has not come ------------------------------------------------------------


@pytest.mark.parametrize(
    ("obstacle", "due", "opening", "expected"),
    [
        pytest.param(None, True, OPEN, ("Pending", None), id="it waits"),
        pytest.param(None, None, OPEN, ("Pending", None), id="whether it is due is not known"),
        pytest.param(None, False, OPEN, ("Skipped", "UpToDate"), id="it is not due any more"),
        pytest.param(
            Reason.VM_STOPPED, True, OPEN, ("Pending", None), id="off, but the window is open"
        ),
        pytest.param(
            Reason.VM_STOPPED, True, SHUT, ("Skipped", "VMStopped"), id="off, and it is over"
        ),
        pytest.param(
            None, True, SHUT, ("Pending", None), id="no room: it goes on in the next window"
        ),
    ],
)
def test_one_that_is_pending(
    obstacle: Reason | None, due: bool | None, opening: Opening, expected: tuple[str, str | None]
) -> None:
    found = progressed(part(), PatchTargetStatus(), obstacle, due, opening)

    assert found is not None
    assert (found.state, found.reason) == expected


def test_whose_wave_has_not_begun_loses_nothing_when_a_window_ends() -> None:
    soaking = replace(UNDER_WAY, begun={})

    assert progressed(part(run=soaking), PatchTargetStatus(), Reason.VM_STOPPED, True, SHUT) == (
        PENDING
    )


def test_a_machine_says_that_it_is_in_the_run_it_was_offered() -> None:
    offered = part(None, offered="canary")
    of_before = part(entry(RunState.SUCCEEDED, name="web-linux-202611221200"), offered="canary")
    at_its_end = part(entry(RunState.SKIPPED, Reason.UP_TO_DATE), offered="canary")

    assert progressed(offered, PatchTargetStatus(), None, True, OPEN) == entry(wave="canary")
    assert progressed(of_before, PatchTargetStatus(), None, True, OPEN) == entry(wave="canary")
    assert progressed(at_its_end, PatchTargetStatus(), None, True, OPEN) == at_its_end.entry


def test_without_an_offer_nothing_is_said() -> None:
    assert progressed(part(None), PatchTargetStatus(), None, True, OPEN) is None
    assert progressed(APART, PatchTargetStatus(), None, True, OPEN) is None


@pytest.mark.parametrize("before", [PENDING, RUNNING], ids=lambda one: one.state)
def test_the_end_of_the_run_is_that_of_its_machines(before: RunEntry) -> None:
    found = progressed(part(before, None), PatchTargetStatus(), None, True, OPEN)

    assert found == entry(RunState.SKIPPED, Reason.RUN_ENDED)


# --- the beginning and the end of its operations --------------------------------------------------


def intended(status: PatchTargetStatus, kind: OperationKind) -> PatchTargetStatus:
    return begun(status, kind, Previous(None, None), terms().install, "attempt", "hash", NOW, None)


def test_it_runs_from_the_intent_of_its_install() -> None:
    status = PatchTargetStatus(run=PENDING)

    assert intended(status, OperationKind.INSTALL).run == RUNNING
    assert intended(status, OperationKind.ASSESS).run == PENDING


def test_an_install_that_did_not_start_leaves_it_as_it_was() -> None:
    first = PatchTargetStatus(run=RUNNING, operation=operation(), attempts=Attempts())
    second = first.replace(run=entry(RunState.RUNNING, Reason.INSTALL_FAILED))

    assert dropped(first).run == PENDING
    assert dropped(second).run == second.run, "its first install failed, whatever came after"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.SUCCEEDED, entry(RunState.SKIPPED, Reason.OPERATION_UNCONFIRMED)),
        (Outcome.FAILED, RUNNING),
        (Outcome.UNKNOWN, RUNNING),
    ],
)
def test_what_may_be_somebody_elses_is_no_success_of_ours(
    outcome: Outcome, expected: RunEntry
) -> None:
    assert run_entry.ended_as(RUNNING, OperationState.UNCONFIRMED, outcome) == expected
    assert run_entry.ended_as(RUNNING, OperationState.STARTED, outcome) == RUNNING


def test_a_machine_that_replaces_another_is_not_in_its_run() -> None:
    over = entry(RunState.SUCCEEDED)

    assert run_entry.replaced(PENDING) == entry(RunState.SKIPPED, Reason.MACHINE_REPLACED)
    assert run_entry.replaced(over) == over
    assert run_entry.replaced(None) is None


# --- why it waits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        pytest.param(part(), None, id="its wave has begun"),
        pytest.param(APART, None, id="no runs"),
        pytest.param(part(None, None), "WaitingForRun", id="no run yet"),
        pytest.param(part(None), "WaitingForRun", id="one that began without it"),
        pytest.param(part(entry(RunState.FAILED)), "RunEnded", id="its part is over"),
        pytest.param(
            part(entry(name="web-linux-202611221200")), "WaitingForRun", id="in one before"
        ),
        pytest.param(
            part(None, run=replace(UNDER_WAY, recorded=None)),
            "WaitingForRun",
            id="one that may still take it",
        ),
        pytest.param(part(run=replace(UNDER_WAY, recorded=None)), "WaitingForRun", id="recorded"),
        pytest.param(
            part(None, run=replace(UNDER_WAY, begun={}), offered="all"),
            "WaitingForWave",
            id="about to say that it is in it",
        ),
        pytest.param(part(None, offered="all"), "WaitingForRun", id="offered late"),
        pytest.param(part(run=replace(UNDER_WAY, begun={})), "WaitingForWave", id="wave"),
        pytest.param(part(run=STOPPED), "RunPaused", id="paused"),
    ],
)
def test_why_a_machine_that_is_due_waits(held: Part, reason: str | None) -> None:
    found = held_back(held, OPEN)

    assert (found[0] if found else None) == reason


def test_a_run_that_may_still_take_a_machine_did_not_begin_without_it() -> None:
    before, meanwhile, after = (
        held_back(one, OPEN)
        for one in (
            part(None, None),
            part(None, run=replace(UNDER_WAY, recorded=None)),
            part(None),
        )
    )

    assert before == meanwhile != after


def test_outside_a_window_that_is_said_first_of_who_is_in_no_run() -> None:
    assert held_back(part(None, None), SHUT) is None
    assert held_back(part(run=STOPPED), SHUT) == STOPPED.stopped


# --- a run as its machines look at it -------------------------------------------------------------

STATUS = PatchRunStatus(
    phase=RunPhase.RUNNING,
    effective=terms(),
    membership=RunMembership(total=1, recorded_time=NOW),
    waves=(WaveStatus(name="all", start_time=NOW),),
)


def test_a_run_is_open_from_its_terms_to_its_end() -> None:
    assert open_run(patch_run()) is None
    assert open_run(patch_run(STATUS)) == UNDER_WAY
    for phase in (RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED):
        assert open_run(patch_run(STATUS.replace(phase=phase))) is None


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (patch_run(STATUS, cancelled=True), "RunCancelled"),
        (patch_run(STATUS, deleted=True), "RunCancelled"),
        (patch_run(STATUS.replace(phase=RunPhase.PAUSED)), "RunPaused"),
    ],
    ids=["cancelled", "deleted", "paused"],
)
def test_a_run_that_starts_nothing_says_why(run: Any, reason: str) -> None:
    opened = open_run(run)

    assert opened is not None
    assert opened.stopped is not None
    assert opened.stopped[0] == reason


def test_before_its_members_are_recorded_a_run_says_so() -> None:
    opened = open_run(patch_run(STATUS.replace(membership=None, waves=())))

    assert opened is not None
    assert (opened.recorded, opened.begun) == (None, {})


def test_an_assessment_a_moment_before_the_end_of_the_install_vouches_for_nothing() -> None:
    early = PatchTargetStatus(
        assessment=assessed(start_time=NOW - timedelta(seconds=1), time=NOW + HOUR),
        installation=installed(time=NOW),
    )

    assert after(Outcome.SUCCEEDED, status=early) == ("Running", None)
