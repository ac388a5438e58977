"""The pages of decisions leave nothing out that can be decided. `make verify` holds their text."""

from enum import StrEnum

import pytest

import matrix_docs
import outcome_docs
from azpatch.api.common import ImageClass
from azpatch.api.target import Outcome
from azpatch.domain.matrix import REVISIONS
from azpatch.domain.outcome import NOT_SENT, Compliance, InstallOutcome, Retry, lost

OUTCOMES = [
    *(ended.outcome for ended in outcome_docs.ENDED),
    *(lost(reason) for reason in outcome_docs.LOST),
    *(NOT_SENT[reason] for reason in outcome_docs.UNSENT),
]


@pytest.mark.parametrize(
    ("field", "values"),
    [("outcome", Outcome), ("compliance", Compliance), ("retry", Retry)],
    ids=["outcome", "compliance", "retry"],
)
def test_the_page_of_outcomes_has_every(field: str, values: type[StrEnum]) -> None:
    shown = {getattr(one, field) for one in OUTCOMES if isinstance(one, InstallOutcome)}

    assert set(values) <= shown


def test_the_page_of_outcomes_has_all_that_is_not_sent() -> None:
    assert set(NOT_SENT) <= {*outcome_docs.UNSENT, *outcome_docs.LOST}


def test_the_support_matrix_page_has_every_revision_and_class() -> None:
    page = matrix_docs.page()

    for name in REVISIONS:
        assert f"### {name}\n" in page
    assert {kind.image_class for kind in matrix_docs.KINDS} == set(ImageClass)
