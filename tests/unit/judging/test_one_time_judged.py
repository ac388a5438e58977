"""The checkers of runs that people make see what they are for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from judging import runs
from judging.azure_journal import Event, Journal

START = datetime(2026, 12, 11, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
WINDOWS = [{"name": "evening"}, {"name": "night"}]
SCHEDULE = {"windows": WINDOWS, "freezes": [{"name": "peak"}]}
WAVE: dict[str, Any] = {"name": "all"}
NIGHTLY = {"name": "canary", "windows": ["night"]}
POLICY = {"metadata": {"uid": "1", "name": "web", "namespace": "shop"}, "spec": {}}


def asked(*, over: str | None = None, began: str | None = None, **spec: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": over} if over else {}
    return {
        "metadata": {"name": "now", "namespace": "shop"},
        "spec": {"policyRef": {"name": "web"}, **spec},
        "status": {**status, **({"startTime": began} if began else {})},
    }


def lifted(**what: bool) -> dict[str, Any]:
    return {"override": {**what, "reason": "CVE"}}


# --- whose it is, and for whom --------------------------------------------------------------------


def test_a_persons_run_is_of_the_policy_with_that_name_in_its_namespace() -> None:
    elsewhere = {**POLICY, "metadata": {**POLICY["metadata"], "namespace": "bank"}}
    another = {**POLICY, "metadata": {**POLICY["metadata"], "name": "db"}}
    assert runs.belongs(asked(), POLICY)
    assert not runs.belongs(asked(), elsewhere)
    assert not runs.belongs(asked(), another)


def test_a_policys_own_run_is_of_whoever_made_it() -> None:
    run = asked()
    run["metadata"]["ownerReferences"] = [{"kind": "PatchPolicy", "uid": "0"}]
    assert not runs.is_one_time(run)
    assert not runs.belongs(run, POLICY), "of a policy that had its name before"


def test_machines_are_named_without_case() -> None:
    run = asked(machines={"ids": ["/SUB/VM-1"]})
    assert runs.is_for(run, "/sub/vm-1")
    assert not runs.is_for(run, "/sub/vm-2")
    assert runs.is_for(asked(machines={"all": {}}), "/sub/vm-2")


# --- what does not hold for it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "wave", "held"),
    [
        pytest.param({}, WAVE, SCHEDULE, id="nothing"),
        pytest.param(
            {}, NIGHTLY, {**SCHEDULE, "windows": WINDOWS[1:]}, id="a wave has windows of its own"
        ),
        pytest.param(
            {"start": "Immediate"},
            WAVE,
            {"always": {}, "freezes": SCHEDULE["freezes"]},
            id="Immediate lifts the policy's windows, and no freezes",
        ),
        pytest.param(
            {"start": "Immediate"},
            NIGHTLY,
            {**SCHEDULE, "windows": WINDOWS[1:]},
            id="not those of a wave",
        ),
        pytest.param(
            lifted(windows=True),
            NIGHTLY,
            {"always": {}, "freezes": SCHEDULE["freezes"]},
            id="an override lifts them all",
        ),
        pytest.param(lifted(freezes=True), WAVE, {"windows": WINDOWS}, id="or freezes"),
    ],
)
def test_a_run_lifts_what_it_says(spec: Any, wave: Any, held: Any) -> None:
    assert runs.with_lifted(asked(**spec), wave, SCHEDULE) == held


def test_a_machine_in_such_a_run_waits_for_its_turn_though_the_policy_has_no_windows() -> None:
    policy = {**POLICY, "spec": {"schedule": {"always": {}}}}
    run = asked(over="Running", cancelled=True)
    run["status"]["effective"] = {"rollout": {}}
    entry = {"name": "now", "wave": "all", "state": "Pending"}
    assert runs.not_its_turn(policy, run, entry) == "its PatchRun is cancelled"
    assert runs.not_its_turn(policy, run, {**entry, "state": "Skipped"}) is None


# --- when it begins -------------------------------------------------------------------------------


def late(run: Any, after: timedelta = timedelta(0)) -> list[str]:
    return runs.begun_too_late(run, START + after, timedelta(0), 10 * MINUTE)


def test_a_run_begins_by_not_after() -> None:
    until = {"notAfter": "2026-12-11T22:00:00Z"}
    assert late(asked(**until)) == []
    assert late(asked(began="2026-12-11T21:59:59Z", **until)) == []
    assert "notAfter is" in late(asked(began="2026-12-11T22:00:01Z", **until))[0]
    antedated = asked(began="2026-12-11T21:00:00Z", **until)
    assert "notAfter is" in late(antedated, HOUR)[0], "what it says of itself is not believed"


def test_a_run_without_not_after_does_not_begin() -> None:
    assert late(asked(began="2026-12-11T21:00:00Z")) == ["now was let in without notAfter"]


# --- what an Assess run came to -------------------------------------------------------------------


def journal(began: datetime, status: str = "Succeeded") -> Journal:
    details = {"operation": "Assess", "principal": "azpatch", "vmId": "vm"}
    return Journal(
        [
            Event(1, began, "vm-1", "OperationStarted", "id", None, details),
            Event(2, began + MINUTE, "vm-1", "OperationEnded", "id", None, {"status": status}),
        ]
    )


def assessed(run: Any, written: Journal, **counts: int) -> list[str]:
    run["status"]["machines"] = counts
    return runs.wrongly_assessed(run, ["vm-1", "vm-2"], written)


def test_an_assess_run_counts_who_was_assessed_after_it_began() -> None:
    done = {"over": "Succeeded", "began": "2026-12-11T22:00:00Z"}
    assert assessed(asked(**done), journal(START + MINUTE), succeeded=1) == []
    for wrong in (journal(START - MINUTE), journal(START + MINUTE, "Failed")):
        assert (
            "counts 1 machines as assessed, and 0" in assessed(asked(**done), wrong, succeeded=1)[0]
        )
    others = asked(machines={"ids": ["vm-2"]}, **done)
    assert assessed(others, journal(START + MINUTE), succeeded=1) != []


def test_an_assess_run_with_failures_has_not_succeeded() -> None:
    done = {"over": "Succeeded", "began": "2026-12-11T22:00:00Z"}
    assert assessed(asked(**done), journal(START), succeeded=1, failed=1) == [
        "now succeeded, with failures"
    ]
