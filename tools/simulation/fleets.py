"""Fleets and custom resources, drawn by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, Kind, Object

TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
OPERATOR = "azpatch"
OPERATOR_CLIENT = "c11e0000-0000-4000-8000-000000000001"
OPERATOR_SECRET = "the operator's"
SECRET_NAME = "azure"

GROUP, OTHER_GROUP = "rg-sim", "rg-other"
NAMESPACES = ("shop", "bank")

FEATURE = {
    "name": "VMGuestPatchGallerySim",
    "displayName": "VM Guest Patch Gallery Image Preview",
    "state": "Registered",
}
IMAGES = [
    {"name": "web", "osState": "Generalized"},
    {"name": "db", "osState": "Specialized"},
    {"name": "win", "osState": "Generalized", "osType": "Windows"},
]

SIZES = (3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 20)
"""Machines of a fleet. Most are small: what can go wrong needs few, and two policies that share
them; more seeds find more than more machines."""

LARGE_ONE_IN = 50
"""One fleet in so many is large."""


@dataclass(frozen=True)
class Fleet:
    """What a simulation begins with."""

    azure: dict[str, Any]
    """azsim's fleet file."""
    subscriptions: Sequence[Object]
    policies: Sequence[Object]


def subscription_id(number: int) -> str:
    """A subscription's id."""
    return f"5ab10000-0000-4000-8000-{number:012d}"


def machine_id(name: str, subscription: int = 1, group: str = GROUP) -> str:
    """A machine's resource id."""
    return (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/{group}"
        f"/providers/Microsoft.Compute/virtualMachines/{name}"
    )


def image_id(name: str) -> str:
    """An image definition's resource id."""
    return (
        f"/subscriptions/{subscription_id(1)}/resourceGroups/rg-images"
        f"/providers/Microsoft.Compute/galleries/golden/images/{name}"
    )


def draw(random: Random, *, large: bool) -> Fleet:
    """A fleet of 3 to 20 machines, or some hundred, in one or two subscriptions."""
    # Most are small: what can go wrong needs few machines, and two policies that share them.
    count = (
        random.randint(30, 80) if large else random.choice((3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 20))
    )
    subscriptions = random.choice((1, 1, 2))
    names = [f"vm-{number}" for number in range(1, count + 1)]
    machines = [_machine(random, name, subscriptions) for name in names]
    return Fleet(
        azure={
            "principals": [
                {
                    "name": OPERATOR,
                    "clientId": OPERATOR_CLIENT,
                    "tenantId": TENANT,
                    "secret": OPERATOR_SECRET,
                },
            ],
            "subscriptions": [
                {
                    "id": subscription_id(number),
                    "features": [FEATURE],
                    "galleries": [{"name": "golden", "group": "rg-images", "images": IMAGES}]
                    if number == 1
                    else [],
                }
                for number in range(1, subscriptions + 1)
            ],
            "machines": machines,
            "resourceGraph": {
                "lag": f"{random.choice((5, 20, 60))}s",
                "tailLag": f"{random.choice((2, 10))}m",
                "tailShare": random.choice((0, 0.05, 0.3)),
            },
        },
        subscriptions=[_subscription(random, number) for number in range(1, subscriptions + 1)],
        policies=list(_policies(random, machines)),
    )


# --- machines -------------------------------------------------------------------------------------


def patch(random: Random, number: int, *, windows: bool = False) -> dict[str, Any]:
    """A patch that a guest lacks."""
    made: dict[str, Any] = {
        "name": f"package-{number}",
        "classification": random.choice(("Security", "Critical", "Security", "Other")),
        "rebootBehavior": random.choice(
            ("NeverReboots", "NeverReboots", "AlwaysRequiresReboot", "CanRequestReboot")
        ),
    }
    if windows:
        return {**made, "kbId": f"50{number:05d}"}
    return {**made, "version": f"1.{number}"}


