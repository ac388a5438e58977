"""The journal's checkers see what they are for: each passes a good journal and fails a bad one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from judging.azure_journal import Entry, Event, Journal, Request, parse
from judging.invariants import (
    Leave,
    OpenTimes,
    Rollout,
    Verdict,
    at_most_one_in_flight,
    azure_writes,
    max_unavailable_kept,
    only_in_open_times,
    only_what_is_granted,
    verdicts_kept,
)

OURS = {"azpatch"}
START = datetime(2026, 12, 11, 22, 0, tzinfo=UTC)


def subscription_id(number: int) -> str:
    return f"5ab10000-0000-4000-8000-{number:012d}"


def vm_id(name: str, subscription: int = 1) -> str:
    return (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/rg-e2e"
        f"/providers/Microsoft.Compute/virtualMachines/{name}"
    )


WEB, DB = vm_id("web").lower(), vm_id("db").lower()
SERVER = WEB.replace("microsoft.compute/virtualmachines", "microsoft.hybridcompute/machines")


class Written:
    """Writes a journal, a minute between two entries unless told otherwise."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.time = START

    def request(
        self, method: str, path: str, principal: str | None = "azpatch", body: Any = None
    ) -> None:
        self._tick(timedelta(minutes=1))
        self.entries.append(
            Request(self._number, self.time, principal, method, path, 202, "attempt", body)
        )

    def start(
        self,
        kind: str,
        machine: str = WEB,
        id_: str = "1",
        by: str = "azpatch",
        after: timedelta = timedelta(minutes=2),
        vm_id: str = "vm",
    ) -> None:
        details = {"operation": kind, "principal": by, "vmId": vm_id}
        self.event("OperationStarted", machine, id_, after, **details)

    def end(
        self, machine: str = WEB, id_: str = "1", status: str = "Succeeded", **details: Any
    ) -> None:
        self.event("OperationEnded", machine, id_, timedelta(minutes=1), status=status, **details)

    def event(
        self, name: str, machine: str, id_: str | None, after: timedelta, /, **details: Any
    ) -> None:
        self._tick(after)
        self.entries.append(Event(self._number, self.time, machine, name, id_, "attempt", details))

    def assess(self, machine: str = WEB, id_: str = "a", status: str = "Succeeded") -> None:
        self.start("Assess", machine, id_)
        self.end(machine, id_, status)

    def install(self, machine: str = WEB, id_: str = "i", status: str = "Succeeded") -> None:
        self.start("Install", machine, id_)
        self.end(machine, id_, status, installedPatchCount=2)

    @property
    def journal(self) -> Journal:
        return Journal(self.entries)

    @property
    def _number(self) -> int:
        return len(self.entries) + 1

    def _tick(self, by: timedelta) -> None:
        self.time += by


@pytest.fixture
def written() -> Written:
    return Written()


# -- 1: one operation at a time ------------------------------------------------------------------


def test_one_operation_after_the_other_is_as_it_should_be(written: Written) -> None:
    written.assess(id_="a")
    written.install(id_="i")
    written.assess(DB, id_="b")
    assert at_most_one_in_flight(written.journal, OURS) == []


def test_an_operation_that_supersedes_another_is_seen(written: Written) -> None:
    written.start("Install", id_="first")
    written.event("OperationSuperseded", WEB, "first", timedelta(minutes=5), by="second")
    written.end(id_="first", status="Failed")
    written.start("Assess", id_="second", after=timedelta(0))
    assert len(at_most_one_in_flight(written.journal, OURS)) == 1


def test_an_operation_beside_one_that_has_not_ended_is_seen(written: Written) -> None:
    written.start("Install", id_="first")
    written.start("Install", id_="second")
    assert len(at_most_one_in_flight(written.journal, OURS)) == 1


@pytest.mark.parametrize(
    ("minutes", "broken"), [(0.5, 0), (2, 1)], ids=["unseen in time", "there to be seen"]
)
def test_a_foreign_operation_counts_once_it_could_be_seen(
    written: Written, minutes: float, broken: int
) -> None:
    written.start("Install", id_="theirs", by="someone")
    written.start("Install", id_="ours", after=timedelta(minutes=minutes))
    assert len(at_most_one_in_flight(written.journal, OURS)) == broken


