"""What keeps the operator from a machine, and what it does when that passes.

All of it goes on at once in one simulated Azure; each test watches its own machine.
"""

import base64
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock, patch
from urllib.parse import quote_plus

import pytest
from manifests import (
    GALLERY,
    GENERALIZED,
    OPERATOR,
    SPECIALIZED,
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
from world import World, path_of

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Leave,
    Rollout,
    at_most_one_in_flight,
    max_unavailable_kept,
    only_what_is_granted,
)
from judging.leaks import leaks
from lab.chart import NAMESPACE as OPERATOR_NAMESPACE
from lab.controlplane import ControlPlane

PACE = 120

NS, OTHER, STRANGER, DOOMED = "shop", "billing", "stranger", "doomed"

MAIN, BY_SECRET, BY_NODE, FORBIDDEN, LOOKED_AT = 1, 2, 3, 4, 5
"""Subscriptions, by the identity that each is reached with. FORBIDDEN's secret is wrong; of
LOOKED_AT the grant is to assess only."""

SECRET_PRINCIPAL, NODE_PRINCIPAL = "by-secret", "by-node"
SECRET_CLIENT = "c11e0000-0000-4000-8000-000000000002"
SECRET_OF_PARTNER = "q8Q~the-right-secret"
NODE_CLIENT = "c11e0000-0000-4000-8000-000000000003"

SLOW = {"perPatch": "40m"}
"""An install that takes twenty real seconds: long enough to do something meanwhile."""

WAVE = [f"wave-{n}" for n in range(1, 5)]


def single(name: str, number: int = MAIN, ns: str = NS, **more: Any) -> Manifest:
    """A policy for one machine, both of one name."""
    return policy(ns, name, vm_id(name, number), **more)


STOPPED = single("stopped")
AGENT = single("agent-silent")
FOREIGN = single("foreign")
DELETED = single("deleted")
UNGRANTED = single("wave-1", ns=STRANGER)
NARROWED = single("narrowed", ns=OTHER)
SUSPENDED = single("suspended", suspend=True)
POLICY_DELETED = single(
    "policy-deleted", install={"linux": {}, "maximumDuration": "PT1H", "rebootSetting": "Never"}
)
RENAMED = policy(
    NS,
    "renamed",
    vm_id("policy-deleted"),
    install=POLICY_DELETED["spec"]["install"],
)
NAMESPACE_DELETED = single(
    "namespace-deleted", ns=DOOMED, install=POLICY_DELETED["spec"]["install"]
)
ASSESS_ONLY = single("looked-at", LOOKED_AT)
GALLERY_POLICY = policy(NS, "all-of-db", image_id("db"), rollout={"maxUnavailable": 3})
MACHINE_POLICY = policy(NS, "one-of-db", vm_id("db-1"))
LATECOMER = policy(OTHER, "late", vm_id("db-2"))
WAVES = policy(NS, "waves", image_id("wave"), rollout={"maxUnavailable": 1})
SECRET = single("secret", BY_SECRET)
NODE = single("node", BY_NODE)
WRONG_SECRET = single("wrong-secret", FORBIDDEN)

AT_FIRST = [
    STOPPED, AGENT, DELETED, UNGRANTED, NARROWED, SUSPENDED, GALLERY_POLICY, MACHINE_POLICY,
    WAVES, SECRET, NODE, WRONG_SECRET, ASSESS_ONLY,
]  # fmt: skip
"""The others come in the tests that need them in the middle of something."""


