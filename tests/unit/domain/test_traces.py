"""What an operation leaves behind on a machine of either kind, and how it is known again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NOW,
    SERVER,
    VM,
    arc_view,
    assessed,
    installed,
    operation,
    view,
)

from azpatch.api.target import Operation, OperationKind, OperationState, PatchTargetStatus
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    InstalledPatch,
    MachineView,
    OperationError,
    Requested,
)
from azpatch.domain.operation import (
    LOOK_EARLY,
    LOOK_INSTALL,
    ROW_AWAITED,
    UNANSWERED,
    Ended,
    Evidence,
    Going,
    Lost,
    LostReason,
    NeverStarted,
    judge,
    unrecorded,
)
from azpatch.domain.traces import (
    ARC_NOT_STARTED_AFTER,
    CLOCKS_DIFFER,
    SERVICE_BEHIND,
    Previous,
    before,
    same_id,
    shown_of,
    traces_of,
)

ASSESS, INSTALL = OperationKind.ASSESS, OperationKind.INSTALL
SUCCEEDED, FAILED, RUNS = GuestStatus.SUCCEEDED, GuestStatus.FAILED, GuestStatus.IN_PROGRESS
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
NOTHING = PatchTargetStatus()
ARC, COMPUTE = traces_of(SERVER.upper()), traces_of(VM)

Row = AssessmentResult | InstallationResult


def row(kind: OperationKind, start: datetime | None, id_: str = "new", **changes: Any) -> Row:
    """Resource Graph's row of an operation that succeeded five minutes after its start."""
    made = AssessmentResult if kind is ASSESS else InstallationResult
    end = start + 5 * MINUTE if start else None
    if kind is INSTALL:
        changes.setdefault("patches", ())
    fields = {"status": SUCCEEDED, "start_time": start, "last_modified": end, **changes}
    return made(activity_id=id_, **fields)


def shown(found: Row | None, **changes: Any) -> MachineView:
    """The server, with this row."""
    match found:
        case AssessmentResult():
            return arc_view(assessment=found, **changes)
        case InstallationResult():
            return arc_view(installation=found, **changes)
    return arc_view(**changes)


def asked(kind: OperationKind | None, time: datetime | None, id_: str = "new") -> Requested:
    return Requested(id_, kind, time)


LAST = asked(ASSESS, NOW - DAY, "before")
"""What was asked for last before our intent."""


def sent(kind: OperationKind, age: timedelta, **changes: Any) -> Operation:
    """An operation whose POST was not answered."""
    known = operation(kind, intent_time=NOW - age, operation_id=None, state=OperationState.INTENT)
    return known.replace(**changes)


def taken(kind: OperationKind, age: timedelta, **changes: Any) -> Operation:
    """One that Azure took, and whose URL was lost."""
    return sent(kind, age, state=OperationState.STARTED, **changes)


def of_arc(known: Operation, seen: MachineView | None = None, **evidence: Any) -> Any:
    return judge(known, "server-1", ARC, Evidence(view=seen, **evidence), NOW)


def in_doubt_to_the_end(kind: OperationKind) -> Lost | NeverStarted:
    """An assessment is sent again; of an install it is not known whether it began."""
    return NeverStarted() if kind is ASSESS else Lost(LostReason.DEADLINE)


def test_no_id_equals_nothing() -> None:
    assert same_id("A", "a")
    assert not same_id(None, None)
    assert not same_id("a", None)


