"""What is recorded of a machine, brought up to date with what Azure shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    DEFINITION,
    HOUR,
    MATRIX,
    NOW,
    arc_server,
    assess_only,
    assessed,
    condition,
    installed,
    machine,
    patch_policy,
)

from azpatch.api.common import DetectedState, OperationName, Support
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import FeatureState
from azpatch.api.target import Attempts, DetectedStatus, PatchTargetStatus
from azpatch.domain.availability import unavailable
from azpatch.domain.facts import AssessmentResult, GuestStatus, Machine
from azpatch.domain.feature import FeatureGate, Gate
from azpatch.domain.image import classify
from azpatch.domain.observe import Observed, Surroundings, awaits_row, observe, replaced

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
PASSED = FeatureGate(
    Gate.PASSED, "name", FeatureState.REGISTERED, (), Reason.FEATURE_REGISTERED, ""
)
POLICY = patch_policy()


def row(ended: datetime = NOW - HOUR, **changes: Any) -> AssessmentResult:
    known = AssessmentResult(
        GuestStatus.SUCCEEDED,
        start_time=ended - 5 * MINUTE,
        last_modified=ended,
        critical_and_security=2,
        other=3,
        reboot_pending=False,
        detected=DetectedState.SUPPORTED,
    )
    return replace(known, **changes)


def seen(
    before: PatchTargetStatus | None = None,
    row_: AssessmentResult | None = None,
    found: Machine | None = None,
    policy: PatchPolicy = POLICY,
) -> Observed:
    found = found or machine()
    around = Surroundings(found, classify(found, {}), MATRIX, PASSED, row_)
    return observe(before or PatchTargetStatus(), policy.spec, around, NOW)


def test_the_machine_and_its_image_are_told() -> None:
    found = seen(found=machine(zones=("1", "2"), availability_set="/as"))

    assert found.status.machine is not None
    assert found.status.machine.to_object() == {
        "kind": "VirtualMachine",
        "vmId": "vm-1",
        "timeCreated": "2026-08-15T12:00:00Z",
        "osType": "Linux",
        "location": "westeurope",
        "powerState": "Running",
        "zone": "1",
        "availabilitySet": "/as",
    }
    assert found.status.image is not None
    assert found.status.image.image_class == "GalleryGeneralized"
    assert found.status.image.reference == DEFINITION


@pytest.mark.parametrize(
    ("state", "told"), [(None, None), ("Deallocated", "Deallocated"), ("Odd", "Unknown")]
)
def test_a_power_state_that_azure_does_not_document_is_unknown(
    state: str | None, told: str | None
) -> None:
    found = seen(found=machine(power_state=state)).status.machine
    assert found is not None
    assert found.power_state == told


class TestAnArcEnabledServer:
    FIRST = datetime(2026, 11, 23, 9, tzinfo=UTC)

    def known(self, **machine: Any) -> PatchTargetStatus:
        fields = {"vmId": "server-1", "seenTime": self.FIRST, **machine}
        return PatchTargetStatus(governs=True, machine=fields)

    def test_it_is_told_by_its_kind_and_status(self) -> None:
        told = seen(found=arc_server()).status

        assert told.machine is not None
        assert told.machine.to_object() == {
            "kind": "ArcServer",
            "vmId": "server-1",
            "seenTime": "2026-11-23T12:00:00Z",
            "osType": "Linux",
            "location": "westeurope",
            "arcStatus": "Connected",
        }
        assert told.image is not None
        assert (told.image.image_class, told.image.reference) == ("NotApplicable", None)

    @pytest.mark.parametrize(
        ("vm_id", "expected"),
        [
            pytest.param("server-1", FIRST, id="the same server"),
            pytest.param("server-0", NOW, id="another server under the name"),
        ],
    )
    def test_when_it_was_seen_first_is_remembered(self, vm_id: str, expected: datetime) -> None:
        machine_ = seen(self.known(vmId=vm_id), found=arc_server()).status.machine
        assert machine_ is not None
        assert machine_.seen_time == expected

    @pytest.mark.parametrize(("age", "counts"), [(HOUR, True), (4 * HOUR, False)])
    def test_a_row_counts_from_when_the_server_was_seen_first(
        self, age: timedelta, counts: bool
    ) -> None:
        found = seen(self.known(), row(NOW - age, detected=None), arc_server())
        assert (found.status.assessment is not None) is counts

    @pytest.mark.parametrize("age", [HOUR, -HOUR], ids=["our clock is right", "it is behind"])
    def test_a_row_that_is_there_when_it_is_seen_first_is_not_its_own(self, age: timedelta) -> None:
        found = seen(self.known(vmId="server-0"), row(NOW - age, detected=None), arc_server())
        assert found.status.assessment is None

    def test_an_assessment_detects_nothing_and_nothing_waits_for_it(self) -> None:
        found = seen(self.known(), row(detected=None), arc_server())
        assert found.status.detected is None
        assert found.patch.may_send
        assert seen(found=arc_server()).patch.may_send

    def test_one_that_azure_does_not_hear_is_not_called_unsupported(self) -> None:
        found = seen(found=arc_server(arc_status="Disconnected"))
        assert (found.patch.support, found.patch.reason) == (
            Support.UNKNOWN,
            Reason.ARC_DISCONNECTED,
        )


class TestAnotherMachineUnderTheName:
    BEFORE = PatchTargetStatus(
        governs=True,
        machine={"vmId": "vm-0"},
        assessment=assessed(),
        installation=installed(),
        attempts=Attempts(install_posts=1),
        detected=DetectedStatus(
            state=DetectedState.SUPPORTED, time=NOW - HOUR, image_reference=DEFINITION
        ),
        conditions=(condition("Ready", "True", "UpToDate"),),
    )

    def test_a_changed_vm_id_clears_every_field(self) -> None:
        assert replaced(self.BEFORE, machine())

        status = seen(self.BEFORE, found=machine(time_created=NOW)).status

        assert status.machine is not None
        assert status.machine.vm_id == "vm-1"
        assert (status.assessment, status.installation, status.attempts) == (None, None, None)
        assert status.detected is None
        assert status.governs, "who governs is the cluster's to say"

    def test_a_row_of_the_old_machine_does_not_count(self) -> None:
        found = seen(self.BEFORE, row(), machine(time_created=NOW))
        assert (found.row, found.status.assessment) == (None, None)

    @pytest.mark.parametrize(
        ("made", "stays"),
        [
            pytest.param(NOW - 3 * HOUR, True, id="began on it"),
            pytest.param(NOW - 2 * HOUR, False, id="began on the one before it"),
            pytest.param(None, False, id="when it was made is not known"),
        ],
    )
    def test_an_install_that_began_since_it_was_made_stays_until_it_is_assessed(
        self, made: datetime | None, stays: bool
    ) -> None:
        before = self.BEFORE.replace(installation=installed())
        status = seen(before, found=machine(time_created=made)).status
        assert status.installation == (installed() if stays else None)
        assert unavailable(status) is stays

    @pytest.mark.parametrize("vm_id", ["vm-0", "VM-0"])
    def test_the_same_vm_id_keeps_them_in_whatever_case(self, vm_id: str) -> None:
        assert not replaced(self.BEFORE, machine(vm_id=vm_id))
        status = seen(self.BEFORE, found=machine(vm_id=vm_id)).status
        assert status.assessment == self.BEFORE.assessment

    def test_an_answer_without_a_vm_id_says_nothing_and_the_known_one_stays(self) -> None:
        status = seen(self.BEFORE, found=machine(vm_id="")).status
        assert status.machine is not None
        assert status.machine.vm_id == "vm-0"
        assert status.assessment == self.BEFORE.assessment

    def test_a_machine_seen_for_the_first_time_replaces_nothing(self) -> None:
        assert not replaced(PatchTargetStatus(), machine())


class TestAssessments:
    def test_before_our_first_operation_a_row_of_someone_elses_counts(self) -> None:
        found = seen(row_=row())

        assert found.row == row()
        assessment = found.status.assessment
        assert assessment is not None
        assert (assessment.time, assessment.start_time) == (NOW - HOUR, NOW - HOUR - 5 * MINUTE)
        assert (assessment.critical_and_security, assessment.other) == (2, 3)

    def test_someone_elses_after_ours_serves_as_well(self) -> None:
        newer = row(NOW - MINUTE)
        found = seen(PatchTargetStatus(assessment=assessed()), newer)
        assert found.status.assessment is not None
        assert found.status.assessment.time == NOW - MINUTE
        assert found.row == newer

    def test_our_own_keeps_what_it_said(self) -> None:
        """Its row tells what was found; the status was written at its end."""
        ours = assessed()
        found = seen(PatchTargetStatus(assessment=ours), row(ours.time))
        assert found.status.assessment == ours
        assert found.row == row(ours.time)

    def test_after_our_operation_only_rows_from_its_start_on_count(self) -> None:
        ours = assessed(start_time=NOW - 10 * MINUTE, time=NOW - 5 * MINUTE)
        found = seen(PatchTargetStatus(assessment=ours), row(NOW - 11 * MINUTE))
        assert found.row is None
        assert found.status.assessment == ours

    def test_after_an_install_the_row_from_before_says_nothing_of_what_is_missing(self) -> None:
        before = PatchTargetStatus(
            assessment=assessed(), installation=installed(start_time=NOW - 90 * MINUTE, time=NOW)
        )
        assert seen(before, row()).row is None

    @pytest.mark.parametrize("status", [GuestStatus.FAILED, GuestStatus.IN_PROGRESS])
    def test_a_row_that_did_not_end_well_tells_nothing_missing(self, status: GuestStatus) -> None:
        found = seen(row_=row(status=status))
        assert (found.row, found.status.assessment) == (None, None)

    def test_a_failed_row_may_still_say_that_azure_does_not_support_it(self) -> None:
        failed = row(status=GuestStatus.FAILED, detected=DetectedState.UNSUPPORTED)
        found = seen(row_=failed)
        assert found.status.detected is not None
        assert found.status.detected.state == "Unsupported"
        assert found.patch.support is Support.UNSUPPORTED


class TestAwaitedRow:
    OURS = PatchTargetStatus(assessment=assessed())

    @pytest.mark.parametrize(
        ("status", "newest", "awaited"),
        [
            pytest.param(PatchTargetStatus(), None, False, id="never assessed"),
            pytest.param(OURS, None, True, id="no row at all"),
            pytest.param(OURS, row(NOW - 2 * HOUR), True, id="one from before"),
            pytest.param(OURS, row(last_modified=None), True, id="one without a time"),
            pytest.param(OURS, row(), False, id="it appeared"),
            pytest.param(
                OURS,
                row(status=GuestStatus.IN_PROGRESS, start_time=NOW - HOUR - 5 * MINUTE),
                True,
                id="it appeared, and has not ended there",
            ),
            pytest.param(
                PatchTargetStatus(assessment=assessed(status="Failed")),
                None,
                True,
                id="a failed one has a row too",
            ),
            pytest.param(
                PatchTargetStatus(assessment=assessed(time=NOW - 8 * DAY)),
                None,
                False,
                id="older than Resource Graph remembers",
            ),
        ],
    )
    def test_whether_it_is_asked_for(
        self, status: PatchTargetStatus, newest: AssessmentResult | None, awaited: bool
    ) -> None:
        assert awaits_row(status, newest, NOW) is awaited

    @pytest.mark.parametrize(
        "theirs",
        [
            pytest.param({"activity_id": "ASSESSMENT-1"}, id="by its activity"),
            pytest.param({"start_time": NOW - HOUR - 5 * MINUTE - SECOND}, id="by its start"),
        ],
    )
    def test_its_row_is_known_though_the_guests_clock_is_behind(
        self, theirs: dict[str, Any]
    ) -> None:
        status = seen().status.replace(assessment=assessed())
        late = row(NOW - 2 * HOUR, **theirs)
        assert not awaits_row(status, late, NOW)
        found = seen(status, late)
        assert found.row == late
        assert found.status.assessment == assessed()

    def test_not_after_an_install(self) -> None:
        status = seen().status.replace(
            assessment=assessed(), installation=installed(time=NOW - 30 * MINUTE)
        )
        assert seen(status, row(NOW - 2 * HOUR, activity_id="assessment-1")).row is None

    def test_a_success_without_its_row_waits_for_resource_graph(self) -> None:
        found = seen(self.OURS)
        assert found.patch.support is Support.UNKNOWN
        assert found.patch.reason is Reason.WAITING_FOR_RESOURCE_GRAPH


class TestVerdicts:
    def test_all_five_are_told_with_a_message_where_not_supported_and_used(self) -> None:
        told = {v.operation: v for v in seen().status.verdicts}

        assert set(told) == set(OperationName)
        used = told[OperationName.ON_DEMAND_PATCHING]
        assert (used.verdict, used.message is not None) == (Support.UNKNOWN, True)
        unused = told[OperationName.AUTOMATIC_GUEST_PATCHING]
        assert (unused.verdict, unused.message) == (Support.UNSUPPORTED, None)
        assert told[OperationName.ON_DEMAND_ASSESSMENT].message is None

    def test_without_install_patching_is_not_used(self) -> None:
        told = {v.operation: v for v in seen(policy=assess_only()).status.verdicts}
        assert told[OperationName.ON_DEMAND_PATCHING].message is None

    @pytest.mark.parametrize(("knob", "sent"), [("Wait", False), ("Try", True)])
    def test_on_undetermined_support_is_the_policys(self, knob: str, sent: bool) -> None:
        policy = patch_policy(install={"linux": {}, "onUndeterminedSupport": knob})
        undetermined = row(detected=DetectedState.UNABLE_TO_DETERMINE)
        assert seen(row_=undetermined, policy=policy).patch.may_send is sent

    def test_evidence_on_the_model_excludes_it(self) -> None:
        found = seen(row_=row(), found=machine(scale_set="/scale-set"))
        assert not found.patch.may_send
        assert not found.assess.may_send