def fleet(controlplane: ControlPlane) -> Manifest:
    gallery = GALLERY | {"images": [*GALLERY["images"], {"name": "wave"}]}
    return {
        "subscriptions": [
            subscription(MAIN, galleries=[gallery]),
            *(subscription(number) for number in range(BY_SECRET, LOOKED_AT + 1)),
        ],
        "principals": [
            operator_principal(controlplane.token_public_key),
            person_principal(),
            {"name": SECRET_PRINCIPAL, "clientId": SECRET_CLIENT, "secret": SECRET_OF_PARTNER},
            {"name": NODE_PRINCIPAL, "clientId": NODE_CLIENT, "managedIdentity": True},
        ],
        "machines": [
            machine("stopped", GENERALIZED, power="deallocated"),
            machine("agent-silent", GENERALIZED, agent={"ready": False}),
            machine("foreign", GENERALIZED, durations=SLOW),
            machine("deleted", GENERALIZED),
            machine("narrowed", GENERALIZED, tags={"env": "prod"}, missing=[]),
            machine("suspended", GENERALIZED),
            machine("policy-deleted", GENERALIZED, durations=SLOW),
            machine("namespace-deleted", GENERALIZED, durations=SLOW),
            machine("looked-at", GENERALIZED, subscription=LOOKED_AT),
            *(machine(f"db-{n}", SPECIALIZED) for n in (1, 2, 3)),
            *(machine(name, {"gallery": "golden/wave/1.0.0"}) for name in WAVE),
            machine("secret", GENERALIZED, subscription=BY_SECRET),
            machine("node", GENERALIZED, subscription=BY_NODE),
            machine("wrong-secret", GENERALIZED, subscription=FORBIDDEN),
        ],
    }


def by_secret(number: int, secret: str) -> Manifest:
    identity = {
        "type": "ClientSecret",
        "clientId": SECRET_CLIENT,
        "secretRef": {"name": secret},
    }
    return azure_subscription(number, [grant(NS)], identity=identity)


def secret(name: str, value: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
        "data": {"AZURE_CLIENT_SECRET": base64.b64encode(value.encode()).decode()},
    }


def main_subscription(*more: Manifest) -> Manifest:
    """Everything to the shop and the doomed; to billing what `more` says."""
    return azure_subscription(MAIN, [grant(NS), grant(DOOMED), *more])