class TestWhatIsWrittenDownBefore:
    """To compare with later."""

    @pytest.mark.parametrize(("kind", "expected"), [(ASSESS, "assessed"), (INSTALL, "installed")])
    def test_of_a_virtual_machine_the_last_activity_of_the_kind(
        self, kind: OperationKind, expected: str
    ) -> None:
        seen = view(
            assessment=AssessmentResult(SUCCEEDED, activity_id="assessed"),
            installation=InstallationResult(SUCCEEDED, activity_id="installed"),
        )
        assert before(kind, seen, NOTHING).activity_id == expected
        assert before(kind, view(), NOTHING) == Previous(None, None)

    @pytest.mark.parametrize(("kind", "expected"), [(ASSESS, "assessed"), (INSTALL, "installed")])
    def test_where_a_virtual_machine_shows_none_the_last_that_is_known(
        self, kind: OperationKind, expected: str
    ) -> None:
        known = PatchTargetStatus(
            assessment=assessed(activity_id="assessed"),
            installation=installed(activity_id="installed"),
        )
        assert before(kind, view(), known).activity_id == expected

    @pytest.mark.parametrize("kind", OperationKind)
    def test_of_an_arc_enabled_server_what_was_asked_for_last_else_the_newest_install(
        self, kind: OperationKind
    ) -> None:
        installed = row(INSTALL, NOW - DAY, "installed")
        requested = asked(ASSESS, NOW - HOUR, "requested")
        seen = shown(installed, requested=requested)
        assert before(kind, seen, NOTHING).activity_id == "requested"
        assert before(kind, shown(installed), NOTHING).activity_id == "installed"
        assert before(kind, arc_view(), NOTHING) == Previous(None, None)

    @pytest.mark.parametrize("kind", OperationKind)
    def test_when_the_last_of_the_kind_began(self, kind: OperationKind) -> None:
        assert before(kind, shown(row(kind, NOW - DAY)), NOTHING).start_time == NOW - DAY

    def test_an_operations_url_names_an_activity_of_a_virtual_machine_only(self) -> None:
        assert COMPUTE.activity("op-1") == "op-1"
        assert ARC.activity("op-1") is None


