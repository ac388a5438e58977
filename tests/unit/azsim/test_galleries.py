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
