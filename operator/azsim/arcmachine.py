"""An Azure Arc-enabled server as ARM knows it: what its agent last said, and whether it says so.

There is no power state, no instance view and no patch status. The one trace that an operation
leaves in ARM is in the settings of the update extension, which the service writes for the agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from azsim.clock import timestamp
from azsim.fleet import ArcStatus, OsType, guid
from azsim.machine import Machine
from azsim.records import AssessmentRecord

ARC_TYPE = "Microsoft.HybridCompute/machines"


@dataclass(frozen=True, slots=True)
class Requested:
    """The last guest patch operation that the service wrote down for the agent."""

    activity_id: str
    action: Literal["Assess", "Install"]
    time: datetime


@dataclass(kw_only=True)
class ArcMachine(Machine):
    """One server. `status` is what Azure believes, which is late; `heard` is the present truth."""

    type: ClassVar[str] = ARC_TYPE
    reboot_wait: ClassVar[timedelta] = timedelta(minutes=25)

    status: ArcStatus
    last_status_change: datetime
    shows_requests: bool
    """Whether ARM shows the update extension with its settings."""
    off: bool = False
    """The server does not run."""
    cut_off: bool = False
    """Its agent does not reach Azure."""
    requested: Requested | None = None

    @property
    def heard(self) -> bool:
        """Whether Azure hears the agent now."""
        return not (self.off or self.cut_off or self.agent_silent)

    @property
    def agent_ready(self) -> bool:
        """Whether the agent takes an operation now."""
        return self.heard

    @property
    def state(self) -> str:
        """Its status."""
        return self.status.value

    def properties(self) -> dict[str, Any]:
        """`properties` as the agent reported them."""
        guest, os = self.spec.guest, self.os_type.value.lower()
        name = (guest.os or self.os_type.value).strip()
        return {
            "provisioningState": "Succeeded",
            "status": self.status.value,
            "lastStatusChange": timestamp(self.last_status_change),
            "agentVersion": self.spec.arc.agent_version if self.spec.arc else "",
            "errorDetails": [],
            "displayName": self.name,
            "machineFqdn": self.name,
            "osName": name.lower(),
            "osVersion": guest.os_version or "",
            "osSku": f"{name} {guest.os_version or ''}".strip(),
            # Lower-case here, while the results of operations say Linux and Windows.
            "osType": os,
            "osProfile": {"computerName": self.name},
            "vmId": self.vm_id,
            # Of the hardware: it stays when the server is onboarded anew.
            "vmUuid": guid("hardware", self.id.lower()).upper(),
            "cloudMetadata": {"provider": "N/A"},
            "detectedProperties": {"architecture": "amd64", "cloudprovider": "N/A"},
            "agentConfiguration": {"extensionsEnabled": "true", "configMode": "full"},
        }

    def to_arm(self, *, instance_view: bool = False) -> dict[str, Any]:
        """The resource as ARM answers it, with its extensions; an instance view adds nothing."""
        resource: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "location": self.location,
            "tags": dict(self.tags),
            "identity": {"type": "SystemAssigned", "principalId": guid("identity", self.vm_id)},
            "type": ARC_TYPE,
            "properties": self.properties(),
        }
        if self.requested is not None and self.shows_requests:
            resource["resources"] = [self._update_extension(self.requested)]
        return resource

    def to_graph(self, state: str) -> dict[str, Any]:
        """The same; extensions have rows of their own, which are not made here."""
        return {**self.properties(), "status": state}

    def configuration_status(self, record: AssessmentRecord) -> dict[str, Any]:
        """No detection, and no patch mode that could be set."""
        return {"assessmentModeConfiguration": {"status": "Succeeded"}}

    def _update_extension(self, requested: Requested) -> dict[str, Any]:
        kind = "Windows" if self.os_type is OsType.WINDOWS else "Linux"
        name = f"{kind}OsUpdateExtension"
        action = "Assessment" if requested.action == "Assess" else "Patching"
        return {
            "id": f"{self.id}/extensions/{name}",
            "name": name,
            "type": f"{ARC_TYPE}/extensions",
            "location": self.location,
            "properties": {
                "publisher": "Microsoft.SoftwareUpdateManagement",
                "type": name,
                "provisioningState": "Succeeded",
                "settings": {
                    "updateConfiguration": {
                        "activityId": requested.activity_id,
                        "startTime": timestamp(requested.time),
                        "action": action,
                    }
                },
            },
        }