@pytest.mark.parametrize("kind", OperationKind)
class TestWithoutAnAnswer:
    """On an Arc-enabled server."""

    @pytest.mark.parametrize(
        ("requested", "start"),
        [
            pytest.param(True, None, id="it was asked for"),
            pytest.param(False, NOW - 50 * MINUTE, id="a row of its time is there"),
            pytest.param(True, NOW - 50 * MINUTE, id="both"),
        ],
    )
    def test_what_is_seen_to_have_begun_is_followed_as_unconfirmed(
        self, kind: OperationKind, requested: bool, start: datetime | None
    ) -> None:
        running = row(kind, start, status=RUNS, last_modified=None) if start else None
        request = asked(kind, NOW - 59 * MINUTE) if requested else None
        found = of_arc(sent(kind, HOUR), shown(running, requested=request))
        assert isinstance(found, Going)
        assert (found.operation.state, found.operation.operation_id) == (
            OperationState.UNCONFIRMED,
            "new",
        )

    @pytest.mark.parametrize(
        "evidence",
        [
            pytest.param({"time": NOW - HOUR - 6 * MINUTE}, id="asked for before"),
            pytest.param({"time": NOW, "id": "BEFORE"}, id="what was asked for before"),
            pytest.param({"time": NOW, "other": True}, id="the other kind was asked for"),
        ],
    )
    def test_another_request_is_believed_to_be_the_last_after_60_minutes(
        self, kind: OperationKind, evidence: dict[str, Any]
    ) -> None:
        assert ARC_NOT_STARTED_AFTER == HOUR
        seen = _no_evidence(kind, **evidence)
        early = sent(kind, HOUR - SECOND)
        assert of_arc(early, seen) == Going(early, LOOK_EARLY)
        assert of_arc(sent(kind, HOUR), seen) == NeverStarted()

    @pytest.mark.parametrize(
        "evidence",
        [
            pytest.param({}, id="nothing at all"),
            pytest.param({"start": NOW - HOUR - 2 * MINUTE}, id="a row from before"),
            pytest.param({"start": None, "row": True}, id="a row that says no time"),
            pytest.param({"start": NOW, "row_id": "BEFORE"}, id="the row of before, clock ahead"),
        ],
    )
    def test_without_a_request_nothing_says_that_it_did_not_begin(
        self, kind: OperationKind, evidence: dict[str, Any]
    ) -> None:
        """Resource Graph may stand still for longer than any operation lasts."""
        seen, known = _no_evidence(kind, **evidence), sent(kind, HOUR)
        assert of_arc(known, seen) == Going(known, LOOK_EARLY)
        assert of_arc(known.replace(deadline=NOW), seen) == in_doubt_to_the_end(kind)

    def test_what_began_no_later_than_what_was_there_before_is_not_ours_whatever_our_clock_says(
        self, kind: OperationKind
    ) -> None:
        known = sent(kind, 3 * HOUR, previous_activity_id=None)
        seen = shown(row(kind, NOW - HOUR, "others"))
        assert of_arc(known, seen) == Ended(shown_of(kind, seen))
        known = known.replace(previous_start_time=NOW - HOUR)
        assert isinstance(of_arc(known, seen), Going)

    @pytest.mark.parametrize(
        "evidence",
        [
            pytest.param({"time": None}, id="asked for at no known time"),
            pytest.param({"time": NOW, "unknown": True}, id="of no known kind"),
            pytest.param({"time": None, "unknown": True}, id="neither is known"),
        ],
    )
    def test_what_was_asked_for_since_and_may_be_ours_is_waited_for_until_the_deadline(
        self, kind: OperationKind, evidence: dict[str, Any]
    ) -> None:
        seen = _no_evidence(kind, **evidence)
        known = sent(kind, 90 * MINUTE)
        assert of_arc(known, seen) == Going(known, LOOK_EARLY)
        assert of_arc(known.replace(deadline=NOW), seen) == in_doubt_to_the_end(kind)

    def test_the_clock_that_times_requests_may_be_five_minutes_behind(
        self, kind: OperationKind
    ) -> None:
        assert SERVICE_BEHIND == 5 * MINUTE
        requested = asked(kind, NOW - HOUR - 5 * MINUTE)
        found = of_arc(sent(kind, HOUR), arc_view(requested=requested))
        assert isinstance(found, Going)
        assert found.operation.operation_id == "new"

    def test_whose_activity_is_known_is_answered_by_it_whatever_the_clock_says(
        self, kind: OperationKind
    ) -> None:
        ended = row(kind, NOW - 2 * HOUR, "OURS")
        known = sent(kind, HOUR, operation_id="ours")
        assert of_arc(known, shown(ended)) == Ended(ended)

    def test_azures_clock_may_be_a_minute_behind(self, kind: OperationKind) -> None:
        assert CLOCKS_DIFFER == MINUTE
        ended = row(kind, NOW - HOUR - MINUTE)
        assert of_arc(sent(kind, HOUR), shown(ended)) == Ended(ended)

    @pytest.mark.parametrize("since", [NOW - HOUR + SECOND, NOW])
    def test_only_time_in_which_the_server_was_heard_counts(
        self, kind: OperationKind, since: datetime
    ) -> None:
        intent = sent(kind, 90 * MINUTE)
        assert of_arc(intent, arc_view(since=since, requested=LAST)) == Going(intent, LOOK_EARLY)

    @pytest.mark.parametrize("status", ["Disconnected", "Expired", "Error", None])
    def test_one_that_is_cut_off_keeps_the_lock_until_the_deadline(
        self, kind: OperationKind, status: str | None
    ) -> None:
        intent, seen = sent(kind, 3 * HOUR), arc_view(status=status, requested=LAST)
        assert of_arc(intent, seen) == Going(intent, LOOK_EARLY)
        assert of_arc(intent.replace(deadline=NOW), seen) == in_doubt_to_the_end(kind)

    def test_a_row_that_has_ended_since_is_the_answer(self, kind: OperationKind) -> None:
        ended = row(kind, NOW - 50 * MINUTE)
        assert of_arc(sent(kind, HOUR), shown(ended)) == Ended(ended)


def _no_evidence(kind: OperationKind, **said: Any) -> MachineView:
    found = request = None
    if said.get("row") or said.get("start"):
        found = row(kind, said["start"], said.get("row_id", "new"), status=RUNS, last_modified=None)
    if "time" in said:
        other = INSTALL if kind is ASSESS else ASSESS
        asked_for = None if said.get("unknown") else other if said.get("other") else kind
        request = asked(asked_for, said["time"], said.get("id", "new"))
    return shown(found, requested=request)


