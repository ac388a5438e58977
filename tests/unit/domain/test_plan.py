"""What to do next with a machine that has nothing in flight: the first answer counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NOW,
    STANDING,
    arc_server,
    assess_only,
    assessed,
    installed,
    machine,
    patch_policy,
)

from azpatch.api.common import OperationName, OsType, Support
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AccessLevel
from azpatch.api.target import (
    MESSAGE_LENGTH,
    Attempts,
    Installation,
    OperationKind,
    Outcome,
    PatchTargetStatus,
)
from azpatch.domain.detection import Detection, Sign
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    Machine,
    MissingPatch,
)
from azpatch.domain.observe import Observed
from azpatch.domain.opening import Open, Shut
from azpatch.domain.plan import (
    AskSlot,
    Idle,
    Plan,
    Send,
    fingerprint,
    is_due,
    next_try,
    plan,
)
from azpatch.domain.selection import Selection
from azpatch.domain.verdict import Ruling

ASSESS, INSTALL = Send(OperationKind.ASSESS), Send(OperationKind.INSTALL)
MINUTE = timedelta(minutes=1)
PATCH = MissingPatch("openssl", "3.0", None, ("Security",), None, None)
SELECTED = Selection((PATCH,), ())
NOTHING = Selection((), ())
POLICY = patch_policy()
FINE = PatchTargetStatus(assessment=assessed())


def ruling(
    operation: OperationName, support: Support = Support.SUPPORTED, *, probe: bool = False
) -> Ruling:
    return Ruling(operation, support, Reason.DETECTED_SUPPORTED, "Because.", probe=probe)


CAN_ASSESS = ruling(OperationName.ON_DEMAND_ASSESSMENT)
CAN_PATCH = ruling(OperationName.ON_DEMAND_PATCHING)


def observed(status: PatchTargetStatus = FINE, **changes: Any) -> Observed:
    known = Observed(
        status,
        Detection(Sign.SUPPORTED, None, row_counts=True, probe_due=False),
        AssessmentResult(GuestStatus.SUCCEEDED),
        CAN_ASSESS,
        CAN_PATCH,
    )
    return replace(known, **changes)


def next_step(
    policy: PatchPolicy = POLICY,
    seen: Observed | None = None,
    selection: Selection | None = SELECTED,
    found: Machine | None = None,
    **standing: Any,
) -> Plan:
    return plan(
        policy,
        seen or observed(),
        selection,
        replace(STANDING, **standing),
        found or machine(),
        NOW,
    )


def idle(step: Plan) -> tuple[str, bool, datetime | None]:
    assert isinstance(step, Idle)
    return step.reason, step.ready, step.wake


def test_an_install_that_is_due_is_sent_with_a_slot_and_asks_for_one_without() -> None:
    assert next_step() == INSTALL
    assert next_step(has_slot=False) == AskSlot()


@pytest.mark.parametrize("assessment_due", [True, False], ids=["assessment", "install"])
@pytest.mark.parametrize(
    ("policy", "standing", "reason", "ready"),
    [
        pytest.param(POLICY, {"deleting": True}, Reason.DELETING, False, id="being deleted"),
        pytest.param(
            POLICY, {"governs": False}, Reason.GOVERNED_ELSEWHERE, False, id="another governs"
        ),
        pytest.param(
            POLICY,
            {"busy_elsewhere": True},
            Reason.FOREIGN_OPERATION,
            False,
            id="another policy's operation is in flight",
        ),
        pytest.param(
            patch_policy(suspend=True), {}, Reason.SUSPENDED, True, id="suspended: ready, and idle"
        ),
    ],
)
def test_who_may_not_act_sends_nothing(
    policy: PatchPolicy,
    standing: dict[str, Any],
    reason: Reason,
    ready: bool,
    assessment_due: bool,
) -> None:
    seen = observed(PatchTargetStatus()) if assessment_due else observed()
    assert idle(next_step(policy, seen, **standing)) == (reason, ready, None)


class TestAssessment:
    @pytest.mark.parametrize(
        ("status", "changes", "sent"),
        [
            pytest.param(PatchTargetStatus(), {}, True, id="never assessed"),
            pytest.param(FINE, {}, False, id="younger than maxAge"),
            pytest.param(
                PatchTargetStatus(assessment=assessed(time=NOW - DAY)), {}, True, id="maxAge old"
            ),
            pytest.param(
                PatchTargetStatus(assessment=assessed(status="Failed")), {}, True, id="it failed"
            ),
            pytest.param(
                PatchTargetStatus(assessment=assessed(), installation=installed(time=NOW)),
                {},
                True,
                id="an install has ended since",
            ),
            pytest.param(
                FINE,
                {
                    "detection": Detection(Sign.UNSUPPORTED, None, row_counts=True, probe_due=True),
                    "assess": ruling(
                        OperationName.ON_DEMAND_ASSESSMENT, Support.UNSUPPORTED, probe=True
                    ),
                },
                True,
                id="Azure is to judge again",
            ),
        ],
    )
    def test_when_it_is_sent(
        self, status: PatchTargetStatus, changes: dict[str, Any], sent: bool
    ) -> None:
        assert (next_step(seen=observed(status, **changes)) == ASSESS) is sent

    def test_max_age_is_the_policys(self) -> None:
        policy = patch_policy(assessment={"maxAge": "1h"})
        assert next_step(policy) == ASSESS

    def test_mode_none_sends_none(self) -> None:
        policy = assess_only(assessment={"mode": "None"})
        step = next_step(policy, observed(PatchTargetStatus()))
        assert idle(step) == (Reason.ASSESS_ONLY, True, None)

    @pytest.mark.parametrize(
        ("failures", "after"),
        [
            pytest.param(1, 15 * MINUTE, id="15 min"),
            pytest.param(2, HOUR, id="1 h"),
            pytest.param(3, 6 * HOUR, id="6 h"),
            pytest.param(4, DAY, id="then at maxAge"),
        ],
    )
    def test_after_failed_ones_it_waits(self, failures: int, after: timedelta) -> None:
        failed = PatchTargetStatus(
            assessment=assessed(status="Failed", time=NOW),
            attempts=Attempts(failed_assessments=failures),
        )
        assert next_try(failed, DAY) == NOW + after
        assert idle(next_step(seen=observed(failed))) == (
            Reason.ASSESSMENT_FAILED,
            False,
            NOW + after,
        )

    @pytest.mark.parametrize(
        ("access", "sent"),
        [(None, False), (AccessLevel.READ, False), (AccessLevel.ASSESS, True)],
    )
    def test_it_needs_access_assess(self, access: AccessLevel | None, sent: bool) -> None:
        step = next_step(seen=observed(PatchTargetStatus()), access=access)
        assert (step == ASSESS) is sent
        if not sent:
            assert idle(step)[0] == Reason.ACCESS_TOO_LOW

    @pytest.mark.parametrize(
        ("support", "ready"), [(Support.UNSUPPORTED, False), (Support.UNKNOWN, True)]
    )
    def test_a_verdict_that_does_not_allow_it_keeps_it(self, support: Support, ready: bool) -> None:
        no = ruling(OperationName.ON_DEMAND_ASSESSMENT, support)
        step = next_step(seen=observed(PatchTargetStatus(), assess=no))
        assert idle(step)[:2] == (Reason.DETECTED_SUPPORTED, ready)


class TestInstall:
    def test_without_install_it_is_assessed_only_and_wakes_at_max_age(self) -> None:
        assert idle(next_step(assess_only())) == (Reason.ASSESS_ONLY, True, NOW - HOUR + DAY)

    @pytest.mark.parametrize("os_type", [OsType.WINDOWS, None])
    def test_machines_of_an_os_for_which_install_says_nothing_are_skipped(
        self, os_type: OsType | None
    ) -> None:
        step = next_step(found=machine(os_type=os_type))
        assert idle(step)[:2] == (Reason.OS_NOT_SELECTED, True)

    @pytest.mark.parametrize("access", [None, AccessLevel.READ, AccessLevel.ASSESS])
    def test_it_needs_access_patch(self, access: AccessLevel | None) -> None:
        assert idle(next_step(access=access))[:2] == (Reason.ACCESS_TOO_LOW, False)

    @pytest.mark.parametrize(
        ("support", "ready"), [(Support.UNSUPPORTED, False), (Support.UNKNOWN, True)]
    )
    def test_a_verdict_that_does_not_allow_it_keeps_it(self, support: Support, ready: bool) -> None:
        no = ruling(OperationName.ON_DEMAND_PATCHING, support)
        assert idle(next_step(seen=observed(patch=no)))[1] is ready

    @pytest.mark.parametrize(
        ("seen", "selection"),
        [
            pytest.param(observed(row=None), SELECTED, id="the row"),
            pytest.param(observed(), None, id="the patches"),
        ],
    )
    def test_until_resource_graphs_rows_appear_nothing_installs(
        self, seen: Observed, selection: Selection | None
    ) -> None:
        step = next_step(seen=seen, selection=selection)
        assert idle(step)[:2] == (Reason.WAITING_FOR_RESOURCE_GRAPH, True)

    @pytest.mark.parametrize(
        ("selection", "reboot_pending", "setting", "due"),
        [
            pytest.param(SELECTED, False, "Never", True, id="a patch is selected"),
            pytest.param(NOTHING, False, "Always", False, id="nothing is"),
            pytest.param(NOTHING, True, "IfRequired", True, id="a reboot that it would perform"),
            pytest.param(NOTHING, True, "Never", False, id="a reboot that it would not perform"),
            pytest.param(None, True, "IfRequired", False, id="not known"),
            pytest.param(
                Selection((), (PATCH,)), False, "IfRequired", False, id="Ubuntu Pro alone"
            ),
        ],
    )
    def test_due(
        self, selection: Selection | None, reboot_pending: bool, setting: str, due: bool
    ) -> None:
        policy = patch_policy(install={"linux": {}, "rebootSetting": setting})
        status = PatchTargetStatus(assessment=assessed(reboot_pending=reboot_pending))
        assert is_due(policy, status, selection) is due
        assert (next_step(policy, observed(status), selection) == INSTALL) is due

    @pytest.mark.parametrize(
        ("outcome", "reason"),
        [
            (Outcome.FAILED, Reason.INSTALL_FAILED),
            (Outcome.NOT_BACK, Reason.NOT_BACK),
            (Outcome.UNKNOWN, Reason.RESULT_UNKNOWN),
        ],
    )
    def test_after_a_bad_end_only_an_assessment_that_succeeds_frees_it(
        self, outcome: Outcome, reason: Reason
    ) -> None:
        policy = patch_policy(assessment={"mode": "None"}, install={"linux": {}})
        ended = PatchTargetStatus(
            assessment=assessed(status="Failed"), installation=installed(outcome)
        )
        assert idle(next_step(policy, observed(ended)))[:2] == (reason, False)
        freed = ended.replace(assessment=assessed())
        assert next_step(policy, observed(freed)) == INSTALL

    def test_what_installed_nothing_is_not_sent_again_for_the_same(self) -> None:
        hash_ = fingerprint(POLICY, machine(), SELECTED, None)
        in_vain = Installation(time=NOW - DAY, status="Failed", outcome="Failed", failed=1)
        tried = FINE.replace(attempts=Attempts(selected_hash=hash_), installation=in_vain)
        assert idle(next_step(seen=observed(tried)))[:2] == (Reason.NOTHING_INSTALLABLE, True)
        other = Selection((replace(PATCH, version="3.1"),), ())
        assert next_step(seen=observed(tried), selection=other) == INSTALL
        edited = patch_policy(install={"linux": {}, "rebootSetting": "Always"})
        assert next_step(edited, observed(tried)) == INSTALL

    @pytest.mark.parametrize("before", [0, 1], ids=["the first", "after one that went well"])
    def test_an_install_that_was_struck_from_the_record_is_not_said_to_have_brought_nothing(
        self, before: int
    ) -> None:
        hash_ = fingerprint(POLICY, machine(), SELECTED, None)
        well = Installation(
            time=NOW - DAY, status="Succeeded", outcome="Succeeded", installed=before
        )
        struck = FINE.replace(
            attempts=Attempts(selected_hash=hash_), installation=well if before else None
        )
        assert next_step(seen=observed(struck)) == INSTALL, "the look before it shows what runs"

    @pytest.mark.parametrize(
        ("posts", "began", "sent"),
        [
            pytest.param(1, NOW - HOUR, True, id="one in this window"),
            pytest.param(2, NOW - HOUR, False, id="two in this window"),
            pytest.param(2, NOW - DAY, True, id="two in the window before"),
        ],
    )
    def test_at_most_two_posts_per_window(self, posts: int, began: datetime, sent: bool) -> None:
        tried = FINE.replace(
            attempts=Attempts(due_since=began, window_start=began, install_posts=posts)
        )
        step = next_step(seen=observed(tried))
        assert (step == INSTALL) is sent
        if not sent:
            assert idle(step) == (Reason.ATTEMPTS_EXHAUSTED, False, began + DAY)

    def test_the_next_try_has_its_time(self) -> None:
        later = Attempts(due_since=NOW, window_start=NOW, retry_after=NOW + MINUTE)
        step = next_step(seen=observed(FINE.replace(attempts=later)))
        assert idle(step) == (Reason.RETRY_LATER, False, NOW + MINUTE)
        now = later.replace(retry_after=NOW)
        assert next_step(seen=observed(FINE.replace(attempts=now))) == INSTALL


@pytest.mark.parametrize("status", [FINE, PatchTargetStatus()], ids=["install", "assessment"])
class TestTheMachineCannot:
    @pytest.mark.parametrize("state", ["Stopped", "Deallocated", "Starting"])
    def test_one_that_does_not_run_is_waited_for(
        self, status: PatchTargetStatus, state: str
    ) -> None:
        step = next_step(seen=observed(status), found=machine(power_state=state))
        assert idle(step) == (Reason.VM_STOPPED, False, None)

    def test_what_the_last_look_found_holds_until_its_time(self, status: PatchTargetStatus) -> None:
        found = Idle(False, Reason.AGENT_NOT_READY, "Not ready.", NOW + MINUTE)
        assert next_step(seen=observed(status), blocked=found) == found


class TestAnArcEnabledServer:
    SERVER = arc_server()

    @pytest.mark.parametrize("status", [FINE, PatchTargetStatus()], ids=["install", "assessment"])
    @pytest.mark.parametrize(
        "reason", [Reason.ARC_DISCONNECTED, Reason.ARC_EXPIRED, Reason.ARC_ERROR]
    )
    def test_one_that_azure_does_not_hear_is_not_ready_and_waited_for(
        self, status: PatchTargetStatus, reason: Reason
    ) -> None:
        waits = [
            Ruling(name, Support.UNKNOWN, reason, "Because.")
            for name in (OperationName.ON_DEMAND_ASSESSMENT, OperationName.ON_DEMAND_PATCHING)
        ]
        seen = observed(status, assess=waits[0], patch=waits[1])
        step = next_step(seen=seen, found=self.SERVER)
        assert idle(step)[:2] == (reason, False)

    @pytest.mark.parametrize("status", [FINE, PatchTargetStatus()], ids=["install", "assessment"])
    def test_before_its_cost_is_accepted_nothing_is_sent_and_the_forecast_is_told(
        self, status: PatchTargetStatus
    ) -> None:
        step = next_step(seen=observed(status), found=self.SERVER, unpaid="prod")
        assert idle(step) == (Reason.ARC_BILLING_NOT_ACCEPTED, False, None)
        assert isinstance(step, Idle)
        assert "up to US$ 5 a month for 1 server" in step.message
        assert "spec.arcBilling: Accepted in AzureSubscription prod" in step.message
        assert len(step.message) <= MESSAGE_LENGTH

    def test_a_policy_that_sends_nothing_costs_nothing(self) -> None:
        reports = assess_only(assessment={"mode": "None"})
        step = next_step(reports, observed(PatchTargetStatus()), unpaid="prod")
        assert idle(step)[0] == Reason.ASSESS_ONLY

    def test_of_what_is_refused_anyway_no_cost_is_spoken(self) -> None:
        no = {
            "assess": ruling(OperationName.ON_DEMAND_ASSESSMENT, Support.UNSUPPORTED),
            "patch": ruling(OperationName.ON_DEMAND_PATCHING, Support.UNSUPPORTED),
        }
        step = next_step(seen=observed(PatchTargetStatus(), **no), unpaid="prod")
        assert idle(step)[0] == Reason.DETECTED_SUPPORTED, "the reason of the verdict"


# --- windows and freezes --------------------------------------------------------------------------

SHUT = Shut(Reason.WAITING_FOR_WINDOW, "It waits.", NOW + 6 * HOUR)


def test_outside_windows_an_install_waits_for_the_next() -> None:
    assert idle(next_step(opening=SHUT)) == ("WaitingForWindow", True, NOW + 6 * HOUR)


def test_outside_windows_machines_are_assessed() -> None:
    due = observed(FINE.replace(assessment=None))

    assert next_step(seen=due, opening=SHUT) == ASSESS


def test_what_waits_for_a_slot_looks_again_when_the_time_for_it_is_over() -> None:
    until = NOW + HOUR

    assert next_step(has_slot=False, opening=Open(until)) == AskSlot(until)


def test_what_is_not_due_does_not_wait_for_a_window() -> None:
    assert idle(next_step(selection=NOTHING, opening=SHUT))[0] == "UpToDate"


def test_of_a_stopped_machine_that_is_told_whatever_the_window() -> None:
    stopped = machine(power_state="Deallocated")

    assert idle(next_step(found=stopped, opening=SHUT))[0] == "VMStopped"
