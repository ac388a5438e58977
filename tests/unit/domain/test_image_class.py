"""What a machine was built from, told by the evidence on its model."""

from __future__ import annotations

import pytest
from domain_builders import COMPUTE, DEFINITION, GROUP, SUBSCRIPTION, VERSION, machine

from azpatch.api.common import ImageClass
from azpatch.api.target import ImageStatus
from azpatch.domain.facts import ImageDefinition, ImageReference
from azpatch.domain.ids import key
from azpatch.domain.image import classify, gallery_image, matches

MANAGED_IMAGE = f"{COMPUTE}/images/golden"
SHARED = "/SharedGalleries/11aa-OURS/Images/web/Versions/2.0.0"
COMMUNITY = "/CommunityGalleries/ours-22bb/Images/web/Versions/latest"
GENERALIZED = ImageDefinition(DEFINITION, "Generalized")
SPECIALIZED = ImageDefinition(DEFINITION, "Specialized")


def marketplace(**changes: str) -> ImageReference:
    parts = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"} | changes
    return ImageReference(**parts)


@pytest.mark.parametrize(
    ("reference", "image_class", "named"),
    [
        pytest.param(
            marketplace(version="latest"),
            ImageClass.MARKETPLACE,
            "Canonical:ubuntu-24_04-lts:server",
            id="publisher, offer and sku, no id: Marketplace",
        ),
        pytest.param(
            marketplace(id=VERSION),
            ImageClass.GALLERY_GENERALIZED,
            VERSION,
            id="an id goes before publisher, offer and sku",
        ),
        pytest.param(
            ImageReference(publisher="Canonical", offer="ubuntu-24_04-lts"),
            ImageClass.UNKNOWN,
            None,
            id="publisher and offer without sku: Unknown",
        ),
        pytest.param(
            ImageReference(id=DEFINITION),
            ImageClass.GALLERY_GENERALIZED,
            DEFINITION,
            id="a definition's id: gallery",
        ),
        pytest.param(
            ImageReference(id=VERSION.upper()),
            ImageClass.GALLERY_GENERALIZED,
            VERSION.upper(),
            id="a version's id in upper case: gallery, as spelt",
        ),
        pytest.param(
            ImageReference(shared_gallery_image_id=SHARED),
            ImageClass.GALLERY_GENERALIZED,
            SHARED,
            id="sharedGalleryImageId: gallery",
        ),
        pytest.param(
            ImageReference(community_gallery_image_id=COMMUNITY),
            ImageClass.GALLERY_GENERALIZED,
            COMMUNITY,
            id="communityGalleryImageId: gallery",
        ),
        pytest.param(
            ImageReference(id=COMMUNITY.lower()),
            ImageClass.GALLERY_GENERALIZED,
            COMMUNITY.lower(),
            id="a community gallery's id in `id`: gallery",
        ),
        pytest.param(
            ImageReference(id=MANAGED_IMAGE),
            ImageClass.NON_GALLERY,
            MANAGED_IMAGE,
            id="a managed image: NonGallery",
        ),
        pytest.param(
            ImageReference(id=f"{COMPUTE}/snapshots/s"),
            ImageClass.UNKNOWN,
            f"{COMPUTE}/snapshots/s",
            id="an id of unknown form: Unknown",
        ),
        pytest.param(None, ImageClass.UNKNOWN, None, id="nothing: Unknown"),
        pytest.param(ImageReference(), ImageClass.UNKNOWN, None, id="an empty reference: Unknown"),
    ],
)
def test_the_image_reference_tells_the_class(
    reference: ImageReference | None, image_class: ImageClass, named: str | None
) -> None:
    image = classify(machine(image=reference), {})

    assert (image.image_class, image.reference) == (image_class, named)
    assert image.evidence.endswith(".")
    assert ImageStatus(image_class=image_class, evidence=image.evidence).evidence == image.evidence


@pytest.mark.parametrize("option", ["Attach", "attach"])
def test_an_attached_disk_without_an_image_reference_is_non_gallery(option: str) -> None:
    image = classify(machine(image=None, os_disk_create_option=option), {})

    assert image.image_class is ImageClass.NON_GALLERY
    assert "Azure Migrate" in image.evidence


def test_an_image_reference_goes_before_an_attached_disk() -> None:
    image = classify(machine(os_disk_create_option="Attach"), {key(DEFINITION): SPECIALIZED})

    assert image.image_class is ImageClass.GALLERY_SPECIALIZED


