"""An operation in flight: what the evidence says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from domain_builders import (
    HOUR,
    NOW,
    VM,
    arc_view,
    assessed,
    installed,
    machine,
    operation,
    view,
)
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.target import Operation, OperationKind, OperationState, PatchTargetStatus
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    MachineView,
    OperationError,
)
from azpatch.domain.operation import (
    ASSESSMENT_DEADLINE,
    INSTALL_GRACE,
    LOOK_EARLY,
    ROW_AWAITED,
    UNANSWERED,
    Ended,
    Evidence,
    Going,
    Lost,
    LostReason,
    NeverStarted,
    deadline,
    judge,
    running,
    unrecorded,
)
from azpatch.domain.traces import NOT_STARTED_AFTER, same_id, traces_of

ASSESS, INSTALL = OperationKind.ASSESS, OperationKind.INSTALL
ON_VM = traces_of(VM)
MINUTE = timedelta(minutes=1)


def summary(
    kind: OperationKind, id_: str | None, status: GuestStatus, modified: datetime | None = None
) -> MachineView:
    """ARM's view, with this as the last operation of the kind."""
    if kind is ASSESS:
        return view(assessment=AssessmentResult(status, activity_id=id_, last_modified=modified))
    return view(installation=InstallationResult(status, activity_id=id_, last_modified=modified))


def unanswered(kind: OperationKind, age: timedelta, **changes: object) -> Operation:
    """The intent stands, and no answer to the POST is known."""
    known = operation(kind, intent_time=NOW - age, operation_id=None, state=OperationState.INTENT)
    return known.replace(**changes)


def test_an_install_has_maximum_duration_and_90_minutes() -> None:
    assert INSTALL_GRACE == 90 * MINUTE
    assert deadline(INSTALL, NOW, 2 * HOUR) == NOW + 2 * HOUR + 90 * MINUTE


def test_an_assessment_has_two_hours() -> None:
    assert ASSESSMENT_DEADLINE == 2 * HOUR
    assert deadline(ASSESS, NOW, timedelta(0)) == NOW + 2 * HOUR


@pytest.mark.parametrize("kind", OperationKind)
class TestWithoutAnAnswer:
    @pytest.mark.parametrize("seen", ["before", None], ids=["unchanged", "none there"])
    def test_unchanged_for_15_minutes_it_did_not_start(
        self, kind: OperationKind, seen: str | None
    ) -> None:
        assert NOT_STARTED_AFTER == 15 * MINUTE
        evidence = Evidence(view=summary(kind, seen, GuestStatus.SUCCEEDED))

        early = unanswered(kind, 15 * MINUTE - timedelta(seconds=1))
        assert judge(early, "vm-1", ON_VM, evidence, NOW) == Going(early, LOOK_EARLY)
        late = unanswered(kind, 15 * MINUTE)
        assert judge(late, "vm-1", ON_VM, evidence, NOW) == NeverStarted()

    def test_where_arm_leaves_out_what_was_there_before_nothing_is_concluded(
        self, kind: OperationKind
    ) -> None:
        intent = unanswered(kind, HOUR)
        assert judge(intent, "vm-1", ON_VM, Evidence(view=view()), NOW) == Going(intent, LOOK_EARLY)
        first = intent.replace(previous_activity_id=None)
        assert judge(first, "vm-1", ON_VM, Evidence(view=view()), NOW) == NeverStarted()

    def test_what_was_there_before_and_is_recorded_still_says_that_ours_is_not_there(
        self, kind: OperationKind
    ) -> None:
        intent = unanswered(kind, HOUR)
        seen = Evidence(view=summary(kind, "BEFORE", GuestStatus.SUCCEEDED, NOW - 2 * HOUR))
        status = PatchTargetStatus(
            operation=intent,
            assessment=assessed(activity_id="before"),
            installation=installed(activity_id="before"),
        )
        assert judge(intent, "vm-1", ON_VM, unrecorded(seen, status), NOW) == NeverStarted()

    def test_unchanged_in_another_case_is_unchanged(self, kind: OperationKind) -> None:
        evidence = Evidence(view=summary(kind, "BEFORE", GuestStatus.SUCCEEDED))
        assert judge(unanswered(kind, HOUR), "vm-1", ON_VM, evidence, NOW) == NeverStarted()

    def test_changed_it_is_followed_as_unconfirmed(self, kind: OperationKind) -> None:
        evidence = Evidence(view=summary(kind, "new", GuestStatus.IN_PROGRESS))

        found = judge(unanswered(kind, HOUR), "vm-1", ON_VM, evidence, NOW)

        assert isinstance(found, Going)
        assert found.operation.state is OperationState.UNCONFIRMED
        assert found.operation.operation_id == "new"

    def test_an_activity_where_there_was_none_is_a_change(self, kind: OperationKind) -> None:
        intent = unanswered(kind, HOUR, previous_activity_id=None)
        evidence = Evidence(view=summary(kind, "new", GuestStatus.IN_PROGRESS))
        assert isinstance(judge(intent, "vm-1", ON_VM, evidence, NOW), Going)

    def test_as_long_as_nobody_can_look_nothing_is_concluded(self, kind: OperationKind) -> None:
        intent = unanswered(kind, HOUR)
        assert judge(intent, "vm-1", ON_VM, Evidence(), NOW) == Going(intent, LOOK_EARLY)


