"""Our clock beside Azure's, which it may be behind."""

from __future__ import annotations

from datetime import timedelta

from domain_builders import HOUR, NOW, assessed, operation

from azpatch.api.target import Outcome, PatchTargetStatus
from azpatch.domain.availability import held_by_failure, reassessment_due
from azpatch.domain.clocks import no_earlier
from azpatch.domain.ending import installed
from azpatch.domain.outcome import Reason, lost

SECOND = timedelta(seconds=1)


def test_what_happens_now_is_later_than_what_azure_has_timed() -> None:
    assert no_earlier(NOW) == NOW
    assert no_earlier(NOW, None, NOW - HOUR) == NOW
    assert no_earlier(NOW, NOW + HOUR, None, NOW) == NOW + HOUR + SECOND


def test_an_install_that_is_lost_by_a_clock_that_is_behind_was_not_assessed_since() -> None:
    """Else its slot would be given away at once."""
    before = PatchTargetStatus(assessment=assessed(start_time=NOW), operation=operation())
    after = installed(before, None, lost(Reason.RESULT_UNKNOWN), NOW - HOUR, None)
    assert after.installation is not None
    assert after.installation.outcome is Outcome.UNKNOWN
    assert reassessment_due(after)
    assert held_by_failure(after)
