"""Resource Graph's rows and ARM's answers, as facts. Pure translation; nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from azpatch.api import DetectedState, MachineKind, OsType
from azpatch.api.target import OperationKind
from azpatch.azure.queries import ARC_COLUMNS, MACHINE_COLUMNS
from azpatch.azure.values import (
    mapping,
    member,
    moment,
    number,
    operation_error,
    spelt,
    text,
    texts,
    truth,
)
from azpatch.domain import ids
from azpatch.domain.facts import (
    AssessmentResult,
    Feature,
    GuestStatus,
    ImageDefinition,
    ImageReference,
    InstallationResult,
    InstalledPatch,
    Machine,
    MissingPatch,
    Permissions,
    RebootStatus,
    Requested,
)

Row = Mapping[str, Any]

CLASSIFICATIONS = (
    "Critical",
    "Security",
    "UpdateRollUp",
    "FeaturePack",
    "ServicePack",
    "Definition",
    "Tools",
    "Updates",
    "Other",
)
"""As the install API spells them; Resource Graph also writes `UpdateRollup`, keys in camel case."""

URGENT = ("critical", "security")
"""The classes that Azure's own summary counts together."""

INSTALLATION_STATES = ("Installed", "Failed", "Pending", "NotSelected", "Excluded")
ARC_STATUSES = ("Connected", "Disconnected", "Expired", "Error", "AwaitingConnection")
REBOOT_BEHAVIORS = ("NeverReboots", "AlwaysRequiresReboot", "CanRequestReboot", "Unknown")


def flat(model: Row) -> dict[str, Any]:
    """A VM's model as ARM answers it, in the columns of a machine's row."""
    return _flat(model, _MACHINE_PATHS)


def flat_arc(model: Row) -> dict[str, Any]:
    """An Arc-enabled server's model, likewise."""
    return _flat(model, _ARC_PATHS)


Paths = tuple[tuple[str, tuple[str, ...]], ...]


def _paths(columns: Mapping[str, str]) -> Paths:
    return tuple((column, tuple(path.split("."))) for column, path in columns.items())


_MACHINE_PATHS, _ARC_PATHS = _paths(MACHINE_COLUMNS), _paths(ARC_COLUMNS)


def _flat(model: Row, paths: Paths) -> dict[str, Any]:
    row: dict[str, Any] = {name: model.get(name) for name in ("id", "location", "tags", "zones")}
    for column, path in paths:
        value: Any = model
        for step in path:
            value = mapping(value).get(step)
        row[column] = value
    return row


def machine(row: Row) -> Machine:
    """A row of `queries.MACHINES`, or a `flat` model with the columns of an instance view."""
    return Machine(
        id=str(row["id"]),
        vm_id=text(row.get("vmId")) or "",
        location=text(row.get("location")) or "",
        os_type=member(OsType, row.get("osType")),
        time_created=moment(row.get("timeCreated")),
        power_state=power_state(row.get("powerCode")),
        tags={str(k): str(v or "") for k, v in mapping(row.get("tags")).items()},
        zones=texts(row.get("zones")),
        availability_set=text(row.get("availabilitySet")),
        image=image_reference(row),
        os_disk_create_option=text(row.get("osDiskCreateOption")),
        computer_name=text(row.get("computerName")),
        license_type=text(row.get("licenseType")),
        os_name=text(row.get("osName")),
        os_version=text(row.get("osVersion")),
        scale_set=text(row.get("scaleSet")),
    )


def arc_server(row: Row) -> Machine:
    """A row of `queries.MACHINES_OF_ARC`, or a `flat_arc` model."""
    return Machine(
        id=str(row["id"]),
        vm_id=text(row.get("vmId")) or "",
        location=text(row.get("location")) or "",
        os_type=member(OsType, row.get("osType")),
        tags={str(k): str(v or "") for k, v in mapping(row.get("tags")).items()},
        computer_name=text(row.get("computerName")),
        kind=MachineKind.ARC_SERVER,
        arc_status=spelt(text(row.get("status")), ARC_STATUSES),
        arc_status_since=moment(row.get("statusChange")),
        os_sku=text(row.get("osSku")),
    )


