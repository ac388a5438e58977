"""Machines that guest patching does not serve, whatever their image."""

from __future__ import annotations

from typing import Any

import pytest
from domain_builders import COMPUTE, READABLE, SUBSCRIPTION, machine

from azpatch.api.reasons import Reason
from azpatch.domain.facts import ImageReference
from azpatch.domain.workload import excluded

SCALE_SET = f"{COMPUTE}/virtualMachineScaleSets/workers"
IN_MC_GROUP = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/MC_rg_aks_westeurope"
    "/providers/Microsoft.Compute/virtualMachines/aks-1"
)
CLUSTER = (
    f"/subscriptions/{SUBSCRIPTION}/resourcegroups/rg/providers"
    "/Microsoft.ContainerService/managedClusters/aks"
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"scale_set": SCALE_SET}, Reason.SCALE_SET_MEMBER, id="member of a Flexible scale set"
        ),
        pytest.param(
            {"id": f"{SCALE_SET}/virtualMachines/0"},
            Reason.SCALE_SET_MEMBER,
            id="instance of a Uniform scale set",
        ),
        pytest.param(
            {"group_managed_by": CLUSTER}, Reason.AKS_NODE, id="group managed by an AKS cluster"
        ),
        pytest.param(
            {"id": IN_MC_GROUP, "tags": {"aks-managed-poolName": "pool1"}},
            Reason.AKS_NODE,
            id="MC_ group with AKS tags",
        ),
        pytest.param(
            {"tags": {"karpenter.sh_nodepool": "default"}}, Reason.AKS_NODE, id="Karpenter's tag"
        ),
        pytest.param(
            {"tags": {"karpenter.azure.com_cluster": "aks"}},
            Reason.AKS_NODE,
            id="Karpenter's tag for Azure",
        ),
        pytest.param(
            {
                "image": ImageReference(
                    publisher="MicrosoftWindowsDesktop", offer="windows-11", sku="win11-24h2-pro"
                )
            },
            Reason.WINDOWS_CLIENT,
            id="publisher microsoftwindowsdesktop",
        ),
        pytest.param(
            {
                "image": ImageReference(
                    id=f"{COMPUTE}/galleries/g/images/desktop",
                    publisher="microsoftwindowsdesktop",
                    offer="windows-11",
                    sku="win11-24h2-pro",
                )
            },
            Reason.WINDOWS_CLIENT,
            id="a gallery image made from it",
        ),
        pytest.param({"license_type": "Windows_Client"}, Reason.WINDOWS_CLIENT, id="licenseType"),
        *(
            pytest.param({"os_sku": sku}, Reason.WINDOWS_CLIENT, id=sku)
            for sku in ("Windows 10 Enterprise", "Windows 11 Pro", "windows 8.1", "Windows Vista")
        ),
    ],
)
def test_an_unsupported_workload_is_told_by_its_model(
    changes: dict[str, Any], reason: Reason
) -> None:
    found = excluded(machine(**changes))

    assert found is not None
    assert found.reason is reason
    assert "Patch it" in found.message
    assert len(found.message) <= READABLE


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="a plain machine"),
        pytest.param({"id": IN_MC_GROUP}, id="MC_ group without AKS tags"),
        pytest.param({"tags": {"aks-managed-poolName": "x"}}, id="AKS tags outside an MC_ group"),
        pytest.param(
            {"group_managed_by": f"{COMPUTE}/galleries/g"}, id="group managed by something else"
        ),
        pytest.param({"license_type": "Windows_Server"}, id="Windows Server"),
        *(
            pytest.param({"os_sku": sku}, id=sku or "an Arc-enabled server that does not say")
            for sku in (
                "Windows Server 2022 Datacenter",
                "Windows Server 2012 R2 Standard",
                "Windows 10.0.20348.1726",
                "Windows",
                "Azure Stack HCI",
                "Ubuntu 22.04.3 LTS",
                None,
            )
        ),
    ],
)
def test_other_machines_are_not_excluded(changes: dict[str, Any]) -> None:
    assert excluded(machine(**changes)) is None
