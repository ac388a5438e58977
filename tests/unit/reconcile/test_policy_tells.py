"""What a policy tells beside its status: numbers for dashboards, Events for people."""

from __future__ import annotations

from fakes import HOUR, IMAGE, MINUTE, OF_ANOTHER_VERSION, VM, World, machine
from prometheus_client import REGISTRY

from azpatch.kube.port import PATCH_POLICY

SOON = MINUTE


def series(state: str, policy: str = "web-linux") -> float | None:
    labels = {"namespace": "web", "policy": policy, "state": state}
    return REGISTRY.get_sample_value("azpatch_policy_machines", labels)


async def test_its_machines_are_counted_until_it_is_gone() -> None:
    world = World()
    world.azure.add(machine())
    world.due()
    async with world.operator_runs():
        await world.passes(SOON)
        assert (series("governed"), series("inProgress"), series("conflicts")) == (1, 1, 0)
        await world.passes(4 * HOUR)
        (policy,) = world.kube.all(PATCH_POLICY)
        await world.kube.delete(PATCH_POLICY, policy)
        await world.passes(SOON)
        await world.passes(4 * HOUR)

    assert world.kube.all(PATCH_POLICY) == []
    assert series("governed") is None


async def test_nobody_counts_the_machines_of_one_that_cannot_be_read() -> None:
    world = World()
    world.azure.add(machine())
    async with world.operator_runs():
        await world.passes(SOON)
        assert series("governed") == 1
        world.policy(install=OF_ANOTHER_VERSION)
        await world.passes(SOON)
        assert series("governed") is None
        world.policy()
        await world.passes(SOON)
    assert series("governed") == 1


async def test_a_policy_is_told_when_another_takes_its_machine() -> None:
    world = World()
    world.policy(target={"galleryImage": {"id": IMAGE}})
    world.azure.add(machine())
    async with world.operator_runs():
        await world.passes(2 * HOUR)
        world.policy("just-this-one", target={"virtualMachine": {"id": VM}}, suspend=True)
        await world.passes(10 * MINUTE)

    told = [(reason, note) for reason, note, _ in world.kube.events]
    assert (
        "GovernedElsewhere",
        "web-1: PatchPolicy just-this-one governs this machine: its target is more specific, or it "
        "comes first by name.",
    ) in told


async def test_a_policy_that_waits_for_a_person_says_so_once() -> None:
    world = World()
    async with world.operator_runs():
        await world.passes(HOUR)

    assert [reason for reason, _, warning in world.kube.events if warning] == ["NotGranted"]
