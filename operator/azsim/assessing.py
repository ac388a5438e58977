"""An assessment in a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from azsim.fleet import Detection, Failures, Patch
from azsim.operations import INTERNAL_ERROR, Operation
from azsim.records import AssessmentRecord, ErrorDetail, GuestError, Status, superseded_by

if TYPE_CHECKING:
    from azsim.guest import Guest


class Assessment:
    """One run of it: finds what is missing, and whether the guest can be patched at all."""

    kind: Literal["Assess"] = "Assess"

    def __init__(self, guest: Guest, operation: Operation, failures: Failures) -> None:
        self.operation = operation
        self._guest = guest
        self._failures = failures
        self.deadline = guest.cloud.now
        """From when on nobody expects it to go on: it has no time of its own."""

    def begin(self) -> None:
        """Start; what the assessment before found still shows."""
        before = self._guest.machine.assessment
        self._report(
            AssessmentRecord(
                activity_id=self.operation.id,
                status=Status.IN_PROGRESS,
                start=self.operation.start,
                last_modified=self._guest.cloud.now,
                started_by=self.operation.started_by,
                detection=Detection.UNKNOWN,
                reboot_pending=before.reboot_pending if before else False,
                patches=before.patches if before else (),
            )
        )
        if not self._failures.assess_no_result:
            self._guest.after(self._guest.machine.spec.guest.durations.assess, self._assessed)

    def superseded(self, newer: Operation) -> None:
        """End because of a newer operation."""
        self._fail(superseded_by(newer.id), Detection.UNKNOWN)

    def abandoned(self) -> None:
        """End because the agent has been silent for too long."""
        self._fail(ErrorDetail(*INTERNAL_ERROR), Detection.UNKNOWN, unheard=True)

    def _assessed(self) -> None:
        truth = self._guest.machine.spec.guest
        if not truth.patchable:
            self._fail(self._guest.cloud.quirks.unsupported_guest, truth.detection)
        elif self._failures.assess_fails:
            self._fail(
                ErrorDetail("PACKAGE_MANAGER_FAILURE", "The package sources do not answer."),
                Detection.UNKNOWN,
            )
        else:
            found = tuple(self._guest.machine.missing)
            record = self._record(Status.SUCCEEDED, found, GuestError(), truth.detection)

            def tell() -> None:
                self._report(record)
                self._succeed(record)

            self._guest.report(tell)
            self._guest.ended(Status.SUCCEEDED.value)

    def _fail(self, detail: ErrorDetail, detection: Detection, *, unheard: bool = False) -> None:
        record = self._record(Status.FAILED, (), GuestError.of([detail]), detection)

        def tell() -> None:
            self._report(record)
            if self._guest.cloud.quirks.failed_assessment_ends_succeeded:
                self._succeed(record)
            else:
                self.operation.fail(self._guest.cloud.now, detail.code, detail.message)

        self._guest.report(tell, unheard=unheard)
        self._guest.ended(Status.FAILED.value)

    def _succeed(self, record: AssessmentRecord) -> None:
        self.operation.succeed(self._guest.cloud.now, self._guest.assessment_result(record))

    def _record(
        self, status: Status, patches: tuple[Patch, ...], error: GuestError, detection: Detection
    ) -> AssessmentRecord:
        return AssessmentRecord(
            activity_id=self.operation.id,
            status=status,
            start=self.operation.start,
            last_modified=self._guest.cloud.now,
            started_by=self.operation.started_by,
            detection=detection,
            reboot_pending=self._guest.machine.reboot_pending,
            patches=patches,
            error=error,
        )

    def _report(self, record: AssessmentRecord) -> None:
        self._guest.machine.assessment = record
        self._guest.cloud.graph.publish_assessment(self._guest.machine, record)
