"""What an AzureSubscription may say, what cannot change, and in which words it is refused."""

from __future__ import annotations

import pytest
from crd_objects import (
    SUBSCRIPTION,
    Change,
    changed,
    collection,
    drop,
    put,
    refusal,
    subscription,
)

from lab.apiclient import ApiError
from lab.controlplane import ControlPlane

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
    *(
        pytest.param(
            changes,
            "spec",
            "it takes exactly one support matrix: name a revision in supportMatrix, or a ConfigMap "
            "with one of your own in supportMatrixRef",
            id=f"{number} matrix",
        )
        for number, changes in (
            ("no", [drop("spec.supportMatrix")]),
            ("more than one", [put("spec.supportMatrixRef", {"name": "ours"})]),
        )
    ),
    pytest.param(
        [put("metadata.name", "a" * 64)],
        "metadata.name",
        "metadata.name has more than 63 characters: it becomes a label of the subscription's "
        "PatchTargets, choose a shorter one",
        id="a long name",
    ),
]


@pytest.mark.parametrize(("changes", "field", "message"), SUBSCRIPTION_REFUSALS)
def test_a_wrong_subscription_is_refused_with_the_field_and_the_remedy(
    crds: ControlPlane, changes: list[Change], field: str, message: str
) -> None:
    said = refusal(crds, collection("azuresubscriptions"), changed(subscription(), *changes))
    assert f"{field}: Invalid value: " in said
    assert message in said


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(drop("spec.tenantId"), "spec.tenantId: Required value", id="tenant"),
        pytest.param(
            put("spec.supportMatrix", "2024-01"),
            'spec.supportMatrix: Unsupported value: "2024-01": supported values: "2023-05", '
            '"2023-09", "2023-11", "2025-02"',
            id="another matrix",
        ),
        pytest.param(
            put("spec.previewFeature.mode", "Unregister"),
            'spec.previewFeature.mode: Unsupported value: "Unregister": '
            'supported values: "Check", "Register", "Ignore"',
            id="another mode",
        ),
        pytest.param(
            put(
                "spec.grants",
                [{"name": "a", "namespaces": {"names": ["a"]}, "access": "Own"}],
            ),
            'spec.grants[0].access: Unsupported value: "Own": '
            'supported values: "Read", "Assess", "Patch", "Configure"',
            id="another access",
        ),
        pytest.param(
            put("spec.grants", [subscription()["spec"]["grants"][0]] * 2),
            'spec.grants[1]: Duplicate value: {"name":"web"}',
            id="two grants of one name",
        ),
        pytest.param(
            put("spec.arcBilling", "Refused"), 'supported values: "Accepted"', id="arcBilling"
        ),
    ],
)
def test_a_subscription_has_no_field_or_value_that_this_release_does_not_act_on(
    crds: ControlPlane, change: Change, error: str
) -> None:
    assert error in refusal(crds, collection("azuresubscriptions"), changed(subscription(), change))


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
