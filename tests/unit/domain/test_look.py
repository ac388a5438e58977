"""What one more look at a machine finds in the way, just before something is sent to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NOW,
    arc_server,
    arc_view,
    assessed,
    installed,
    machine,
    view,
)

from azpatch.api.reasons import Reason
from azpatch.api.target import Installation, PatchTargetStatus
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    MachineView,
    Requested,
)
from azpatch.domain.look import cleared, touched_since
from azpatch.domain.plan import outdated

MINUTE = timedelta(minutes=1)
RUNS = GuestStatus.IN_PROGRESS


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(view(), None, id="nothing in the way"),
        pytest.param(view(machine=machine(vm_id="VM-1")), None, id="vmId in another case"),
        pytest.param(view(machine=machine(vm_id="")), None, id="no vmId in the answer"),
        pytest.param(view(machine=machine(vm_id="vm-2")), Reason.MACHINE_REPLACED, id="replaced"),
        pytest.param(
            view(machine=machine(vm_id="vm-2"), installation=InstallationResult(RUNS)),
            Reason.FOREIGN_OPERATION,
            id="replaced, and an install runs on the new one",
        ),
        pytest.param(
            view(machine=machine(vm_id="vm-2", power_state="Stopped")),
            Reason.MACHINE_REPLACED,
            id="replaced, and the new one is stopped",
        ),
        pytest.param(view(machine=machine(power_state="Stopped")), Reason.VM_STOPPED, id="stopped"),
        pytest.param(
            view(machine=machine(power_state=None)), Reason.VM_STOPPED, id="power not known"
        ),
        pytest.param(view(agent_ready=False), Reason.AGENT_NOT_READY, id="agent not ready"),
        pytest.param(
            view(agent_ready=False, assessment=AssessmentResult(RUNS)),
            Reason.FOREIGN_OPERATION,
            id="an assessment runs, anyone's",
        ),
        pytest.param(
            view(installation=InstallationResult(RUNS)),
            Reason.FOREIGN_OPERATION,
            id="an install runs, anyone's",
        ),
    ],
)
def test_the_last_look_before_the_post(seen: MachineView, reason: Reason | None) -> None:
    found = cleared(seen, machine(), PatchTargetStatus(), NOW)
    assert (found.reason if found else None) == reason
    if found:
        assert not found.ready
        assert found.wake is not None
        assert NOW < found.wake <= NOW + 5 * MINUTE


STOPPED = machine(power_state="Deallocated")


@pytest.mark.parametrize(
    ("install", "status", "reason"),
    [
        pytest.param(
            InstallationResult(RUNS, start_time=NOW - HOUR, activity_id="theirs"),
            PatchTargetStatus(),
            Reason.FOREIGN_OPERATION,
            id="it goes on when the machine is started",
        ),
        pytest.param(
            InstallationResult(RUNS, start_time=NOW - 6 * HOUR, activity_id="theirs"),
            PatchTargetStatus(),
            Reason.VM_STOPPED,
            id="its time is over",
        ),
        pytest.param(
            InstallationResult(GuestStatus.SUCCEEDED, start_time=NOW - HOUR, activity_id="theirs"),
            PatchTargetStatus(),
            Reason.VM_STOPPED,
            id="it has ended",
        ),
        pytest.param(
            InstallationResult(RUNS, start_time=NOW - HOUR, activity_id="ours"),
            PatchTargetStatus(installation=installed(activity_id="ours")),
            Reason.VM_STOPPED,
            id="it is ours, and was given up",
        ),
    ],
)
def test_somebodys_install_on_a_machine_that_was_stopped_keeps_its_slot(
    install: InstallationResult, status: PatchTargetStatus, reason: Reason
) -> None:
    found = cleared(view(machine=STOPPED, installation=install), machine(), status, NOW)

    assert found is not None
    assert found.reason is reason


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(arc_view(), None, id="connected: it has no power state"),
        pytest.param(arc_view(status="Disconnected"), Reason.ARC_DISCONNECTED, id="disconnected"),
        pytest.param(arc_view(status="Expired"), Reason.ARC_EXPIRED, id="expired"),
        pytest.param(
            arc_view(status="AwaitingConnection"),
            Reason.ARC_EXPIRED,
            id="never connected: it does not come back by itself",
        ),
        pytest.param(arc_view(status=None), Reason.ARC_DISCONNECTED, id="status not known"),
        pytest.param(
            arc_view(status="Disconnected", installation=InstallationResult(RUNS, start_time=NOW)),
            Reason.FOREIGN_OPERATION,
            id="disconnected in the middle of an install: it works on",
        ),
        pytest.param(
            arc_view(assessment=AssessmentResult(RUNS, start_time=NOW - HOUR)),
            Reason.FOREIGN_OPERATION,
            id="its row says that an assessment runs",
        ),
        pytest.param(
            arc_view(installation=InstallationResult(RUNS, start_time=NOW - DAY)),
            Reason.FOREIGN_OPERATION,
            id="its row says that an install runs",
        ),
        pytest.param(
            arc_view(installation=InstallationResult(RUNS, start_time=NOW - DAY - MINUTE)),
            None,
            id="its row has said so for more than a day: nobody will end it",
        ),
        pytest.param(
            arc_view(installation=InstallationResult(RUNS, last_modified=NOW - DAY - MINUTE)),
            None,
            id="likewise a row that does not say when it began",
        ),
        pytest.param(
            arc_view(
                installation=InstallationResult(RUNS, start_time=NOW - 2 * DAY),
                assessment=AssessmentResult(RUNS, start_time=NOW - MINUTE),
            ),
            Reason.FOREIGN_OPERATION,
            id="such a row does not hide an assessment that runs",
        ),
        pytest.param(
            arc_view(requested=Requested("theirs", None, NOW - 59 * MINUTE)),
            Reason.FOREIGN_OPERATION,
            id="something was asked for, and no row shows it yet",
        ),
        pytest.param(
            arc_view(requested=Requested("theirs", None, NOW - HOUR)),
            None,
            id="an hour ago: it did not begin",
        ),
        pytest.param(
            arc_view(requested=Requested("theirs")), None, id="asked for at no known time"
        ),
        pytest.param(
            arc_view(
                requested=Requested("THEIRS", None, NOW - MINUTE),
                assessment=AssessmentResult(GuestStatus.SUCCEEDED, activity_id="theirs"),
            ),
            None,
            id="its row shows that it has ended",
        ),
    ],
)
def test_the_last_look_at_an_arc_enabled_server(seen: MachineView, reason: Reason | None) -> None:
    found = cleared(seen, arc_server(), PatchTargetStatus(), NOW)
    assert (found.reason if found else None) == reason


def test_our_own_install_that_outlived_its_deadline_is_not_called_somebody_elses() -> None:
    ours = Installation(time=NOW, status="Unknown", outcome="Unknown", activity_id="ours")
    seen = view(installation=InstallationResult(RUNS, activity_id="OURS"))
    found = cleared(seen, machine(), PatchTargetStatus(installation=ours), NOW)
    assert found is not None
    assert found.reason is Reason.OPERATION_IN_PROGRESS


@pytest.mark.parametrize(
    ("installed", "assessed_at", "expected"),
    [
        pytest.param(-2 * HOUR, -HOUR, None, id="before the last assessment"),
        pytest.param(-MINUTE, -HOUR, -MINUTE, id="since the last assessment"),
        pytest.param(HOUR, -HOUR, timedelta(0), id="its clock is ahead: now at the latest"),
        pytest.param(HOUR, HOUR + MINUTE, None, id="its clock is ahead, and it was assessed since"),
    ],
)
def test_an_install_since_the_last_assessment(
    installed: timedelta, assessed_at: timedelta, expected: timedelta | None
) -> None:
    seen = view(
        installation=InstallationResult(GuestStatus.SUCCEEDED, last_modified=NOW + installed),
        assessment=AssessmentResult(GuestStatus.SUCCEEDED, last_modified=NOW + assessed_at),
    )
    found = touched_since(seen, PatchTargetStatus(assessment=assessed()), NOW)
    assert found == (None if expected is None else NOW + expected)


def test_an_install_since_the_last_assessment_by_a_clock_of_ours_that_is_behind() -> None:
    known = PatchTargetStatus(assessment=assessed(start_time=NOW, time=NOW + MINUTE))
    seen = view(
        installation=InstallationResult(GuestStatus.SUCCEEDED, last_modified=NOW + 10 * MINUTE),
        assessment=AssessmentResult(GuestStatus.SUCCEEDED, last_modified=NOW + MINUTE),
    )
    touched = touched_since(seen, known, NOW - HOUR)
    assert touched is not None
    assert outdated(known, touched)
    after = PatchTargetStatus(assessment=assessed(start_time=NOW + 20 * MINUTE))
    assert not outdated(after, touched), "the next assessment is enough"


def test_what_was_asked_for_and_is_known_to_have_ended_was_ours() -> None:
    seen = arc_view(requested=Requested("OURS", None, NOW - MINUTE))
    known = PatchTargetStatus(assessment=assessed(activity_id="ours"))
    assert cleared(seen, seen.machine, known, NOW) is None


@pytest.mark.parametrize(
    ("seen", "known", "reason"),
    [
        pytest.param(arc_view(), "Succeeded", None, id="its row comes later than its end"),
        pytest.param(
            arc_view(), "Unknown", Reason.OPERATION_IN_PROGRESS, id="its end was never seen"
        ),
        pytest.param(
            view(),
            "Succeeded",
            Reason.OPERATION_IN_PROGRESS,
            id="a virtual machine's summary is of now",
        ),
    ],
)
def test_a_row_of_an_operation_of_ours_that_has_ended_is_old(
    seen: MachineView, known: str, reason: Reason | None
) -> None:
    runs = InstallationResult(RUNS, start_time=NOW - HOUR, activity_id="OURS")
    ours = Installation(time=NOW, status=known, outcome="Succeeded", activity_id="ours")
    seen = replace(seen, installation=runs)
    found = cleared(seen, seen.machine, PatchTargetStatus(installation=ours), NOW)
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("ran", "again"),
    [
        pytest.param(timedelta(0), timedelta(minutes=1), id="it has just begun"),
        pytest.param(timedelta(minutes=30), timedelta(minutes=3), id="half an hour"),
        pytest.param(timedelta(hours=50), timedelta(minutes=10), id="it will never end"),
    ],
)
def test_the_longer_an_operation_runs_the_later_it_is_looked_at(
    ran: timedelta, again: timedelta
) -> None:
    theirs = InstallationResult(GuestStatus.IN_PROGRESS, activity_id="theirs", start_time=NOW - ran)
    found = cleared(view(installation=theirs), machine(), PatchTargetStatus(), NOW)
    assert found is not None
    assert found.wake == NOW + again


def test_an_assessment_of_ours_that_outlived_its_deadline_is_called_ours() -> None:
    ours = AssessmentResult(GuestStatus.IN_PROGRESS, activity_id="ours", start_time=NOW)
    lost = assessed(status="Unknown", activity_id="ours")
    found = cleared(view(assessment=ours), machine(), PatchTargetStatus(assessment=lost), NOW)
    assert found is not None
    assert found.reason == Reason.OPERATION_IN_PROGRESS
