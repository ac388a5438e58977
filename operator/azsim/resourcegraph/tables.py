"""The rows of Resource Graph, made from the fleet's state.

Every table has the same columns, as in Resource Graph. `properties` of the patch tables are the
documented ones of Update Manager's query logs; ids keep ARM's case, `type` and `resourceGroup` are
lower-case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from azsim.arcmachine import ARC_TYPE
from azsim.clock import timestamp
from azsim.fleet import Gallery, OsType, Patch, RebootBehavior, ResourceGroup
from azsim.galleries import gallery_to_arm, image_to_arm, version_to_arm
from azsim.machine import Machine, installation_counts
from azsim.records import AssessmentRecord, InstallationRecord
from azsim.results import by_classification, patch_id
from azsim.virtualmachine import VM_TYPE

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


def _machine_actions(kind: str) -> dict[str, str]:
    """The part of READ_ACTIONS that is about machines of an ARM type."""
    children = (
        "",
        "/patchAssessmentResults",
        "/patchAssessmentResults/softwarePatches",
        "/patchInstallationResults",
        "/patchInstallationResults/softwarePatches",
    )
    return {f"{kind}{child}".lower(): f"{kind}{child}/read" for child in children}


READ_ACTIONS = {
    **_machine_actions(VM_TYPE),
    **_machine_actions(ARC_TYPE),
    "microsoft.compute/galleries": "Microsoft.Compute/galleries/read",
    "microsoft.compute/galleries/images": "Microsoft.Compute/galleries/images/read",
    "microsoft.compute/galleries/images/versions": (
        "Microsoft.Compute/galleries/images/versions/read"
    ),
    "microsoft.resources/subscriptions": "Microsoft.Resources/subscriptions/read",
    "microsoft.resources/subscriptions/resourcegroups": (
        "Microsoft.Resources/subscriptions/resourceGroups/read"
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
    row = _row(machine, tenant_id, machine.id, machine.type.lower())
    row["tags"] = dict(machine.tags)
    if machine.spec.zone is not None:
        row["zones"] = [machine.spec.zone]
    row["properties"] = machine.to_graph(shown.state)
    return row


def _assessment_rows(machine: Machine, shown: Shown, tenant_id: str) -> Iterator[Row]:
    record = shown.assessment
    if record is None:
        return
    latest = f"{machine.id}/patchAssessmentResults/latest"
    kind = f"{machine.type}/patchAssessmentResults".lower()
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
    return {
        "status": record.status.value,
        "osType": machine.os_type.value,
        "rebootPending": record.reboot_pending,
        "patchServiceUsed": machine.patch_service,
        "startDateTime": timestamp(record.start),
        "lastModifiedDateTime": timestamp(record.last_modified),
        "startedBy": record.started_by,
        "availablePatchCountByClassification": by_classification(record),
        "errorDetails": record.error.to_arm(),
        "configurationStatus": machine.configuration_status(record),
    }


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
    kind = f"{machine.type}/patchInstallationResults".lower()
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