@pytest.mark.parametrize("kind", OperationKind)
class TestTakenByAzureAndTheUrlLost:
    """On an Arc-enabled server, as after a restart."""

    def test_it_is_never_said_not_to_have_started(self, kind: OperationKind) -> None:
        found = of_arc(taken(kind, 100 * MINUTE), arc_view())
        assert isinstance(found, Going)
        assert found.operation.state is OperationState.STARTED
        assert found.look_after > LOOK_EARLY

    def test_its_activity_is_learnt_from_what_was_asked_for_and_it_stays_ours(
        self, kind: OperationKind
    ) -> None:
        seen = arc_view(requested=asked(kind, NOW - HOUR))
        found = of_arc(taken(kind, HOUR), seen)
        assert isinstance(found, Going)
        assert (found.operation.operation_id, found.operation.state) == (
            "new",
            OperationState.STARTED,
        )

    def test_it_ends_with_the_row_that_began_since(self, kind: OperationKind) -> None:
        ended = row(kind, NOW - 50 * MINUTE)
        assert of_arc(taken(kind, HOUR), shown(ended)) == Ended(ended)


@pytest.mark.parametrize("kind", OperationKind)
@pytest.mark.parametrize("url", [{"running": True}, {"unread": True}], ids=["runs", "unread"])
def test_as_long_as_its_url_is_there_no_row_answers_for_it(
    kind: OperationKind, url: dict[str, bool]
) -> None:
    """A person's install, a schedule's, or one that ours superseded, has ended since."""
    others = row(kind, NOW - 50 * MINUTE, "others")
    install = others if isinstance(others, InstallationResult) else None
    found = of_arc(taken(kind, HOUR), shown(others), row=install, **url)
    assert isinstance(found, Going)
    assert found.operation.operation_id is None


@pytest.mark.parametrize("kind", OperationKind)
def test_what_was_there_before_is_no_answer_whatever_the_guests_clock_says(
    kind: OperationKind,
) -> None:
    before, recorded = row(kind, NOW, "BEFORE"), row(kind, NOW, "RECORDED")
    assert isinstance(of_arc(taken(kind, HOUR), shown(before)), Going)
    install = recorded if isinstance(recorded, InstallationResult) else None
    evidence = Evidence(view=shown(recorded), row=install)
    status = PatchTargetStatus(
        assessment=assessed(activity_id="recorded"), installation=installed(activity_id="recorded")
    )
    left = unrecorded(evidence, status)
    assert left == Evidence(view=arc_view())
    assert unrecorded(evidence, PatchTargetStatus()) == evidence


@pytest.mark.parametrize("kind", OperationKind)
def test_on_a_virtual_machine_what_began_days_before_is_not_ours(kind: OperationKind) -> None:
    """None was shown before, and none was known."""
    made = AssessmentResult if kind is ASSESS else InstallationResult
    known = sent(kind, MINUTE, previous_activity_id=None)
    for age, expected in ((30 * DAY, None), (2 * HOUR, "new")):
        last = made(RUNS, start_time=NOW - age, activity_id="new")
        seen = view(**{"assessment" if kind is ASSESS else "installation": last})
        assert COMPUTE.began(known, seen) == expected
        assert not COMPUTE.answers(known, last) or (kind is ASSESS and expected == "new")


def test_an_error_of_ours_is_not_given_the_activity_of_what_still_runs() -> None:
    running = row(INSTALL, NOW - 50 * MINUTE, "others", status=RUNS)
    found = of_arc(taken(INSTALL, HOUR), row=running, error=OperationError("Oops", "It broke."))
    assert isinstance(found, Ended)
    assert found.result.activity_id is None


