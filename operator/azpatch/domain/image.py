"""What a machine was built from, judged by the evidence on its model.

The rule is that of Azure's built-in policies, widened to shared and community galleries, whose
image ids do not name `Microsoft.Compute/galleries`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from azpatch.api.common import Confidence, ImageClass, OsType
from azpatch.domain.facts import ImageDefinition, ImageReference, Machine, Unread
from azpatch.domain.ids import is_arc_server, key, parse
from azpatch.domain.os_type import operating_system

_GALLERY_DEFINITION = "microsoft.compute/galleries/images"
_GALLERY_VERSION = "microsoft.compute/galleries/images/versions"
_MANAGED_IMAGE = "microsoft.compute/images"

_SHARED = re.compile(
    r"(?:/subscriptions/[^/]+/providers/microsoft\.compute/locations/[^/]+)?"
    r"(?P<definition>/(?:shared|community)galleries/[^/]+/images/[^/]+)"
    r"(?:/versions/(?P<version>[^/]+))?",
    re.IGNORECASE,
)
"""A shared or community gallery's image: such ids are not resource ids. Where it was looked up may
stand before it, and does not make it another image."""

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
    """What the class rests on, in words; and the operating system, where the model is silent."""
    confidence: Confidence = Confidence.HIGH
    os_type: OsType | None = None
    """The machine's operating system, from its model or else from its image."""


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """A gallery image that an id names."""

    definition: str
    """Key of the definition."""
    version: str | None
    """None where the id names the definition alone, or asks for the latest version."""
    spelt: str
    """The definition's id as the model spells it."""
    shared: bool = False
    """Of a shared or community gallery: `/SharedGalleries/…`, `/CommunityGalleries/…`."""


@lru_cache(maxsize=4096)  # Asked once a machine and decision; fleets have few images.
def gallery_image(reference: str) -> GalleryImage | None:
    """The image of an Azure Compute Gallery, own, shared or community, that an id names, if so."""
    spelt = reference.strip().rstrip("/")
    parts = parse(reference)
    if parts is not None and parts.type == _GALLERY_DEFINITION:
        return GalleryImage(key(reference), None, spelt)
    if parts is not None and parts.type == _GALLERY_VERSION:
        definition = spelt.rsplit("/", 2)[0]
        return GalleryImage(key(definition), _named(parts.name.lower()), definition)
    shared = _SHARED.fullmatch(spelt)
    if shared is None:
        return None
    version = shared["version"]
    return GalleryImage(
        key(shared["definition"]),
        _named(version.lower() if version else None),
        shared["definition"],
        shared=True,
    )


def matches(target_id: str, machine: Machine) -> bool:
    """Whether the machine was built from a gallery image: a definition's id, or a version's.

    Where the machine's reference names no version, the version that Azure chose for it
    (`exactVersion`) decides.
    """
    target, source = gallery_image(target_id), built_from(machine)
    if target is None or source is None or target.definition != source.definition:
        return False
    if target.version is None:
        return True
    exact = (machine.image.exact_version or "").lower() if machine.image else ""
    return target.version == (source.version or exact)


def built_from(machine: Machine) -> GalleryImage | None:
    """The gallery image that a machine's model names, None if it names none."""
    return None if machine.image is None else _gallery_image_of(machine.image)


Definitions = Mapping[str, ImageDefinition | Unread]
"""Image definitions by key, or why one is not at hand."""


def classify(machine: Machine, definitions: Definitions) -> Image:
    """The image of a machine.

    `definitions` are those that could be read, and why others could not; one that is not there was
    not asked for. A definition's osState decides; osProfile stands in where there is none.
    """
    gallery = built_from(machine)
    definition = definitions.get(gallery.definition) if gallery else None
    image = _by_model(machine, gallery, definition)
    system = operating_system(machine.os_type, machine.image, definition)
    evidence = f"{image.evidence} {system.evidence}".rstrip()
    return replace(image, evidence=evidence, os_type=system.type)


def with_os_type(machine: Machine, image: Image) -> Machine:
    """The machine with the operating system that its image tells, where its model does not."""
    return machine if machine.os_type == image.os_type else replace(machine, os_type=image.os_type)


