"""Machines that Azure's guest patching does not serve, whatever their image.

Update Manager names scale sets, AKS nodes and Windows client as unsupported workloads. They are
told by evidence on the model; what an assessment detects never lifts the exclusion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from azpatch.api.reasons import Reason
from azpatch.domain.facts import Machine
from azpatch.domain.ids import key, parse

_SCALE_SET = "/providers/microsoft.compute/virtualmachinescalesets/"
_AKS_CLUSTER = "/providers/microsoft.containerservice/managedclusters/"
_AKS_GROUP = "mc_"
"""AKS names the group of a cluster's nodes `MC_group_cluster_location` unless told otherwise."""
_AKS_TAG = "aks-managed-"
_KARPENTER_TAGS = ("karpenter.sh", "karpenter.azure.com")
"""Karpenter's label domains: it tags a node's VM with them, `_` in place of `/`."""
_CLIENT_PUBLISHER = "microsoftwindowsdesktop"
_CLIENT_LICENSE = "windows_client"
_CLIENT_SYSTEM = re.compile(r"windows (?:xp|vista|\d{1,2}(?:\.1)?)(?=\s|$)", re.IGNORECASE)
"""In an Arc-enabled server's `osSku`: `Windows 10 Enterprise`. Servers have a word before the
number: `Windows Server 2022 Datacenter`."""


@dataclass(frozen=True, slots=True)
class ExcludedWorkload:
    """Why a machine is never patched, and what serves it instead."""

    reason: Reason
    message: str


def excluded(machine: Machine) -> ExcludedWorkload | None:
    """The unsupported workload that a machine belongs to, None if it may be patched."""
    for rule in _RULES:
        found = rule(machine)
        if found is not None:
            return found
    return None


def _scale_set_member(machine: Machine) -> ExcludedWorkload | None:
    if _SCALE_SET in key(machine.id):
        evidence = "It is an instance of a virtual machine scale set"
    elif machine.scale_set:
        scale_set = machine.scale_set.rstrip("/").rsplit("/", 1)[-1]
        evidence = f"It belongs to the virtual machine scale set {scale_set}"
    else:
        return None
    return ExcludedWorkload(
        Reason.SCALE_SET_MEMBER,
        f"{evidence}, which guest patching does not serve. azpatch leaves it alone. Patch it by "
        "the scale set: automatic OS image upgrades, or a newer image in its model.",
    )


def _aks_node(machine: Machine) -> ExcludedWorkload | None:
    evidence = _aks_evidence(machine)
    if evidence is None:
        return None
    return ExcludedWorkload(
        Reason.AKS_NODE,
        f"It is an AKS node or AKS manages its resource group ({evidence}), which guest patching "
        "does not serve. azpatch leaves it alone. Patch it by the cluster: node image upgrades "
        "and the node OS upgrade channel.",
    )


def _aks_evidence(machine: Machine) -> str | None:
    if machine.group_managed_by and _AKS_CLUSTER in key(machine.group_managed_by) + "/":
        return f"managedBy {machine.group_managed_by.rstrip('/').rsplit('/', 1)[-1]}"
    tags = sorted(tag.lower() for tag in machine.tags)
    parts = parse(machine.id)
    group = "" if parts is None else parts.resource_group.lower()
    aks_tag = next((tag for tag in tags if tag.startswith(_AKS_TAG)), None)
    if group.startswith(_AKS_GROUP) and aks_tag is not None:
        return f"an MC_ resource group and tag {aks_tag}"
    karpenter = next((tag for tag in tags if tag.startswith(_KARPENTER_TAGS)), None)
    return None if karpenter is None else f"Karpenter's tag {karpenter}"


def _windows_client(machine: Machine) -> ExcludedWorkload | None:
    publisher = (machine.image.publisher or "") if machine.image else ""
    if publisher.lower() == _CLIENT_PUBLISHER:
        evidence = f"publisher {publisher}"
    elif (machine.license_type or "").lower() == _CLIENT_LICENSE:
        evidence = f"licenseType {machine.license_type}"
    elif _CLIENT_SYSTEM.search(machine.os_sku or ""):
        evidence = f"osSku {machine.os_sku}"
    else:
        return None
    return ExcludedWorkload(
        Reason.WINDOWS_CLIENT,
        f"It runs Windows client ({evidence}), which guest patching does not serve. azpatch "
        "leaves it alone. Patch it with Intune or Windows Autopatch.",
    )


_RULES: tuple[Callable[[Machine], ExcludedWorkload | None], ...] = (
    _scale_set_member,
    _aks_node,
    _windows_client,
)
