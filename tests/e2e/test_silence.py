"""Converged means silent: nothing is written any more, to Kubernetes or to Azure."""

from collections.abc import Iterator
from typing import Any

import pytest
from manifests import (
    CURL,
    GALLERY,
    GENERALIZED,
    KERNEL,
    OPERATOR,
    PERSON,
    SPECIALIZED,
    Manifest,
    azure_subscription,
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
from world import World

from judging.invariants import azure_writes
from lab.controlplane import ControlPlane

PACE = 300
NS, OTHER = "quiet", "unlucky"
"""Policies made in the same second: the first in the alphabet gets the machine."""


def single(name: str, **more: Any) -> Manifest:
    return policy(NS, name, vm_id(name), **more)


MACHINES = [
    machine("web-1", GENERALIZED),
    machine("web-2", GENERALIZED),
    machine("database", SPECIALIZED),
    machine("migrated", {"attachedDisk": True}),
    machine("unsupported", SPECIALIZED, guest={"patchable": False}),
    machine("undetermined", SPECIALIZED, guest={"detected": "UnableToDetermine"}),
    machine("stopped", SPECIALIZED, power="deallocated"),
    machine("agent-silent", SPECIALIZED, agent={"ready": False}),
    machine("failing", SPECIALIZED, guest={"failures": {"failingPatches": ["curl"]}}),
    machine("half-failing", SPECIALIZED, missing=[CURL, CURL | {"name": "openssl"}],
        guest={"failures": {"failingPatches": ["openssl"]}}),
    machine("no-result", SPECIALIZED, guest={"failures": {"noResult": True}}),
    machine("not-back", SPECIALIZED, missing=[KERNEL],
        guest={"failures": {"rebootDoesNotComeBack": True}}),
    machine("windows", {"gallery": "golden/win/1.0.0"}, osType="Windows",
        missing=[{"name": "Cumulative", "kbId": "5034441"}]),
]  # fmt: skip

WEB = policy(NS, "web", image_id("web"), rollout={"maxUnavailable": 2})
ENDS = [
    (WEB, "UpToDate"),
    (single("database"), "UpToDate"),
    (single("migrated"), "ImageNotSupported"),
    (single("unsupported"), "DetectedUnsupported"),
    (single("undetermined"), "UnableToDetermine"),
    (single("stopped"), "VMStopped"),
    (single("agent-silent"), "AgentNotReady"),
    (single("failing"), "UpToDate"),
    (single("half-failing"), "UpToDate"),
    (single("no-result"), "TooManyFailed"),
    (single("not-back"), "TooManyFailed"),
    (single("windows"), "UpToDate"),
    (single("web-1", suspend=True), "Suspended"),
    (policy(OTHER, "web-2", vm_id("web-2")), "GovernedElsewhere"),
    (single("nowhere"), "NotGranted"),
]
"""Policies, with the reason of their condition Ready in the end."""

TARGET_ENDS = {
    "web-2": "UpToDate",
    "failing": "NothingInstallable",
    "half-failing": "NothingInstallable",
    "stopped": "VMStopped",
    "agent-silent": "AgentNotReady",
    "undetermined": "UnableToDetermine",
    "no-result": "OperationInProgress",
    "not-back": "AgentNotReady",
}
"""The reason of the condition Ready of the governing PatchTarget, for some machines."""


def fleet(controlplane: ControlPlane) -> Manifest:
    return {
        "subscriptions": [subscription(1, galleries=[GALLERY])],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": MACHINES,
    }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "2s"}
    with World("silence", fleet, pace=PACE, seed=1, settings=settings) as world:
        world.apply(
            namespace(NS),
            namespace(OTHER),
            azure_subscription(1, [grant(NS), grant(OTHER)]),
            *(policy for policy, _ in ENDS),
        )
        world.start_operator()
        yield world


def test_a_converged_operator_writes_nothing_while_it_goes_on_reading(world: World) -> None:
    for policy_, reason in ENDS:
        world.wait_for_reason(policy_, reason)
    for name, reason in TARGET_ENDS.items():
        governing = WEB if name == "web-2" else single(name)
        world.wait_for_target(governing, reason, machine=vm_id(name))
    world.let_pass(resyncs=1, refreshes=1)

    written, seen = len(world.operator_writes()), world.journal().end
    world.let_pass(resyncs=2, refreshes=2)

    assert [str(write) for write in world.operator_writes()[written:]] == []
    since = world.journal().after(seen)
    assert azure_writes(since, {OPERATOR}) == []
    assert any(since.requests({OPERATOR})), "it went on reading"


def test_an_operator_that_comes_back_to_what_is_converged_writes_nothing(world: World) -> None:
    written, seen = len(world.operator_writes()), world.journal().end
    world.operator.stop()
    world.start_operator()
    world.let_pass(resyncs=2, refreshes=2)
    assert [str(write) for write in world.operator_writes()[written:]] == []
    assert azure_writes(world.journal().after(seen), {OPERATOR}) == []


def test_it_was_not_silent_before(world: World) -> None:
    """What the silence is counted with does see writes."""
    assert {write.resource for write in world.operator_writes()} >= {
        "patchtargets",
        "patchpolicies",
    }
    assert azure_writes(world.journal(), {OPERATOR, PERSON}) != []
