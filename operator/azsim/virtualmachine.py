"""A virtual machine as ARM knows it: its model, its power, its agent, its instance view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from azsim.clock import timestamp
from azsim.fleet import Detection, OsType, PowerState
from azsim.machine import Machine, installation_counts
from azsim.records import AssessmentRecord, InstallationRecord

VM_TYPE = "Microsoft.Compute/virtualMachines"


@dataclass(kw_only=True)
class VirtualMachine(Machine):
    """One virtual machine. `power` is the present truth."""

    type: ClassVar[str] = VM_TYPE
    reboot_wait: ClassVar[timedelta] = timedelta(minutes=15)

    power: PowerState

    @property
    def agent_ready(self) -> bool:
        """Whether the agent reports now."""
        running = self.power is PowerState.RUNNING
        return running and self.spec.agent.ready and not self.agent_silent

    @property
    def state(self) -> str:
        """Its power state."""
        return self.power.value

    def properties(self) -> dict[str, Any]:
        """`properties` of the model, without an instance view."""
        spec = self.spec
        properties: dict[str, Any] = {
            "hardwareProfile": {"vmSize": spec.size},
            "provisioningState": "Succeeded",
            "vmId": self.vm_id,
            "timeCreated": timestamp(self.time_created),
            "storageProfile": self._storage(),
            "networkProfile": {"networkInterfaces": []},
        }
        if spec.os_profile:
            properties["osProfile"] = self._os_profile()
        if spec.license_type is not None:
            properties["licenseType"] = spec.license_type
        if spec.scale_set is not None:
            properties["virtualMachineScaleSet"] = {"id": spec.scale_set}
        if spec.availability_set is not None:
            properties["availabilitySet"] = {"id": spec.availability_set}
        return properties

    def to_arm(self, *, instance_view: bool = False) -> dict[str, Any]:
        """The resource as ARM answers it."""
        properties = self.properties()
        if instance_view:
            properties["instanceView"] = self.instance_view()
        resource: dict[str, Any] = {
            "name": self.name,
            "id": self.id,
            "type": VM_TYPE,
            "location": self.location,
            "tags": dict(self.tags),
            "properties": properties,
            "etag": '"1"',
        }
        if self.spec.zone is not None:
            resource["zones"] = [self.spec.zone]
        return resource

    def to_graph(self, state: str) -> dict[str, Any]:
        """The model, and what Resource Graph keeps of the instance view."""
        view = {"hyperVGeneration": "V2", "powerState": power_status(PowerState(state))}
        # Kept while the machine is stopped; one whose agent never reported has nothing to keep.
        if self.spec.agent.ready:
            view.update(self._reported_os())
        return {**self.properties(), "extended": {"instanceView": view}}

    def configuration_status(self, record: AssessmentRecord) -> dict[str, Any]:
        """What the assessment detected, and how patching is set up."""
        readiness = {}
        if record.detection is not Detection.ABSENT:
            readiness["detectedVMGuestPatchSupportState"] = record.detection.value
        return {
            "vmGuestPatchReadiness": readiness,
            "assessmentModeConfiguration": {"status": "Succeeded"},
            "patchModeConfiguration": {"status": "Succeeded"},
        }

    def _storage(self) -> dict[str, Any]:
        image = self.spec.image
        os_disk: dict[str, Any] = {
            "osType": self.os_type.value,
            "name": f"{self.name}_OsDisk",
            "createOption": "Attach" if image.attached_disk else "FromImage",
            "caching": "ReadWrite",
            "managedDisk": {
                "storageAccountType": "Premium_LRS",
                "id": f"{self.id.rsplit('/', 2)[0]}/disks/{self.name}_OsDisk",
            },
            "deleteOption": "Detach",
            "diskSizeGB": 30,
        }
        storage: dict[str, Any] = {"osDisk": os_disk, "dataDisks": [], "diskControllerType": "SCSI"}
        reference = {
            "publisher": image.publisher,
            "offer": image.offer,
            "sku": image.sku,
            "version": image.version,
            "exactVersion": image.exact_version,
            "id": image.id,
            "sharedGalleryImageId": image.shared_gallery_image_id,
            "communityGalleryImageId": image.community_gallery_image_id,
        }
        reference = {key: value for key, value in reference.items() if value is not None}
        if reference and not image.attached_disk:
            storage["imageReference"] = reference
        return storage

    def _os_profile(self) -> dict[str, Any]:
        profile: dict[str, Any] = {
            "computerName": self.name[:15] if self.os_type is OsType.WINDOWS else self.name,
            "adminUsername": "azureuser",
            "secrets": [],
            "allowExtensionOperations": True,
            "requireGuestProvisionSignal": True,
        }
        if self.os_type is OsType.WINDOWS:
            profile["windowsConfiguration"] = {
                "provisionVMAgent": True,
                "enableAutomaticUpdates": True,
                "patchSettings": {"patchMode": "AutomaticByOS", "assessmentMode": "ImageDefault"},
            }
        else:
            profile["linuxConfiguration"] = {
                "disablePasswordAuthentication": True,
                "provisionVMAgent": True,
                "patchSettings": {"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"},
            }
        return profile

    def instance_view(self) -> dict[str, Any]:
        """What the platform sees right now. Nothing in it speaks of detected support."""
        view: dict[str, Any] = {
            "disks": [{"name": f"{self.name}_OsDisk", "statuses": [_status("ProvisioningState")]}],
            "hyperVGeneration": "V2",
            "statuses": [_status("ProvisioningState"), self.power_status()],
        }
        if self.agent_ready:
            view["computerName"] = self.name
            view.update(self._reported_os())
        if self.power is PowerState.RUNNING:
            view["vmAgent"] = self._agent_view()
        patch_status = dict(self._patch_status())
        if patch_status:
            view["patchStatus"] = patch_status
        return view

    def _reported_os(self) -> dict[str, str]:
        """`osName` and `osVersion`, as far as the file says what the agent reports."""
        guest = self.spec.guest
        reported = {"osName": (guest.os or "").lower(), "osVersion": guest.os_version or ""}
        return {name: value for name, value in reported.items() if value}

    def power_status(self) -> dict[str, Any]:
        """The PowerState entry of `statuses`."""
        return power_status(self.power)

    def _agent_view(self) -> dict[str, Any]:
        if self.agent_ready:
            status = {
                "code": "ProvisioningState/succeeded",
                "level": "Info",
                "displayStatus": "Ready",
                "message": "Guest Agent is running",
            }
            return {"vmAgentVersion": self.spec.agent.version, "statuses": [status]}
        status = {
            "code": "ProvisioningState/Unavailable",
            "level": "Warning",
            "displayStatus": "Not Ready",
            "message": "VM status blob is found but not yet populated.",
        }
        return {"vmAgentVersion": "Unknown", "extensionHandlers": [], "statuses": [status]}

    def _patch_status(self) -> Iterator[tuple[str, Any]]:
        if (last := self.assessment) is not None:
            yield (
                "availablePatchSummary",
                {
                    "status": last.status.value,
                    "assessmentActivityId": last.activity_id,
                    "rebootPending": last.reboot_pending,
                    "criticalAndSecurityPatchCount": last.critical_and_security,
                    "otherPatchCount": last.other,
                    "startTime": timestamp(last.start),
                    "lastModifiedTime": timestamp(last.last_modified),
                    "error": last.error.to_arm(),
                },
            )
        if (done := self.installation) is not None:
            yield "lastPatchInstallationSummary", installation_summary(done)


def installation_summary(record: InstallationRecord) -> dict[str, Any]:
    """`lastPatchInstallationSummary` of patchStatus."""
    return {
        "status": record.status.value,
        "installationActivityId": record.activity_id,
        "maintenanceWindowExceeded": record.maintenance_window_exceeded,
        **installation_counts(record),
        "startTime": timestamp(record.start),
        "lastModifiedTime": timestamp(record.last_modified),
        "error": record.error.to_arm(),
    }


def power_status(power: PowerState) -> dict[str, Any]:
    """A power state as a status of the instance view."""
    return {
        "code": f"PowerState/{power.value}",
        "level": "Info",
        "displayStatus": f"VM {power.value}",
    }


def _status(kind: str) -> dict[str, Any]:
    return {
        "code": f"{kind}/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
    }
