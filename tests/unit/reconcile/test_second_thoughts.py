"""What changes while a machine is looked at counts: it is decided again before the intent."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fakes import HOUR, IMAGE, MINUTE, SECOND, START, VM, World, machine, numbered

from azpatch.azure.port import Gone, NotStarted
from azpatch.domain.facts import GuestStatus, InstallationResult, MachineView
from azpatch.domain.ids import key
from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_TARGET, Refused

SOON = 20 * SECOND
Change = Callable[[World], None]


def due_world() -> World:
    world = World()
    world.azure.add(machine())
    world.due()
    return world


def while_looking(world: World, change: Change) -> None:
    """The change happens while the first look at the machine is under way."""
    looked = world.azure.machine
    changes = [change]

    async def machine_(machine_id: str) -> MachineView:
        view = await looked(machine_id)
        if changes:
            changes.pop()(world)
        return view

    world.azure.machine = machine_  # type: ignore[method-assign]


def edited(world: World, kind: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Somebody edits the object: a new generation."""
    (raw,) = world.kube.all(kind)
    spec = {**raw["spec"]}
    change(spec)
    meta = {**raw["metadata"], "generation": raw["metadata"].get("generation", 1) + 1}
    world.kube.put(kind, {**raw, "metadata": meta, "spec": spec})


def deleted(world: World) -> None:
    (raw,) = world.kube.all(PATCH_POLICY)
    meta = {**raw["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z"}
    world.kube.put(PATCH_POLICY, {**raw, "metadata": meta})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda w: edited(w, PATCH_POLICY, lambda s: s.update(suspend=True)), id="suspended"
        ),
        pytest.param(
            lambda w: edited(w, AZURE_SUBSCRIPTION, lambda s: s.update(grants=[])), id="no grant"
        ),
        pytest.param(
            lambda w: edited(
                w, PATCH_POLICY, lambda s: s.update(install={"windows": {}}, schedule=s["schedule"])
            ),
            id="nothing selected",
        ),
        pytest.param(deleted, id="deleted"),
    ],
)
async def test_what_stops_a_policy_stops_what_was_about_to_be_sent(change: Change) -> None:
    world = due_world()
    while_looking(world, change)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)

    assert world.azure.posts == []
    assert [t["metadata"].get("finalizers", []) for t in world.kube.all(PATCH_TARGET)] in ([], [[]])
    assert world.kube.finalizers(PATCH_POLICY) == []


async def test_an_edit_that_changes_the_install_is_what_is_sent() -> None:
    world = due_world()
    sent: list[Any] = []
    install = world.azure.install

    async def install_(machine_id: str, parameters: Any, attempt_id: str) -> Any:
        sent.append(parameters)
        return await install(machine_id, parameters, attempt_id)

    world.azure.install = install_  # type: ignore[method-assign]
    never = {"linux": {}, "rebootSetting": "Never"}
    while_looking(world, lambda w: edited(w, PATCH_POLICY, lambda s: s.update(install=never)))
    async with world.operator_runs():
        await world.passes(2 * MINUTE)

    assert [body["rebootSetting"] for body in sent] == ["Never"]


async def test_an_install_of_somebody_else_asks_for_an_assessment_first() -> None:
    """Such as that of the policy which had this machine before it was renamed."""
    world = due_world()
    end = START - timedelta(minutes=10)
    world.azure.change(
        installation=InstallationResult(
            GuestStatus.SUCCEEDED, end - MINUTE, end, "somebody-elses", installed=1
        )
    )
    async with world.operator_runs():
        await world.passes(2 * MINUTE)

    assert [kind for kind, _, _ in world.azure.posts] == ["Assess"]