@pytest.mark.parametrize(
    ("minutes", "shown_after", "broken"),
    [
        pytest.param(20, None, 0, id="its row is not there"),
        pytest.param(20, 19.5, 0, id="its row has just come"),
        pytest.param(20, 5, 1, id="its row was there to be seen"),
        pytest.param(26 * 60, 5, 0, id="a row that nobody believes any more"),
    ],
)
def test_on_an_arc_server_a_foreign_operation_counts_once_its_row_could_be_seen(
    written: Written, minutes: float, shown_after: float | None, broken: int
) -> None:
    written.start("Install", SERVER, "theirs", by="someone")
    began = written.time
    written.start("Install", SERVER, "ours", after=timedelta(minutes=minutes))
    shown = {} if shown_after is None else {"theirs": began + timedelta(minutes=shown_after)}
    assert len(at_most_one_in_flight(written.journal, OURS, shown)) == broken


@pytest.mark.parametrize(("minutes", "broken"), [(10, 0), (12, 1)])
def test_where_nobody_followed_its_rows_they_are_taken_to_be_late(
    written: Written, minutes: float, broken: int
) -> None:
    written.start("Install", SERVER, "theirs", by="someone")
    written.start("Install", SERVER, "ours", after=timedelta(minutes=minutes))
    assert len(at_most_one_in_flight(written.journal, OURS)) == broken


def test_what_waits_for_its_agent_is_judged_by_when_it_was_sent(written: Written) -> None:
    written.start("Install", SERVER, "theirs", by="someone")
    began = written.time
    written.request("POST", f"{SERVER}/assessPatches")
    written.start("Assess", SERVER, "ours", after=timedelta(minutes=20))
    for minutes, broken in ((5, 0), (-1, 1)):
        shown = {"theirs": began + timedelta(minutes=minutes)}
        assert len(at_most_one_in_flight(written.journal, OURS, shown)) == broken


def test_a_foreign_operation_begun_beside_ours_is_not_our_doing(written: Written) -> None:
    written.start("Install", id_="ours")
    written.start("Install", id_="theirs", by="someone")
    assert at_most_one_in_flight(written.journal, OURS) == []


# -- 3: maxUnavailable ---------------------------------------------------------------------------

ONE_OF_TWO = [Rollout("web", frozenset({WEB, DB}), 1)]


def test_the_next_machine_may_start_when_the_last_was_assessed_again(written: Written) -> None:
    written.install(WEB, "i1")
    written.assess(WEB, "a1")
    written.install(DB, "i2")
    assert max_unavailable_kept(written.journal, ONE_OF_TWO, OURS) == []


def test_an_install_before_the_last_machine_was_assessed_again_is_seen(written: Written) -> None:
    written.install(WEB, "i1")
    written.start("Assess", WEB, "a1")
    written.install(DB, "i2")
    written.end(WEB, "a1")
    [broken] = max_unavailable_kept(written.journal, ONE_OF_TWO, OURS)
    assert "2 machines unavailable, 1 allowed" in broken


def test_an_assessment_begun_before_the_install_ended_does_not_free_the_slot(
    written: Written,
) -> None:
    written.start("Assess", WEB, "a1")
    written.install(WEB, "i1")
    written.end(WEB, "a1")
    written.install(DB, "i2")
    assert len(max_unavailable_kept(written.journal, ONE_OF_TWO, OURS)) == 1


@pytest.mark.parametrize(("assessment", "broken"), [("Succeeded", 0), ("Failed", 1)])
def test_a_failed_install_keeps_its_slot_until_an_assessment_succeeds(
    written: Written, assessment: str, broken: int
) -> None:
    written.install(WEB, "i1", "Failed")
    written.assess(WEB, "a1", assessment)
    written.install(DB, "i2")
    assert len(max_unavailable_kept(written.journal, ONE_OF_TWO, OURS)) == broken


