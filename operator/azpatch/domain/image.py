"""What a machine was built from, judged by the evidence on its model.

The rule is that of Azure's built-in policies, widened to shared and community galleries, whose
image ids do not name `Microsoft.Compute/galleries`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from azpatch.api.common import ImageClass
from azpatch.domain.facts import ImageDefinition, ImageReference, Machine
from azpatch.domain.ids import key, parse

_GALLERY_DEFINITION = "microsoft.compute/galleries/images"
_GALLERY_VERSION = "microsoft.compute/galleries/images/versions"
_MANAGED_IMAGE = "microsoft.compute/images"

_SHARED = re.compile(
    r"(?P<definition>(?:/subscriptions/[^/]+/providers/microsoft\.compute/locations/[^/]+)?"
    r"/(?:shared|community)galleries/[^/]+/images/[^/]+)(?:/versions/(?P<version>[^/]+))?"
)
"""A shared or community gallery's image, lower-cased: such ids are not resource ids."""

_LATEST = "latest"
"""A version that names none: Azure takes the newest one when it builds the machine."""

_CLASS_BY_OS_STATE = {
    "generalized": ImageClass.GALLERY_GENERALIZED,
    "specialized": ImageClass.GALLERY_SPECIALIZED,
}


@dataclass(frozen=True, slots=True)
class Image:
    """A machine's image: its class, what Azure calls it, and the sentence that says why."""

    image_class: ImageClass
    reference: str | None
    """The image's id, or `publisher:offer:sku`, as the model spells it; None if it names none."""
    evidence: str


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """A gallery image that an id names."""

    definition: str
    """Key of the definition."""
    version: str | None
    """None where the id names the definition alone, or asks for the latest version."""


@lru_cache(maxsize=4096)  # Asked once a machine and decision; fleets have few images.
def gallery_image(reference: str) -> GalleryImage | None:
    """The image of an Azure Compute Gallery, own, shared or community, that an id names, if so."""
    parts = parse(reference)
    if parts is not None and parts.type == _GALLERY_DEFINITION:
        return GalleryImage(key(reference), None)
    if parts is not None and parts.type == _GALLERY_VERSION:
        definition = key(reference).rsplit("/versions/", 1)[0]
        return GalleryImage(definition, _named(parts.name.lower()))
    shared = _SHARED.fullmatch(key(reference))
    if shared is None:
        return None
    return GalleryImage(shared["definition"], _named(shared["version"]))


def matches(target_id: str, machine: Machine) -> bool:
    """Whether the machine was built from a gallery image: a definition's id, or a version's.

    Where the machine's reference names no version, the version that Azure chose for it
    (`exactVersion`) decides.
    """
    target = gallery_image(target_id)
    built_from = None if machine.image is None else _gallery_image_of(machine.image)
    if target is None or built_from is None or target.definition != built_from.definition:
        return False
    if target.version is None:
        return True
    exact = (machine.image.exact_version or "").lower() if machine.image else ""
    return target.version == (built_from.version or exact)


def classify(machine: Machine, definitions: Mapping[str, ImageDefinition]) -> Image:
    """The image of a machine.

    `definitions` are those that the identity can read, by key. A definition's osState decides;
    osProfile stands in where the definition cannot be read.
    """
    if key(machine.id).find("/providers/microsoft.hybridcompute/machines/") >= 0:
        return Image(
            ImageClass.NOT_APPLICABLE, None, "An Azure Arc-enabled server has no Azure image."
        )
    reference = machine.image
    if reference is None or reference == ImageReference():
        return _without_reference(machine)
    image_id = _id_of(reference)
    if image_id is not None:
        return _by_id(image_id, machine, definitions)
    if reference.publisher and reference.offer and reference.sku:
        name = f"{reference.publisher}:{reference.offer}:{reference.sku}"
        evidence = "The image reference names publisher, offer and sku, and no image id."
        return Image(ImageClass.MARKETPLACE, name, evidence)
    evidence = "The image reference has neither an id nor publisher, offer and sku together."
    return Image(ImageClass.UNKNOWN, None, evidence)


def _without_reference(machine: Machine) -> Image:
    if (machine.os_disk_create_option or "").lower() == "attach":
        evidence = (
            "The OS disk was attached (createOption Attach) and there is no image reference, as "
            "on machines that Azure Migrate, Azure Backup or Azure Site Recovery made."
        )
        return Image(ImageClass.NON_GALLERY, None, evidence)
    return Image(
        ImageClass.UNKNOWN, None, "There is no image reference, and the OS disk was not attached."
    )


def _by_id(image_id: str, machine: Machine, definitions: Mapping[str, ImageDefinition]) -> Image:
    gallery = gallery_image(image_id)
    if gallery is not None:
        definition = definitions.get(gallery.definition)
        image_class, evidence = _gallery_class(definition, machine.computer_name)
        return Image(image_class, image_id, evidence)
    parts = parse(image_id)
    if parts is not None and parts.type == _MANAGED_IMAGE:
        return Image(ImageClass.NON_GALLERY, image_id, "The image reference is a managed image.")
    return Image(ImageClass.UNKNOWN, image_id, "The image reference's id has no form that we know.")


def _gallery_class(
    definition: ImageDefinition | None, computer_name: str | None
) -> tuple[ImageClass, str]:
    by_profile = ImageClass.GALLERY_GENERALIZED if computer_name else ImageClass.GALLERY_SPECIALIZED
    profile = "has" if computer_name else "has no"
    if definition is None:
        return by_profile, (
            "The image definition cannot be read, so osProfile decides: "
            f"the machine {profile} osProfile.computerName."
        )
    by_definition = _CLASS_BY_OS_STATE.get(definition.os_state.lower())
    if by_definition is None:
        return by_profile, (
            f"The image definition's osState {definition.os_state!r} is not known, so osProfile "
            f"decides: the machine {profile} osProfile.computerName."
        )
    evidence = f"osState of the image definition is {definition.os_state}"
    if by_definition is not by_profile:
        return by_definition, (
            f"{evidence}, although the machine {profile} osProfile.computerName; "
            "the definition decides."
        )
    return by_definition, f"{evidence}."


def _gallery_image_of(reference: ImageReference) -> GalleryImage | None:
    image_id = _id_of(reference)
    return None if image_id is None else gallery_image(image_id)


def _id_of(reference: ImageReference) -> str | None:
    """The id first: an image built from a marketplace plan may name publisher and offer too."""
    return reference.id or reference.shared_gallery_image_id or reference.community_gallery_image_id


def _named(version: str | None) -> str | None:
    return None if version in {None, _LATEST} else version
