"""What a selector means, in the words of Azure's dynamic scopes."""

from __future__ import annotations

from typing import Any

import pytest
from domain_builders import SERVER, VM, arc_server, machine

from azpatch.api.common import Confidence, ImageClass, OsType
from azpatch.api.policy import SelectorTarget
from azpatch.domain.facts import Machine
from azpatch.domain.image import Image
from azpatch.domain.selector import may_select, selects

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
    assert selects(selector(**fields), machine(tags=TAGS), image()) is meant


def test_an_arc_enabled_server_is_selected_like_a_machine() -> None:
    server = arc_server()
    arc = image(ImageClass.NOT_APPLICABLE)

    assert selects(selector(), server, arc)
    assert selects(selector(imageClasses=["NotApplicable"]), server, arc)
    assert not selects(selector(imageClasses=["Marketplace"]), server, arc)
    assert server.id == SERVER


LINUX, GENERALIZED = {"osTypes": ["Linux"]}, {"imageClasses": ["GalleryGeneralized"]}
GUESSED = image(ImageClass.GALLERY_SPECIALIZED, Confidence.MEDIUM)
KNOWN = image(ImageClass.GALLERY_SPECIALIZED)
NO_SYSTEM = image(os_type=None)


@pytest.mark.parametrize(
    ("fields", "built_from", "found", "may"),
    [
        pytest.param(GENERALIZED, GUESSED, machine(), True, id="its image definition is not read"),
        pytest.param(GENERALIZED, KNOWN, machine(), False, id="its image definition is read"),
        pytest.param(LINUX, NO_SYSTEM, machine(), True, id="its operating system is not known"),
        pytest.param(
            {**GENERALIZED, "locations": ["northeurope"]},
            GUESSED,
            machine(),
            False,
            id="something else does not match, too",
        ),
    ],
)
def test_for_lack_of_evidence_a_machine_may_still_match(
    fields: dict[str, Any], built_from: Image, found: Machine, may: bool
) -> None:
    assert not selects(selector(**fields), found, built_from)
    assert may_select(selector(**fields), found, built_from) is may
