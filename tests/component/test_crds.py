"""The CRDs on a real API server: what is refused and in which words, defaults, columns, fields."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from azpatch.api import crd
from azpatch.api.common import API_VERSION, OperationName
from azpatch.api.policy import PatchPolicy
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import (
    OPERATION_FINALIZER,
    POLICY_LABEL,
    SUBSCRIPTION_LABEL,
    PatchTarget,
)
from lab.apiclient import ApiError
from lab.controlplane import ControlPlane

Change = Callable[[dict[str, Any]], None]

SUBSCRIPTION = "6f1c2a34-0000-4000-8000-000000000001"
COMPUTE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute"
MACHINE = f"{COMPUTE}/virtualMachines/web-1"
IMAGE = f"{COMPUTE}/galleries/golden/images/web"

EIGHT_KIBIBYTES = 8 * 1024


def policy(name: str = "web") -> dict[str, Any]:
    """A PatchPolicy that installs, in as few words as possible."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PatchPolicy",
        "metadata": {"name": name},
        "spec": {
            "target": {"virtualMachine": {"id": MACHINE}},
            "install": {"linux": {}},
            "schedule": {"always": {}},
        },
    }


def subscription(name: str = "prod") -> dict[str, Any]:
    """An AzureSubscription with one grant."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AzureSubscription",
        "metadata": {"name": name},
        "spec": {
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "72f988bf-0000-4000-8000-000000000001",
            "supportMatrix": "2023-05",
            "grants": [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Patch"}],
        },
    }


def target(name: str = "web-1-5d0c7a91be", of: str = "web") -> dict[str, Any]:
    """A PatchTarget as the operator makes it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PatchTarget",
        "metadata": {"name": name},
        "spec": {"machineId": MACHINE, "policy": of},
    }


def collection(plural: str, namespace: str | None = None) -> str:
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{API_VERSION}{inside}/{plural}"


def put(path: str, value: Any) -> Change:
    """Sets the value at a dotted path."""
    *parents, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        for parent in parents:
            body = body.setdefault(parent, {})
        body[last] = value

    return change


def drop(path: str) -> Change:
    """Removes what is at a dotted path."""
    *parents, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        for parent in parents:
            body = body[parent]
        del body[last]

    return change


def changed(body: dict[str, Any], *changes: Change) -> dict[str, Any]:
    body = copy.deepcopy(body)
    for change in changes:
        change(body)
    return body


def refusal(controlplane: ControlPlane, path: str, body: Mapping[str, Any]) -> str:
    """The API server's words about a new object that it refuses."""
    with pytest.raises(ApiError) as refused:
        controlplane.admin.create(f"{path}?dryRun=All&fieldValidation=Strict", body)
    return str(refused.value)


NOT_A_MACHINE = (
    "virtualMachine.id is not the id of a virtual machine: give /subscriptions/SUBSCRIPTION/"
    "resourceGroups/GROUP/providers/Microsoft.Compute/virtualMachines/NAME, as `az vm show "
    "--query id` prints it"
)
NOT_AN_IMAGE = (
    "galleryImage.id is not the id of a gallery image: give /subscriptions/SUBSCRIPTION/"
    "resourceGroups/GROUP/providers/Microsoft.Compute/galleries/GALLERY/images/IMAGE, or that "
    "and /versions/1.2.3 for one version"
)
NOT_A_DURATION = (
    "install.maximumDuration is not an ISO 8601 duration in hours and minutes: give for example "
    "PT2H or PT1H30M"
)
NOT_AN_AGE = (
    "assessment.maxAge is not a duration: give hours, minutes and seconds such as 24h or 1h30m"
)
NOT_A_SHARE = (
    "rollout.maxUnavailable is neither a count nor a percentage: give a number from 1, or 1% to "
    "100%; set spec.suspend to stop installs"
)


def machine_target(machine_id: str) -> Change:
    return put("spec.target", {"virtualMachine": {"id": machine_id}})


def image_target(image_id: str) -> Change:
    return put("spec.target", {"galleryImage": {"id": image_id}})


