"""How an operation begins: finalizers, intent, one POST, its answer; and what stops it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes import HOUR, MINUTE, SECOND, VM, World, machine

from azpatch.azure.port import (
    AzureError,
    Busy,
    Denied,
    Gone,
    NeverSent,
    NotStarted,
    SignInFailed,
    Throttled,
    Unconfirmed,
)
from azpatch.domain.facts import AssessmentResult, GuestStatus, InstallationResult
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    PATCH_POLICY,
    PATCH_TARGET,
    Conflict,
    KubeError,
    Unavailable,
)

SOON = 20 * SECOND
"""Long enough for the first look-up of patches, a slot and the POST."""


@pytest.fixture
def world() -> World:
    world = World()
    world.azure.add(machine())
    return world


def from_first_finalizer(journal: list[str]) -> list[str]:
    """The journal without what led to the operation, and without statuses of other kinds."""
    first = next(n for n, line in enumerate(journal) if line.startswith("finalizer"))
    return [line for line in journal[first:] if line.split()[1] != "PatchPolicy" or "fin" in line]


PROTOCOL = [
    "finalizer PatchPolicy",
    "finalizer AzureSubscription",
    "finalizer PatchTarget",
    "status PatchTarget Intent",
]


@pytest.mark.parametrize("kind", ["Assess", "Install"])
async def test_finalizers_then_the_intent_then_one_post_then_its_answer(
    world: World, kind: str
) -> None:
    if kind == "Install":
        world.due()
    async with world.operator_runs():
        await world.passes(SOON)

    lines = [line for line in from_first_finalizer(world.journal) if "status Azure" not in line]
    assert lines == [*PROTOCOL, f"POST {kind}", "status PatchTarget Started"]


async def test_the_intent_says_what_when_and_what_was_there_before(world: World) -> None:
    world.due()
    before = InstallationResult(GuestStatus.SUCCEEDED, activity_id="before")
    world.azure.change(installation=before)
    world.azure.post = lambda _machine: asyncio.Event()
    async with world.operator_runs():
        await world.passes(SOON)

    operation = world.status().operation
    assert operation is not None
    (post,) = world.azure.posts
    assert operation.kind == "Install"
    assert operation.state == "Intent"
    assert operation.attempt_id == post[2], "sent as x-ms-client-request-id"
    assert operation.previous_activity_id == "before"
    assert operation.operation_id is None
    assert operation.deadline - operation.intent_time == 2 * HOUR + 90 * MINUTE
    attempts = world.status().attempts
    assert attempts is not None
    assert attempts.install_posts == 1


async def test_what_azure_answered_is_written_down_but_no_signed_url(world: World) -> None:
    async with world.operator_runs():
        await world.passes(SOON)

    operation = world.status().operation
    assert operation is not None
    assert (operation.state, operation.operation_id) == ("Started", "op-1")
    assert "https" not in str(world.kube.all(PATCH_TARGET))


def refusing(line: str, error: KubeError, times: int = 1) -> RefuseOnce:
    return RefuseOnce(line, error, times)


class RefuseOnce:
    """The API server refuses the first writes of this kind."""

    def __init__(self, line: str, error: KubeError, times: int) -> None:
        self.line, self.error, self.left = line, error, times

    def __call__(self, line: str) -> KubeError | None:
        if line != self.line or not self.left:
            return None
        self.left -= 1
        return self.error


@pytest.mark.parametrize("line", PROTOCOL)
@pytest.mark.parametrize("error", [Conflict("changed"), Unavailable("later")], ids=repr)
async def test_without_finalizers_and_intent_nothing_is_posted(
    world: World, line: str, error: KubeError
) -> None:
    world.kube.refuse = refusing(line, error, times=1000)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)

    assert world.azure.posts == []
    assert world.status().operation is None


@pytest.mark.parametrize("line", PROTOCOL)
async def test_after_a_conflict_all_is_decided_anew_and_posted_once(
    world: World, line: str
) -> None:
    world.kube.refuse = refusing(line, Conflict("changed"))
    async with world.operator_runs():
        await world.passes(SOON)

    assert len(world.azure.posts) == 1


async def test_a_conflict_in_fact_when_somebody_changed_the_object_meanwhile(
    world: World,
) -> None:
    """The intent has a precondition: the object that the decision was made on."""
    changed = False

    def change(line: str) -> None:
        nonlocal changed
        if line == "status PatchTarget Intent" and not changed:
            changed = True
            (target,) = world.kube.all(PATCH_TARGET)
            world.kube.put(PATCH_TARGET, target)

    world.kube.refuse = change
    async with world.operator_runs():
        await world.passes(SOON)

    assert [line for line in world.journal if "POST" in line or "target " in line.lower()][-4:] == [
        "status PatchTarget Intent",
        "status PatchTarget Intent",
        "POST Assess",
        "status PatchTarget Started",
    ]


@pytest.mark.parametrize("seconds", [6, 61])
async def test_an_intent_that_took_too_long_is_dropped(world: World, seconds: int) -> None:
    """More than 5 s after what is declared was asked for, 60 s after the look at the machine."""
    late = False

    def wait(line: str) -> None:
        nonlocal late
        if line == "status PatchTarget Intent" and not late:
            late = True
            world.clock.jump(seconds * SECOND)

    world.kube.refuse = wait
    world.due()
    async with world.operator_runs():
        await world.passes(5 * SECOND)
        assert late
        assert world.azure.posts == []
        assert world.status().operation is None
        assert world.kube.finalizers(PATCH_TARGET) == []
        assert world.ready() == "RetryLater"
        attempts = world.status().attempts
        assert attempts is not None
        assert attempts.install_posts == 0, "one that did not start does not count"
        await world.passes(MINUTE)

    assert len(world.azure.posts) == 1


@pytest.mark.parametrize(
    ("error", "reason", "again"),
    [
        pytest.param(Busy("Conflict", "Busy."), "ForeignOperation", MINUTE, id="409"),
        pytest.param(Throttled("TooMany", "Later."), "Throttled", MINUTE, id="429"),
        pytest.param(
            Throttled("TooMany", "Later.", 7 * MINUTE), "Throttled", 7 * MINUTE, id="429 says when"
        ),
        pytest.param(Denied("AuthorizationFailed", "No."), "AccessMissing", HOUR, id="403"),
        pytest.param(NotStarted("BadRequest", "No."), "Rejected", HOUR, id="400"),
        pytest.param(NeverSent("Refused", "No."), "AzureUnreachable", MINUTE, id="no connection"),
        pytest.param(Gone("NotFound", "No."), "MachineGone", MINUTE, id="404"),
        pytest.param(SignInFailed("AADSTS1", "No."), "IdentityFailed", MINUTE, id="no token"),
    ],
)
@pytest.mark.parametrize("kind", ["Assess", "Install"])
async def test_a_definite_refusal_did_not_start(
    world: World, kind: str, error: AzureError, reason: str, again: object
) -> None:
    if kind == "Install":
        world.due()
    world.azure.post = lambda _machine: error
    async with world.operator_runs():
        await world.passes(SOON)
        assert world.azure.posts[0][0] == kind
        assert len(world.azure.posts) == 1
        assert world.status().operation is None
        assert world.ready() == reason
        assert world.kube.finalizers(PATCH_TARGET) == []
        assert world.kube.finalizers(PATCH_POLICY) == []
        assert world.kube.finalizers(AZURE_SUBSCRIPTION) == []
        if kind == "Install":
            attempts = world.status().attempts
            assert attempts is not None
            assert (attempts.install_posts, attempts.selected_hash) == (0, None)
        assert isinstance(again, type(MINUTE))
        await world.passes(again - SOON - SECOND)
        assert len(world.azure.posts) == 1, "not before its time"
        await world.passes(SOON + 16 * SECOND)
        assert len(world.azure.posts) == 2


@pytest.mark.parametrize("kind", ["Assess", "Install"])
async def test_a_lost_answer_is_unconfirmed_and_nothing_is_posted_beside_it(
    world: World, kind: str
) -> None:
    if kind == "Install":
        world.due()
    world.azure.post = lambda _machine: Unconfirmed("Timeout", "No answer.")
    async with world.operator_runs():
        await world.passes(14 * MINUTE)

    operation = world.status().operation
    assert operation is not None
    assert (operation.state, operation.operation_id) == ("Unconfirmed", None)
    assert world.ready() == "OperationUnconfirmed"
    assert world.kube.finalizers(PATCH_TARGET) == ["azpatch.dev/operation"]
    assert len(world.azure.posts) == 1


async def test_an_unconfirmed_install_counts_until_it_is_known_not_to_have_started(
    world: World,
) -> None:
    world.due()
    world.azure.post = lambda _machine: Unconfirmed("Timeout", "No answer.")
    async with world.operator_runs():
        await world.passes(SOON)
        attempts = world.status().attempts
        assert attempts is not None
        assert attempts.install_posts == 1


RUNS = GuestStatus.IN_PROGRESS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"agent_ready": False}, "AgentNotReady", id="the agent is not ready"),
        pytest.param({"machine": machine(power_state="Deallocated")}, "VMStopped", id="stopped"),
        pytest.param({"machine": machine(vm_id="vm-2")}, "MachineReplaced", id="replaced"),
        pytest.param(
            {"assessment": AssessmentResult(RUNS, activity_id="someone")},
            "ForeignOperation",
            id="someone's assessment runs",
        ),
        pytest.param(
            {"installation": InstallationResult(RUNS, activity_id="someone")},
            "ForeignOperation",
            id="someone's install runs",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["Assess", "Install"])
async def test_the_machine_itself_is_looked_at_before_the_post(
    world: World, kind: str, changes: dict[str, Any], reason: str
) -> None:
    if kind == "Install":
        world.due()
    snapshot = world.azure.snapshot
    shown = await snapshot([VM.split("/")[2]])

    async def stale(_subscriptions: object) -> object:
        return shown if kind == "Assess" else await _with_row(world, shown)

    world.azure.snapshot = stale  # type: ignore[assignment, method-assign]
    world.azure.change(**changes)
    async with world.operator_runs():
        await world.passes(SOON)

    assert world.azure.posts == []
    assert world.ready() == reason
    assert world.kube.finalizers(PATCH_TARGET) == []


async def _with_row(world: World, shown: object) -> object:
    return replace(shown, assessments=world.azure.rows)  # type: ignore[type-var]


@pytest.mark.parametrize("kind", ["Assess", "Install"])
async def test_without_the_lease_there_is_not_even_an_intent(world: World, kind: str) -> None:
    if kind == "Install":
        world.due()

    def lose(line: str) -> None:
        world.leading = world.leading and line != "finalizer PatchTarget"

    world.kube.refuse = lose
    async with world.operator_runs():
        await world.passes(SOON)

    assert world.journal[-1] == "finalizer PatchTarget"
    assert world.azure.posts == []


async def test_a_lease_lost_after_the_intent_sends_nothing_and_writes_nothing(
    world: World,
) -> None:
    def lose(line: str) -> None:
        world.leading = world.leading and line != "status PatchTarget Intent"

    world.kube.refuse = lose
    async with world.operator_runs():
        await world.passes(HOUR)

    assert world.journal[-1] == "status PatchTarget Intent"
    assert world.azure.posts == []


async def test_a_lease_lost_under_way_leaves_azures_answer_to_the_next_leader(
    world: World,
) -> None:
    def lose(_machine: str) -> None:
        world.leading = False

    world.azure.post = lose
    async with world.operator_runs():
        await world.passes(HOUR)

    assert world.journal[-1] == "POST Assess"
    assert len(world.azure.posts) == 1
    operation = world.status().operation
    assert operation is not None
    assert operation.state == "Intent"
