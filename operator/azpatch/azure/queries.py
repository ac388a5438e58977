"""The queries that azpatch sends to Resource Graph.

Kept simple on purpose: one table each, filtered and projected, merged in Python. A join over
thousands of machines costs Resource Graph more than it saves, and its answer cannot be read in
parts. Every query projects `id` and is ordered by it, without which Resource Graph cannot page.
Ids are lower-cased before they are compared: the case of their segments varies between tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

VIRTUAL_MACHINES = "microsoft.compute/virtualmachines"
ARC_SERVERS = "microsoft.hybridcompute/machines"

MACHINE_COLUMNS: Mapping[str, str] = {
    "vmId": "properties.vmId",
    "timeCreated": "properties.timeCreated",
    "osType": "properties.storageProfile.osDisk.osType",
    "osDiskCreateOption": "properties.storageProfile.osDisk.createOption",
    "computerName": "properties.osProfile.computerName",
    "licenseType": "properties.licenseType",
    "availabilitySet": "properties.availabilitySet.id",
    "scaleSet": "properties.virtualMachineScaleSet.id",
    "imageId": "properties.storageProfile.imageReference.id",
    "publisher": "properties.storageProfile.imageReference.publisher",
    "offer": "properties.storageProfile.imageReference.offer",
    "sku": "properties.storageProfile.imageReference.sku",
    "version": "properties.storageProfile.imageReference.version",
    "exactVersion": "properties.storageProfile.imageReference.exactVersion",
    "sharedGalleryImageId": "properties.storageProfile.imageReference.sharedGalleryImageId",
    "communityGalleryImageId": "properties.storageProfile.imageReference.communityGalleryImageId",
}
"""Column → its path in a VM's model, which ARM and Resource Graph share. All are strings."""

VIEW_COLUMNS: Mapping[str, str] = {
    "powerCode": "properties.extended.instanceView.powerState.code",
    "osName": "properties.extended.instanceView.osName",
    "osVersion": "properties.extended.instanceView.osVersion",
}
"""Column → where Resource Graph, and only it, keeps what the instance view says. All are strings;
the power state is `PowerState/running`."""

ARC_COLUMNS: Mapping[str, str] = {
    "vmId": "properties.vmId",
    "osType": "properties.osType",
    "osSku": "properties.osSku",
    "computerName": "properties.osProfile.computerName",
    "status": "properties.status",
    "statusChange": "properties.lastStatusChange",
}
"""The same of an Arc-enabled server."""