@pytest.mark.parametrize("kind", OperationKind)
class TestTheOperationsOwnWord:
    def test_its_result_counts(self, kind: OperationKind) -> None:
        result: AssessmentResult | InstallationResult = (
            AssessmentResult(GuestStatus.SUCCEEDED)
            if kind is ASSESS
            else InstallationResult(GuestStatus.SUCCEEDED)
        )
        found = judge(operation(kind), "vm-1", ON_VM, Evidence(running=False, result=result), NOW)
        assert found == Ended(result)

    def test_it_ended_when_the_operation_says_where_the_result_does_not(
        self, kind: OperationKind
    ) -> None:
        made = AssessmentResult if kind is ASSESS else InstallationResult
        silent, told = made(GuestStatus.SUCCEEDED), made(GuestStatus.SUCCEEDED, NOW, NOW)
        ended = NOW - MINUTE
        for evidence, expected in (
            (Evidence(result=silent, ended=ended), ended),
            (Evidence(result=told, ended=ended), NOW),
            (Evidence(error=OperationError("Oops", "It broke."), ended=ended), ended),
        ):
            found = judge(operation(kind), "vm-1", ON_VM, evidence, NOW)
            assert isinstance(found, Ended)
            assert found.result.last_modified == expected

    def test_its_error_is_a_failure_with_azures_words(self, kind: OperationKind) -> None:
        error = OperationError("Oops", "It broke.")

        found = judge(operation(kind), "vm-1", ON_VM, Evidence(running=False, error=error), NOW)

        assert isinstance(found, Ended)
        assert found.result.status is GuestStatus.FAILED
        assert (found.result.error, found.result.activity_id) == (error, "ours")

    def test_while_it_runs_it_goes_on(self, kind: OperationKind) -> None:
        found = judge(operation(kind), "vm-1", ON_VM, Evidence(running=True), NOW)
        assert isinstance(found, Going)
        assert found.look_after > LOOK_EARLY


