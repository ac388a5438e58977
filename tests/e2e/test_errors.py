"""The mistakes of docs/errors.md that show in a status, made on the real parts.

One simulated Azure has a subscription or a machine for each mistake. What azpatch ever wrote to a
status is read from the API server's audit log: words that stand for a moment only count too.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from manifests import (
    FEATURE,
    GALLERY,
    GENERALIZED,
    OPERATOR_SUBJECT,
    TENANT,
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
    subscription_id,
    vm_id,
)
from world import PATIENCE, World

from error_cases import Case, section
from lab.audit import LOG_STATUSES
from lab.chart import NAMESPACE as OPERATOR_NAMESPACE
from lab.controlplane import SERVICE_ACCOUNT_ISSUER, ControlPlane

PACE = 60

NS, QUIET, STRANGERS = "shop", "quiet", "stranger"
"""QUIET is granted MAIN only: no other subscription keeps its policies waiting."""

MAIN, UNSEEN, IMAGES, NARROW, UNREADABLE, NOBODYS, LOW, READ_ONLY = range(1, 9)
"""Subscriptions. UNSEEN gives the operator no role; IMAGES neither, but has the gallery of one of
MAIN's machines; NARROW is granted for one resource group; UNREADABLE's identity fails; NOBODYS has
no AzureSubscription; LOW is granted for assessments; READ_ONLY lacks the right to install."""

UNGRANTED, UNABLE, REFUSED, UNANSWERED, GUARDED, OVERDUE, TAKEN_BACK = range(10, 17)
"""Subscriptions whose preview feature azpatch is to register, by what becomes of that."""

WRONG_TENANT, WRONG_CLIENT, WRONG_SECRET, NOT_FEDERATED, NO_SECRET, NO_KEY, NO_CA = range(20, 27)
"""Subscriptions whose identity is declared wrongly, or cannot sign in."""

NO_MATRIX, HALF_MATRIX = 30, 31
"""Subscriptions that name a ConfigMap with a support matrix."""

SIGN_INS = 40
"""The first of the subscriptions whose sign-in Azure answers with an error, one an answer."""

STRANGER = "c11e0000-0000-4000-8000-0000000000aa"
APPLICATION = "c11e0000-0000-4000-8000-0000000000bb"
APPLICATION_SECRET = "Zq3~the-secret-of-the-application"
READER = "c11e0000-0000-4000-8000-0000000000cc"

GRAPH = "Resource Graph, by which a subscription is read"
SIGN_IN = "The sign-in"
LOOK = "The look at a machine that comes before each operation"
ASSESS = "An assessment"
INSTALL = "An install"

OPERATIONS = {
    GRAPH: "query",
    SIGN_IN: "token",
    LOOK: "getMachine",
    ASSESS: "assessPatches",
    INSTALL: "installPatches",
}
"""What azsim calls what the page calls so."""

SUBSCRIPTIONS, POLICIES, ANSWERS = (
    section(name).cases for name in ("subscriptions", "policies", "azure")
)


def answers(*calls: str) -> list[Case]:
    return [case for case in ANSWERS if case.call in calls]


def fault(case: Case, **more: Any) -> Manifest:
    """What makes azsim answer as the case says."""
    effect: Manifest = {
        "HTML": {"garbage": "Html"},
        "truncated JSON": {"garbage": "Truncated"},
    }.get(case.answer) or {"status": int(case.answer)}
    if "garbage" in effect and case.call in (ASSESS, INSTALL):
        # An answer that keeps the URL of its operation is as good as any.
        effect["stripHeaders"] = True
    return {"operation": OPERATIONS[case.call], **effect, **more}


def machine_of(case: Case) -> str:
    """The machine that one of Azure's answers is about."""
    words = {LOOK: "look", ASSESS: "assess", INSTALL: "install"}
    return f"{words[case.call]}-{case.answer.lower().replace(' ', '-')}"


def single(name: str, number: int = MAIN, ns: str = NS, **more: Any) -> Manifest:
    return policy(ns, name, vm_id(name, number), **more)


