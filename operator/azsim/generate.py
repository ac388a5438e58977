"""A fleet file with a realistic mix of image classes, states and failures.

The first machines walk through every kind of image twice, with a guest that patching works on and
with one that it does not; the rest are drawn by seed. Stopped machines, agents that are not ready
and failures fall on a share of them, by seed too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azsim.fleet import DEFAULT_TENANT_ID, Fleet, guid
from azsim.fleetfile import build

GALLERY = "images"
GALLERY_GROUP = "rg-images"
SHARED = "/SharedGalleries/5ab1-SHARED/Images/web/Versions/1.0.0"
COMMUNITY = "/CommunityGalleries/azsim-9f2c/Images/base/Versions/2.1.0"

MACHINES_PER_SUBSCRIPTION = 4000
LOCATIONS = ("westeurope", "northeurope", "eastus2")
TEAMS = ("web", "shop", "data", "batch", "billing")

STOPPED_SHARE = 0.06
AGENT_NOT_READY_SHARE = 0.02
FAILING_SHARE = 0.08
UNPATCHABLE_SHARE = 0.08
UNDETERMINED_SHARE = 0.04
ASSESSED_SHARE = 0.3
"""Shares of the drawn machines; each is drawn by itself."""


@dataclass(frozen=True)
class _Kind:
    """A kind of image: the template's name and what it says."""

    name: str
    weight: int
    template: Mapping[str, Any]
    windows: bool = False
    group: str | None = None