class TestTheInstanceView:
    def test_an_assessments_end_is_its_result(self) -> None:
        seen = summary(ASSESS, "OURS", GuestStatus.SUCCEEDED, NOW)
        found = judge(operation(ASSESS), "vm-1", ON_VM, Evidence(view=seen), NOW)
        assert found == Ended(seen.assessment)  # type: ignore[arg-type]

    def test_a_newer_assessment_of_anyone_answers_for_ours(self) -> None:
        seen = summary(ASSESS, "someone", GuestStatus.SUCCEEDED, NOW)
        found = judge(operation(ASSESS), "vm-1", ON_VM, Evidence(view=seen), NOW)
        assert found == Ended(seen.assessment)  # type: ignore[arg-type]

    def test_an_install_waits_15_minutes_for_its_fuller_row(self) -> None:
        assert ROW_AWAITED == 15 * MINUTE
        seen = summary(INSTALL, "ours", GuestStatus.SUCCEEDED, NOW)

        early = judge(operation(), "vm-1", ON_VM, Evidence(view=seen), NOW + 14 * MINUTE)
        assert isinstance(early, Going)
        late = judge(operation(), "vm-1", ON_VM, Evidence(view=seen), NOW + 15 * MINUTE)
        assert late == Ended(seen.installation)  # type: ignore[arg-type]

    def test_its_row_ends_an_install_at_once(self) -> None:
        row = InstallationResult(GuestStatus.SUCCEEDED, activity_id="OURS", installed=3)
        seen = summary(INSTALL, "ours", GuestStatus.SUCCEEDED, NOW)
        assert judge(operation(), "vm-1", ON_VM, Evidence(view=seen, row=row), NOW) == Ended(row)

    @pytest.mark.parametrize("kind", OperationKind)
    def test_what_runs_goes_on(self, kind: OperationKind) -> None:
        seen = summary(kind, "ours", GuestStatus.IN_PROGRESS)
        assert isinstance(judge(operation(kind), "vm-1", ON_VM, Evidence(view=seen), NOW), Going)


class TestSuperseded:
    """The URL of ours is of no use any more, and another install is the machine's last one."""

    def known(self, **changes: object) -> Operation:
        return operation(intent_time=NOW - NOT_STARTED_AFTER, **changes)

    def seen(self, status: GuestStatus, start: datetime | None = NOW, id_: str = "x") -> Evidence:
        return Evidence(view=view(installation=InstallationResult(status, start, activity_id=id_)))

    def test_ours_is_lost_when_the_newer_has_ended(self) -> None:
        runs, over = GuestStatus.IN_PROGRESS, GuestStatus.FAILED
        assert isinstance(judge(self.known(), "vm-1", ON_VM, self.seen(runs), NOW), Going)
        found = judge(self.known(), "vm-1", ON_VM, self.seen(over), NOW)
        assert found == Lost(LostReason.SUPERSEDED)

    @pytest.mark.parametrize(
        ("changes", "start", "id_"),
        [
            pytest.param({}, NOW - 17 * MINUTE, "x", id="it began before ours"),
            pytest.param({}, None, "x", id="it does not say when it began"),
            pytest.param({}, NOW, "BEFORE", id="it was there before ours"),
            pytest.param({"intent_time": NOW - 14 * MINUTE}, NOW, "x", id="ours may still show"),
            pytest.param({"kind": ASSESS}, NOW, "x", id="ours is an assessment"),
        ],
    )
    def test_it_is_followed_where(
        self, changes: dict[str, object], start: datetime | None, id_: str
    ) -> None:
        seen = self.seen(GuestStatus.SUCCEEDED, start, id_)
        found = judge(self.known().replace(**changes), "vm-1", ON_VM, seen, NOW)
        assert isinstance(found, Going)

    def test_a_url_that_was_not_read_this_time_will_still_tell(self) -> None:
        seen = replace(self.seen(GuestStatus.SUCCEEDED), unread=True)
        assert isinstance(judge(self.known(), "vm-1", ON_VM, seen, NOW), Going)


