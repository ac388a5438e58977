"""A PatchTarget on a real API server: it does not change its machine, and it stays small."""

from __future__ import annotations

import json
from typing import Any

import pytest
from crd_objects import (
    MACHINE,
    collection,
    target,
)

from azpatch.api.common import API_VERSION, OperationName
from azpatch.api.target import OPERATION_FINALIZER, POLICY_LABEL, SUBSCRIPTION_LABEL, PatchTarget
from lab.apiclient import ApiError
from lab.controlplane import ControlPlane

EIGHT_KIBIBYTES = 8 * 1024


@pytest.mark.parametrize(
    "change",
    [{"policy": "other"}, {"machineId": f"{MACHINE}0"}],
    ids=["another policy", "another machine"],
)
def test_the_spec_of_a_target_cannot_change(
    crds: ControlPlane, namespace: str, change: dict[str, str]
) -> None:
    path = collection("patchtargets", namespace)
    crds.admin.create(path, target())
    with pytest.raises(ApiError) as refused:
        crds.admin.patch(f"{path}/{target()['metadata']['name']}", {"spec": change})
    assert (
        "spec of a PatchTarget cannot change: azpatch makes one for each machine of a policy, "
        "edit the PatchPolicy instead"
    ) in str(refused.value)


def test_targets_are_found_by_their_policy(crds: ControlPlane, namespace: str) -> None:
    path = collection("patchtargets", namespace)
    for name, of in (("a-1", "web"), ("b-1", "db"), ("a-2", "web")):
        crds.admin.create(path, target(name, of))
    found = crds.admin.get(f"{path}?fieldSelector=spec.policy%3Dweb")["items"]
    assert {item["metadata"]["name"] for item in found} == {"a-1", "a-2"}


WORDY = "x" * 5000


def condition(type_: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": "Unknown",
        "reason": "PreviewFeatureNotRegistered",
        "message": WORDY,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-23T02:00:00.123456Z",
    }


def full_target() -> dict[str, Any]:
    """A PatchTarget with every field, Azure's longest ids, and messages that never end."""
    time, guid = "2026-11-23T02:00:00.123456Z", "0d4e8c11-0000-4000-8000-000000000001"
    group = f"/subscriptions/{guid}/resourceGroups/{'g' * 90}/providers/Microsoft.Compute"
    image = f"{group}/galleries/{'g' * 80}/images/{'i' * 80}/versions/1000000.1000000.1000000"
    operations = [operation.value for operation in OperationName]
    used = operations[:2]
    body = target(f"{'m' * 40}-5d0c7a91be", "p" * 46)
    owner = {"apiVersion": API_VERSION, "kind": "PatchPolicy", "name": "p" * 46, "uid": guid}
    body["metadata"] |= {
        "labels": {POLICY_LABEL: "p" * 46, SUBSCRIPTION_LABEL: "s" * 63},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        "finalizers": [OPERATION_FINALIZER],
    }
    body["spec"] = {"machineId": f"{group}/virtualMachines/{'m' * 64}", "policy": "p" * 46}
    body["status"] = {
        "machine": {
            "kind": "VirtualMachine",
            "vmId": guid,
            "timeCreated": time,
            "osType": "Windows",
            "location": "southafricanorth",
            "powerState": "Deallocating",
            "zone": "1",
            "availabilitySet": f"{group}/availabilitySets/{'a' * 80}",
        },
        "image": {
            "class": "GallerySpecialized",
            "reference": image,
            "evidence": WORDY,
            "confidence": "Medium",
        },
        "detected": {
            "state": "UnableToDetermine",
            "time": time,
            "imageReference": image,
            "probes": 10,
            "nextProbeTime": time,
        },
        "governs": True,
        "verdicts": [
            {
                "operation": operation,
                "verdict": "Unsupported",
                "reason": "PreviewFeatureNotRegistered",
                **({"message": WORDY} if operation in used else {}),
            }
            for operation in operations
        ],
        "assessment": {
            "time": time,
            "startTime": time,
            "status": "Succeeded",
            "activityId": guid,
            "criticalAndSecurity": 1000,
            "other": 1000,
            "selected": 1000,
            "ubuntuProRequired": 1000,
            "rebootPending": True,
        },
        "attempts": {
            "dueSince": time,
            "windowStart": time,
            "installPosts": 2,
            "selectedHash": "f" * 64,
            "failedAssessments": 10,
            "retryAfter": time,
        },
        "operation": {
            "kind": "Install",
            "intentTime": time,
            "attemptId": guid,
            "previousActivityId": guid,
            "operationId": guid,
            "deadline": time,
            "state": "Unconfirmed",
        },
        "installation": {
            "time": time,
            "startTime": time,
            "status": "CompletedWithWarnings",
            "outcome": "Incomplete",
            "reason": "UbuntuProRequired",
            "activityId": guid,
            "installed": 1000,
            "failed": 1000,
            "pending": 1000,
            "notSelected": 1000,
            "excluded": 1000,
            "rebootStatus": "Completed",
            "error": {"code": "VMGuestPatchInternalError", "message": WORDY},
        },
        "conditions": [condition(type_) for type_ in ("Ready", "Supported", "Compliant")],
    }
    return body


def test_a_target_with_everything_is_at_most_8_kib_as_stored(
    crds: ControlPlane, namespace: str
) -> None:
    path, written = collection("patchtargets", namespace), PatchTarget.from_object(full_target())
    crds.admin.create(path, written.to_object())
    stored = crds.admin.patch(
        f"{path}/{written.metadata.name}/status?fieldValidation=Strict",
        {"status": written.status_object()},
    )
    compact = json.dumps(stored, separators=(",", ":"), ensure_ascii=False)
    assert len(compact.encode()) <= EIGHT_KIBIBYTES
    assert PatchTarget.from_object(stored).status == written.status
