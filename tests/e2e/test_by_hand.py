"""People lay hands on what the operator keeps, in mid-install: nothing is sent twice or forgotten.

Each test has a machine of its own; an install takes some real seconds.
"""

from collections.abc import Iterator

import pytest
import yaml
from gated import GatedWorld
from manifests import (
    GENERALIZED,
    OPERATOR,
    Manifest,
    azure_subscription,
    condition,
    grant,
    machine,
    namespace,
    operator_principal,
    person_principal,
    policy,
    subscription,
    vm_id,
)
from world import path_of

from judging.azure_journal import Operation
from judging.claims import status_claims_nothing_else
from judging.invariants import at_most_one_in_flight
from judging.lock import FINALIZER, lock_kept
from lab.apiclient import ApiError
from lab.controlplane import ControlPlane

PACE = 240
NS, NARROW, DOOMED = "by-hand", "narrow", "doomed"

SLOW, LONG = {"perPatch": "24m"}, {"perPatch": "90m"}
"""Installs of six real seconds; and of over twenty, where the operator starts anew meanwhile."""

NAMES = (
    "unrecorded", "unrecorded-killed", "unlocked", "deleted", "forced", "moved",
    "pruned", "narrowed", "lowered", "doomed",
)  # fmt: skip
RESTARTED = ("unrecorded-killed", "forced", "doomed")
OTHER = 2
"""The subscription whose AzureSubscription is deleted."""


def single(name: str, ns: str = NS, number: int = 1) -> Manifest:
    return policy(ns, name, vm_id(name, number), install={"linux": {}, "maximumDuration": "PT2H"})


def fleet(controlplane: ControlPlane) -> Manifest:
    gallery = {
        "name": "golden",
        "group": "rg-images",
        "images": [{"name": "web", "osState": "Generalized", "versions": ["1.0.0"]}],
    }
    return {
        "subscriptions": [subscription(1, galleries=[gallery]), subscription(OTHER)],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [
            *(
                machine(name, GENERALIZED, durations=LONG if name in RESTARTED else SLOW)
                for name in NAMES
            ),
            machine("orphan", GENERALIZED, subscription=OTHER, durations=SLOW),
        ],
    }


def granted(access: str = "Patch", **more: Manifest) -> Manifest:
    """The first subscription, to all; to the narrow namespace what is said."""
    return azure_subscription(1, [grant(NS), grant(DOOMED), grant(NARROW, access=access, **more)])


@pytest.fixture(scope="module")
def world() -> Iterator[GatedWorld]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "2s"}
    with GatedWorld("by-hand", fleet, pace=PACE, seed=13, settings=settings) as world:
        world.apply(
            *(namespace(name) for name in (NS, NARROW, DOOMED)),
            granted(),
            azure_subscription(OTHER, [grant(NS)]),
        )
        world.start_operator()
        yield world


@pytest.fixture(autouse=True)
def operator_runs(world: GatedWorld) -> None:
    """Also after a test that failed between its end and its next start."""
    if not world.operator.running:
        world.start_operator()


def in_mid_install(world: GatedWorld, declared: Manifest, number: int = 1) -> tuple[Operation, str]:
    """The policy's install runs and is recorded; the install, and where the PatchTarget is."""
    world.apply(declared)
    install = world.wait_for_install(vm_id(declared["metadata"]["name"], number), declared)

    def recorded() -> Manifest | None:
        target = world.target(declared)
        operation = (target or {}).get("status", {}).get("operation") or {}
        return target if operation.get("operationId") == install.id else None

    return install, path_of(world.wait("it is recorded", recorded, declared))


def kinds(world: GatedWorld, name: str, number: int = 1) -> list[str]:
    return [one.kind for one in world.journal().operations(vm_id(name, number))]