def test_an_arc_server_has_no_image() -> None:
    arc = f"{GROUP}/providers/Microsoft.HybridCompute/machines/dc-7"

    assert classify(machine(id=arc), {}).image_class is ImageClass.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("definition", "computer_name", "image_class", "evidence"),
    [
        pytest.param(
            GENERALIZED,
            "web-1",
            ImageClass.GALLERY_GENERALIZED,
            "osState of the image definition is Generalized.",
            id="readable, generalized",
        ),
        pytest.param(
            SPECIALIZED,
            None,
            ImageClass.GALLERY_SPECIALIZED,
            "osState of the image definition is Specialized.",
            id="readable, specialized",
        ),
        pytest.param(
            SPECIALIZED,
            "web-1",
            ImageClass.GALLERY_SPECIALIZED,
            "although the machine has osProfile.computerName",
            id="osState wins over osProfile, and the conflict is noted",
        ),
        pytest.param(
            GENERALIZED,
            None,
            ImageClass.GALLERY_GENERALIZED,
            "although the machine has no osProfile.computerName",
            id="osState wins over a missing osProfile, and the conflict is noted",
        ),
        pytest.param(
            None,
            "web-1",
            ImageClass.GALLERY_GENERALIZED,
            "The image definition cannot be read, so osProfile decides",
            id="unreadable, with osProfile: generalized",
        ),
        pytest.param(
            None,
            None,
            ImageClass.GALLERY_SPECIALIZED,
            "The image definition cannot be read, so osProfile decides",
            id="unreadable, without osProfile: specialized",
        ),
        pytest.param(
            ImageDefinition(DEFINITION, "Frozen"),
            None,
            ImageClass.GALLERY_SPECIALIZED,
            "'Frozen' is not known",
            id="an osState that is not known: osProfile decides",
        ),
    ],
)
def test_the_definition_tells_generalized_from_specialized(
    definition: ImageDefinition | None,
    computer_name: str | None,
    image_class: ImageClass,
    evidence: str,
) -> None:
    definitions = {} if definition is None else {key(DEFINITION): definition}
    image = classify(
        machine(image=ImageReference(id=VERSION.upper()), computer_name=computer_name), definitions
    )

    assert image.image_class is image_class
    assert evidence in image.evidence


@pytest.mark.parametrize(
    ("reference", "definition"),
    [
        (DEFINITION, key(DEFINITION)),
        (VERSION, key(DEFINITION)),
        (VERSION.upper(), key(DEFINITION)),
        (SHARED, "/sharedgalleries/11aa-ours/images/web"),
        (COMMUNITY, "/communitygalleries/ours-22bb/images/web"),
        (
            f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope{SHARED}",
            f"/subscriptions/{SUBSCRIPTION}/providers/microsoft.compute/locations/westeurope"
            "/sharedgalleries/11aa-ours/images/web",
        ),
        (MANAGED_IMAGE, None),
        ("Canonical:ubuntu-24_04-lts:server", None),
    ],
)
def test_a_reference_belongs_to_a_definition(reference: str, definition: str | None) -> None:
    image = gallery_image(reference)
    assert (image.definition if image else None) == definition


@pytest.mark.parametrize(
    ("target", "reference", "matched"),
    [
        pytest.param(DEFINITION, ImageReference(id=VERSION), True, id="definition, any version"),
        pytest.param(DEFINITION.upper(), ImageReference(id=VERSION), True, id="without case"),
        pytest.param(DEFINITION + "-2", ImageReference(id=VERSION), False, id="another definition"),
        pytest.param(VERSION, ImageReference(id=VERSION), True, id="the version itself"),
        pytest.param(
            VERSION,
            ImageReference(id=DEFINITION, exact_version="1.4.0"),
            True,
            id="no version in the reference: exactVersion",
        ),
        pytest.param(
            VERSION,
            ImageReference(id=f"{DEFINITION}/versions/latest", exact_version="1.4.0"),
            True,
            id="latest in the reference: exactVersion",
        ),
        pytest.param(
            VERSION,
            ImageReference(id=DEFINITION, exact_version="1.3.0"),
            False,
            id="another exactVersion",
        ),
        pytest.param(
            VERSION,
            ImageReference(id=f"{DEFINITION}/versions/1.3.0", exact_version="1.4.0"),
            False,
            id="a version in the reference goes before exactVersion",
        ),
        pytest.param(VERSION, ImageReference(id=DEFINITION), False, id="no version known"),
        pytest.param(DEFINITION, marketplace(), False, id="a marketplace machine"),
        pytest.param(DEFINITION, None, False, id="a machine without a reference"),
        pytest.param(MANAGED_IMAGE, ImageReference(id=MANAGED_IMAGE), False, id="no gallery image"),
    ],
)
def test_a_gallery_image_target_means_the_machines_built_from_it(
    target: str, reference: ImageReference | None, matched: bool
) -> None:
    assert matches(target, machine(image=reference)) is matched
