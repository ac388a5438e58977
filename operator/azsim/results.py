"""The results of guest patch operations as ARM prints them in an operation's output."""

from __future__ import annotations

from typing import Any

from azsim.clock import timestamp
from azsim.fleet import OsType, Patch
from azsim.machine import Machine, installation_counts
from azsim.records import AssessmentRecord, InstallationRecord, Status


def patch_id(patch: Patch) -> str:
    """`patchId`: name and version of a package, or an id that follows from the KB."""
    return f"{patch.name}_{patch.version}" if patch.version is not None else patch.name


def assessment_result(record: AssessmentRecord, os_type: OsType) -> dict[str, Any]:
    """RESULT of assessPatches: two counts and every available patch."""
    failed = record.status is Status.FAILED
    return {
        "status": record.status.value,
        "assessmentActivityId": record.activity_id,
        "rebootPending": record.reboot_pending,
        "criticalAndSecurityPatchCount": record.critical_and_security,
        "otherPatchCount": record.other,
        "startDateTime": timestamp(record.start),
        "availablePatches": [
            _available(patch, record, windows=os_type is OsType.WINDOWS) for patch in record.patches
        ],
        "error": record.error.to_arm() if failed else None,
    }


def _available(patch: Patch, record: AssessmentRecord, *, windows: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"patchId": patch_id(patch), "name": patch.name}
    if windows:
        shown["kbId"] = patch.kb_id
    else:
        shown["version"] = patch.version
    shown |= {
        "classifications": [patch.classification],
        "rebootBehavior": patch.reboot_behavior.value,
        "activityId": record.activity_id,
        "lastModifiedDateTime": timestamp(record.last_modified),
        "assessmentState": "Available",
    }
    if patch.published_date is not None:
        shown["publishedDate"] = timestamp(patch.published_date)
    return shown


def installation_result(record: InstallationRecord) -> dict[str, Any]:
    """RESULT of installPatches: the counts and what became of every patch."""
    return {
        "status": record.status.value,
        "installationActivityId": record.activity_id,
        "rebootStatus": record.reboot_status.value,
        "maintenanceWindowExceeded": record.maintenance_window_exceeded,
        **installation_counts(record),
        "patches": [
            {
                "patchId": patch_id(item.patch),
                "name": item.patch.name,
                **_version(item.patch),
                "classifications": [item.patch.classification],
                "installationState": item.state.value,
            }
            for item in record.patches
        ],
        "startDateTime": timestamp(record.start),
        "maintenanceRunId": record.maintenance_run_id,
        "error": record.error.to_arm(),
    }


def _version(patch: Patch) -> dict[str, str]:
    if patch.kb_id is not None:
        return {"kbId": patch.kb_id}
    return {"version": patch.version} if patch.version is not None else {}


# -- of Arc-enabled servers: counts and no list of patches -----------------------------------------

_CLASSES = (
    "security",
    "critical",
    "updateRollup",
    "featurePack",
    "servicePack",
    "definition",
    "tools",
    "updates",
    "other",
)


def by_classification(record: AssessmentRecord) -> dict[str, int]:
    """`availablePatchCountByClassification`, here and in Resource Graph's rows of all machines."""
    counts = dict.fromkeys(_CLASSES, 0)
    keys = {name.lower(): name for name in _CLASSES}
    for patch in record.patches:
        counts[keys[patch.classification.lower()]] += 1
    return counts


def arc_assessment_result(record: AssessmentRecord, machine: Machine) -> dict[str, Any]:
    """RESULT of assessPatches."""
    return {
        "status": record.status.value,
        "assessmentActivityId": record.activity_id,
        "rebootPending": record.reboot_pending,
        "availablePatchCountByClassification": by_classification(record),
        **_arc_result(record, machine),
    }


def arc_installation_result(record: InstallationRecord, machine: Machine) -> dict[str, Any]:
    """RESULT of installPatches."""
    return {
        "status": record.status.value,
        "installationActivityId": record.activity_id,
        "rebootStatus": record.reboot_status.value,
        "maintenanceWindowExceeded": record.maintenance_window_exceeded,
        **installation_counts(record),
        **_arc_result(record, machine),
    }


def _arc_result(record: AssessmentRecord | InstallationRecord, machine: Machine) -> dict[str, Any]:
    return {
        "startDateTime": timestamp(record.start),
        "lastModifiedDateTime": timestamp(record.last_modified),
        "startedBy": record.started_by,
        "patchServiceUsed": machine.patch_service,
        "osType": machine.os_type.value,
        "errorDetails": record.error.to_arm(),
    }