POLICY_REFUSALS = [
    pytest.param(
        [put("spec.target", {})],
        "spec.target",
        "target is empty: give virtualMachine for one machine, or galleryImage for all machines "
        "built from one image",
        id="no target",
    ),
    pytest.param(
        [put("spec.target.galleryImage", {"id": IMAGE})],
        "spec.target",
        "target has both virtualMachine and galleryImage: keep one, and make a second "
        "PatchPolicy for the other",
        id="two targets",
    ),
    pytest.param(
        [machine_target("web-1")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="a machine's name in place of its id",
    ),
    pytest.param(
        [machine_target(MACHINE.replace(SUBSCRIPTION, "prod"))],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="a machine's id with a subscription's name",
    ),
    pytest.param(
        [machine_target(IMAGE)],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an image's id as a machine",
    ),
    pytest.param(
        [machine_target(f"{COMPUTE}/virtualMachineScaleSets/web/virtualMachines/0")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an instance of a scale set",
    ),
    pytest.param(
        [machine_target(f"{MACHINE}/extensions/x")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="something inside a machine",
    ),
    pytest.param(
        [machine_target(f"{COMPUTE}/virtualMachines/..")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an id that leaves its collection",
    ),
    pytest.param(
        [machine_target(f"{MACHINE}?api-version=1")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an id with a query",
    ),
    pytest.param(
        [image_target(MACHINE)],
        "spec.target.galleryImage.id",
        NOT_AN_IMAGE,
        id="a machine's id as an image",
    ),
    pytest.param(
        [image_target(f"{COMPUTE}/images/web")],
        "spec.target.galleryImage.id",
        NOT_AN_IMAGE,
        id="a managed image as a gallery's",
    ),
    pytest.param(
        [image_target(f"{IMAGE}/versions/latest")],
        "spec.target.galleryImage.id",
        NOT_AN_IMAGE,
        id="a version that is no version",
    ),
    pytest.param(
        [drop("spec.install.linux")],
        "spec.install",
        "install selects nothing: give linux, windows or both ({} takes the critical and "
        "security patches)",
        id="an install of nothing",
    ),
    pytest.param(
        [put("spec.install.linux.classificationsToInclude", [])],
        "spec.install.linux",
        "install.linux selects nothing: give classificationsToInclude or "
        "packageNameMasksToInclude, or remove linux to skip Linux machines",
        id="no class and no package",
    ),
    pytest.param(
        [put("spec.install.windows.classificationsToInclude", [])],
        "spec.install.windows",
        "install.windows selects nothing: give classificationsToInclude or kbNumbersToInclude, "
        "or remove windows to skip Windows machines",
        id="no class and no KB",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "PT4H")],
        "spec.install.maximumDuration",
        "install.maximumDuration is longer than PT3H55M, the most that Azure takes: give that "
        "or less",
        id="PT4H",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "PT236M")],
        "spec.install.maximumDuration",
        "install.maximumDuration is longer than PT3H55M, the most that Azure takes: give that "
        "or less",
        id="PT236M",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "4h")],
        "spec.install.maximumDuration",
        NOT_A_DURATION,
        id="Go's duration for Azure's",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "P1D")],
        "spec.install.maximumDuration",
        NOT_A_DURATION,
        id="days",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "PT0M")],
        "spec.install.maximumDuration",
        "install.maximumDuration is zero: give the time that an install may take, for example PT2H",
        id="no time",
    ),
    pytest.param(
        [drop("spec.schedule")],
        "spec",
        "install needs a schedule: give schedule: {always: {}} to install whenever a machine is "
        "due",
        id="an install without a schedule",
    ),
    pytest.param(
        [drop("spec.install")],
        "spec",
        "schedule says when to install, but there is no install: add install, or remove schedule "
        "to assess only",
        id="a schedule without an install",
    ),
    pytest.param(
        [drop("spec.install"), drop("spec.schedule"), put("spec.rollout", {})],
        "spec",
        "rollout says how to install, but there is no install: add install, or remove rollout "
        "to assess only",
        id="a rollout without an install",
    ),
    pytest.param(
        [put("spec.assessment.mode", "None")],
        "spec",
        "assessment.mode None leaves install without evidence, because an assessment tells what "
        "is missing before it and what is left after it: set assessment.mode to Operator, or "
        "remove install",
        id="an install without assessments",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "P1D")],
        "spec.assessment.maxAge",
        NOT_AN_AGE,
        id="Azure's duration for Go's",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "1d")],
        "spec.assessment.maxAge",
        NOT_AN_AGE,
        id="an age in days",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "10s")],
        "spec.assessment.maxAge",
        "assessment.maxAge is shorter than 5m: an assessment itself takes minutes, give at least "
        "that",
        id="an age too short",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "169h")],
        "spec.assessment.maxAge",
        "assessment.maxAge is longer than 168h: Azure keeps the result of an assessment for 7 "
        "days, give at most that",
        id="an age too long",
    ),
    *(
        pytest.param(
            [put("spec.rollout.maxUnavailable", share)],
            "spec.rollout.maxUnavailable",
            NOT_A_SHARE,
            id=f"maxUnavailable {share!r}",
        )
        for share in (0, -1, "0%", "101%", "3", "ten")
    ),
    pytest.param(
        [put("metadata.name", "a" * 47)],
        "<nil>",
        "metadata.name has more than 46 characters: what azpatch names after the policy would "
        "not fit, choose a shorter one",
        id="a long name",
    ),
]