def _machine(random: Random, name: str, subscriptions: int) -> dict[str, Any]:
    image = random.choice(("web", "web", "web", "db", "win"))
    windows = image == "win"
    guest: dict[str, Any] = {
        "missing": [
            patch(random, number, windows=windows)
            for number in random.sample(range(50), random.randint(0, 5))
        ],
        "durations": {
            "assess": f"{random.randint(20, 120)}s",
            "prepare": f"{random.randint(10, 60)}s",
            "perPatch": f"{random.randint(10, 90)}s",
            "reboot": f"{random.randint(60, 300)}s",
        },
    }
    if random.random() < 0.3:
        guest["assessedAgo"] = f"{random.randint(1, 160)}h"
    if random.random() < 0.1:
        guest["rebootPending"] = True
    if random.random() < 0.2:
        guest["failures"] = {**_failure(random), "times": 1}
    if random.random() < 0.06:
        guest["patchable"] = False
    if random.random() < 0.1:
        guest["detected"] = random.choice(("Unknown", "Absent", "UnableToDetermine"))
    return {
        "name": name,
        "subscription": subscription_id(random.randint(1, subscriptions)),
        "group": random.choice((GROUP, GROUP, GROUP, OTHER_GROUP)),
        "osType": "Windows" if windows else "Linux",
        "image": {"id": f"{image_id(image)}/versions/1.0.0"},
        "osProfile": image != "db",
        "guest": guest,
    }


def _failure(random: Random) -> dict[str, Any]:
    return random.choice(
        (
            {"assessFails": True},
            {"failingPatches": ["package-*"]},
            {"failingPatches": ["package-*"]},
            {"internalError": True},
            {"internalError": True},
            {"exceedsWindow": True},
            {"noResult": True},
            {"assessNoResult": True},
            {"agentLost": True},
        )
    )


# --- custom resources -----------------------------------------------------------------------------


def _object(kind: Kind, metadata: dict[str, Any], spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": f"{kind.group}/{kind.version}",
        "kind": kind.kind,
        "metadata": metadata,
        "spec": spec,
    }


def _subscription(random: Random, number: int) -> Object:
    return _object(
        AZURE_SUBSCRIPTION,
        {"name": f"sub-{number}"},
        {
            "subscriptionId": subscription_id(number),
            "tenantId": TENANT,
            "identity": {
                "type": "ClientSecret",
                "clientId": OPERATOR_CLIENT,
                "secretRef": {"name": SECRET_NAME},
            },
            "supportMatrix": "2023-05",
            "previewFeature": {"mode": random.choice(("Check", "Ignore"))},
            "grants": grants("Patch"),
        },
    )


def grants(access: str) -> list[dict[str, Any]]:
    """What the namespaces may do."""
    return [{"name": "all", "namespaces": {"names": list(NAMESPACES)}, "access": access}]


def registers(subscription: Object) -> bool:
    """Whether azpatch registers the preview feature there."""
    return bool(subscription["spec"]["previewFeature"]["mode"] == "Register")


def policy(random: Random, name: str, namespace: str, target: dict[str, Any]) -> Object:
    """A policy that installs."""
    return _object(
        PATCH_POLICY,
        {"name": name, "namespace": namespace},
        {
            "target": target,
            "assessment": {"maxAge": f"{random.choice((4, 12, 24))}h"},
            "install": {
                "linux": {"classificationsToInclude": ["Critical", "Security"]},
                "windows": {"classificationsToInclude": ["Critical", "Security"]},
                "rebootSetting": random.choice(("IfRequired", "IfRequired", "Never", "Always")),
                "maximumDuration": random.choice(("PT1H", "PT2H")),
                "onUndeterminedSupport": random.choice(("Wait", "Try")),
            },
            "schedule": {"always": {}},
            "rollout": {"maxUnavailable": random.choice((1, 2, "50%", "100%"))},
        },
    )


def _policies(random: Random, machines: Sequence[dict[str, Any]]) -> Iterator[Object]:
    """A policy for each image, and some for a single machine; they overlap."""
    for image in ("web", "db", "win"):
        namespace = random.choice(NAMESPACES)
        yield policy(random, f"image-{image}", namespace, {"galleryImage": {"id": image_id(image)}})
    for number in range(random.randint(0, 2)):
        chosen = random.choice(machines)
        id_ = machine_id(chosen["name"], int(chosen["subscription"][-12:]), chosen["group"])
        yield policy(
            random,
            f"single-{number}",
            random.choice(NAMESPACES),
            {"virtualMachine": {"id": id_}},
        )