def power_state(code: object) -> str | None:
    """`PowerState/running` as `Running`; None for any other code."""
    kind, _, state = str(code or "").partition("/")
    return state[:1].upper() + state[1:] if kind.lower() == "powerstate" and state else None


def image_reference(row: Row) -> ImageReference | None:
    """The image reference in a machine's row; None on a VM that has none (attached disk)."""
    found = ImageReference(
        id=text(row.get("imageId")),
        publisher=text(row.get("publisher")),
        offer=text(row.get("offer")),
        sku=text(row.get("sku")),
        version=text(row.get("version")),
        exact_version=text(row.get("exactVersion")),
        shared_gallery_image_id=text(row.get("sharedGalleryImageId")),
        community_gallery_image_id=text(row.get("communityGalleryImageId")),
    )
    return None if found == ImageReference() else found


def managed(found: Machine, managed_by: Mapping[str, str]) -> Machine:
    """The machine with the manager of its resource group, by the group's key."""
    group = ids.key(found.id).partition("/providers/")[0]
    return replace(found, group_managed_by=managed_by[group]) if group in managed_by else found


def image_definition(row: Row) -> ImageDefinition:
    """A row of `queries.IMAGE_DEFINITIONS`."""
    return ImageDefinition(
        id=str(row["id"]),
        os_state=spelt(text(row.get("osState")), ("Generalized", "Specialized")) or "",
        os_type=member(OsType, row.get("osType")),
    )


def machine_key_of(row_id: str) -> str:
    """Key of the machine to which an assessment's or an install's row belongs."""
    lower = ids.key(row_id)
    for segment in ("/patchassessmentresults", "/patchinstallationresults"):
        lower = lower.partition(segment)[0]
    return lower


def guest_status(value: object) -> GuestStatus:
    """Azure varies the case (`Inprogress`); what it never documented is UNKNOWN."""
    return member(GuestStatus, value) or GuestStatus.UNKNOWN


def at_work(result: Row) -> bool:
    """Whether the guest's result says that it is no result yet."""
    return guest_status(result.get("status")) in (GuestStatus.IN_PROGRESS, GuestStatus.NOT_STARTED)


def is_over(result: Row) -> bool:
    """Whether the guest's result says how the operation ended: Unknown, or a word that is new,
    says nothing."""
    return guest_status(result.get("status")).ended


def assessment_row(row: Row) -> AssessmentResult:
    """A row of `queries.ASSESSMENTS`."""
    urgent, other = _counts(row.get("counts"))
    return AssessmentResult(
        status=guest_status(row.get("status")),
        start_time=moment(row.get("startTime")),
        last_modified=moment(row.get("lastModified")),
        activity_id=text(row.get("activityId")),
        critical_and_security=urgent,
        other=other,
        reboot_pending=truth(row.get("rebootPending")),
        error=operation_error(row.get("errorDetails")),
        detected=member(DetectedState, row.get("detected")),
    )


def _counts(value: object) -> tuple[int | None, int | None]:
    counts = mapping(value)
    if not counts:
        return None, None
    numbers = {str(name).lower(): number(count) or 0 for name, count in counts.items()}
    urgent = sum(count for name, count in numbers.items() if name in URGENT)
    return urgent, sum(numbers.values()) - urgent


def assessment_answer(answer: Row) -> AssessmentResult:
    """The operation's result, or the instance view's `availablePatchSummary`."""
    return AssessmentResult(
        status=guest_status(answer.get("status")),
        start_time=moment(answer.get("startDateTime") or answer.get("startTime")),
        last_modified=moment(answer.get("lastModifiedDateTime") or answer.get("lastModifiedTime")),
        activity_id=text(answer.get("assessmentActivityId")),
        critical_and_security=number(answer.get("criticalAndSecurityPatchCount")),
        other=number(answer.get("otherPatchCount")),
        reboot_pending=truth(answer.get("rebootPending")),
        error=operation_error(answer.get("error")),
    )


def arc_assessment(answer: Row) -> AssessmentResult:
    """The result of an operation on an Arc-enabled server, which counts as Resource Graph does."""
    urgent, other = _counts(answer.get("availablePatchCountByClassification"))
    return AssessmentResult(
        status=guest_status(answer.get("status")),
        start_time=moment(answer.get("startDateTime")),
        last_modified=moment(answer.get("lastModifiedDateTime")),
        activity_id=text(answer.get("assessmentActivityId")),
        critical_and_security=urgent,
        other=other,
        reboot_pending=truth(answer.get("rebootPending")),
        error=operation_error(answer.get("errorDetails")),
    )