WHAT_BILLING_HAD = grant(OTHER, resourceGroups=["rg-e2e"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # Secrets are not watched; a short resync looks for them sooner.
    settings = {"AZPATCH_RESYNC_INTERVAL": "5s"}
    with World("circumstances", fleet, pace=PACE, seed=4, settings=settings) as world:
        world.apply(
            *(namespace(name) for name in (NS, OTHER, STRANGER, DOOMED)),
            secret("wrong", "wrong~secret-of-nobody"),
            main_subscription(WHAT_BILLING_HAD),
            by_secret(BY_SECRET, "partner"),
            by_secret(FORBIDDEN, "wrong"),
            azure_subscription(LOOKED_AT, [grant(NS, access="Assess")]),
            azure_subscription(
                BY_NODE,
                [grant(NS)],
                identity={"type": "ManagedIdentity", "clientId": NODE_CLIENT},
            ),
        )
        world.apply(*AT_FIRST)
        world.start_operator()
        yield world


# -- the machine ---------------------------------------------------------------------------------


def test_a_foreign_install_is_waited_for_and_then_the_machine_is_assessed(world: World) -> None:
    patches = {"linuxParameters": {"classificationsToInclude": ["Security"]}}
    world.as_person(
        "POST",
        f"{vm_id('foreign')}/installPatches",
        {"maximumDuration": "PT2H", "rebootSetting": "Never", **patches},
    )
    world.apply(FOREIGN)
    target = world.wait_for_target(FOREIGN, "ForeignOperation")
    assert condition(target, "Ready")["status"] == "False"
    target = world.wait_for_target(FOREIGN, "Compliant", "Compliant")
    [theirs, *ours] = world.journal().operations(vm_id("foreign"))
    assert theirs.principal != OPERATOR
    assert theirs.status == "Succeeded", "it was left to end"
    assert [one.kind for one in ours] == ["Assess"], "theirs had installed what was missing"
    assert "installation" not in target["status"]


def test_a_stopped_machine_is_patched_when_it_runs(world: World) -> None:
    target = world.wait_for_target(STOPPED, "VMStopped")
    assert condition(target, "Ready")["status"] == "False"
    assert world.posts(vm_id("stopped")) == 0
    world.as_person("POST", f"{vm_id('stopped')}/start")
    world.wait_for_target(STOPPED, "Compliant", "Compliant")
    assert world.posts(vm_id("stopped"), "Install") == 1


def test_nothing_is_sent_to_a_machine_whose_agent_is_not_ready(world: World) -> None:
    world.wait_for_target(AGENT, "AgentNotReady")
    assert world.posts(vm_id("agent-silent")) == 0


def test_the_target_of_a_deleted_machine_goes(world: World) -> None:
    world.wait_for_target(DELETED, "Compliant", "Compliant")
    world.as_person("DELETE", vm_id("deleted"))
    world.wait("its PatchTarget goes", lambda: not world.targets(DELETED), DELETED)
    world.wait_for_reason(DELETED, "NotGranted")
    world.wait("it is not counted any more", lambda: _counts(world, DELETED, matched=0), DELETED)


# -- who may act ---------------------------------------------------------------------------------


def test_what_no_grant_allows_is_not_touched_and_may_as_well_not_exist(world: World) -> None:
    seen = world.wait_for_reason(UNGRANTED, "NotGranted", "Stalled")
    assert condition(seen, "Ready")["message"] == (
        f"No machine {vm_id('wave-1')} that namespace {STRANGER} may patch. If it exists, the "
        f"platform team grants it in the AzureSubscription for {subscription_id(MAIN)}, "
        "spec.grants."
    )
    nowhere = single("nowhere", ns=STRANGER)
    world.apply(nowhere)
    missing = world.wait_for_reason(nowhere, "NotGranted", "Stalled")
    assert condition(missing, "Ready")["message"] == condition(seen, "Ready")["message"].replace(
        "wave-1", "nowhere"
    )
    assert world.targets(UNGRANTED) == []


def test_a_grant_that_is_narrowed_ends_the_work_at_once(world: World) -> None:
    world.wait_for_target(NARROWED, "Compliant", "Compliant")
    world.wait_for_reason(NARROWED, "UpToDate")
    narrower = WHAT_BILLING_HAD | {"tags": {"env": ["test"]}}
    world.apply(main_subscription(narrower))
    world.wait("its PatchTarget goes", lambda: not world.targets(NARROWED), NARROWED)
    world.wait_for_reason(NARROWED, "NotGranted", "Stalled")
    before = world.posts(vm_id("narrowed"))
    world.apply(main_subscription(WHAT_BILLING_HAD))
    world.wait_for_target(NARROWED, "UpToDate")
    assert world.posts(vm_id("narrowed"), "Install") == 0, "nothing was missing"
    assert before == 1


def test_a_suspended_policy_starts_nothing_until_it_is_resumed(world: World) -> None:
    seen = world.wait_for_reason(SUSPENDED, "Suspended")
    assert condition(seen, "Ready")["status"] == "True"
    world.wait_for_target(SUSPENDED, "Suspended")
    assert world.posts(vm_id("suspended")) == 0
    world.apply(SUSPENDED | {"spec": SUSPENDED["spec"] | {"suspend": False}})
    world.wait_for_target(SUSPENDED, "Compliant", "Compliant")
    assert world.posts(vm_id("suspended"), "Install") == 1


def test_a_grant_to_assess_is_not_one_to_patch(world: World) -> None:
    target = world.wait_for_target(ASSESS_ONLY, "AccessTooLow")
    assert "needs access Patch" in condition(target, "Ready")["message"]
    assert target["status"]["assessment"]["status"] == "Succeeded"
    assert world.posts(vm_id("looked-at", LOOKED_AT), "Install") == 0


def test_a_policy_renamed_in_mid_install_waits_for_the_end_and_sends_no_second(
    world: World,
) -> None:
    world.apply(POLICY_DELETED)
    install = world.wait_for_install(vm_id("policy-deleted"), POLICY_DELETED)
    world.delete(POLICY_DELETED)
    world.apply(RENAMED)
    seen = world.now(POLICY_DELETED)
    assert seen is not None
    assert "azpatch.dev/operation" in seen["metadata"]["finalizers"]
    target = world.target(POLICY_DELETED)
    assert target is not None
    assert target["status"]["operation"]["operationId"] == install.id
    assert target["metadata"]["finalizers"]
    world.wait("the policy goes", lambda: world.now(POLICY_DELETED) is None, POLICY_DELETED)
    [install] = world.installs(vm_id("policy-deleted"))
    assert install.status == "Succeeded", "it was not let go before its end"
    world.wait("the PatchTarget goes", lambda: not world.targets(POLICY_DELETED), POLICY_DELETED)
    world.wait_for_target(RENAMED, "Compliant", "Compliant")
    assert world.posts(vm_id("policy-deleted"), "Install") == 1


def test_a_namespace_deleted_in_mid_install_goes_when_the_install_has_ended(
    world: World,
) -> None:
    world.apply(NAMESPACE_DELETED)
    world.wait_for_install(vm_id("namespace-deleted"), NAMESPACE_DELETED)
    world.delete(namespace(DOOMED))
    world.wait(
        "the namespace goes", lambda: world.now(namespace(DOOMED)) is None, NAMESPACE_DELETED
    )
    [install] = world.installs(vm_id("namespace-deleted"))
    assert install.status == "Succeeded", "it was not let go before its end"
    assert world.posts(vm_id("namespace-deleted"), "Install") == 1


# -- one governor --------------------------------------------------------------------------------


def test_a_policy_for_a_machine_goes_before_one_for_its_image(world: World) -> None:
    loser = world.wait_for_target(GALLERY_POLICY, "GovernedElsewhere", machine=vm_id("db-1"))
    assert loser["status"]["governs"] is False
    assert MACHINE_POLICY["metadata"]["name"] in condition(loser, "Ready")["message"]
    world.wait_for_target(MACHINE_POLICY, "Compliant", "Compliant")
    policy = world.wait(
        "the conflict is counted",
        lambda: _counts(world, GALLERY_POLICY, matched=3, governed=2, conflicts=1),
        GALLERY_POLICY,
    )
    assert condition(policy, "Ready")["status"] == "True"
    assert world.posts(vm_id("db-1"), "Install") == 1


def test_another_namespace_does_not_take_a_machine_nor_learn_who_has_it(world: World) -> None:
    world.wait_for_target(GALLERY_POLICY, "Compliant", "Compliant", machine=vm_id("db-2"))
    world.apply(LATECOMER)
    loser = world.wait_for_target(LATECOMER, "GovernedElsewhere")
    assert NS not in condition(loser, "Ready")["message"]
    assert GALLERY_POLICY["metadata"]["name"] not in condition(loser, "Ready")["message"]
    world.wait_for_reason(LATECOMER, "GovernedElsewhere", "Stalled")
    assert world.posts(vm_id("db-2"), "Install") == 1


def _counts(world: World, policy: Manifest, **counts: int) -> Manifest | None:
    now = world.now(policy) or {}
    machines = (now.get("status") or {}).get("machines") or {}
    return now if counts.items() <= machines.items() else None


def test_one_machine_after_the_other_where_one_may_be_unavailable(world: World) -> None:
    world.wait(
        "all four are compliant", lambda: _counts(world, WAVES, matched=4, compliant=4), WAVES
    )
    installs = [one for name in WAVE for one in world.installs(vm_id(name))]
    assert len(installs) == len(WAVE)
    machines = frozenset(vm_id(name).lower() for name in WAVE)
    rollout = Rollout("waves", machines, 1)
    assert max_unavailable_kept(world.journal(), [rollout], {OPERATOR}) == []


# -- identities ----------------------------------------------------------------------------------


def test_a_secret_that_comes_later_is_found(world: World) -> None:
    declared = by_secret(BY_SECRET, "partner")
    seen = world.wait_for_reason(declared, "SecretNotFound", "Stalled")
    assert "Secret partner" in condition(seen, "Ready")["message"]
    world.wait_for_reason(SECRET, "AzureSubscriptionNotReady", "Reconciling")
    assert world.posts(vm_id("secret", BY_SECRET)) == 0
    world.apply(secret("partner", SECRET_OF_PARTNER))
    world.wait_for_target(SECRET, "Compliant", "Compliant")
    assert {request.principal for request in world.journal().posts(vm_id("secret", BY_SECRET))} == {
        SECRET_PRINCIPAL
    }
    world.wait_for_reason(declared, "UpToDate")


def test_a_managed_identity_patches_its_subscription(world: World) -> None:
    world.wait_for_target(NODE, "Compliant", "Compliant")
    posts = world.journal().posts(vm_id("node", BY_NODE))
    assert {request.principal for request in posts} == {NODE_PRINCIPAL}


def test_an_identity_that_fails_stops_its_own_subscription_only(world: World) -> None:
    seen = world.wait_for_reason(by_secret(FORBIDDEN, "wrong"), "IdentityFailed", "Stalled")
    assert "AADSTS7000215" in condition(seen, "Ready")["message"]
    world.wait_for_reason(WRONG_SECRET, "AzureSubscriptionNotReady", "Reconciling")
    world.wait_for_target(MACHINE_POLICY, "Compliant", "Compliant")
    assert reason(world.now(main_subscription())) == "UpToDate"


# -- the whole -----------------------------------------------------------------------------------


def test_all_the_while_no_invariant_was_broken(world: World) -> None:
    journal = world.journal()
    ours = {OPERATOR, SECRET_PRINCIPAL, NODE_PRINCIPAL}
    assert at_most_one_in_flight(journal, ours) == []
    policies_machines = [
        *(vm_id(name) for name in ("stopped", "foreign", "deleted", "narrowed", "suspended")),
        *(vm_id(name) for name in ("policy-deleted", "namespace-deleted", "db-1", "db-2")),
        *(vm_id(name) for name in ("db-3", *WAVE)),
        vm_id("secret", BY_SECRET),
        vm_id("node", BY_NODE),
    ]
    identities = {
        OPERATOR: [subscription_id(MAIN), subscription_id(LOOKED_AT)],
        SECRET_PRINCIPAL: [subscription_id(BY_SECRET)],
        NODE_PRINCIPAL: [subscription_id(BY_NODE)],
    }
    leaves = [
        *(Leave(machine) for machine in policies_machines),
        Leave(vm_id("looked-at", LOOKED_AT), frozenset({"Assess"})),
    ]
    assert only_what_is_granted(journal, leaves, identities) == []
    assert status_claims_nothing_else(journal, world.targets()) == []


def test_no_secret_token_or_signature_is_in_any_log_object_event_or_metric(world: World) -> None:
    kinds = Counter(secret.kind for secret in world.secrets())
    assert kinds["tokens"] >= 3, "of three identities"
    assert kinds["signatures"] >= 20, "of each operation's URL"
    assert kinds["assertions"] >= 1
    assert kinds["clientSecrets"] >= 3
    shown = world.shown()
    assert {where: len(text) for where, text in shown.items() if len(text) < 1000} == {}
    assert leaks(shown, world.secrets()) == []


@pytest.mark.parametrize("kind", ["tokens", "signatures", "clientSecrets", "assertions"])
def test_a_secret_that_is_planted_in_a_log_is_found(world: World, kind: str) -> None:
    secret = next(secret for secret in world.secrets() if secret.kind == kind)
    planted = world.operator.log.with_name("planted.log")
    planted.write_text(f'{{"event": "sign-in failed", "form": "a=1&b={quote_plus(secret.text)}"}}')
    try:
        [found, *_] = world.leaks()
    finally:
        planted.unlink()
    assert planted.name in found
    assert kind in found


@pytest.mark.parametrize("kind", ["tokens", "signatures", "clientSecrets", "assertions"])
def test_a_secret_that_is_planted_in_an_object_is_found(world: World, kind: str) -> None:
    secret = next(secret for secret in world.secrets() if secret.kind == kind)
    hidden = base64.b64encode(f"id:{secret.text}".encode()).decode()
    path = f"{path_of(SUSPENDED)}?fieldManager=planter"
    world.controlplane.admin.patch(path, {"metadata": {"annotations": {"planted": hidden}}})
    try:
        [found, *_] = world.leaks()
    finally:
        world.controlplane.admin.patch(path, {"metadata": {"annotations": {"planted": None}}})
    assert "kubectl get azpatch" in found
    assert kind in found
    assert world.leaks() == []


def test_a_secret_that_is_shown_is_told_also_after_an_error() -> None:
    broken, error = World("unused", fleet, pace=1, seed=0), ValueError("what went wrong")
    broken.controlplane, broken.azsim = Mock(), Mock()
    with (
        patch.object(World, "leaks", return_value=["a token in a log"]),
        pytest.raises(AssertionError, match="a token in a log") as told,
    ):
        broken.__exit__(ValueError, error, None)

    assert told.value.__cause__ is error
    broken.controlplane.stop.assert_called_once()


def test_that_secrets_could_not_be_looked_for_does_not_hide_an_error() -> None:
    broken, error = World("unused", fleet, pace=1, seed=0), ValueError("what went wrong")
    broken.controlplane, broken.azsim = Mock(), Mock()
    with patch.object(World, "leaks", side_effect=OSError("no API server")):
        broken.__exit__(ValueError, error, None)
        with pytest.raises(OSError, match="no API server"):
            broken.__exit__(None, None, None)

    assert error.__notes__ == ["its secrets were not searched for: OSError('no API server')"]