@pytest.mark.parametrize(
    ("result", "broken"),
    [
        ({"rebootStatus": "Required", "failedPatchCount": 0}, 0),
        ({"rebootStatus": "Required", "failedPatchCount": 1}, 1),
        ({"rebootStatus": "Required", "maintenanceWindowExceeded": True}, 1),
        ({"rebootStatus": "NotNeeded"}, 1),
    ],
    ids=["a reboot is left", "a patch failed too", "time ran out too", "of another kind"],
)
def test_a_warning_of_a_reboot_alone_is_no_failure(
    written: Written, result: dict[str, Any], broken: int
) -> None:
    written.start("Install", WEB, "i1")
    written.end(WEB, "i1", "CompletedWithWarnings", **result)
    written.assess(WEB, "a1", "Failed")
    written.install(DB, "i2")
    assert len(max_unavailable_kept(written.journal, ONE_OF_TWO, OURS)) == broken


@pytest.mark.parametrize(("looked", "broken"), [(True, 1), (False, 0)])
def test_a_foreign_install_takes_a_slot_once_it_was_seen(
    written: Written, looked: bool, broken: int
) -> None:
    written.start("Install", WEB, "theirs", by="someone")
    if looked:
        written.request("GET", WEB)
    written.install(DB, "ours")
    written.end(WEB, "theirs")
    assert len(max_unavailable_kept(written.journal, ONE_OF_TWO, OURS)) == broken


@pytest.mark.parametrize(("minutes", "broken"), [(9, 0), (11, 1)])
def test_on_an_arc_enabled_server_it_was_seen_once_its_row_was_there(
    written: Written, minutes: int, broken: int
) -> None:
    one_of_two = [Rollout("web", frozenset({SERVER, DB}), 1)]
    written.start("Install", SERVER, "theirs", by="someone")
    written.time += timedelta(minutes=minutes - 1)
    written.request("GET", SERVER)
    written.install(DB, "ours")
    assert len(max_unavailable_kept(written.journal, one_of_two, OURS)) == broken


def test_what_the_cluster_has_forgotten_takes_no_slot(written: Written) -> None:
    written.start("Install", WEB, "i1")
    written.end(WEB, "i1")
    forgotten = [(WEB, written.journal.end + 1)]
    written.install(DB, "i2")
    kept = max_unavailable_kept(written.journal, ONE_OF_TWO, OURS, forgotten=forgotten)
    assert len(kept) == 0


@pytest.mark.parametrize(("looked", "broken"), [(True, 1), (False, 0)])
def test_what_was_forgotten_and_still_runs_takes_a_slot_once_it_was_seen_anew(
    written: Written, looked: bool, broken: int
) -> None:
    written.start("Install", WEB, "i1")
    written.request("GET", WEB)
    forgotten = [(WEB, written.journal.end)]
    written.request("GET", WEB if looked else DB)
    written.install(DB, "i2")
    kept = max_unavailable_kept(written.journal, ONE_OF_TWO, OURS, forgotten=forgotten)
    assert len(kept) == broken


def test_evidence_is_of_one_machine_not_of_a_name(written: Written) -> None:
    written.assess(WEB, "a1")
    written.start("Install", WEB, "i1", vm_id="another")
    assert verdicts_kept(written.journal, [Verdict(WEB, assess=True, install=True)], OURS)


def test_a_deleted_machine_frees_its_slot(written: Written) -> None:
    written.start("Install", WEB, "i1")
    written.end(WEB, "i1", "Deleted")
    written.event("MachineDeleted", WEB, None, timedelta(0))
    written.install(DB, "i2")
    assert max_unavailable_kept(written.journal, ONE_OF_TWO, OURS) == []


def test_machines_of_other_policies_take_no_slot(written: Written) -> None:
    written.start("Install", WEB, "i1")
    written.start("Install", DB, "i2")
    alone = [Rollout("web", frozenset({WEB}), 1), Rollout("db", frozenset({DB}), 1)]
    assert max_unavailable_kept(written.journal, alone, OURS) == []


