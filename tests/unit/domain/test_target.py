"""What a PatchTarget's status says: Ready, Supported, Compliant."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    NOW,
    STANDING,
    assess_only,
    assessed,
    condition,
    installed,
    operation,
    patch_policy,
    patch_target,
)

from azpatch.api.common import OperationName, Support
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.target import (
    Attempts,
    AzureError,
    OperationKind,
    OperationState,
    Outcome,
    PatchTarget,
    PatchTargetStatus,
)
from azpatch.domain import target as decide
from azpatch.domain.detection import Detection, Sign
from azpatch.domain.facts import AssessmentResult, GuestStatus, MissingPatch
from azpatch.domain.observe import Observed
from azpatch.domain.plan import AskSlot, Idle, Plan, Send
from azpatch.domain.selection import Selection
from azpatch.domain.verdict import Ruling

PATCH = MissingPatch("openssl", "3.0", None, ("Security",), None, None)
ONE, NOTHING = Selection((PATCH,), ()), Selection((), ())
POLICY = patch_policy()
FINE = PatchTargetStatus(assessment=assessed())
IDLE = Idle(True, Reason.UP_TO_DATE, "Nothing to do.")


def ruling(operation_: OperationName, support: Support = Support.SUPPORTED) -> Ruling:
    return Ruling(operation_, support, Reason.DETECTED_SUPPORTED, "Because.")


def observed(status: PatchTargetStatus = FINE, **changes: Any) -> Observed:
    known = Observed(
        status,
        Detection(Sign.SUPPORTED, None, row_counts=True, probe_due=False),
        AssessmentResult(GuestStatus.SUCCEEDED),
        ruling(OperationName.ON_DEMAND_ASSESSMENT),
        ruling(OperationName.ON_DEMAND_PATCHING),
    )
    return replace(known, **changes)


def settled(
    seen: Observed | None = None,
    selection: Selection | None = NOTHING,
    step: Plan = IDLE,
    policy: PatchPolicy = POLICY,
    target: PatchTarget | None = None,
) -> PatchTargetStatus:
    return decide.settled(
        target or patch_target(), policy, seen or observed(), selection, step, STANDING, NOW
    )


def told(status: PatchTargetStatus, type_: str) -> tuple[str, str]:
    (found,) = (c for c in status.conditions if c.type == type_)
    return found.status, found.reason


class TestReady:
    """False when nothing can be sent to it now, with the reason."""

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (Idle(False, Reason.VM_STOPPED, "Stopped."), ("False", "VMStopped")),
            (Idle(True, Reason.UP_TO_DATE, "Fine."), ("True", "UpToDate")),
            (AskSlot(), ("True", "WaitingForSlot")),
            (Send(OperationKind.INSTALL), ("True", "Working")),
        ],
    )
    def test_it_is_the_next_step(self, step: Plan, expected: tuple[str, str]) -> None:
        assert told(settled(step=step), "Ready") == expected

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            (OperationState.INTENT, ("True", "OperationInProgress")),
            (OperationState.STARTED, ("True", "OperationInProgress")),
            (OperationState.UNCONFIRMED, ("False", "OperationUnconfirmed")),
        ],
    )
    def test_in_flight_only_ready_speaks_of_it(
        self, state: OperationState, expected: tuple[str, str]
    ) -> None:
        compliant = condition("Compliant", "False", "PatchesMissing", "One.")
        before = FINE.replace(conditions=(condition("Ready", "True", "UpToDate"), compliant))
        status = before.replace(operation=operation(state=state))

        found = decide.in_flight(patch_target(before), status, NOW)

        assert told(found, "Ready") == expected
        assert [c for c in found.conditions if c.type == "Compliant"] == [compliant]

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            (OperationState.INTENT, "whether the operation began"),
            (OperationState.STARTED, "is in flight"),
            (OperationState.UNCONFIRMED, "Whether Azure took a request"),
        ],
    )
    def test_ready_says_whether_it_is_known_that_it_began(
        self, state: OperationState, words: str
    ) -> None:
        """After a crash the intent may stand for an hour before that is clear."""
        status = FINE.replace(operation=operation(state=state))
        found = decide.in_flight(patch_target(FINE), status, NOW)
        (message,) = [c.message for c in found.conditions if c.type == "Ready"]
        assert words in message

    def test_an_obstacle_that_a_look_found_says_nothing_of_the_rest(self) -> None:
        before = settled(selection=ONE)
        obstacle = Idle(False, Reason.AGENT_NOT_READY, "Not ready.", NOW)

        found = decide.blocked(patch_target(before), before, obstacle, NOW + DAY)

        assert told(found, "Ready") == ("False", "AgentNotReady")
        assert found.conditions[1:] == before.conditions[1:]


class TestSupported:
    @pytest.mark.parametrize(
        ("support", "expected"),
        [
            (Support.SUPPORTED, "True"),
            (Support.UNSUPPORTED, "False"),
            (Support.UNKNOWN, "Unknown"),
        ],
    )
    def test_it_is_the_verdict_on_the_executors_operation(
        self, support: Support, expected: str
    ) -> None:
        patching = observed(patch=ruling(OperationName.ON_DEMAND_PATCHING, support))
        assert told(settled(patching), "Supported")[0] == expected
        assert told(settled(patching, policy=assess_only()), "Supported")[0] == "True"
        assessing = observed(assess=ruling(OperationName.ON_DEMAND_ASSESSMENT, support))
        assert told(settled(assessing, policy=assess_only()), "Supported")[0] == expected

    def test_of_a_machine_that_another_policy_governs_that_policy_speaks(self) -> None:
        step = Idle(False, Reason.GOVERNED_ELSEWHERE, "Another governs it.")
        found = settled(step=step)
        assert told(found, "Supported") == ("Unknown", "GovernedElsewhere")
        assert told(found, "Compliant") == ("Unknown", "GovernedElsewhere")


def after(outcome: Outcome, **changes: Any) -> PatchTargetStatus:
    """The install has ended, and no assessment since."""
    return FINE.replace(installation=installed(outcome, time=NOW, **changes))


FAILED_BEFORE = FINE.replace(
    installation=installed(Outcome.FAILED, error=AzureError(code="APT", message="No space left."))
)


@pytest.mark.parametrize(
    ("status", "selection", "expected"),
    [
        pytest.param(FINE, NOTHING, ("True", "Compliant"), id="nothing selected is missing"),
        pytest.param(FINE, ONE, ("False", "PatchesMissing"), id="a selected patch is missing"),
        pytest.param(
            FINE, Selection((), (PATCH,)), ("True", "UbuntuProRequired"), id="Ubuntu Pro only"
        ),
        pytest.param(
            FINE.replace(assessment=assessed(reboot_pending=True)),
            NOTHING,
            ("False", "RebootPending"),
            id="it waits for a reboot",
        ),
        pytest.param(PatchTargetStatus(), None, ("Unknown", "NotAssessed"), id="never assessed"),
        pytest.param(
            FINE, None, ("Unknown", "WaitingForResourceGraph"), id="its rows have not appeared"
        ),
        pytest.param(
            FINE.replace(assessment=assessed(status="Failed")),
            None,
            ("Unknown", "AssessmentFailed"),
            id="the assessment failed",
        ),
        pytest.param(
            FINE.replace(assessment=assessed(time=NOW - 7 * DAY - timedelta(seconds=1))),
            NOTHING,
            ("Unknown", "AssessmentOutdated"),
            id="older than 7 days",
        ),
        pytest.param(after(Outcome.FAILED), ONE, ("False", "InstallFailed"), id="failed"),
        pytest.param(
            after(Outcome.INCOMPLETE), ONE, ("False", "InstallIncomplete"), id="incomplete"
        ),
        pytest.param(after(Outcome.NOT_BACK), ONE, ("False", "NotBack"), id="not back"),
        pytest.param(
            after(Outcome.NOT_BACK).replace(assessment=None),
            None,
            ("False", "NotBack"),
            id="not back, and made anew under the install",
        ),
        pytest.param(after(Outcome.SUPERSEDED), ONE, ("Unknown", "Superseded"), id="superseded"),
        pytest.param(after(Outcome.UNKNOWN), ONE, ("Unknown", "ResultUnknown"), id="unknown"),
        pytest.param(
            after(Outcome.UNKNOWN, reason="AccessLost"),
            ONE,
            ("Unknown", "AccessLost"),
            id="access lost",
        ),
        pytest.param(
            after(Outcome.SUCCEEDED),
            ONE,
            ("Unknown", "NotAssessed"),
            id="succeeded: by re-assessment",
        ),
        pytest.param(FAILED_BEFORE, ONE, ("False", "InstallFailed"), id="assessed after it failed"),
        pytest.param(
            FAILED_BEFORE, NOTHING, ("True", "Compliant"), id="failed, and nothing is missing"
        ),
    ],
)
def test_compliant(
    status: PatchTargetStatus, selection: Selection | None, expected: tuple[str, str]
) -> None:
    assert told(settled(observed(status), selection), "Compliant") == expected


def test_a_failure_is_told_in_azures_words() -> None:
    found = settled(observed(FAILED_BEFORE), ONE)
    message = next(c.message for c in found.conditions if c.type == "Compliant")
    assert message == (
        "1 selected patch is missing; the last install failed. Azure says APT: No space left."
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"critical_and_security": 4}, ("False", "PatchesMissing")),
        ({"critical_and_security": 0, "reboot_pending": True}, ("False", "RebootPending")),
        ({"critical_and_security": 0}, ("True", "Compliant")),
    ],
)
def test_without_install_what_is_critical_or_for_security_counts(
    counts: dict[str, Any], expected: tuple[str, str]
) -> None:
    status = PatchTargetStatus(assessment=assessed(**counts))
    assert told(settled(observed(status), None, policy=assess_only()), "Compliant") == expected


def test_an_os_that_install_does_not_speak_of_is_skipped() -> None:
    step = Idle(True, Reason.OS_NOT_SELECTED, "Skipped.")
    assert told(settled(selection=None, step=step), "Compliant") == ("Unknown", "OSNotSelected")


def test_what_can_not_be_installed_is_told() -> None:
    step = Idle(True, Reason.NOTHING_INSTALLABLE, "Tried in vain.")
    assert told(settled(selection=ONE, step=step), "Compliant") == ("False", "NothingInstallable")


class TestFacts:
    def test_what_is_selected_is_counted_apart_from_ubuntu_pro(self) -> None:
        found = settled(selection=Selection((PATCH,), (PATCH, PATCH))).assessment
        assert found is not None
        assert (found.selected, found.ubuntu_pro_required) == (1, 2)

    def test_due_since_now(self) -> None:
        assert settled(selection=ONE).attempts == Attempts(due_since=NOW, window_start=NOW)
        assert settled(selection=NOTHING).attempts is None

    def test_as_long_as_it_is_not_known_whether_it_is_due_nothing_changes(self) -> None:
        known = Attempts(due_since=NOW - DAY, window_start=NOW - DAY, install_posts=1)
        assert settled(observed(FINE.replace(attempts=known)), None).attempts == known

    def test_status_changes_only_when_a_fact_changes(self) -> None:
        first = settled(selection=ONE)
        target = patch_target(first)
        again = decide.settled(
            target, POLICY, observed(first), ONE, IDLE, STANDING, NOW + timedelta(hours=1)
        )
        assert again == first
