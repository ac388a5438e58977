"""azpatch objects in as few words as possible, changes to them, and the API server's words."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from azpatch.api.common import API_VERSION
from lab.apiclient import ApiError
from lab.controlplane import ControlPlane

Change = Callable[[dict[str, Any]], None]

SUBSCRIPTION = "6f1c2a34-0000-4000-8000-000000000001"
COMPUTE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute"
MACHINE = f"{COMPUTE}/virtualMachines/web-1"
SERVER = f"{COMPUTE}/machines/dc-7".replace("Microsoft.Compute", "Microsoft.HybridCompute")
IMAGE = f"{COMPUTE}/galleries/golden/images/web"


def policy(name: str = "web") -> dict[str, Any]:
    """A PatchPolicy that installs, in as few words as possible."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PatchPolicy",
        "metadata": {"name": name},
        "spec": {
            "target": {"virtualMachine": {"id": MACHINE}},
            "install": {"linux": {}},
            "schedule": {"always": {}},
        },
    }


def subscription(name: str = "declared") -> dict[str, Any]:
    """An AzureSubscription with one grant."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AzureSubscription",
        "metadata": {"name": name},
        "spec": {
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "72f988bf-0000-4000-8000-000000000001",
            "supportMatrix": "2023-05",
            "grants": [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Patch"}],
        },
    }


def target(name: str = "web-1-5d0c7a91be", of: str = "web") -> dict[str, Any]:
    """A PatchTarget as the operator makes it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PatchTarget",
        "metadata": {"name": name},
        "spec": {"machineId": MACHINE, "policy": of},
    }


def run(name: str = "web-202612112100", of: str = "web") -> dict[str, Any]:
    """A PatchRun as the operator makes it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PatchRun",
        "metadata": {"name": name},
        "spec": {"policyRef": {"name": of}},
    }


def collection(plural: str, namespace: str | None = None) -> str:
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{API_VERSION}{inside}/{plural}"


def put(path: str, value: Any) -> Change:
    """Sets the value at a dotted path."""
    *parents, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        for parent in parents:
            body = body.setdefault(parent, {})
        body[last] = value

    return change


def drop(path: str) -> Change:
    """Removes what is at a dotted path."""
    *parents, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        for parent in parents:
            body = body[parent]
        del body[last]

    return change


def changed(body: dict[str, Any], *changes: Change) -> dict[str, Any]:
    body = copy.deepcopy(body)
    for change in changes:
        change(body)
    return body


def refusal(controlplane: ControlPlane, path: str, body: Mapping[str, Any]) -> str:
    """The API server's words about a new object that it refuses."""
    with pytest.raises(ApiError) as refused:
        controlplane.admin.create(f"{path}?dryRun=All&fieldValidation=Strict", body)
    return str(refused.value)
