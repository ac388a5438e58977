"""The operating system inside a machine and what guest patching does in it.

A guest runs at most one operation; a newer one supersedes it. It goes on in steps, each an event of
the cloud's heap; stopping the machine drops the step under way, starting it takes it up again.
What a guest reports goes to three places that disagree for a while: the operation's own result and
the machine's patchStatus at once, Resource Graph later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from azsim.fleet import Detection, Failures, OsType, Patch, RebootBehavior
from azsim.journal import Event
from azsim.machine import Machine, installation_counts
from azsim.operations import Operation
from azsim.records import (
    AssessmentRecord,
    ErrorDetail,
    GuestError,
    InstallationRecord,
    InstalledPatch,
    InstallState,
    RebootStatus,
    Status,
)
from azsim.results import assessment_result, installation_result
from azsim.selection import InstallRequest, matches_any

if TYPE_CHECKING:
    from azsim.cloud import Cloud

REBOOT_RESERVE = timedelta(minutes=15)
"""Kept free at the end of an install that may reboot."""

PATCH_RESERVE = {OsType.LINUX: timedelta(minutes=5), OsType.WINDOWS: timedelta(minutes=10)}
"""The time that one more patch must have left before the reserve for the reboot."""

REBOOT_WAIT = timedelta(minutes=15)
"""How long Azure waits for a machine to come back."""

SILENCE_GRACE = timedelta(minutes=30)
"""How long after an install's window Azure gives up on an agent that went silent."""

UNREACHABLE_AFTER = timedelta(minutes=5)
"""When an operation fails that never reached an agent."""

INTERNAL_ERROR = (
    "VMGuestPatchInternalError",
    "An internal execution error occurred. Please retry later.",
)
"""Code and message as recorded from Azure."""

PRO_ONLY = "UA_ESM_Required"
"""The version that Ubuntu shows for fixes which only Ubuntu Pro installs."""


@dataclass
class Running:
    """The operation that a guest is busy with."""

    operation: Operation
    failures: Failures
    request: InstallRequest | None = None
    """None: an assessment."""

    deadline: datetime | None = None
    queue: list[Patch] = field(default_factory=list)
    done: list[InstalledPatch] = field(default_factory=list)
    reboot_status: RebootStatus = RebootStatus.NOT_NEEDED
    paused: bool = False
    selected: int = 0

    @property
    def kind(self) -> str:
        """As the journal names it."""
        return "Assess" if self.request is None else "Install"


