"""What guest patch operations leave behind: results, and what Resource Graph shows of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from azsim.fleet import Detection, Patch

ASSESSMENT_RETENTION = timedelta(days=7)
"""Resource Graph drops assessment rows after this (Update Manager, "query logs")."""

INSTALLATION_RETENTION = timedelta(days=30)
"""Resource Graph drops installation rows after this (same page)."""

DETAILS_AT_MOST = 5
"""Error details in one result; a guest reports no more."""

DETAIL_LENGTH_AT_MOST = 128
"""Characters of one detail's message."""


class Status(StrEnum):
    """ARM's spelling of what became of an assessment or installation."""

    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    WARNINGS = "CompletedWithWarnings"


class InstallState(StrEnum):
    """ARM's `installationState` of one patch."""

    INSTALLED = "Installed"
    FAILED = "Failed"
    PENDING = "Pending"
    NOT_SELECTED = "NotSelected"
    EXCLUDED = "Excluded"


class RebootStatus(StrEnum):
    """ARM's `rebootStatus` of an installation."""

    NOT_NEEDED = "NotNeeded"
    REQUIRED = "Required"
    STARTED = "Started"
    FAILED = "Failed"
    COMPLETED = "Completed"


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One entry of `error.details`."""

    code: str
    message: str


def superseded_by(operation_id: str) -> ErrorDetail:
    """What the result of an operation says that made way for a newer one."""
    return ErrorDetail(
        "NEWER_OPERATION_SUPERSEDED", f"A newer operation was requested: {operation_id}"
    )


@dataclass(frozen=True, slots=True)
class GuestError:
    """The `error` of a result; code "0" is success."""

    code: str = "0"
    message: str = "0 error/s reported."
    details: tuple[ErrorDetail, ...] = ()

    @classmethod
    def of(cls, details: list[ErrorDetail]) -> GuestError:
        """The error that a guest reports for these details; none of them is a success."""
        if not details:
            return cls()
        cut = tuple(
            replace(detail, message=detail.message[:DETAIL_LENGTH_AT_MOST])
            for detail in details[:DETAILS_AT_MOST]
        )
        return cls("1", f"{len(details)} error/s reported.", cut)

    def to_arm(self) -> dict[str, object]:
        """As ARM and Resource Graph print it."""
        return {
            "code": self.code,
            "message": self.message,
            "details": [{"code": d.code, "message": d.message} for d in self.details],
        }


@dataclass(frozen=True, slots=True)
class AssessmentRecord:
    """The result of an assessment, or its beginning while `status` is InProgress.

    While it is in progress `patches` and `reboot_pending` are still those of the one before, and
    `detection` is Unknown.
    """

    activity_id: str
    status: Status
    start: datetime
    last_modified: datetime
    started_by: str
    detection: Detection
    reboot_pending: bool = False
    patches: tuple[Patch, ...] = ()
    error: GuestError = field(default_factory=GuestError)

    @property
    def critical_and_security(self) -> int:
        """The first of the two counts that a VM's assessment has."""
        return sum(1 for patch in self.patches if patch.classification in ("Critical", "Security"))

    @property
    def other(self) -> int:
        """The second: everything else."""
        return len(self.patches) - self.critical_and_security


@dataclass(frozen=True, slots=True)
class InstalledPatch:
    """One patch of an installation and what became of it, since when."""

    patch: Patch
    state: InstallState
    since: datetime


@dataclass(frozen=True, slots=True)
class InstallationRecord:
    """The result of an installation, or where it stands while `status` is InProgress."""

    activity_id: str
    status: Status
    start: datetime
    last_modified: datetime
    started_by: str
    maintenance_run_id: str = ""
    maintenance_window_exceeded: bool = False
    reboot_status: RebootStatus = RebootStatus.NOT_NEEDED
    patches: tuple[InstalledPatch, ...] = ()
    error: GuestError = field(default_factory=GuestError)

    def count(self, state: InstallState) -> int:
        """How many patches are in a state."""
        return sum(1 for item in self.patches if item.state is state)


@dataclass(slots=True)
class GraphView:
    """What Resource Graph shows of one machine now; it lags behind the machine itself.

    None or absent: no row. `version` is that of `Showing` at the last change, so that a reader who
    remembers a version finds what has changed since. `before` is the view from before the latest
    operation showed up, which an older replica still has.
    """

    version: int
    state: str
    """The power state of a virtual machine, the status of an Arc-enabled server."""
    assessment: AssessmentRecord | None = None
    installations: dict[str, InstallationRecord] = field(default_factory=dict)
    before: GraphView | None = None