def test_a_groups_machines_count_under_whatever_policy(written: Written) -> None:
    """DB is another policy's, and its installs are not this policy's to answer for."""
    group = [Rollout("web", frozenset({WEB, DB}), 1, starts=frozenset({WEB}))]
    written.install(WEB, "i1")
    written.install(DB, "i2")
    written.assess(WEB, "a1")
    assert max_unavailable_kept(written.journal, group, OURS) == []
    written.install(WEB, "i3")
    [broken] = max_unavailable_kept(written.journal, group, OURS)
    assert broken.startswith("web: 2 machines unavailable, 1 allowed")


def test_a_groups_machine_that_failed_counts_until_an_assessment_succeeds(
    written: Written,
) -> None:
    group = [Rollout("web", frozenset({WEB, DB}), 1, starts=frozenset({WEB}))]
    written.install(DB, "i1", "Failed")
    written.assess(DB, "a1", "Failed")
    written.install(WEB, "i2")
    assert len(max_unavailable_kept(written.journal, group, OURS)) == 1


# -- 5: verdicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "broken"),
    [
        (Verdict(WEB, assess=True, install=True), 0),
        (Verdict(WEB, assess=True, install=False), 1),
        (Verdict(WEB, assess=False, install=False), 2),
        (Verdict(DB, assess=False, install=False), 0),
    ],
    ids=["both allowed", "no install", "nothing", "another machine"],
)
def test_a_request_that_the_verdict_forbids_is_seen(
    written: Written, verdict: Verdict, broken: int
) -> None:
    written.request("POST", f"{vm_id('Web')}/assessPatches")
    written.request("POST", f"{vm_id('Web')}/installPatches")
    written.request("POST", f"{vm_id('Web')}/installPatches", principal="someone")
    assert len(verdicts_kept(written.journal, [verdict], OURS)) == broken


@pytest.mark.parametrize(
    ("before", "assessments", "broken"),
    [(False, ["Succeeded"], 0), (True, [], 0), (False, ["Failed"], 1), (False, [], 1)],
    ids=["assessed", "assessed before", "assessment failed", "never assessed"],
)
def test_an_install_without_an_assessment_before_it_is_seen(
    written: Written, before: bool, assessments: list[str], broken: int
) -> None:
    for status in assessments:
        written.assess(status=status)
    written.install()
    verdict = Verdict(WEB, assess=True, install=True, assessed_before=before)
    assert len(verdicts_kept(written.journal, [verdict], OURS)) == broken


def test_a_second_install_without_an_assessment_between_is_seen(written: Written) -> None:
    written.assess()
    written.install(id_="i1")
    written.install(id_="i2")
    verdict = Verdict(WEB, assess=True, install=True)
    assert len(verdicts_kept(written.journal, [verdict], OURS)) == 1


# -- 7: grants and identities --------------------------------------------------------------------

MINE = {"azpatch": [subscription_id(1)]}
_COMPUTE = "providers/Microsoft.Compute"
GALLERY = f"/subscriptions/{subscription_id(2)}/resourceGroups/rg/{_COMPUTE}/galleries/g"
SHARED = f"/subscriptions/{subscription_id(2)}/{_COMPUTE}/locations/westeurope/sharedGalleries/g"


@pytest.mark.parametrize(
    ("leaves", "broken"),
    [
        ([Leave(WEB)], 0),
        ([], 1),
        ([Leave(DB)], 1),
        ([Leave(WEB, frozenset({"Assess"}))], 1),
        ([Leave(WEB, last=1)], 1),
        ([Leave(WEB, first=3)], 1),
    ],
    ids=["granted", "no grant", "another machine", "assess only", "taken away", "given later"],
)
def test_a_request_without_leave_is_seen(
    written: Written, leaves: list[Leave], broken: int
) -> None:
    written.request("GET", vm_id("web"))
    written.request("POST", f"{vm_id('web')}/installPatches")
    assert len(only_what_is_granted(written.journal, leaves, MINE)) == broken


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/subscriptions/{subscription_id(2)}/providers/Microsoft.Features/features", None),
        (
            "/providers/Microsoft.ResourceGraph/resources",
            {"subscriptions": [subscription_id(1), subscription_id(2)]},
        ),
    ],
    ids=["in the path", "in a query's scope"],
)
def test_an_identity_used_for_another_subscription_is_seen(
    written: Written, path: str, body: Any
) -> None:
    written.request("POST", path, body=body)
    assert len(only_what_is_granted(written.journal, [], MINE)) == 1
    both = {"azpatch": [subscription_id(1), subscription_id(2)]}
    assert only_what_is_granted(written.journal, [], both) == []


