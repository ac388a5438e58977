"""The fleet that the operator is measured with, and the policies for it.

Every machine is healthy, so that the work is the operator's and not a failure's; the fleet of
`azsim fleet`, with its mix of troubles, is what azsim itself is measured with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.controlplane import SERVICE_ACCOUNT_ISSUER

NAMESPACE = "bench"

MACHINES_PER_SUBSCRIPTION = 4000
"""A fleet of 10,000 is spread over three, as it would have to be in Azure."""

SHARES: Mapping[str, float] = {"web": 1.0}
"""Policies, one an image, and their share of the machines. What a policy does for each of its
machines grows with the largest, so all of the fleet is under one."""

PROBES = 30
"""Machines of no policy, each for one that is applied later."""

PROBE_IMAGE = "probe"

Object = dict[str, Any]


def subscriptions(machines: int) -> list[str]:
    """The ids of the subscriptions that so many machines are spread over."""
    count = -(-machines // MACHINES_PER_SUBSCRIPTION)
    return [f"5ab10000-0000-4000-8000-{number:012x}" for number in range(1, count + 1)]


def policies(machines: int) -> dict[str, int]:
    """Machines by policy."""
    counts = {name: int(machines * share) for name, share in SHARES.items()}
    counts[next(iter(SHARES))] += machines - sum(counts.values())
    return counts


def fleet(machines: int, subject: str, token_public_key: str, probes: int = 0) -> Object:
    """The fleet file. `subject` is the operator's ServiceAccount, as its tokens name it."""
    ids = subscriptions(machines)
    images = [
        {"name": name, "osState": "Generalized", "versions": ["1.0.0"]}
        for name in (*SHARES, PROBE_IMAGE)
    ]
    return {
        "subscriptions": [
            {
                "id": id_,
                "features": [
                    {
                        "name": "VMGuestPatchImageGalleryBenchPreview",
                        "displayName": "VM Guest Patch Gallery Image Preview",
                        "state": "Registered",
                    }
                ],
                "galleries": [{"name": "images", "group": "rg-images", "images": images}]
                if id_ == ids[0]
                else [],
            }
            for id_ in ids
        ],
        "principals": [
            {
                "name": "azpatch",
                "secret": "bench",
                "federatedSubjects": [
                    {
                        "issuer": SERVICE_ACCOUNT_ISSUER,
                        "subject": subject,
                        "publicKey": token_public_key,
                    }
                ],
                "roleAssignments": [{"scope": "/", "role": "Owner"}],
            }
        ],
        "machines": [
            {
                "name": f"{name}-{number}",
                "subscription": ids[number % len(ids)],
                "group": f"rg-{name}",
                "image": {"gallery": f"images/{name}/1.0.0"},
                "guest": {
                    "missing": [{"name": "curl", "version": "8.5", "classification": "Security"}],
                    "durations": {"assess": "60s", "prepare": "20s", "perPatch": "40s"},
                },
            }
            for name, count in {**policies(machines), PROBE_IMAGE: probes}.items()
            for number in range(1, count + 1)
        ],
    }


def probe_id(machines: int, number: int) -> str:
    """The resource id of a machine of no policy."""
    ids = subscriptions(machines)
    group = f"/subscriptions/{ids[number % len(ids)]}/resourceGroups/rg-{PROBE_IMAGE}"
    return f"{group}/providers/Microsoft.Compute/virtualMachines/{PROBE_IMAGE}-{number}"


def policy(name: str, target: Object, *, assess: bool, install: bool = False) -> Object:
    """A policy that assesses, or only looks; or also installs, on all machines at once."""
    spec: Object = {"target": target, "assessment": {"mode": "Operator" if assess else "None"}}
    if install:
        spec["install"] = {"linux": {}, "rebootSetting": "IfRequired", "maximumDuration": "PT1H"}
        spec["schedule"] = {"always": {}}
        spec["rollout"] = {"maxUnavailable": "100%"}
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def manifests(
    machines: int, tenant: str, access: str, assess: bool, install: bool = False
) -> list[Object]:
    """AzureSubscriptions that grant this access, and policies that assess, or only look."""
    ids = subscriptions(machines)
    images = f"/subscriptions/{ids[0]}/resourceGroups/rg-images/providers/Microsoft.Compute"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *(
            {
                "apiVersion": "azpatch.dev/v1alpha1",
                "kind": "AzureSubscription",
                "metadata": {"name": f"subscription-{number}"},
                "spec": {
                    "subscriptionId": id_,
                    "tenantId": tenant,
                    "supportMatrix": "2023-05",
                    "grants": [
                        {"name": "bench", "namespaces": {"names": [NAMESPACE]}, "access": access}
                    ],
                },
            }
            for number, id_ in enumerate(ids, 1)
        ),
        *(
            policy(
                name,
                {"galleryImage": {"id": f"{images}/galleries/images/images/{name}"}},
                assess=assess,
                install=install,
            )
            for name in SHARES
        ),
    ]
