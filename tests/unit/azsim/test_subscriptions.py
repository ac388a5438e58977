"""Subscriptions, groups, providers and permissions, and what every answer of ARM carries."""

from typing import Any

import pytest
from simulated import HOST, Azure

from azsim.http import Principal, Request

WEB = "5ab10000-0000-4000-8000-0000000000aa"
SHOP = "5ab10000-0000-4000-8000-0000000000bb"
GROUP = f"/subscriptions/{WEB}/resourceGroups/rg-web"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web-1"

FLEET = f"""
subscriptions:
  - id: {WEB}
    displayName: web
    resourceGroups: [{{name: rg-web, location: eastus2, tags: {{team: web}}}}]
  - {{id: {SHOP}, displayName: shop, state: Warned}}
roles:
  patcher:
    actions: [Microsoft.Compute/virtualMachines/*]
    notActions: [Microsoft.Compute/virtualMachines/delete]
principals:
  - name: owner
  - name: patcher of a group
    roleAssignments: [{{scope: "{GROUP}", role: patcher}}]
  - {{name: nobody, roleAssignments: []}}
machines:
  - {{name: web-1, group: rg-web}}
  - {{name: db-1, group: rg-db}}
"""

OWNER, PATCHER, NOBODY = range(3)


@pytest.fixture
def azure() -> Azure:
    return Azure(FLEET)


def listed(azure: Azure, path: str, principal: int) -> list[Any]:
    answer = azure.call("GET", path, principal=principal)
    assert answer.status == 200, answer.body
    found: list[Any] = answer.json()["value"]
    return found


@pytest.mark.parametrize(
    ("principal", "seen"),
    [
        pytest.param(OWNER, ["web", "shop"], id="an owner: all"),
        pytest.param(PATCHER, ["web"], id="who has a role inside it"),
        pytest.param(NOBODY, [], id="nobody: none"),
    ],
)
def test_the_subscriptions_listed_are_those_in_which_one_has_a_role(
    azure: Azure, principal: int, seen: list[str]
) -> None:
    assert [each["displayName"] for each in listed(azure, "/subscriptions", principal)] == seen


def test_a_subscription_names_its_tenant_and_state(azure: Azure) -> None:
    shown = azure.call("GET", f"/subscriptions/{SHOP.upper()}").json()

    assert shown["subscriptionId"] == SHOP
    assert shown["tenantId"] == azure.cloud.fleet.tenants[0].id
    assert shown["state"] == "Warned"


def test_a_subscription_that_one_may_not_see_is_not_found(azure: Azure) -> None:
    hidden = azure.call("GET", f"/subscriptions/{SHOP}", principal=PATCHER)
    absent = azure.call("GET", "/subscriptions/5ab10000-0000-4000-8000-0000000000ff")

    assert (hidden.status, absent.status) == (404, 404)
    assert hidden.json()["error"]["code"] == absent.json()["error"]["code"]


def test_the_tenant_of_the_principal_is_listed(azure: Azure) -> None:
    assert [each["tenantId"] for each in listed(azure, "/tenants", OWNER)] == [
        azure.cloud.fleet.tenants[0].id
    ]


def test_groups_that_only_machines_name_are_there_too(azure: Azure) -> None:
    groups = listed(azure, f"/subscriptions/{WEB}/resourceGroups", OWNER)

    assert [group["name"] for group in groups] == ["rg-web", "rg-db"]
    assert (groups[0]["location"], groups[0]["tags"]) == ("eastus2", {"team": "web"})
    assert groups[0]["id"] == GROUP


def test_a_list_of_groups_leaves_out_what_one_may_not_read(azure: Azure) -> None:
    assert listed(azure, f"/subscriptions/{WEB}/resourceGroups", PATCHER) == []


def test_a_group_is_read_with_the_right_to(azure: Azure) -> None:
    assert azure.call("GET", GROUP.upper()).json()["name"] == "rg-web"
    assert azure.call("GET", GROUP, principal=PATCHER).status == 403
    absent = azure.call("GET", f"{GROUP}-2")
    assert (absent.status, absent.json()["error"]["code"]) == (404, "ResourceGroupNotFound")


@pytest.mark.parametrize("namespace", ["Microsoft.Compute", "microsoft.features"])
def test_providers_are_registered_and_may_be_again(azure: Azure, namespace: str) -> None:
    path = f"/subscriptions/{WEB}/providers/{namespace}"

    assert azure.call("GET", path).json()["registrationState"] == "Registered"
    assert azure.call("POST", f"{path}/register").json()["registrationState"] == "Registering"
    azure.wait(minutes=1)
    assert azure.call("GET", path).json()["registrationState"] == "Registered"
    assert azure.call("POST", f"{path}/register", principal=PATCHER).status == 403
    changes = [(e.event, e.details["before"], e.details["after"]) for e in azure.journal.events()]
    assert changes == [
        ("ProviderStateChanged", "Registered", "Registering"),
        ("ProviderStateChanged", "Registering", "Registered"),
    ]