@pytest.mark.parametrize("gone", ["policy", "status"])
async def test_an_operation_that_cannot_be_read_still_holds_the_machine(gone: str) -> None:
    """Its policy was removed by force, or its record is of a newer version."""
    world = due_world()
    world.azure.post = lambda _machine: None
    async with world.operator_runs():
        await world.passes(SOON)
        assert len(world.azure.posts) == 1
    (target,) = world.kube.all(PATCH_TARGET)
    if gone == "status":
        operation = {**target["status"]["operation"], "kind": "Rollback"}
        status = {**target["status"], "operation": operation}
        world.kube.put(PATCH_TARGET, {**target, "status": status})
    else:
        (policy,) = world.kube.all(PATCH_POLICY)
        kept = {**policy["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z"}
        await world.kube.set_finalizers(PATCH_POLICY, {**policy, "metadata": kept}, [])
        (policy,) = world.kube.all(PATCH_POLICY)
        await world.kube.delete(PATCH_POLICY, policy)
    world.policy("other")
    world.azure.hidden.add(key(VM))
    async with world.operator_runs():
        await world.passes(HOUR)

    assert len(world.azure.posts) == 1


async def test_one_refused_write_does_not_stop_the_policy() -> None:
    """A quota, or somebody's admission webhook, that takes one PatchTarget and not the other."""
    world = World()
    world.policy(target={"galleryImage": {"id": IMAGE}})
    for number in (1, 2):
        world.azure.add(machine(id=numbered(number)))
        world.due(numbered(number))
    creates = itertools.count()

    def refuse(line: str) -> Refused | None:
        return Refused("quota") if line.startswith("create") and next(creates) != 1 else None

    world.kube.refuse = refuse
    async with world.operator_runs():
        await world.passes(10 * MINUTE)

    assert len(world.kube.all(PATCH_TARGET)) == 1
    assert [kind for kind, _, _ in world.azure.posts][:1] == ["Install"]


async def test_a_neighbour_that_does_not_govern_takes_no_look_up_away() -> None:
    """Both PatchTargets of a machine are woken together; one waits for its patches."""
    world = due_world()
    world.due(start_time=START - 3 * MINUTE, last_modified=START - MINUTE)
    patches = world.azure.patches.pop(key(VM))
    async with world.operator_runs():
        await world.passes(SECOND)
        world.policy("z-later")
        await world.passes(45 * SECOND)
        world.azure.patches[key(VM)] = patches
        await world.passes(20 * MINUTE)

    assert [kind for kind, _, _ in world.azure.posts][:1] == ["Install"]


async def test_a_machine_that_was_called_gone_and_is_there_is_managed_again() -> None:
    """Replaced under its name: for a moment ARM answered 404."""
    world = due_world()
    looked = world.azure.machine
    answers: list[Exception] = [Gone("NotFound", "Not there.")]

    async def machine_(machine_id: str) -> MachineView:
        if answers:
            raise answers.pop()
        return await looked(machine_id)

    world.azure.machine = machine_  # type: ignore[method-assign]
    async with world.operator_runs():
        await world.passes(30 * MINUTE)

    assert [kind for kind, _, _ in world.azure.posts][:1] == ["Install"]


async def test_a_due_machine_whose_agent_is_silent_writes_nothing_while_it_is() -> None:
    world = due_world()
    world.azure.change(agent_ready=False)
    async with world.operator_runs():
        await world.passes(10 * MINUTE)
        assert world.ready() == "AgentNotReady"
        before = len([line for line in world.journal if line.startswith("status")])
        await world.passes(3 * HOUR)
        after = len([line for line in world.journal if line.startswith("status")])

    assert after == before


async def test_a_corrected_policy_does_not_wait_for_what_was_refused() -> None:
    world = due_world()
    answers: list[Any] = [NotStarted("InvalidParameter", "Too long.")]
    world.azure.post = lambda _machine: answers.pop() if answers else None
    async with world.operator_runs():
        await world.passes(MINUTE)
        assert world.ready() == "Rejected"
        shorter = {"linux": {}, "maximumDuration": "PT1H"}
        edited(world, PATCH_POLICY, lambda s: s.update(install=shorter))
        await world.passes(2 * MINUTE)

    assert [kind for kind, _, _ in world.azure.posts] == ["Install", "Install"]


async def test_what_no_watch_has_shown_counts_too() -> None:
    world = due_world()

    def unseen(world: World) -> None:
        world.kube.watch = lambda _kind, _raw, _gone: None
        edited(world, PATCH_POLICY, lambda spec: spec.update(suspend=True))

    while_looking(world, unseen)
    async with world.operator_runs():
        await world.passes(SOON)
    assert world.azure.posts == []


async def test_what_a_policy_of_the_same_name_left_behind_is_not_this_ones() -> None:
    world = due_world()
    async with world.operator_runs():
        await world.passes(SOON)
    sent = len(world.azure.posts)
    (left,) = world.kube.all(PATCH_TARGET)
    owners = [{**left["metadata"]["ownerReferences"][0], "uid": "another"}]
    bare = {k: v for k, v in left.items() if k != "status"}
    meta = {**left["metadata"], "ownerReferences": owners, "name": "left-behind"}
    world.kube.put(PATCH_TARGET, {**bare, "metadata": meta})
    async with world.operator_runs():
        await world.passes(HOUR)
    behind = next(
        raw for raw in world.kube.all(PATCH_TARGET) if raw["metadata"]["name"] == "left-behind"
    )
    assert sent > 0
    assert "operation" not in (behind.get("status") or {})
    assert "assessment" not in (behind.get("status") or {})
