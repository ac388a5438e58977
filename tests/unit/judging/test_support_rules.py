"""What the checker of support knows: the documents, read anew, and what may be sent when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from judging import documents
from judging.azure_journal import Entry, Event, Journal, Request
from judging.documents import Document
from judging.support import Case, Circumstances, Found, Truth, allowing, support_kept

OURS = "azpatch"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
VM = "/subscriptions/s-1/resourcegroups/rg/providers/microsoft.compute/virtualmachines/web"

FIRST, LATER = documents.revision("2023-05"), documents.revision("2025-02")
GENERALIZED, NON_GALLERY = Truth("GalleryGeneralized"), Truth("NonGallery")
DENIED = Truth("Marketplace", marketplace=("RedHat", "rhel-ha", "81_gen2"))
RULED = Truth("Marketplace", marketplace=("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts"))
UNRULED = Truth("Marketplace", marketplace=("nobody", "knows", "it"))
FLATCAR = replace(NON_GALLERY, os_name="flatcar", os_version="4081.2.0")
SERVER = Truth("NotApplicable")

ALL = {"nothing", "an install", "Supported", "Unsupported", "UnableToDetermine", "silence"}


def around(document: Document = FIRST, **other: object) -> Circumstances:
    return replace(Circumstances(document), **other)


@pytest.mark.parametrize(
    ("truth", "circumstances", "assess", "install"),
    [
        pytest.param(GENERALIZED, around(), ALL, {"Supported", "silence"}, id="gallery"),
        pytest.param(GENERALIZED, around(tried=True), ALL,
                     {"Supported", "silence", "UnableToDetermine"}, id="gallery, Try"),
        pytest.param(GENERALIZED, around(gate="closed", tried=True),
                     {"Supported", "silence", "an install"}, {"Supported", "silence"},
                     id="gate closed"),
        pytest.param(GENERALIZED, around(gate="unknown", tried=True), ALL,
                     {"Supported", "silence"}, id="gate unknown"),
        pytest.param(NON_GALLERY, around(tried=True), {"Supported"}, {"Supported"}, id="no image"),
        pytest.param(NON_GALLERY, around(probe=True), ALL, {"Supported"}, id="no image, probe"),
        pytest.param(NON_GALLERY, around(LATER), ALL, {"Supported", "silence"}, id="later"),
        pytest.param(FLATCAR, around(LATER, tried=True), ALL, {"Supported", "silence"},
                     id="later, a system that is not listed"),
        pytest.param(Truth("Unknown"), around(), ALL, {"Supported"}, id="unknown"),
        pytest.param(Truth("Unknown"), around(LATER), ALL, {"Supported", "silence"},
                     id="unknown, later"),
        pytest.param(RULED, around(), ALL, ALL - {"Unsupported"}, id="marketplace"),
        pytest.param(UNRULED, around(tried=True), ALL, {"Supported", "silence"}, id="no rule"),
        pytest.param(DENIED, around(LATER), {"Supported"}, {"Supported"}, id="denied"),
        pytest.param(replace(RULED, excluded=True), around(), set(), set(), id="excluded"),
        pytest.param(SERVER, around(), ALL, ALL, id="server"),
        pytest.param(SERVER, around(billed=False), set(), set(), id="server, not billed"),
    ],
)  # fmt: skip
def test_what_must_have_been_found(
    truth: Truth, circumstances: Circumstances, assess: set[Found], install: set[Found]
) -> None:
    assert allowing("Assess", truth, circumstances) == assess
    assert allowing("Install", truth, circumstances) == install


INSTALLED = [
    Event(1, NOW, VM, "OperationStarted", "i", None,
          {"operation": "Install", "principal": OURS, "vmId": "vm"}),
    Event(2, NOW, VM, "OperationEnded", "i", None, {"status": "Succeeded"}),
]  # fmt: skip


def post(number: int, verb: str, principal: str = OURS) -> Request:
    return Request(number, NOW, principal, "POST", f"{VM}/{verb}", 202)


def assessed(first: int, status: str) -> list[Entry]:
    details = {"operation": "Assess", "principal": "somebody", "vmId": "vm"}
    return [
        Event(first, NOW, VM, "OperationStarted", "a", None, details),
        Event(first + 1, NOW + timedelta(minutes=1), VM, "OperationEnded", "a", None,
              {"status": status}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        pytest.param([post(1, "assessPatches")], 1, id="nothing had been found"),
        pytest.param([*assessed(1, "Succeeded"), post(3, "assessPatches")], 0, id="supported"),
        pytest.param([*assessed(1, "Failed"), post(3, "assessPatches")], 1, id="it failed"),
        pytest.param([post(1, "assessPatches"), *assessed(2, "Succeeded")], 1, id="found later"),
        pytest.param([post(1, "installPatches", "somebody")], 0, id="somebody else's"),
    ],
)
def test_a_request_is_judged_by_what_had_been_found_before(
    entries: list[Entry], found: int
) -> None:
    case = Case(VM, NON_GALLERY, around())
    assert len(support_kept(Journal(entries), [case], {OURS})) == found


def test_what_an_install_came_to_may_be_assessed_though_the_feature_is_not_registered() -> None:
    """On a machine that was made anew under it, of which nothing has been found."""
    case = Case(VM, GENERALIZED, around(gate="closed"))
    for verb, found in ("assessPatches", 0), ("installPatches", 1):
        assert len(support_kept(Journal([*INSTALLED, post(3, verb)]), [case], {OURS})) == found


def test_so_it_may_where_azure_could_not_determine_support_before_the_install() -> None:
    """The feature was registered then, and is not now."""
    undetermined = replace(GENERALIZED, detects="UnableToDetermine")
    case = Case(VM, undetermined, around(gate="closed"), assessed_before=True)
    for verb, found in ("assessPatches", 0), ("installPatches", 1):
        assert len(support_kept(Journal([*INSTALLED, post(3, verb)]), [case], {OURS})) == found
    assert len(support_kept(Journal([post(3, "assessPatches")]), [case], {OURS})) == 1


def test_what_was_found_before_the_journal_counts() -> None:
    journal = Journal([post(1, "installPatches")])
    case = Case(VM, NON_GALLERY, around(), assessed_before=True)
    assert support_kept(journal, [case], {OURS}) == []
    doubted = replace(case, truth=replace(NON_GALLERY, detects="UnableToDetermine"))
    assert len(support_kept(journal, [doubted], {OURS})) == 1


@pytest.mark.parametrize(
    ("image", "os_type", "said"),
    [
        (("REDHAT", "RHEL-HA", "81_GEN2"), "Linux", "denied"),
        (("redhat", "rhel-ha", "8_4"), "Linux", "allowed"),
        (("redhat", "rhel-ha", "8_4"), "Windows", "no rule"),
        (("nobody", "knows", "it"), "Linux", "no rule"),
    ],
)
def test_the_marketplace_rules_are_read(
    image: tuple[str, str, str], os_type: str, said: str
) -> None:
    assert FIRST.says_of(image, os_type) == said


@pytest.mark.parametrize(
    ("system", "excluded"),
    [
        (("ubuntu", "22.04"), False),
        (("Ubuntu", "24.04"), True),
        (("flatcar", "1"), True),
        (("ubuntu", None), False),
        ((None, None), False),
    ],
)
def test_the_listed_systems_are_read(system: tuple[str | None, str | None], excluded: bool) -> None:
    assert LATER.excludes_system(*system) is excluded
    assert not FIRST.excludes_system(*system)


def test_a_document_of_ones_own_is_read_as_the_shipped_ones_are() -> None:
    text = (documents.DATA / "matrix-2023-05.yaml").read_text()
    own = documents.read(text.replace("[OnDemandAssessment, OnDemandPatching]", "[]"))
    assert own.serves("GalleryGeneralized", documents.PATCHING)
    assert not own.serves("GallerySpecialized", documents.PATCHING)
    assert own.needs_feature("GallerySpecialized")
    assert not own.needs_feature("NonGallery")
    assert (FIRST.serves_all_alike, LATER.serves_all_alike) == (False, True)
