"""What Azure says about machines, as plain values.

Every adapter translates Azure's answers into these, every decision reads only these. Times are
aware and in UTC. Ids are as Azure spells them; mappings are keyed by `ids.key`. `None` means that
Azure did not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from azpatch.api.common import DetectedState, MachineKind, OsType
from azpatch.api.target import OperationKind


class GuestStatus(StrEnum):
    """Status of a guest patch operation. Azure varies the case, the adapters do not."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    COMPLETED_WITH_WARNINGS = "CompletedWithWarnings"
    UNKNOWN = "Unknown"

    @property
    def ended(self) -> bool:
        """Nothing is running any more."""
        return self in (self.SUCCEEDED, self.FAILED, self.COMPLETED_WITH_WARNINGS)


ARC_CONNECTED = "Connected"
"""The status of an Arc-enabled server whose agent Azure hears."""


class RebootStatus(StrEnum):
    """What became of the reboot an install may need."""

    NOT_NEEDED = "NotNeeded"
    REQUIRED = "Required"
    STARTED = "Started"
    FAILED = "Failed"
    COMPLETED = "Completed"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """`storageProfile.imageReference` of a VM model."""

    id: str | None = None
    publisher: str | None = None
    offer: str | None = None
    sku: str | None = None
    version: str | None = None
    exact_version: str | None = None
    shared_gallery_image_id: str | None = None
    community_gallery_image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its model and Resource Graph describe it.

    Of what follows `tags` an Arc-enabled server has only its computer name, and what is named so.
    """

    id: str
    vm_id: str
    """`properties.vmId`: another machine under the same id has another one. An Arc-enabled server
    is given it when it is onboarded; its `vmUuid`, that of the hardware, outlives a new system."""
    location: str
    os_type: OsType | None = None
    time_created: datetime | None = None
    power_state: str | None = None
    """`Running`, `Deallocated`, `Stopped`, `Starting`, …: the part after `PowerState/`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    availability_set: str | None = None
    image: ImageReference | None = None
    os_disk_create_option: str | None = None
    """`FromImage`, `Attach`, `Empty`, …"""
    computer_name: str | None = None
    """`osProfile.computerName`; absent on machines that were not generalized."""
    license_type: str | None = None
    os_name: str | None = None
    """The operating system as the VM agent reports it: `ubuntu`, `Windows Server 2022 Datacenter`.
    None until it has."""
    os_version: str | None = None
    """Its version as the VM agent reports it: `22.04`, `10.0.20348.1726`."""
    scale_set: str | None = None
    """Id of the scale set that a Flexible instance belongs to."""
    group_managed_by: str | None = None
    """`managedBy` of the resource group: another resource (an AKS cluster) owns all in it."""
    kind: MachineKind = MachineKind.VIRTUAL_MACHINE
    arc_status: str | None = None
    """`Connected`, `Disconnected`, `Expired`, `Error`, `AwaitingConnection`: what an Arc-enabled
    server has in place of a power state. That an agent is silent shows a quarter of an hour late.
    """
    arc_status_since: datetime | None = None
    """Since when `arc_status` is what it is."""
    os_sku: str | None = None
    """An Arc-enabled server's operating system by its full name: `Windows 10 Enterprise`."""


@dataclass(frozen=True, slots=True)
class ImageDefinition:
    """A gallery image definition that the identity can read."""

    id: str
    os_state: str
    """`Generalized` or `Specialized`."""
    os_type: OsType | None = None


class Unread(StrEnum):
    """Why a gallery image definition is not at hand."""

    REFUSED = "Refused"
    """No identity of ours may read it, or see the subscription that it lies in."""
    GONE = "Gone"
    """Azure answered 404: it was deleted, or a shared one is shared no longer."""
    UNANSWERED = "Unanswered"
    """Azure had no answer yet."""


@dataclass(frozen=True, slots=True)
class OperationError:
    """Azure's error, verbatim. Code `0` inside a result is a success and never arrives here."""

    code: str
    message: str
    details: tuple[tuple[str, str], ...] = ()
    """(code, message) of each detail: the guest's own codes."""


@dataclass(frozen=True, slots=True)
class AssessmentResult:
    """An assessment: the operation's result, the instance view's, or Resource Graph's row."""

    status: GuestStatus
    start_time: datetime | None = None
    last_modified: datetime | None = None
    activity_id: str | None = None
    critical_and_security: int | None = None
    other: int | None = None
    reboot_pending: bool | None = None
    error: OperationError | None = None
    detected: DetectedState | None = None
    """Only Resource Graph's row has it; None where the row has no value that Azure documents."""


@dataclass(frozen=True, slots=True)
class InstalledPatch:
    """One patch of an install's result."""

    name: str
    version: str | None
    kb: str | None
    classifications: tuple[str, ...]
    state: str
    """`Installed`, `Failed`, `Pending`, `NotSelected`, `Excluded`."""


@dataclass(frozen=True, slots=True)
class InstallationResult:
    """An install: the operation's result, the instance view's summary or Resource Graph's row."""

    status: GuestStatus
    start_time: datetime | None = None
    last_modified: datetime | None = None
    activity_id: str | None = None
    installed: int = 0
    failed: int = 0
    pending: int = 0
    not_selected: int = 0
    excluded: int = 0
    reboot_status: RebootStatus | None = None
    maintenance_window_exceeded: bool = False
    error: OperationError | None = None
    patches: tuple[InstalledPatch, ...] | None = None
    """None where the source has counts only (the instance view)."""


@dataclass(frozen=True, slots=True)
class MissingPatch:
    """One patch that an assessment found missing (a `softwarepatches` row)."""

    name: str
    version: str | None
    kb: str | None
    """Digits only, without `KB`; None on Linux."""
    classifications: tuple[str, ...]
    reboot_behavior: str | None
    """`NeverReboots`, `AlwaysRequiresReboot`, `CanRequestReboot`."""
    published: datetime | None


@dataclass(frozen=True, slots=True)
class Requested:
    """A guest patch operation that Azure wrote down for an Arc-enabled server's agent, anyone's."""

    activity_id: str
    kind: OperationKind | None = None
    """None where Azure's word for it is not known."""
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class MachineView:
    """ARM's own, strongly consistent view: GET of the machine, of a VM with its instance view."""

    machine: Machine
    agent_ready: bool
    """Of an Arc-enabled server: it is Connected, as far as Azure knows."""
    assessment: AssessmentResult | None
    """Summary of the last assessment, anyone's; `IN_PROGRESS` while one runs. ARM has none of an
    Arc-enabled server: there it is Resource Graph's row, once that was asked for."""
    installation: InstallationResult | None
    """Likewise of the last install."""
    requested: Requested | None = None
    """Arc only: the operation that was asked for last. Where it is there it is proof that one
    began; Azure documents it nowhere, so None proves nothing."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A preview feature of Microsoft.Compute in one subscription."""

    name: str
    """Without the namespace: `InGuestPatchVMPreview`."""
    state: str
    """`NotSpecified`, `NotRegistered`, `Pending`, `Registering`, `Registered`, …"""
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class Permissions:
    """One entry of the permissions API: what the caller may do at a scope."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one identity's Resource Graph shows of some subscriptions, read at one time."""

    machines: Mapping[str, Machine]
    """By key of the machine's id."""
    definitions: Mapping[str, ImageDefinition]
    """By key of the definition's id; a definition that is not here cannot be read."""
    assessments: Mapping[str, AssessmentResult]
    """Resource Graph's latest row by key of the machine's id."""