SUBSCRIPTION_REFUSALS = [
    pytest.param(
        [put("spec.subscriptionId", "prod")],
        "spec.subscriptionId",
        "subscriptionId is not a GUID: give it as `az account show --query id` prints it",
        id="a subscription's name",
    ),
    pytest.param(
        [put("spec.tenantId", "contoso.example")],
        "spec.tenantId",
        "tenantId is not a GUID: give it as `az account show --query tenantId` prints it",
        id="a tenant's domain",
    ),
    pytest.param(
        [put("spec.identity.clientId", "azpatch")],
        "spec.identity.clientId",
        "identity.clientId is not a GUID: give it as `az ad sp show --query appId` prints it",
        id="an application's name",
    ),
    pytest.param(
        [put("spec.identity", {"type": "ClientSecret", "clientId": SUBSCRIPTION})],
        "spec.identity",
        "identity.type ClientSecret needs identity.secretRef: name the Secret in the operator's "
        "namespace whose key AZURE_CLIENT_SECRET holds the client secret",
        id="a client secret from nowhere",
    ),
    pytest.param(
        [put("spec.identity", {"type": "ClientSecret", "secretRef": {"name": "sp"}})],
        "spec.identity",
        "identity.type ClientSecret needs identity.clientId: the application (client) id that "
        "the secret belongs to",
        id="a client secret of nobody",
    ),
    *(
        pytest.param(
            [put("spec.identity", {"type": kind, "secretRef": {"name": "sp"}})],
            "spec.identity",
            "identity.secretRef is for type ClientSecret only: remove it, or set identity.type "
            "to ClientSecret",
            id=f"a secret for {kind}",
        )
        for kind in ("WorkloadIdentity", "ManagedIdentity")
    ),
    pytest.param(
        [put("spec.grants", [{"name": "web", "namespaces": {}, "access": "Read"}])],
        "spec.grants[0].namespaces",
        "namespaces matches nothing: give names, or a selector ({} is every namespace)",
        id="a grant to nobody",
    ),
    pytest.param(
        [put("metadata.name", "a" * 64)],
        "<nil>",
        "metadata.name has more than 63 characters: it becomes a label of the subscription's "
        "PatchTargets, choose a shorter one",
        id="a long name",
    ),
]


@pytest.mark.parametrize(("changes", "field", "message"), POLICY_REFUSALS)
def test_a_wrong_policy_is_refused_with_the_field_and_the_remedy(
    crds: ControlPlane, namespace: str, changes: list[Change], field: str, message: str
) -> None:
    body = changed(policy(), *changes)
    said = refusal(crds, collection("patchpolicies", namespace), body)
    assert f"{field}: Invalid value: " in said
    assert message in said