@pytest.mark.parametrize("kind", OperationKind)
class TestLost:
    @pytest.mark.parametrize(
        ("evidence", "reason"),
        [
            pytest.param(Evidence(view=view()), LostReason.DEADLINE, id="nothing to be seen"),
            pytest.param(Evidence(running=True), LostReason.DEADLINE, id="it still runs"),
            pytest.param(Evidence(denied=True), LostReason.ACCESS, id="Azure refuses to show it"),
        ],
    )
    def test_by_the_deadline(
        self, kind: OperationKind, evidence: Evidence, reason: LostReason
    ) -> None:
        known = operation(kind, deadline=NOW)
        assert isinstance(judge(known, "vm-1", ON_VM, evidence, NOW - MINUTE), Going)
        assert judge(known, "vm-1", ON_VM, evidence, NOW) == Lost(reason)

    def test_an_azure_that_does_not_answer_is_given_a_day_more(self, kind: OperationKind) -> None:
        """An operator that was away over the deadline finds the result, if it is there."""
        known = operation(kind, deadline=NOW)
        assert isinstance(judge(known, "vm-1", ON_VM, Evidence(), NOW + UNANSWERED - MINUTE), Going)
        found = judge(known, "vm-1", ON_VM, Evidence(), NOW + UNANSWERED)
        assert found == Lost(LostReason.DEADLINE)

    def test_a_result_by_the_deadline_counts(self, kind: OperationKind) -> None:
        error = OperationError("Oops", "It broke.")
        found = judge(operation(kind, deadline=NOW), "vm-1", ON_VM, Evidence(error=error), NOW)
        assert isinstance(found, Ended)

    def test_the_machine_is_gone(self, kind: OperationKind) -> None:
        found = judge(operation(kind), "vm-1", ON_VM, Evidence(machine_gone=True), NOW)
        assert found == Lost(LostReason.GONE)

    def test_another_machine_has_its_name(self, kind: OperationKind) -> None:
        seen = view(machine=machine(vm_id="vm-2"))
        found = judge(operation(kind), "vm-1", ON_VM, Evidence(view=seen), NOW)
        assert found == Lost(LostReason.REPLACED)

    @pytest.mark.parametrize(("seen", "known"), [("", "vm-1"), ("vm-1", ""), ("vm-1", None)])
    def test_an_answer_without_its_name_does_not_say_that_it_was_replaced(
        self, kind: OperationKind, seen: str, known: str | None
    ) -> None:
        answered = Evidence(view=view(machine=machine(vm_id=seen)))
        assert isinstance(judge(operation(kind), known, ON_VM, answered, NOW), Going)

    def test_the_same_machine_in_another_spelling_was_not_replaced(
        self, kind: OperationKind
    ) -> None:
        seen = view(machine=machine(vm_id="VM-1"))
        assert isinstance(judge(operation(kind), "vm-1", ON_VM, Evidence(view=seen), NOW), Going)


@pytest.mark.parametrize(
    ("known", "made", "followed"),
    [
        pytest.param(operation(INSTALL, operation_id="op-1"), NOW, True, id="it is that very one"),
        pytest.param(operation(INSTALL, operation_id="op-0"), NOW, False, id="it is another"),
        pytest.param(unanswered(INSTALL, MINUTE), NOW - MINUTE, True, id="no answer is known"),
        pytest.param(unanswered(INSTALL, MINUTE), NOW + 2 * MINUTE, False, id="made too late"),
        pytest.param(unanswered(INSTALL, MINUTE), None, False, id="nobody says when it was made"),
        pytest.param(unanswered(ASSESS, MINUTE), NOW - MINUTE, False, id="an assessment"),
    ],
)
def test_an_install_that_was_sent_to_the_machine_that_has_the_name_now_is_followed(
    known: Operation, made: datetime | None, followed: bool
) -> None:
    """It was made anew between the look before the POST, and the POST."""
    on_it = InstallationResult(GuestStatus.IN_PROGRESS, activity_id="op-1", start_time=NOW)
    seen = view(machine=machine(vm_id="vm-2", time_created=made), installation=on_it)
    found = judge(known, "vm-1", ON_VM, Evidence(view=seen), NOW)
    assert isinstance(found, Going if followed else Lost)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(view(), False, id="nothing ever ran"),
        pytest.param(summary(ASSESS, "a", GuestStatus.IN_PROGRESS), True, id="an assessment"),
        pytest.param(summary(INSTALL, "a", GuestStatus.IN_PROGRESS), True, id="an install"),
        pytest.param(summary(INSTALL, "a", GuestStatus.FAILED), False, id="one that ended"),
    ],
)
def test_somebodys_operation_runs(seen: MachineView, expected: bool) -> None:
    assert running(seen, None, NOW) is expected
    assert not running(seen, "A", NOW), "it is the one that has ended"


