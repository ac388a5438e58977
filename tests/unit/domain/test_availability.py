"""Which machines are unavailable: from the install intent until the re-assessment has ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from domain_builders import HOUR, NOW, assessed, condition, installed, operation

from azpatch.api.target import OperationKind, OperationState, Outcome, PatchTargetStatus
from azpatch.domain.availability import (
    follows_unavailable,
    foreign_install,
    held_by_failure,
    installing,
    machine_unavailable,
    reassessment_due,
    unavailable,
)

SECOND = timedelta(seconds=1)
END = NOW - 2 * HOUR
"""When the last install ended."""
BEFORE = assessed(start_time=END - HOUR, time=END - HOUR)
DURING = assessed(start_time=END - SECOND, time=END + HOUR)
AFTER = assessed(start_time=END, time=END + HOUR)
FAILED_AFTER = AFTER.replace(status="Failed")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(PatchTargetStatus(), False, id="nothing ever happened"),
        pytest.param(
            PatchTargetStatus(operation=operation(state=OperationState.INTENT)),
            True,
            id="from its install intent",
        ),
        pytest.param(PatchTargetStatus(operation=operation()), True, id="while it runs"),
        pytest.param(
            PatchTargetStatus(operation=operation(state=OperationState.UNCONFIRMED)),
            True,
            id="while it may run",
        ),
        pytest.param(
            PatchTargetStatus(operation=operation(OperationKind.ASSESS), assessment=AFTER),
            False,
            id="our own assessments do not count",
        ),
        pytest.param(
            PatchTargetStatus(installation=installed()), True, id="until it was assessed again"
        ),
        pytest.param(
            PatchTargetStatus(installation=installed(), assessment=BEFORE),
            True,
            id="an assessment from before does not count",
        ),
        pytest.param(
            PatchTargetStatus(installation=installed(), assessment=DURING),
            True,
            id="nor one that began before the install ended",
        ),
        pytest.param(
            PatchTargetStatus(installation=installed(), assessment=AFTER),
            False,
            id="assessed again",
        ),
        pytest.param(
            PatchTargetStatus(installation=installed(), assessment=FAILED_AFTER),
            False,
            id="assessed again, which failed: the install had succeeded",
        ),
        pytest.param(
            PatchTargetStatus(installation=installed(Outcome.SKIPPED)),
            False,
            id="an install that was skipped",
        ),
        pytest.param(
            PatchTargetStatus(foreign_operation_since=AFTER.time, assessment=AFTER),
            True,
            id="someone else's operation counts",
        ),
        pytest.param(
            PatchTargetStatus(conditions=(condition("Ready", "False", "VMStopped"),)),
            False,
            id="a machine that does not run is not patched",
        ),
    ],
)
def test_unavailable(status: PatchTargetStatus, expected: bool) -> None:
    assert unavailable(status) is expected


@pytest.mark.parametrize(
    ("outcome", "holds"),
    [
        (Outcome.FAILED, True),
        (Outcome.NOT_BACK, True),
        (Outcome.UNKNOWN, True),
        (Outcome.SUPERSEDED, True),
        (Outcome.SUCCEEDED, False),
        (Outcome.INCOMPLETE, False),
        (Outcome.SKIPPED, False),
    ],
)
def test_a_failed_install_keeps_its_slot_until_an_assessment_succeeds(
    outcome: Outcome, holds: bool
) -> None:
    install = installed(outcome)
    assert held_by_failure(PatchTargetStatus(installation=install)) is holds
    failed = PatchTargetStatus(installation=install, assessment=FAILED_AFTER)
    assert held_by_failure(failed) is holds
    assert unavailable(failed) is holds
    assert not held_by_failure(PatchTargetStatus(installation=install, assessment=AFTER))


def test_an_assessment_without_a_start_counts_from_its_end() -> None:
    after = AFTER.replace(start_time=None)
    assert not reassessment_due(PatchTargetStatus(installation=installed(), assessment=after))


def test_without_an_install_there_is_nothing_to_assess_again() -> None:
    assert not reassessment_due(PatchTargetStatus(assessment=BEFORE))
    assert not held_by_failure(PatchTargetStatus(assessment=BEFORE))
    assert not installing(PatchTargetStatus())
    assert not foreign_install(PatchTargetStatus())


@pytest.mark.parametrize(
    ("status", "before", "expected"),
    [
        pytest.param(
            PatchTargetStatus(assessment=AFTER),
            PatchTargetStatus(operation=operation()),
            True,
            id="while the other policy's install runs",
        ),
        pytest.param(
            PatchTargetStatus(),
            PatchTargetStatus(installation=installed()),
            True,
            id="until it was assessed at all",
        ),
        pytest.param(
            PatchTargetStatus(assessment=BEFORE),
            PatchTargetStatus(installation=installed()),
            True,
            id="an assessment from before the install does not count",
        ),
        pytest.param(
            PatchTargetStatus(assessment=AFTER),
            PatchTargetStatus(installation=installed()),
            False,
            id="until this policy has assessed it",
        ),
        pytest.param(
            PatchTargetStatus(),
            PatchTargetStatus(operation=operation(OperationKind.ASSESS)),
            False,
            id="an assessment takes no slot",
        ),
    ],
)
def test_a_machine_taken_over_is_unavailable_as_its_former_policy_left_it(
    status: PatchTargetStatus, before: PatchTargetStatus, expected: bool
) -> None:
    assert follows_unavailable(status, before) is expected


FAILED = PatchTargetStatus(installation=installed(Outcome.FAILED), governs=False)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param((), False, id="nobody says anything of it"),
        pytest.param(
            (PatchTargetStatus(operation=operation()), PatchTargetStatus(assessment=AFTER)),
            True,
            id="one policy's install runs",
        ),
        pytest.param((FAILED,), True, id="its install failed"),
        pytest.param((FAILED, PatchTargetStatus()), True, id="and nobody has assessed it since"),
        pytest.param(
            (FAILED, PatchTargetStatus(assessment=BEFORE)), True, id="or only before that"
        ),
        pytest.param(
            (FAILED, PatchTargetStatus(assessment=FAILED_AFTER)), True, id="or to no good end"
        ),
        pytest.param(
            (FAILED, PatchTargetStatus(assessment=AFTER)),
            False,
            id="another policy assessed it",
        ),
        pytest.param(
            (
                PatchTargetStatus(installation=installed(time=END + 2 * HOUR)),
                FAILED.replace(assessment=AFTER),
            ),
            True,
            id="another policy has installed since",
        ),
    ],
)
def test_of_a_machine_all_its_patch_targets_speak_together(
    statuses: tuple[PatchTargetStatus, ...], expected: bool
) -> None:
    assert machine_unavailable(statuses) is expected
    assert machine_unavailable(statuses[::-1]) is expected