@pytest.mark.parametrize(("changes", "field", "message"), SUBSCRIPTION_REFUSALS)
def test_a_wrong_subscription_is_refused_with_the_field_and_the_remedy(
    crds: ControlPlane, changes: list[Change], field: str, message: str
) -> None:
    said = refusal(crds, collection("azuresubscriptions"), changed(subscription(), *changes))
    assert f"{field}: Invalid value: " in said
    assert message in said


def test_every_rule_has_a_row_in_the_tables_above() -> None:
    immutable = {"cannot change", "values go with operator"}
    told = {str(row.values[2]) for row in (*POLICY_REFUSALS, *SUBSCRIPTION_REFUSALS)}
    rules = {message for kind in crd.KINDS for message in messages(crd.schema(kind))}
    rest = {rule for rule in rules - told if not any(words in rule for words in immutable)}
    assert rest == set()
    assert told <= rules


def messages(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {message for item in schema for message in messages(item)}
    if not isinstance(schema, dict):
        return set()
    own = {rule["message"] for rule in schema.get("x-kubernetes-validations", ())}
    return own | {message for item in schema.values() for message in messages(item)}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(drop("spec.supportMatrix"), "spec.supportMatrix: Required value", id="matrix"),
        pytest.param(drop("spec.tenantId"), "spec.tenantId: Required value", id="tenant"),
        pytest.param(
            put("spec.supportMatrix", "2024-01"),
            'spec.supportMatrix: Unsupported value: "2024-01": supported values: "2023-05"',
            id="another matrix",
        ),
        pytest.param(
            put("spec.previewFeature.mode", "Register"),
            'spec.previewFeature.mode: Unsupported value: "Register"',
            id="registering the feature",
        ),
        pytest.param(
            put(
                "spec.grants",
                [{"name": "a", "namespaces": {"names": ["a"]}, "access": "Configure"}],
            ),
            'spec.grants[0].access: Unsupported value: "Configure"',
            id="access Configure",
        ),
        pytest.param(
            put("spec.grants", [subscription()["spec"]["grants"][0]] * 2),
            'spec.grants[1]: Duplicate value: {"name":"web"}',
            id="two grants of one name",
        ),
        pytest.param(put("spec.freezes", []), 'unknown field "spec.freezes"', id="freezes"),
        pytest.param(
            put("spec.arcBilling", "Accepted"), 'unknown field "spec.arcBilling"', id="arcBilling"
        ),
    ],
)
def test_a_subscription_has_no_field_or_value_that_this_release_does_not_act_on(
    crds: ControlPlane, change: Change, error: str
) -> None:
    assert error in refusal(crds, collection("azuresubscriptions"), changed(subscription(), change))


@pytest.mark.parametrize(
    "field",
    [
        "spec.target.selector",
        "spec.target.arcMachine",
        "spec.schedule.windows",
        "spec.schedule.timeZone",
        "spec.schedule.freezes",
        "spec.rollout.waves",
        "spec.rollout.maxFailed",
        "spec.runHistory",
    ],
)
def test_a_policy_has_no_field_that_this_release_does_not_act_on(
    crds: ControlPlane, namespace: str, field: str
) -> None:
    body = changed(policy(), put(field, {}))
    said = refusal(crds, collection("patchpolicies", namespace), body)
    assert f'unknown field "{field}"' in said


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([machine_target(MACHINE.upper())], id="an id in other case"),
        pytest.param([image_target(IMAGE)], id="an image definition"),
        pytest.param([image_target(f"{IMAGE}/versions/1.4.0")], id="an image version"),
        pytest.param([put("spec.install.maximumDuration", "PT3H55M")], id="the longest install"),
        pytest.param([put("spec.install.maximumDuration", "PT235M")], id="the same in minutes"),
        pytest.param([put("spec.assessment.maxAge", "1h30m")], id="Go's notation"),
        pytest.param([put("spec.assessment.maxAge", "168h")], id="the longest age"),
        pytest.param([put("spec.rollout.maxUnavailable", 3)], id="a count"),
        pytest.param([put("spec.rollout.maxUnavailable", "100%")], id="a percentage"),
        pytest.param([put("metadata.name", "a" * 46)], id="the longest name"),
        pytest.param([drop("spec.install"), drop("spec.schedule")], id="assess only"),
        pytest.param(
            [
                drop("spec.install"),
                drop("spec.schedule"),
                put("spec.assessment.mode", "None"),
            ],
            id="report only",
        ),
    ],
)
def test_a_policy_may_say(crds: ControlPlane, namespace: str, changes: list[Change]) -> None:
    path = f"{collection('patchpolicies', namespace)}?dryRun=All&fieldValidation=Strict"
    body = changed(policy(), *changes)
    PatchPolicy.from_object(crds.admin.create(path, body))


