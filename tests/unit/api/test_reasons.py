"""The registry of reasons."""

import re

import pytest

from azpatch.api.common import ConditionType
from azpatch.api.reasons import Reason

BY_REASON = pytest.mark.parametrize("reason", Reason, ids=str)


@BY_REASON
def test_a_reason_is_a_word_that_kubernetes_takes_and_is_named_after_it(reason: Reason) -> None:
    assert re.fullmatch("[A-Z][A-Za-z0-9]{0,63}", reason)
    assert reason.name.replace("_", "") == reason.value.upper()


@BY_REASON
def test_a_reason_says_what_it_means_and_which_conditions_it_is_for(reason: Reason) -> None:
    assert reason.meaning.endswith(".")
    assert reason.types
    assert len(set(reason.types)) == len(reason.types)


@pytest.mark.parametrize("type_", ConditionType, ids=str)
def test_every_condition_has_reasons(type_: ConditionType) -> None:
    assert [reason for reason in Reason if type_ in reason.types]


def test_a_reason_is_found_by_what_stands_in_a_status() -> None:
    assert Reason("VMStopped") is Reason.VM_STOPPED
