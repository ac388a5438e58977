"""One machine and its neighbours: slots, governors, evidence, silence."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fakes import (
    DAY,
    HOUR,
    IMAGE,
    MINUTE,
    PATCH,
    SECOND,
    START,
    VM,
    World,
    assessment_row,
    machine,
    numbered,
)

from azpatch.api.common import DetectedState
from azpatch.api.target import PatchTarget
from azpatch.azure.port import Denied, Gone, Progress, Retry, Unconfirmed
from azpatch.domain.facts import AssessmentResult, GuestStatus, InstallationResult
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_POLICY, PATCH_TARGET, Unavailable

SOON = 20 * SECOND
SUCCEEDED, RUNS = GuestStatus.SUCCEEDED, GuestStatus.IN_PROGRESS
FLEET: dict[str, Any] = {"target": {"galleryImage": {"id": IMAGE}}}
A, B, C = (numbered(number) for number in (1, 2, 3))


def fleet(*ids: str, due: bool = True, **policy: Any) -> World:
    world = World()
    world.policy(**FLEET, **policy)
    for id_ in ids:
        world.azure.add(machine(id=id_))
        if due:
            world.due(id_)
    return world


def installs(world: World) -> list[str]:
    return [machine_id for kind, machine_id, _ in world.azure.posts if kind == "Install"]


# --- maxUnavailable -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "at_once"),
    [
        pytest.param(None, 1, id="absent: 10 %, at least 1"),
        pytest.param(2, 2, id="a count"),
        pytest.param("70%", 2, id="a share, rounded down"),
        pytest.param("100%", 3, id="all"),
    ],
)
async def test_no_more_are_unavailable_than_max_unavailable(limit: object, at_once: int) -> None:
    rollout: dict[str, Any] = {} if limit is None else {"rollout": {"maxUnavailable": limit}}
    world = fleet(A, B, C, **rollout)
    async with world.operator_runs():
        await world.passes(HOUR)

    assert len(installs(world)) == at_once


async def test_a_machine_is_unavailable_until_the_assessment_after_its_install_ended() -> None:
    world = fleet(A, B)
    async with world.operator_runs():
        await world.passes(SOON)
        (first,) = installs(world)
        world.azure.operations["op-1"] = Progress(
            False, installation=InstallationResult(SUCCEEDED, activity_id="op-1", installed=1)
        )
        await world.passes(11 * MINUTE)
        assert [post[0] for post in world.azure.posts] == ["Install", "Assess"]
        await world.passes(10 * MINUTE)
        assert installs(world) == [first]
        world.azure.operations["op-2"] = Progress(
            False, assessment=AssessmentResult(SUCCEEDED, activity_id="op-2")
        )
        await world.passes(6 * MINUTE)

    assert sorted(installs(world)) == [A, B]


async def test_a_machine_that_failed_keeps_its_slot_until_an_assessment_succeeds() -> None:
    world = fleet(A, B)
    async with world.operator_runs():
        await world.passes(SOON)
        (first,) = installs(world)
        world.azure.operations["op-1"] = Progress(
            False,
            installation=InstallationResult(GuestStatus.FAILED, activity_id="op-1", failed=1),
        )
        await world.passes(11 * MINUTE)
        world.azure.operations["op-2"] = Progress(
            False, assessment=AssessmentResult(GuestStatus.FAILED, activity_id="op-2")
        )
        await world.passes(13 * MINUTE)
        assert installs(world) == [first]
        (policy,) = world.kube.all(PATCH_POLICY)
        conditions = {c["type"]: c for c in policy["status"]["conditions"]}
        assert conditions["Ready"]["reason"] == "TooManyFailed"
        assert conditions["Stalled"]["status"] == "True"


async def test_someone_elses_install_holds_a_slot_until_it_ends() -> None:
    world = fleet(A, B)
    someone = InstallationResult(RUNS, activity_id="someone")
    world.azure.change(A, installation=someone)
    world.azure.change(B, installation=someone)
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
        assert installs(world) == []
        looked_at_first = next(id_ for id_ in (A, B) if world.ready(id_) == "ForeignOperation")
        other = B if looked_at_first == A else A
        world.azure.change(other, installation=None)
        await world.passes(30 * MINUTE)
        assert installs(world) == [], "the slot is the foreign install's"
        world.azure.change(looked_at_first, installation=None)
        await world.passes(5 * MINUTE)

    assert len(installs(world)) == 1


async def test_a_look_that_fails_does_not_end_someone_elses_install() -> None:
    world = fleet(A, B)
    someone = InstallationResult(RUNS, start_time=START, activity_id="someone")
    world.azure.change(A, installation=someone)
    world.azure.change(B, installation=someone)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        busy = next(id_ for id_ in (A, B) if world.ready(id_) == "ForeignOperation")
        world.azure.change(B if busy == A else A, installation=None)
        world.azure.broken["machine"] = Retry("Unavailable", "Azure is away.")
        await world.passes(10 * MINUTE)
        assert world.ready(busy) == "AzureUnreachable"
        del world.azure.broken["machine"]
        await world.passes(20 * MINUTE)
        assert world.ready(busy) == "ForeignOperation"
        assert installs(world) == [], "the slot is the foreign install's"
        world.azure.change(busy, installation=None)
        await world.passes(15 * MINUTE)

    assert len(installs(world)) == 1


async def test_of_someone_elses_install_that_cannot_be_looked_at_the_slot_is_given_back() -> None:
    """As soon as any install would be over."""
    world = fleet(A, due=False)
    world.due(A)
    world.azure.change(A, installation=InstallationResult(RUNS, activity_id="someone"))
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        assert world.status(A).foreign_operation_since is not None
        world.azure.broken["machine"] = Denied("AuthorizationFailed", "It may not.")
        await world.passes(5 * HOUR)
        assert world.status(A).foreign_operation_since is not None
        await world.passes(HOUR)
        assert world.status(A).foreign_operation_since is None


async def test_who_takes_a_machine_over_takes_over_what_was_seen_at_work_on_it() -> None:
    """It has nothing to do there, and would not look."""
    world = fleet(A)
    someone = InstallationResult(RUNS, start_time=START, activity_id="someone")
    world.azure.change(A, installation=someone)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        assert world.said_of(A) == {"web-linux": "ForeignOperation"}
        world.policy("one", target={"virtualMachine": {"id": A}}, install=None, schedule=None)
        await world.passes(10 * MINUTE)
        assert world.said_of(A) == {"web-linux": "GovernedElsewhere", "one": "ForeignOperation"}
        world.azure.change(A, installation=None)
        await world.passes(15 * MINUTE)
        assert world.said_of(A) == {"web-linux": "GovernedElsewhere", "one": "AssessOnly"}

    targets = map(PatchTarget.from_object, world.kube.all(PATCH_TARGET))
    assert [one.status.foreign_operation_since for one in targets] == [None, None]


@pytest.mark.parametrize("edited", [False, True])
async def test_someone_elses_install_seen_at_the_end_of_an_assessment_holds_a_slot(
    *, edited: bool
) -> None:
    """Nothing is due there, so that nothing else would look at the machine. Whether the policy was
    edited meanwhile makes no difference."""
    world = fleet(A, due=False)
    async with world.operator_runs():
        await world.passes(SOON)
        assert [post[0] for post in world.azure.posts] == ["Assess"]
        world.azure.operations["op-1"] = Gone("NotFound", "That URL is of no use any more.")
        found = assessment_row(
            activity_id="op-1",
            start_time=START,
            last_modified=START + SOON,
            critical_and_security=0,
        )
        someone = InstallationResult(RUNS, start_time=START + SOON, activity_id="someone")
        world.azure.change(A, assessment=found, installation=someone)
        world.azure.rows[key(A)] = found
        world.azure.add(machine(id=B))
        world.due(B)
        if edited:
            world.policy(**FLEET, install={"linux": {}, "rebootSetting": "Never"})
        await world.passes(20 * MINUTE)
        assert world.ready(A) == "ForeignOperation"
        assert world.ready(B) == "WaitingForSlot"
        world.azure.change(A, installation=None)
        await world.passes(20 * MINUTE)

    assert world.ready(A) == "UpToDate"
    assert installs(world) == [B]


async def test_someone_elses_install_seen_while_an_assessment_is_in_doubt_holds_a_slot() -> None:
    world = fleet(A, due=False)
    world.azure.post = lambda _machine: Unconfirmed("Timeout", "No answer.")
    async with world.operator_runs():
        await world.passes(SOON)
        assert [post[0] for post in world.azure.posts] == ["Assess"]
        world.azure.post = lambda _machine: None
        someone = InstallationResult(RUNS, start_time=START + SOON, activity_id="someone")
        world.azure.change(A, installation=someone)
        world.azure.add(machine(id=B))
        world.due(B)
        await world.passes(12 * MINUTE)
        assert world.ready(A) == "OperationUnconfirmed"
        assert world.status(A).foreign_operation_since is not None
        assert world.ready(B) == "WaitingForSlot"
        await world.passes(10 * MINUTE)
        assert world.status(A).operation is None, "it never began"
        assert world.ready(A) == "ForeignOperation"
        assert installs(world) == []
        world.azure.change(A, installation=None)
        await world.passes(20 * MINUTE)

    assert [post[0] for post in world.azure.posts] == ["Assess", "Assess", "Install"]


async def test_a_patch_target_that_leaves_gives_its_place_back() -> None:
    world = fleet(A, B, C)
    async with world.operator_runs():
        await world.passes(SOON)
        (first,) = installs(world)
        waiting = [id_ for id_ in (A, B, C) if id_ != first]
        for raw in world.kube.all(PATCH_TARGET):
            if raw["spec"]["machineId"] == waiting[0]:
                del world.azure.views[key(waiting[0])]
                world.azure.rows.pop(key(waiting[0]))
        await world.passes(6 * MINUTE)
        assert len(world.kube.all(PATCH_TARGET)) == 2
        world.azure.operations["op-1"] = Progress(
            False, installation=InstallationResult(SUCCEEDED, activity_id="op-1", installed=1)
        )
        await world.passes(11 * MINUTE)
        world.azure.operations["op-2"] = Progress(
            False, assessment=AssessmentResult(SUCCEEDED, activity_id="op-2")
        )
        await world.passes(6 * MINUTE)

    assert installs(world) == [first, waiting[1]]


# --- one governor ---------------------------------------------------------------------------------


async def test_of_two_policies_one_acts() -> None:
    world = World()
    world.azure.add(machine())
    world.due()
    world.policy("by-image", **FLEET)
    async with world.operator_runs():
        await world.passes(HOUR)

    governs = {
        raw["spec"]["policy"]: raw["status"]["governs"] for raw in world.kube.all(PATCH_TARGET)
    }
    assert governs == {"web-linux": True, "by-image": False}
    assert len(world.azure.posts) == 1


async def test_two_that_cannot_be_written_do_not_wake_each_other() -> None:
    """Each says anew who governs, and that is news to the other; both back off all the same."""
    world = World()
    world.azure.add(machine())
    world.due()
    world.policy("by-image", **FLEET)
    refused = 0

    def refuse(line: str) -> Unavailable | None:
        nonlocal refused
        if not line.startswith("status PatchTarget") or refused == 100:
            return None  # A busy loop would never end.
        refused += 1
        return Unavailable("later")

    world.kube.refuse = refuse
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        assert 4 < refused < 100
        world.kube.refuse = lambda _line: None
        await world.passes(10 * MINUTE)

    governs = {
        raw["spec"]["policy"]: raw["status"]["governs"] for raw in world.kube.all(PATCH_TARGET)
    }
    assert governs == {"web-linux": True, "by-image": False}


async def test_the_governor_does_not_change_while_an_operation_is_in_flight() -> None:
    world = fleet(A)
    async with world.operator_runs():
        await world.passes(SOON)
        assert len(world.azure.posts) == 1
        world.policy("more-specific")
        await world.passes(5 * MINUTE)
        targets = {raw["spec"]["policy"]: raw["status"] for raw in world.kube.all(PATCH_TARGET)}
        assert targets["web-linux"]["governs"] is True
        assert targets["more-specific"]["governs"] is False
        world.azure.operations["op-1"] = Progress(
            False, installation=InstallationResult(SUCCEEDED, activity_id="op-1", installed=1)
        )
        await world.passes(11 * MINUTE)
        world.azure.operations["op-2"] = Progress(
            False, assessment=AssessmentResult(SUCCEEDED, activity_id="op-2")
        )
        await world.passes(6 * MINUTE)
        targets = {raw["spec"]["policy"]: raw["status"] for raw in world.kube.all(PATCH_TARGET)}
        assert targets["web-linux"]["governs"] is False
        assert targets["more-specific"]["governs"] is True


# --- evidence -------------------------------------------------------------------------------------


async def test_the_patches_of_an_assessment_are_waited_for_until_they_are_all_there() -> None:
    world = World()
    world.azure.add(machine())
    world.due(critical_and_security=2, last_modified=START)
    async with world.operator_runs():
        await world.passes(5 * MINUTE)
        assert world.azure.posts == []
        assert world.ready() == "WaitingForResourceGraph"
        world.azure.patches[key(VM)] = (PATCH, PATCH)
        await world.passes(5 * MINUTE)

    assert len(installs(world)) == 1


async def test_a_machine_that_azure_found_unsupported_is_not_patched() -> None:
    world = World()
    world.azure.add(machine())
    world.due(detected=DetectedState.UNSUPPORTED)
    async with world.operator_runs():
        await world.passes(HOUR)

    assert world.azure.posts == []
    assert world.ready() == "DetectedUnsupported"


@pytest.mark.parametrize(
    ("access", "posts"),
    [
        pytest.param("Read", [], id="Read: nothing"),
        pytest.param("Assess", ["Assess"], id="Assess: no install"),
    ],
)
async def test_no_more_is_done_than_is_granted(access: str, posts: list[str]) -> None:
    world = World()
    world.azure.add(machine())
    if access == "Assess":
        world.due(last_modified=START - 2 * DAY, start_time=START - 2 * DAY)
    grants = [{"name": "web", "namespaces": {"names": ["web"]}, "access": access}]
    world.subscription(grants=grants)
    async with world.operator_runs():
        await world.passes(SOON)
        world.azure.operations["op-1"] = Progress(
            False, assessment=AssessmentResult(SUCCEEDED, activity_id="op-1")
        )
        now = world.clock.now()
        world.azure.rows[key(VM)] = assessment_row(start_time=now, last_modified=now)
        await world.passes(HOUR)

    assert [post[0] for post in world.azure.posts] == posts
    assert world.ready() == "AccessTooLow"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(Denied("AuthorizationFailed", "No."), "AccessLost", id="403"),
        pytest.param(Retry("HTTP503", "Later."), "AzureUnreachable", id="503"),
    ],
)
async def test_without_a_look_at_the_machine_itself_nothing_is_sent(
    error: Denied | Retry, reason: str
) -> None:
    world = World()
    world.azure.add(machine())
    world.azure.broken["machine"] = error
    async with world.operator_runs():
        await world.passes(5 * MINUTE)
        assert world.azure.posts == []
        assert world.ready() == reason
        world.azure.broken.clear()
        await world.passes(2 * MINUTE)

    assert len(world.azure.posts) == 1


async def test_a_failed_assessment_is_sent_again_after_15_minutes_1_hour_and_6_hours() -> None:
    world = World()
    world.azure.add(machine())
    times = []

    def fails(_machine: str) -> None:
        times.append(world.clock.now())
        world.azure.operations[f"op-{len(times)}"] = Progress(
            False,
            assessment=AssessmentResult(
                GuestStatus.FAILED, activity_id=f"op-{len(times)}", last_modified=times[-1]
            ),
        )

    world.azure.post = fails
    async with world.operator_runs():
        await world.passes(36 * HOUR)

    waits = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert [wait // (15 * MINUTE) for wait in waits] == [1, 4, 24, 96]


# --- silence --------------------------------------------------------------------------------------


async def test_converged_means_silent() -> None:
    """No writes to Azure, none to Kubernetes."""
    world = fleet(A, B, due=False)
    for id_ in (A, B):
        world.azure.rows[key(id_)] = assessment_row(critical_and_security=0)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        assert {world.ready(id_) for id_ in (A, B)} == {"UpToDate"}
        written = len(world.journal)
        await world.passes(12 * HOUR)
        assert world.journal[written:] == []

    async with world.operator_runs():
        await world.passes(HOUR)
    assert world.journal[written:] == [], "nor does a restart write anything"


async def test_a_restart_while_patches_are_missing_writes_nothing() -> None:
    world = fleet(A, rollout={"maxUnavailable": 1})
    world.policy(**FLEET, suspend=True)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        written = len(world.journal)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
    assert world.journal[written:] == []


async def test_an_assessment_that_completed_with_warnings_succeeded() -> None:
    world = World()
    world.azure.add(machine())
    warned = GuestStatus.COMPLETED_WITH_WARNINGS
    async with world.operator_runs():
        await world.passes(SOON)
        world.azure.operations["op-1"] = Progress(
            False, assessment=AssessmentResult(warned, activity_id="op-1")
        )
        now = world.clock.now()
        world.azure.rows[key(VM)] = assessment_row(status=warned, start_time=now, last_modified=now)
        world.azure.patches[key(VM)] = (PATCH,)
        await world.passes(20 * MINUTE)

    assert [post[0] for post in world.azure.posts] == ["Assess", "Install"]


async def test_a_status_in_another_versions_words_does_not_stop_what_is_in_flight() -> None:
    world = World()
    world.azure.add(machine())
    async with world.operator_runs():
        await world.passes(SOON)
        assert len(world.azure.posts) == 1
    (target,) = world.kube.all(PATCH_TARGET)
    for condition in target["status"]["conditions"]:
        condition["reason"] = "OfAnotherVersion"
    world.kube.put(PATCH_TARGET, target)
    world.azure.change(assessment=AssessmentResult(RUNS, activity_id="op-1"))
    async with world.operator_runs():
        await world.passes(2 * MINUTE)
        assert world.ready() == "OperationInProgress"
        world.azure.change(assessment=AssessmentResult(SUCCEEDED, activity_id="op-1"))
        await world.passes(10 * MINUTE)

    assert world.status().operation is None
    assert world.status().assessment is not None


async def test_a_policy_whose_one_machine_is_stopped_says_so_until_it_runs() -> None:
    world = World()
    world.azure.add(machine(power_state="Deallocated"))

    def told() -> tuple[dict[str, tuple[str, str]], list[str]]:
        (policy,) = world.kube.all(PATCH_POLICY)
        status = policy["status"]
        found = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        readiness = {t: r for t, r in found.items() if t not in ("Supported", "Compliant")}
        return readiness, [problem["reason"] for problem in status.get("problems", ())]

    async with world.operator_runs():
        await world.passes(HOUR)
        waits = {"Ready": ("False", "VMStopped"), "Reconciling": ("True", "VMStopped")}
        assert told() == (waits, ["VMStopped"])
        world.azure.change(machine=machine())
        await world.passes(6 * MINUTE)
        assert told() == ({"Ready": ("True", "Working")}, [])
