"""A machine as Azure knows it, whatever its kind, and what operations in its guest leave behind.

`virtualmachine` and `arcmachine` are the two kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from azsim.fleet import MachineSpec, OsType, Patch
from azsim.records import (
    AssessmentRecord,
    GraphView,
    InstallationRecord,
    InstallState,
)

_WINDOWS_SERVICE, _DEBIAN_SERVICE = "WU", "APT"


@dataclass(kw_only=True)
class Machine(ABC):
    """One machine. `id` is spelt as ARM prints it; compare ids in lower case.

    `graph` is what Resource Graph shows; `assessment` and `installation` are the last of each kind.
    """

    type: ClassVar[str]
    """ARM's resource type."""

    reboot_wait: ClassVar[timedelta]
    """How long Azure waits for a machine of this kind to come back from a reboot."""

    id: str
    subscription_id: str
    spec: MachineSpec
    vm_id: str
    time_created: datetime
    graph: GraphView
    missing: list[Patch]
    reboot_pending: bool
    agent_silent: bool = False
    """The agent does not report though the machine runs: rebooting, lost, or never was ready."""
    tags: dict[str, str] = field(default_factory=dict)
    assessment: AssessmentRecord | None = None
    installation: InstallationRecord | None = None
    deleted: bool = False

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.spec.name

    @property
    def resource_group(self) -> str:
        """The name of its group."""
        return self.spec.group

    @property
    def location(self) -> str:
        """Its region."""
        return self.spec.location

    @property
    def os_type(self) -> OsType:
        """Linux or Windows."""
        return self.spec.os_type

    @property
    def patch_service(self) -> str:
        """`patchServiceUsed` of Resource Graph's rows."""
        default = _WINDOWS_SERVICE if self.os_type is OsType.WINDOWS else _DEBIAN_SERVICE
        return self.spec.guest.patch_service or default

    @property
    @abstractmethod
    def agent_ready(self) -> bool:
        """Whether the agent reports now."""

    @property
    @abstractmethod
    def state(self) -> str:
        """What Resource Graph shows, after its lag, of whether the machine can be reached."""

    @abstractmethod
    def to_arm(self, *, instance_view: bool = False) -> dict[str, Any]:
        """The resource as ARM answers it."""

    @abstractmethod
    def to_graph(self, state: str) -> dict[str, Any]:
        """`properties` of its row in Resource Graph, which shows this `state`."""

    @abstractmethod
    def configuration_status(self, record: AssessmentRecord) -> dict[str, Any]:
        """`configurationStatus` of the row of an assessment."""


def installation_counts(record: InstallationRecord) -> dict[str, int]:
    """The five counts as ARM and Resource Graph name them."""
    return {
        "notSelectedPatchCount": record.count(InstallState.NOT_SELECTED),
        "excludedPatchCount": record.count(InstallState.EXCLUDED),
        "pendingPatchCount": record.count(InstallState.PENDING),
        "installedPatchCount": record.count(InstallState.INSTALLED),
        "failedPatchCount": record.count(InstallState.FAILED),
    }