def _strings(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = tostring({path})" for name, path in columns.items())


MACHINES = f"""resources
| where type =~ '{VIRTUAL_MACHINES}'
| project id, location, tags, zones, {_strings({**VIEW_COLUMNS, **MACHINE_COLUMNS})}
| order by id asc"""

MACHINES_OF_ARC = f"""resources
| where type =~ '{ARC_SERVERS}'
| project id, location, tags, {_strings(ARC_COLUMNS)}
| order by id asc"""
"""A query of its own: in one with the virtual machines every row of theirs would be longer."""

IMAGE_DEFINITIONS = """resources
| where type =~ 'microsoft.compute/galleries/images'
| project id, osState = tostring(properties.osState), osType = tostring(properties.osType)
| order by id asc"""

MANAGED_GROUPS = """resourcecontainers
| where type =~ 'microsoft.resources/subscriptions/resourcegroups'
| where isnotempty(managedBy)
| project id, managedBy
| order by id asc"""
"""Only the groups that another resource manages; all others need no row."""


def _results(child: str) -> str:
    """The rows of this type below machines of either kind; they have the same columns."""
    kinds = ", ".join(f"'{kind}/{child}'" for kind in (VIRTUAL_MACHINES, ARC_SERVERS))
    return f"where type in~ ({kinds})"


_ASSESSMENT_ROWS = f"""patchassessmentresources
| {_results("patchassessmentresults")}"""

_ASSESSMENT_PROJECTION = (
    "| project id, "
    + _strings(
        {
            "status": "properties.status",
            "startTime": "properties.startDateTime",
            "lastModified": "properties.lastModifiedDateTime",
            "rebootPending": "properties.rebootPending",
            "activityId": "properties.assessmentActivityId",
            "detected": "properties.configurationStatus.vmGuestPatchReadiness"
            ".detectedVMGuestPatchSupportState",
        }
    )
    + ", counts = properties.availablePatchCountByClassification"
    + ", errorDetails = properties.errorDetails\n| order by id asc"
)

ASSESSMENTS = f"{_ASSESSMENT_ROWS}\n{_ASSESSMENT_PROJECTION}"
"""The latest assessment of every machine."""

_PATCH_COLUMNS = {
    "patchName": "properties.patchName",
    "version": "properties.version",
    "kbId": "properties.kbId",
}


def assessments_of(machine_keys: Iterable[str]) -> str:
    """The assessment rows of these machines."""
    rows = (f"{key}/patchassessmentresults/latest" for key in machine_keys)
    return f"{_ASSESSMENT_ROWS}\n| where tolower(id) in ({_quoted(rows)})\n{_ASSESSMENT_PROJECTION}"


def missing_patches_of(machine_keys: Iterable[str]) -> str:
    """What the latest assessment of these machines found missing, a row for each patch."""
    columns = {
        **_PATCH_COLUMNS,
        "rebootBehavior": "properties.rebootBehavior",
        "published": "properties.publishedDateTime",
    }
    return f"""patchassessmentresources
| {_results("patchassessmentresults/softwarepatches")}
| extend machineId = tostring(split(tolower(id), '/patchassessmentresults/')[0])
| where machineId in ({_quoted(machine_keys)})
| project id, machineId, {_strings(columns)}, classifications = properties.classifications
| order by id asc"""


_INSTALLATION_COLUMNS = {
    "status": "properties.status",
    "startTime": "properties.startDateTime",
    "lastModified": "properties.lastModifiedDateTime",
    "activityId": "properties.installationActivityId",
    "rebootStatus": "properties.rebootStatus",
    "maintenanceWindowExceeded": "properties.maintenanceWindowExceeded",
    "installedPatchCount": "properties.installedPatchCount",
    "failedPatchCount": "properties.failedPatchCount",
    "pendingPatchCount": "properties.pendingPatchCount",
    "notSelectedPatchCount": "properties.notSelectedPatchCount",
    "excludedPatchCount": "properties.excludedPatchCount",
}


def installations_of(machine_keys: Iterable[str]) -> str:
    """The latest install row of each of these machines."""
    latest = """
| extend started = todatetime(properties.startDateTime)
| summarize arg_max(started, *) by machineId"""
    return _installations(machine_keys, latest)


def all_installations_of(machine_keys: Iterable[str]) -> str:
    """The install rows of these machines: those of the last 30 days."""
    return _installations(machine_keys)


def _installations(machine_keys: Iterable[str], narrowed: str = "") -> str:
    return f"""patchinstallationresources
| {_results("patchinstallationresults")}
| extend machineId = tostring(split(tolower(id), '/patchinstallationresults/')[0])
| where machineId in ({_quoted(machine_keys)}){narrowed}
| project id, machineId, {_strings(_INSTALLATION_COLUMNS)}, errorDetails = properties.errorDetails
| order by id asc"""


def installed_patches_of(installation_keys: Iterable[str]) -> str:
    """The patches of these installs (`<machine>/patchinstallationresults/<GUID>`, lower case)."""
    columns = {**_PATCH_COLUMNS, "installationState": "properties.installationState"}
    return f"""patchinstallationresources
| {_results("patchinstallationresults/softwarepatches")}
| extend installationId = tostring(split(tolower(id), '/softwarepatches/')[0])
| where installationId in ({_quoted(installation_keys)})
| project id, installationId, {_strings(columns)}, classifications = properties.classifications
| order by id asc"""


def _quoted(values: Iterable[str]) -> str:
    """A list of KQL string literals. Ids come from resources that people write: escaped."""
    return ", ".join(f"'{_escaped(value)}'" for value in values)


def _escaped(value: str) -> str:
    printable = "".join(c for c in value if c.isprintable())
    return printable.replace("\\", "\\\\").replace("'", "\\'")