# -- the PatchTarget -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unrecorded", "unrecorded-killed"])
def test_an_operation_struck_from_the_status_is_waited_for_as_anybody_elses(
    world: GatedWorld, name: str
) -> None:
    declared = single(name)
    _, path = in_mid_install(world, declared)
    if name == "unrecorded-killed":
        world.operator.kill()
    world.controlplane.admin.patch(
        f"{path}/status", [{"op": "remove", "path": "/status/operation"}], "json"
    )
    if name == "unrecorded-killed":
        world.start_operator()
    seen = world.wait_for_target(declared, "ForeignOperation")
    assert condition(seen, "Ready")["status"] == "False"
    target = world.wait_for_target(declared, "Compliant", "Compliant")
    assert kinds(world, name) == ["Assess", "Install", "Assess"]
    assert "installation" not in target["status"], "nobody knows that it was ours"


def test_a_finalizer_taken_off_in_mid_install_is_put_on_again(world: GatedWorld) -> None:
    declared = single("unlocked")
    install, path = in_mid_install(world, declared)
    world.controlplane.admin.patch(path, {"metadata": {"finalizers": None}})
    world.wait(
        "it is locked again",
        lambda: FINALIZER in world.target(declared)["metadata"].get("finalizers", ()),
        declared,
    )
    assert not world.installs(vm_id("unlocked"))[0].ended
    target = world.wait_for_target(declared, "Compliant", "Compliant")
    assert target["status"]["installation"]["activityId"] == install.id
    assert "finalizers" not in target["metadata"]


def test_a_target_deleted_in_mid_install_stays_until_the_end_and_is_made_anew(
    world: GatedWorld,
) -> None:
    declared = single("deleted")
    _, path = in_mid_install(world, declared)
    before = world.target(declared)["metadata"]["uid"]
    world.controlplane.kubectl("delete", "azpt", "-n", NS, path.split("/")[-1], "--wait=false")
    world.wait(
        "another is there",
        lambda: (
            (world.target(declared) or {"metadata": {"uid": before}})["metadata"]["uid"] != before
        ),
        declared,
    )
    assert world.installs(vm_id("deleted"))[0].ended, "it was not let go before its end"
    world.wait_for_target(declared, "Compliant", "Compliant")
    assert world.posts(vm_id("deleted"), "Install") == 1


def test_a_target_deleted_by_force_in_mid_install_is_made_anew_and_sends_no_second(
    world: GatedWorld,
) -> None:
    declared = single("forced")
    _, path = in_mid_install(world, declared)
    world.operator.kill()
    world.controlplane.admin.patch(path, {"metadata": {"finalizers": None}})
    world.controlplane.kubectl(
        "delete", "azpt", "-n", NS, path.split("/")[-1], "--force", "--grace-period=0"
    )
    world.start_operator()
    seen = world.wait_for_target(declared, "ForeignOperation")
    assert condition(seen, "Ready")["status"] == "False"
    world.wait_for_target(declared, "Compliant", "Compliant")
    assert kinds(world, "forced") == ["Install", "Assess"] or kinds(world, "forced") == [
        "Assess", "Install", "Assess",
    ]  # fmt: skip


def test_a_target_cannot_be_moved_to_another_machine_in_mid_install(world: GatedWorld) -> None:
    declared = single("moved")
    _, path = in_mid_install(world, declared)
    with pytest.raises(ApiError, match="spec of a PatchTarget cannot change"):
        world.controlplane.admin.patch(path, {"spec": {"machineId": vm_id("other")}})
    world.wait_for_target(declared, "Compliant", "Compliant")


# -- the policy ----------------------------------------------------------------------------------


def test_a_policy_renamed_in_one_commit_in_mid_install_sends_no_second(
    world: GatedWorld,
) -> None:
    label = {"kustomize.toolkit.fluxcd.io/name": "web"}
    before, after = single("pruned"), single("pruned")
    for one in (before, after):
        one["metadata"] = one["metadata"] | {"labels": label}
    after["metadata"] = after["metadata"] | {"name": "renamed"}
    world.controlplane.kubectl("apply", "--filename=-", input=yaml.safe_dump(before))
    install = world.wait_for_install(vm_id("pruned"), before)
    world.controlplane.kubectl(
        "apply", "--filename=-", "--prune", "--selector=kustomize.toolkit.fluxcd.io/name=web",
        "--prune-allowlist=azpatch.dev/v1alpha1/PatchPolicy", "--wait=false",
        input=yaml.safe_dump(after),
    )  # fmt: skip
    world.wait("the old one goes", lambda: world.now(before) is None, before, after)
    [install] = world.installs(vm_id("pruned"))
    assert install.status == "Succeeded", "it was not let go before its end"
    world.wait_for_target(after, "Compliant", "Compliant")
    assert kinds(world, "pruned") == ["Assess", "Install", "Assess"]


