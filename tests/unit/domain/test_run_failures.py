"""What failures do to a run, and what it takes that it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from domain_builders import (
    DAY,
    NOW,
    entry,
    member,
    numbered,
    patch_run,
    patch_target,
    terms,
)
from run_story import (
    CANARY_AND_REST_WAVES,
    FAILED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    canary,
    rest,
    story,
)

from azpatch.api.reasons import Reason
from azpatch.api.run import FAILURES_LISTED
from azpatch.api.target import PatchTargetStatus, RunState
from azpatch.domain.run import run_slots
from azpatch.domain.run_gate import failures_allowed

PAUSES: Sequence[Any] = [
    pytest.param(2, 10, 2, False, id="as many as allowed"),
    pytest.param(2, 10, 3, True, id="one more"),
    pytest.param(0, 10, 1, True, id="none is allowed"),
    pytest.param("10%", 20, 2, False, id="a percentage"),
    pytest.param("10%", 20, 3, True, id="more than the percentage"),
    pytest.param("10%", 9, 1, True, id="a percentage is rounded down"),
]


@pytest.mark.parametrize(("most", "total", "failed", "paused"), PAUSES)
def test_failures_beyond_max_failed_pause_the_run(
    most: int | str, total: int, failed: int, paused: bool
) -> None:
    members = [member(number, FAILED) for number in range(failed)]
    members += [member(number) for number in range(failed, total)]

    told = story(members, terms(maxFailed=most))

    assert told.status.phase == ("Paused" if paused else "Running")
    assert (told.seen[1] == "TooManyFailed") is paused
    assert failures_allowed(terms(maxFailed=most).rollout, total) == failed - paused


def test_a_first_failure_that_is_tried_again_counts_at_once() -> None:
    told = story([member(1, RUNNING, Reason.INSTALL_FAILED), member(2)], terms(maxFailed=0))

    assert told.seen == ("Paused", "TooManyFailed")


def test_a_paused_run_names_the_machines_and_says_how_it_goes_on() -> None:
    told = story([member(number, FAILED) for number in range(5)] + [member(9)], terms())

    assert told.message == (
        "web-0, web-1, web-2 and 2 more failed, and rollout.maxFailed allows 2. Look into it; then "
        "set spec.acknowledgedFailures of the PatchRun to 5 to go on, or spec.cancelled to end it."
    )


def test_failures_that_somebody_has_seen_to_resume_it() -> None:
    members = [member(1, FAILED), member(2, FAILED, Reason.NOT_BACK), member(3)]
    told = story(members, terms(maxFailed=0))
    assert told.status.phase == "Paused"

    told.says(acknowledgedFailures=1)
    told.goes_on(members)
    assert told.status.phase == "Paused", "one is left that nobody has seen to"
    told.says(acknowledgedFailures=2)
    told.goes_on(members)
    assert told.seen == ("Running", "RunUnderWay")
    told.goes_on([*members[:2], member(3, FAILED), member(4)])
    assert told.status.phase == "Paused", "the next failure counts anew"


def test_who_has_seen_to_a_failure_has_not_seen_to_the_next() -> None:
    """Though the machine that failed first is deleted, which may well be how it was seen to."""
    told = story([member(1), member(2), member(3, FAILED)], terms(maxFailed=0))
    assert told.status.phase == "Paused"
    told.says(acknowledgedFailures=1)
    told.goes_on([member(1), member(2)])
    assert told.seen == ("Running", "RunUnderWay")

    told.goes_on([member(1, FAILED), member(2)])

    assert told.seen == ("Paused", "TooManyFailed")
    assert told.message.startswith("web-1 failed, and")
    assert "acknowledgedFailures of the PatchRun to 2" in told.message


def test_nor_though_it_recovers() -> None:
    """Its second try was under way while somebody acknowledged the first."""
    tried = member(3, RUNNING, Reason.INSTALL_FAILED)
    told = story([member(1), tried], terms(maxFailed=0))
    told.says(acknowledgedFailures=1)
    told.goes_on([member(1), member(3, SUCCEEDED)])
    assert told.seen == ("Running", "RunUnderWay")
    assert [(one.machine_id, one.recovered) for one in told.status.failures] == [
        (numbered(3), True)
    ]

    told.goes_on([member(1, FAILED), member(3, SUCCEEDED), member(4)])

    assert told.seen == ("Paused", "TooManyFailed")


@pytest.mark.parametrize("state", [SKIPPED, PENDING], ids=str)
def test_only_a_success_takes_a_failure_back(state: RunState) -> None:
    """Not that its second try came to nothing: its grant was taken away, say, or it was rebuilt."""
    tried = member(3, RUNNING, Reason.INSTALL_FAILED)
    told = story([member(1), tried], terms(maxFailed=1))

    told.goes_on([member(1, FAILED), member(3, state), member(4)])

    assert told.seen == ("Paused", "TooManyFailed")


def test_the_order_of_failures_is_kept_beyond_those_that_are_listed() -> None:
    many = range(40, 40 + FAILURES_LISTED + 8)
    failed = [member(number, FAILED) for number in many]
    told = story([*failed, member(33), member(99), member(200)], terms(maxFailed=2))
    told.says(acknowledgedFailures=len(failed))
    told.goes_on([*failed, member(33), member(99), member(200)])
    assert told.seen == ("Running", "RunUnderWay")

    told.goes_on([*failed, member(33, FAILED, Reason.NOT_BACK), member(99), member(200)])
    assert told.seen == ("Paused", "NotBack"), "though its id is before those that are not listed"
    assert told.message.startswith("web-33 did not come back")
    told.says(acknowledgedFailures=len(failed) + 1)
    lost = member(33, FAILED, Reason.NOT_BACK)
    told.goes_on([*failed[:-1], lost, member(99, FAILED), member(100, FAILED), member(200)])
    assert told.seen == ("Running", "RunUnderWay"), "two new ones, and the one that is gone counts"
    told.goes_on(
        [*failed[:-1], lost, *(member(number, FAILED) for number in (99, 100, 101)), member(200)]
    )
    assert told.seen == ("Paused", "TooManyFailed")
    assert told.status.failures_omitted == 8 + 4


def test_a_failure_that_nobody_has_seen_to_is_not_forgotten_with_its_machine() -> None:
    lost = [canary(1, SUCCEEDED), canary(2, FAILED, Reason.NOT_BACK), rest(3)]
    told = story(lost, terms(maxFailed="100%", minSucceeded=1, waves=CANARY_AND_REST_WAVES))
    assert told.seen == ("Paused", "NotBack")
    told.goes_on([lost[0], lost[2]], at=NOW + DAY)
    assert told.seen == ("Paused", "NotBack")
    told.says(acknowledgedFailures=1)
    told.goes_on([lost[0], lost[2]], at=NOW + DAY)
    assert told.begun == ["canary", "rest"]

    failed = [canary(1, SUCCEEDED), canary(2, FAILED), rest(3)]
    told = story(failed)
    told.goes_on([failed[0], failed[2]], at=NOW + DAY)
    assert told.seen == ("Paused", "GateNotPassed"), "one of two is not 80 percent"


def test_a_run_whose_machines_failed_and_are_gone_did_not_succeed() -> None:
    told = story([member(1, FAILED, Reason.NOT_BACK)])

    told.goes_on([])

    assert told.seen == ("Failed", "NotBack")


def test_one_that_did_not_come_back_is_seen_to_whatever_fails_later() -> None:
    lost = member(1, FAILED, Reason.NOT_BACK)
    told = story([lost, member(2)], terms(maxFailed=5))
    told.says(acknowledgedFailures=1)

    told.goes_on([lost, member(2, FAILED), member(3)])

    assert told.seen == ("Running", "RunUnderWay")


def test_a_gate_opens_for_failures_that_somebody_has_seen_to() -> None:
    members = [canary(1, SUCCEEDED), canary(2, FAILED), rest(3)]
    told = story(members)
    assert told.seen == ("Paused", "GateNotPassed")
    assert "acknowledgedFailures of the PatchRun to 1" in told.message

    told.says(acknowledgedFailures=1)
    told.goes_on(members, at=NOW + DAY)

    assert told.begun == ["canary", "rest"]


def test_a_wave_does_not_begin_while_failures_pause_the_run() -> None:
    effective = terms(
        maxFailed=0,
        minSucceeded=1,
        waves=[{"name": "canary", "machines": 2}, {"name": "rest", "machines": "100%"}],
    )

    told = story([canary(1, SUCCEEDED), canary(2, FAILED), rest(3)], effective)

    assert told.seen == ("Paused", "TooManyFailed")
    assert told.begun == ["canary"]


def test_no_slot_is_handed_out_in_a_run_that_failures_pause() -> None:
    effective = terms(maxFailed=0, maxUnavailable="50%")
    pending = PatchTargetStatus(run=entry())
    failed = PatchTargetStatus(run=entry(FAILED, Reason.INSTALL_FAILED))
    elsewhere = PatchTargetStatus(run=entry(name="web-linux-202611221200"))

    def slots(*statuses: PatchTargetStatus, **spec: Any) -> int:
        targets = [
            patch_target(status, machine_id=numbered(number))
            for number, status in enumerate(statuses)
        ]
        return run_slots(patch_run(**spec), effective, targets)

    assert slots(pending, pending, pending, pending, elsewhere) == 2, "of the run's machines"
    assert slots(pending, pending, pending, failed) == 0
    assert slots(pending, pending, pending, failed, acknowledgedFailures=1) == 2
