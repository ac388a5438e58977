"""Fleet files and custom resources for the end-to-end tests, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.chart import NAMESPACE
from lab.controlplane import SERVICE_ACCOUNT_ISSUER

Manifest = dict[str, Any]

TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
OPERATOR = "azpatch"
"""The principal that the operator's ServiceAccount signs in as."""

PERSON = "person"
"""A principal that is not the operator: whoever else works in these subscriptions."""

PERSON_CLIENT = "c11e0000-0000-4000-8000-0000000000ee"
PERSON_SECRET = "a person's own~secret"
"""Secrets are long, because they are searched for in all that is shown."""
OPERATOR_CLIENT = "c11e0000-0000-4000-8000-000000000001"
OPERATOR_SUBJECT = f"system:serviceaccount:{NAMESPACE}:azpatch"

GROUP = "rg-e2e"
GALLERY = {
    "name": "golden",
    "group": "rg-images",
    "images": [
        {"name": "web", "osState": "Generalized", "versions": ["1.0.0", "1.1.0"]},
        {"name": "db", "osState": "Specialized"},
        {"name": "win", "osState": "Generalized", "osType": "Windows"},
    ],
}
GENERALIZED = {"gallery": "golden/web/1.0.0"}
SPECIALIZED = {"gallery": "golden/db/1.0.0"}

FEATURE = {
    "name": "VMGuestPatchGallerySim",
    "displayName": "VM Guest Patch Gallery Image Preview",
    "state": "Registered",
}

CURL = {"name": "curl", "version": "8.5.0", "classification": "Security"}
KERNEL = {
    "name": "linux-image",
    "version": "6.8.1",
    "classification": "Critical",
    "rebootBehavior": "AlwaysRequiresReboot",
}
VIM = {"name": "vim", "version": "9.1", "classification": "Other"}

QUICK = {"assess": "1m", "prepare": "1m", "perPatch": "1m", "reboot": "2m", "boot": "1m"}
"""How long things take in a guest where that does not matter."""


def subscription_id(number: int) -> str:
    """A subscription's id."""
    return f"5ab10000-0000-4000-8000-{number:012d}"


def subscription(number: int, features: Sequence[Manifest] = (FEATURE,), **more: Any) -> Manifest:
    """A subscription of a fleet file."""
    return {"id": subscription_id(number), "features": list(features), **more}


def machine(
    name: str,
    image: Manifest,
    *,
    subscription: int = 1,
    missing: Sequence[Manifest] = (CURL,),
    durations: Manifest | None = None,
    guest: Manifest | None = None,
    **more: Any,
) -> Manifest:
    """A machine of a fleet file, which lacks one security patch unless told otherwise."""
    return {
        "name": name,
        "subscription": subscription_id(subscription),
        "group": GROUP,
        "image": image,
        "guest": {
            "missing": list(missing),
            "durations": QUICK | (durations or {}),
            **(guest or {}),
        },
        **more,
    }


def operator_principal(public_key: str, **more: Any) -> Manifest:
    """The operator's principal; `public_key` verifies its ServiceAccount's tokens."""
    credential = {
        "issuer": SERVICE_ACCOUNT_ISSUER,
        "subject": OPERATOR_SUBJECT,
        "publicKey": public_key,
    }
    return {
        "name": OPERATOR,
        "clientId": OPERATOR_CLIENT,
        "federatedSubjects": [credential],
        **more,
    }


def person_principal() -> Manifest:
    """Someone who may do everything, by a secret."""
    return {"name": PERSON, "clientId": PERSON_CLIENT, "secret": PERSON_SECRET}


def fleet_by_image(
    public_key: str, machines: Mapping[str, Sequence[str]], durations: Manifest
) -> Manifest:
    """A fleet file: for each image definition of the gallery, the machines made from it."""
    images = [{"name": image, "versions": ["1.0.0"]} for image in machines]
    return {
        "subscriptions": [subscription(1, galleries=[GALLERY | {"images": images}])],
        "principals": [operator_principal(public_key), person_principal()],
        "machines": [
            machine(name, {"gallery": f"golden/{image}/1.0.0"}, durations=durations)
            for image, names in machines.items()
            for name in names
        ],
    }


def vm_id(name: str, subscription: int = 1, group: str = GROUP) -> str:
    """A machine's resource id."""
    return (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/{group}"
        f"/providers/Microsoft.Compute/virtualMachines/{name}"
    )


def server(name: str, *, os: str | None = "Ubuntu", **more: Any) -> Manifest:
    """An Azure Arc-enabled server of a fleet file, connected unless told otherwise; `machine` has
    the rest."""
    described = machine(name, {}, **{"arc": {}, **more})
    del described["image"]
    described["guest"]["os"] = os
    return described


def arc_id(name: str, subscription: int = 1) -> str:
    """An Azure Arc-enabled server's resource id."""
    return (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/{GROUP}"
        f"/providers/Microsoft.HybridCompute/machines/{name}"
    )


def image_id(name: str, subscription: int = 1) -> str:
    """The id of an image definition of the gallery."""
    return (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/rg-images"
        f"/providers/Microsoft.Compute/galleries/golden/images/{name}"
    )


def namespace(name: str) -> Manifest:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def azure_subscription(number: int, grants: Sequence[Manifest], **more: Any) -> Manifest:
    """An AzureSubscription, named `sub-NUMBER`."""
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "AzureSubscription",
        "metadata": {"name": f"sub-{number}"},
        "spec": {
            "subscriptionId": subscription_id(number),
            "tenantId": TENANT,
            "supportMatrix": "2023-05",
            "grants": list(grants),
            **more,
        },
    }


def grant(*namespaces: str, access: str = "Patch", **more: Any) -> Manifest:
    """A grant to namespaces by name."""
    return {
        "name": "-".join(namespaces),
        "namespaces": {"names": list(namespaces)},
        "access": access,
        **more,
    }


_TARGETS = {
    "/galleries/": "galleryImage",
    "/virtualMachines/": "virtualMachine",
    "/Microsoft.HybridCompute/": "arcMachine",
}
"""What is in an id → the field of spec.target that takes it."""


def policy(
    namespace: str,
    name: str,
    target: str,
    *,
    install: Manifest | None = None,
    rollout: Manifest | None = None,
    **more: Any,
) -> Manifest:
    """A PatchPolicy that assesses and patches Linux; `target` is the id of a machine or image."""
    kind = next(kind for part, kind in _TARGETS.items() if part in target)
    spec: Manifest = {
        "target": {kind: {"id": target}},
        "install": {"linux": {}, "maximumDuration": "PT30M"} if install is None else install,
        "schedule": {"always": {}},
        **more,
    }
    if rollout is not None:
        spec["rollout"] = rollout
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def condition(thing: Mapping[str, Any] | None, type_: str) -> Manifest:
    """A condition of an object; empty if it is not there."""
    conditions = ((thing or {}).get("status") or {}).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == type_), {})


def reason(thing: Mapping[str, Any] | None, type_: str = "Ready") -> str:
    """The reason of a condition; empty if it is not there."""
    return str(condition(thing, type_).get("reason", ""))