def test_a_subscription_id_cannot_change(crds: ControlPlane) -> None:
    path = collection("azuresubscriptions")
    crds.admin.create(path, subscription("immutable"))
    other = {"spec": {"subscriptionId": SUBSCRIPTION.replace("1", "2")}}
    with pytest.raises(ApiError) as refused:
        crds.admin.patch(f"{path}/immutable", other)
    assert (
        "subscriptionId cannot change, because policies act on what it names: create another "
        "AzureSubscription, then delete this one"
    ) in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [{"policy": "other"}, {"machineId": f"{MACHINE}0"}],
    ids=["another policy", "another machine"],
)
def test_the_spec_of_a_target_cannot_change(
    crds: ControlPlane, namespace: str, change: dict[str, str]
) -> None:
    path = collection("patchtargets", namespace)
    crds.admin.create(path, target())
    with pytest.raises(ApiError) as refused:
        crds.admin.patch(f"{path}/{target()['metadata']['name']}", {"spec": change})
    assert (
        "spec of a PatchTarget cannot change: azpatch makes one for each machine of a policy, "
        "edit the PatchPolicy instead"
    ) in str(refused.value)


def test_label_requirements_are_those_of_kubernetes(crds: ControlPlane) -> None:
    wrong = {"key": "team", "operator": "Exists", "values": ["a"]}
    grant = {
        "name": "a",
        "namespaces": {"selector": {"matchExpressions": [wrong]}},
        "access": "Read",
    }
    said = refusal(
        crds, collection("azuresubscriptions"), changed(subscription(), put("spec.grants", [grant]))
    )
    assert "values go with operator In or NotIn, which need at least one, and with no other" in said


def test_an_absent_value_gets_its_default(crds: ControlPlane, namespace: str) -> None:
    body = changed(policy(), put("spec.rollout", {}), put("spec.install.windows", {}))
    created = crds.admin.create(collection("patchpolicies", namespace), body)
    assert created["spec"] == {
        "suspend": False,
        "target": {"virtualMachine": {"id": MACHINE}},
        "assessment": {"mode": "Operator", "maxAge": "24h", "probeUnsupported": False},
        "install": {
            "executor": "Operator",
            "linux": {"classificationsToInclude": ["Critical", "Security"]},
            "windows": {
                "classificationsToInclude": ["Critical", "Security"],
                "excludeKbsRequiringReboot": False,
            },
            "rebootSetting": "IfRequired",
            "maximumDuration": "PT2H",
            "onUndeterminedSupport": "Wait",
        },
        "schedule": {"always": {}},
        "rollout": {"maxUnavailable": "10%"},
    }


def test_a_subscription_defaults_to_checking_the_preview_feature(crds: ControlPlane) -> None:
    path = f"{collection('azuresubscriptions')}?dryRun=All"
    body = changed(subscription(), put("spec.identity", {"clientId": SUBSCRIPTION}))
    created = crds.admin.create(path, body)
    assert created["spec"]["previewFeature"] == {"mode": "Check"}
    assert created["spec"]["identity"]["type"] == "WorkloadIdentity"


def test_the_defaults_of_the_schema_are_those_of_the_models(
    crds: ControlPlane, namespace: str
) -> None:
    body = changed(policy(), put("spec.rollout", {}), put("spec.install.windows", {}))
    path = f"{collection('patchpolicies', namespace)}?dryRun=All"
    assert (
        PatchPolicy.from_object(body).spec
        == PatchPolicy.from_object(crds.admin.create(path, body)).spec
    )


