"""What machines are built from: one kind for every row of the decision table about image classes.

Each kind says how azsim's fleet file has the machine, and what the machine truly is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from judging.support import ARC, Found, Truth

GALLERY = "golden"
"""The gallery that azpatch may read."""
VAULT = "vault"
"""One that it may not."""
VAULT_SUBSCRIPTION = 9
"""Where that one is: nobody declared the subscription, and azpatch has no role in it."""

GALLERY_GROUP = "rg-images"
DEFINITIONS = [
    {"name": "web", "osState": "Generalized"},
    {"name": "db", "osState": "Specialized"},
    {"name": "win", "osState": "Generalized", "osType": "Windows"},
]
SEALED = [{"name": "sealed", "osState": "Generalized"}, {"name": "lost", "osState": "Specialized"}]

NODES_GROUP = "rg-nodes"
"""A resource group that an AKS cluster manages."""


def subscription_id(number: int) -> str:
    """A subscription's id."""
    return f"5ab10000-0000-4000-8000-{number:012d}"


def image_id(name: str, gallery: str = GALLERY) -> str:
    """An image definition's resource id."""
    home = VAULT_SUBSCRIPTION if gallery == VAULT else 1
    return (
        f"/subscriptions/{subscription_id(home)}/resourceGroups/{GALLERY_GROUP}"
        f"/providers/Microsoft.Compute/galleries/{gallery}/images/{name}"
    )


def nodes_group(subscription: int) -> dict[str, Any]:
    """The group of a cluster's nodes, for the fleet file."""
    cluster = (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/rg-aks"
        "/providers/Microsoft.ContainerService/managedClusters/shop"
    )
    return {"name": NODES_GROUP, "managedBy": cluster}


def gallery(name: str, definitions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A gallery for the fleet file."""
    return {"name": name, "group": GALLERY_GROUP, "images": list(definitions)}


@dataclass(frozen=True)
class Built:
    """A kind of machine."""

    truth: Truth
    image: Mapping[str, Any]
    """The fleet file's field of this name."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Other fields there."""
    target: str | None = None
    """The image that a policy for all machines of the kind names."""

    @property
    def arc(self) -> bool:
        """Whether it is an Azure Arc-enabled server."""
        return self.truth.image_class == ARC

    @property
    def windows(self) -> bool:
        """Its operating system."""
        return self.truth.os_type == "Windows"


def _version(name: str, gallery: str = GALLERY) -> dict[str, Any]:
    return {"id": f"{image_id(name, gallery)}/versions/1.0.0"}


def _marketplace(publisher: str, offer: str, sku: str, os_type: str = "Linux") -> Built:
    truth = Truth("Marketplace", os_type, (publisher, offer, sku))
    return Built(truth, {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"})


GENERALIZED, SPECIALIZED = Truth("GalleryGeneralized"), Truth("GallerySpecialized")
NON_GALLERY, UNKNOWN = Truth("NonGallery"), Truth("Unknown")
EXCLUDED = replace(GENERALIZED, excluded=True)

USUAL = {
    "web": Built(GENERALIZED, _version("web"), target=image_id("web")),
    "db": Built(SPECIALIZED, _version("db"), {"osProfile": False}, target=image_id("db")),
    "win": Built(Truth("GalleryGeneralized", "Windows"), _version("win"), target=image_id("win")),
}
"""What most machines are built from."""

OTHERS = {
    # A definition that cannot be read: whether there is an osProfile decides.
    "sealed": Built(GENERALIZED, _version("sealed", VAULT), {"osProfile": True}),
    "lost": Built(SPECIALIZED, _version("lost", VAULT), {"osProfile": False}),
    "deleted": Built(SPECIALIZED, _version("deleted"), {"osProfile": False}),
    # A definition that says something else than osProfile.
    "stripped": Built(GENERALIZED, _version("web"), {"osProfile": False}),
    # From a marketplace plan: the image id counts, not what else is named.
    "plan": Built(
        GENERALIZED,
        {**_version("web"), "publisher": "redhat", "offer": "rhel-ha", "sku": "81_gen2"},
    ),
    "shared": Built(
        GENERALIZED,
        {"sharedGalleryImageId": "/SharedGalleries/5ab1-SHARED/Images/web/Versions/1.0.0"},
        {"osProfile": True},
    ),
    "community": Built(
        SPECIALIZED,
        {"communityGalleryImageId": "/CommunityGalleries/public-1f/Images/db/Versions/latest"},
        {"osProfile": False},
    ),
    "managed": Built(NON_GALLERY, {"managedImage": "made-by-hand"}),
    "migrated": Built(NON_GALLERY, {"attachedDisk": True}),
    "nothing": Built(UNKNOWN, {}, {"osProfile": True}),
    "strange": Built(UNKNOWN, {"id": "/some/where/else"}, {"osProfile": True}),
    "ubuntu": _marketplace("Canonical", "ubuntu-24_04-lts", "server"),
    "windows": _marketplace(
        "MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-g2", "Windows"
    ),
    "excepted": _marketplace("RedHat", "rhel-ha", "81_GEN2"),
    "unruled": _marketplace("nobody", "knows", "it"),
    "scale set": Built(EXCLUDED, _version("web"), {"scaleSet": "flexible"}),
    "node": Built(EXCLUDED, _version("web"), {"group": NODES_GROUP}),
    "client": Built(
        replace(EXCLUDED, os_type="Windows"), _version("win"), {"licenseType": "Windows_Client"}
    ),
}

SERVERS = {
    "server": Built(Truth(ARC), {}),
    "windows server": Built(Truth(ARC, "Windows"), {}),
}
"""Azure Arc-enabled servers, which were built from nothing of Azure's."""

KINDS: Mapping[str, Built] = {**USUAL, **OTHERS}

SYSTEMS: Mapping[str, Sequence[tuple[str, str]]] = {
    "Linux": (("ubuntu", "22.04"), ("ubuntu", "24.04"), ("flatcar", "4081.2.0")),
    "Windows": (("Windows Server 2022 Datacenter", "10.0.20348.1"), ("Windows 11", "10.0.22631.1")),
}
"""What VM agents report: systems that revision 2025-02 lists, and others."""


def draw(random: Random) -> Built:
    """A kind: mostly one of the usual."""
    if random.random() < 0.15:
        return SERVERS[random.choice(list(SERVERS))]
    if random.random() < 0.72:
        return USUAL[random.choice(("web", "web", "web", "db", "win"))]
    return OTHERS[random.choice(list(OTHERS))]


def detected(guest: Mapping[str, Any]) -> Found:
    """What an assessment of the fleet file's guest shows."""
    if not guest.get("patchable", True):
        return "Unsupported"
    found: Mapping[str, Found] = {
        "Unknown": "silence",
        "Absent": "silence",
        "UnableToDetermine": "UnableToDetermine",
    }
    return found.get(guest.get("detected", ""), "Supported")
