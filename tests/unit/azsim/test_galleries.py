"""Galleries, image definitions and versions."""

from __future__ import annotations

import pytest
from simulated import Azure

SUB = "/subscriptions/5ab10000-0000-4000-8000-000000000001"
GALLERY = f"{SUB}/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/sig"

FLEET = """
principals:
  - {name: owner}
  - name: elsewhere
    roleAssignments:
      - {scope: /subscriptions/5ab10000-0000-4000-8000-000000000001/resourceGroups/rg-web,
         role: Reader}
subscriptions:
  - galleries:
      - name: sig
        group: rg-images
        images:
          - name: web
            versions: [1.0.0, 1.4.0]
            purchasePlan: {name: n, publisher: p, product: o}
          - {name: golden, osState: Specialized, osType: Windows, hyperVGeneration: V1}
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def test_a_definition_says_what_its_machines_are_made_of(sim: Azure) -> None:
    image = sim.call("GET", f"{GALLERY}/images/GOLDEN").json()

    assert image["id"] == f"{GALLERY}/images/golden"
    assert image["type"] == "Microsoft.Compute/galleries/images"
    assert image["properties"] == {
        "osState": "Specialized",
        "osType": "Windows",
        "hyperVGeneration": "V1",
        "architecture": "x64",
        "identifier": {"publisher": "azsim", "offer": "sig", "sku": "golden"},
        "provisioningState": "Succeeded",
    }


def test_a_definition_made_from_a_marketplace_image_has_its_plan(sim: Azure) -> None:
    properties = sim.call("GET", f"{GALLERY}/images/web").json()["properties"]

    assert properties["purchasePlan"] == {"name": "n", "publisher": "p", "product": "o"}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (f"{SUB}/providers/Microsoft.Compute/galleries", ["sig"]),
        (GALLERY.rsplit("/", 1)[0], ["sig"]),
        (f"{GALLERY}/images", ["web", "golden"]),
        (f"{GALLERY}/images/web/versions", ["1.0.0", "1.4.0"]),
    ],
)
def test_lists_name_what_is_there(sim: Azure, path: str, names: list[str]) -> None:
    assert [each["name"] for each in sim.call("GET", path).json()["value"]] == names


def test_a_version_is_read_by_its_id(sim: Azure) -> None:
    version = sim.call("GET", f"{GALLERY}/images/web/versions/1.4.0").json()

    assert version["id"] == f"{GALLERY}/images/web/versions/1.4.0"


@pytest.mark.parametrize(
    "path", [f"{GALLERY}x", f"{GALLERY}/images/none", f"{GALLERY}/images/web/versions/9.9.9"]
)
def test_what_is_not_there_is_a_404(sim: Azure, path: str) -> None:
    answer = sim.call("GET", path)

    assert (answer.status, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_a_definition_in_a_group_without_rights_cannot_be_read(sim: Azure) -> None:
    answer = sim.call("GET", f"{GALLERY}/images/web", principal=1)

    assert (answer.status, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")


# -- what is shared, and what is gone --------------------------------------------------------------

OTHER = "/subscriptions/5ab10000-0000-4000-8000-000000000002"
SHARED = "providers/Microsoft.Compute/locations/westeurope/sharedGalleries"
COMMUNITY = "providers/Microsoft.Compute/locations/northeurope/communityGalleries"
IN_TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"

SHARING = """
principals:
  - {name: owner}
  - name: guest
    roleAssignments:
      - {scope: /subscriptions/5ab10000-0000-4000-8000-000000000002, role: Reader}
subscriptions:
  - galleries:
      - name: sig
        group: rg-images
        sharedWith: [SHARED_WITH]
        publicName: azsim-1a2b
        images:
          - {name: golden, osState: Specialized, osType: Windows, identifier: {sku: s}}
          - {name: old, deleted: true}
      - {name: named, group: rg-images, uniqueName: 5ab1-NAMED, images: [{name: web}],
         sharedWith: [5ab10000-0000-4000-8000-000000000002]}
  - {id: 5ab10000-0000-4000-8000-000000000002, displayName: other}
