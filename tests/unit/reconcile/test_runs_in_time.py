"""Runs and their waves over several machines, as time passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakes import (
    DAY,
    HOUR,
    MINUTE,
    START,
    numbered,
)
from run_fleet import CANARY, EVENING, FIRST, REST, SECOND_RUN, Fleet, name

from azpatch.api.target import PatchTarget
from azpatch.azure.port import AzureError, Progress
from azpatch.domain.facts import (
    GuestStatus,
    InstallationResult,
    MachineView,
    RebootStatus,
)
from azpatch.domain.ids import key
from azpatch.kube.port import (
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    Kind,
    Object,
    Unavailable,
)

# --- one run, one window --------------------------------------------------------------------------


async def test_a_run_is_made_when_a_window_opens_and_goes_through_its_waves() -> None:
    fleet = Fleet(4, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(17, 59)
        assert fleet.world.runs() == []
        await fleet.until(18, 30)
        (canary,) = fleet.wave("canary")
        assert set(fleet.began()) == {canary}
        assert fleet.seen == ("Waiting", "Soaking")
        assert fleet.world.ready(numbered(1)) in ("WaitingForWave", "UpToDate")
        await fleet.until(20)
        began = fleet.began()
        soaked = fleet.world.status(canary_id(canary)).installation
        assert soaked is not None
        others = [at for machine_name, at in began.items() if machine_name != canary]
        assert len(others) == 3
        assert min(others) >= soaked.time + HOUR, "after the soak"
        assert max(others) < soaked.time + HOUR + 2 * MINUTE
        assert fleet.seen == ("Succeeded", "Complete")
    assert fleet.run.metadata.name == FIRST
    assert set(fleet.states().values()) == {"Succeeded"}
    policy = fleet.world.told().status
    assert policy.current_run is None
    assert policy.last_run is not None
    assert (policy.last_run.name, policy.last_run.phase) == (FIRST, "Succeeded")
    assert policy.last_schedule_time == START + 6 * HOUR


def canary_id(machine_name: str) -> str:
    return numbered(int(machine_name.removeprefix("web-")))


async def test_every_member_is_recorded_before_the_first_install() -> None:
    fleet = Fleet(6)
    recorded: list[int] = []

    def post(machine_id: str) -> AzureError | None:
        recorded.append(len(fleet.entries()))
        assert fleet.run.status.membership is not None
        return fleet.post(machine_id)

    fleet.world.azure.post = post
    async with fleet.world.operator_runs():
        await fleet.until(18, 10)
    assert recorded[:6] == [6] * 6


async def test_a_run_begins_without_a_machine_that_does_not_say_that_it_is_in_it() -> None:
    fleet = Fleet(3)
    real = fleet.world.kube.replace_status

    async def refuses(kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        if base["metadata"]["name"].startswith("web-2-") and "run" in status:
            raise Unavailable("Not this one.")
        return await real(kind, base, status)

    fleet.world.kube.replace_status = refuses  # type: ignore[method-assign]
    async with fleet.world.operator_runs():
        await fleet.until(18, 5)
        assert fleet.installs == []
        assert fleet.seen == ("Waiting", "RecordingMembers")
        await fleet.until(18, 12)
        assert set(fleet.began()) == {"web-1", "web-3"}
        fleet.world.kube.replace_status = real  # type: ignore[method-assign]
        await fleet.until(22)
        assert set(fleet.states()) == {"web-1", "web-3"}


async def test_who_missed_the_windows_of_its_own_wave_is_overdue() -> None:
    fleet = Fleet(
        3,
        [
            {"name": "canary", "tags": {"ring": ["0"]}, "windows": ["evening"]},
            {**REST, "windows": ["weekend"]},
        ],
    )
    saturdays = {"weekly": {"days": ["Saturday"]}, "startTime": "18:00", "duration": "4h"}
    fleet.scheduled(EVENING, {"name": "weekend", **saturdays})
    fleet.add(4, tags={"ring": "0"}, power_state="Stopped")
    async with fleet.world.operator_runs():
        await fleet.until(21, 59, day=1)
        assert fleet.wave("canary") == {"web-4"}
        assert overdue(fleet) == 0
        await fleet.until(22, 1, day=1)
        assert overdue(fleet) == 1, "the canary; the others' window is on Saturday"
    assert fleet.installs == []


def overdue(fleet: Fleet) -> int:
    machines = fleet.world.told().status.machines
    assert machines is not None
    return machines.overdue


async def test_with_a_schedule_that_is_always_open_there_is_no_run() -> None:
    fleet = Fleet(2)
    fleet.scheduled(schedule={"always": {}}, rollout=None)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
    assert fleet.world.runs() == []
    assert len(fleet.installs) == 2
    assert fleet.entries() == {}


async def test_what_is_not_due_needs_no_run() -> None:
    fleet = Fleet(2)
    for number in (1, 2):
        fleet.world.due(numbered(number), critical_and_security=0)
        fleet.world.azure.patches[key(numbered(number))] = ()
    async with fleet.world.operator_runs():
        await fleet.until(20)
    assert fleet.world.runs() == []


async def test_who_has_no_room_in_a_window_goes_on_in_the_next() -> None:
    fleet = Fleet(3, maxUnavailable=1)
    fleet.scheduled({**EVENING, "duration": "2h10m"})
    async with fleet.world.operator_runs():
        await fleet.until(23)
        assert sorted(fleet.states().values()) == ["Pending", "Pending", "Succeeded"]
        assert fleet.seen == ("Waiting", "WaitingForWindow")
        await fleet.until(23, day=2)
        assert fleet.seen == ("Succeeded", "Complete")
    assert len(fleet.installs) == 3


async def test_a_machine_that_is_off_all_the_window_is_skipped_when_it_is_over() -> None:
    fleet = Fleet(2)
    fleet.add(3, power_state="Stopped")
    async with fleet.world.operator_runs():
        await fleet.until(19, 59)
        assert fleet.states()["web-3"] == "Pending"
        await fleet.until(20, 1)
        assert fleet.entries()["web-3"].reason == "VMStopped"
        assert fleet.seen == ("Succeeded", "Complete")


async def test_a_wave_installs_in_its_own_windows_only() -> None:
    night = {**EVENING, "name": "night", "startTime": "23:00"}
    fleet = Fleet(3, [{"name": "canary", "machines": 1}, {**REST, "windows": ["night"]}])
    fleet.scheduled(EVENING, night)
    async with fleet.world.operator_runs():
        await fleet.until(22, 30)
        assert len(fleet.installs) == 1
        assert fleet.seen == ("Waiting", "WaitingForWindow")
        assert "2026-11-23 23:00 UTC" in fleet.run.status.conditions[0].message
        await fleet.until(23, 30)
        assert len(fleet.installs) == 3
        assert fleet.seen == ("Succeeded", "Complete")


async def test_a_run_whose_wave_has_no_window_any_more_says_what_a_person_must_do() -> None:
    late = {**EVENING, "name": "late", "startTime": "22:00"}
    waves = [{**CANARY, "windows": ["evening"]}, {**REST, "windows": ["late"]}]
    fleet = Fleet(3, waves)
    fleet.scheduled(EVENING, late)
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        fleet.rollout = {**fleet.rollout, "waves": [waves[0], {**REST, "windows": ["later"]}]}
        fleet.scheduled(EVENING, {**late, "name": "later"})
        await fleet.until(20)
        assert fleet.seen == ("Waiting", "NoWindowLeft")
        stalled = next(one for one in fleet.run.status.conditions if one.type == "Stalled")
        assert "(late). Give the policy one with that name again." in stalled.message
        assert "spec.cancelled" in stalled.message
        ready = next(one for one in fleet.world.told().status.conditions if one.type == "Ready")
        assert (ready.status, ready.reason) == ("False", "RunPaused")
        fleet.world.says(fleet.run, cancelled=True)
        await fleet.until(23, 59, day=1)
    assert len(fleet.began()) == 3


async def test_where_windows_never_close_a_machine_that_is_off_is_waited_for_a_week_at_most() -> (
    None
):
    whole = {**EVENING, "startTime": "00:00", "duration": "24h"}
    fleet = Fleet(1)
    fleet.add(2, power_state="Stopped")
    fleet.scheduled(whole, {**whole, "name": "noon", "startTime": "12:00"})
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert fleet.states() == {"web-1": "Succeeded", "web-2": "Pending"}
        fleet.add(3)
        await fleet.passes(6 * DAY)
        assert set(fleet.began()) == {"web-1"}
        await fleet.passes(DAY)
        first = fleet.world.runs()[0]
        assert first.status.phase == "Succeeded"
        assert set(fleet.began()) == {"web-1", "web-3"}


# --- failures -------------------------------------------------------------------------------------


async def test_a_canary_that_fails_pauses_the_run_and_acknowledged_it_goes_on() -> None:
    fleet = Fleet(5, [{**CANARY, "machines": 2}, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 1)
        bad, good = sorted(fleet.wave("canary"))
        fleet.broken = lambda machine_name: machine_name == bad
        await fleet.until(19)
        assert fleet.states()[bad] == "Failed"
        assert fleet.states()[good] == "Succeeded"
        assert fleet.seen == ("Paused", "GateNotPassed")
        ready = next(one for one in fleet.world.told().status.conditions if one.type == "Ready")
        assert (ready.status, ready.reason) == ("False", "RunPaused")
        assert fleet.world.ready(canary_id(next(iter(fleet.wave("rest"))))) == "RunPaused"
        assert ("GateNotPassed", True) in {(one[0], one[2]) for one in fleet.world.kube.events}
        before = len(fleet.installs)
        await fleet.until(19, 30)
        assert len(fleet.installs) == before
        fleet.world.says(fleet.run, acknowledgedFailures=1)
        await fleet.until(19, 40)
        assert len(fleet.installs) == before + 3
        await fleet.until(21)
        assert fleet.seen == ("Succeeded", "Complete")
        ready = next(one for one in fleet.world.told().status.conditions if one.type == "Ready")
        assert (ready.status, ready.reason) == ("True", "UpToDate") or ready.reason == "RetryLater"
    assert [one.machine_id for one in fleet.run.status.failures] == [canary_id(bad)]


async def test_a_failure_that_the_assessment_after_it_puts_right_is_not_tried_again() -> None:
    """What failed was brought all the same, or somebody else brought it."""
    fleet = Fleet(3, [{**CANARY, "machines": 2}, REST], minSucceeded=1)
    async with fleet.world.operator_runs():
        await fleet.until(18, 1)
        bad, _ = sorted(fleet.wave("canary"))
        fleet.broken = lambda machine_name: machine_name == bad
        fleet.patched.add(key(canary_id(bad)))
        await fleet.until(18, 30)
        assert fleet.states()[bad] == "Failed"
        assert fleet.seen == ("Waiting", "Soaking")
        await fleet.until(20)
        assert fleet.seen == ("Succeeded", "Complete")
    assert len(fleet.installs) == 3


async def test_a_machine_whose_failure_was_seen_to_may_be_deleted_and_the_next_failure_counts() -> (
    None
):
    fleet = Fleet(4, maxUnavailable=1, maxFailed=0)
    fleet.broken = lambda _machine: True
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        assert fleet.seen == ("Paused", "TooManyFailed")
        (first,) = fleet.began()
        fleet.world.says(fleet.run, acknowledgedFailures=1)
        del fleet.world.azure.views[key(canary_id(first))]
        await fleet.until(20, 30)
        assert first not in fleet.states()
        assert fleet.seen == ("Paused", "TooManyFailed")
        assert len(fleet.began()) == 2, "one failure was seen to, and a second stopped it"
    assert [name(one.machine_id) for one in fleet.run.status.failures] == list(fleet.began())


async def test_more_failures_than_allowed_stop_what_has_not_begun() -> None:
    fleet = Fleet(6, maxUnavailable=2, maxFailed=1)
    fleet.broken = lambda _machine: True
    async with fleet.world.operator_runs():
        await fleet.until(22)
        assert fleet.seen == ("Paused", "TooManyFailed")
        assert len(fleet.began()) == 2
        fleet.broken = lambda _machine: False
        await fleet.until(18, 30, day=1)
        assert len(fleet.began()) == 2, "the next window does not resume it"
        fleet.world.says(fleet.run, acknowledgedFailures=2)
        await fleet.until(21, day=1)
        assert len(fleet.began()) == 6


# --- what people do meanwhile ---------------------------------------------------------------------


async def test_cancelled_it_leaves_what_is_in_flight_to_its_end() -> None:
    fleet = Fleet(4, [{**CANARY, "machines": 2}, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        assert len(fleet.installs) == 2
        fleet.world.says(fleet.run, cancelled=True)
        await fleet.until(18, 3)
        assert fleet.seen == ("Cancelling", "RunCancelled")
        await fleet.until(18, 30)
        assert fleet.seen == ("Cancelled", "RunCancelled")
        assert sorted(fleet.states().values()) == ["Skipped", "Skipped", "Succeeded", "Succeeded"]
        await fleet.until(22)
        assert len(fleet.installs) == 2, "no other run in this window"
        await fleet.until(21, day=1)
        assert len(fleet.installs) == 4
    assert [run.metadata.name for run in fleet.world.runs()] == [FIRST, SECOND_RUN]


async def test_cancelled_it_gives_up_what_it_would_have_tried_again() -> None:
    """On a machine that waits for its second try nothing is in flight that would end it."""
    fleet = Fleet(2, maxUnavailable=1, maxFailed="100%")
    fleet.broken = lambda _machine: True
    async with fleet.world.operator_runs():
        while "Running" not in fleet.states().values() or not any(
            entry.reason for entry in fleet.entries().values()
        ):
            await fleet.passes(MINUTE)
        fleet.world.says(fleet.run, cancelled=True)
        await fleet.passes(20 * MINUTE)
        assert fleet.seen == ("Cancelled", "RunCancelled")


async def test_a_run_is_read_once_more_before_an_install_is_sent() -> None:
    """Its watch may lag: who cancelled it a moment ago must not see something start."""
    fleet = Fleet(1)
    world, real = fleet.world, fleet.world.azure.machine

    async def cancelled_meanwhile(machine_id: str) -> MachineView:
        if world.runs() and not fleet.run.spec.cancelled:
            shown, world.kube.watch = world.kube.watch, lambda _kind, _raw, _gone: None
            world.says(fleet.run, cancelled=True)
            world.kube.watch = shown
        return await real(machine_id)

    world.azure.machine = cancelled_meanwhile  # type: ignore[method-assign]
    async with world.operator_runs():
        await fleet.until(19)
    assert fleet.seen == ("Cancelled", "RunCancelled")
    assert fleet.installs == []


async def test_edits_of_the_policy_do_not_reach_a_run_that_has_begun() -> None:
    fleet = Fleet(4, [CANARY, REST])
    sent: list[tuple[str, Any]] = []
    real = fleet.world.azure.install

    async def install(machine_id: str, parameters: Any, attempt_id: str) -> Any:
        sent.append((name(machine_id), parameters["rebootSetting"]))
        return await real(machine_id, parameters, attempt_id)

    fleet.world.azure.install = install  # type: ignore[method-assign]
    async with fleet.world.operator_runs():
        await fleet.until(18, 10)
        fleet.rollout = {"maxUnavailable": 1, "waves": []}
        fleet.scheduled(EVENING, install={"linux": {}, "rebootSetting": "Never"})
        await fleet.until(18, 30)
        assert len(fleet.installs) == 1, "the rest still waits for the soak of the run"
        await fleet.until(19, 20)
        assert len(fleet.installs) == 4, "all at a time, as the run has it"
        await fleet.until(20)
        assert fleet.seen == ("Succeeded", "Complete")
    assert {setting for _, setting in sent} == {"IfRequired"}


def sees_no_policy(fleet: Fleet) -> None:
    """The watch of policies is broken."""
    seen = fleet.world.kube.watch

    def watch(kind: Kind, raw: Object, gone: bool) -> None:
        if kind != PATCH_POLICY:
            seen(kind, raw, gone)

    fleet.world.kube.watch = watch


async def test_an_edit_that_no_watch_has_shown_reaches_a_run_that_is_made_after_it() -> None:
    fleet = Fleet(2)
    async with fleet.world.operator_runs():
        await fleet.until(17, 50)
        sees_no_policy(fleet)
        fleet.scheduled(EVENING, install={"linux": {}, "rebootSetting": "Never"})
        await fleet.until(18, 10)
    assert fleet.run.status.effective is not None
    assert fleet.run.status.effective.install.reboot_setting == "Never"


async def test_for_a_policy_that_installs_no_more_as_no_watch_has_shown_no_run_is_made() -> None:
    fleet = Fleet(2)
    async with fleet.world.operator_runs():
        await fleet.until(17, 50)
        sees_no_policy(fleet)
        fleet.scheduled(install=None, schedule=None, rollout=None)
        await fleet.until(18, 10)
    assert fleet.world.runs() == []


async def test_a_result_is_judged_by_the_terms_of_the_run() -> None:
    fleet = Fleet(1)
    fleet.scheduled(EVENING, install={"linux": {}, "rebootSetting": "Never"})
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        assert len(fleet.installs) == 1
        fleet.scheduled(EVENING, install={"linux": {}, "rebootSetting": "IfRequired"})
        ended = InstallationResult(
            GuestStatus.COMPLETED_WITH_WARNINGS,
            last_modified=fleet.world.clock.now(),
            installed=1,
            reboot_status=RebootStatus.REQUIRED,
        )
        operation = f"op-{len(fleet.world.azure.posts)}"
        fleet.world.azure.operations[operation] = Progress(False, installation=ended)
        await fleet.world.passes(10 * MINUTE)
        installation = fleet.world.status(numbered(1)).installation
        assert installation is not None
        assert (installation.outcome, installation.reason) == ("Succeeded", "RebootPending")
        (note,) = (note for reason, note, _ in fleet.world.kube.events if reason == "RebootPending")
        assert "install.rebootSetting is Never" in note


async def test_narrowing_the_schedule_holds_at_once_and_widening_it_lets_a_wave_begin() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        fleet.scheduled({**EVENING, "startTime": "06:00"})
        await fleet.until(20)
        assert len(fleet.installs) == 1
        assert fleet.seen == ("Waiting", "WaitingForWindow")
        fleet.scheduled({**EVENING, "startTime": "20:00"})
        await fleet.until(20, 10)
        assert len(fleet.installs) == 3


async def test_a_freeze_that_is_lifted_lets_a_wave_begin() -> None:
    fleet = Fleet(3, [CANARY, REST])
    frozen = {"name": "peak", "start": "2026-11-23T18:40:00", "end": "2026-11-24T00:00:00"}
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        fleet.world.subscription(freezes=[frozen])
        await fleet.until(19, 30)
        assert len(fleet.installs) == 1
        assert fleet.seen == ("Waiting", "Frozen")
        fleet.world.subscription()
        await fleet.until(19, 40)
        assert len(fleet.installs) == 3


async def test_a_suspended_policy_begins_no_wave_until_it_is_not() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        fleet.scheduled(EVENING, suspend=True)
        await fleet.until(19, 30)
        assert len(fleet.installs) == 1
        assert fleet.seen == ("Waiting", "Suspended")
        fleet.scheduled(EVENING)
        await fleet.until(19, 40)
        assert len(fleet.installs) == 3


async def test_a_policy_that_only_assesses_from_now_on_ends_its_run() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        fleet.scheduled(install=None, schedule=None, rollout=None)
        await fleet.until(18, 4)
        assert fleet.seen == ("Cancelling", "RunCancelled")
        await fleet.until(18, 40)
        assert fleet.seen == ("Cancelled", "RunCancelled")
        installation = fleet.world.status(canary_id(next(iter(fleet.began())))).installation
        assert installation is not None
        assert installation.outcome == "Succeeded"
        assert len(fleet.installs) == 1


async def test_a_policy_that_installs_from_now_on_waits_until_all_have_said_who_is_due() -> None:
    fleet = Fleet(40, [CANARY, REST])
    fleet.scheduled(install=None, schedule=None, rollout=None)
    async with fleet.world.operator_runs():
        await fleet.until(19, 30)
        fleet.scheduled({**EVENING, "duration": "5h"})
        await fleet.until(19, 45)
        assert fleet.run.status.membership is not None
        assert fleet.run.status.membership.total == 40


async def test_windows_too_short_for_the_installs_of_a_run_stop_it_and_are_told() -> None:
    """They fit what the policy says by now, and not the terms that the run froze."""
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        short = {**EVENING, "duration": "1h30m"}
        fleet.scheduled(short, install={"linux": {}, "maximumDuration": "PT1H"})
        await fleet.until(19, 30)
        assert fleet.seen == ("Waiting", "WindowTooShort")
        assert len(fleet.installs) == 1
        fleet.scheduled(EVENING)
        await fleet.until(19, 40)
        assert len(fleet.installs) == 3


async def test_a_policy_that_is_deleted_lets_what_is_in_flight_end() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        (policy,) = fleet.world.kube.all(PATCH_POLICY)
        await fleet.world.kube.delete(PATCH_POLICY, policy)
        await fleet.until(18, 40)
        assert fleet.world.kube.all(PATCH_POLICY) == []
        assert len(fleet.installs) == 1
        assert fleet.run.over


# --- machines that come and go --------------------------------------------------------------------


async def test_a_machine_that_becomes_due_meanwhile_is_for_the_next_run() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 10)
        fleet.add(4)
        await fleet.until(21)
        assert fleet.seen == ("Succeeded", "Complete")
        assert "web-4" not in fleet.began()
        assert fleet.world.ready(numbered(4)) == "WaitingForRun"
        await fleet.until(19, day=1)
        assert fleet.began()["web-4"] >= START + 30 * HOUR
    assert [run.metadata.name for run in fleet.world.runs()] == [FIRST, SECOND_RUN]


async def test_a_machine_that_is_not_meant_any_more_stays_until_the_run_is_done_with_it() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        kept = sorted(fleet.wave("rest"))
        canary = next(iter(fleet.wave("canary")))
        target = {"virtualMachine": {"id": canary_id(canary)}}
        fleet.scheduled(EVENING, target=target)
        await fleet.until(19)
        assert set(fleet.states()) == {canary, *kept}
        await fleet.until(21)
        assert set(fleet.began()) == {canary, *kept}
        assert set(fleet.states()) == {canary}
        assert fleet.run.over
        assert fleet.run.status.phase == "Succeeded"


async def test_a_more_specific_policy_gets_a_machine_when_the_run_is_done_with_it() -> None:
    fleet = Fleet(3, [CANARY, REST])
    world = fleet.world

    def governs(policy: str, machine_id: str) -> bool | None:
        (found,) = (
            PatchTarget.from_object(raw)
            for raw in world.kube.all(PATCH_TARGET)
            if raw["spec"] == {"machineId": machine_id, "policy": policy}
        )
        return found.status.governs

    async with world.operator_runs():
        await fleet.until(18, 30)
        wanted = canary_id(min(fleet.wave("rest")))
        world.policy("web-one", target={"virtualMachine": {"id": wanted}})
        await fleet.until(19)
        assert governs("web-linux", wanted)
        assert len(fleet.installs) == 1, "nor does it install beside the run"
        await fleet.until(20)
        assert governs("web-one", wanted)
        assert fleet.seen == ("Succeeded", "Complete")
    assert len(fleet.installs) == 3


async def test_a_canary_that_is_deleted_after_its_wave_changes_nothing_for_the_next() -> None:
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(19, 10)
        (canary,) = fleet.wave("canary")
        assert len(fleet.installs) > 1
        del fleet.world.azure.views[key(canary_id(canary))]
        await fleet.until(20)
        assert canary not in fleet.entries()
        assert fleet.seen == ("Succeeded", "Complete")


async def test_waves_by_tags_are_of_the_tags_that_the_machines_carry() -> None:
    fleet = Fleet(0, [{"name": "ring", "tags": {"ring": ["0"]}}, REST])
    fleet.add(1, tags={"Ring": "0"})
    fleet.add(2)
    fleet.add(3, tags={"ring": "1"})
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        assert fleet.wave("ring") == {"web-1"}
        assert set(fleet.began()) == {"web-1"}


# --- runs that come and go ------------------------------------------------------------------------


async def test_a_run_that_is_deleted_is_not_made_anew_in_its_window() -> None:
    fleet = Fleet(4, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        (raw,) = fleet.world.kube.all(PATCH_RUN)
        await fleet.world.kube.delete(PATCH_RUN, raw)
        await fleet.until(22)
        assert fleet.world.runs() == []
        assert len(fleet.installs) == 1
        assert {entry.reason for entry in fleet.entries().values()} == {"RunEnded"}
    async with fleet.world.operator_runs():
        await fleet.until(21, day=1)
        assert [run.metadata.name for run in fleet.world.runs()] == [SECOND_RUN]
        assert len(fleet.installs) == 4


async def test_who_waits_in_a_run_that_is_deleted_says_so_at_once() -> None:
    fleet = Fleet(2, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 2)
        (waits,) = (id_ for id_ in map(numbered, (1, 2)) if name(id_) not in fleet.began())
        assert fleet.world.ready(waits) == "WaitingForWave"
        (raw,) = fleet.world.kube.all(PATCH_RUN)
        await fleet.world.kube.delete(PATCH_RUN, raw)
        await fleet.until(18, 3)
        assert fleet.world.ready(waits) == "WaitingForRun"


async def test_old_runs_are_removed() -> None:
    fleet = Fleet(1)
    fleet.scheduled(EVENING, runHistory={"succeeded": 2, "failed": 1})
    async with fleet.world.operator_runs():
        for day in range(4):
            await fleet.until(19, day=day)
            fleet.patched.clear()
            await fleet.until(12, day=day + 1)
            fleet.add(1)
        await fleet.passes(HOUR)
    assert [run.metadata.name for run in fleet.world.runs()] == [
        "web-linux-202611251800",
        "web-linux-202611261800",
    ]


async def test_what_this_version_cannot_read_is_left_as_it_is() -> None:
    """The run, or its policy, was written by a newer version, and is read by that again."""
    fleet = Fleet(3, [CANARY, REST])
    async with fleet.world.operator_runs():
        await fleet.until(18, 30)
        before = fleet.entries()
        (run,) = fleet.world.kube.all(PATCH_RUN)
        fleet.world.kube.put(PATCH_RUN, {**run, "status": {**run["status"], "phase": "Musing"}})
        fleet.scheduled(EVENING, runHistory={"failed": 1})
        await fleet.until(19, 30)
        assert fleet.entries() == before
        (unread,) = fleet.world.kube.all(PATCH_RUN)
        fleet.world.kube.put(PATCH_RUN, {**unread, "status": run["status"]})
        fleet.scheduled(EVENING, target={"nobody": {}})
        await fleet.until(19, 40)
        assert fleet.run.status.phase == "Waiting"
        assert len(fleet.installs) == 1
        fleet.scheduled(EVENING)
        await fleet.until(20)
        assert fleet.seen == ("Succeeded", "Complete")
        assert fleet.began().keys() == before.keys()
