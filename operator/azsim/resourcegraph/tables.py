"""The rows of Resource Graph, made from the fleet's state.

Every table has the same columns, as in Resource Graph. `properties` of the patch tables are the
documented ones of Update Manager's query logs; ids keep ARM's case, `type` and `resourceGroup` are
lower-case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from azsim.clock import timestamp
from azsim.fleet import (
    Detection,
    Gallery,
    OsType,
    Patch,
    PowerState,
    RebootBehavior,
    ResourceGroup,
)
from azsim.galleries import gallery_to_arm, image_to_arm, version_to_arm
from azsim.machine import Machine, installation_counts, power_status
from azsim.records import AssessmentRecord, InstallationRecord
from azsim.results import patch_id

if TYPE_CHECKING:
    from azsim.cloud import Subscription
    from azsim.showing import Shown

COLUMNS = {
    "id": "VARCHAR",
    "name": "VARCHAR",
    "type": "VARCHAR",
    "tenantId": "VARCHAR",
    "kind": "VARCHAR",
    "location": "VARCHAR",
    "resourceGroup": "VARCHAR",
    "subscriptionId": "VARCHAR",
    "managedBy": "VARCHAR",
    "sku": "JSON",
    "plan": "JSON",
    "properties": "JSON",
    "tags": "JSON",
    "identity": "JSON",
    "zones": "JSON",
    "extendedLocation": "JSON",
}
"""Column → DuckDB type. Kusto's strings are never null: an absent one is empty."""

TABLES = (
    "resources",
    "resourcecontainers",
    "patchassessmentresources",
    "patchinstallationresources",
)

Row = dict[str, Any]
Rows = dict[str, list[Row]]

_VM = "microsoft.compute/virtualmachines"

READ_ACTIONS = {
    _VM: "Microsoft.Compute/virtualMachines/read",
    "microsoft.compute/galleries": "Microsoft.Compute/galleries/read",
    "microsoft.compute/galleries/images": "Microsoft.Compute/galleries/images/read",
    "microsoft.compute/galleries/images/versions": (
        "Microsoft.Compute/galleries/images/versions/read"
    ),
    "microsoft.resources/subscriptions": "Microsoft.Resources/subscriptions/read",
    "microsoft.resources/subscriptions/resourcegroups": (
        "Microsoft.Resources/subscriptions/resourceGroups/read"
    ),
    f"{_VM}/patchassessmentresults": (
        "Microsoft.Compute/virtualMachines/patchAssessmentResults/read"
    ),
    f"{_VM}/patchassessmentresults/softwarepatches": (
        "Microsoft.Compute/virtualMachines/patchAssessmentResults/softwarePatches/read"
    ),
    f"{_VM}/patchinstallationresults": (
        "Microsoft.Compute/virtualMachines/patchInstallationResults/read"
    ),
    f"{_VM}/patchinstallationresults/softwarepatches": (
        "Microsoft.Compute/virtualMachines/patchInstallationResults/softwarePatches/read"
    ),
}
"""Row type → the RBAC action that shows its rows; without it they are missing, not refused."""


def machine_rows(machine: Machine, shown: Shown | None, tenant_id: str) -> Rows:
    """Every row of one machine; `shown` is what Resource Graph shows of it."""
    if shown is None:
        return {}
    return {
        "resources": [_machine_row(machine, shown, tenant_id)] if shown.listed else [],
        "patchassessmentresources": list(_assessment_rows(machine, shown, tenant_id)),
        "patchinstallationresources": list(_installation_rows(machine, shown, tenant_id)),
    }


def _row(machine: Machine, tenant_id: str, resource_id: str, kind: str) -> Row:
    return {
        "id": resource_id,
        "name": resource_id.rsplit("/", 1)[1],
        "type": kind,
        "tenantId": tenant_id,
        "location": machine.location,
        "resourceGroup": machine.resource_group.lower(),
        "subscriptionId": machine.subscription_id,
    }


def _machine_row(machine: Machine, shown: Shown, tenant_id: str) -> Row:
    view = {"hyperVGeneration": "V2", "powerState": power_status(PowerState(shown.power_state))}
    # Kept while the machine is stopped; one whose agent never reported has nothing to keep.
    if machine.spec.agent.ready:
        view.update(machine.reported_os())
    row = _row(machine, tenant_id, machine.id, _VM)
    row["tags"] = dict(machine.tags)
    if machine.spec.zone is not None:
        row["zones"] = [machine.spec.zone]
    row["properties"] = {
        **machine.properties(),
        "extended": {"instanceView": view},
    }
    return row


def _assessment_rows(machine: Machine, shown: Shown, tenant_id: str) -> Iterator[Row]:
    record = shown.assessment
    if record is None:
        return
    latest = f"{machine.id}/patchAssessmentResults/latest"
    kind = f"{_VM}/patchassessmentresults"
    patches = f"{kind}/softwarepatches"
    yield {
        **_row(machine, tenant_id, latest, kind),
        "properties": _assessment_properties(machine, record),
    }
    for number, patch in enumerate(record.patches):
        yield {
            **_row(machine, tenant_id, f"{latest}/softwarePatches/{number}", patches),
            "properties": {
                **_patch(machine, patch),
                "lastModifiedDateTime": timestamp(record.last_modified),
            },
        }