def _marketplace(publisher: str, offer: str, sku: str) -> dict[str, Any]:
    return {"image": {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"}}


KINDS = (
    _Kind("ubuntu", 25, _marketplace("canonical", "ubuntu-24_04-lts", "server")),
    _Kind("rhel", 8, _marketplace("redhat", "rhel", "9-lvm-gen2")),
    _Kind(
        "windows-server",
        15,
        _marketplace("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-azure-edition"),
        windows=True,
    ),
    _Kind("gallery-generalized", 18, {"image": {"gallery": f"{GALLERY}/web"}}),
    _Kind("gallery-generalized-version", 6, {"image": {"gallery": f"{GALLERY}/web/1.4.0"}}),
    _Kind("gallery-generalized-windows", 6, {"image": {"gallery": f"{GALLERY}/win"}}, windows=True),
    _Kind("gallery-specialized", 8, {"image": {"gallery": f"{GALLERY}/golden"}}),
    _Kind("managed-image", 4, {"image": {"managedImage": "old-web"}}),
    _Kind("attached-disk", 4, {"image": {"attachedDisk": True}}),
    _Kind("shared-gallery", 2, {"image": {"sharedGalleryImageId": SHARED}}),
    _Kind("community-gallery", 2, {"image": {"communityGalleryImageId": COMMUNITY}}),
    _Kind("unknown-image", 1, {"image": {}}),
    _Kind(
        "scale-set",
        3,
        {**_marketplace("canonical", "ubuntu-24_04-lts", "server"), "scaleSet": "workers"},
    ),
    _Kind(
        "aks-node",
        2,
        _marketplace("microsoft-aks", "aks", "aks-ubuntu-2204-gen2"),
        group="MC_rg-k8s_k8s_westeurope",
    ),
    _Kind(
        "windows-client",
        1,
        {
            **_marketplace("microsoftwindowsdesktop", "windows-11", "win11-23h2-ent"),
            "licenseType": "Windows_Client",
        },
        windows=True,
    ),
)


def _package(name: str, version: str, kind: str = "Security", reboot: str = "") -> dict[str, Any]:
    patch = {"name": name, "version": version, "classification": kind}
    return {**patch, "rebootBehavior": reboot} if reboot else patch


def _kb(kb: str, title: str, kind: str, reboot: str, date: str) -> dict[str, Any]:
    return {
        "name": f"{date[:7]} {title} (KB{kb})",
        "kbId": kb,
        "classification": kind,
        "rebootBehavior": reboot,
        "publishedDate": f"{date}T00:00:00Z",
    }


PATCH_SETS: Mapping[str, list[dict[str, Any]]] = {
    "linux-kernel": [
        _package("linux-image-azure", "6.8.0-1021.25", "Security", "AlwaysRequiresReboot"),
        _package("linux-tools-azure", "6.8.0-1021.25", "Security"),
    ],
    "linux-security": [
        _package("curl", "8.5.0-2ubuntu10.6"),
        _package("libcurl4", "8.5.0-2ubuntu10.6"),
        _package("openssl", "3.0.13-0ubuntu3.5", "Critical"),
        _package("libssl3", "3.0.13-0ubuntu3.5", "Critical", "CanRequestReboot"),
    ],
    "linux-other": [
        _package("tzdata", "2026b-0ubuntu0.24.04", "Other"),
        _package("vim", "9.1.0016-1ubuntu7.6", "Other"),
        _package("cloud-init", "26.1-0ubuntu1", "Other"),
    ],
    "linux-pro": [_package("imagemagick", "UA_ESM_Required")],
    "windows-monthly": [
        _kb("5050009", "Cumulative Update", "Security", "AlwaysRequiresReboot", "2026-11-10"),
        _kb("5049620", ".NET Framework Update", "Security", "CanRequestReboot", "2026-11-10"),
    ],
    "windows-definitions": [
        _kb("2267602", "Security Intelligence Update", "Definition", "NeverReboots", "2026-11-20"),
        _kb("890830", "Software Removal Tool", "UpdateRollUp", "NeverReboots", "2026-11-10"),
    ],
}

_LINUX_MISSING: tuple[list[str], ...] = (
    [],
    ["linux-security"],
    ["linux-security", "linux-other"],
    ["linux-kernel", "linux-security", "linux-other"],
    ["linux-other", "linux-pro"],
)
_WINDOWS_MISSING: tuple[list[str], ...] = (
    [],
    ["windows-definitions"],
    ["windows-monthly", "windows-definitions"],
)

_FAILURES: tuple[dict[str, Any], ...] = (
    {"assessFails": True, "times": 1},
    {"failingPatches": ["curl*", "*KB5049620*"]},
    {"failingPatches": ["openssl"], "times": 1},
    {"internalError": True, "times": 1},
    {"rebootDoesNotComeBack": True},
    {"agentLost": True},
    {"exceedsWindow": True, "times": 1},
    {"noResult": True},
)

FEATURE = {
    "name": "VMGuestPatchImageGalleryAzsimPreview",
    "displayName": "VM Guest Patch Gallery Image Preview",
}
"""The gallery preview feature. Its real name is nowhere published: this one is made up."""


def generate(machines: int, seed: int) -> Fleet:
    """A fleet with so many machines; the same seed gives the same fleet."""
    return build(document(machines, seed))


def render(machines: int, seed: int) -> str:
    """The fleet file as text: JSON, which is YAML too, one machine a line."""
    fleet = document(machines, seed)
    last = fleet.pop("machines")
    head = json.dumps(fleet, indent=2).removesuffix("\n}")
    lines = ",\n".join("    " + json.dumps(machine) for machine in last)
    return f'{head},\n  "machines": [\n{lines}\n  ]\n}}\n'


def document(machines: int, seed: int) -> dict[str, Any]:
    """The fleet file as plain data, with templates and patch sets."""
    rng = random.Random(seed)
    count = max(1, -(-machines // MACHINES_PER_SUBSCRIPTION))
    subscriptions = [_subscription(n, seed) for n in range(count)]
    return {
        "subscriptions": subscriptions,
        "patchSets": dict(PATCH_SETS),
        "templates": {kind.name: _template(kind) for kind in KINDS},
        "machines": [_machine(n, subscriptions[n % count]["id"], rng) for n in range(machines)],
    }


def _subscription(n: int, seed: int) -> dict[str, Any]:
    subscription: dict[str, Any] = {
        "id": guid("generated subscription", str(seed), str(n)),
        "displayName": f"azsim-{n + 1}",
        # One in three has not registered the preview.
        "features": [{**FEATURE, "state": "NotRegistered" if n % 3 == 2 else "Registered"}],
        "resourceGroups": [
            {
                "name": "MC_rg-k8s_k8s_westeurope",
                "managedBy": f"/subscriptions/{guid('aks', str(n))}/resourcegroups/rg-k8s"
                "/providers/Microsoft.ContainerService/managedClusters/k8s",
                "tags": {"aks-managed-cluster-name": "k8s"},
            },
            *({"name": f"rg-{team}", "tags": {"team": team}} for team in TEAMS),
        ],
    }
    if n == 0:
        subscription["galleries"] = [
            {
                "name": GALLERY,
                "group": GALLERY_GROUP,
                "images": [
                    {"name": "web", "versions": ["1.3.0", "1.4.0"]},
                    {"name": "golden", "osState": "Specialized", "versions": ["1.0.0"]},
                    {"name": "win", "osType": "Windows", "versions": ["2026.11.1"]},
                ],
            },
            {
                "name": "partner",
                "group": GALLERY_GROUP,
                "uniqueName": SHARED.split("/")[2],
                "sharedWith": [DEFAULT_TENANT_ID],
                "images": [{"name": "web"}],
            },
            {
                "name": "public",
                "group": GALLERY_GROUP,
                "publicName": COMMUNITY.split("/")[2],
                "images": [{"name": "base", "versions": ["2.1.0"]}],
            },
        ]
    return subscription


def _template(kind: _Kind) -> dict[str, Any]:
    guest = (
        {"os": "Windows Server", "osVersion": "10.0.20348"}
        if kind.windows
        else {"os": "Ubuntu", "osVersion": "24.04"}
    )
    template: dict[str, Any] = {**kind.template, "guest": guest}
    if kind.windows:
        template["osType"] = "Windows"
    if kind.name == "rhel":
        template["guest"] = {"os": "Red Hat Enterprise Linux", "osVersion": "9.4"}
        template["guest"]["patchService"] = "YUM"
    return template


def _machine(n: int, subscription: str, rng: random.Random) -> dict[str, Any]:
    kind, patchable = _kind(n, rng)
    team = rng.choice(TEAMS)
    machine: dict[str, Any] = {
        "template": kind.name,
        "name": f"{team}-{n + 1}",
        "subscription": subscription,
        "group": kind.group or f"rg-{team}",
        "location": rng.choice(LOCATIONS),
        "tags": {"team": team, "env": rng.choice(["prod", "prod", "test"])},
    }
    if rng.random() < 0.5:
        machine["zone"] = rng.choice("123")
    guest = _guest(kind, patchable, rng)
    if n >= 2 * len(KINDS):
        _trouble(machine, guest, rng)
    machine["guest"] = guest
    return machine


def _kind(n: int, rng: random.Random) -> tuple[_Kind, bool]:
    if n < 2 * len(KINDS):
        return KINDS[n // 2], n % 2 == 0
    kind = rng.choices(KINDS, weights=[each.weight for each in KINDS])[0]
    return kind, rng.random() >= UNPATCHABLE_SHARE


def _guest(kind: _Kind, patchable: bool, rng: random.Random) -> dict[str, Any]:
    guest: dict[str, Any] = {
        "missing": rng.choice(_WINDOWS_MISSING if kind.windows else _LINUX_MISSING)
    }
    if not patchable:
        guest["patchable"] = False
    return guest


def _trouble(machine: dict[str, Any], guest: dict[str, Any], rng: random.Random) -> None:
    if rng.random() < STOPPED_SHARE:
        machine["power"] = rng.choice(["stopped", "deallocated"])
    if rng.random() < AGENT_NOT_READY_SHARE:
        machine["agent"] = {"ready": False}
    if rng.random() < FAILING_SHARE:
        guest["failures"] = rng.choice(_FAILURES)
    if rng.random() < UNDETERMINED_SHARE:
        guest["detected"] = rng.choice(["UnableToDetermine", "Unknown", "Absent"])
    if rng.random() < ASSESSED_SHARE:
        guest["assessedAgo"] = rng.choice(["2h", "20h", "70h"])
