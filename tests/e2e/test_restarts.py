"""The operator ends and comes back; Azure changes meanwhile."""

import signal
from collections.abc import Callable, Iterator

import pytest
from manifests import (
    GALLERY,
    GENERALIZED,
    OPERATOR,
    Manifest,
    azure_subscription,
    condition,
    grant,
    image_id,
    machine,
    namespace,
    operator_principal,
    person_principal,
    policy,
    reason,
    subscription,
    vm_id,
)
from world import World

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Rollout,
    at_most_one_in_flight,
    max_unavailable_kept,
)
from lab.controlplane import ControlPlane

PACE = 120
NS = "restarts"

LONG: Manifest = {"linux": {}, "maximumDuration": "PT1H", "rebootSetting": "Never"}
SLOW = {"perPatch": "24m"}
"""An install of twelve real seconds: the operator is back before it ends."""

TERMINATED = policy(NS, "terminated", vm_id("terminated"), install=LONG)
KILLED = policy(NS, "killed", vm_id("killed"), install=LONG)
AWAY = policy(NS, "away", vm_id("away"), install=LONG)
ASSESSED = policy(NS, "assessed", vm_id("assessed"))
REBUILT = policy(NS, "rebuilt", vm_id("rebuilt"))
MANY = policy(NS, "many", image_id("many"), rollout={"maxUnavailable": 2})
MANY_MACHINES = [f"many-{n}" for n in range(1, 6)]

NEW_VM = "11111111-2222-4333-8444-555555555555"


def fleet(
    controlplane: ControlPlane,
    rebuilt: Manifest | None = None,
    operator: Manifest | None = None,
) -> Manifest:
    """`rebuilt` and `operator` are what differs about that machine and that principal."""
    gallery = GALLERY | {"images": [*GALLERY["images"], {"name": "many"}]}
    return {
        "subscriptions": [subscription(1, galleries=[gallery])],
        "principals": [
            operator_principal(controlplane.token_public_key, **(operator or {})),
            person_principal(),
        ],
        "machines": [
            machine("terminated", GENERALIZED, durations=SLOW),
            machine("killed", GENERALIZED, durations=SLOW),
            machine("away", GENERALIZED),
            machine("assessed", GENERALIZED, durations={"assess": "24m"}),
            machine("rebuilt", GENERALIZED) | (rebuilt or {}),
            *(machine(name, {"gallery": "golden/many/1.0.0"}) for name in MANY_MACHINES),
        ],
    }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World("restarts", fleet, pace=PACE, seed=2) as world:
        world.apply(namespace(NS), azure_subscription(1, [grant(NS)]), REBUILT)
        world.start_operator()
        yield world


@pytest.fixture(autouse=True)
def operator_runs(world: World) -> None:
    """Also after a test that failed between its end and its next start."""
    if not world.operator.running:
        world.start_operator()


@pytest.mark.parametrize(
    ("policy", "end"),
    [(TERMINATED, signal.SIGTERM), (KILLED, signal.SIGKILL)],
    ids=["SIGTERM", "SIGKILL"],
)
def test_an_install_in_flight_is_followed_by_the_next_operator(
    world: World, policy: Manifest, end: signal.Signals
) -> None:
    world.apply(policy)
    name = policy["metadata"]["name"]
    install = world.wait_for_install(vm_id(name), policy)
    status = world.operator.stop() if end is signal.SIGTERM else world.operator.kill()
    assert status == (0 if end is signal.SIGTERM else 128 + signal.SIGKILL)
    target = world.target(policy)
    assert target is not None
    assert target["status"]["operation"]["kind"] == "Install"
    assert target["metadata"]["finalizers"]
    world.start_operator()
    target = world.wait_for_target(policy, "Compliant", "Compliant")
    assert target["status"]["installation"]["activityId"] == install.id
    assert target["status"]["installation"]["installed"] == 1
    assert "finalizers" not in target["metadata"]
    assert world.posts(vm_id(name), "Install") == 1


def test_an_install_that_ended_while_no_operator_ran_is_recorded(world: World) -> None:
    world.apply(AWAY)
    install = world.wait_for_install(vm_id("away"), AWAY)
    world.operator.kill()
    world.wait("the install ends", lambda: world.installs(vm_id("away"))[0].ended, AWAY)
    world.start_operator()
    target = world.wait_for_target(AWAY, "Compliant", "Compliant")
    assert target["status"]["installation"]["activityId"] == install.id
    assert world.posts(vm_id("away"), "Install") == 1


