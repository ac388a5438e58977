"""What the end of an assessment means, and when it is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from azpatch.api.reasons import Reason
from azpatch.domain.detection import Sign
from azpatch.domain.facts import AssessmentResult, GuestStatus
from azpatch.domain.words import azure_says, lasting, sentences

ASSESSMENT_RETRIES = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6))
"""After the first, second and third assessment in a row that failed; then at maxAge."""


class AssessmentEnd(StrEnum):
    """What the end of an assessment means."""

    SUCCEEDED = "Succeeded"
    UNSUPPORTED = "Unsupported"
    """Azure found that it cannot patch the machine: an answer, not a failure."""
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class AssessmentOutcome:
    """What an assessment came to. None of them counts towards maxFailed."""

    end: AssessmentEnd
    reason: Reason | None
    retry_after: timedelta | None
    """From its end; None: when the next one is due anyway."""
    message: str


def assessment_outcome(
    result: AssessmentResult | None, sign: Sign, failures_before: int, max_age: timedelta
) -> AssessmentOutcome:
    """What the end of an assessment means.

    `result` is None if there was none by the deadline; `sign` what detection says now;
    `failures_before` how many assessments in a row failed before this one.
    """
    if result is not None and result.status in {
        GuestStatus.SUCCEEDED,
        GuestStatus.COMPLETED_WITH_WARNINGS,
    }:
        return AssessmentOutcome(AssessmentEnd.SUCCEEDED, None, None, "The assessment succeeded.")
    if result is not None and sign is Sign.UNSUPPORTED:
        return AssessmentOutcome(
            AssessmentEnd.UNSUPPORTED,
            Reason.DETECTED_UNSUPPORTED,
            None,
            "The assessment failed because Azure cannot patch this machine.",
        )
    wait = assessment_retry(failures_before, max_age)
    what = "had no result by its deadline" if result is None else "failed"
    return AssessmentOutcome(
        AssessmentEnd.FAILED,
        Reason.ASSESSMENT_FAILED,
        wait,
        sentences(
            f"The assessment {what}; it is sent again after {lasting(wait)}.",
            azure_says(None if result is None else result.error),
        ),
    )


def assessment_retry(failures_before: int, max_age: timedelta) -> timedelta:
    """How long to wait after a failed assessment: never longer than for a regular one."""
    if failures_before < len(ASSESSMENT_RETRIES):
        return min(ASSESSMENT_RETRIES[failures_before], max_age)
    return max_age