def test_a_list_that_a_person_applies_replaces_its_default(
    crds: ControlPlane, namespace: str
) -> None:
    path = f"{collection('patchpolicies', namespace)}/web?fieldManager=person"
    crds.admin.patch(path, policy(), "apply")
    only = put("spec.install.linux.classificationsToInclude", ["Other"])
    applied = crds.admin.patch(path, changed(policy(), only), "apply")
    assert applied["spec"]["install"]["linux"]["classificationsToInclude"] == ["Other"]


@pytest.mark.parametrize(
    ("plural", "body", "namespaced"),
    [("patchpolicies", policy(), True), ("azuresubscriptions", subscription("fresh"), False)],
    ids=["PatchPolicy", "AzureSubscription"],
)
def test_a_fresh_object_is_not_taken_for_done(
    crds: ControlPlane, namespace: str, plural: str, body: dict[str, Any], namespaced: bool
) -> None:
    path = collection(plural, namespace if namespaced else None)
    created = crds.admin.create(path, {**body, "status": {"observedGeneration": 1}})
    assert created["status"] == {"observedGeneration": -1}


def test_the_crds_are_accepted_without_reservation(crds: ControlPlane) -> None:
    """Structural, established, names accepted, within the cost budget of CEL."""
    for manifest in crd.manifests():
        name = manifest["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        conditions = crds.admin.get(path)["status"]["conditions"]
        found = {condition["type"]: condition["status"] for condition in conditions}
        assert found["Established"] == found["NamesAccepted"] == "True"
        assert found.get("NonStructuralSchema", "False") == "False"


def test_targets_are_found_by_their_policy(crds: ControlPlane, namespace: str) -> None:
    path = collection("patchtargets", namespace)
    for name, of in (("a-1", "web"), ("b-1", "db"), ("a-2", "web")):
        crds.admin.create(path, target(name, of))
    found = crds.admin.get(f"{path}?fieldSelector=spec.policy%3Dweb")["items"]
    assert {item["metadata"]["name"] for item in found} == {"a-1", "a-2"}


def test_kubectl_explain_reads_like_documentation(crds: ControlPlane) -> None:
    # kubectl keeps what it discovered; this asks anew.
    crds.kubectl("api-resources", "--api-group=azpatch.dev")
    said = crds.kubectl("explain", "azpp.spec.install").stdout
    flowing = " ".join(said.split())
    assert "What to install, and how. Absent: assess only." in flowing
    assert "How long an install may take on a machine, reboots included; ISO 8601" in flowing
    assert "enum: IfRequired, Never, Always" in flowing


COLUMNS = {
    "azsub": "NAME SUBSCRIPTION READY REASON MATRIX FEATURE MACHINES AGE",
    "azpp": "NAME READY REASON MACHINES COMPLIANT IN-PROGRESS FAILED AGE",
    "azpt": "NAME POLICY OS IMAGE READY REASON SUPPORTED COMPLIANT MISSING OPERATION AGE",
}


@pytest.mark.parametrize("short_name", COLUMNS)
def test_kubectl_get_answers_the_first_questions(
    crds: ControlPlane, namespace: str, short_name: str
) -> None:
    crds.admin.create(collection("patchpolicies", namespace), policy())
    crds.admin.create(collection("patchtargets", namespace), target())
    crds.kubectl("apply", "--filename=-", input=json.dumps(subscription("columns")))
    shown = crds.kubectl("get", short_name, f"--namespace={namespace}").stdout
    assert shown.splitlines()[0].split() == COLUMNS[short_name].split()


def test_one_category_shows_every_kind(crds: ControlPlane) -> None:
    said = crds.kubectl("api-resources", "--categories=azpatch", "--no-headers").stdout
    assert {line.split()[0] for line in said.splitlines()} == {kind.PLURAL for kind in crd.KINDS}


WORDY = "x" * 5000


def condition(type_: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": "Unknown",
        "reason": "PreviewFeatureNotRegistered",
        "message": WORDY,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-23T02:00:00.123456Z",
    }


def full_target() -> dict[str, Any]:
    """A PatchTarget with every field, Azure's longest ids, and messages that never end."""
    time, guid = "2026-11-23T02:00:00.123456Z", "0d4e8c11-0000-4000-8000-000000000001"
    group = f"/subscriptions/{guid}/resourceGroups/{'g' * 90}/providers/Microsoft.Compute"
    image = f"{group}/galleries/{'g' * 80}/images/{'i' * 80}/versions/1000000.1000000.1000000"
    operations = [operation.value for operation in OperationName]
    used = operations[:2]
    body = target(f"{'m' * 40}-5d0c7a91be", "p" * 46)
    owner = {"apiVersion": API_VERSION, "kind": "PatchPolicy", "name": "p" * 46, "uid": guid}
    body["metadata"] |= {
        "labels": {POLICY_LABEL: "p" * 46, SUBSCRIPTION_LABEL: "s" * 63},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        "finalizers": [OPERATION_FINALIZER],
    }
    body["spec"] = {"machineId": f"{group}/virtualMachines/{'m' * 64}", "policy": "p" * 46}
    body["status"] = {
        "machine": {
            "vmId": guid,
            "timeCreated": time,
            "osType": "Windows",
            "location": "southafricanorth",
            "powerState": "Deallocating",
            "zone": "1",
            "availabilitySet": f"{group}/availabilitySets/{'a' * 80}",
        },
        "image": {"class": "GallerySpecialized", "reference": image, "evidence": WORDY},
        "detected": {
            "state": "UnableToDetermine",
            "time": time,
            "imageReference": image,
            "probes": 10,
            "nextProbeTime": time,
        },
        "governs": True,
        "verdicts": [
            {
                "operation": operation,
                "verdict": "Unsupported",
                "reason": "PreviewFeatureNotRegistered",
                **({"message": WORDY} if operation in used else {}),
            }
            for operation in operations
        ],
        "assessment": {
            "time": time,
            "startTime": time,
            "status": "Succeeded",
            "activityId": guid,
            "criticalAndSecurity": 1000,
            "other": 1000,
            "selected": 1000,
            "ubuntuProRequired": 1000,
            "rebootPending": True,
        },
        "attempts": {
            "dueSince": time,
            "windowStart": time,
            "installPosts": 2,
            "selectedHash": "f" * 64,
            "failedAssessments": 10,
            "retryAfter": time,
        },
        "operation": {
            "kind": "Install",
            "intentTime": time,
            "attemptId": guid,
            "previousActivityId": guid,
            "operationId": guid,
            "deadline": time,
            "state": "Unconfirmed",
        },
        "installation": {
            "time": time,
            "startTime": time,
            "status": "CompletedWithWarnings",
            "outcome": "Incomplete",
            "reason": "UbuntuProRequired",
            "activityId": guid,
            "installed": 1000,
            "failed": 1000,
            "pending": 1000,
            "notSelected": 1000,
            "excluded": 1000,
            "rebootStatus": "Completed",
            "error": {"code": "VMGuestPatchInternalError", "message": WORDY},
        },
        "conditions": [condition(type_) for type_ in ("Ready", "Supported", "Compliant")],
    }
    return body


def test_a_target_with_everything_is_at_most_8_kib_as_stored(
    crds: ControlPlane, namespace: str
) -> None:
    path, written = collection("patchtargets", namespace), PatchTarget.from_object(full_target())
    crds.admin.create(path, written.to_object())
    stored = crds.admin.patch(
        f"{path}/{written.metadata.name}/status?fieldValidation=Strict",
        {"status": written.status_object()},
    )
    compact = json.dumps(stored, separators=(",", ":"), ensure_ascii=False)
    assert len(compact.encode()) <= EIGHT_KIBIBYTES
    assert PatchTarget.from_object(stored).status == written.status


def test_a_status_of_the_models_is_accepted(crds: ControlPlane) -> None:
    read = AzureSubscription.from_object(subscription())
    path = f"{collection('azuresubscriptions')}?dryRun=All&fieldValidation=Strict"
    body = read.to_object()
    body["metadata"]["name"] = "from-model"
    created = crds.admin.create(path, body)
    assert AzureSubscription.from_object(created).spec == read.spec
