"""The support matrix as data."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.subscription import SupportMatrix
from azpatch.domain.matrix import REVISIONS, read, revision

ALL = tuple(OperationName)
ON_DEMAND = (OperationName.ON_DEMAND_ASSESSMENT, OperationName.ON_DEMAND_PATCHING)
BY_PLATFORM = (OperationName.PERIODIC_ASSESSMENT, OperationName.SCHEDULED_PATCHING)


@pytest.mark.parametrize(
    ("image_class", "supported"),
    [
        pytest.param(ImageClass.GALLERY_GENERALIZED, ON_DEMAND + BY_PLATFORM, id="generalized"),
        pytest.param(ImageClass.GALLERY_SPECIALIZED, ON_DEMAND, id="specialized"),
        pytest.param(ImageClass.NON_GALLERY, (), id="non-gallery"),
    ],
)
def test_revision_2023_05_is_the_table_of_its_document(
    image_class: ImageClass, supported: tuple[OperationName, ...]
) -> None:
    matrix = revision("2023-05")

    assert {op: matrix.support(image_class, op) for op in ALL} == {
        op: Support.SUPPORTED if op in supported else Support.UNSUPPORTED for op in ALL
    }


@pytest.mark.parametrize("image_class", [ImageClass.MARKETPLACE, ImageClass.UNKNOWN])
def test_what_the_document_does_not_decide_is_unknown(image_class: ImageClass) -> None:
    assert {revision("2023-05").support(image_class, op) for op in ALL} == {Support.UNKNOWN}


def test_revision_2023_05_needs_the_preview_feature_for_gallery_images_only() -> None:
    matrix = revision("2023-05")

    assert {c for c in ImageClass if matrix.needs_feature(c)} == {
        ImageClass.GALLERY_GENERALIZED,
        ImageClass.GALLERY_SPECIALIZED,
    }


def test_every_revision_that_a_subscription_may_name_ships_with_its_source() -> None:
    assert set(REVISIONS) == set(SupportMatrix)
    for name in REVISIONS:
        assert revision(name).source.date.strftime("%Y-%m") == name


def test_an_unknown_revision_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        revision("1999-01")


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        pytest.param(
            "{NonGallery: {supported: [], unsupported: [OnDemandPatching]}}",
            "missing",
            id="an operation is missing",
        ),
        pytest.param(
            "{NonGallery: {supported: [OnDemandPatching], unsupported: [OnDemandAssessment, "
            "OnDemandPatching, PeriodicAssessment, ScheduledPatching, AutomaticGuestPatching]}}",
            "twice",
            id="an operation stands on both sides",
        ),
        pytest.param("{Floppy: {supported: [], unsupported: []}}", "imageClasses", id="a class"),
        pytest.param(
            "{NonGallery: {supported: [Reinstall], unsupported: []}}", "supported", id="a word"
        ),
    ],
)
def test_data_that_is_not_a_matrix_is_refused_with_its_path(classes: str, problem: str) -> None:
    text = f"""
revision: "2023-05"
product: p
source: {{title: t, document: d, date: 2023-05-02}}
imageClasses: {classes}
"""
    with pytest.raises(ValidationError, match=problem):
        read(text)
