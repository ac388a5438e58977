"""What the beginning and the end of an operation leave in a status."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from domain_builders import DAY, HOUR, NOW, assessed, installed, operation

from azpatch.api.install import Install
from azpatch.api.reasons import Reason
from azpatch.api.target import Attempts, OperationKind, OperationState, Outcome, PatchTargetStatus
from azpatch.domain import ending
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    OperationError,
    RebootStatus,
)
from azpatch.domain.outcome import Compliance, InstallOutcome, Retry, lost
from azpatch.domain.traces import Previous

ASSESS, INSTALL = OperationKind.ASSESS, OperationKind.INSTALL
MINUTE = timedelta(minutes=1)
ALWAYS = None
"""The turn of schedule.always."""
PREVIOUS = Previous("before", NOW - 2 * HOUR)
DUE = Attempts(due_since=NOW - HOUR, window_start=NOW - HOUR)
BEFORE = PatchTargetStatus(attempts=DUE, assessment=assessed(), installation=installed())


def begun(kind: OperationKind, before: PatchTargetStatus = BEFORE) -> PatchTargetStatus:
    install = Install.model_validate({"linux": {}, "maximumDuration": "PT3H"})
    return ending.begun(before, kind, PREVIOUS, install, "attempt", "hash", NOW, ALWAYS)


def outcome(what: Outcome, retry: Retry = Retry.NO) -> InstallOutcome:
    return InstallOutcome(what, None, False, Compliance.BY_ASSESSMENT, retry, "")


class TestTheBeginning:
    @pytest.mark.parametrize(
        ("kind", "lasts"),
        [
            pytest.param(ASSESS, 2 * HOUR, id="assessment: 2 h"),
            pytest.param(INSTALL, 3 * HOUR + 90 * MINUTE, id="install: maximumDuration + 90 min"),
        ],
    )
    def test_the_intent_says_what_when_and_the_last_activity_id_seen(
        self, kind: OperationKind, lasts: timedelta
    ) -> None:
        intent = begun(kind).operation

        assert intent is not None
        assert (intent.kind, intent.state) == (kind, OperationState.INTENT)
        assert (intent.intent_time, intent.deadline) == (NOW, NOW + lasts)
        assert intent.attempt_id == "attempt"
        assert Previous(intent.previous_activity_id, intent.previous_start_time) == PREVIOUS
        assert intent.operation_id is None

    def test_an_install_is_counted_an_assessment_is_not(self) -> None:
        install = begun(INSTALL).attempts
        assert install is not None
        assert (install.install_posts, install.selected_hash) == (1, "hash")
        assert begun(ASSESS).attempts == DUE

    def test_one_that_did_not_start_is_as_if_it_had_not_been_tried(self) -> None:
        assert ending.dropped(begun(INSTALL)) == BEFORE
        assert ending.dropped(begun(ASSESS)) == BEFORE


class TestTheEndOfAnAssessment:
    RESULT = AssessmentResult(
        GuestStatus.SUCCEEDED,
        start_time=NOW - 5 * MINUTE,
        last_modified=NOW - MINUTE,
        activity_id="ours",
        critical_and_security=4,
        other=11,
        reboot_pending=True,
    )

    def test_it_is_recorded_with_azures_times(self) -> None:
        status = ending.assessed(begun(ASSESS), self.RESULT, True, NOW)

        assert status.operation is None
        found = status.assessment
        assert found is not None
        assert (found.start_time, found.time) == (NOW - 5 * MINUTE, NOW - MINUTE)
        assert (found.status, found.activity_id) == ("Succeeded", "ours")
        assert (found.critical_and_security, found.other, found.reboot_pending) == (4, 11, True)
        assert found.selected is None, "absent until Resource Graph lists them"

    def test_without_a_result_its_status_is_unknown_and_it_began_with_the_intent(self) -> None:
        status = ending.assessed(begun(ASSESS), None, False, NOW + HOUR)

        found = status.assessment
        assert found is not None
        assert (found.start_time, found.time, found.status) == (NOW, NOW + HOUR, "Unknown")

    def test_failures_in_a_row_are_counted_and_a_success_ends_them(self) -> None:
        status = ending.assessed(begun(ASSESS), None, False, NOW)
        status = ending.assessed(status, None, False, NOW)
        assert status.attempts == DUE.replace(failed_assessments=2)
        assert ending.assessed(status, self.RESULT, True, NOW).attempts == DUE

    def test_a_machine_that_was_never_due_has_no_attempts(self) -> None:
        status = ending.assessed(PatchTargetStatus(), self.RESULT, True, NOW)
        assert status.attempts is None


class TestTheEndOfAnInstall:
    RESULT = InstallationResult(
        GuestStatus.COMPLETED_WITH_WARNINGS,
        start_time=NOW - HOUR,
        last_modified=NOW - MINUTE,
        activity_id="ours",
        installed=32,
        failed=1,
        pending=2,
        not_selected=11,
        excluded=3,
        reboot_status=RebootStatus.COMPLETED,
        error=OperationError("Oops", "1 error.", (("APT", "No space."),)),
    )

    def test_it_is_recorded_with_azures_counts_and_the_guests_own_words(self) -> None:
        status = ending.installed(begun(INSTALL), self.RESULT, outcome(Outcome.FAILED), NOW, ALWAYS)

        assert status.operation is None
        found = status.installation
        assert found is not None
        assert found.to_object() == {
            "time": "2026-11-23T11:59:00Z",
            "startTime": "2026-11-23T11:00:00Z",
            "status": "CompletedWithWarnings",
            "outcome": "Failed",
            "activityId": "ours",
            "installed": 32,
            "failed": 1,
            "pending": 2,
            "notSelected": 11,
            "excluded": 3,
            "rebootStatus": "Completed",
            "error": {"code": "APT", "message": "No space."},
        }

    def test_without_a_result_only_its_operation_is_known(self) -> None:
        before = BEFORE.replace(operation=operation(operation_id="ours"))

        status = ending.installed(before, None, lost(Reason.RESULT_UNKNOWN), NOW, ALWAYS)

        found = status.installation
        assert found is not None
        assert (found.status, found.outcome, found.reason) == (
            "Unknown",
            "Unknown",
            "ResultUnknown",
        )
        assert (found.activity_id, found.time) == ("ours", NOW)

    @pytest.mark.parametrize(
        ("retry", "after"),
        [
            pytest.param(Retry.NO, None, id="nothing left to try"),
            pytest.param(Retry.ONCE_IN_WINDOW, None, id="once more in this window: at once"),
            pytest.param(Retry.ONCE, None, id="once"),
            pytest.param(Retry.NEXT_WINDOW, NOW + 23 * HOUR, id="next window"),
            pytest.param(Retry.NOT_IN_WINDOW, NOW + 23 * HOUR, id="no POST in this window"),
            pytest.param(Retry.BACKOFF, NOW + 15 * MINUTE, id="backoff"),
        ],
    )
    def test_when_it_is_sent_again(self, retry: Retry, after: datetime | None) -> None:
        before = BEFORE.replace(attempts=DUE.replace(install_posts=1, retry_after=NOW + DAY))
        status = ending.installed(before, self.RESULT, outcome(Outcome.FAILED, retry), NOW, ALWAYS)
        assert status.attempts is not None
        assert status.attempts.retry_after == after

    @pytest.mark.parametrize(
        ("result", "what", "posts", "in_vain"),
        [
            pytest.param(InstallationResult(GuestStatus.SUCCEEDED, installed=1),
                         Outcome.SUCCEEDED, 1, False, id="something was installed"),
            pytest.param(InstallationResult(GuestStatus.SUCCEEDED),
                         Outcome.SUCCEEDED, 1, True, id="nothing was"),
            pytest.param(InstallationResult(GuestStatus.SUCCEEDED),
                         Outcome.INCOMPLETE, 1, True, id="nothing was, in the time given"),
            pytest.param(InstallationResult(GuestStatus.FAILED, failed=1),
                         Outcome.FAILED, 1, False, id="a failure is tried once more"),
            pytest.param(InstallationResult(GuestStatus.FAILED, failed=1),
                         Outcome.FAILED, 2, True, id="it failed twice"),
            pytest.param(InstallationResult(GuestStatus.FAILED),
                         Outcome.FAILED, 2, False, id="a failure that names no patch"),
            pytest.param(InstallationResult(GuestStatus.FAILED),
                         Outcome.SUPERSEDED, 1, False, id="superseded"),
            pytest.param(None, Outcome.UNKNOWN, 1, False, id="its result is not known"),
        ],
    )  # fmt: skip
    def test_what_installed_nothing_is_remembered(
        self, result: InstallationResult | None, what: Outcome, posts: int, in_vain: bool
    ) -> None:
        """Else a package that can never be installed reinstalls, and reboots, for ever."""
        before = BEFORE.replace(attempts=DUE.replace(install_posts=posts, selected_hash="hash"))
        status = ending.installed(before, result, outcome(what), NOW, ALWAYS)
        assert status.attempts is not None
        assert status.attempts.selected_hash == ("hash" if in_vain else None)