@pytest.mark.parametrize(
    ("method", "path", "broken"),
    [
        ("GET", f"{GALLERY}/images/web", 0),
        ("GET", f"{SHARED}/images/web", 1),
        ("GET", GALLERY, 1),
        ("GET", f"{GALLERY}/images/web/versions/1.0.0", 1),
        ("DELETE", f"{GALLERY}/images/web", 1),
    ],
    ids=["a definition", "a shared one in their name", "a gallery", "a version", "no read"],
)
def test_only_image_definitions_are_read_wherever_they_lie(
    written: Written, method: str, path: str, broken: int
) -> None:
    written.request(method, path)
    assert len(only_what_is_granted(written.journal, [], MINE)) == broken


# -- 8: silence ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "principal", "writes"),
    [
        ("GET", vm_id("web"), "azpatch", 0),
        ("POST", "/providers/Microsoft.ResourceGraph/resources", "azpatch", 0),
        ("POST", "/tenant/oauth2/v2.0/token", None, 0),
        ("POST", f"{vm_id('web')}/assessPatches", "azpatch", 1),
        ("PUT", vm_id("web"), "azpatch", 1),
        ("POST", f"{vm_id('web')}/assessPatches", "someone", 0),
        ("POST", f"{vm_id('web')}/assessPatches", None, 1),
    ],
    ids=["read", "query", "sign-in", "assess", "write", "someone else's", "without a token"],
)
def test_a_write_to_azure_is_seen(
    written: Written, method: str, path: str, principal: str | None, writes: int
) -> None:
    written.request(method, path, principal)
    assert len(azure_writes(written.journal, OURS)) == writes


# -- reading -------------------------------------------------------------------------------------


def test_a_line_of_azsim_is_read_as_it_was_written() -> None:
    line = {
        "number": 7,
        "time": "2026-12-11T22:00:00.5Z",
        "kind": "request",
        "principal": "azpatch",
        "clientId": "c",
        "method": "POST",
        "path": f"{vm_id('Web')}/installPatches",
        "query": {},
        "status": 202,
        "errorCode": None,
        "clientRequestId": "attempt",
        "requestId": "r",
        "body": {},
    }
    request = parse(line, before=10)
    assert isinstance(request, Request)
    assert request.number == 17
    assert request.patches == (WEB, "Install")


@pytest.mark.parametrize(
    ("at", "kind", "good"),
    [
        pytest.param(timedelta(0), "install", True, id="as the window opens"),
        pytest.param(-timedelta(seconds=1), "install", False, id="before it opens"),
        pytest.param(timedelta(hours=2), "install", True, id="it just fits"),
        pytest.param(timedelta(hours=2, seconds=59), "install", True, id="its intent just fitted"),
        pytest.param(timedelta(hours=2, minutes=2), "install", False, id="it no longer fits"),
        pytest.param(timedelta(hours=12), "assess", True, id="an assessment, at any time"),
    ],
)
def test_installs_outside_windows_are_seen(at: timedelta, kind: str, good: bool) -> None:
    journal = Written()
    journal.time = START + at - timedelta(minutes=1)
    journal.request("POST", f"{WEB}/{kind}Patches")
    times = OpenTimes(frozenset({"web"}), [(START, START + timedelta(hours=4))], timedelta(hours=2))

    found = only_in_open_times(Journal(journal.entries), [times], OURS)

    assert (found == []) is good
