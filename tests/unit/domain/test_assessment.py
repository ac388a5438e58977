"""What does the end of an assessment mean?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from domain_builders import DAY, HOUR

from azpatch.api.reasons import Reason
from azpatch.domain.assessment import AssessmentEnd, assessment_outcome, assessment_retry
from azpatch.domain.detection import Sign
from azpatch.domain.facts import AssessmentResult, GuestStatus, OperationError

SUCCEEDED = AssessmentResult(GuestStatus.SUCCEEDED)
FAILED = AssessmentResult(GuestStatus.FAILED, error=OperationError("Oops", "It broke."))


@pytest.mark.parametrize(
    ("found", "sign", "end", "retried"),
    [
        pytest.param(SUCCEEDED, Sign.SUPPORTED, AssessmentEnd.SUCCEEDED, False, id="Succeeded"),
        pytest.param(
            SUCCEEDED,
            Sign.UNSUPPORTED,
            AssessmentEnd.SUCCEEDED,
            False,
            id="Succeeded with D-: detection tells",
        ),
        pytest.param(
            FAILED,
            Sign.UNSUPPORTED,
            AssessmentEnd.UNSUPPORTED,
            False,
            id="Failed with D-: Unsupported, not a failure",
        ),
        pytest.param(FAILED, Sign.NONE, AssessmentEnd.FAILED, True, id="Failed otherwise"),
        pytest.param(
            FAILED, Sign.SUPPORTED, AssessmentEnd.FAILED, True, id="Failed, D+ remembered"
        ),
        pytest.param(None, Sign.NONE, AssessmentEnd.FAILED, True, id="no result by the deadline"),
        pytest.param(
            None, Sign.UNSUPPORTED, AssessmentEnd.FAILED, True, id="no result, D- remembered"
        ),
    ],
)
def test_the_table(
    found: AssessmentResult | None, sign: Sign, end: AssessmentEnd, retried: bool
) -> None:
    outcome = assessment_outcome(found, sign, 0, DAY)

    assert outcome.end is end
    assert (outcome.retry_after is not None) is retried


@pytest.mark.parametrize(
    ("max_age", "waits"),
    [
        pytest.param(
            DAY, [timedelta(minutes=15), HOUR, 6 * HOUR, DAY, DAY], id="15 min, 1 h, 6 h, maxAge"
        ),
        pytest.param(
            2 * HOUR,
            [timedelta(minutes=15), HOUR, 2 * HOUR, 2 * HOUR, 2 * HOUR],
            id="never later than maxAge",
        ),
    ],
)
def test_failed_assessments_are_sent_again_ever_later(
    max_age: timedelta, waits: list[timedelta]
) -> None:
    assert [assessment_retry(failures, max_age) for failures in range(5)] == waits


def test_a_failed_assessment_says_when_it_is_sent_again_and_what_azure_said() -> None:
    outcome = assessment_outcome(FAILED, Sign.NONE, 1, DAY)

    assert outcome.reason is Reason.ASSESSMENT_FAILED
    assert outcome.message == (
        "The assessment failed; it is sent again after 1 h. Azure says Oops: It broke."
    )