def test_an_assessment_in_flight_is_not_sent_again(world: World) -> None:
    world.apply(ASSESSED)
    world.wait(
        "an assessment begins",
        lambda: world.journal().operations(vm_id("assessed")),
        ASSESSED,
    )
    world.operator.kill()
    world.start_operator()
    world.wait_for_target(ASSESSED, "Compliant", "Compliant")
    kinds = [one.kind for one in world.journal().operations(vm_id("assessed"))]
    assert kinds == ["Assess", "Install", "Assess"]


def test_however_often_it_is_killed_each_machine_is_patched_once(world: World) -> None:
    world.apply(MANY)
    for number in range(1, len(MANY_MACHINES) + 1):
        world.wait(f"install number {number} begins", _installs_at_least(world, number), MANY)
        world.operator.kill()
        world.start_operator()
    world.wait("all are compliant", lambda: _compliant(world, MANY) == len(MANY_MACHINES), MANY)
    for name in MANY_MACHINES:
        assert world.posts(vm_id(name), "Install") == 1
    rollout = Rollout("many", frozenset(vm_id(name).lower() for name in MANY_MACHINES), 2)
    assert max_unavailable_kept(world.journal(), [rollout], {OPERATOR}) == []


def _installs_at_least(world: World, number: int) -> Callable[[], bool]:
    return lambda: sum(len(world.installs(vm_id(name))) for name in MANY_MACHINES) >= number


def _compliant(world: World, policy: Manifest) -> int:
    return sum(reason(target, "Compliant") == "Compliant" for target in world.targets(policy))


# -- Azure changes: azsim is started anew, with another fleet ------------------------------------


def _exchange(world: World, **differences: Manifest) -> None:
    """Another Azure, and an operator that meets it."""
    world.operator.stop()
    world.azsim.stop()
    world.start_azure(lambda controlplane: fleet(controlplane, **differences))
    world.start_operator()


def test_rights_that_are_removed_leave_every_target_where_it_is(world: World) -> None:
    world.wait_for_target(REBUILT, "Compliant", "Compliant")
    before = {target["metadata"]["uid"] for target in world.targets()}
    _exchange(world, operator={"roleAssignments": []})
    declared = azure_subscription(1, [])
    subscription = world.wait(
        "the AzureSubscription is not Ready, with a reason",
        lambda: _not_ready(world.now(declared)),
        declared,
    )
    assert condition(subscription, "AccessVerified")["status"] != "True"
    world.let_pass(refreshes=2)
    assert {target["metadata"]["uid"] for target in world.targets()} == before


def _not_ready(subscription: Manifest | None) -> Manifest | None:
    ready = condition(subscription, "Ready")
    settled = ready.get("reason") not in (None, "InventoryPending")
    return subscription if ready.get("status") == "False" and settled else None


def test_a_machine_rebuilt_under_its_name_is_a_new_machine(world: World) -> None:
    before = world.installs(vm_id("rebuilt"))[-1]
    assert before.ended is not None
    made = {"vmId": NEW_VM, "created": before.ended.isoformat(), "power": "deallocated"}
    _exchange(world, rebuilt=made)
    target = world.wait(
        "the status is of the new machine",
        lambda: _of_vm(world.target(REBUILT), NEW_VM),
        REBUILT,
    )
    assert not {"assessment", "installation", "detected", "attempts"} & set(target["status"])
    assert reason(target, "Compliant") == "NotAssessed"
    world.as_person("POST", f"{vm_id('rebuilt')}/start")
    world.wait_for_target(REBUILT, "Compliant", "Compliant")
    installs = world.installs(vm_id("rebuilt"))
    assert len(installs) == 2
    assert installs[-1].vm_id == NEW_VM


def _of_vm(target: Manifest | None, vm: str) -> Manifest | None:
    known = (target or {}).get("status", {}).get("machine", {}).get("vmId")
    return target if known == vm else None


def test_all_the_while_no_invariant_was_broken(world: World) -> None:
    journal = world.journal()
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    assert status_claims_nothing_else(journal, world.targets()) == []
