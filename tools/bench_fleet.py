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

REGION, PROBE_REGION = "westeurope", "northeurope"
"""The probes are where no other machine is: in the line of a bucket that thousands wait for, Azure
would be measured and not azpatch."""

Object = dict[str, Any]

WINDOWS: list[Object] = [
    {"name": f"from-{hour}", "daily": {}, "startTime": f"{hour}:00", "duration": "24h"}
    for hour in ("00", "12")
]
"""They overlap, so that one is always open: a run begins when all machines are assessed."""

WAVES: list[Object] = [
    {"name": "canary", "machines": "5%"},
    {"name": "rest", "machines": "100%"},
]


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
                "location": PROBE_REGION if name == PROBE_IMAGE else REGION,
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


def policy(
    name: str, target: Object, *, assess: bool, install: bool = False, waves: bool = False
) -> Object:
    """A policy that assesses, or only looks; or also installs, on all machines at once; or in a run
    with a canary wave, at any time."""
    spec: Object = {"target": target, "assessment": {"mode": "Operator" if assess else "None"}}
    if install or waves:
        spec["install"] = {"linux": {}, "rebootSetting": "IfRequired", "maximumDuration": "PT1H"}
        spec["schedule"] = {"windows": WINDOWS} if waves else {"always": {}}
        spec["rollout"] = {"maxUnavailable": "100%"}
    if waves:
        spec["rollout"]["waves"] = WAVES
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def manifests(
    machines: int,
    tenant: str,
    access: str,
    *,
    assess: bool,
    install: bool = False,
    waves: bool = False,
) -> list[Object]:
    """AzureSubscriptions that grant this access, and policies; see `policy`."""
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
                waves=waves,
            )
            for name in SHARES
        ),
    ]