def test_a_row_that_nobody_will_end_is_not_taken_for_an_operation() -> None:
    stuck = InstallationResult(GuestStatus.IN_PROGRESS, NOW - 25 * HOUR, activity_id="a")
    assert not running(arc_view(installation=stuck), None, NOW)
    assert running(view(installation=stuck), None, NOW)


# --- whatever the evidence ------------------------------------------------------------------------

IDS = st.sampled_from(["before", "ours", "OURS", "someone", None])
TIMES = st.sampled_from([None, *(NOW - minutes * MINUTE for minutes in (0, 14, 15, 600))])
STATUSES = st.sampled_from(GuestStatus)
INSTALLS = st.builds(InstallationResult, STATUSES, activity_id=IDS, last_modified=TIMES)
ASSESSMENTS = st.builds(AssessmentResult, STATUSES, activity_id=IDS, last_modified=TIMES)
VIEWS = st.builds(
    view,
    assessment=st.none() | ASSESSMENTS,
    installation=st.none() | INSTALLS,
)
EVIDENCE = st.builds(
    Evidence,
    running=st.sampled_from([None, True]),
    view=st.none() | VIEWS,
    row=st.none() | INSTALLS,
    denied=st.booleans(),
)
OPERATIONS = st.builds(
    operation,
    st.sampled_from(OperationKind),
    operation_id=st.sampled_from(["ours", None]),
    previous_activity_id=st.sampled_from(["before", None]),
    intent_time=st.sampled_from([NOW - minutes * MINUTE for minutes in (0, 14, 15, 600)]),
    deadline=st.sampled_from([NOW, NOW + HOUR]),
)


def seen_of(kind: OperationKind, evidence: Evidence) -> str | None:
    if evidence.view is None:
        return None
    found = evidence.view.assessment if kind is ASSESS else evidence.view.installation
    return found.activity_id if found else None


@given(OPERATIONS, EVIDENCE)
def test_never_said_not_to_have_started_when_the_activity_id_changed(
    known: Operation, evidence: Evidence
) -> None:
    if judge(known, "vm-1", ON_VM, evidence, NOW) != NeverStarted():
        return
    assert known.operation_id is None, "what Azure took has started"
    assert evidence.view is not None, "nothing is concluded without a look"
    seen = seen_of(known.kind, evidence)
    assert seen is None or same_id(seen, known.previous_activity_id)
    assert NOW - known.intent_time >= NOT_STARTED_AFTER


@given(OPERATIONS, EVIDENCE)
def test_never_ended_with_someone_elses_install(known: Operation, evidence: Evidence) -> None:
    found = judge(known, "vm-1", ON_VM, evidence, NOW)
    if known.kind is ASSESS or not isinstance(found, Ended):
        return
    assert found.result.status.ended
    if known.operation_id is not None:
        assert same_id(found.result.activity_id, known.operation_id)
    else:
        assert found.result.activity_id is not None
        assert not same_id(found.result.activity_id, known.previous_activity_id)


@given(OPERATIONS, EVIDENCE)
def test_nothing_goes_on_for_ever(known: Operation, evidence: Evidence) -> None:
    found = judge(known, "vm-1", ON_VM, evidence, known.deadline + UNANSWERED)
    assert not isinstance(found, Going)


@given(OPERATIONS, EVIDENCE)
def test_a_known_operation_is_never_exchanged(known: Operation, evidence: Evidence) -> None:
    found = judge(known, "vm-1", ON_VM, evidence, NOW)
    if isinstance(found, Going) and known.operation_id is not None:
        assert found.operation == known
