"""How an operation is followed to its end, across crashes and lost answers."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from fakes import (
    DAY,
    HOUR,
    MINUTE,
    OF_ANOTHER_VERSION,
    SECOND,
    START,
    VM,
    World,
    assessment_row,
    machine,
)

from azpatch.azure.port import Denied, Gone, Progress, Retry, Unconfirmed
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    OperationError,
    RebootStatus,
)
from azpatch.domain.ids import key
from azpatch.domain.words import at
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    PATCH_POLICY,
    PATCH_TARGET,
    KubeError,
    Unavailable,
)

SOON = 20 * SECOND
FINALIZER = ["azpatch.dev/operation"]
SUCCEEDED, FAILED, RUNS = GuestStatus.SUCCEEDED, GuestStatus.FAILED, GuestStatus.IN_PROGRESS


@pytest.fixture
def world() -> World:
    world = World()
    world.azure.add(machine())
    return world


@pytest.fixture(params=["Assess", "Install"])
def kind(request: pytest.FixtureRequest, world: World) -> str:
    """Of the operation that is due."""
    if request.param == "Install":
        world.due()
    return str(request.param)


@pytest.fixture
def due(world: World) -> World:
    """An install is due."""
    world.due()
    return world


def activity(kind: str, id_: str, status: GuestStatus, **more: Any) -> dict[str, Any]:
    """What ARM shows of an operation: for `Azure.change`."""
    if kind == "Assess":
        return {"assessment": AssessmentResult(status, activity_id=id_, **more)}
    return {"installation": InstallationResult(status, activity_id=id_, **more)}


def result(kind: str, status: GuestStatus = SUCCEEDED, **more: Any) -> Progress:
    """The end of an operation, as its own URL tells it."""
    if kind == "Assess":
        return Progress(False, assessment=AssessmentResult(status, activity_id="op-1", **more))
    return Progress(False, installation=InstallationResult(status, activity_id="op-1", **more))


def ended(world: World, kind: str) -> object:
    status = world.status()
    return status.assessment if kind == "Assess" else status.installation


async def begin(world: World, kind: str) -> None:
    await world.passes(SOON)
    assert [post[0] for post in world.azure.posts] == [kind]


# --- the ordinary end -----------------------------------------------------------------------------


async def test_its_own_result_ends_it_and_the_finalizers_go(world: World, kind: str) -> None:
    async with world.operator_runs():
        await begin(world, kind)
        assert world.kube.finalizers(PATCH_TARGET) == FINALIZER
        assert world.kube.finalizers(PATCH_POLICY) == FINALIZER
        assert world.kube.finalizers(AZURE_SUBSCRIPTION) == FINALIZER
        world.azure.operations["op-1"] = result(kind)
        world.azure.post = lambda _machine: Unconfirmed("Stop", "For the test.")
        if kind == "Assess":
            world.azure.rows[key(VM)] = assessment_row(critical_and_security=0)
            await world.passes(11 * MINUTE)
            assert world.kube.finalizers(PATCH_TARGET) == []
            assert world.kube.finalizers(PATCH_POLICY) == []
            assert world.kube.finalizers(AZURE_SUBSCRIPTION) == []
        else:
            await world.passes(11 * MINUTE)

    found = world.status()
    assert ended(world, kind) is not None
    assert found.operation is None or found.operation.kind == "Assess"


async def test_after_an_install_the_machine_is_assessed_before_anything_else(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        due.azure.operations["op-1"] = result("Install", installed=1)
        await due.passes(11 * MINUTE)

        assert [post[0] for post in due.azure.posts] == ["Install", "Assess"]
        assert due.compliant() == ("Unknown", "NotAssessed")

        due.azure.operations["op-2"] = Progress(
            False, assessment=AssessmentResult(SUCCEEDED, activity_id="op-2")
        )
        await due.passes(6 * MINUTE)
        assert due.ready() == "WaitingForResourceGraph", "until its rows appear nothing installs"
        assert len(due.azure.posts) == 2

        now = due.clock.now()
        due.azure.rows[key(VM)] = assessment_row(
            start_time=now - MINUTE, last_modified=now, critical_and_security=0
        )
        due.azure.patches = {}
        await due.passes(15 * MINUTE)

    assert due.compliant() == ("True", "Compliant")
    assert len(due.azure.posts) == 2
    assert due.status().operation is None


async def test_its_failure_is_told_in_azures_words(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        error = OperationError("VMGuestPatchInternalError", "It broke.")
        due.azure.operations["op-1"] = Progress(False, error=error)
        await due.passes(11 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert (installation.status, installation.outcome) == ("Failed", "Failed")
    assert installation.error is not None
    assert installation.error.code == "VMGuestPatchInternalError"
    assert due.compliant() == ("False", "InstallFailed")
    assert [(reason, warning) for reason, _, warning in due.kube.events] == [
        ("InstallFailed", True)
    ]


async def test_one_that_failed_at_a_time_unknown_is_assessed_before_the_next(world: World) -> None:
    """Azure does not say when it failed; by our clock, which is behind, the assessment before it
    comes later."""
    world.due(start_time=START + HOUR, last_modified=START + HOUR + MINUTE)
    async with world.operator_runs():
        await begin(world, "Install")
        error = OperationError("VMGuestPatchInternalError", "It broke.")
        world.azure.operations["op-1"] = Progress(False, error=error)
        await world.passes(11 * MINUTE)

    assert [kind for kind, *_ in world.azure.posts] == ["Install", "Assess"]


async def test_the_end_of_the_last_try_says_when_the_next_is(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        (target,) = due.kube.all(PATCH_TARGET)
        begins = datetime.fromisoformat(target["status"]["attempts"]["windowStart"]) + 24 * HOUR
        for operation in ("op-1", "op-3"):
            error = OperationError("VMGuestPatchInternalError", "It broke.")
            due.azure.operations[operation] = Progress(False, error=error)
            await due.passes(11 * MINUTE)
            if operation == "op-1":
                due.azure.operations["op-2"] = Progress(
                    False, assessment=AssessmentResult(SUCCEEDED, activity_id="op-2")
                )
                await due.passes(6 * MINUTE)
                now = due.clock.now()
                due.azure.rows[key(VM)] = assessment_row(start_time=now - MINUTE, last_modified=now)
                await due.passes(15 * MINUTE)

    first, last = (note for reason, note, _ in due.kube.events if reason == "InstallFailed")
    assert first.endswith("It is tried at most twice in a window.")
    assert last.endswith(f"; the next is not before {at(begins)}.")


async def test_an_end_without_a_result_is_read_from_the_machine(world: World, kind: str) -> None:
    """Azure says Succeeded, and shows no output."""
    async with world.operator_runs():
        await begin(world, kind)
        world.azure.operations["op-1"] = Progress(running=False)
        modified = world.clock.now()
        world.azure.change(**activity(kind, "op-1", SUCCEEDED, last_modified=modified))
        await world.passes(26 * MINUTE)

    assert ended(world, kind) is not None


# --- the operation's URL is lost ------------------------------------------------------------------


@pytest.mark.parametrize("why", ["restart", "Gone", "Denied"])
async def test_without_its_url_the_instance_view_tells(world: World, kind: str, why: str) -> None:
    if why == "Gone":
        world.azure.operations["op-1"] = Gone("NotFound", "It is no longer kept.")
    if why == "Denied":
        world.azure.operations["op-1"] = Denied("Forbidden", "The signature ran out.")
    async with world.operator_runs():
        await begin(world, kind)
        if why != "restart":
            await world.passes(11 * MINUTE)
    async with world.operator_runs():
        world.azure.change(**activity(kind, "op-1", RUNS))
        await world.passes(11 * MINUTE)
        assert world.status().operation is not None, "it runs"
        assert world.status().operation.operation_id == "op-1"  # type: ignore[union-attr]
        modified = world.clock.now()
        world.azure.change(**activity(kind, "op-1", SUCCEEDED, last_modified=modified))
        await world.passes(26 * MINUTE)
        assert [post[0] for post in world.azure.posts][:1] == [kind]

    assert ended(world, kind) is not None


async def test_an_installs_row_tells_more_than_the_instance_view_and_comes_first(
    due: World,
) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
    async with due.operator_runs():
        await due.passes(MINUTE)
        due.azure.change(**activity("Install", "op-1", SUCCEEDED, last_modified=due.clock.now()))
        due.azure.install_rows[key(VM)] = InstallationResult(
            SUCCEEDED,
            activity_id="op-1",
            last_modified=due.clock.now(),
            installed=1,
            reboot_status=RebootStatus.COMPLETED,
        )
        await due.passes(MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert (installation.installed, installation.reboot_status) == (1, "Completed")


async def test_someone_elses_install_never_ends_ours(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
    someone = InstallationResult(SUCCEEDED, activity_id="someone", last_modified=START)
    due.azure.change(installation=someone)
    due.azure.install_rows[key(VM)] = someone
    async with due.operator_runs():
        await due.passes(HOUR)
        operation = due.status().operation
        assert operation is not None
        assert operation.operation_id == "op-1"

    assert due.status().installation is None


# --- the answer is lost, the operator dies --------------------------------------------------------


async def crash_after_the_intent(world: World, kind: str) -> None:
    """The operator dies while it waits for the answer to its POST."""
    world.azure.post = lambda _machine: asyncio.Event()
    async with world.operator_runs():
        await world.passes(SOON)
        assert len(world.azure.posts) == 1
    world.azure.post = lambda _machine: None
    operation = world.status().operation
    assert operation is not None
    assert operation.state == "Intent"


async def test_after_a_crash_it_looks_first_and_posts_nothing(world: World, kind: str) -> None:
    await crash_after_the_intent(world, kind)
    before = world.azure.asked("machine")
    async with world.operator_runs():
        assert world.azure.asked("machine") == before + 1
        await world.passes(14 * MINUTE)
        assert world.status().operation is not None
        assert world.kube.finalizers(PATCH_TARGET) == FINALIZER

    assert len(world.azure.posts) == 1


async def test_a_finalizer_that_somebody_took_off_is_put_on_again(world: World, kind: str) -> None:
    async with world.operator_runs():
        await begin(world, kind)
        [target] = world.kube.all(PATCH_TARGET)
        world.kube.put(
            PATCH_TARGET, {**target, "metadata": {**target["metadata"], "finalizers": []}}
        )
        await world.passes(SECOND)
        assert world.kube.finalizers(PATCH_TARGET) == FINALIZER


async def test_unchanged_for_15_minutes_it_never_started_and_is_sent_again(
    world: World, kind: str
) -> None:
    await crash_after_the_intent(world, kind)
    async with world.operator_runs():
        await world.passes(16 * MINUTE)

    assert [post[0] for post in world.azure.posts] == [kind, kind]
    attempts = world.status().attempts
    if kind == "Install":
        assert attempts is not None
        assert attempts.install_posts == 1, "the one that did not start does not count"


@pytest.mark.parametrize("lost", ["the operator dies", "the answer is lost"])
async def test_a_changed_activity_id_is_followed_as_unconfirmed(
    world: World, kind: str, lost: str
) -> None:
    if lost == "the operator dies":
        await crash_after_the_intent(world, kind)
    else:
        world.azure.post = lambda _machine: Unconfirmed("Timeout", "No answer.")
    async with world.operator_runs():
        await world.passes(SOON)
        world.azure.change(**activity(kind, "began", RUNS))
        await world.passes(20 * MINUTE)
        operation = world.status().operation
        assert operation is not None
        assert (operation.state, operation.operation_id) == ("Unconfirmed", "began")
        assert world.ready() == "OperationUnconfirmed"
        assert len(world.azure.posts) == 1
        modified = world.clock.now()
        world.azure.change(**activity(kind, "began", SUCCEEDED, last_modified=modified))
        world.azure.post = lambda _machine: Unconfirmed("Stop", "For the test.")
        await world.passes(26 * MINUTE)

    assert ended(world, kind) is not None
    if kind == "Install":
        attempts = world.status().attempts
        assert attempts is not None
        assert attempts.install_posts == 1, "Unconfirmed ones are counted"


async def test_an_answer_that_could_not_be_written_down_is_not_lost(
    world: World, kind: str
) -> None:
    failed = False

    def fail(line: str) -> KubeError | None:
        nonlocal failed
        if line != "status PatchTarget Started" or failed:
            return None
        failed = True
        return Unavailable("later")

    world.kube.refuse = fail
    async with world.operator_runs():
        await begin(world, kind)
        assert failed
        await world.passes(MINUTE)

    operation = world.status().operation
    assert operation is not None
    assert (operation.state, operation.operation_id) == ("Started", "op-1")


# --- no result ------------------------------------------------------------------------------------


async def test_past_the_deadline_an_installs_outcome_is_unknown(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        await due.passes(3 * HOUR + 30 * MINUTE - SOON)
        due.azure.post = lambda _machine: Unconfirmed("Stop", "For the test.")
        await due.passes(10 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert (installation.outcome, installation.reason) == ("Unknown", "ResultUnknown")
    attempts = due.status().attempts
    assert attempts is not None
    assert attempts.retry_after == attempts.due_since + DAY, "no POST in this window"


async def test_past_the_deadline_an_assessment_has_failed(world: World) -> None:
    async with world.operator_runs():
        await begin(world, "Assess")
        await world.passes(2 * HOUR)
        assert world.status().operation is None
        assert world.ready() == "AssessmentFailed"
        assert world.kube.finalizers(PATCH_TARGET) == []
        attempts = world.status().attempts
        assert attempts is not None
        assert attempts.failed_assessments == 1
        await world.passes(14 * MINUTE)
        assert len(world.azure.posts) == 1
        await world.passes(2 * MINUTE)
        assert len(world.azure.posts) == 2, "again after 15 minutes"


async def test_when_azure_refuses_to_show_the_machine_access_is_lost(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
    due.azure.views[key(VM)] = Denied("AuthorizationFailed", "No.")
    due.azure.broken["snapshot"] = Denied("AuthorizationFailed", "No.")
    async with due.operator_runs():
        await due.passes(4 * HOUR)

    installation = due.status().installation
    assert installation is not None
    assert (installation.outcome, installation.reason) == ("Unknown", "AccessLost")


async def test_the_machine_is_gone(world: World, kind: str) -> None:
    async with world.operator_runs():
        await begin(world, kind)
    del world.azure.views[key(VM)]
    async with world.operator_runs():
        await world.passes(6 * MINUTE)
        assert world.kube.all(PATCH_TARGET) == [], "its PatchTarget goes, and the lock with it"
        assert world.kube.finalizers(PATCH_POLICY) == []

    assert len(world.azure.posts) == 1
    if kind == "Install":
        assert [reason for reason, _, _ in world.kube.events][:1] == ["MachineGone"]


async def test_the_machine_was_replaced(world: World, kind: str) -> None:
    """A changed vmId clears every status field on the same PatchTarget."""
    async with world.operator_runs():
        await begin(world, kind)
    name = world.target().metadata.name
    world.azure.rows, world.azure.patches = {}, {}
    world.azure.change(machine=machine(vm_id="vm-2", time_created=START))
    async with world.operator_runs():
        await world.passes(SOON)
        status = world.status()

    assert world.target().metadata.name == name
    assert status.machine is not None
    assert status.machine.vm_id == "vm-2"
    assert (status.assessment, status.installation, status.detected) == (None, None, None)
    assert status.attempts is None
    assert world.azure.posts[-1][0] == "Assess", "it is a new machine, assessed first"


# --- after an install the machine must be back ----------------------------------------------------


@pytest.mark.parametrize("source", ["its own URL", "its row"])
async def test_the_agent_not_ready_30_minutes_after_is_not_back(due: World, source: str) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        due.azure.change(agent_ready=False)
        if source == "its own URL":
            due.azure.operations["op-1"] = result("Install", installed=1)
        else:
            row = InstallationResult(
                SUCCEEDED, activity_id="op-1", last_modified=due.clock.now(), installed=1
            )
            due.azure.operations["op-1"] = Gone("NotFound", "It is no longer kept.")
            due.azure.install_rows[key(VM)] = row
        await due.passes(25 * MINUTE)
        assert due.status().operation is not None, "it has until 30 minutes after"
        await due.passes(17 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert installation.outcome == "NotBack"
    assert due.compliant() == ("False", "NotBack")


async def test_an_agent_that_reports_in_time_is_back(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        due.azure.change(agent_ready=False)
        due.azure.operations["op-1"] = result("Install", installed=1)
        await due.passes(25 * MINUTE)
        due.azure.change(agent_ready=True)
        await due.passes(2 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert installation.outcome == "Succeeded"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(Denied("AuthorizationFailed", "No."), ("Unknown", "AccessLost"), id="403"),
        pytest.param(Retry("HTTP503", "Later."), ("Unknown", "ResultUnknown"), id="503"),
    ],
)
async def test_a_machine_that_cannot_be_seen_is_not_called_not_back(
    due: World, answer: Denied | Retry, outcome: tuple[str, str]
) -> None:
    """Status claims nothing that Azure did not say: by the deadline, or a day
    later where Azure says nothing at all, the outcome is unknown."""
    async with due.operator_runs():
        await begin(due, "Install")
        due.azure.operations["op-1"] = result("Install", installed=1)
        due.azure.views[key(VM)] = answer
        due.azure.hidden.add(key(VM))
        await due.passes(HOUR)
        assert due.status().operation is not None
        await due.passes(28 * HOUR)

    installation = due.status().installation
    assert installation is not None
    assert (installation.outcome, installation.reason) == outcome


async def test_a_superseded_install_is_judged_after_the_newer_one(due: World) -> None:
    superseded = OperationError(
        "PatchOperationFailed", "1 error", (("NEWER_OPERATION_SUPERSEDED", "Newer."),)
    )
    async with due.operator_runs():
        await begin(due, "Install")
        due.azure.operations["op-1"] = result("Install", FAILED, error=superseded)
        due.azure.change(**activity("Install", "someone", RUNS))
        await due.passes(20 * MINUTE)
        assert due.status().operation is not None, "the slot is held"
        due.azure.change(**activity("Install", "someone", SUCCEEDED))
        await due.passes(2 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert installation.outcome == "Superseded"


async def test_an_install_whose_url_is_lost_is_seen_to_be_superseded(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        due.azure.operations["op-1"] = Gone("AuthorizationFailed", "No.")
        newer = due.clock.now() + MINUTE
        due.azure.change(**activity("Install", "someone", RUNS, start_time=newer))
        await due.passes(20 * MINUTE)
        assert due.status().operation is not None, "the slot is held"
        due.azure.change(**activity("Install", "someone", SUCCEEDED, start_time=newer))
        await due.passes(20 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert installation.outcome == "Superseded"


# --- deletion -------------------------------------------------------------------------------------


async def test_deleting_the_policy_keeps_the_lock_until_the_result(world: World, kind: str) -> None:
    async with world.operator_runs():
        await begin(world, kind)
        (policy,) = world.kube.all(PATCH_POLICY)
        await world.kube.delete(PATCH_POLICY, policy)
        (target,) = world.kube.all(PATCH_TARGET)
        await world.kube.delete(PATCH_TARGET, target)
        await world.passes(4 * MINUTE)
        assert len(world.kube.all(PATCH_TARGET)) == 1
        assert len(world.kube.all(PATCH_POLICY)) == 1
        world.azure.operations["op-1"] = result(kind)
        await world.passes(10 * MINUTE)

    assert world.kube.all(PATCH_TARGET) == []
    assert world.kube.all(PATCH_POLICY) == []
    assert len(world.azure.posts) == 1, "deleting stops new work at once"


async def test_suspending_stops_new_work_and_reads_the_result_of_ones_own(due: World) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        due.policy(suspend=True)
        due.azure.operations["op-1"] = result("Install", installed=1)
        await due.passes(11 * MINUTE)

    installation = due.status().installation
    assert installation is not None
    assert installation.outcome == "Succeeded"
    assert [post[0] for post in due.azure.posts] == ["Install"]


async def test_under_a_policy_that_cannot_be_read_the_end_is_read_and_nothing_is_sent(
    due: World,
) -> None:
    async with due.operator_runs():
        await begin(due, "Install")
        due.policy(install=OF_ANOTHER_VERSION)
        due.azure.operations["op-1"] = result("Install", installed=1)
        await due.passes(2 * MINUTE)
        assert due.status().operation is None
        assert due.ready() == "InvalidSpec"
        assert not due.target().metadata.finalizers
        assert [post[0] for post in due.azure.posts] == ["Install"]
        due.policy()
        await due.passes(2 * MINUTE)
    assert [post[0] for post in due.azure.posts] == ["Install", "Assess"]


async def test_a_machine_that_waits_says_that_its_policy_cannot_be_read(world: World) -> None:
    async with world.operator_runs():
        await world.passes(SOON)
        world.azure.operations["op-1"] = result("Assess")
        await world.passes(HOUR)
        world.policy(install=OF_ANOTHER_VERSION)
        await world.passes(SOON)
        assert world.ready() == "InvalidSpec"
        world.policy()
        await world.passes(SOON)
    assert world.ready() == "WaitingForResourceGraph"
