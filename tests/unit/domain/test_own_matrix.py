"""An organisation's own support matrix: what is taken from its ConfigMap, and what is in force."""

from __future__ import annotations

from pathlib import Path

import pytest
from domain_builders import READABLE, subscription

from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.reasons import Reason
from azpatch.api.subscription import MATRIX_LENGTH, AzureSubscription, SupportMatrixStatus
from azpatch.domain.matrix import revision
from azpatch.domain.own_matrix import MATRIX_KEY, chosen, in_force

ROOT = Path(__file__).parents[3]

OWN = """
revision: contoso-1
product: Contoso's own choice
source: {title: Decision 7, document: wiki, date: 2026-10-01}
marketplaceRules: "2026-04"
automaticGuestPatching: "2024-07"
imageClasses:
  NonGallery:
    supported: [OnDemandAssessment]
    unsupported: [OnDemandPatching, PeriodicAssessment, ScheduledPatching, AutomaticGuestPatching]
"""
KEPT = SupportMatrixStatus(revision="contoso-1", text=OWN)


def referring(kept: SupportMatrixStatus | None = None) -> AzureSubscription:
    status = {} if kept is None else {"supportMatrix": kept.to_object()}
    return subscription(supportMatrix=None, supportMatrixRef={"name": "ours"}, status=status)


def test_a_shipped_revision_is_in_force_at_once_and_needs_no_config_map() -> None:
    named = subscription(supportMatrix="2023-11")

    assert in_force(named) is revision("2023-11")
    assert chosen(named, None) == (SupportMatrixStatus(revision="2023-11"), None)


def test_the_example_is_one() -> None:
    text = (ROOT / "examples" / "own-matrix" / "matrix.yaml").read_text()
    kept, trouble = chosen(referring(), {MATRIX_KEY: text})
    assert trouble is None
    assert kept == SupportMatrixStatus(revision="ours-2026-11", text=text)


def test_a_matrix_of_ones_own_is_kept_in_the_status_and_in_force_from_there() -> None:
    assert in_force(referring()) is None
    assert chosen(referring(), {MATRIX_KEY: OWN}) == (KEPT, None)

    matrix = in_force(referring(KEPT))
    assert matrix is not None
    assert matrix.revision == "contoso-1"
    assert matrix.support(ImageClass.NON_GALLERY, OperationName.ON_DEMAND_ASSESSMENT) is (
        Support.SUPPORTED
    )


BROKEN = [
    pytest.param(None, Reason.SUPPORT_MATRIX_NOT_FOUND, "no ConfigMap ours", id="no ConfigMap"),
    pytest.param(
        {"other.yaml": OWN}, Reason.SUPPORT_MATRIX_NOT_FOUND, "key matrix.yaml", id="no key"
    ),
    pytest.param(
        {MATRIX_KEY: "revision: [}"}, Reason.SUPPORT_MATRIX_INVALID, "line 1: ", id="no YAML"
    ),
    pytest.param({MATRIX_KEY: ""}, Reason.SUPPORT_MATRIX_INVALID, "valid", id="nothing"),
    pytest.param(
        {MATRIX_KEY: OWN.replace("NonGallery", "Floppy")},
        Reason.SUPPORT_MATRIX_INVALID,
        "imageClasses.Floppy",
        id="an image class that is none",
    ),
    pytest.param(
        {MATRIX_KEY: OWN.replace("[OnDemandAssessment]", "[]")},
        Reason.SUPPORT_MATRIX_INVALID,
        "imageClasses.NonGallery: Value error, every operation stands on one side",
        id="an operation is missing",
    ),
    pytest.param(
        {MATRIX_KEY: OWN.replace("2026-04", "2031-01")},
        Reason.SUPPORT_MATRIX_INVALID,
        "marketplace-2031-01.yaml",
        id="rules that do not ship",
    ),
    pytest.param(
        {MATRIX_KEY: OWN.replace("contoso-1", '"2025-02"')},
        Reason.SUPPORT_MATRIX_INVALID,
        "the name of one that ships",
        id="a name that is taken",
    ),
    pytest.param(
        {MATRIX_KEY: OWN + "#" * MATRIX_LENGTH},
        Reason.SUPPORT_MATRIX_INVALID,
        "too long",
        id="too long",
    ),
    pytest.param(
        {MATRIX_KEY: "[" * 10_000}, Reason.SUPPORT_MATRIX_INVALID, "nested too deeply", id="depth"
    ),
]


@pytest.mark.parametrize(("data", "reason", "says"), BROKEN)
@pytest.mark.parametrize(
    ("kept", "until"),
    [
        (None, "None was in force before, so nothing is sent."),
        (KEPT, "Revision contoso-1, read before, stays in force."),
        (
            SupportMatrixStatus(revision="2023-05"),
            "Revision 2023-05, read before, stays in force.",
        ),
    ],
    ids=["none before", "one's own before", "a shipped one before"],
)
def test_a_broken_one_is_told_and_the_last_good_one_stays_in_force(
    kept: SupportMatrixStatus | None,
    until: str,
    data: dict[str, str] | None,
    reason: Reason,
    says: str,
) -> None:
    matrix, wrong = chosen(referring(kept), data)

    assert matrix == kept
    assert wrong is not None
    assert wrong.reason is reason
    assert says in wrong.message
    assert until in wrong.message
    assert len(wrong.message) <= READABLE


@pytest.mark.parametrize(
    "kept",
    [
        SupportMatrixStatus(revision="1999-01"),
        SupportMatrixStatus(revision="contoso-1", text="what a newer azpatch understands"),
    ],
    ids=["a revision", "a text"],
)
def test_what_this_version_does_not_understand_is_not_in_force(kept: SupportMatrixStatus) -> None:
    assert in_force(referring(kept)) is None