def test_an_install_that_began_since_and_is_known_not_to_be_ours_is_not_its_answer() -> None:
    ours = taken(INSTALL, HOUR, operation_id="ours")
    others = row(INSTALL, NOW - 50 * MINUTE, "others")
    assert of_arc(ours, shown(others)) == Lost(LostReason.SUPERSEDED)
    assert isinstance(of_arc(ours, arc_view(), row=others), Going)
    mine = replace(others, activity_id="OURS")
    assert of_arc(ours, arc_view(), row=mine) == Ended(mine)


def test_what_was_asked_for_is_read_before_a_row_that_was_there_already() -> None:
    """Our clock was behind when the intent was written: the row seems to have begun since."""
    others = row(INSTALL, NOW - 20 * MINUTE, "others")
    assert isinstance(others, InstallationResult)
    seen = shown(others, requested=asked(INSTALL, NOW - 18 * MINUTE))
    known = sent(INSTALL, HOUR, previous_start_time=others.start_time)
    found = of_arc(known, seen, row=others)
    assert isinstance(found, Going)
    assert found.operation.operation_id == "new"


class TestTheResultOfAnInstallOnAnArcEnabledServer:
    """It has counts, and no list of patches."""

    OURS = taken(INSTALL, HOUR)
    BROKEN = InstalledPatch("curl", "8.5", None, ("Security",), "Failed")

    def result(self, age: timedelta, failed: int) -> InstallationResult:
        return InstallationResult(
            FAILED if failed else SUCCEEDED,
            start_time=NOW - 50 * MINUTE,
            last_modified=NOW - age,
            activity_id="new",
            failed=failed,
        )

    def judged(self, result: InstallationResult, rows: Sequence[InstallationResult] = ()) -> Any:
        evidence = Evidence(running=False, result=result, row=next(iter(rows), None))
        return judge(self.OURS, "server-1", ARC, evidence, NOW)

    def test_where_nothing_failed_it_counts_at_once(self) -> None:
        result = self.result(timedelta(0), failed=0)
        assert self.judged(result) == Ended(result)

    def test_where_patches_failed_it_waits_a_while_for_their_names(self) -> None:
        young, old = (self.result(ROW_AWAITED - d, failed=1) for d in (SECOND, timedelta(0)))
        assert self.judged(young) == Going(self.OURS, LOOK_EARLY)
        assert self.judged(old) == Ended(old)

    def test_its_row_has_the_names(self) -> None:
        result = self.result(timedelta(0), failed=1)
        named = replace(result, patches=(self.BROKEN,))
        assert self.judged(result, [named]) == Ended(named)

    def test_another_installs_row_has_not(self) -> None:
        result = self.result(timedelta(0), failed=1)
        other = replace(result, activity_id="other", patches=(self.BROKEN,))
        assert isinstance(self.judged(result, [other]), Going)

    def test_one_that_failed_as_a_whole_counts_at_once(self) -> None:
        evidence = Evidence(error=OperationError("VMGuestPatchInternalError", "It broke."))
        found = judge(self.OURS, "server-1", ARC, evidence, NOW)
        assert isinstance(found, Ended)
        assert found.result.status is FAILED

    def test_its_row_tells_when_one_that_failed_as_a_whole_did(self) -> None:
        row = self.result(MINUTE, failed=1)
        error = OperationError("VMGuestPatchInternalError", "It broke.")
        found = judge(self.OURS, "server-1", ARC, Evidence(error=error, row=row), NOW)
        assert isinstance(found, Ended)
        told = found.result
        assert (told.start_time, told.last_modified) == (row.start_time, row.last_modified)
        assert told.error == error


def test_nothing_goes_on_for_ever() -> None:
    for kind in OperationKind:
        for known in (sent(kind, HOUR), taken(kind, HOUR)):
            late = known.deadline + UNANSWERED
            for seen in (None, arc_view(), arc_view(status="Disconnected")):
                found = judge(known, "server-1", ARC, Evidence(view=seen), late)
                assert isinstance(found, Lost | NeverStarted)


def test_while_it_runs_an_install_is_looked_at_as_seldom_as_one_on_a_virtual_machine() -> None:
    assert of_arc(taken(INSTALL, HOUR), arc_view()).look_after == LOOK_INSTALL
