"""Conditions: one of each type; the transition time changes only with the status."""

from __future__ import annotations

from datetime import timedelta

import pytest
from domain_builders import DAY, NOW, condition
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.common import ConditionType
from azpatch.api.reasons import Reason
from azpatch.domain.conditions import Finding, Status, find, merge

READY = ConditionType.READY


def test_find_is_by_type() -> None:
    ready = condition("Ready", "True", "UpToDate")
    assert find([condition("Supported", "True", "Probe"), ready], READY) is ready
    assert find([], READY) is None


@pytest.mark.parametrize(
    ("status", "changed"),
    [
        pytest.param("True", False, id="same status: the time stays"),
        pytest.param("False", True, id="other status: the time is now"),
        pytest.param("Unknown", True, id="Unknown is another status"),
    ],
)
def test_the_transition_time_changes_only_with_the_status(status: Status, changed: bool) -> None:
    before = [condition("Ready", "True", "UpToDate", "as before")]

    (after,) = merge(before, [Finding(READY, status, Reason.WORKING, "news")], 7, NOW)

    assert after.last_transition_time == (NOW if changed else NOW - DAY)
    assert (after.reason, after.message) == ("Working", "news")
    assert after.observed_generation == 7


def test_a_transition_time_has_whole_seconds_as_kubernetes_writes_them() -> None:
    now = NOW + timedelta(microseconds=5)
    (found,) = merge((), [Finding(READY, "True", Reason.UP_TO_DATE, "")], 1, now)
    assert found.last_transition_time == NOW


def test_a_condition_that_no_finding_speaks_of_is_gone() -> None:
    before = [condition("Ready", "True", "UpToDate"), condition("Stalled", "True", "NotGranted")]

    after = merge(before, [Finding(READY, "True", Reason.UP_TO_DATE, "")], 1, NOW)

    assert [c.type for c in after] == ["Ready"]


FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from(ConditionType),
        st.sampled_from(["True", "False", "Unknown"]),
        st.sampled_from([Reason.UP_TO_DATE, Reason.WORKING]),
        st.sampled_from(["", "a", "b"]),
    ),
    unique_by=lambda finding: finding.type,
)


@given(st.lists(FINDINGS, max_size=6))
def test_whatever_is_found_in_turn_a_time_tells_when_its_status_began(
    rounds: list[list[Finding]],
) -> None:
    conditions = merge((), (), 1, NOW)
    began: dict[str, tuple[Status, timedelta]] = {}
    for number, findings in enumerate(rounds):
        since = timedelta(minutes=number)
        conditions = merge(conditions, findings, 1, NOW + since)
        began = {
            f.type: began[f.type]
            if f.type in began and began[f.type][0] == f.status
            else (f.status, since)
            for f in findings
        }
        assert {c.type: (c.status, c.last_transition_time - NOW) for c in conditions} == began
        assert [c.type for c in conditions] == [f.type for f in findings], "in the order found"
        assert merge(conditions, findings, 1, NOW + DAY) == conditions, "found again: no change"
