"""The API server refuses, loses answers, goes away, comes back: what was begun is finished, once.

All machines are patched at once; each meets a trouble of its own, at a step of its own.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from gated import GatedWorld
from manifests import (
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
    subscription,
    vm_id,
)

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Rollout,
    at_most_one_in_flight,
    max_unavailable_kept,
)
from judging.lock import lock_kept
from lab.controlplane import ControlPlane
from lab.gate import Moment, Passing, Trap

PACE = 240
NS = "trouble"

SLOW = {"perPatch": "24m"}
"""An install of six real seconds."""

AWAY = 2.0
"""Real seconds that something is away; the leader's Lease lasts longer."""

Answer = tuple[int, dict[str, Any]]


def status(code: int, reason: str, message: str) -> Answer:
    """As the API server refuses."""
    return code, {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }


CONFLICT = status(409, "Conflict", "the object has been modified; please apply your changes")
REFUSED = status(422, "Invalid", "admission webhook denied the request")
BROKEN = status(500, "InternalError", "etcdserver: request timed out")


class Trouble(NamedTuple):
    """What happens to a write, and how often in a row."""

    name: str
    answer: Answer | None
    moment: Moment = Moment.BEFORE
    times: int = 1


TROUBLES = (
    Trouble("conflicts", CONFLICT),
    Trouble("is refused three times", REFUSED, times=3),
    Trouble("fails three times", BROKEN, times=3),
    Trouble("does not arrive", None),
    Trouble("is done, the answer lost", None, Moment.LOST),
    Trouble("is done, and said to have failed", BROKEN, Moment.LOST),
)

WRITES = (
    "its policy is locked",
    "it is locked",
    "the intent of the assessment",
    "the start of the assessment is written",
    "the result of the assessment is written",
    "the intent of the install",
    "the start of the install is written",
    "the intent of the re-assessment",
    "it is unlocked",
)

CASES = {
    f"vm-{number}": (write, trouble)
    for number, (write, trouble) in enumerate(
        (write, trouble) for write in WRITES for trouble in TROUBLES
    )
}
"""By machine."""

RESTARTED = ("api-server", "etcd", "watch")
BLIND = ("blind-1", "blind-2")
BLIND_POLICY = policy(NS, "blind", image_id("blind"), rollout={"maxUnavailable": 1})


def single(name: str) -> Manifest:
    return policy(NS, name, vm_id(name), install={"linux": {}, "maximumDuration": "PT1H"})


def fleet(controlplane: ControlPlane) -> Manifest:
    gallery = {
        "name": "golden",
        "group": "rg-images",
        "images": [
            {"name": "web", "osState": "Generalized", "versions": ["1.0.0"]},
            {"name": "blind", "versions": ["1.0.0"]},
        ],
    }
    return {
        "subscriptions": [subscription(1, galleries=[gallery])],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [
            *(machine(name, GENERALIZED) for name in CASES),
            *(machine(name, GENERALIZED, durations=SLOW) for name in RESTARTED),
            *(machine(name, {"gallery": "golden/blind/1.0.0"}, durations=SLOW) for name in BLIND),
        ],
    }


@pytest.fixture(scope="module")
def world() -> Iterator[GatedWorld]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "2s"}
    with GatedWorld("api-server-trouble", fleet, pace=PACE, seed=12, settings=settings) as world:
        world.apply(namespace(NS), azure_subscription(1, [grant(NS)]))
        yield world


@pytest.fixture(scope="module")
def traps(world: GatedWorld) -> dict[str, Trap]:
    """Set before the operator starts; then all the work begins."""
    traps = {name: world.kube.set(trap_for(world, name)) for name in CASES}
    world.apply(*(single(name) for name in CASES))
    world.start_operator()
    return traps


def trap_for(world: GatedWorld, name: str) -> Trap:
    write, trouble = CASES[name]
    # A PatchTarget's name begins with its machine's, its policy's is the same.
    objects = (f"/patchtargets/{name}-", f"/patchpolicies/{name}")

    def wanted(passing: Passing) -> bool:
        ours = objects[0] in passing.path or passing.path.endswith(objects[1])
        return ours and world.steps.name(passing) == write

    return Trap(wanted, trouble.moment, answer=trouble.answer, times=trouble.times)


