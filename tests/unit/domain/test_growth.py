"""A policy that suddenly means far more machines says so."""

from __future__ import annotations

from typing import Any

import pytest
from domain_builders import NIGHTS, READABLE, assess_only, condition, patch_policy

from azpatch.api.policy import PatchPolicy, PatchPolicyStatus
from azpatch.domain.growth import Growth, growth, told


def known(**spec: Any) -> PatchPolicy:
    """One that is not new."""
    conditions = (condition("Ready", "True", "UpToDate", "Why."),)
    policy = patch_policy(**{"schedule": NIGHTS, **spec})
    return policy.replace(status=PatchPolicyStatus(conditions=conditions))


@pytest.mark.parametrize(
    ("had", "more", "worth_a_word"),
    [
        pytest.param(12, 240, True, id="far more"),
        pytest.param(20, 10, True, id="half as many again, and ten"),
        pytest.param(21, 10, False, id="less than half as many"),
        pytest.param(4, 9, False, id="less than ten"),
        pytest.param(1000, 499, False, id="many, and less than half as many"),
        pytest.param(1000, 500, True, id="half as many of a large policy"),
        pytest.param(0, 240, False, id="it had none: a new policy"),
        pytest.param(240, 0, False, id="none"),
    ],
)
def test_how_many_more_are_worth_a_word(had: int, more: int, worth_a_word: bool) -> None:
    assert growth(known(), had, more) == (Growth(had, more) if worth_a_word else None)


def test_a_policy_that_has_just_begun_is_new_though_it_has_some_of_its_machines() -> None:
    assert growth(patch_policy(), 12, 240) is None


@pytest.mark.parametrize(
    ("policy", "comes"),
    [
        pytest.param(
            known(),
            "No PatchRun that is under way installs on them; the next one does, at once if a "
            "window is open and none is under way. If they are not meant, set spec.suspend to "
            "true, and narrow spec.target.",
            id="by runs",
        ),
        pytest.param(
            known(schedule={"always": {}}),
            "With schedule.always they are installed on as soon as they are due. If they are not "
            "meant, set spec.suspend to true, and narrow spec.target.",
            id="always",
        ),
        pytest.param(
            known(suspend=True),
            "Nothing is started on them while spec.suspend is true. If they are not meant, narrow "
            "spec.target before you set that to false.",
            id="suspended",
        ),
        pytest.param(
            assess_only(),
            "They are assessed; the policy does not install. If they are not meant, narrow "
            "spec.target.",
            id="assess only",
        ),
    ],
)
def test_what_comes_and_what_to_do_is_told(policy: PatchPolicy, comes: str) -> None:
    note = told(policy, Growth(12, 240))

    assert note == f"The policy had 12 machines and means 240 more from now on. {comes}"
    assert len(note) <= READABLE
