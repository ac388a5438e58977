"""The CRDs on a real API server: defaults, columns, explanations, and rules that are all tested."""

from __future__ import annotations

import json
from typing import Any

import pytest
from crd_objects import (
    MACHINE,
    SUBSCRIPTION,
    changed,
    collection,
    policy,
    put,
    run,
    subscription,
    target,
)
from test_policy_admission import POLICY_REFUSALS
from test_run_admission import ONE_TIME_REFUSALS, RUN_REFUSALS
from test_schedule_admission import FREEZE_REFUSALS, SCHEDULE_REFUSALS
from test_subscription_admission import SUBSCRIPTION_REFUSALS

from azpatch.api import crd
from azpatch.api.policy import PatchPolicy
from azpatch.api.subscription import AzureSubscription
from lab.controlplane import ControlPlane


def test_every_rule_has_a_row_in_the_tables_of_refusals() -> None:
    immutable = {"cannot change", "values go with operator"}
    tables = (
        POLICY_REFUSALS,
        SUBSCRIPTION_REFUSALS,
        SCHEDULE_REFUSALS,
        FREEZE_REFUSALS,
        RUN_REFUSALS,
        ONE_TIME_REFUSALS,
    )
    told = {str(row.values[2]) for table in tables for row in table}
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


def test_an_absent_value_gets_its_default(crds: ControlPlane, namespace: str) -> None:
    body = changed(
        policy(),
        put("spec.rollout", {}),
        put("spec.install.windows", {}),
        put("spec.runHistory", {}),
    )
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
        "schedule": {"always": {}, "timeZone": "UTC"},
        "rollout": {
            "maxUnavailable": "10%",
            "maxFailed": 2,
            "minSucceeded": "80%",
            "patchSet": "Latest",
            "approval": {"mode": "None", "leadTime": "72h"},
            "spread": [{"by": "AvailabilitySet", "maxUnavailable": 1}],
        },
        "runHistory": {"succeeded": 6, "failed": 6},
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
    [
        ("patchpolicies", policy(), True),
        ("patchruns", run(), True),
        ("azuresubscriptions", subscription("fresh"), False),
    ],
    ids=["PatchPolicy", "PatchRun", "AzureSubscription"],
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
    "azpr": "NAME POLICY PHASE REASON MACHINES SUCCEEDED FAILED SKIPPED AGE",
    "azpt": "NAME POLICY OS IMAGE READY REASON SUPPORTED COMPLIANT MISSING OPERATION RUN AGE",
}


@pytest.mark.parametrize("short_name", COLUMNS)
def test_kubectl_get_answers_the_first_questions(
    crds: ControlPlane, namespace: str, short_name: str
) -> None:
    crds.admin.create(collection("patchpolicies", namespace), policy())
    crds.admin.create(collection("patchtargets", namespace), target())
    crds.admin.create(collection("patchruns", namespace), run())
    crds.kubectl("apply", "--filename=-", input=json.dumps(subscription("columns")))
    shown = crds.kubectl("get", short_name, f"--namespace={namespace}").stdout
    assert shown.splitlines()[0].split() == COLUMNS[short_name].split()


def test_one_category_shows_every_kind(crds: ControlPlane) -> None:
    said = crds.kubectl("api-resources", "--categories=azpatch", "--no-headers").stdout
    assert {line.split()[0] for line in said.splitlines()} == {kind.PLURAL for kind in crd.KINDS}


def test_a_status_of_the_models_is_accepted(crds: ControlPlane) -> None:
    read = AzureSubscription.from_object(subscription())
    path = f"{collection('azuresubscriptions')}?dryRun=All&fieldValidation=Strict"
    body = read.to_object()
    body["metadata"]["name"] = "from-model"
    created = crds.admin.create(path, body)
    assert AzureSubscription.from_object(created).spec == read.spec
