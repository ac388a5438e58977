"""An install ends and its assessment begins: one write, or two where the second has to wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from fakes import HOUR, MINUTE, SECOND, World, machine

from azpatch.azure.port import AzureError, OverBudget, Progress, Retry, Unconfirmed
from azpatch.domain.facts import GuestStatus, InstallationResult, RebootStatus
from azpatch.kube.port import PATCH_POLICY, PATCH_TARGET, Conflict, KubeError, Unavailable

FINALIZER = ["azpatch.dev/operation"]
ENDED = Progress(
    False,
    installation=InstallationResult(
        GuestStatus.SUCCEEDED,
        activity_id="op-1",
        installed=1,
        reboot_status=RebootStatus.NOT_NEEDED,
    ),
)


@pytest.fixture
def world() -> World:
    """An install is due."""
    world = World()
    world.azure.add(machine())
    world.due()
    return world


async def install_ends(world: World) -> None:
    """It is in flight, and is about to be seen to have ended."""
    await world.passes(20 * SECOND)
    assert [post[0] for post in world.azure.posts] == ["Install"]
    world.azure.operations["op-1"] = ENDED


def end_is_told(world: World) -> bool:
    return world.status().installation is not None


def operation(world: World) -> str | None:
    found = world.status().operation
    return f"{found.kind} {found.state}" if found else None


def installs_reported(world: World) -> int:
    return sum(note.startswith("web-1: The install") for _, note, _ in world.kube.events)


async def test_the_end_is_written_with_the_next_intent(world: World) -> None:
    async with world.operator_runs():
        await install_ends(world)
        before = len(world.journal)
        await world.passes(11 * MINUTE)

    written = [line for line in world.journal[before:] if "PatchTarget" in line or "POST" in line]
    assert written == ["status PatchTarget Intent", "POST Assess", "status PatchTarget Started"]
    assert end_is_told(world)
    assert installs_reported(world) == 1


async def test_what_azure_answered_to_the_second_is_followed(world: World) -> None:
    async with world.operator_runs():
        await install_ends(world)
        await world.passes(11 * MINUTE)
        asked = world.azure.asked("operation")
        await world.passes(5 * MINUTE)

        assert world.azure.asked("operation") > asked, "its own URL"


async def test_an_assessment_that_waits_for_its_turn_does_not_keep_the_end_back(
    world: World,
) -> None:
    async with world.operator_runs():
        await install_ends(world)
        world.azure.turn = lambda _machine: 20 * SECOND
        await world.passes(11 * MINUTE)

        assert end_is_told(world)
        assert (operation(world), world.ready()) == (None, "Working")
        assert world.kube.finalizers(PATCH_TARGET) == FINALIZER
        world.azure.turn = lambda _machine: timedelta(0)
        await world.passes(MINUTE)
        assert operation(world) == "Assess Started"
    assert installs_reported(world) == 1


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            lambda: OverBudget("Budget", "Later.", retry_after=HOUR), id="no budget to look"
        ),
        pytest.param(lambda: Retry("ServerError", "Later."), id="the look fails"),
        pytest.param(
            lambda: RuntimeError("an answer that nobody expects"), id="a defect in the look"
        ),
    ],
)
async def test_a_look_that_fails_does_not_keep_the_end_back(
    world: World, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = world.azure.machine, 0

    async def fails(machine_id: str) -> object:
        # The first tells whether the machine is back, the second is the one before the POST.
        nonlocal looks
        looks += 1
        if looks > 1:
            # One that is raised again grows with each time, and to log it takes longer and longer.
            raise error()
        return await real(machine_id)

    async with world.operator_runs():
        await install_ends(world)
        monkeypatch.setattr(world.azure, "machine", fails)
        await world.passes(11 * MINUTE)

        assert looks > 1
        assert end_is_told(world)
        assert operation(world) is None
    assert installs_reported(world) == 1


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        pytest.param(Retry("Busy", "Later."), None, id="refused"),
        pytest.param(Unconfirmed("Timeout", "Lost."), "Assess Unconfirmed", id="lost"),
    ],
)
async def test_a_post_that_fails_leaves_the_end_told(
    world: World, answer: AzureError, left: str | None
) -> None:
    async with world.operator_runs():
        await install_ends(world)
        world.azure.post = lambda _machine: answer
        await world.passes(5 * MINUTE + 30 * SECOND)
        while not end_is_told(world):
            await world.passes(10 * SECOND)

        assert operation(world) == left
    assert installs_reported(world) == 1


async def test_who_suspends_the_policy_in_between_sees_the_end_and_no_assessment(
    world: World,
) -> None:
    real, suspended = world.azure.machine, False

    async def suspends(machine_id: str) -> object:
        # While the machine is looked at, with a watch that lags.
        nonlocal suspended
        if not suspended:
            suspended = True
            watch, world.kube.watch = world.kube.watch, lambda *_: None
            world.policy(suspend=True)
            world.kube.watch = watch
        return await real(machine_id)

    async with world.operator_runs():
        await install_ends(world)
        world.azure.machine = suspends  # type: ignore[method-assign]
        await world.passes(11 * MINUTE)

        assert suspended
        assert end_is_told(world)
        assert [post[0] for post in world.azure.posts] == ["Install"]
        assert world.ready() == "Suspended"


@pytest.mark.parametrize("error", [Conflict("changed"), Unavailable("later")], ids=repr)
async def test_an_intent_that_is_refused_leaves_the_end_to_be_told(
    world: World, error: KubeError
) -> None:
    async with world.operator_runs():
        await install_ends(world)
        world.kube.refuse = lambda line: error if line.endswith("PatchTarget Intent") else None
        await world.passes(11 * MINUTE)

        assert end_is_told(world)
        assert operation(world) is None
        world.kube.refuse = lambda _line: None
        await world.passes(11 * MINUTE)
        assert operation(world) == "Assess Started"
    assert installs_reported(world) == 1


async def test_a_declaration_that_cannot_be_read_does_not_keep_the_end_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.kube.get

    async def fails(kind: object, name: str, namespace: str = "") -> object:
        if kind == PATCH_POLICY:
            raise Unavailable("Not now.")
        return await real(kind, name, namespace)  # type: ignore[arg-type]

    async with world.operator_runs():
        await install_ends(world)
        monkeypatch.setattr(world.kube, "get", fails)
        await world.passes(11 * MINUTE)

        assert end_is_told(world)
        assert operation(world) is None
    assert installs_reported(world) == 1


async def test_a_defect_in_the_post_does_not_keep_the_event_of_the_end_back(world: World) -> None:
    def fails(_machine: str) -> AzureError | None:
        raise RuntimeError("an answer that nobody expects")

    async with world.operator_runs():
        await install_ends(world)
        world.azure.post = fails
        await world.passes(11 * MINUTE)

        assert end_is_told(world)
        assert operation(world) == "Assess Intent"
    assert installs_reported(world) == 1
