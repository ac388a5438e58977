"""Runs that a person makes: one-time installs and assessments, as time passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from fakes import HOUR, MINUTE, START, machine, numbered
from run_fleet import CANARY, EVENING, FIRST, REST, Fleet

from azpatch.api.policy import PatchPolicy
from azpatch.api.run import PatchRun
from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, Kind, Object, Unavailable
from azpatch.reconcile.policy_runs import owned_by

FROZEN = {
    "timeZone": "UTC",
    "windows": [EVENING],
    "freezes": [{"name": "peak", "start": "2026-11-20T00:00:00", "end": "2026-11-30T00:00:00"}],
}
RUNNING = {"power_state": "Running"}
APPROVED = {"approved": True, "approvedBy": "anna@example.com"}


def z(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def one(fleet: Fleet, name: str = "now") -> PatchRun:
    return next(run for run in fleet.world.runs() if run.metadata.name == name)


def seen(fleet: Fleet, name: str = "now") -> tuple[str | None, str]:
    status = one(fleet, name).status
    return status.phase, next(c.reason for c in status.conditions if c.type == "Ready")


def message(fleet: Fleet, name: str = "now") -> str:
    return next(c.message for c in one(fleet, name).status.conditions if c.type == "Ready")


def assessed(fleet: Fleet) -> list[str]:
    """Machines that an assessment was sent to, in turn."""
    return [machine for kind, machine, _ in fleet.world.azure.posts if kind == "Assess"]


# --- installs -------------------------------------------------------------------------------------


async def test_an_immediate_run_does_not_wait_for_a_window() -> None:
    fleet = Fleet(3)
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert set(fleet.began()) == {"web-1", "web-2", "web-3"}
        assert seen(fleet) == ("Succeeded", "Complete")
        policy = fleet.world.told().status
        assert policy.last_run is not None
        assert policy.last_run.name == "now"
        assert policy.last_schedule_time is None, "no window was used"
        await fleet.until(22)
    assert len(fleet.installs) == 3
    assert [run.metadata.name for run in fleet.world.runs()] == ["now"]


async def test_a_run_for_a_window_waits_for_it() -> None:
    fleet = Fleet(2)
    fleet.world.asks()
    async with fleet.world.operator_runs():
        await fleet.until(17, 58)
        assert fleet.installs == []
        assert seen(fleet) == ("Waiting", "WaitingForWindow")
        assert one(fleet).status.effective is None, "the policy may still be edited"
        await fleet.until(21)
    assert len(fleet.installs) == 2
    assert seen(fleet)[0] == "Succeeded"


async def test_a_run_may_name_its_machines() -> None:
    fleet = Fleet(3)
    fleet.world.asks(start="Immediate", machines={"ids": [numbered(2).upper()]})
    async with fleet.world.operator_runs():
        await fleet.until(17)
        assert set(fleet.began()) == {"web-2"}
        assert seen(fleet) == ("Succeeded", "Complete")
        await fleet.until(20)
        assert set(fleet.began()) == {"web-1", "web-2", "web-3"}, "the window is for the others"


async def test_a_machine_that_the_policy_does_not_govern_is_waited_for() -> None:
    fleet = Fleet(2)
    fleet.world.asks(start="Immediate", machines={"ids": [numbered(1), numbered(7)]})
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert fleet.installs == [], "a slip of the pen patches nobody"
        assert seen(fleet) == ("Waiting", "MachineNotInPolicy")
        assert numbered(7) in message(fleet)
        fleet.add(7)
        await fleet.passes(2 * HOUR)
    assert set(fleet.began()) == {"web-1", "web-7"}
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_who_is_named_and_not_due_is_told() -> None:
    fleet = Fleet(2)
    fleet.world.due(numbered(1), critical_and_security=0)
    fleet.world.azure.patches[numbered(1).lower()] = ()
    fleet.world.asks(start="Immediate", machines={"ids": [numbered(1), numbered(2)]})
    async with fleet.world.operator_runs():
        await fleet.until(17)
    assert set(fleet.began()) == {"web-2"}
    assert "1 of 2 machines that it names was not due" in message(fleet)


async def test_as_long_as_nobody_is_known_to_be_due_a_run_waits() -> None:
    fleet = Fleet(0)
    fleet.world.asks(start="Immediate", notAfter=z(START + 5 * HOUR))
    fleet.world.azure.add(machine(id=numbered(1), vm_id="vm-1", power_state="Running"))
    fleet.refuses_until(START + 2 * HOUR)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert seen(fleet) == ("Waiting", "RecordingMembers")
        assert message(fleet) == (
            "Whether an install is due is being found out of web-1. The run waits until "
            "spec.notAfter, 2026-11-23 17:00 UTC, and fails then: see the PatchTarget of web-1."
        )
        await fleet.passes(2 * HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert len(fleet.installs) == 1


async def test_where_it_is_for_others_too_it_says_that_another_may_be_made_for_those() -> None:
    fleet = Fleet(0)
    fleet.world.asks(start="Immediate", notAfter=z(START + 5 * HOUR))
    for number in (1, 2):
        fleet.world.azure.add(machine(id=numbered(number), vm_id=f"vm-{number}", **RUNNING))
    fleet.add(3, power_state="Stopped")
    fleet.world.due(numbered(3), critical_and_security=0)
    fleet.world.azure.patches[numbered(3).lower()] = ()
    fleet.refuses_until(START + 2 * HOUR)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert message(fleet) == (
            "Whether an install is due is being found out of web-1 and 1 more machine. None of its "
            "other machines can be installed on now. The run waits until spec.notAfter, "
            "2026-11-23 17:00 UTC, and fails then: see the PatchTarget of web-1, or make another "
            "run without them."
        )


async def test_those_that_are_due_do_not_wait_long_for_what_is_being_found_out() -> None:
    fleet = Fleet(1)
    fleet.world.asks(start="Immediate", notAfter=z(START + 5 * HOUR))
    fleet.world.azure.add(machine(id=numbered(2), vm_id="vm-2", **RUNNING))
    fleet.refuses_until(START + 2 * HOUR)
    async with fleet.world.operator_runs():
        await fleet.passes(10 * MINUTE)
        assert seen(fleet) == ("Waiting", "RecordingMembers")
        assert message(fleet) == (
            "Whether an install is due is being found out of web-2. The run begins at "
            "2026-11-23 12:30 UTC at the latest, with those that are due."
        )
        await fleet.passes(25 * MINUTE)
        assert seen(fleet) == ("Running", "RunUnderWay")


async def test_nor_so_long_that_the_run_would_be_over_before_it_begins() -> None:
    fleet = Fleet(1)
    fleet.world.asks(start="Immediate", notAfter=z(START + 20 * MINUTE))
    fleet.world.azure.add(machine(id=numbered(2), vm_id="vm-2", **RUNNING))
    fleet.refuses_until(START + 2 * HOUR)
    async with fleet.world.operator_runs():
        await fleet.passes(4 * MINUTE)
        assert seen(fleet) == ("Waiting", "RecordingMembers")
        await fleet.passes(2 * MINUTE)
        assert seen(fleet) == ("Running", "RunUnderWay")


async def test_a_run_that_has_not_begun_in_time_is_over() -> None:
    fleet = Fleet(2)
    fleet.world.asks(notAfter=z(START + 5 * HOUR))
    async with fleet.world.operator_runs():
        await fleet.until(16, 59)
        assert seen(fleet) == ("Waiting", "WaitingForWindow")
        await fleet.until(17, 1)
        assert seen(fleet) == ("Failed", "Expired")
        assert "It may start when window evening opens" in message(fleet)
        assert fleet.world.told().status.conditions[0].reason != "RunFailed"
        await fleet.until(20)
        assert len(fleet.installs) == 2, "in the window's own run"


async def test_what_is_applied_again_later_does_not_patch_again() -> None:
    fleet = Fleet(2)
    fleet.world.asks(start="Immediate", notAfter=z(START + HOUR))
    async with fleet.world.operator_runs():
        await fleet.passes(2 * HOUR)
        (raw,) = fleet.world.kube.all(PATCH_RUN)
        await fleet.world.kube.delete(PATCH_RUN, raw)
        fleet.add(3)
        await fleet.passes(10 * MINUTE)
        fleet.world.asks(start="Immediate", notAfter=z(START + HOUR))
        await fleet.passes(HOUR)
    assert seen(fleet) == ("Failed", "Expired")
    assert len(fleet.installs) == 2


async def test_another_run_of_the_same_name_is_another_run() -> None:
    fleet = Fleet(3)
    fleet.world.asks(start="Immediate", machines={"ids": [numbered(1)]})
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert set(fleet.began()) == {"web-1"}
        (raw,) = fleet.world.kube.all(PATCH_RUN)
        await fleet.world.kube.delete(PATCH_RUN, raw)
        fleet.patched.clear()
        fleet.add(1)
        await fleet.passes(10 * MINUTE)
        fleet.world.asks(start="Immediate")
        await fleet.passes(2 * HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert [machine_name for machine_name, _ in fleet.installs].count("web-1") == 2
    assert set(fleet.began()) == {"web-1", "web-2", "web-3"}


async def test_who_was_told_of_a_run_does_not_come_into_another_of_its_name() -> None:
    fleet = Fleet(3)
    real = fleet.world.kube.replace_status

    async def refuses(kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        if "run" in status:
            raise Unavailable("Not now.")
        return await real(kind, base, status)

    fleet.world.kube.replace_status = refuses  # type: ignore[method-assign]
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(2 * MINUTE)
        assert seen(fleet) == ("Waiting", "RecordingMembers")
        (raw,) = fleet.world.kube.all(PATCH_RUN)
        await fleet.world.kube.delete(PATCH_RUN, raw)
        fleet.world.asks(start="Immediate", machines={"ids": [numbered(1)]})
        fleet.world.kube.replace_status = real  # type: ignore[method-assign]
        await fleet.passes(2 * HOUR)
    assert set(fleet.began()) == {"web-1"}
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_a_machine_that_is_off_does_not_hold_a_run_without_windows_for_ever() -> None:
    fleet = Fleet(2)
    fleet.add(3, power_state="Deallocated")
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(2 * HOUR)
        assert seen(fleet) == ("Running", "RunUnderWay")
        assert len(fleet.installs) == 2
        await fleet.passes(23 * HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert sorted(fleet.states().values()) == ["Skipped", "Succeeded", "Succeeded"]


async def test_a_run_of_another_policy_of_that_name_is_over() -> None:
    fleet = Fleet(3, [{**CANARY, "soak": "2h"}, REST])
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert len(fleet.installs) == 1
        (raw,) = fleet.world.kube.all(PATCH_POLICY)
        await fleet.world.kube.delete(PATCH_POLICY, raw)
        fleet.scheduled(EVENING)
        await fleet.until(17)
    assert seen(fleet) == ("Failed", "PolicyMissing")
    assert len(fleet.installs) == 1


async def test_a_run_without_an_end_is_refused() -> None:
    fleet = Fleet(1)
    fleet.world.asks(start="Immediate", notAfter=None)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
    assert fleet.installs == []
    assert seen(fleet) == ("Failed", "NotAfterMissing")


async def test_a_run_may_come_before_its_policy() -> None:
    fleet = Fleet(2)
    (raw,) = fleet.world.kube.all(PATCH_POLICY)
    await fleet.world.kube.delete(PATCH_POLICY, raw)
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert seen(fleet) == ("Waiting", "PolicyMissing")
        assert {c.type: c.status for c in one(fleet).status.conditions} == {
            "Ready": "False",
            "Reconciling": "True",
        }
        fleet.scheduled(EVENING)
        await fleet.passes(HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert len(fleet.installs) == 2


async def test_a_freeze_holds_an_immediate_run_unless_it_lifts_freezes() -> None:
    fleet = Fleet(2)
    fleet.scheduled(schedule=FROZEN)
    fleet.world.asks(start="Immediate")
    override = {"freezes": True, "reason": "CVE-2026-1"}
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert seen(fleet) == ("Waiting", "Frozen")
        fleet.world.asks("urgent", start="Immediate", override=override)
        await fleet.passes(HOUR)
    assert seen(fleet, "urgent") == ("Succeeded", "Complete")
    assert len(fleet.installs) == 2


async def test_a_policy_without_windows_has_freezes_that_a_run_may_lift() -> None:
    fleet = Fleet(2)
    fleet.scheduled(schedule={"always": {}, "freezes": FROZEN["freezes"]})
    override = {"freezes": True, "reason": "CVE-2026-1"}
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert fleet.installs == []
        fleet.world.asks(start="Immediate", override=override)
        await fleet.passes(HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert len(fleet.installs) == 2


async def test_a_wave_keeps_to_its_own_windows_unless_they_are_lifted() -> None:
    waves = [{**CANARY, "soak": "10m", "windows": ["evening"]}, REST]
    fleet = Fleet(3, waves)
    fleet.world.asks(start="Immediate")
    override = {"windows": True, "reason": "CVE-2026-1"}
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert fleet.installs == []
        assert seen(fleet) == ("Waiting", "WaitingForWindow")
        fleet.world.says(one(fleet), cancelled=True)
        fleet.world.asks("urgent", override=override)
        await fleet.passes(HOUR)
    assert seen(fleet) == ("Cancelled", "RunCancelled")
    assert seen(fleet, "urgent") == ("Succeeded", "Complete")
    assert len(fleet.installs) == 3


async def test_an_approval_that_the_policy_asks_for_is_asked_of_an_immediate_run_too() -> None:
    fleet = Fleet(2, approval={"mode": "Required", "leadTime": "1h"})
    fleet.world.asks(start="Immediate", notAfter=z(START + 4 * HOUR))
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert seen(fleet) == ("AwaitingApproval", "AwaitingApproval")
        assert one(fleet).status.approval_deadline == START + 4 * HOUR
        assert set(fleet.states().values()) == {"Pending"}, "who approves sees who is in it"
        assert fleet.installs == []
        fleet.world.says(one(fleet), **APPROVED)
        await fleet.passes(HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_a_policy_has_one_install_run_at_a_time() -> None:
    fleet = Fleet(4, [{**CANARY, "soak": "12h"}, REST])
    async with fleet.world.operator_runs():
        await fleet.until(19)
        fleet.world.asks(start="Immediate")
        await fleet.passes(10 * MINUTE)
        assert seen(fleet, FIRST) == ("Waiting", "Soaking")
        assert seen(fleet) == ("Waiting", "WaitingForRun")
        assert FIRST in message(fleet)
        fleet.world.says(one(fleet, FIRST), cancelled=True)
        await fleet.passes(30 * MINUTE)
        assert seen(fleet, FIRST)[0] == "Cancelled"
        assert seen(fleet) == ("Waiting", "Soaking")
        assert len(fleet.installs) == 2, "a canary of its own"


async def test_the_own_run_of_a_window_says_that_it_waits_for_the_one_under_way() -> None:
    """Both began to be at the same moment: another leader made it, or this one a moment before."""
    fleet = Fleet(4, [{**CANARY, "soak": "12h"}, REST])
    async with fleet.world.operator_runs():
        fleet.world.asks(start="Immediate")
        await fleet.passes(HOUR)
        assert seen(fleet) == ("Waiting", "Soaking")
        (policy,) = fleet.world.kube.all(PATCH_POLICY)
        meta = {
            "name": FIRST,
            "namespace": "web",
            "ownerReferences": [owned_by(PatchPolicy.from_object(policy))],
        }
        made = {"metadata": meta, "spec": {"policyRef": {"name": "web-linux"}}}
        await fleet.world.kube.create(PATCH_RUN, made)
        await fleet.passes(MINUTE)
        assert seen(fleet, FIRST) == ("Waiting", "WaitingForRun")
        assert "PatchRun now of the policy is under way" in message(fleet, FIRST)
        fleet.world.says(one(fleet), cancelled=True)
        await fleet.until(18, 1)
        assert seen(fleet, FIRST)[0] == "Running"


async def test_of_two_that_wait_one_begins() -> None:
    fleet = Fleet(3)
    fleet.scheduled(EVENING, suspend=True)
    for name in ("first", "other"):
        fleet.world.asks(name, start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert {seen(fleet, name) for name in ("first", "other")} == {("Waiting", "Suspended")}
        fleet.scheduled(EVENING)
        await fleet.passes(2 * MINUTE)
        reasons = {seen(fleet, name)[1] for name in ("first", "other")}
        assert "WaitingForRun" in reasons
        await fleet.passes(HOUR)
    assert {seen(fleet, name)[0] for name in ("first", "other")} == {"Succeeded"}
    assert len(fleet.installs) == 3


async def test_what_was_tried_in_a_window_may_be_tried_once_more_by_hand() -> None:
    fleet = Fleet(1)
    fleet.broken = lambda _machine: True
    fleet.scheduled(EVENING)
    async with fleet.world.operator_runs():
        await fleet.until(20)
        assert len(fleet.installs) == 2
        fleet.world.asks(start="Immediate")
        await fleet.until(21)
        assert len(fleet.installs) == 4, "twice at most, in a run of its own"
        await fleet.until(17, 30, day=1)
        assert len(fleet.installs) == 4, "that window's tries are used up"


async def test_one_operator_goes_on_with_what_another_let_in() -> None:
    fleet = Fleet(4, [CANARY, REST])
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.passes(2 * MINUTE)
    async with fleet.world.operator_runs():
        await fleet.passes(3 * HOUR)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert len(fleet.installs) == 4
    assert fleet.collisions == 0


async def test_azpatch_does_not_remove_what_a_person_made() -> None:
    fleet = Fleet(1)
    fleet.scheduled(EVENING, runHistory={"succeeded": 0, "failed": 0})
    fleet.world.asks(start="Immediate")
    async with fleet.world.operator_runs():
        await fleet.until(16, day=1)
    assert [run.metadata.name for run in fleet.world.runs()] == ["now"]


# --- assessments ----------------------------------------------------------------------------------


def assess(fleet: Fleet, **spec: Any) -> None:
    fleet.world.asks(operation="Assess", **spec)


async def test_an_assess_run_has_each_machine_assessed_once_however_new_it_is() -> None:
    fleet = Fleet(3)
    async with fleet.world.operator_runs():
        await fleet.passes(10 * MINUTE)
        assert assessed(fleet) == []
        assess(fleet)
        await fleet.passes(30 * MINUTE)
        assert sorted(assessed(fleet)) == [numbered(number) for number in (1, 2, 3)]
        assert seen(fleet) == ("Succeeded", "Complete")
        numbers = one(fleet).status.machines
        assert numbers is not None
        assert numbers.succeeded == 3
        await fleet.until(17)
    assert len(assessed(fleet)) == 3
    assert fleet.installs == []


async def test_it_assesses_where_the_policy_does_not() -> None:
    fleet = Fleet(2)
    fleet.scheduled(EVENING, assessment={"mode": "None"}, install=None, schedule=None, rollout=None)
    assess(fleet, machines={"ids": [numbered(2)]})
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
    assert assessed(fleet) == [numbered(2)]
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_it_assesses_machines_that_never_were() -> None:
    fleet = Fleet(0)
    fleet.world.azure.add(machine(id=numbered(1), vm_id="vm-1", power_state="Running"))
    fleet.scheduled(EVENING, assessment={"mode": "None"})
    assess(fleet)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
    assert assessed(fleet) == [numbered(1)]
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_it_takes_no_more_than_access_assess() -> None:
    fleet = Fleet(1)
    grant = {"name": "web", "namespaces": {"names": ["web"]}, "access": "Assess"}
    fleet.world.subscription(grants=[grant])
    assess(fleet)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
    assert assessed(fleet) == [numbered(1)]
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_a_machine_that_is_off_is_skipped() -> None:
    fleet = Fleet(2)
    fleet.add(3, power_state="Deallocated")
    assess(fleet)
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
    numbers = one(fleet).status.machines
    assert numbers is not None
    assert (numbers.succeeded, numbers.skipped) == (2, 1)
    assert seen(fleet) == ("Succeeded", "Complete")


async def test_a_suspended_policy_is_not_assessed() -> None:
    fleet = Fleet(2)
    fleet.scheduled(EVENING, suspend=True)
    assess(fleet, notAfter=z(START + 2 * HOUR))
    async with fleet.world.operator_runs():
        await fleet.passes(HOUR)
        assert seen(fleet) == ("Waiting", "Suspended")
        await fleet.passes(2 * HOUR)
    assert assessed(fleet) == []
    assert seen(fleet) == ("Failed", "Expired")


async def test_an_assess_run_is_in_no_install_run_s_way() -> None:
    fleet = Fleet(2)
    async with fleet.world.operator_runs():
        await fleet.until(18, 1)
        assess(fleet)
        await fleet.until(19)
    assert seen(fleet) == ("Succeeded", "Complete")
    assert seen(fleet, FIRST) == ("Succeeded", "Complete")
    assert fleet.collisions == 0


async def test_an_operator_that_died_does_not_assess_twice() -> None:
    fleet = Fleet(3)
    assess(fleet)
    async with fleet.world.operator_runs():
        await fleet.passes(2 * MINUTE)
    async with fleet.world.operator_runs():
        await fleet.passes(timedelta(hours=2))
    assert len(assessed(fleet)) == 3
    assert seen(fleet) == ("Succeeded", "Complete")
