"""A run that must be approved. By whom, the API server sees to; that it was, the operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from domain_builders import DAY, HOUR, NOW, member, patch_run, terms

from azpatch.api.reasons import Reason
from azpatch.api.run import Effective, PatchRunStatus, RunPhase
from azpatch.api.target import RunState
from azpatch.domain.opening import Open, Opening, Shut
from azpatch.domain.run import Progress, progress
from azpatch.domain.run_entry import needs_approval, open_run
from azpatch.domain.run_facts import RunFacts, RunMember

REQUIRED = terms(approval={"mode": "Required"})
ENDS = NOW + 4 * HOUR
OPEN = Open(ENDS)
APPROVED = {"approved": True, "approvedBy": "anna@example.com"}


def seen(
    before: PatchRunStatus,
    members: Sequence[RunMember],
    *,
    at: datetime = NOW,
    effective: Effective = REQUIRED,
    opening: Opening = OPEN,
    **spec: Any,
) -> Progress:
    run = patch_run(before, **spec)
    facts = RunFacts(
        members=members,
        awaited=0,
        openings={one.entry.wave: opening for one in members},
        unapproved=needs_approval(run, approval=False),
        deadline=ENDS,
    )
    return progress(run, "uid-1", effective, facts, at)


ADMITTED = PatchRunStatus(effective=REQUIRED)
WAITING = [member(1, RunState.PENDING, wave="all")]


def test_no_wave_begins_before_it_is_approved() -> None:
    status = seen(ADMITTED, WAITING).status

    assert status.phase is RunPhase.AWAITING_APPROVAL
    assert [wave.start_time for wave in status.waves] == [None]
    assert status.approval_deadline == ENDS


def test_who_approves_it_lets_it_begin() -> None:
    awaited = seen(ADMITTED, WAITING).status
    status = seen(awaited, WAITING, at=NOW + HOUR, **APPROVED).status

    assert status.phase is RunPhase.RUNNING
    assert [wave.start_time for wave in status.waves] == [NOW + HOUR]


def test_approved_before_its_window_it_waits_for_that() -> None:
    shut = Shut(Reason.WAITING_FOR_WINDOW, "Later.", NOW + DAY)
    status = seen(ADMITTED, WAITING, opening=shut, **APPROVED).status

    assert status.phase is RunPhase.WAITING


def test_unapproved_when_its_window_ends_it_is_cancelled() -> None:
    awaited = seen(ADMITTED, WAITING)
    assert awaited.again == ENDS
    status = seen(awaited.status, WAITING, at=ENDS).status

    assert status.phase is RunPhase.CANCELLED
    assert {one.reason for one in status.conditions} == {"ApprovalExpired"}


def test_what_the_policy_said_when_it_was_admitted_counts_and_what_it_says_now() -> None:
    free = patch_run(PatchRunStatus(effective=terms()))
    bound = patch_run(ADMITTED)

    assert not needs_approval(free, approval=False)
    assert needs_approval(free, approval=True)
    assert needs_approval(bound, approval=False), "an edit of the policy does not let it go"
    assert not needs_approval(patch_run(ADMITTED, **APPROVED), approval=True)


@pytest.mark.parametrize("approval", [False, True])
def test_its_machines_see_for_themselves_that_it_is_not_approved(approval: bool) -> None:
    run = open_run(patch_run(ADMITTED), approval=approval)

    assert run is not None
    assert run.stopped is not None
    assert run.stopped[0] == "AwaitingApproval"
