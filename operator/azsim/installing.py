"""An installation in a guest: patches one by one, reboots, the end of the window, failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from azsim.fleet import Failures, OsType, Patch, RebootBehavior
from azsim.machine import installation_counts
from azsim.operations import INTERNAL_ERROR, Operation
from azsim.records import (
    ErrorDetail,
    GuestError,
    InstallationRecord,
    InstalledPatch,
    InstallState,
    RebootStatus,
    Status,
    superseded_by,
)
from azsim.selection import InstallRequest, matches_any

if TYPE_CHECKING:
    from azsim.guest import Guest

REBOOT_RESERVE = timedelta(minutes=15)
"""Kept free at the end of an install that may reboot."""

PATCH_RESERVE = {OsType.LINUX: timedelta(minutes=5), OsType.WINDOWS: timedelta(minutes=10)}
"""The time that one more patch must have left before the reserve for the reboot."""

PRO_ONLY = "UA_ESM_Required"
"""The version that Ubuntu shows for fixes which only Ubuntu Pro installs."""


class Installation:
    """One run of it."""

    kind: Literal["Install"] = "Install"

    def __init__(
        self, guest: Guest, operation: Operation, failures: Failures, request: InstallRequest
    ) -> None:
        self.operation = operation
        self._guest = guest
        self._cloud = guest.cloud
        self._machine = guest.machine
        self._failures = failures
        self._request = request
        self.deadline = guest.cloud.now + request.maximum_duration
        """When its window ends."""
        self._queue: list[Patch] = []
        self._done: list[InstalledPatch] = []
        self._selected = 0
        self._reboot_status = RebootStatus.NOT_NEEDED

    def begin(self) -> None:
        """Start."""
        self._report(self._record(Status.IN_PROGRESS))
        if not self._failures.no_result:
            self._guest.after(self._machine.spec.guest.durations.prepare, self._prepared)

    def superseded(self, newer: Operation) -> None:
        """End because of a newer operation; what is installed stays so."""
        self._end(Status.FAILED, [*self._details(), superseded_by(newer.id)])

    def abandoned(self) -> None:
        """End because the agent has been silent for too long."""
        self._break(*INTERNAL_ERROR, unheard=True)

    # -- patches ----------------------------------------------------------------------------------

    def _prepared(self) -> None:
        setting = self._request.reboot_setting
        if not self._machine.spec.guest.patchable:
            unsupported = self._cloud.quirks.unsupported_guest
            self._break(unsupported.code, unsupported.message)
        elif self._failures.internal_error:
            self._break(*INTERNAL_ERROR)
        elif self._machine.os_type is OsType.LINUX and not self._request.readable_by_linux:
            text = f"Invalid maximum duration {self._request.duration_text}"
            self._end(Status.FAILED, [ErrorDetail("OPERATION_FAILED", text)])
        else:
            self._sort_out()
            if self._machine.reboot_pending and setting != "Never":
                self._reboot(self._next_patch)
            else:
                self._next_patch()

    def _sort_out(self) -> None:
        now = self._cloud.now
        selection = self._request.select(self._machine.missing)
        self._queue = list(selection.selected)
        self._selected = len(self._queue)
        self._done = [
            *(InstalledPatch(p, InstallState.EXCLUDED, now) for p in selection.excluded),
            *(InstalledPatch(p, InstallState.NOT_SELECTED, now) for p in selection.not_selected),
        ]

    def _next_patch(self) -> None:
        if self._failures.agent_lost and len(self._queue) * 2 <= self._selected:
            self._lose_agent()
        elif not self._queue or not self._room():
            self._finish_patches()
        else:
            self._guest.after(self._patch_time(), self._patched)

    def _room(self) -> bool:
        """Whether one more patch may begin."""
        reserve = timedelta() if self._request.reboot_setting == "Never" else REBOOT_RESERVE
        reserve += PATCH_RESERVE[self._machine.os_type]
        return self._cloud.now + reserve <= self.deadline

    def _patch_time(self) -> timedelta:
        if not self._failures.exceeds_window:
            return self._machine.spec.guest.durations.per_patch
        # Of several patches the second ends too late, a single one itself.
        return self._request.maximum_duration * (0.6 if self._selected > 1 else 1.05)

    def _patched(self) -> None:
        patch = self._queue.pop(0)
        fails = patch.version == PRO_ONLY or matches_any(self._failures.failing_patches, patch)
        state = InstallState.FAILED if fails else InstallState.INSTALLED
        self._done.append(InstalledPatch(patch, state, self._cloud.now))
        if not fails:
            self._machine.missing.remove(patch)
            if self._needs_reboot(patch):
                self._machine.reboot_pending = True
        self._guest.journal(
            "PatchFailed" if fails else "PatchInstalled",
            name=patch.name,
            version=patch.version,
            kbId=patch.kb_id,
        )
        self._machine.installation = self._record(Status.IN_PROGRESS)
        self._next_patch()

    def _needs_reboot(self, patch: Patch) -> bool:
        if patch.reboot_behavior is RebootBehavior.CAN:
            return self._cloud.rng.random() < 0.5
        return patch.reboot_behavior is RebootBehavior.ALWAYS

    def _lose_agent(self) -> None:
        # A new start of the machine brings the agent back, and the installation goes on.
        self._failures = self._failures.model_copy(update={"agent_lost": False})
        self._guest.lose_agent(self._next_patch)

    # -- reboots ----------------------------------------------------------------------------------

    def _finish_patches(self) -> None:
        setting, pending = self._request.reboot_setting, self._machine.reboot_pending
        if setting == "Always" or (setting == "IfRequired" and pending):
            self._reboot(self._finish)
            return
        if pending:
            self._reboot_status = RebootStatus.REQUIRED
        self._finish()

    def _reboot(self, then: Callable[[], None]) -> None:
        self._reboot_status = RebootStatus.STARTED
        self._machine.installation = self._record(Status.IN_PROGRESS)
        self._guest.silence()
        self._guest.journal("RebootStarted")

        def back() -> None:
            self._reboot_status = RebootStatus.COMPLETED
            self._machine.reboot_pending = False
            self._guest.journal("RebootEnded")
            self._guest.speak()
            # An operation that waited for the agent may have taken this one's place.
            if self._guest.task is self:
                then()

        if self._failures.reboot_does_not_come_back:
            self._guest.after(self._machine.reboot_wait, self._reboot_failed, after_boot=back)
        else:
            self._guest.after(self._machine.spec.guest.durations.reboot, back)

    def _reboot_failed(self) -> None:
        self._reboot_status = self._cloud.quirks.lost_reboot_status
        self._guest.journal("RebootFailed")
        detail = ErrorDetail("OPERATION_FAILED", "The machine did not come back after a reboot.")
        self._end(Status.FAILED, [*self._details(), detail], unheard=True)

    # -- the end ----------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._end(self._verdict(), self._details())

    def _verdict(self) -> Status:
        """The status of an installation that went to its end."""
        quirks = self._cloud.quirks
        failed = [item.patch for item in self._done if item.state is InstallState.FAILED]
        if any(patch.version != PRO_ONLY for patch in failed):
            return quirks.failed_patches_status
        if failed or self._reboot_status is RebootStatus.REQUIRED:
            return Status.WARNINGS
        return quirks.window_exceeded_status if self._exceeded() else Status.SUCCEEDED

    def _details(self) -> list[ErrorDetail]:
        return [
            ErrorDetail("UA_ESM_REQUIRED", f"{item.patch.name} needs Ubuntu Pro.")
            if item.patch.version == PRO_ONLY
            else ErrorDetail("PACKAGE_MANAGER_FAILURE", f"{item.patch.name} did not install.")
            for item in self._done
            if item.state is InstallState.FAILED
        ]

    def _exceeded(self) -> bool:
        # Patches that wait while time is left are the mark of a superseded installation.
        return self._cloud.now > self.deadline or (bool(self._queue) and not self._room())

    def _end(self, status: Status, details: list[ErrorDetail], *, unheard: bool = False) -> None:
        record = replace(self._record(status), error=GuestError.of(details))

        def tell() -> None:
            self._report(record)
            result = self._guest.installation_result(record)
            self.operation.succeed(self._cloud.now, result)

        self._guest.report(tell, unheard=unheard)
        self._guest.ended(
            status.value,
            rebootStatus=record.reboot_status.value,
            maintenanceWindowExceeded=record.maintenance_window_exceeded,
            **installation_counts(record),
        )

    def _break(self, code: str, message: str, *, unheard: bool = False) -> None:
        """The operation fails as a whole: it has an error in place of a result."""
        record = replace(self._record(Status.FAILED), error=GuestError(code, message))

        def tell() -> None:
            self._report(record)
            self.operation.fail(self._cloud.now, code, message)

        self._guest.report(tell, unheard=unheard)
        self._guest.ended(Status.FAILED.value, error=code)

    def _record(self, status: Status) -> InstallationRecord:
        now = self._cloud.now
        waiting = tuple(InstalledPatch(patch, InstallState.PENDING, now) for patch in self._queue)
        return InstallationRecord(
            activity_id=self.operation.id,
            status=status,
            start=self.operation.start,
            last_modified=now,
            started_by=self.operation.started_by,
            maintenance_run_id=self._request.maintenance_run_id,
            maintenance_window_exceeded=status is not Status.IN_PROGRESS and self._exceeded(),
            reboot_status=self._reboot_status,
            patches=(*self._done, *waiting),
        )

    def _report(self, record: InstallationRecord) -> None:
        self._machine.installation = record
        self._cloud.graph.publish_installation(self._machine, record)