machines:
  - {name: direct, subscription: other, image: {sharedGalleryImageId: UNIQUE/Versions/1.0.0}}
  - {name: public, image: {communityGalleryImageId: /CommunityGalleries/azsim-1a2b/Images/Golden}}
  - {name: named, image: {id: /sharedGalleries/5ab1-named/images/web}}
  - {name: old, image: {gallery: sig/old}}
"""
UNIQUE = "5ab10000-0000-4000-8000-000000000001-SIG"


def sharing(shared_with: str = OTHER.rsplit("/", maxsplit=1)[1]) -> Azure:
    unique = f"/SharedGalleries/{UNIQUE}/Images/golden"
    return Azure(SHARING.replace("SHARED_WITH", shared_with).replace("UNIQUE", unique))


@pytest.mark.parametrize(
    ("shared_with", "asking", "seen"),
    [
        pytest.param(OTHER[-36:], OTHER, True, id="with the subscription"),
        pytest.param(IN_TENANT, OTHER, True, id="with its tenant"),
        pytest.param(OTHER[-36:], SUB, False, id="with another subscription"),
        pytest.param("", OTHER, False, id="with nobody"),
    ],
)
def test_a_gallery_is_seen_by_those_whom_it_is_shared_with(
    shared_with: str, asking: str, seen: bool
) -> None:
    sim = sharing(shared_with)
    answer = sim.call("GET", f"{asking}/{SHARED}/{UNIQUE.lower()}/images/GOLDEN")
    if seen:
        assert answer.status == 200
    else:
        assert (answer.status, answer.json()["error"]["code"]) == sim.cloud.quirks.not_shared


def test_what_a_shared_gallery_does_not_have_is_a_404() -> None:
    for path in (f"{SHARED}/{UNIQUE}/images/none", f"{COMMUNITY}/nobodys/images/golden"):
        answer = sharing().call("GET", f"{OTHER}/{path}")
        assert (answer.status, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    ("path", "unique_id"),
    [
        (f"{SHARED}/{UNIQUE}/images/golden", f"/SharedGalleries/{UNIQUE}/Images/golden"),
        (f"{COMMUNITY}/azsim-1a2b/images/golden", "/CommunityGalleries/azsim-1a2b/Images/golden"),
    ],
)
def test_what_is_shared_is_shown_without_a_resource_id(path: str, unique_id: str) -> None:
    shown = sharing().call("GET", f"{OTHER}/{path}").json()

    assert shown["identifier"] == {"uniqueId": unique_id}
    assert "id" not in shown
    assert shown["location"] == path.split("/")[3]
    assert shown["properties"] == {
        "osState": "Specialized",
        "osType": "Windows",
        "hyperVGeneration": "V2",
        "architecture": "x64",
        "identifier": {"sku": "s"},
    }


def test_a_gallery_may_have_a_unique_name_of_its_own() -> None:
    sim = sharing()
    assert sim.call("GET", f"{OTHER}/{SHARED}/5ab1-NAMED/images/web").status == 200
    named = sim.call("GET", f"{GALLERY.rsplit('/', 1)[0]}/named").json()
    assert named["properties"]["identifier"] == {"uniqueName": "5ab1-NAMED"}


def test_what_is_shared_takes_a_right_in_the_subscription_that_asks() -> None:
    sim = sharing()
    assert sim.call("GET", f"{OTHER}/{SHARED}/{UNIQUE}/images/golden", principal=1).status == 200
    for refused in (f"{GALLERY}/images/golden", f"{SUB}/{SHARED}/{UNIQUE}/images/golden"):
        answer = sim.call("GET", refused, principal=1)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")


def test_a_machine_of_a_specialized_shared_image_has_no_os_profile() -> None:
    sim = sharing()
    profiles = {
        name: "osProfile" in sim.machine(name).properties()
        for name in ("direct", "public", "named", "old")
    }
    assert profiles == {"direct": False, "public": False, "named": True, "old": True}


def test_a_deleted_definition_is_gone_and_its_machines_still_name_it() -> None:
    sim = sharing()
    answer = sim.call("GET", f"{GALLERY}/images/old")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
    listed = sim.call("GET", f"{GALLERY}/images").json()["value"]
    assert [image["name"] for image in listed] == ["golden"]
    reference = sim.machine("old").properties()["storageProfile"]["imageReference"]
    assert reference["id"] == f"{GALLERY}/images/old"