class Guest:
    """One guest. `running` is what it is busy with."""

    def __init__(self, cloud: Cloud, machine: Machine) -> None:
        self._cloud = cloud
        self._machine = machine
        self.running: Running | None = None
        self._step: Callable[[], None] | None = None
        self._turn = 0
        self._failed = {"Assess": 0, "Install": 0}

    # -- what may be asked of it ------------------------------------------------------------------

    def assess(self, operation: Operation) -> None:
        """Begin an assessment."""
        if not self._reached(operation):
            return
        running = self._begin(operation, None)
        machine, before = self._machine, self._machine.assessment
        record = AssessmentRecord(
            activity_id=operation.id,
            status=Status.IN_PROGRESS,
            start=operation.start,
            last_modified=self._cloud.now,
            started_by="User",
            detection=Detection.UNKNOWN,
            reboot_pending=before.reboot_pending if before else False,
            patches=before.patches if before else (),
        )
        machine.assessment = record
        self._cloud.publish_assessment(machine, record)
        if not running.failures.assess_no_result:
            self._after(machine.spec.guest.durations.assess, self._assessed)

    def install(self, operation: Operation, request: InstallRequest) -> None:
        """Begin an installation."""
        if not self._reached(operation):
            return
        running = self._begin(operation, request)
        running.deadline = self._cloud.now + request.maximum_duration
        self._report(self._installation(Status.IN_PROGRESS))
        if not running.failures.no_result:
            self._after(self._machine.spec.guest.durations.prepare, self._prepared)

    def stop(self) -> None:
        """The machine no longer runs; what was under way waits for it."""
        self._turn += 1
        if self.running is not None and not self.running.paused:
            self.running.paused = True
            self._journal("OperationPaused")

    def boot(self) -> None:
        """The machine runs again, and its agent with it."""
        self._machine.agent_silent = False
        if self.running is None or not self.running.paused:
            return
        self.running.paused = False
        self._journal("OperationResumed")
        if self._step is not None:
            self._after(self._machine.spec.guest.durations.prepare, self._step)

    def delete(self) -> None:
        """The machine is gone, and what was under way with it."""
        self._turn += 1
        if self.running is not None:
            self.running.operation.fail(self._cloud.now, *INTERNAL_ERROR)
            self._journal("OperationEnded", status="Deleted")
            self.running = None

    # -- beginning and ending ---------------------------------------------------------------------

    def _reached(self, operation: Operation) -> bool:
        """Whether the agent takes the operation; if not, the operation fails after a while."""
        if self._machine.agent_ready:
            return True
        quirks, name = self._cloud.quirks, self._machine.name
        self._cloud.schedule(
            self._cloud.now + UNREACHABLE_AFTER,
            lambda: operation.fail(
                self._cloud.now, quirks.agent_code, quirks.agent_message.format(vm=name)
            ),
        )
        return False

    def _begin(self, operation: Operation, request: InstallRequest | None) -> Running:
        if self.running is not None:
            self._supersede(operation)
        running = Running(operation, self._failures(request is None), request)
        self.running, self._step = running, None
        self._journal(
            "OperationStarted",
            operation=running.kind,
            principal=operation.principal,
            vmId=self._machine.vm_id,
            body=dict(operation.body),
        )
        return running

    def _failures(self, assess: bool) -> Failures:
        """What goes wrong this time."""
        failures = self._machine.spec.guest.failures
        kind = "Assess" if assess else "Install"
        if failures.times is not None and self._failed[kind] >= failures.times:
            return Failures()
        self._failed[kind] += 1
        return failures

    def _supersede(self, newer: Operation) -> None:
        running = self._busy()
        self._journal("OperationSuperseded", by=newer.id)
        detail = ErrorDetail(
            "NEWER_OPERATION_SUPERSEDED", f"A newer operation was requested: {newer.id}"
        )
        if running.request is None:
            self._end_assessment(Status.FAILED, (), GuestError.of([detail]), Detection.UNKNOWN)
        else:
            self._end_installation(Status.FAILED, [*self._details(), detail])

    def _after(self, delay: timedelta, step: Callable[[], None]) -> None:
        self._turn += 1
        turn, self._step = self._turn, step

        def due() -> None:
            if turn == self._turn:
                step()

        self._cloud.schedule(self._cloud.now + delay, due)

    def _busy(self) -> Running:
        if self.running is None:
            raise RuntimeError(f"{self._machine.id} is not busy")
        return self.running

    def _journal(self, event: Event, **details: Any) -> None:
        running = self.running
        self._cloud.journal.event(
            self._cloud.now,
            self._machine.id,
            event,
            operation_id=running.operation.id if running else None,
            attempt_id=running.operation.attempt_id if running else None,
            **details,
        )

    # -- an assessment ----------------------------------------------------------------------------

    def _assessed(self) -> None:
        running, guest = self._busy(), self._machine.spec.guest
        if not guest.patchable:
            self._end_assessment(
                Status.FAILED, (), self._cloud.quirks.unsupported_guest, guest.detection
            )
        elif running.failures.assess_fails:
            error = GuestError.of(
                [ErrorDetail("PACKAGE_MANAGER_FAILURE", "The package sources do not answer.")]
            )
            self._end_assessment(Status.FAILED, (), error, Detection.UNKNOWN)
        else:
            self._end_assessment(
                Status.SUCCEEDED, tuple(self._machine.missing), GuestError(), guest.detection
            )

    def _end_assessment(
        self, status: Status, patches: tuple[Patch, ...], error: GuestError, detection: Detection
    ) -> None:
        running, machine, now = self._busy(), self._machine, self._cloud.now
        record = AssessmentRecord(
            activity_id=running.operation.id,
            status=status,
            start=running.operation.start,
            last_modified=now,
            started_by="User",
            detection=detection,
            reboot_pending=machine.reboot_pending,
            patches=patches,
            error=error,
        )
        machine.assessment = record
        self._cloud.publish_assessment(machine, record)
        if status is Status.FAILED and not self._cloud.quirks.failed_assessment_ends_succeeded:
            first = error.details[0]
            running.operation.fail(now, first.code, first.message)
        else:
            running.operation.succeed(now, assessment_result(record, machine.os_type))
        self._ended(status)

    def _ended(self, status: Status, **details: Any) -> None:
        self._journal("OperationEnded", operation=self._busy().kind, status=status.value, **details)
        self._turn += 1
        self.running = self._step = None

    # -- an installation --------------------------------------------------------------------------

    def _prepared(self) -> None:
        running, machine = self._busy(), self._machine
        if not machine.spec.guest.patchable:
            quirks = self._cloud.quirks
            self._break_installation(quirks.unsupported_code, quirks.unsupported_message)
            return
        if running.failures.internal_error:
            self._break_installation(*INTERNAL_ERROR)
            return
        request = self._request()
        if machine.os_type is OsType.LINUX and not request.readable_by_linux:
            detail = ErrorDetail(
                "OPERATION_FAILED", f"Invalid maximum duration {request.duration_text}"
            )
            self._end_installation(Status.FAILED, [detail])
            return
        self._sort_out()
        if machine.reboot_pending and request.reboot_setting != "Never":
            self._reboot(self._next_patch)
        else:
            self._next_patch()

    def _sort_out(self) -> None:
        running, now = self._busy(), self._cloud.now
        selection = self._request().select(self._machine.missing)
        running.queue = list(selection.selected)
        running.selected = len(running.queue)
        running.done = [
            *(InstalledPatch(p, InstallState.EXCLUDED, now) for p in selection.excluded),
            *(InstalledPatch(p, InstallState.NOT_SELECTED, now) for p in selection.not_selected),
        ]

    def _next_patch(self) -> None:
        running = self._busy()
        if running.failures.agent_lost and len(running.queue) * 2 <= running.selected:
            self._lose_agent()
        elif not running.queue or not self._room():
            self._finish_patches()
        else:
            self._after(self._patch_time(), self._patched)

    def _room(self) -> bool:
        """Whether one more patch may begin."""
        reboots = self._request().reboot_setting != "Never"
        reserve = REBOOT_RESERVE if reboots else timedelta()
        reserve += PATCH_RESERVE[self._machine.os_type]
        return self._cloud.now + reserve <= self._deadline()

    def _patch_time(self) -> timedelta:
        running = self._busy()
        if not running.failures.exceeds_window:
            return self._machine.spec.guest.durations.per_patch
        # Of several patches the second ends too late, a single one itself.
        share = 0.6 if running.selected > 1 else 1.05
        return self._request().maximum_duration * share

    def _patched(self) -> None:
        running = self._busy()
        patch = running.queue.pop(0)
        fails = patch.version == PRO_ONLY or matches_any(running.failures.failing_patches, patch)
        state = InstallState.FAILED if fails else InstallState.INSTALLED
        running.done.append(InstalledPatch(patch, state, self._cloud.now))
        if not fails:
            self._machine.missing.remove(patch)
            if self._needs_reboot(patch):
                self._machine.reboot_pending = True
        self._journal(
            "PatchFailed" if fails else "PatchInstalled",
            name=patch.name,
            version=patch.version,
            kbId=patch.kb_id,
        )
        self._machine.installation = self._installation(Status.IN_PROGRESS)
        self._next_patch()

    def _needs_reboot(self, patch: Patch) -> bool:
        if patch.reboot_behavior is RebootBehavior.CAN:
            return self._cloud.rng.random() < 0.5
        return patch.reboot_behavior is RebootBehavior.ALWAYS

    def _finish_patches(self) -> None:
        setting = self._request().reboot_setting
        pending = self._machine.reboot_pending
        if setting == "Always" or (setting == "IfRequired" and pending):
            self._reboot(self._installed)
            return
        if pending:
            self._busy().reboot_status = RebootStatus.REQUIRED
        self._installed()

    def _reboot(self, then: Callable[[], None]) -> None:
        running = self._busy()
        running.reboot_status = RebootStatus.STARTED
        self._machine.agent_silent = True
        self._machine.installation = self._installation(Status.IN_PROGRESS)
        self._journal("RebootStarted")

        def back() -> None:
            running.reboot_status = RebootStatus.COMPLETED
            self._machine.agent_silent = self._machine.reboot_pending = False
            self._journal("RebootEnded")
            then()

        if running.failures.reboot_does_not_come_back:
            self._after(REBOOT_WAIT, self._reboot_failed)
            # Whoever stops and starts the machine meanwhile brings it back.
            self._step = back
        else:
            self._after(self._machine.spec.guest.durations.reboot, back)

    def _reboot_failed(self) -> None:
        self._busy().reboot_status = self._cloud.quirks.lost_reboot_status
        self._journal("RebootFailed")
        detail = ErrorDetail("OPERATION_FAILED", "The machine did not come back after a reboot.")
        self._end_installation(Status.FAILED, [*self._details(), detail])

    def _lose_agent(self) -> None:
        running = self._busy()
        running.failures = running.failures.model_copy(update={"agent_lost": False})
        self._machine.agent_silent = True
        self._journal("AgentLost")
        wait = self._deadline() + SILENCE_GRACE - self._cloud.now
        self._after(wait, lambda: self._break_installation(*INTERNAL_ERROR))
        # A new start of the machine brings the agent back, and it goes on.
        self._step = self._next_patch

    def _installed(self) -> None:
        details = self._details()
        self._end_installation(self._verdict(), details)

    def _verdict(self) -> Status:
        """The status of an installation that went to its end."""
        running, quirks = self._busy(), self._cloud.quirks
        failed = [i.patch for i in running.done if i.state is InstallState.FAILED]
        if any(patch.version != PRO_ONLY for patch in failed):
            return quirks.failed_patches_status
        if failed or running.reboot_status is RebootStatus.REQUIRED:
            return Status.WARNINGS
        return quirks.window_exceeded_status if self._exceeded() else Status.SUCCEEDED

    def _details(self) -> list[ErrorDetail]:
        return [
            ErrorDetail("UA_ESM_REQUIRED", f"{item.patch.name} needs Ubuntu Pro.")
            if item.patch.version == PRO_ONLY
            else ErrorDetail("PACKAGE_MANAGER_FAILURE", f"{item.patch.name} did not install.")
            for item in self._busy().done
            if item.state is InstallState.FAILED
        ]

    def _exceeded(self) -> bool:
        running = self._busy()
        return bool(running.queue) or self._cloud.now > self._deadline()

    def _end_installation(self, status: Status, details: list[ErrorDetail]) -> None:
        running = self._busy()
        record = replace(self._installation(status), error=GuestError.of(details))
        self._report(record)
        running.operation.succeed(self._cloud.now, installation_result(record))
        self._ended(
            status,
            rebootStatus=record.reboot_status.value,
            maintenanceWindowExceeded=record.maintenance_window_exceeded,
            **installation_counts(record),
        )

    def _break_installation(self, code: str, message: str) -> None:
        """The operation fails as a whole: it has an error in place of a result."""
        running = self._busy()
        error = GuestError(code, message)
        self._report(replace(self._installation(Status.FAILED), error=error))
        running.operation.fail(self._cloud.now, code, message)
        self._ended(Status.FAILED, error=code)

    def _installation(self, status: Status) -> InstallationRecord:
        running, now = self._busy(), self._cloud.now
        waiting = tuple(InstalledPatch(p, InstallState.PENDING, now) for p in running.queue)
        return InstallationRecord(
            activity_id=running.operation.id,
            status=status,
            start=running.operation.start,
            last_modified=now,
            started_by="User",
            maintenance_run_id=self._request().maintenance_run_id,
            maintenance_window_exceeded=status is not Status.IN_PROGRESS and self._exceeded(),
            reboot_status=running.reboot_status,
            patches=(*running.done, *waiting),
        )

    def _report(self, record: InstallationRecord) -> None:
        self._machine.installation = record
        self._cloud.publish_installation(self._machine, record)

    def _request(self) -> InstallRequest:
        request = self._busy().request
        if request is None:
            raise RuntimeError("an assessment has no install request")
        return request

    def _deadline(self) -> datetime:
        deadline = self._busy().deadline
        if deadline is None:
            raise RuntimeError("an assessment has no deadline")
        return deadline