def test_a_namespace_deleted_in_mid_install_while_no_operator_runs_waits_for_the_next_one(
    world: GatedWorld,
) -> None:
    declared = single("doomed", DOOMED)
    in_mid_install(world, declared)
    world.operator.kill()
    world.delete(namespace(DOOMED))
    target = world.target(declared)
    assert target is not None
    assert target["metadata"]["finalizers"] == [FINALIZER]
    world.start_operator()
    world.wait("the namespace goes", lambda: world.now(namespace(DOOMED)) is None, declared)
    [install] = world.installs(vm_id("doomed"))
    assert install.status == "Succeeded", "it was not let go before its end"


# -- the AzureSubscription -----------------------------------------------------------------------


def test_an_azuresubscription_deleted_in_mid_install_stays_until_the_result_is_read(
    world: GatedWorld,
) -> None:
    declared, owner = single("orphan", number=OTHER), azure_subscription(OTHER, [grant(NS)])
    install, _ = in_mid_install(world, declared, OTHER)
    world.delete(owner)
    kept = world.now(owner)
    assert kept is not None
    assert kept["metadata"]["finalizers"] == [FINALIZER]
    world.wait("it goes", lambda: world.now(owner) is None, declared)
    target = world.wait_for_target(declared, "AzureSubscriptionMissing")
    assert target["status"]["installation"]["activityId"] == install.id
    assert "operation" not in target["status"]
    assert kinds(world, "orphan", OTHER) == ["Assess", "Install"], "nothing new was started"
    world.wait_for_reason(declared, "AzureSubscriptionMissing", "Reconciling")
    world.apply(owner)
    world.wait_for_target(declared, "Compliant", "Compliant")
    assert kinds(world, "orphan", OTHER) == ["Assess", "Install", "Assess"]


def test_a_grant_taken_away_in_mid_install_ends_it_all_when_the_result_is_read(
    world: GatedWorld,
) -> None:
    declared = single("narrowed", NARROW)
    in_mid_install(world, declared)
    world.apply(granted(tags={"env": ["none"]}))
    world.wait_for_reason(declared, "NotGranted")
    world.wait("its PatchTarget goes", lambda: not world.targets(declared), declared)
    [install] = world.installs(vm_id("narrowed"))
    assert install.status == "Succeeded", "it was not let go before its end"
    assert kinds(world, "narrowed") == ["Assess", "Install"], "nothing new was started"
    world.apply(granted())
    world.wait_for_target(declared, "Compliant", "Compliant")
    assert kinds(world, "narrowed") == ["Assess", "Install", "Assess"]


def test_a_grant_lowered_to_assess_in_mid_install_lets_the_machine_be_assessed(
    world: GatedWorld,
) -> None:
    declared = single("lowered", NARROW)
    install, _ = in_mid_install(world, declared)
    world.apply(granted(access="Assess"))
    world.wait_for_target(declared, "Compliant", "Compliant")
    target = world.wait_for_target(declared, "AccessTooLow")
    assert target["status"]["installation"]["activityId"] == install.id
    assert kinds(world, "lowered") == ["Assess", "Install", "Assess"]
    world.apply(granted())


# -- the whole -----------------------------------------------------------------------------------


def test_all_the_while_no_invariant_was_broken(world: GatedWorld) -> None:
    journal = world.journal()
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    assert status_claims_nothing_else(journal, world.targets()) == []
    # Where nobody laid hands on the lock itself, it was there all the time.
    broken = lock_kept(journal, world.versions(), {OPERATOR})
    by_hand = ("unrecorded", "unlocked", "forced")
    assert [one for one in broken if not any(name in one for name in by_hand)] == []