@pytest.mark.parametrize(
    "name", CASES, ids=[f"{write} {trouble.name}" for write, trouble in CASES.values()]
)
def test_a_write_goes_wrong_and_the_machine_is_patched_once_all_the_same(
    world: GatedWorld, traps: dict[str, Trap], name: str
) -> None:
    target = world.wait_for_target(single(name), "Compliant", "Compliant")
    assert traps[name].sprung, "it went wrong at least once"
    kinds = [one.kind for one in world.journal().operations(vm_id(name))]
    assert kinds == ["Assess", "Install", "Assess"]
    assert world.posts(vm_id(name), "Install") == 1
    [install] = world.installs(vm_id(name))
    assert target["status"]["installation"]["activityId"] == install.id
    world.wait("it is unlocked", lambda: "finalizers" not in world.target(single(name))["metadata"])


def revive(world: GatedWorld) -> None:
    """As the kubelet does: a leader that could not renew its Lease has ended."""
    if not world.operator.running:
        world.start_operator()


@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("name", ["api-server", "etcd"])
def test_what_is_restarted_in_mid_install_costs_no_second_one(world: GatedWorld, name: str) -> None:
    world.apply(single(name))
    install = world.wait_for_install(vm_id(name), single(name))
    if name == "etcd":
        world.controlplane.kill_etcd()
        time.sleep(AWAY)
        world.controlplane.start_etcd()
    else:
        world.controlplane.kill_apiserver()
        time.sleep(AWAY)
        world.controlplane.start_apiserver()
    revive(world)
    target = world.wait_for_target(single(name), "Compliant", "Compliant")
    assert target["status"]["installation"]["activityId"] == install.id
    assert world.posts(vm_id(name), "Install") == 1


@pytest.mark.usefixtures("traps")
def test_a_watch_that_is_cut_again_and_again_loses_nothing(world: GatedWorld) -> None:
    world.apply(single("watch"))

    def compliant() -> bool:
        world.kube.cut_streams()
        return condition(world.target(single("watch")), "Compliant").get("status") == "True"

    world.wait("it is compliant", compliant, single("watch"))
    assert world.posts(vm_id("watch"), "Install") == 1


@pytest.mark.usefixtures("traps")
def test_without_any_watch_the_next_list_shows_that_a_policy_is_suspended(
    world: GatedWorld,
) -> None:
    world.apply(BLIND_POLICY)
    world.wait("an install begins", lambda: any(world.installs(vm_id(name)) for name in BLIND))
    blind = world.kube.set(
        Trap(lambda passing: "watch" in passing.query, answer=BROKEN, times=10_000)
    )
    world.kube.cut_streams()
    world.apply(BLIND_POLICY | {"spec": BLIND_POLICY["spec"] | {"suspend": True}})
    world.wait_for_reason(BLIND_POLICY, "Suspended")
    world.wait(
        "the one in flight has ended and is assessed",
        lambda: (
            _kinds(world, BLIND) == [["Assess"], ["Assess", "Install", "Assess"]]
            or _kinds(world, BLIND) == [["Assess"], ["Assess", "Install"]]
        ),
    )
    world.let_pass(resyncs=2, refreshes=1)
    assert sum(len(world.installs(vm_id(name))) for name in BLIND) == 1
    world.kube.remove(blind)
    world.apply(BLIND_POLICY)
    world.wait(
        "both are compliant",
        lambda: (
            _kinds(world, BLIND) == [["Assess", "Install", "Assess"]] * 2
            and world.now(BLIND_POLICY)["status"]["machines"].get("compliant") == 2
        ),
    )


def _kinds(world: GatedWorld, names: tuple[str, ...]) -> list[list[str]]:
    journal = world.journal()
    return sorted([one.kind for one in journal.operations(vm_id(name))] for name in names)


def test_all_the_while_no_invariant_was_broken_and_no_lock_lost(world: GatedWorld) -> None:
    journal = world.journal()
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    blind = Rollout("blind", frozenset(vm_id(name).lower() for name in BLIND), 1)
    assert max_unavailable_kept(journal, [blind], {OPERATOR}) == []
    assert status_claims_nothing_else(journal, world.targets()) == []
    assert lock_kept(journal, world.versions(), {OPERATOR}) == []
