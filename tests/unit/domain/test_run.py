"""One execution of a policy: its phases, its gates, what pauses it and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NOW,
    entry,
    installed,
    member,
    numbered,
    patch_policy,
    patch_run,
    patch_target,
    terms,
)
from run_story import (
    CANARY_AND_REST,
    FAILED,
    MINUTE,
    OPEN,
    PENDING,
    RUNNING,
    SHUT,
    SKIPPED,
    SUCCEEDED,
    Story,
    canary,
    facts,
    rest,
    story,
)

from azpatch.api.common import status_json
from azpatch.api.reasons import Reason
from azpatch.api.run import FAILURES_LISTED, PatchRun, PatchRunStatus
from azpatch.api.target import AzureError, PatchTargetStatus, RunState
from azpatch.domain.opening import Opening, Shut
from azpatch.domain.run import TAGS_AGAIN, admitted, progress, without_policy
from azpatch.domain.run_facts import RunMember, members_of

# --- membership -----------------------------------------------------------------------------------


def test_terms_are_the_policys_as_they_are_when_it_begins() -> None:
    policy = patch_policy(rollout={"maxFailed": 1})

    assert admitted(policy) == terms(maxFailed=1)
    assert admitted(patch_policy()).rollout == terms().rollout


def test_nothing_begins_before_all_members_are_recorded() -> None:
    told = Story()
    told.goes_on([canary(1, PENDING)], awaited=3)

    assert told.seen == ("Waiting", "RecordingMembers")
    assert "3 machines of 4" in told.message
    assert told.status.membership is None
    assert told.begun == []


def test_first_of_all_its_terms_are_written_down() -> None:
    found = progress(patch_run(), "uid-1", CANARY_AND_REST, facts([]), NOW).status

    assert (found.phase, found.effective) == ("Waiting", CANARY_AND_REST)
    assert [one.message for one in found.conditions] == [
        "Its terms are written down; its machines are told next."
    ]


def test_the_members_are_counted_once_and_the_first_wave_begins() -> None:
    told = Story()
    told.goes_on([canary(1, PENDING), rest(2)], at=NOW)
    told.goes_on([canary(1, PENDING), rest(2), rest(3)], at=NOW + HOUR)

    assert told.status.membership is not None
    assert (told.status.membership.total, told.status.membership.recorded_time) == (2, NOW)
    assert told.begun == ["canary"]
    assert told.seen == ("Running", "RunUnderWay")
    assert told.status.start_time == NOW


def test_when_it_began_stays_whatever_the_clock_says_later() -> None:
    told = story([canary(1, RUNNING), rest(2)])

    told.goes_on([canary(1, SUCCEEDED, ended=NOW - 2 * DAY), rest(2)], at=NOW - HOUR)

    assert told.begun == ["canary", "rest"]
    assert told.status.start_time == NOW


def test_in_a_freeze_the_first_wave_waits() -> None:
    told = Story()
    told.goes_on([canary(1, PENDING)], Shut(Reason.FROZEN, "Freeze peak holds.", NOW + DAY))

    assert told.seen == ("Waiting", "Frozen")
    assert told.begun == []


def test_a_run_of_which_no_machine_is_due_any_more_is_over() -> None:
    told = Story()
    told.goes_on([])

    assert told.seen == ("Succeeded", "Complete")


# --- the gate -------------------------------------------------------------------------------------

WAITS = "waits"
GATES: Sequence[Any] = [
    pytest.param({}, [SUCCEEDED, SUCCEEDED], "Running", id="all succeeded"),
    pytest.param({}, [SUCCEEDED, RUNNING], WAITS, id="one still runs"),
    pytest.param({}, [SUCCEEDED, PENDING], WAITS, id="one has not had its turn"),
    pytest.param({}, [SUCCEEDED] * 4 + [SKIPPED], "Running", id="four of five are 80 percent"),
    pytest.param({}, [SUCCEEDED] * 3 + [SKIPPED], "Failed", id="three of four are not"),
    pytest.param({}, [SKIPPED, SKIPPED], "Failed", id="nobody succeeded"),
    pytest.param({"minSucceeded": 1}, [SUCCEEDED, SKIPPED, SKIPPED], "Running", id="a count"),
    pytest.param({"minSucceeded": 3}, [SUCCEEDED, SUCCEEDED], "Running", id="more than there are"),
    pytest.param({"minSucceeded": 2}, [SUCCEEDED, SKIPPED], "Failed", id="less than the count"),
    pytest.param(
        {"minSucceeded": "1%"}, [SKIPPED, SKIPPED, SKIPPED], "Failed", id="one success at least"
    ),
    pytest.param(
        {"minSucceeded": "50%"}, [SUCCEEDED, SUCCEEDED, SKIPPED], "Running", id="rounded up: 2 of 3"
    ),
    pytest.param(
        {"minSucceeded": "50%"}, [SUCCEEDED, SKIPPED, SKIPPED], "Failed", id="rounded up: 1 of 3"
    ),
    pytest.param(
        {"minSucceeded": 1}, [SUCCEEDED, FAILED], "Running", id="a failure that maxFailed allows"
    ),
    pytest.param({}, [SUCCEEDED, FAILED], "Paused", id="a failure without which it would pass"),
    pytest.param({}, [FAILED, FAILED], "Failed", id="failures without a success"),
]


@pytest.mark.parametrize(("rollout", "states", "expected"), GATES)
def test_the_next_wave_begins_when_the_one_before_vouches_for_it(
    rollout: Mapping[str, Any], states: Sequence[RunState], expected: str
) -> None:
    waves = [{"name": "canary", "machines": 1}, {"name": "rest", "machines": "100%"}]
    canaries = [canary(number, state) for number, state in enumerate(states)]

    told = story([*canaries, rest(99)], terms(waves=waves, **rollout))

    assert told.begun == (["canary", "rest"] if expected == "Running" else ["canary"])
    assert told.status.phase == ("Running" if expected == WAITS else expected)
    if expected in ("Paused", "Failed"):
        assert told.seen[1] == "GateNotPassed"


def test_one_that_did_not_come_back_stops_the_run_however_many_succeeded() -> None:
    effective = terms(
        minSucceeded=1,
        maxFailed="100%",
        waves=[{"name": "canary", "machines": 2}, {"name": "rest", "machines": "100%"}],
    )

    told = story([canary(1, SUCCEEDED), canary(2, FAILED, Reason.NOT_BACK), rest(3)], effective)

    assert told.seen == ("Paused", "NotBack")
    assert "web-2 did not come back" in told.message
    assert told.begun == ["canary"]


def test_a_wave_by_tags_that_nobody_carries_vouches_for_nothing() -> None:
    waves = [{"name": "ring", "tags": {"ring": ["0"]}}, {"name": "rest", "machines": "100%"}]

    told = Story(terms(waves=waves))
    told.goes_on([rest(1), rest(2)])

    assert told.seen == ("Failed", "GateNotPassed")
    assert "ring has no machine" in told.message


def test_one_whose_machines_are_all_compliant_is_passed_over() -> None:
    waves = [{"name": "ring", "tags": {"ring": ["0"]}}, {"name": "rest", "machines": "100%"}]
    told = Story(terms(waves=waves))
    told.goes_on([rest(1)], up_to_date=frozenset({"ring"}))

    assert told.begun == ["rest"]
    told.goes_on([rest(1)])
    assert told.begun == ["rest"], "also when one of them is due again"


def test_while_the_tags_of_a_machine_are_not_known_a_wave_by_tags_is_waited_for() -> None:
    waves = [{"name": "ring", "tags": {"ring": ["0"]}}, {"name": "rest", "machines": "100%"}]
    told = Story(terms(waves=waves))

    found = told.goes_on([rest(1)], untold=frozenset({"ring"}))
    assert told.seen == ("Waiting", "InventoryPending")
    assert told.begun == []
    assert found.again == NOW + TAGS_AGAIN
    told.goes_on([rest(1, SKIPPED, Reason.UP_TO_DATE)], untold=frozenset({"ring"}))
    assert told.seen == ("Succeeded", "Complete"), "nobody waits for it any more"
    told = Story(terms(waves=waves))
    told.goes_on([rest(1)], up_to_date=frozenset({"ring"}))
    assert told.begun == ["rest"]


def test_waves_at_the_end_that_have_no_machine_do_not_matter() -> None:
    told = story([canary(1, SUCCEEDED)])

    assert told.seen == ("Succeeded", "Complete")


def test_a_wave_whose_gate_has_opened_is_not_asked_again() -> None:
    """Its machines may have gone, or been built anew, while the next one is under way."""
    told = story([canary(1, SUCCEEDED), rest(2)])
    told.goes_on([canary(1, SUCCEEDED), rest(2)], at=NOW + DAY)
    assert told.begun == ["canary", "rest"]

    told.goes_on([rest(2, RUNNING)], at=NOW + DAY + HOUR)
    assert told.seen == ("Running", "RunUnderWay")
    told.goes_on([rest(2, SUCCEEDED)], at=NOW + DAY + 2 * HOUR)
    assert told.seen == ("Succeeded", "Complete")


def test_a_failure_in_a_later_wave_does_not_close_a_gate_that_somebody_opened() -> None:
    canaries = [canary(1, SUCCEEDED), canary(2, FAILED)]
    told = story([*canaries, rest(3), rest(4)])
    told.says(acknowledgedFailures=1)
    told.goes_on([*canaries, rest(3), rest(4)], at=NOW + DAY)

    told.goes_on([*canaries, rest(3, FAILED), rest(4)], at=NOW + DAY)

    assert told.seen == ("Running", "RunUnderWay"), "maxFailed allows two that nobody has seen to"


def test_a_canary_that_was_built_anew_after_its_success_still_vouches() -> None:
    """Of the machine that had its name nothing is known any more but that it succeeded."""
    told = story([canary(1, SUCCEEDED), rest(2)])
    forgotten = RunMember(numbered(1), entry(SUCCEEDED, wave="canary"), None)

    told.goes_on([forgotten, rest(2)], at=NOW + HOUR)
    assert told.seen == ("Waiting", "Soaking")
    told.goes_on([forgotten, rest(2)], at=NOW + DAY + HOUR)
    assert told.begun == ["canary", "rest"]


def test_a_wave_of_which_nothing_is_left_to_do_need_not_begin() -> None:
    """Somebody else patched its machines while it soaked, or waited for its window."""
    told = story([canary(1, SUCCEEDED), rest(2)])

    told.goes_on(
        [canary(1, SUCCEEDED), rest(2, SKIPPED, Reason.UP_TO_DATE)], SHUT, at=NOW + 2 * DAY
    )

    assert told.seen == ("Succeeded", "Complete")
    assert told.begun == ["canary"]


UP_TO_DATE = rest(3, SKIPPED, Reason.UP_TO_DATE)


@pytest.mark.parametrize(
    ("canaries", "others", "expected"),
    [
        pytest.param(
            [canary(1, SUCCEEDED)], [UP_TO_DATE], "Complete", id="a success, without its soak"
        ),
        pytest.param(
            [canary(1, SKIPPED)], [UP_TO_DATE], "Complete", id="a canary that vouches for nothing"
        ),
        pytest.param(
            [canary(1, FAILED)], [UP_TO_DATE], "Complete", id="a failure that maxFailed allows"
        ),
        pytest.param([], [UP_TO_DATE], "Complete", id="a wave without machines"),
        pytest.param(
            [canary(1, SUCCEEDED)], [UP_TO_DATE, rest(4)], "Soaking", id="a machine is left in it"
        ),
    ],
)
def test_a_wave_that_is_over_before_it_began_is_not_waited_for_after(
    canaries: Sequence[RunMember], others: Sequence[RunMember], expected: str
) -> None:
    told = story([*canaries, *others], at=NOW + HOUR)

    assert told.seen[1] == expected
    assert told.begun == (["canary"] if canaries else [])


THREE_WAVES = terms(
    waves=[
        {"name": "canary", "machines": 1, "soak": "24h"},
        {"name": "ring", "machines": 3},
        {"name": "rest", "machines": "100%"},
    ]
)


def ring(number: int, state: RunState, reason: str | None = None) -> RunMember:
    return member(number, state, reason, wave="ring")


def test_a_wave_between_others_that_somebody_else_patched_before_its_turn_is_passed_over() -> None:
    told = story([canary(1, SUCCEEDED), ring(2, PENDING), rest(3)], THREE_WAVES)
    patched = [canary(1, SUCCEEDED), ring(2, SKIPPED, Reason.UP_TO_DATE)]

    told.goes_on([*patched, rest(3)], at=NOW + HOUR)
    assert told.seen == ("Waiting", "Soaking"), "the canary's soak holds all the same"
    told.goes_on([*patched, rest(3)], at=NOW + DAY)
    assert told.begun == ["canary", "rest"]
    told.goes_on([*patched, rest(3, SUCCEEDED)], at=NOW + DAY + HOUR)
    assert told.seen == ("Succeeded", "Complete")


@pytest.mark.parametrize(
    "over",
    [
        pytest.param([ring(2, SKIPPED, Reason.VM_STOPPED)], id="a machine that was off"),
        pytest.param(
            [ring(2, SKIPPED, Reason.UP_TO_DATE), ring(3, SKIPPED, Reason.VM_STOPPED)],
            id="one that was patched, and one that was off",
        ),
        pytest.param(
            [ring(2, SKIPPED, Reason.NOTHING_PINNED)], id="one that others vouch nothing for"
        ),
    ],
)
def test_one_whose_machines_were_kept_off_before_its_turn_vouches_for_nothing(
    over: Sequence[RunMember],
) -> None:
    told = story([canary(1, SUCCEEDED), *over, rest(4)], THREE_WAVES)

    told.goes_on([canary(1, SUCCEEDED), *over, rest(4)], at=NOW + DAY)

    assert told.seen == ("Failed", "GateNotPassed")
    assert told.begun == ["canary"]


def test_nor_does_one_that_had_begun_when_its_machines_were_patched() -> None:
    told = story([canary(1, SUCCEEDED), ring(2, PENDING), rest(3)], THREE_WAVES)
    told.goes_on([canary(1, SUCCEEDED), ring(2, PENDING), rest(3)], at=NOW + DAY)
    assert told.begun == ["canary", "ring"]

    patched = [canary(1, SUCCEEDED), ring(2, SKIPPED, Reason.UP_TO_DATE)]
    told.goes_on([*patched, rest(3)], at=NOW + DAY + HOUR)

    assert told.seen == ("Failed", "GateNotPassed")


def test_whoever_goes_first_is_installed_on_by_the_run() -> None:
    """That somebody else patched it before is no rehearsal for the others."""
    told = Story(THREE_WAVES)

    told.goes_on([canary(1, SKIPPED, Reason.UP_TO_DATE), ring(2, PENDING), rest(3)])

    assert told.seen == ("Failed", "GateNotPassed")
    assert told.begun == []


# --- soak -----------------------------------------------------------------------------------------


def test_the_soak_counts_from_the_last_success() -> None:
    canaries = [canary(1, SUCCEEDED, ended=NOW), canary(2, SUCCEEDED, ended=NOW + 3 * HOUR)]
    told = story([*canaries, rest(3)], at=NOW + 4 * HOUR)

    assert told.seen == ("Waiting", "Soaking")
    assert "2026-11-24 15:00 UTC" in told.message
    found = told.goes_on([*canaries, rest(3)], SHUT, at=NOW + DAY + 3 * HOUR - MINUTE)
    assert told.begun == ["canary"]
    assert found.again is not None
    assert found.again <= NOW + DAY + 3 * HOUR
    told.goes_on([*canaries, rest(3)], at=NOW + DAY + 3 * HOUR)
    assert told.begun == ["canary", "rest"]


def test_after_its_soak_a_wave_waits_for_its_window() -> None:
    told = story([canary(1, SUCCEEDED), rest(2)])

    found = told.goes_on([canary(1, SUCCEEDED), rest(2)], SHUT, at=NOW + DAY - MINUTE)
    assert found.again == NOW + DAY
    told.goes_on(
        [canary(1, SUCCEEDED), rest(2)],
        Shut(Reason.WAITING_FOR_WINDOW, "Window nights opens tomorrow.", NOW + 2 * DAY),
        at=NOW + DAY,
    )
    assert told.seen == ("Waiting", "WaitingForWindow")
    assert "1 machine of wave rest" in told.message


def test_what_is_left_pending_when_a_window_ends_goes_on_in_the_next() -> None:
    told = story([canary(1, PENDING), rest(2)], opening=SHUT)

    assert told.seen == ("Waiting", "WaitingForWindow")
    told.goes_on([canary(1, RUNNING), rest(2)], at=NOW + DAY)
    assert told.seen == ("Running", "RunUnderWay")


# --- cancelled, suspended, abandoned --------------------------------------------------------------


def test_cancelled_it_waits_for_what_is_in_flight() -> None:
    told = story([canary(1, RUNNING), canary(2, PENDING), rest(3)])

    told.says(cancelled=True)
    told.goes_on([canary(1, RUNNING), canary(2, PENDING), rest(3)])
    assert told.seen == ("Cancelling", "RunCancelled")
    assert "1 machine in progress" in told.message
    assert told.status.completion_time is None
    told.goes_on([canary(1, SUCCEEDED), canary(2, PENDING), rest(3)], at=NOW + HOUR)
    assert told.seen == ("Cancelled", "RunCancelled")
    assert told.status.completion_time == NOW + HOUR
    assert told.conditions == {"Ready": "True", "Failed": "True"}
    machines = told.status.machines
    assert machines is not None
    assert (machines.succeeded, machines.skipped, machines.pending) == (1, 2, 0)


def test_with_nothing_in_flight_it_is_cancelled_at_once() -> None:
    told = Story(cancelled=True)
    told.goes_on([canary(1, PENDING)], awaited=4)

    assert told.seen == ("Cancelled", "RunCancelled")


def test_a_paused_run_can_be_cancelled() -> None:
    told = story([member(1, FAILED), member(2)], terms(maxFailed=0))

    told.says(cancelled=True)
    told.goes_on([member(1, FAILED), member(2)])

    assert told.seen == ("Cancelled", "RunCancelled")
    assert told.conditions["Ready"] == "True"


def test_what_a_policy_that_goes_had_in_flight_ends_first() -> None:
    told = story([canary(1, RUNNING), rest(2)], abandoned=True)
    assert told.status.phase == "Cancelling"

    told.goes_on([canary(1, SUCCEEDED), rest(2)], abandoned=True)
    assert told.status.phase == "Cancelled"


def test_while_the_policy_is_suspended_no_wave_begins() -> None:
    told = Story()
    told.goes_on([canary(1, PENDING), rest(2)], suspended=True)
    assert told.seen == ("Waiting", "Suspended")
    assert told.begun == []

    told.goes_on([canary(1, PENDING), rest(2)])
    assert told.begun == ["canary"]
    told.goes_on([canary(1, RUNNING), rest(2)], suspended=True)
    assert told.seen == ("Running", "Suspended")


def test_a_run_without_a_policy_that_installs_fails() -> None:
    told = without_policy(patch_run(), NOW)

    assert (told.phase, told.completion_time) == ("Failed", NOW)
    assert {one.type: one.reason for one in told.conditions} == {
        "Ready": "PolicyMissing",
        "Stalled": "PolicyMissing",
        "Failed": "PolicyMissing",
    }


# --- the end, and what status says ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([SUCCEEDED, SUCCEEDED], ("Succeeded", "Complete")),
        ([SUCCEEDED, SKIPPED], ("Succeeded", "Complete")),
        ([SKIPPED, SKIPPED], ("Succeeded", "Complete")),
        ([SUCCEEDED, FAILED, FAILED], ("Succeeded", "Complete")),
        ([SUCCEEDED, FAILED, FAILED, FAILED], ("Failed", "TooManyFailed")),
    ],
)
def test_the_end(states: Sequence[RunState], expected: tuple[str, str]) -> None:
    told = story([member(number, state) for number, state in enumerate(states)], terms())

    assert told.seen == expected
    assert told.status.completion_time == NOW
    assert told.status.waves[0].end_time == NOW


def test_it_is_told_in_numbers() -> None:
    members = [
        canary(1, SUCCEEDED),
        canary(2, SUCCEEDED),
        rest(3, RUNNING),
        rest(4, FAILED, Reason.INSTALL_FAILED),
        rest(5, SKIPPED, Reason.UP_TO_DATE),
        rest(6),
    ]
    told = story([canary(1, SUCCEEDED), canary(2, SUCCEEDED), *map(rest, range(3, 7))])
    told.goes_on(members, at=NOW + DAY)
    told.goes_on(members, at=NOW + DAY)

    machines = told.status.machines
    assert machines is not None
    assert (machines.pending, machines.running) == (1, 1)
    assert (machines.succeeded, machines.failed, machines.skipped) == (2, 1, 1)
    first, last = told.status.waves
    assert (first.machines, first.succeeded, first.start_time, first.end_time) == (2, 2, NOW, NOW)
    assert (last.machines, last.failed, last.skipped, last.end_time) == (4, 1, 1, None)
    assert [one.machine_id for one in told.status.failures] == [numbered(4)]
    assert told.message == (
        "Wave rest: 1 machine in progress; 1 machine of wave rest wait for their turn."
    )


@pytest.mark.parametrize(
    ("members", "conditions"),
    [
        pytest.param([member(1)], {"Ready": "True"}, id="running"),
        pytest.param([member(1, SUCCEEDED)], {"Ready": "True", "Complete": "True"}, id="succeeded"),
        pytest.param(
            [member(1, FAILED), member(2)], {"Ready": "False", "Stalled": "True"}, id="paused"
        ),
        pytest.param(
            [member(1, FAILED)],
            {"Ready": "False", "Stalled": "True", "Failed": "True"},
            id="failed",
        ),
    ],
)
def test_conditions_are_as_kstatus_wants_them(
    members: Sequence[RunMember], conditions: Mapping[str, str]
) -> None:
    told = story(members, terms(maxFailed=0))

    assert told.conditions == conditions
    assert {one.observed_generation for one in told.status.conditions} == {1}


def test_so_many_failures_are_listed() -> None:
    told = story([member(number, FAILED) for number in range(60)], terms(maxFailed="100%"))

    assert len(told.status.failures) == FAILURES_LISTED
    assert told.status.failures_omitted == 60 - FAILURES_LISTED


def test_a_failure_is_told_in_azures_words() -> None:
    error = AzureError(code="VMAgentStatusCommunicationError", message="x" * 192)
    failed = RunMember(numbered(1), entry(FAILED, Reason.INSTALL_FAILED), installed(error=error))

    (told,) = story([failed], terms()).status.failures

    assert told.reason == "InstallFailed"
    assert told.message.startswith("VMAgentStatusCommunicationError: xxx")


def test_the_status_of_a_run_of_ten_thousand_machines_is_small() -> None:
    error = AzureError(code="C" * 128, message="é" * 192)
    long = "/subscriptions/" + numbered(1) + "/" + "a" * 300
    members = [
        RunMember(
            f"{long}{number}",
            entry(
                FAILED if number < 50 else SUCCEEDED, Reason.INSTALL_FAILED, wave=f"w{number % 10}"
            ),
            installed(error=error),
        )
        for number in range(10_000)
    ]
    waves = [{"name": f"w{number}", "machines": number + 1} for number in range(9)]
    effective = terms(maxFailed="1%", waves=[*waves, {"name": "w9", "machines": "100%"}])

    told = story(members, effective)

    assert len(json.dumps(status_json(told.status))) < 64 * 1024


SITUATIONS: Sequence[Any] = [
    pytest.param([canary(1, PENDING), rest(2)], OPEN, {}, id="running"),
    pytest.param([canary(1, RUNNING), rest(2)], SHUT, {}, id="in flight"),
    pytest.param([canary(1, PENDING), rest(2)], SHUT, {}, id="shut"),
    pytest.param([canary(1, SUCCEEDED), rest(2)], OPEN, {}, id="soaking"),
    pytest.param([canary(1, FAILED), canary(2, SUCCEEDED), rest(3)], OPEN, {}, id="paused"),
    pytest.param([canary(1, FAILED), rest(3)], OPEN, {}, id="failed"),
    pytest.param([canary(1, SUCCEEDED)], OPEN, {}, id="succeeded"),
    pytest.param([canary(1, PENDING), rest(2)], OPEN, {"suspended": True}, id="suspended"),
    pytest.param([canary(1, RUNNING), rest(2)], OPEN, {"abandoned": True}, id="cancelling"),
    pytest.param([canary(1, PENDING), rest(2)], OPEN, {"abandoned": True}, id="cancelled"),
    pytest.param([canary(1, SKIPPED, "UpToDate"), rest(2, SKIPPED)], SHUT, {}, id="nothing left"),
]


@pytest.mark.parametrize(("members", "opening", "changes"), SITUATIONS)
def test_status_changes_only_when_a_fact_does(
    members: Sequence[RunMember], opening: Opening, changes: Mapping[str, Any]
) -> None:
    told = story(members, opening=opening, **changes)
    before = told.status

    told.goes_on(members, opening, at=NOW + 3 * HOUR, **changes)

    assert told.status == before


def test_it_survives_the_api_server() -> None:
    told = story([canary(1, FAILED), canary(2, SUCCEEDED), rest(3)])

    again = PatchRun.from_object({**told.run.to_object(), "status": status_json(told.status)})

    assert again.status == told.status


def test_lists_that_somebody_declared_as_empty_stay_so() -> None:
    """Absent, they would be read as their defaults: what is critical or for security, and a spread
    over availability sets."""
    by_name = {"classificationsToInclude": [], "packageNameMasksToInclude": ["curl"]}
    policy = patch_policy(install={"linux": by_name}, rollout={"spread": []})
    status = PatchRunStatus(effective=admitted(policy))

    again = PatchRun.from_object({**patch_run().to_object(), "status": status_json(status)})

    assert again.status == status


def test_it_looks_again_when_a_window_or_a_soak_ends_and_never_when_it_is_over() -> None:
    open_ = story([canary(1, PENDING)]).goes_on([canary(1, PENDING)])
    shut = story([canary(1, PENDING)]).goes_on([canary(1, PENDING)], SHUT)
    over = story([canary(1, SUCCEEDED)]).goes_on([canary(1, SUCCEEDED)])

    assert (open_.again, shut.again, over.again) == (NOW + 4 * HOUR, NOW + DAY, None)


def test_its_members_are_those_that_say_so() -> None:
    inside = patch_target(PatchTargetStatus(run=entry()), machine_id=numbered(1))
    before = patch_target(
        PatchTargetStatus(run=entry(name="web-linux-202611221200")), machine_id=numbered(2)
    )
    never = patch_target(machine_id=numbered(3))

    found = members_of(patch_run(), [inside, before, never])

    assert [one.machine_id for one in found] == [numbered(1)]
