"""A fleet whose preview feature azpatch registers, by operators that are killed on the way.

The gallery machines wait until the feature is registered, are patched then, and stay so when
somebody unregisters it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from gated import GatedWorld
from manifests import (
    FEATURE,
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
    subscription_id,
    vm_id,
)
from world import PATIENCE, POLL

from judging.azure_journal import Request
from judging.invariants import azure_writes
from judging.registrations import feature_of, registered_once
from lab.controlplane import ControlPlane
from lab.gate import Moment, Passing, Trap

PACE = 60
"""A quarter of an hour, in which nobody knows whether the request was sent, is 15 real seconds."""
NS = "registering"
MACHINES = ("reg-1", "reg-2")

FEATURES = f"/subscriptions/{subscription_id(1)}/providers/Microsoft.Features"
ONE = f"{FEATURES}/providers/Microsoft.Compute/features/{FEATURE['name']}"
COMPUTE = f"/subscriptions/{subscription_id(1)}/providers/Microsoft.Compute/register"

DECLARED = azure_subscription(
    1, [grant(NS, access="Configure")], previewFeature={"mode": "Register"}
)
POLICY = policy(NS, "gallery", image_id("web"))


def fleet(controlplane: ControlPlane) -> Manifest:
    feature = FEATURE | {"state": "NotRegistered", "registeringTakes": "8m"}
    return {
        "subscriptions": [subscription(1, [feature], galleries=[GALLERY])],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [machine(name, GENERALIZED) for name in MACHINES],
    }


@pytest.fixture(scope="module")
def world() -> Iterator[GatedWorld]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "2s"}
    with GatedWorld("registration", fleet, pace=PACE, seed=21, settings=settings) as world:
        world.start_pair()
        yield world


def registration(world: GatedWorld) -> Manifest:
    """What is recorded of it."""
    status = (world.now(DECLARED) or {}).get("status") or {}
    found: Manifest = (status.get("previewFeature") or {}).get("registration") or {}
    return found


def killed_at(world: GatedWorld, path: str, moment: Moment) -> Trap:
    """A trap at the next POST to this path."""

    def wanted(passing: Passing) -> bool:
        return passing.method == "POST" and passing.path.lower() == path.lower()

    world.ready_to_be_killed()
    return world.azure.set(Trap(wanted, moment, world.kill))


def sprung(world: GatedWorld, trap: Trap) -> None:
    """Waits for it; then the one that stood by leads."""
    end = time.monotonic() + PATIENCE
    while not trap.done.wait(POLL):
        assert time.monotonic() < end, f"nothing was sent; {world.describe(DECLARED)}"
    world.next_leads()


def registrations(world: GatedWorld) -> list[Request]:
    return [one for one in world.journal().requests({OPERATOR}) if feature_of(one)]


def test_killed_between_the_record_and_the_request_it_asks_once_and_later(
    world: GatedWorld,
) -> None:
    trap = killed_at(world, f"{ONE}/register", Moment.BEFORE)
    world.apply(namespace(NS), DECLARED, POLICY)
    sprung(world, trap)
    first = registration(world)
    assert (first["step"], registrations(world)) == ("Intent", [])

    world.wait_for_reason(DECLARED, "RegistrationUnconfirmed", "PreviewFeature")
    world.wait_for_target(POLICY, "PreviewFeatureNotRegistered", "Supported", vm_id(MACHINES[0]))
    trap = killed_at(world, f"{ONE}/register", Moment.LOST)
    sprung(world, trap)
    second = registration(world)
    assert second["step"] in {"Intent", "Requested", "Registered", "Complete"}
    assert second["attemptId"] != first["attemptId"]


def test_killed_before_it_knows_the_answer_it_does_not_ask_again(world: GatedWorld) -> None:
    world.wait_for_reason(DECLARED, "FeatureRegistered", "PreviewFeature")
    [request] = registrations(world)
    found = registration(world)
    assert (found["step"], found["attemptId"]) == ("Complete", request.attempt_id)
    assert found["intentTime"] < found["registeredTime"] <= found["completionTime"]
    sent = [one.path for one in world.journal().requests({OPERATOR}) if one.path == COMPUTE]
    assert len(sent) == 1


def test_then_the_fleet_is_patched(world: GatedWorld) -> None:
    for name in MACHINES:
        world.wait_for_target(POLICY, "Compliant", "Compliant", vm_id(name))
        assert world.posts(vm_id(name), "Install") == 1


def test_what_a_person_unregisters_is_reported_and_left_so(world: GatedWorld) -> None:
    world.as_person("POST", f"{ONE}/unregister", version="2021-07-01")
    found = world.wait_for_reason(DECLARED, "RegistrationLost", "PreviewFeature")
    message = condition(found, "PreviewFeature")["message"]
    assert "az feature register" in message
    assert "set spec.previewFeature.mode to Check" in message
    world.wait("it is Unregistered", lambda: _state(world) == "Unregistered", DECLARED)

    world.let_pass(resyncs=1, refreshes=1)
    written, seen = len(world.operator_writes()), world.journal().end
    world.let_pass(resyncs=2, refreshes=2)
    assert [str(write) for write in world.operator_writes()[written:]] == []
    assert azure_writes(world.journal().after(seen), {OPERATOR}) == []
    assert reason(world.now(POLICY), "Compliant") == "Compliant"


def test_all_the_while_it_was_registered_once(world: GatedWorld) -> None:
    assert registered_once(world.journal(), {OPERATOR}) == []


def _state(world: GatedWorld) -> str:
    status = (world.now(DECLARED) or {})["status"]
    return str(status["previewFeature"]["state"])