ACTIONS = {"assessment": OperationKind.ASSESS, "patching": OperationKind.INSTALL}
"""What the update extension calls an operation, as a recording of Azure has it."""


def requested(model: Row) -> Requested | None:
    """The last operation that an Arc-enabled server's model knows of, by the settings of its update
    extension; None if it shows none."""
    listed = model.get("resources")
    for extension in listed if isinstance(listed, list) else ():
        properties = mapping(mapping(extension).get("properties"))
        if not str(properties.get("type") or "").lower().endswith("osupdateextension"):
            continue
        settings = mapping(mapping(properties.get("settings")).get("updateConfiguration"))
        if activity_id := text(settings.get("activityId")):
            kind = ACTIONS.get(str(settings.get("action") or "").lower())
            return Requested(activity_id, kind, moment(settings.get("startTime")))
    return None


def installation(answer: Row) -> InstallationResult:
    """The operation's result, the instance view's summary, or a row of `installations_of`; of
    either kind of machine.

    Its patches are there only if the answer lists them.
    """
    patches = answer.get("patches")
    return InstallationResult(
        status=guest_status(answer.get("status")),
        start_time=moment(answer.get("startDateTime") or answer.get("startTime")),
        last_modified=moment(
            answer.get("lastModifiedDateTime")
            or answer.get("lastModifiedTime")
            or answer.get("lastModified")
        ),
        activity_id=text(answer.get("installationActivityId")) or text(answer.get("activityId")),
        installed=number(answer.get("installedPatchCount")) or 0,
        failed=number(answer.get("failedPatchCount")) or 0,
        pending=number(answer.get("pendingPatchCount")) or 0,
        not_selected=number(answer.get("notSelectedPatchCount")) or 0,
        excluded=number(answer.get("excludedPatchCount")) or 0,
        reboot_status=member(RebootStatus, answer.get("rebootStatus")),
        maintenance_window_exceeded=truth(answer.get("maintenanceWindowExceeded")) or False,
        error=operation_error(answer.get("error") or answer.get("errorDetails")),
        patches=tuple(map(installed_patch, patches)) if isinstance(patches, list) else None,
    )


def installed_patch(answer: Row) -> InstalledPatch:
    """A patch of an operation's result, or a row of `installed_patches_of`."""
    return InstalledPatch(
        name=text(answer.get("name")) or text(answer.get("patchName")) or "",
        version=text(answer.get("version")),
        kb=kb(answer.get("kbId")),
        classifications=classifications(answer.get("classifications")),
        state=spelt(text(answer.get("installationState")), INSTALLATION_STATES) or "",
    )


def missing_patch(row: Row) -> MissingPatch:
    """A row of `missing_patches_of`."""
    return MissingPatch(
        name=text(row.get("patchName")) or "",
        version=text(row.get("version")),
        kb=kb(row.get("kbId")),
        classifications=classifications(row.get("classifications")),
        reboot_behavior=spelt(text(row.get("rebootBehavior")), REBOOT_BEHAVIORS),
        published=moment(row.get("published")),
    )


def classifications(value: object) -> tuple[str, ...]:
    """Classifications as the install API spells them."""
    return tuple(spelt(name, CLASSIFICATIONS) or name for name in texts(value))


def kb(value: object) -> str | None:
    """`KB5030211` or `5030211` as `5030211`."""
    written = text(value)
    return written[2:] if written and written[:2].lower() == "kb" else written


def feature(answer: Row, display_names: Mapping[str, str]) -> Feature:
    """A feature of the Features API; display names by lower-cased feature name."""
    name = str(answer.get("name") or "").rpartition("/")[2]
    return Feature(
        name=name,
        state=text(mapping(answer.get("properties")).get("state")) or "NotSpecified",
        display_name=display_names.get(name.lower()),
    )


def permissions(answer: Row) -> Permissions:
    """An entry of the permissions API."""
    return Permissions(texts(answer.get("actions")), texts(answer.get("notActions")))
