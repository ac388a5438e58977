"""What a selector means, in the words of Azure's dynamic scopes."""

from __future__ import annotations

from typing import Any

import pytest
from domain_builders import SERVER, VM, arc_server, machine

from azpatch.api.common import Confidence, ImageClass, OsType
from azpatch.api.policy import SelectorTarget
from azpatch.domain.image import Image
from azpatch.domain.selector import selects

GROUP = VM.split("/")[4]
TAGS = {"Env": "prod", "ring": "0"}


def image(
    image_class: ImageClass = ImageClass.GALLERY_GENERALIZED,
    confidence: Confidence = Confidence.HIGH,
    os_type: OsType | None = OsType.LINUX,
) -> Image:
    return Image(image_class, None, "Because.", confidence, os_type)


def selector(**fields: Any) -> SelectorTarget:
    return SelectorTarget.model_validate({"azureSubscriptions": ["prod"], **fields})


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        pytest.param({}, True, id="nothing but the subscription: all"),
        pytest.param({"resourceGroups": ["other", GROUP.upper()]}, True, id="its group"),
        pytest.param({"resourceGroups": ["other"]}, False, id="another group"),
        pytest.param({"locations": ["West Europe"]}, True, id="its region as the portal writes it"),
        pytest.param({"locations": ["westeurope", "northeurope"]}, True, id="its region"),
        pytest.param({"locations": ["northeurope"]}, False, id="another region"),
        pytest.param({"osTypes": ["Linux"]}, True, id="its operating system"),
        pytest.param({"osTypes": ["Windows"]}, False, id="another operating system"),
        pytest.param({"imageClasses": ["GalleryGeneralized"]}, True, id="its image class"),
        pytest.param({"imageClasses": ["Marketplace"]}, False, id="another image class"),
        pytest.param({"tags": {"env": ["prod", "test"]}}, True, id="a tag, its name in other case"),
        pytest.param({"tags": {"env": ["Prod"]}}, False, id="a tag, its value in other case"),
        pytest.param({"tags": {"env": ["test"], "ring": ["0"]}}, True, id="any of two tags"),
        pytest.param({"tags": {"owner": ["me"]}}, False, id="a tag that it does not have"),
        pytest.param(
            {"tags": {"env": ["test"], "ring": ["0"]}, "tagOperator": "All"},
            False,
            id="all of two tags, one differs",
        ),
        pytest.param(
            {"tags": {"env": ["prod"], "ring": ["0"]}, "tagOperator": "All"}, True, id="all of two"
        ),
        pytest.param(
            {"locations": ["westeurope"], "osTypes": ["Windows"]}, False, id="one field matches"
        ),
    ],
)
def test_a_machine_must_match_every_field(fields: dict[str, Any], meant: bool) -> None:
    assert selects(selector(**fields))(machine(tags=TAGS), image()) is meant


def test_an_arc_enabled_server_is_selected_like_a_machine() -> None:
    server = arc_server()
    arc = image(ImageClass.NOT_APPLICABLE)

    assert selects(selector())(server, arc)
    assert selects(selector(imageClasses=["NotApplicable"]))(server, arc)
    assert not selects(selector(imageClasses=["Marketplace"]))(server, arc)
    assert server.id == SERVER