def _assessment_properties(machine: Machine, record: AssessmentRecord) -> dict[str, Any]:
    readiness = {}
    if record.detection is not Detection.ABSENT:
        readiness["detectedVMGuestPatchSupportState"] = record.detection.value
    return {
        "status": record.status.value,
        "osType": machine.os_type.value,
        "rebootPending": record.reboot_pending,
        "patchServiceUsed": machine.patch_service,
        "startDateTime": timestamp(record.start),
        "lastModifiedDateTime": timestamp(record.last_modified),
        "startedBy": record.started_by,
        "availablePatchCountByClassification": _by_classification(record),
        "errorDetails": record.error.to_arm(),
        "configurationStatus": {
            "vmGuestPatchReadiness": readiness,
            "assessmentModeConfiguration": {"status": "Succeeded"},
            "patchModeConfiguration": {"status": "Succeeded"},
        },
    }


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


def _by_classification(record: AssessmentRecord) -> dict[str, int]:
    counts = dict.fromkeys(_CLASSES, 0)
    keys = {name.lower(): name for name in _CLASSES}
    for patch in record.patches:
        counts[keys[patch.classification.lower()]] += 1
    return counts


def _patch(machine: Machine, patch: Patch) -> dict[str, Any]:
    windows = machine.os_type is OsType.WINDOWS
    return {
        "patchId": patch_id(patch),
        "patchName": patch.name,
        "version": None if windows else patch.version,
        "kbId": patch.kb_id if windows else None,
        "classifications": [patch.classification],
        "rebootBehavior": patch.reboot_behavior.value,
        "rebootRequired": patch.reboot_behavior is RebootBehavior.ALWAYS,
        "publishedDateTime": (
            timestamp(patch.published_date) if windows and patch.published_date else None
        ),
        "msrcSeverity": patch.msrc_severity,
    }


def _installation_rows(machine: Machine, shown: Shown, tenant_id: str) -> Iterator[Row]:
    kind = f"{_VM}/patchinstallationresults"
    patches = f"{kind}/softwarepatches"
    for record in shown.installations.values():
        result = f"{machine.id}/patchInstallationResults/{record.activity_id}"
        yield {
            **_row(machine, tenant_id, result, kind),
            "properties": _installation_properties(machine, record),
        }
        for number, item in enumerate(record.patches):
            yield {
                **_row(machine, tenant_id, f"{result}/softwarePatches/{number}", patches),
                "properties": {
                    **_patch(machine, item.patch),
                    "installationState": item.state.value,
                    "lastModifiedDateTime": timestamp(item.since),
                },
            }


def _installation_properties(machine: Machine, record: InstallationRecord) -> dict[str, Any]:
    return {
        "installationActivityId": record.activity_id,
        "status": record.status.value,
        "osType": machine.os_type.value,
        "patchServiceUsed": machine.patch_service,
        "startDateTime": timestamp(record.start),
        "lastModifiedDateTime": timestamp(record.last_modified),
        "startedBy": record.started_by,
        "maintenanceWindowExceeded": record.maintenance_window_exceeded,
        "maintenanceRunId": record.maintenance_run_id or None,
        **installation_counts(record),
        "rebootStatus": record.reboot_status.value,
        "errorDetails": record.error.to_arm(),
    }


# -- what does not change while azsim runs --------------------------------------------------------


def fixed_rows(subscriptions: Iterable[Subscription]) -> Rows:
    """Subscriptions, resource groups and galleries."""
    containers: list[Row] = []
    resources: list[Row] = []
    for subscription in subscriptions:
        containers.append(_subscription_row(subscription))
        for group in subscription.resource_groups.values():
            containers.append(_group_row(subscription, group))
        for gallery in subscription.galleries.values():
            resources.extend(_gallery_rows(subscription, gallery))
    return {"resourcecontainers": containers, "resources": resources}


def _subscription_row(subscription: Subscription) -> Row:
    return {
        "id": f"/subscriptions/{subscription.id}",
        "name": subscription.display_name,
        "type": "microsoft.resources/subscriptions",
        "tenantId": subscription.tenant_id,
        "subscriptionId": subscription.id,
        "tags": {},
        "properties": {
            "state": subscription.spec.state,
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
            "managedByTenants": [],
            "managementGroupAncestorsChain": [],
        },
    }


def _group_row(subscription: Subscription, group: ResourceGroup) -> Row:
    return {
        "id": f"/subscriptions/{subscription.id}/resourceGroups/{group.name}",
        "name": group.name,
        "type": "microsoft.resources/subscriptions/resourcegroups",
        "tenantId": subscription.tenant_id,
        "location": group.location,
        "resourceGroup": group.name.lower(),
        "subscriptionId": subscription.id,
        "managedBy": group.managed_by or "",
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Succeeded"},
    }


def _gallery_rows(subscription: Subscription, gallery: Gallery) -> Iterator[Row]:
    def row(resource: dict[str, Any]) -> Row:
        return {
            "id": resource["id"],
            "name": resource["name"],
            "type": resource["type"].lower(),
            "tenantId": subscription.tenant_id,
            "location": resource["location"],
            "resourceGroup": gallery.group.lower(),
            "subscriptionId": subscription.id,
            "tags": resource["tags"],
            "properties": resource["properties"],
        }

    yield row(gallery_to_arm(subscription.id, gallery))
    for image in gallery.images:
        yield row(image_to_arm(subscription.id, gallery, image))
        for version in image.versions:
            yield row(version_to_arm(subscription.id, gallery, image, version))