def _by_model(
    machine: Machine, gallery: GalleryImage | None, definition: ImageDefinition | Unread | None
) -> Image:
    if is_arc_server(machine.id):
        evidence = "An Azure Arc-enabled server has no Azure image."
        return Image(ImageClass.NOT_APPLICABLE, None, evidence, Confidence.HIGH)
    reference = machine.image
    if reference is None or reference == ImageReference():
        return _without_reference(machine)
    image_id = _id_of(reference)
    if image_id is not None and gallery is not None:
        return _of_gallery(image_id, gallery, definition, machine.computer_name)
    if image_id is not None:
        return _by_id(image_id)
    if reference.publisher and reference.offer and reference.sku:
        name = f"{reference.publisher}:{reference.offer}:{reference.sku}"
        evidence = "The image reference names publisher, offer and sku, and no image id."
        return Image(ImageClass.MARKETPLACE, name, evidence, Confidence.HIGH)
    evidence = "The image reference has neither an id nor publisher, offer and sku together."
    return Image(ImageClass.UNKNOWN, None, evidence, Confidence.LOW)


def _without_reference(machine: Machine) -> Image:
    if (machine.os_disk_create_option or "").lower() == "attach":
        evidence = (
            "There is no image reference and osDisk.createOption is Attach, as on machines that "
            "Azure Migrate, Azure Backup or Azure Site Recovery made."
        )
        return Image(ImageClass.NON_GALLERY, None, evidence, Confidence.HIGH)
    evidence = "There is no image reference, and osDisk.createOption is not Attach."
    return Image(ImageClass.UNKNOWN, None, evidence, Confidence.LOW)


def _by_id(image_id: str) -> Image:
    parts = parse(image_id)
    if parts is not None and parts.type == _MANAGED_IMAGE:
        evidence = "The image reference's id is that of a managed image."
        return Image(ImageClass.NON_GALLERY, image_id, evidence, Confidence.HIGH)
    evidence = "The image reference's id has no form that we know."
    return Image(ImageClass.UNKNOWN, image_id, evidence, Confidence.LOW)


def _of_gallery(
    image_id: str,
    gallery: GalleryImage,
    definition: ImageDefinition | Unread | None,
    computer_name: str | None,
) -> Image:
    by_profile = ImageClass.GALLERY_GENERALIZED if computer_name else ImageClass.GALLERY_SPECIALIZED
    profile = f"the machine has {'' if computer_name else 'no '}osProfile.computerName"
    if not isinstance(definition, ImageDefinition):
        evidence = f"The image definition {_why(definition, gallery)}, so osProfile decides: "
        return Image(by_profile, image_id, f"{evidence}{profile}.", Confidence.MEDIUM)
    by_definition = _CLASS_BY_OS_STATE.get(definition.os_state.lower())
    if by_definition is None:
        evidence = f"The image definition's osState {definition.os_state!r} is not known, so "
        evidence += f"osProfile decides: {profile}."
        return Image(by_profile, image_id, evidence, Confidence.MEDIUM)
    evidence = f"osState of the image definition is {definition.os_state}"
    if by_definition is not by_profile:
        evidence += f", although {profile}; the definition decides."
        return Image(by_definition, image_id, evidence, Confidence.MEDIUM)
    return Image(by_definition, image_id, f"{evidence}.", Confidence.HIGH)


def _why(unread: Unread | None, gallery: GalleryImage) -> str:
    """What keeps a definition from deciding."""
    match unread:
        case Unread.REFUSED:
            return "cannot be read"
        case Unread.GONE if gallery.shared:
            return "was deleted or is not shared with us (404)"
        case Unread.GONE:
            return "does not exist any more (404)"
        case Unread.UNANSWERED:
            return "could not be read yet"
        case None:
            return "is not at hand"


def _gallery_image_of(reference: ImageReference) -> GalleryImage | None:
    image_id = _id_of(reference)
    return None if image_id is None else gallery_image(image_id)


def _id_of(reference: ImageReference) -> str | None:
    """The id first: an image built from a marketplace plan may name publisher and offer too."""
    return reference.id or reference.shared_gallery_image_id or reference.community_gallery_image_id


def _named(version: str | None) -> str | None:
    return None if version in {None, _LATEST} else version