def client_secret(number: int, secret: str, client: str = APPLICATION) -> Manifest:
    identity = {"type": "ClientSecret", "clientId": client, "secretRef": {"name": secret}}
    return azure_subscription(number, [grant(NS)], identity=identity)


def own_matrix(number: int, config_map: str) -> Manifest:
    declared = azure_subscription(number, [grant(NS)], supportMatrixRef={"name": config_map})
    del declared["spec"]["supportMatrix"]
    return declared


HALF_A_MATRIX: Manifest = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "half-a-matrix", "namespace": OPERATOR_NAMESPACE},
    "data": {"matrix.yaml": "revision: ours-1\n"},
}


def secret(name: str, **data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


SECOND = azure_subscription(MAIN, [grant(NS), grant(QUIET)])
SECOND["metadata"]["name"] = "sub-1-again"

OF_SUBSCRIPTIONS: dict[str, Manifest] = {
    "Two AzureSubscriptions for one subscription": SECOND,
    "A wrong tenant": azure_subscription(
        WRONG_TENANT, [grant(NS)], tenantId=TENANT.replace("7", "8")
    ),
    "A wrong client id": azure_subscription(
        WRONG_CLIENT, [grant(NS)], identity={"clientId": STRANGER}
    ),
    "A wrong client secret": client_secret(WRONG_SECRET, "wrong"),
    "A client id without a federated credential for azpatch": azure_subscription(
        NOT_FEDERATED, [grant(NS)], identity={"clientId": APPLICATION}
    ),
    "A Secret that is missing": client_secret(NO_SECRET, "prod-sp"),
    "A Secret without the key": client_secret(NO_KEY, "no-key"),
    "A ConfigMap with a support matrix that is missing": own_matrix(NO_MATRIX, "our-matrix"),
    "A ConfigMap that holds no support matrix": own_matrix(HALF_MATRIX, "half-a-matrix"),
    "A subscription that does not exist, or in which the identity has no role": azure_subscription(
        UNSEEN, [grant(NS)]
    ),
    "An identity without the rights that the grants need": azure_subscription(
        READ_ONLY, [grant(NS)], identity={"clientId": READER}
    ),
}
"""What is declared, by the mistake in it."""


def registering(number: int, access: str = "Configure", **more: Any) -> Manifest:
    grants = [grant(NS, access=access)]
    return azure_subscription(number, grants, previewFeature={"mode": "Register"}, **more)


OF_REGISTRATIONS: dict[str, Manifest] = {
    "Mode Register without a grant for it": registering(UNGRANTED, "Patch"),
    "Mode Register without the right to it": registering(UNABLE, identity={"clientId": READER}),
    "A registration that needs an approval": registering(GUARDED),
    "A registration that does not come": registering(OVERDUE),
}
"""Likewise."""

REFUSALS: dict[str, tuple[Manifest, int]] = {
    "A registration that Azure refuses": (registering(REFUSED), 403),
    "A registration whose answer is lost": (registering(UNANSWERED), 503),
}
"""What is declared while Azure answers a registration with an error; and the error."""

REGISTERED = registering(TAKEN_BACK)
TAKEN_BACK_CASE = "A registration that somebody took back"
FEATURES: dict[int, Manifest] = {
    GUARDED: {"approval": "ApprovalRequired"},
    OVERDUE: {"comes": False},
    TAKEN_BACK: {"registeringTakes": "1m"},
}

OF_POLICIES: dict[str, Manifest] = {
    "No AzureSubscription for the machine's subscription": single("nobodys", NOBODYS),
    "An AzureSubscription that cannot be read": single("unreadable", UNREADABLE),
    "No grant": single("granted-to-shop", ns=STRANGERS),
    "A grant of another resource group": single("narrow", NARROW),
    "A VM that does not exist": single("nowhere"),
    "An image from which no machine was built": policy(QUIET, "unused", image_id("db")),
    "A grant too low": single("low", LOW),
    "A stopped VM": single("stopped"),
    "A VM agent that is not ready": single("silent"),
    "An image definition in a subscription that cannot be read": single("foreign-image"),
}


def fleet(controlplane: ControlPlane) -> Manifest:
    key = controlplane.token_public_key
    credential = {
        "issuer": SERVICE_ACCOUNT_ISSUER,
        "subject": OPERATOR_SUBJECT,
        "publicKey": key,
    }
    registering = range(UNGRANTED, TAKEN_BACK + 1)
    readable = {MAIN, NARROW, LOW, NO_MATRIX, HALF_MATRIX, *registering} - {UNABLE}
    gallery = "/subscriptions/{}/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/{}"
    foreign = gallery.format(subscription_id(IMAGES), "central/images/web/versions/1.0.0")
    images = [{"name": "central", "group": "rg-images", "images": [{"name": "web"}]}]
    return {
        "subscriptions": [
            subscription(MAIN, galleries=[GALLERY]),
            subscription(IMAGES, galleries=images),
            *map(subscription, (UNSEEN, NARROW, NOBODYS, LOW, READ_ONLY, NO_MATRIX, HALF_MATRIX)),
            *(
                subscription(
                    number,
                    [FEATURE | {"state": "NotRegistered", **FEATURES.get(number, {})}],
                )
                for number in registering
            ),
        ],
        "principals": [
            operator_principal(
                key,
                roleAssignments=[
                    {"scope": f"/subscriptions/{subscription_id(number)}", "role": "Owner"}
                    for number in sorted(readable)
                ],
            ),
            person_principal(),
            {"name": "application", "clientId": APPLICATION, "secret": APPLICATION_SECRET},
            {
                "name": "reader",
                "clientId": READER,
                "federatedSubjects": [credential],
                "roleAssignments": [
                    {"scope": f"/subscriptions/{subscription_id(number)}", "role": "Reader"}
                    for number in (READ_ONLY, UNABLE)
                ],
            },
            *(
                {
                    "name": f"signs-in-{number}",
                    "clientId": sign_in_client(number),
                    "secret": f"Zq3~{case.answer}-of-the-sign-in",
                }
                for number, case in enumerate(answers(SIGN_IN), SIGN_INS)
            ),
        ],
        "machines": [
            machine("narrow", GENERALIZED, subscription=NARROW),
            machine("nobodys", GENERALIZED, subscription=NOBODYS),
            machine("low", GENERALIZED, subscription=LOW),
            machine("granted-to-shop", GENERALIZED),
            machine("stopped", GENERALIZED, power="deallocated"),
            machine("silent", GENERALIZED, agent={"ready": False}),
            machine("foreign-image", {"id": foreign}),
            *(machine(machine_of(case), GENERALIZED) for case in answers(LOOK, ASSESS, INSTALL)),
        ],
    }


def sign_in_client(number: int) -> str:
    return f"c11e0000-0000-4000-8000-{number:012d}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "5s", "AZPATCH_INVENTORY_INTERVAL": "1m"}
    with World(
        "errors", fleet, pace=PACE, seed=6, settings=settings, audit_policy=LOG_STATUSES
    ) as world:
        world.apply(
            *(namespace(name) for name in (NS, QUIET, STRANGERS)),
            secret("wrong", AZURE_CLIENT_SECRET="Zq3~nobody's-secret"),
            secret("no-key", password="Zq3~under-another-key"),
            HALF_A_MATRIX,
            azure_subscription(MAIN, [grant(NS), grant(QUIET)]),
        )
        yield world


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return Told(world.controlplane.audit_log)


Shown = set[tuple[str, str, str, str, str, str]]
"""Kind, name of the object (of a PatchTarget: its policy), condition, status, reason, message."""


class Told:
    """Every condition that was ever written, and the evidence of images."""

    def __init__(self, audit_log: Path) -> None:
        self._audit_log = audit_log
        self._read = 0
        self._found: Shown = set()

    def now(self) -> Shown:
        """Until now. The log is large: of what was read before, only the finds are kept."""
        with self._audit_log.open() as lines:
            lines.seek(self._read)
            while (line := lines.readline()).endswith("\n"):
                self._read = lines.tell()
                self._found |= _in(json.loads(line).get("responseObject") or {})
        return self._found


def _in(thing: Manifest) -> Shown:
    """What the object's status says, if the answer to a write is one of azpatch's objects."""
    found: Shown = set()
    if "spec" in thing:
        name = thing["spec"].get("policy") or thing["metadata"]["name"]
        status = thing.get("status") or {}
        for one in status.get("conditions") or ():
            found.add(
                (thing["kind"], name, one["type"], one["status"], one["reason"], one["message"])
            )
        if evidence := (status.get("image") or {}).get("evidence"):
            found.add((thing["kind"], name, "status.image.evidence", "", "", evidence))
    return found


def says(told: Told, case: Case, name: str) -> bool:
    """Whether the object's status said what the page says."""
    return any(
        (kind, of, condition) == (case.kind, name, case.condition)
        and (not case.reason or (status, reason) == (case.status, case.reason))
        and case.shown_in(message)
        for kind, of, condition, status, reason, message in told.now()
    )


def wait_for(
    world: World, told: Told, case: Case, thing: Manifest, patience: float = PATIENCE
) -> None:
    """Until its status says what the page says; else what it said instead."""
    name = thing["metadata"]["name"]
    try:
        world.wait(case.name, lambda: says(told, case, name), patience=patience)
    except AssertionError:
        other = [each for each in sorted(told.now()) if each[1] == name]
        raise AssertionError(
            f"{case.name}: the page says {case.kind} {case.condition} {case.reason}\n  {case.says}"
            "\nseen:\n" + "\n".join(f"  {' | '.join(each)}" for each in other)
        ) from None


def named(cases: Iterable[Case], manifests: dict[str, Manifest]) -> list[Any]:
    return [
        pytest.param(case, manifests[case.name], id=case.name)
        for case in cases
        if case.name in manifests
    ]


# The operator of this test trusts nobody that is there, so it comes first.
def test_a_ca_that_does_not_fit_is_told(world: World, told: Told) -> None:
    case = next(case for case in SUBSCRIPTIONS if case.name == "A CA that does not fit")
    declared = azure_subscription(MAIN, [grant(NS), grant(QUIET)])
    world.start_operator(AZPATCH_CA_FILE=str(world.controlplane.ca_file))
    try:
        wait_for(world, told, case, declared)
    finally:
        world.operator.stop()


@pytest.fixture(scope="module")
def started(world: World) -> World:
    """With the operator, and every mistake made at once."""
    for case in answers(LOOK, ASSESS, INSTALL):
        world.azsim.ask("POST", "/azsim/faults", fault(case, machine=machine_of(case)))
    world.apply(
        azure_subscription(NARROW, [grant(NS, resourceGroups=["rg-other"])]),
        azure_subscription(LOW, [grant(NS, access="Assess")]),
        azure_subscription(UNREADABLE, [grant(NS)], identity={"clientId": STRANGER}),
        *OF_SUBSCRIPTIONS.values(),
        *OF_REGISTRATIONS.values(),
        REGISTERED,
    )
    world.apply(*OF_POLICIES.values())
    world.apply(*(single(machine_of(case)) for case in answers(LOOK, ASSESS, INSTALL)))
    world.start_operator()
    return world


@pytest.mark.parametrize(
    ("case", "declared"), named(SUBSCRIPTIONS, OF_SUBSCRIPTIONS | OF_REGISTRATIONS)
)
def test_a_mistake_in_a_subscription_is_told(
    started: World, told: Told, case: Case, declared: Manifest
) -> None:
    wait_for(started, told, case, declared)


@pytest.mark.parametrize(
    ("case", "declared", "status"),
    [
        pytest.param(case, *REFUSALS[case.name], id=case.name)
        for case in SUBSCRIPTIONS
        if case.name in REFUSALS
    ],
)
def test_a_registration_that_azure_does_not_take_is_told(
    started: World, told: Told, case: Case, declared: Manifest, status: int
) -> None:
    answer = {"operation": "features", "method": "POST", "status": status}
    started.azsim.ask("POST", "/azsim/faults", answer)
    try:
        started.apply(declared)
        wait_for(started, told, case, declared)
    finally:
        clear(started, "features")


def test_a_registration_that_is_taken_back_is_told(started: World, told: Told) -> None:
    case = next(case for case in SUBSCRIPTIONS if case.name == TAKEN_BACK_CASE)
    started.wait_for_reason(REGISTERED, "FeatureRegistered", "PreviewFeature")
    features = f"/subscriptions/{subscription_id(TAKEN_BACK)}/providers/Microsoft.Features"
    feature = f"{features}/providers/Microsoft.Compute/features/{FEATURE['name']}"
    started.as_person("POST", f"{feature}/unregister", version="2021-07-01")
    wait_for(started, told, case, REGISTERED)


@pytest.mark.parametrize(("case", "declared"), named(POLICIES, OF_POLICIES))
def test_a_mistake_in_a_policy_or_on_a_machine_is_told(
    started: World, told: Told, case: Case, declared: Manifest
) -> None:
    wait_for(started, told, case, declared)


def test_a_vm_that_may_not_be_seen_has_the_same_words_as_none() -> None:
    by_name = {case.name: case.says for case in POLICIES}
    missing = by_name["A VM that does not exist"]
    assert (
        by_name["No grant"].replace("granted-to-shop", "nowhere").replace(STRANGERS, NS) == missing
    )


@pytest.mark.parametrize("case", answers(LOOK, ASSESS, INSTALL), ids=lambda case: case.name)
def test_an_error_of_azure_about_a_machine_is_told(started: World, told: Told, case: Case) -> None:
    wait_for(started, told, case, single(machine_of(case)))


@pytest.mark.parametrize("case", answers(GRAPH), ids=lambda case: case.name)
def test_an_error_of_resource_graph_is_told(started: World, told: Told, case: Case) -> None:
    started.azsim.ask("POST", "/azsim/faults", fault(case))
    try:
        wait_for(started, told, case, azure_subscription(MAIN, [grant(NS), grant(QUIET)]))
    finally:
        clear(started, "query")


@pytest.mark.parametrize(
    ("number", "case"),
    [pytest.param(*each, id=each[1].name) for each in enumerate(answers(SIGN_IN), SIGN_INS)],
)
def test_an_error_of_the_sign_in_is_told(
    started: World, told: Told, number: int, case: Case
) -> None:
    """Of an identity that has no token yet. Before it is told it is tried a few times, and so are
    the others that lost theirs."""
    name = f"sign-in-{number}"
    declared = client_secret(number, name, sign_in_client(number))
    started.azsim.ask("POST", "/azsim/faults", fault(case))
    try:
        started.apply(
            secret(name, AZURE_CLIENT_SECRET=f"Zq3~{case.answer}-of-the-sign-in"), declared
        )
        wait_for(started, told, case, declared, patience=300)
    finally:
        clear(started, "token")


def clear(world: World, operation: str) -> None:
    """Ends the faults of an operation."""
    for one in world.azsim.ask("GET", "/azsim/faults")["faults"]:
        if one["fault"].get("operation") == operation:
            world.azsim.ask("DELETE", f"/azsim/faults/{one['id']}")


def test_every_mistake_of_the_page_is_made_here() -> None:
    made = {*OF_SUBSCRIPTIONS, *OF_REGISTRATIONS, *REFUSALS, *OF_POLICIES, TAKEN_BACK_CASE}
    made |= {"A CA that does not fit"}
    assert {case.name for case in (*SUBSCRIPTIONS, *POLICIES)} == made
    assert {case.call for case in ANSWERS} == set(OPERATIONS)


def test_no_message_holds_a_stack_trace_a_page_or_a_signature(told: Told) -> None:
    texts = json.dumps(sorted(told.now()))
    assert len(texts) > 10_000
    for trace in ("Traceback", 'File \\"', "<html", "<!DOCTYPE", "object at 0x", "eyJ", "&s="):
        assert trace not in texts
