"""rollout.spread: a group's machines under whatever policies, and who is woken when one is back."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import COMPUTE, IMAGE, MINUTE, SECOND, SUBSCRIPTION, World, machine, numbered

from azpatch.azure.port import Progress
from azpatch.domain.facts import AssessmentResult, GuestStatus, InstallationResult
from azpatch.domain.ids import key
from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY
from azpatch.reconcile import spread as spread_of

SOON = 20 * SECOND
A, B, C = (numbered(number) for number in (1, 2, 3))
SET = f"{COMPUTE}/availabilitySets/web"
EVERYBODY: dict[str, Any] = {"maxUnavailable": "100%"}
"""Nobody waits for anything but groups."""


def spread(*entries: dict[str, Any]) -> dict[str, Any]:
    return {**EVERYBODY, "spread": list(entries)}


def world_of(**machines: Any) -> World:
    world = World()
    world.policy(target={"galleryImage": {"id": IMAGE}}, rollout=EVERYBODY)
    for name, facts in machines.items():
        id_ = {"a": A, "b": B, "c": C}[name]
        world.azure.add(machine(id=id_, **facts))
        world.due(id_)
    return world


def apart(rollout_of_a: dict[str, Any] = EVERYBODY) -> World:
    """Two machines of one availability set, each under a policy of its own."""
    world = world_of(a=IN_SET, b=IN_SET)
    world.policy(target={"virtualMachine": {"id": A}}, rollout=rollout_of_a)
    world.policy("second", target={"virtualMachine": {"id": B}}, rollout=EVERYBODY)
    return world


def installs(world: World) -> list[str]:
    return [machine_id for kind, machine_id, _ in world.azure.posts if kind == "Install"]


def ends(world: World, number: int, status: GuestStatus = GuestStatus.SUCCEEDED) -> None:
    """The install that was the POST of this number has ended."""
    world.azure.operations[f"op-{number}"] = Progress(
        False, installation=InstallationResult(status, activity_id=f"op-{number}", installed=1)
    )


def is_assessed(world: World, number: int, status: GuestStatus = GuestStatus.SUCCEEDED) -> None:
    world.azure.operations[f"op-{number}"] = Progress(
        False, assessment=AssessmentResult(status, activity_id=f"op-{number}")
    )


IN_SET = {"availability_set": SET}
BY_ZONE = {"by": "Zone", "maxUnavailable": 1}
BY_ROLE = {"by": "Tag", "key": "role", "maxUnavailable": 1}
DB, WEB = {"tags": {"Role": "db"}}, {"tags": {"Role": "web"}}


@pytest.mark.parametrize(
    ("rollout", "facts", "at_once"),
    [
        pytest.param(EVERYBODY, (IN_SET, IN_SET), 1, id="an availability set, by default"),
        pytest.param(
            EVERYBODY, (IN_SET, {"availability_set": SET.upper()}), 1, id="its id without case"
        ),
        pytest.param(spread(), (IN_SET, IN_SET), 2, id="an empty list turns it off"),
        pytest.param(EVERYBODY, ({}, {}), 2, id="machines without a set"),
        pytest.param(
            spread(BY_ZONE), ({"zones": ("1",)}, {"zones": ("1",)}), 1, id="machines of one zone"
        ),
        pytest.param(spread(BY_ZONE), ({"zones": ("1",)}, {"zones": ("2",)}), 2, id="of two zones"),
        pytest.param(spread(BY_ROLE), (DB, DB), 1, id="one value of a tag"),
        pytest.param(spread(BY_ROLE), (DB, WEB), 2, id="two values of a tag"),
        pytest.param(
            spread({**BY_ROLE, "maxUnavailable": "100%"}), (DB, DB), 2, id="a share of the group"
        ),
        pytest.param(spread({**BY_ROLE, "maxUnavailable": "99%"}), (DB, DB), 1, id="rounded down"),
    ],
)
async def test_of_a_group_only_so_many_are_unavailable(
    rollout: dict[str, Any], facts: tuple[dict[str, Any], ...], at_once: int
) -> None:
    world = world_of(a=facts[0], b=facts[1])
    world.policy(target={"galleryImage": {"id": IMAGE}}, rollout=rollout)
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
    assert len(installs(world)) == at_once


async def test_who_waits_for_its_group_says_so_and_holds_up_nobody() -> None:
    world = world_of(a=IN_SET, b=IN_SET, c={})
    world.policy(target={"galleryImage": {"id": IMAGE}}, rollout={"maxUnavailable": 2})
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
        assert len(installs(world)) == 2
        assert C in installs(world)
        (waiting,) = {A, B} - set(installs(world))
        assert world.ready(waiting) == "WaitingForSlot"


async def test_a_group_counts_over_policies_and_who_waits_goes_when_the_machine_is_back() -> None:
    world = apart()
    async with world.operator_runs():
        await world.passes(SOON)
        (first,) = installs(world)
        ends(world, 1)
        await world.passes(11 * MINUTE)
        assert installs(world) == [first], "it was not assessed yet"
        is_assessed(world, 2)
        # Sooner than the next refresh, which would wake every policy.
        await world.passes(4 * MINUTE)
        assert sorted(installs(world)) == [A, B]


@pytest.mark.parametrize(
    ("rollout", "goes"),
    [pytest.param(spread(), True, id="off"), pytest.param(EVERYBODY, False, id="one at a time")],
)
async def test_it_is_the_asking_policy_whose_limits_hold(
    rollout: dict[str, Any], goes: bool
) -> None:
    world = apart(rollout)
    only_a: dict[str, Any] = {"target": {"virtualMachine": {"id": A}}, "rollout": rollout}
    world.policy(**only_a, suspend=True)
    async with world.operator_runs():
        await world.passes(SOON)
        assert installs(world) == [B]
        world.policy(**only_a)
        await world.passes(SOON)
        assert (A in installs(world)) is goes


async def test_a_slot_that_another_policy_was_granted_counts() -> None:
    """It waits for its turn at Azure, and nothing of it is in a status yet."""
    world = apart()
    world.azure.turn = lambda _machine: MINUTE if not installs(world) else 0 * MINUTE
    async with world.operator_runs():
        await world.passes(SOON)
        assert installs(world) == []
        world.azure.turn = lambda _machine: 0 * MINUTE
        await world.passes(5 * MINUTE)
        assert len(installs(world)) == 1


@pytest.mark.parametrize(
    "looser",
    [
        pytest.param(spread({"by": "AvailabilitySet", "maxUnavailable": 2}), id="two"),
        pytest.param(spread(), id="no limit"),
    ],
)
async def test_what_a_stricter_policy_has_granted_holds_until_it_has_begun(
    looser: dict[str, Any],
) -> None:
    """Else its own install would begin beside more than its policy lets it."""
    world = apart()
    only_b: dict[str, Any] = {"target": {"virtualMachine": {"id": B}}, "rollout": looser}
    world.policy("second", **only_b, suspend=True)
    world.azure.turn = lambda _machine: 10 * MINUTE
    async with world.operator_runs():
        await world.passes(SOON)
        world.policy("second", **only_b)
        await world.passes(SOON)
        assert list(world.azure.in_line) == [key(A)], "B waits for A to begin"
        world.azure.turn = lambda _machine: 0 * MINUTE
        await world.passes(11 * MINUTE)
        assert installs(world) == [A, B]


async def test_who_waits_goes_when_another_policys_slot_is_given_back() -> None:
    world = apart()
    world.azure.turn = lambda _machine: 10 * MINUTE
    async with world.operator_runs():
        await world.passes(SOON)
        held = next(id_ for id_ in (A, B) if key(id_) in world.azure.in_line)
        other = B if held == A else A
        world.azure.turn = lambda _machine: 0 * MINUTE
        name = "web-linux" if held == A else "second"
        world.policy(name, target={"virtualMachine": {"id": held}}, suspend=True)
        await world.passes(SOON)
        assert installs(world) == [other]


async def test_a_restart_forgets_none_that_is_unavailable() -> None:
    world = apart()
    async with world.operator_runs():
        await world.passes(SOON)
        (first,) = installs(world)
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
        assert installs(world) == [first]


async def test_a_machine_whose_tags_are_not_known_may_be_in_any_group_of_a_tag() -> None:
    """The AzureSubscription went, and with it what was read of its machines."""
    other = A.replace(SUBSCRIPTION, "99999999-9999-9999-9999-999999999999")
    world = world_of(b=DB)
    world.policy(target={"galleryImage": {"id": IMAGE}}, rollout=spread(BY_ROLE))
    world.kube.put(
        AZURE_SUBSCRIPTION,
        {
            "apiVersion": "azpatch.dev/v1alpha1",
            "kind": "AzureSubscription",
            "metadata": {"name": "other"},
            "spec": {
                "subscriptionId": other.split("/")[2],
                "tenantId": "22222222-2222-2222-2222-222222222222",
                "supportMatrix": "2023-05",
                "previewFeature": {"mode": "Ignore"},
                "grants": [{"name": "w", "namespaces": {"names": ["web"]}, "access": "Patch"}],
            },
        },
    )
    world.azure.add(machine(id=other, vm_id="vm-other", **WEB))
    world.due(other)
    world.azure.turn = lambda id_: 60 * MINUTE if id_.lower() == B.lower() else 0 * MINUTE
    async with world.operator_runs():
        await world.passes(SOON)
        assert installs(world) == [other], "the groups are two"
    (found,) = (raw for raw in world.kube.all(AZURE_SUBSCRIPTION) if "other" in str(raw))
    secret = {"type": "ClientSecret", "clientId": other.split("/")[2], "secretRef": {"name": "x"}}
    found["spec"]["identity"] = secret
    world.kube.put(AZURE_SUBSCRIPTION, found)
    world.azure.turn = lambda _machine: 0 * MINUTE
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
        assert installs(world) == [other], "what its group is, is not known"


async def test_without_groups_nobody_looks_at_the_machines_of_other_policies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There may be tens of thousands."""
    world = world_of(a={}, b={"zones": ("1",)})
    monkeypatch.setattr(spread_of, "_unavailable_ones", lambda context: pytest.fail("looked"))
    async with world.operator_runs():
        await world.passes(SOON)
        assert sorted(installs(world)) == [A, B]


async def test_a_policy_that_waits_for_a_failed_machine_of_its_group_says_so() -> None:
    world = apart()
    async with world.operator_runs():
        await world.passes(SOON)
        (first,) = installs(world)
        ends(world, 1, GuestStatus.FAILED)
        await world.passes(11 * MINUTE)
        is_assessed(world, 2, GuestStatus.FAILED)
        await world.passes(13 * MINUTE)
        assert installs(world) == [first]
        ready = {
            raw["metadata"]["name"]: condition
            for raw in world.kube.all(PATCH_POLICY)
            for condition in raw["status"]["conditions"]
            if condition["type"] == "Ready"
        }
        waits = ready["second" if first == A else "web-linux"]
        assert waits["reason"] == "TooManyFailed"
        assert waits["message"].startswith(f"{first.rsplit('/', 1)[-1]} failed and fill the groups")
