"""The support matrix as data."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from azpatch.api import crd
from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.subscription import AzureSubscription
from azpatch.domain.data_files import names
from azpatch.domain.matrix import CUSTOM_IMAGES, REVISIONS, read, revision

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


@pytest.mark.parametrize("name", [name for name in REVISIONS if name != "2023-05"])
@pytest.mark.parametrize("image_class", CUSTOM_IMAGES)
def test_later_revisions_serve_every_custom_image_but_never_automatically(
    name: str, image_class: ImageClass
) -> None:
    matrix = revision(name)

    assert {op for op in ALL if matrix.support(image_class, op) is Support.SUPPORTED} == {
        *ON_DEMAND,
        *BY_PLATFORM,
    }
    assert not matrix.needs_feature(image_class)
    assert matrix.serves_every_custom_image


def test_revision_2023_09_differs_from_the_next_by_the_word_preview() -> None:
    assert revision("2023-09").preview == {
        ImageClass.GALLERY_SPECIALIZED,
        ImageClass.NON_GALLERY,
    }
    assert revision("2023-09").image_classes == revision("2023-11").image_classes
    assert not revision("2023-11").preview


@pytest.mark.parametrize(
    ("os_name", "os_version", "listed"),
    [
        ("Windows Server 2012 Datacenter", "6.2.9200.24523", True),
        ("Windows Server 2012 R2 Standard", "6.3.9600", True),
        ("windows server 2016 datacenter", "Microsoft Windows NT 10.0.14393.0", True),
        ("Windows Server 2025 Datacenter", "10.0.26100.2314", True),
        ("Windows Server 2008 R2 Enterprise", "6.1.7601", False),
        ("Windows Server, version 20H2", "10.0.19042", False),
        ("Windows 11 Enterprise", "10.0.26100", False),
        ("oracle", "7.9", True),
        ("ol", "9.4", True),
        ("oracle", "6.10", False),
        ("redhat", "8", True),
        ("rhel", "9.4", True),
        ("redhat", "10.0", False),
        ("sles", "12.5", True),
        ("suse", "15.4", True),
        ("sles", "15.5", False),
        ("ubuntu", "16.04", True),
        ("Ubuntu", "22.04.5", True),
        ("ubuntu", "24.04", False),
        ("mariner", "2.0.20240609", True),
        ("azurelinux", "3.0", False),
        ("rocky", "9.3", True),
        ("rocky", "8.9", False),
        ("debian", "11.9", True),
        ("debian", "12.5", False),
        ("almalinux", "8.9", True),
        ("centos", "7.9.2009", False),
        ("flatcar", None, False),
        ("ubuntu", None, None),
        (None, "22.04", None),
        (None, None, None),
    ],
)
def test_the_systems_of_revision_2025_02_are_told_by_what_agents_report(
    os_name: str | None, os_version: str | None, listed: bool | None
) -> None:
    assert revision("2025-02").lists(os_name, os_version) is listed


@pytest.mark.parametrize("name", [name for name in REVISIONS if name < "2025-02"])
def test_earlier_revisions_list_no_systems(name: str) -> None:
    assert revision(name).lists("flatcar", "1") is None


def test_the_revisions_are_the_files_and_a_subscription_may_name_each() -> None:
    spec = crd.schema(AzureSubscription)["properties"]["spec"]["properties"]

    assert REVISIONS == ("2023-05", "2023-09", "2023-11", "2025-02")
    assert names("matrix") == REVISIONS
    assert spec["supportMatrix"]["enum"] == list(REVISIONS)


@pytest.mark.parametrize("name", REVISIONS)
def test_a_revision_is_named_after_the_month_of_its_source(name: str) -> None:
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
        pytest.param(
            "{NonGallery: {supported: [AutomaticGuestPatching], unsupported: [OnDemandAssessment, "
            "OnDemandPatching, PeriodicAssessment, ScheduledPatching]}}",
            "exact list",
            id="automatic guest patching of a custom image",
        ),
        pytest.param(
            "{Marketplace: {supported: [], unsupported: [OnDemandAssessment, OnDemandPatching, "
            "PeriodicAssessment, ScheduledPatching, AutomaticGuestPatching]}}",
            "custom images only",
            id="a class that rules decide",
        ),
        pytest.param("{}\nmarketplaceRules: 1999-01", "marketplace-1999-01.yaml", id="no rules"),
        pytest.param("{}\nnotes: none", "notes", id="a field that is not known"),
    ],
)
def test_data_that_is_not_a_matrix_is_refused_with_its_path(classes: str, problem: str) -> None:
    rules = "" if "marketplaceRules" in classes else 'marketplaceRules: "2026-04"'
    text = f"""
revision: "2023-05"
product: p
source: {{title: t, document: d, date: 2023-05-02}}
automaticGuestPatching: "2024-07"
{rules}
imageClasses: {classes}
"""
    with pytest.raises(ValidationError, match=problem):
        read(text)
