"""Models as the Azure CLI prints them, cut down to what can matter."""

from __future__ import annotations

import copy
import json
from typing import Any

SUBSCRIPTION = "/subscriptions/5ab10000-0000-4000-8000-00000000c111"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg-web"
IMAGE = (
    f"{SUBSCRIPTION}/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/golden/images"
)
MANAGED_IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/old"

Model = dict[str, Any]


def vm(name: str = "web-1", /, **more: Any) -> Model:
    """`az vm show -o json`: what ARM has under `properties` is lifted. `more` replaces fields."""
    return {
        "etag": '"1"',
        "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
        "id": f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}",
        "location": "westeurope",
        "name": name,
        "osProfile": {"adminUsername": "azureuser", "computerName": name},
        "provisioningState": "Succeeded",
        "resourceGroup": "rg-web",
        "storageProfile": storage(id=f"{IMAGE}/web/versions/1.1.0", resourceGroup="rg-images"),
        "tags": {"env": "prod"},
        "timeCreated": "2026-11-01T08:00:00.0000000+00:00",
        "type": "Microsoft.Compute/virtualMachines",
        "vmId": "0a54e4a1-0000-4000-8000-000000000001",
        **more,
    }


def storage(
    os_type: str | None = "Linux", create_option: str = "FromImage", **image: str | None
) -> Model:
    """`storageProfile`, with the fields of its image reference; none: there is no reference."""
    disk = {"createOption": create_option, "osType": os_type}
    return {"dataDisks": [], "imageReference": image or None, "osDisk": disk}


def plan(publisher: str, offer: str, sku: str) -> Model:
    """`storageProfile` of a machine from a marketplace image."""
    return storage(publisher=publisher, offer=offer, sku=sku, version="latest")


def instance_view(os_name: str, os_version: str) -> Model:
    """What `az vm get-instance-view` adds."""
    return {"osName": os_name, "osVersion": os_version, "statuses": [], "vmAgent": None}


def arc(name: str = "dc-7", /, **more: Any) -> Model:
    """`az connectedmachine show -o json`."""
    return {
        "id": f"{GROUP}/providers/Microsoft.HybridCompute/machines/{name}",
        "location": "westeurope",
        "name": name,
        "osProfile": {"computerName": name},
        "osSku": "Windows Server 2019 Datacenter",
        "osType": "windows",
        "resourceGroup": "rg-web",
        "status": "Connected",
        "type": "Microsoft.HybridCompute/machines",
        "vmId": "0a54e4a1-0000-4000-8000-000000000002",
        **more,
    }


def definition(name: str = "web", os_state: str = "Generalized", /, **more: Any) -> Model:
    """`az sig image-definition show -o json`."""
    return {
        "hyperVGeneration": "V2",
        "id": f"{IMAGE}/{name}",
        "identifier": {"offer": "golden", "publisher": "example", "sku": name},
        "location": "westeurope",
        "name": name,
        "osState": os_state,
        "osType": "Linux",
        "type": "Microsoft.Compute/galleries/images",
        **more,
    }


def in_arms_form(model: Model) -> Model:
    """As `az rest` prints it: everything but what each resource has is under `properties`."""
    own = ("id", "name", "type", "location", "tags", "zones", "etag")
    properties = {key: copy.deepcopy(value) for key, value in model.items() if key not in own}
    return {**{key: model[key] for key in own if key in model}, "properties": properties}


def written(content: object) -> bytes:
    """As the CLI writes it to a file."""
    return json.dumps(content, indent=2).encode()
