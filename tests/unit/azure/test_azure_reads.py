"""Reads of ARM: a machine, features, permissions; repeated a little, translated by one table."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry

from azpatch.api import OsType
from azpatch.azure import port
from azpatch.domain.facts import Feature, GuestStatus, ImageReference, Permissions

VM = "/subscriptions/s-1/resourceGroups/rg-web/providers/Microsoft.Compute/virtualMachines/web-1"
IMAGE = "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/web"
MODEL = {
    "id": VM,
    "name": "web-1",
    "location": "westeurope",
    "zones": ["1"],
    "tags": {"env": "prod"},
    "properties": {
        "vmId": "aaaa",
        "timeCreated": "2026-11-01T08:00:00.1234567+00:00",
        "storageProfile": {
            "imageReference": {"id": f"{IMAGE}/versions/1.4.0", "exactVersion": "1.4.0"},
            "osDisk": {"osType": "Linux", "createOption": "FromImage"},
        },
        "osProfile": {"computerName": "web-1"},
        "instanceView": {
            "osName": "ubuntu",
            "osVersion": "22.04",
            "vmAgent": {
                "vmAgentVersion": "2.9.1.1",
                "statuses": [
                    {
                        "code": "ProvisioningState/succeeded",
                        "level": "Info",
                        "displayStatus": "Ready",
                        "time": "2026-11-22T10:00:00+00:00",
                    }
                ],
            },
            "statuses": [
                {"code": "ProvisioningState/succeeded", "level": "Info"},
                {"code": "PowerState/running", "displayStatus": "VM running"},
            ],
            "patchStatus": {
                "availablePatchSummary": {
                    "status": "InProgress",
                    "assessmentActivityId": "act-1",
                    "rebootPending": False,
                    "criticalAndSecurityPatchCount": 4,
                    "otherPatchCount": 11,
                    "startTime": "2026-11-22T10:00:00Z",
                    "lastModifiedTime": "2026-11-22T10:03:12Z",
                    "error": None,
                },
                "lastPatchInstallationSummary": {
                    "status": "CompletedWithWarnings",
                    "installationActivityId": "act-2",
                    "maintenanceWindowExceeded": True,
                    "notSelectedPatchCount": 1,
                    "excludedPatchCount": 2,
                    "pendingPatchCount": 3,
                    "installedPatchCount": 32,
                    "failedPatchCount": 4,
                    "startTime": "2026-11-21T10:00:00Z",
                    "error": {
                        "code": "1",
                        "message": "1 error/s reported.",
                        "details": [{"code": "PACKAGE_MANAGER_FAILURE", "message": "dpkg"}],
                    },
                },
            },
        },
    },
}


async def test_a_machine_is_read_with_its_instance_view(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, MODEL))
    view = await client.machine(VM)
    (get,) = wire.sent
    assert get.url.startswith(f"https://management.azure.com{VM}?")
    assert "%24expand=instanceView" in get.url or "$expand=instanceView" in get.url
    machine = view.machine
    assert (machine.id, machine.vm_id, machine.location) == (VM, "aaaa", "westeurope")
    assert machine.os_type is OsType.LINUX
    assert machine.time_created == datetime(2026, 11, 1, 8, 0, 0, 123456, tzinfo=UTC)
    assert machine.power_state == "Running"
    assert (machine.zones, machine.tags) == (("1",), {"env": "prod"})
    assert machine.image == ImageReference(id=f"{IMAGE}/versions/1.4.0", exact_version="1.4.0")
    assert machine.computer_name == "web-1"
    assert (machine.os_name, machine.os_version) == ("ubuntu", "22.04")
    assert (machine.scale_set, machine.availability_set) == (None, None)
    assert view.agent_ready


async def test_a_machine_is_asked_for_in_the_version_in_which_its_operations_are(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    taken = {"Location": f"https://management.azure.com{VM}/operations/o-1"}
    wire.answers(answer(200, MODEL), answer(202, None, taken))
    await client.machine(VM)
    await client.assess(VM, "attempt-1")
    looked, assessed = (parse_qs(urlsplit(sent.url).query)["api-version"] for sent in wire.sent)
    assert looked == assessed


@pytest.mark.parametrize(
    "body", [pytest.param(b"", id="nothing"), pytest.param([], id="JSON that is no machine")]
)
async def test_a_machine_is_not_made_of_an_answer_that_is_none(
    body: object, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, body))
    with pytest.raises(port.Retry) as caught:
        await client.machine(VM)
    assert caught.value.code == "UnreadableAnswer"


async def test_an_id_goes_out_with_its_special_characters_quoted(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, MODEL))
    await client.machine(VM.replace("web-1", "wéb (1)"))
    assert "/w%C3%A9b%20%281%29?" in wire.sent[0].url


async def test_the_instance_view_says_what_runs_and_what_ran(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, MODEL))
    view = await client.machine(VM)
    assert view.assessment is not None
    assert view.assessment.status is GuestStatus.IN_PROGRESS
    assert view.assessment.activity_id == "act-1"
    assert view.assessment.detected is None
    assert view.installation is not None
    assert view.installation.status is GuestStatus.COMPLETED_WITH_WARNINGS
    assert view.installation.maintenance_window_exceeded
    assert view.installation.patches is None
    assert view.installation.error is not None
    assert view.installation.error.details == (("PACKAGE_MANAGER_FAILURE", "dpkg"),)


@pytest.mark.parametrize(
    "instance_view",
    [
        pytest.param({}, id="deallocated: no agent at all"),
        pytest.param(
            {
                "vmAgent": {
                    "statuses": [
                        {"code": "ProvisioningState/Unavailable", "displayStatus": "Not Ready"}
                    ]
                }
            },
            id="agent not ready",
        ),
        pytest.param({"vmAgent": {"statuses": []}}, id="agent without a status"),
    ],
)
async def test_an_agent_that_does_not_say_ready_is_not(
    instance_view: dict[str, Any], client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {"id": VM, "properties": {"instanceView": instance_view}}))
    view = await client.machine(VM)
    assert not view.agent_ready
    assert (view.assessment, view.installation, view.machine.power_state) == (None, None, None)


@pytest.mark.parametrize(
    ("status", "code", "expected", "requests"),
    [
        pytest.param(400, "BadRequest", port.Retry, 1, id="400"),
        pytest.param(401, "InvalidAuthenticationToken", port.SignInFailed, 1, id="401"),
        pytest.param(403, "AuthorizationFailed", port.Denied, 1, id="403"),
        pytest.param(404, "ResourceNotFound", port.Gone, 1, id="404"),
        pytest.param(
            404, "SubscriptionNotFound", port.Denied, 1, id="404 of a subscription without a role"
        ),
        pytest.param(409, "Conflict", port.Retry, 1, id="409"),
        pytest.param(429, "TooManyRequests", port.Retry, 1, id="429"),
        pytest.param(500, "InternalServerError", port.Retry, 3, id="500"),
        pytest.param(503, "ServerTimeout", port.Retry, 3, id="503"),
    ],
)
async def test_a_read_that_fails_is_named_by_what_happens_next(
    status: int,
    code: str,
    expected: type[port.AzureError],
    requests: int,
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    wire.answers(answer(status, {"error": {"code": code, "message": "In Azure's words."}}))
    with pytest.raises(port.AzureError) as caught:
        await client.machine(VM)
    assert type(caught.value) is expected
    assert caught.value.code == code
    assert len(wire.sent) == requests


async def test_a_token_that_arm_refused_is_not_used_again(
    client: port.AzureClient, wire: Any, authority: Any, answer: Any
) -> None:
    wire.answers(answer(200, MODEL), answer(200, MODEL), answer(401), answer(200, MODEL))
    await client.machine(VM)
    await client.machine(VM)
    assert len(authority.sent) == 1
    with pytest.raises(port.SignInFailed):
        await client.machine(VM)
    await client.machine(VM)
    assert len(authority.sent) == 2


async def test_a_read_that_azure_asks_to_wait_for_is_not_repeated_meanwhile(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(503, None, {"Retry-After": "60"}))
    with pytest.raises(port.Retry) as caught:
        await client.machine(VM)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 60
    assert len(wire.sent) == 1


async def test_a_read_survives_one_lost_connection(
    client: port.AzureClient, wire: Any, answer: Any, connection_error: Any
) -> None:
    wire.answers(connection_error("lost"), answer(200, MODEL))
    assert (await client.machine(VM)).machine.vm_id == "aaaa"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(200, "UnreadableAnswer", id="a good answer"),
        pytest.param(404, "HTTP404", id="a 404, by which a machine would be gone"),
        pytest.param(502, "HTTP502", id="a gateway's error"),
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="nothing"),
        pytest.param(b"<html><body>Sign in to the network</body></html>", id="HTML"),
        pytest.param(b'{"id": "/subscriptions/s-1", "prop', id="truncated JSON"),
    ],
)
async def test_an_answer_that_is_not_json_is_asked_for_later_and_not_shown(
    text: bytes | None, status: int, code: str, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(status, text))
    with pytest.raises(port.AzureError, match="proxy or a firewall") as caught:
        await client.machine(VM)
    assert type(caught.value) is port.Retry
    assert caught.value.code == code
    assert "network" not in caught.value.message


def _feature(name: str, state: str) -> dict[str, Any]:
    return {"name": f"Microsoft.Compute/{name}", "properties": {"state": state}}


async def test_features_are_read_page_by_page_with_their_display_names(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    following = "https://management.azure.com/subscriptions/s-1/next?page=2"
    registration = {
        "name": "GalleryGuestPatch",
        "properties": {"displayName": "VM Guest Patch Gallery Image Preview"},
    }
    wire.answers(
        answer(200, {"value": [_feature("A", "Registered")], "nextLink": following}),
        answer(200, {"value": [_feature("galleryguestpatch", "NotRegistered")]}),
        answer(200, {"value": [registration]}),
    )
    assert await client.features("s-1") == (
        Feature("A", "Registered"),
        Feature("galleryguestpatch", "NotRegistered", "VM Guest Patch Gallery Image Preview"),
    )
    assert [get.url.partition("?")[0].rpartition("/")[2] for get in wire.sent] == [
        "features",
        "next",
        "subscriptionFeatureRegistrations",
    ]


@pytest.mark.parametrize("status", [403, 404])
async def test_features_are_known_without_registrations_that_cannot_be_read(
    status: int, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    refused = answer(status, {"error": {"code": "NotFound", "message": "Not found."}})
    wire.answers(answer(200, {"value": [_feature("A", "Pending")]}), refused)
    assert await client.features("s-1") == (Feature("A", "Pending"),)


async def test_a_next_page_elsewhere_is_not_followed(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {"value": [], "nextLink": "https://evil.example/?page=2"}))
    with pytest.raises(port.Gone):
        await client.permissions("/subscriptions/s-1")
    assert len(wire.sent) == 1


async def test_permissions_are_read_at_their_scope(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    entry = {"actions": ["*/read"], "notActions": ["*/write"], "dataActions": []}
    wire.answers(answer(200, {"value": [entry]}))
    scope = "/subscriptions/s-1/resourceGroups/rg-web"
    assert await client.permissions(scope) == (Permissions(("*/read",), ("*/write",)),)
    assert wire.sent[0].url.startswith(
        f"https://management.azure.com{scope}/providers/Microsoft.Authorization/permissions?"
    )


async def test_calls_and_budgets_are_measured(
    client: port.AzureClient, wire: Any, answer: Any, registry: CollectorRegistry
) -> None:
    budgets = {
        "x-ms-ratelimit-remaining-subscription-reads": "249",
        "x-ms-ratelimit-remaining-resource": "Microsoft.Compute/GetInstanceSubscriptionMaximum;7"
        ",Microsoft.Compute/GetInstanceResource;3",
    }
    gone = answer(404, {"error": {"code": "ResourceNotFound", "message": "Not found."}})
    wire.answers(answer(200, MODEL, budgets), gone)
    await client.machine(VM)
    with pytest.raises(port.Gone):
        await client.machine(VM)

    def calls(result: str) -> float | None:
        labels = {"operation": "machine", "result": result}
        return registry.get_sample_value("azpatch_azure_calls_total", labels)

    def budget(name: str) -> float | None:
        return registry.get_sample_value("azpatch_azure_budget_remaining", {"budget": name})

    assert (calls("Succeeded"), calls("Gone")) == (1, 1)
    assert budget("subscription-reads") == 249
    assert budget("GetInstanceSubscriptionMaximum") == 7
    assert budget("GetInstanceResource") is None