def test_a_provider_that_is_not_simulated_is_not_there(azure: Azure) -> None:
    answer = azure.call("GET", f"/subscriptions/{WEB}/providers/Microsoft.Sql")

    assert (answer.status, answer.json()["error"]["code"]) == (404, "InvalidResourceNamespace")


# -- permissions ----------------------------------------------------------------------------------

PERMISSIONS = "providers/Microsoft.Authorization/permissions?api-version=2022-04-01"


@pytest.mark.parametrize("scope", [GROUP, VM, VM.upper()])
def test_permissions_are_the_roles_that_hold_at_a_scope(azure: Azure, scope: str) -> None:
    assert listed(azure, f"{scope}/{PERMISSIONS}", PATCHER) == [
        {
            "actions": ["Microsoft.Compute/virtualMachines/*"],
            "notActions": ["Microsoft.Compute/virtualMachines/delete"],
            "dataActions": [],
            "notDataActions": [],
        }
    ]


def test_permissions_above_the_assignment_are_none(azure: Azure) -> None:
    assert listed(azure, f"/subscriptions/{WEB}/{PERMISSIONS}", PATCHER) == []
    assert listed(azure, f"/subscriptions/{WEB}/{PERMISSIONS}", NOBODY) == []


@pytest.mark.parametrize("below", ["", "/resourceGroups/rg-web"])
@pytest.mark.parametrize("principal", [OWNER, NOBODY])
def test_there_are_no_permissions_in_a_subscription_that_is_not_there(
    azure: Azure, principal: int, below: str
) -> None:
    unknown = "5ab10000-0000-4000-8000-0000000000ff"
    path = f"/subscriptions/{unknown}{below}/{PERMISSIONS}"
    answer = azure.call("GET", path, principal=principal)

    assert (answer.status, answer.json()["error"]["code"]) == (404, "SubscriptionNotFound")


# -- every answer ---------------------------------------------------------------------------------


def test_without_the_right_arm_refuses_in_its_own_words(azure: Azure) -> None:
    nobody = azure.cloud.fleet.principals[NOBODY]
    answer = azure.call("POST", f"{VM}/assessPatches", principal=NOBODY)

    assert answer.status == 403
    assert answer.json()["error"] == {
        "code": "AuthorizationFailed",
        "message": f"The client '{nobody.client_id}' with object id '{nobody.object_id}' does not "
        "have authorization to perform action "
        "'Microsoft.Compute/virtualMachines/assessPatches/action' "
        f"over scope '{VM}' or the scope is invalid. If access was recently granted, please "
        "refresh your credentials.",
    }


def test_an_api_version_is_required(azure: Azure) -> None:
    principal = Principal("0", "0", azure.cloud.fleet.tenants[0].id)
    token = azure.cloud.signin.issue(principal, f"https://{HOST}", "")["access_token"]
    headers = {"host": HOST, "authorization": f"Bearer {token}"}
    answer = azure.cloud.answer(Request("GET", "/subscriptions", headers=headers))

    assert (answer.status, answer.json()["error"]["code"]) == (400, "MissingApiVersionParameter")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{GROUP}/providers/Microsoft.Compute/cloudServices/x", "InvalidResourceType"),
        ("/nothing/here", "NotFound"),
    ],
)
def test_what_is_not_simulated_is_not_found(azure: Azure, path: str, code: str) -> None:
    answer = azure.call("GET", path)

    assert (answer.status, answer.json()["error"]["code"]) == (404, code)


def test_answers_carry_ids_and_echo_the_clients_if_asked(azure: Azure) -> None:
    plain = azure.call("GET", "/subscriptions", headers={"x-ms-client-request-id": "mine"})
    asked = azure.call(
        "GET",
        "/subscriptions",
        headers={
            "x-ms-client-request-id": "mine",
            "x-ms-return-client-request-id": "true",
            "x-ms-correlation-request-id": "ours",
        },
    )

    assert "x-ms-client-request-id" not in plain.headers
    assert plain.headers["x-ms-correlation-request-id"] == plain.headers["x-ms-request-id"]
    assert asked.headers["x-ms-client-request-id"] == "mine"
    assert asked.headers["x-ms-correlation-request-id"] == "ours"
    assert asked.headers["x-ms-request-id"] != plain.headers["x-ms-request-id"]
    assert [entry.client_request_id for entry in azure.journal.requests()] == ["mine", "mine"]


def test_reads_are_counted_against_arms_budget(azure: Azure) -> None:
    path = f"/subscriptions/{WEB}/resourceGroups"
    left = [
        int(azure.call("GET", path).headers["x-ms-ratelimit-remaining-subscription-reads"])
        for _ in range(3)
    ]
    tenant = azure.call("GET", "/subscriptions").headers["x-ms-ratelimit-remaining-tenant-reads"]

    assert left == [left[0], left[0] - 1, left[0] - 2]
    assert int(tenant) == left[0]
