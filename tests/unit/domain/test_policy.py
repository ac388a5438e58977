"""What a PatchPolicy's status says, decided from its PatchTargets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    READABLE,
    RUN,
    VM,
    assess_only,
    assessed,
    condition,
    installed,
    longest,
    operation,
    patch_policy,
    patch_run,
    patch_target,
)

from azpatch.api.common import Condition, OperationName, Support, status_json
from azpatch.api.policy import NAME_LENGTH, NextWindow, PatchPolicy, PatchPolicyStatus
from azpatch.api.reasons import Reason
from azpatch.api.run import PatchRun, PatchRunStatus, RunPhase
from azpatch.api.target import (
    MESSAGE_LENGTH,
    SUBSCRIPTION_LABEL,
    Attempts,
    Outcome,
    PatchTarget,
    PatchTargetStatus,
    RunEntry,
    RunState,
    Verdict,
)
from azpatch.domain.opening import Open, Shut, Timing
from azpatch.domain.policy import deciding, status
from azpatch.domain.policy_machines import next_overdue, operation_of, slot_limit
from azpatch.domain.run_need import NO_RUNS, Runs
from azpatch.domain.subscription import Trouble
from azpatch.domain.windows import Span

POLICY = patch_policy()
ANY_TIME = Timing(Open(None), None, NOW - 2 * DAY, None)
YES, NO, WAITS = Support.SUPPORTED, Support.UNSUPPORTED, Support.UNKNOWN


def target(
    number: int = 1,
    *,
    support: Support = YES,
    ready: str = "UpToDate",
    compliant: tuple[str, str] = ("True", "Compliant"),
    operation_name: OperationName = OperationName.ON_DEMAND_PATCHING,
    **changes: Any,
) -> PatchTarget:
    """A governed machine that is up to date."""
    supported = {YES: "True", NO: "False", WAITS: "Unknown"}[support]
    bad = {"VMStopped", "GovernedElsewhere", "InstallFailed", "NotBack", "ArcBillingNotAccepted",
           "AgentNotReady", "ArcDisconnected", "ArcExpired", "ArcError", "AccessLost",
           "ImageNotSupported"}  # fmt: skip
    why = {YES: "MatrixSupported", NO: "ImageNotSupported", WAITS: ready}[support]
    known = PatchTargetStatus(
        governs=True,
        verdicts=(Verdict(operation=operation_name, verdict=support, reason="Because"),),
        assessment=assessed(),
        conditions=(
            condition("Ready", "False" if ready in bad else "True", ready, f"Why {ready}."),
            condition("Supported", supported, why, "Why not."),
            condition("Compliant", *compliant),
        ),
    )
    return patch_target(known.replace(**changes), machine_id=VM.replace("web-1", f"web-{number}"))


def elsewhere(number: int = 1) -> PatchTarget:
    return target(number, governs=False, ready="GovernedElsewhere", support=WAITS,
                  compliant=("Unknown", "GovernedElsewhere"))  # fmt: skip


def waiting(number: int, reason: str, **more: Any) -> PatchTarget:
    """A machine of which it is not known whether it is compliant."""
    return target(number, ready=reason, compliant=("Unknown", "NotAssessed"), **more)


AWAY, UNSEEN = waiting(2, "VMStopped"), waiting(1, "WaitingForResourceGraph")


def unpaid(number: int) -> PatchTarget:
    known = target(number, ready="ArcBillingNotAccepted", compliant=("Unknown", "NotAssessed"))
    return known.replace(metadata=known.metadata.replace(labels={SUBSCRIPTION_LABEL: "prod"}))


def of(
    targets: Sequence[PatchTarget],
    policy: PatchPolicy = POLICY,
    trouble: Trouble | None = None,
    timing: Timing = ANY_TIME,
    held_by: Sequence[str] = (),
    runs: Runs = NO_RUNS,
) -> PatchPolicyStatus:
    found = status(policy, targets, trouble, NOW, timing=timing, runs=runs, held_by=held_by)
    assert all(len(c.message) <= READABLE for c in found.conditions)
    return found


def conditions(*args: Any, **more: Any) -> dict[str, Condition]:
    return {c.type: c for c in of(*args, **more).conditions}


def readiness(found: PatchPolicyStatus) -> dict[str, tuple[str, str]]:
    """What Ready, and what goes with it, says."""
    beside = {"Supported", "Compliant"}
    return {c.type: summary(c) for c in found.conditions if c.type not in beside}


def summary(found: Condition) -> tuple[str, str]:
    return found.status, found.reason


class TestReady:
    """kstatus: Reconciling is for deciding a generation; Stalled needs a person."""

    @pytest.mark.parametrize(
        ("targets", "policy", "reason"),
        [
            pytest.param([target()], POLICY, "UpToDate", id="up to date"),
            pytest.param([target()], assess_only(), "AssessOnly", id="assess only"),
            pytest.param([target()], patch_policy(suspend=True), "Suspended", id="suspended"),
            pytest.param([target(operation=operation())], POLICY, "Working", id="running"),
            pytest.param([target(1), target(2, support=NO)], POLICY, "UpToDate", id="some not"),
            pytest.param([target(1), elsewhere(2)], POLICY, "UpToDate", id="in conflict"),
            pytest.param([target(ready="VMStopped")], POLICY, "UpToDate", id="stopped, compliant"),
            pytest.param([target(1), AWAY], POLICY, "UpToDate", id="one stopped"),
            pytest.param([waiting(1, "WaitingForSlot")], POLICY, "UpToDate", id="soon at work"),
            pytest.param([waiting(1, "RetryLater")], POLICY, "UpToDate", id="has its time"),
            pytest.param([waiting(1, "AccessLost")], POLICY, "UpToDate", id="soon tried again"),
            pytest.param([UNSEEN], POLICY, "UpToDate", id="its result is awaited"),
        ],
    )
    def test_true(self, targets: list[PatchTarget], policy: PatchPolicy, reason: str) -> None:
        found = conditions(targets, policy)
        assert summary(found["Ready"]) == ("True", reason)
        assert not {"Stalled", "Reconciling"} & set(found)

    @pytest.mark.parametrize(
        ("targets", "policy", "trouble", "reason"),
        [
            pytest.param(
                [patch_target()], POLICY, None, "NewGeneration", id="machines not looked at yet"
            ),
            pytest.param(
                [],
                POLICY,
                Trouble(Reason.AZURE_SUBSCRIPTION_MISSING, "No.", stalled=False),
                "AzureSubscriptionMissing",
                id="its AzureSubscription is missing",
            ),
            pytest.param(
                [target()],
                patch_policy(metadata={"deletionTimestamp": "2026-11-23T00:00:00Z"}),
                None,
                "Deleting",
                id="being deleted",
            ),
        ],
    )
    def test_false_and_reconciling(
        self,
        targets: list[PatchTarget],
        policy: PatchPolicy,
        trouble: Trouble | None,
        reason: str,
    ) -> None:
        found = conditions(targets, policy, trouble)
        assert summary(found["Ready"]) == ("False", reason)
        assert summary(found["Reconciling"]) == ("True", reason)
        assert "Stalled" not in found

    @pytest.mark.parametrize(
        ("targets", "trouble", "reason"),
        [
            pytest.param(
                [],
                Trouble(Reason.NOT_GRANTED, "No.", stalled=True),
                "NotGranted",
                id="a target that a person must grant",
            ),
            pytest.param([elsewhere()], None, "GovernedElsewhere", id="its machine is another's"),
            pytest.param(
                [elsewhere(1), elsewhere(2)], None, "GovernedElsewhere", id="all are others'"
            ),
            pytest.param(
                [target(support=NO)], None, "ImageNotSupported", id="its machine is unsupported"
            ),
            pytest.param(
                [target(1, support=NO), target(2, support=NO)],
                None,
                "NoneSupported",
                id="none is supported",
            ),
            pytest.param(
                [target(1, installation=installed(Outcome.NOT_BACK, time=NOW)), target(2)],
                None,
                "TooManyFailed",
                id="failed machines hold every slot",
            ),
        ],
    )
    def test_false_and_stalled(
        self, targets: list[PatchTarget], trouble: Trouble | None, reason: str
    ) -> None:
        found = conditions(targets, trouble=trouble)
        assert summary(found["Ready"]) == ("False", reason)
        assert summary(found["Stalled"]) == ("True", reason)
        assert "Reconciling" not in found

    @pytest.mark.parametrize(
        ("numbers", "costs"),
        [
            ([1], "up to US$ 5 a month for 1 server, US$ 5 each"),
            ([1, 2, 3], "up to US$ 15 a month for 3 servers, US$ 5 each"),
        ],
    )
    def test_arc_enabled_servers_whose_cost_is_not_accepted_stall_it_with_the_forecast(
        self, numbers: list[int], costs: str
    ) -> None:
        found = conditions([unpaid(number) for number in numbers])
        assert summary(found["Ready"]) == ("False", "ArcBillingNotAccepted")
        assert summary(found["Stalled"]) == ("True", "ArcBillingNotAccepted")
        assert costs in found["Ready"].message
        assert "AzureSubscription prod." in found["Ready"].message

    @pytest.mark.parametrize("reason", ["VMStopped", "AgentNotReady", "ArcDisconnected"])
    def test_a_policy_of_a_machine_that_is_away_waits_for_it(self, reason: str) -> None:
        found = of([waiting(1, reason)])
        assert readiness(found) == {"Ready": ("False", reason), "Reconciling": ("True", reason)}
        assert found.conditions[0].message == f"Why {reason}.", "the machine's own words"

    @pytest.mark.parametrize(
        "reason",
        [
            "UnableToDetermine",
            "NoMarketplaceRule",
            "SystemNotListed",
            "ImageUnknown",
            "NotAssessed",
            "ArcExpired",
            "ArcError",
        ],
    )
    @pytest.mark.parametrize("compliant", ["Unknown", "False"])
    def test_a_policy_of_a_machine_that_a_person_must_see_to_is_stalled(
        self, reason: str, compliant: str
    ) -> None:
        machine = target(ready=reason, support=WAITS, compliant=(compliant, "PatchesMissing"))
        found = of([machine])
        assert readiness(found) == {"Ready": ("False", reason), "Stalled": ("True", reason)}
        assert [p.reason for p in found.problems] == [reason]

    def test_where_nothing_can_be_sent_to_any_machine_the_worst_is_said_of_all(self) -> None:
        machines = [waiting(1, "ArcExpired"), waiting(2, "UnableToDetermine")]
        found = of(machines)
        assert readiness(found) == {
            "Ready": ("False", "UnableToDetermine"),
            "Stalled": ("True", "UnableToDetermine"),
        }
        assert found.conditions[0].message == (
            "Nothing can be sent to any of the 2 machines now: web-1 (ArcExpired), web-2 "
            "(UnableToDetermine); problems says why."
        )

    def test_it_is_not_stalled_while_one_machine_may_come_back(self) -> None:
        machines = [
            waiting(1, "ArcExpired"),
            waiting(2, "VMStopped"),
            waiting(3, "ImageNotSupported", support=NO),
        ]
        assert readiness(of(machines)) == {
            "Ready": ("False", "VMStopped"),
            "Reconciling": ("True", "VMStopped"),
        }

    @pytest.mark.parametrize(
        ("targets", "says"),
        [
            ([target()], "Nothing to do. The machine is compliant."),
            ([target(1), target(2)], "Nothing to do. All 2 machines are compliant."),
            (
                [target(ready="NothingInstallable", compliant=("False", "NothingInstallable"))],
                "Nothing is in flight. 1 machine is not compliant: web-1 (NothingInstallable).",
            ),
            (
                [target(compliant=("False", "RebootPending"))],
                "Nothing is in flight. 1 machine is not compliant: web-1 (RebootPending).",
            ),
            (
                [target(1), waiting(2, "VMStopped")],
                "Nothing is in flight. 1 of 2 machines is not known to be compliant: "
                "web-2 (VMStopped).",
            ),
            (
                [
                    target(1, ready="RetryLater", compliant=("False", "InstallFailed")),
                    waiting(2, "VMStopped"),
                ],
                "Nothing is in flight. 2 of 2 machines are not compliant, or not known to be: "
                "web-1 (RetryLater), web-2 (VMStopped).",
            ),
        ],
    )
    def test_what_is_said_while_nothing_is_in_flight(
        self, targets: list[PatchTarget], says: str
    ) -> None:
        assert conditions(targets)["Ready"].message == says

    def test_a_policy_that_only_assesses_says_which_machines_are_not_compliant(self) -> None:
        found = conditions([target(compliant=("False", "PatchesMissing"))], assess_only())
        assert found["Ready"].message == (
            "The policy assesses and does not install. 1 machine is not compliant: web-1 "
            "(PatchesMissing)."
        )

    def test_beside_machines_that_cost_nothing_they_wait_and_the_forecast_is_told(self) -> None:
        found = of([target(1), unpaid(2)])
        ready = next(c for c in found.conditions if c.type == "Ready")
        assert summary(ready) == ("True", "UpToDate")
        assert "up to US$ 5 a month for 1 server" in ready.message
        assert [p.reason for p in found.problems] == ["ArcBillingNotAccepted"]

    def test_failed_machines_that_leave_a_slot_free_stall_nothing(self) -> None:
        policy = patch_policy(rollout={"maxUnavailable": 2})
        failed = target(1, installation=installed(Outcome.FAILED, time=NOW))
        assert conditions([failed, target(2)], policy)["Ready"].status == "True"

    def test_failed_machines_that_fill_the_groups_of_all_who_wait_are_named(self) -> None:
        waiting = target(1, ready="WaitingForSlot", compliant=("False", "PatchesMissing"))
        found = of([waiting, target(2)], held_by=("db-7", "a machine of another namespace"))

        assert readiness(found) == {
            "Ready": ("False", "TooManyFailed"),
            "Stalled": ("True", "TooManyFailed"),
        }
        assert found.conditions[0].message == (
            "db-7, a machine of another namespace failed and fill the groups (rollout.spread) of "
            "all machines that wait. No install is started until an assessment of one of them "
            "succeeds. Look at them, or raise maxUnavailable in rollout.spread."
        )

    def test_nothing_is_stalled_while_an_install_goes_on(self) -> None:
        policy = patch_policy(rollout={"maxUnavailable": 2})
        going = target(2, operation=operation())
        found = of([target(1, ready="WaitingForSlot"), going], policy, held_by=("db-7",))
        assert readiness(found)["Ready"] == ("True", "Working")

    def test_a_generation_is_observed_when_it_was_decided(self) -> None:
        assert of([target()]).observed_generation == 3


class TestSupportedAndCompliant:
    """False if any machine is False, else Unknown if any is Unknown."""

    @pytest.mark.parametrize(
        ("supports", "expected"),
        [
            ([YES, YES], ("True", "AllSupported")),
            ([YES, WAITS], ("Unknown", "SomeUnknown")),
            ([WAITS, NO, YES], ("False", "SomeUnsupported")),
        ],
    )
    def test_supported(self, supports: list[Support], expected: tuple[str, str]) -> None:
        targets = [target(n, support=support) for n, support in enumerate(supports)]
        assert summary(conditions(targets)["Supported"]) == expected

    @pytest.mark.parametrize(
        ("states", "expected"),
        [
            (["True", "True"], ("True", "Compliant")),
            (["True", "Unknown"], ("Unknown", "SomeUnknown")),
            (["Unknown", "False", "True"], ("False", "SomeNotCompliant")),
        ],
    )
    def test_compliant(self, states: list[str], expected: tuple[str, str]) -> None:
        targets = [target(n, compliant=(state, "X")) for n, state in enumerate(states)]
        assert summary(conditions(targets)["Compliant"]) == expected

    def test_other_policies_machines_and_skipped_ones_do_not_count(self) -> None:
        skipped = target(2, support=NO, compliant=("Unknown", "OSNotSelected"))
        found = conditions([target(1), skipped, elsewhere(3)])
        assert found["Supported"].status == found["Compliant"].status == "True"

    def test_without_machines_nothing_is_known(self) -> None:
        found = conditions([])
        assert summary(found["Supported"]) == ("Unknown", "NoMachines")
        assert summary(found["Compliant"]) == ("Unknown", "NoMachines")

    def test_a_message_names_a_few_machines_and_counts_the_rest(self) -> None:
        targets = [target(n, support=NO) for n in range(5)]
        targets.append(target(9))
        message = conditions(targets)["Supported"].message
        assert message == "Azure cannot patch 5 of 6 machines: web-0, web-1, web-2 and 2 more."


class TestTiming:
    """A schedule of windows, and freezes."""

    NEXT = Span(NOW + DAY, NOW + DAY + 4 * HOUR)
    DUE = target(1, ready="WaitingForWindow", compliant=("False", "PatchesMissing"))

    def shut(self, reason: Reason, next_: Span | None = NEXT) -> Timing:
        closed = Shut(reason, "Closed until then.", next_.start if next_ else None)
        return Timing(closed, next_, NOW - 14 * DAY, None)

    @pytest.mark.parametrize("reason", [Reason.WAITING_FOR_WINDOW, Reason.FROZEN])
    def test_waiting_for_ones_time_is_no_failure(self, reason: Reason) -> None:
        found = of([self.DUE, target(2)], timing=self.shut(reason))

        assert readiness(found) == {"Ready": ("True", reason)}
        assert found.conditions[0].message == (
            "Closed until then. Nothing is in flight. 1 of 2 machines is not compliant: "
            "web-1 (WaitingForWindow)."
        )

    def test_with_nothing_due_there_is_nothing_to_wait_for(self) -> None:
        found = of([target()], timing=self.shut(Reason.FROZEN))

        assert readiness(found) == {"Ready": ("True", "UpToDate")}

    @pytest.mark.parametrize("reason", [Reason.WINDOW_TOO_SHORT, Reason.TIME_ZONE_UNKNOWN])
    def test_a_schedule_that_cannot_work_needs_a_person(self, reason: Reason) -> None:
        found = of([target()], timing=self.shut(reason, None))

        assert readiness(found) == {"Ready": ("False", reason), "Stalled": ("True", reason)}

    def test_a_schedule_that_has_ended_is_told_and_is_no_failure(self) -> None:
        found = of([target()], timing=self.shut(Reason.NO_WINDOW_LEFT, None))

        assert readiness(found) == {"Ready": ("True", "NoWindowLeft")}

    def test_the_next_window_is_told(self) -> None:
        found = of([target()], timing=self.shut(Reason.WAITING_FOR_WINDOW))

        assert found.next_window == NextWindow(start=self.NEXT.start, end=self.NEXT.end)
        assert of([target()]).next_window is None


def test_machines_in_numbers() -> None:
    overdue = Attempts(due_since=NOW - 2 * DAY, window_start=NOW)
    found = of(
        [
            target(1),
            target(2, support=NO, compliant=("Unknown", "X")),
            target(3, support=WAITS, compliant=("False", "X"), attempts=overdue),
            target(4, operation=operation()),
            target(5, installation=installed(Outcome.UNKNOWN)),
            target(6, compliant=("Unknown", "OSNotSelected")),
            elsewhere(7),
        ],
        patch_policy(rollout={"maxUnavailable": 5}),
    ).machines
    assert found is not None
    assert found.to_object() == {
        "matched": 7,
        "governed": 6,
        "supported": 3,
        "unsupported": 1,
        "unknown": 1,
        "skipped": 1,
        "compliant": 3,
        "nonCompliant": 1,
        "inProgress": 1,
        "failed": 1,
        "overdue": 1,
        "conflicts": 1,
    }


@pytest.mark.parametrize(
    ("wave", "due", "count"),
    [
        pytest.param("canary", 3 * DAY, 1, id="it missed two of its wave's windows"),
        pytest.param("canary", DAY, 0, id="not two of them"),
        pytest.param("rest", 3 * DAY, 0, id="its wave's are a week apart"),
        pytest.param("rest", 15 * DAY, 1, id="and it missed two"),
        pytest.param("new", 300 * DAY, 0, id="its wave's were not so many"),
        pytest.param("of yore", 3 * DAY, 1, id="no wave has that name, the policy's windows count"),
        pytest.param(None, 3 * DAY, 1, id="it was in no run, the policy's windows count"),
    ],
)
def test_overdue_is_who_missed_the_windows_of_its_wave(
    wave: str | None, due: timedelta, count: int
) -> None:
    entry = wave and RunEntry(name=RUN, uid="u", wave=wave, state=RunState.SKIPPED)
    waves = {"canary": NOW - 2 * DAY, "rest": NOW - 14 * DAY, "new": None}
    machine = target(run=entry, attempts=Attempts(due_since=NOW - due))

    found = of([machine], timing=replace(ANY_TIME, overdue_by_wave=waves)).machines

    assert found is not None
    assert found.overdue == count


@pytest.mark.parametrize(
    ("schedule", "when"),
    [
        pytest.param({"always": {}}, NOW + DAY, id="after 48 hours, the first that is not yet"),
        pytest.param(NIGHTS, None, id="with windows it is told by their ends"),
    ],
)
def test_when_the_next_machine_is_overdue(schedule: dict[str, Any], when: datetime | None) -> None:
    due = [
        target(number, attempts=Attempts(due_since=NOW - since))
        for number, since in enumerate((2 * DAY, DAY, timedelta(0)))
    ]

    assert next_overdue(patch_policy(schedule=schedule), [*due, target(9)], NOW) == when


def test_the_oldest_assessment_of_a_governed_machine_is_told() -> None:
    older = target(2, assessment=assessed(time=NOW - 3 * HOUR))
    assert of([target(1), older]).oldest_assessment_time == NOW - 3 * HOUR
    assert of([]).oldest_assessment_time is None


class TestProblems:
    WITH_RUNS = patch_policy(schedule=NIGHTS)

    def test_the_worst_first_and_what_passes_by_itself_not_at_all(self) -> None:
        found = of(
            [
                target(1, ready="VMStopped"),
                target(2, ready="NotBack"),
                target(3, ready="WaitingForSlot"),
                target(4, ready="InstallFailed"),
            ]
        )
        assert [(p.machine_id[-5:], p.reason) for p in found.problems] == [
            ("web-2", "NotBack"),
            ("web-4", "InstallFailed"),
            ("web-1", "VMStopped"),
        ]
        assert found.problems_omitted is None

    @pytest.mark.parametrize(
        "reason",
        ["UnableToDetermine", "NoMarketplaceRule", "SystemNotListed", "ImageUnknown",
         "NotAssessed", "ArcDisconnected", "VMStopped", "AgentNotReady"],
    )  # fmt: skip
    def test_machines_that_wait_for_evidence_or_a_person_are_named(self, reason: str) -> None:
        found = of([target(1), waiting(2, reason)])
        assert [(p.machine_id[-5:], p.reason) for p in found.problems] == [("web-2", reason)]
        assert found.problems[0].message == f"Why {reason}."

    def test_at_most_20(self) -> None:
        found = of([target(n, ready="VMStopped") for n in range(25)])
        assert (len(found.problems), found.problems_omitted) == (20, 5)

    def test_of_ten_thousand_machines_in_every_trouble_a_status_fits_in_64_kib(self) -> None:
        """With names as long as can be, of which as much is said as can be."""
        reasons, told = list(Reason), "m" * MESSAGE_LENGTH
        targets = [
            patch_target(
                PatchTargetStatus(
                    installation=installed(Outcome.NOT_BACK),
                    conditions=tuple(
                        condition(type_, "False", reasons[number % len(reasons)], told)
                        for type_ in ("Ready", "Supported", "Compliant")
                    ),
                ),
                machine_id=longest(number),
            )
            for number in range(10_000)
        ]
        # A run's Ready is told whole.
        said = condition("Ready", "False", "TooManyFailed", "r" * 400)
        name = f"{'p' * NAME_LENGTH}-202612112100"
        paused = patch_run(PatchRunStatus(phase=RunPhase.PAUSED, conditions=(said,)), name=name)
        timing = replace(ANY_TIME, next=Span(NOW, NOW + DAY))

        found = of(targets, self.WITH_RUNS, timing=timing, runs=Runs(paused, paused, NOW))

        assert (len(found.problems), bool(found.problems_omitted)) == (20, True)
        assert {one.message for one in found.problems} == {told}
        size = len(json.dumps(status_json(found), separators=(",", ":")))
        assert 20 * (len(told) + len(longest(1))) < size < 64 * 1024


@pytest.mark.parametrize(
    ("reason", "observed", "expected"),
    [
        pytest.param("UpToDate", 0, False, id="decided"),
        pytest.param("UpToDate", -1, True, id="not seen"),
        pytest.param("NewGeneration", 0, True, id="machines are looked at"),
        pytest.param("InvalidSpec", 0, True, id="it could not be read"),
    ],
)
def test_machines_are_being_decided(reason: str, observed: int, expected: bool) -> None:
    said = PatchPolicyStatus(
        observed_generation=observed, conditions=(condition("Ready", "True", reason),)
    )
    metadata = POLICY.metadata.replace(generation=0)
    assert deciding(POLICY.replace(metadata=metadata, status=said)) is expected


class TestSlots:
    @pytest.mark.parametrize(
        ("share", "supported", "limit"),
        [
            pytest.param("10%", 9, 1, id="at least 1"),
            pytest.param("10%", 29, 2, id="rounded down"),
            pytest.param(5, 2, 5, id="a count as it is"),
        ],
    )
    def test_max_unavailable_is_of_the_supported(
        self, share: object, supported: int, limit: int
    ) -> None:
        policy = patch_policy(rollout={"maxUnavailable": share})
        targets = [target(n) for n in range(supported)]
        others = [target(100 + n, support=NO) for n in range(50)]
        others += [elsewhere(200 + n) for n in range(50)]
        assert slot_limit(policy, [*targets, *others]) == limit

    def test_a_share_is_not_taken_of_machines_that_leave(self) -> None:
        policy = patch_policy(rollout={"maxUnavailable": "50%"})
        leaving = target(4)
        leaving = leaving.replace(metadata=leaving.metadata.replace(deletion_timestamp=NOW))
        assert slot_limit(policy, [*map(target, range(3)), leaving]) == 1


def run(phase: RunPhase, ready: str, reason: str) -> PatchRun:
    said = condition("Ready", ready, reason, f"Why {reason}.")
    return patch_run(PatchRunStatus(phase=phase, conditions=(said,)))


SOAKS = run(RunPhase.WAITING, "True", "Soaking")
PAUSED = run(RunPhase.PAUSED, "False", "TooManyFailed")
WAITED_FOR_POLICY = run(RunPhase.RUNNING, "False", "InvalidSpec")
LAST_FAILED = run(RunPhase.FAILED, "False", "GateNotPassed")
LAST_CANCELLED = run(RunPhase.CANCELLED, "True", "RunCancelled")


class TestRuns:
    """What a policy says of its runs."""

    NIGHTLY = patch_policy(schedule=NIGHTS)

    @pytest.mark.parametrize(
        ("runs", "expected"),
        [
            pytest.param(Runs(SOAKS, None, None), ("True", "RunUnderWay"), id="one that soaks"),
            pytest.param(Runs(PAUSED, None, None), ("False", "RunPaused"), id="a paused one"),
            pytest.param(
                Runs(None, LAST_FAILED, None), ("False", "RunFailed"), id="the last that failed"
            ),
            pytest.param(
                Runs(SOAKS, LAST_FAILED, None), ("True", "RunUnderWay"), id="one after it"
            ),
            pytest.param(Runs(None, LAST_CANCELLED, None), ("True", "UpToDate"), id="cancelled"),
            pytest.param(
                Runs(WAITED_FOR_POLICY, None, None),
                ("True", "UpToDate"),
                id="one that waited for it",
            ),
        ],
    )
    def test_a_policy_is_as_well_as_its_run(self, runs: Runs, expected: tuple[str, str]) -> None:
        found = readiness(of([target()], self.NIGHTLY, runs=runs))

        assert found["Ready"] == expected
        assert ("Stalled" in found) is (expected[0] == "False")

    def test_the_runs_own_words_are_told(self) -> None:
        found = conditions([target()], self.NIGHTLY, runs=Runs(PAUSED, None, None))

        assert found["Ready"].message == f"PatchRun {RUN}: Why TooManyFailed."

    @pytest.mark.parametrize("policy", [POLICY, assess_only()], ids=["always", "assess only"])
    def test_an_old_run_does_not_matter_to_a_policy_without_runs(self, policy: PatchPolicy) -> None:
        found = readiness(of([target()], policy, runs=Runs(None, LAST_FAILED, None)))

        assert found["Ready"][0] == "True"

    def test_both_are_named_and_the_window_that_there_was_one_for_is_kept(self) -> None:
        runs = Runs(PAUSED, LAST_FAILED, NOW)
        found = of([target()], self.NIGHTLY, runs=runs)
        later = status(self.NIGHTLY.replace(status=found), [target()], None, NOW)

        assert found.current_run is not None
        assert found.last_run is not None
        assert (found.current_run.phase, found.last_run.phase) == ("Paused", "Failed")
        assert (later.current_run, later.last_run) == (None, None)
        assert later.last_schedule_time == found.last_schedule_time == NOW


def test_counts_speak_of_the_executors_operation() -> None:
    assert operation_of(POLICY.spec) is OperationName.ON_DEMAND_PATCHING
    assert operation_of(assess_only().spec) is OperationName.ON_DEMAND_ASSESSMENT


def test_status_changes_only_when_a_fact_changes() -> None:
    targets = [target(1), target(2, ready="VMStopped")]
    first = of(targets)
    again = status(POLICY.replace(status=first), targets, None, NOW + timedelta(hours=5))
    assert again == first
    assert of(targets[::-1]) == first, "in whatever order the machines come"
