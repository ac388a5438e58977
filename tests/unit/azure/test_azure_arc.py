"""Azure Arc-enabled servers: read, assessed, patched and followed by their own provider."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from azpatch.api import MachineKind, OsType
from azpatch.api.target import OperationKind
from azpatch.azure import limits, port
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    Machine,
    OperationError,
    RebootStatus,
    Requested,
)

SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
SERVER = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-dc"
    "/providers/Microsoft.HybridCompute/machines/dc-7"
)
ACTIVITY = "0d3a7d0e-5f3c-4f8e-9a5f-6a1f7a3f9b11"
ARM = "https://management.azure.com"
URL = (
    f"{ARM}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.HybridCompute/locations/westeurope"
    f"/updateCenterOperationResults/{ACTIVITY}?api-version=2026-07-15&t=638&c=MII&s=SIGN&h=x"
)
ACCEPTED = {"Location": URL, "Retry-After": "30"}
BODY = {
    "maximumDuration": "PT3H55M",
    "rebootSetting": "IfRequired",
    "linuxParameters": {"classificationsToInclude": ["Critical", "Security"]},
}
PROPERTIES = {
    "status": "connected",
    "agentVersion": "1.50",
    "osName": "windows",
    "osType": "windows",
    "osSku": "Windows Server 2022 Standard",
    "osProfile": {"computerName": "DC-7"},
    "vmId": "of-the-agent",
    "vmUuid": "OF-THE-HARDWARE",
}
MODEL: dict[str, Any] = {
    "id": SERVER,
    "location": "westeurope",
    "tags": {"env": "prod"},
    "properties": PROPERTIES,
}
FACTS = Machine(
    id=SERVER,
    vm_id="of-the-agent",
    location="westeurope",
    os_type=OsType.WINDOWS,
    tags={"env": "prod"},
    computer_name="DC-7",
    kind=MachineKind.ARC_SERVER,
    arc_status="Connected",
    os_sku="Windows Server 2022 Standard",
)
COMMON = {
    "status": "Succeeded",
    "startDateTime": "2026-11-22T10:00:00Z",
    "lastModifiedDateTime": "2026-11-22T10:03:12Z",
    "startedBy": "User",
    "patchServiceUsed": "WU",
    "osType": "Windows",
    "errorDetails": {"code": "0", "message": "0 error/s reported.", "details": []},
}
ASSESSED = {
    **COMMON,
    "assessmentActivityId": ACTIVITY,
    "rebootPending": True,
    "availablePatchCountByClassification": {"security": 4, "critical": 1, "definition": 2},
}
INSTALLED = {
    **COMMON,
    "installationActivityId": ACTIVITY,
    "rebootStatus": "Completed",
    "maintenanceWindowExceeded": False,
    "installedPatchCount": 3,
    "failedPatchCount": 0,
    "pendingPatchCount": 0,
    "notSelectedPatchCount": 6,
    "excludedPatchCount": 0,
}
START, END = (
    datetime(2026, 11, 22, 10, 0, tzinfo=UTC),
    datetime(2026, 11, 22, 10, 3, 12, tzinfo=UTC),
)


def extension(**settings: object) -> dict[str, Any]:
    return {
        "name": "WindowsOsUpdateExtension",
        "properties": {
            "type": "WindowsOsUpdateExtension",
            "settings": {"updateConfiguration": settings},
        },
    }


# --- reading --------------------------------------------------------------------------------------


async def test_a_server_is_read_by_its_own_provider(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, MODEL))
    view = await client.machine(SERVER)
    (get,) = wire.sent
    assert get.url.partition("?")[0] == f"{ARM}{SERVER}"
    assert parse_qs(urlsplit(get.url).query) == {"api-version": ["2026-07-15"]}
    assert view.machine == FACTS
    assert view.agent_ready
    assert (view.assessment, view.installation, view.requested) == (None, None, None)


@pytest.mark.parametrize(
    "status", ["Disconnected", "Expired", "Error", "AwaitingConnection", "SomethingNew", None]
)
async def test_a_server_that_is_not_connected_has_no_ready_agent(
    status: str | None, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {**MODEL, "properties": {**PROPERTIES, "status": status}}))
    view = await client.machine(SERVER)
    assert (view.machine.arc_status, view.agent_ready) == (status, False)


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        pytest.param(
            [
                {"properties": {"type": "AzureMonitorLinuxAgent", "settings": {}}},
                extension(
                    activityId="a-1", startTime="2026-11-22T10:00:00.5637218Z", action="Patching"
                ),
            ],
            Requested("a-1", OperationKind.INSTALL, START.replace(microsecond=563721)),
            id="an install",
        ),
        pytest.param(
            [extension(activityId="a-2", startTime="2026-11-22T10:00:00Z", action="Assessment")],
            Requested("a-2", OperationKind.ASSESS, START),
            id="an assessment",
        ),
        pytest.param(
            [extension(activityId="a-3", action="Levitation")], Requested("a-3"), id="a new word"
        ),
        pytest.param([extension()], None, id="settings without an id"),
        pytest.param([{"properties": None}, None], None, id="not what was recorded"),
        pytest.param({"a": 1}, None, id="no list"),
    ],
)
async def test_the_update_extension_may_say_what_was_requested_last(
    extensions: Any,
    expected: Requested | None,
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    wire.answers(answer(200, {**MODEL, "resources": extensions}))
    assert (await client.machine(SERVER)).requested == expected


async def test_a_snapshot_has_servers_beside_virtual_machines_from_a_query_of_their_own(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    row = {
        "id": SERVER,
        "location": "westeurope",
        "tags": {"env": "prod"},
        "vmId": "of-the-agent",
        "osType": "windows",
        "osSku": "Windows Server 2022 Standard",
        "computerName": "DC-7",
        "status": "Connected",
    }
    assessment = {
        "id": f"{SERVER}/patchAssessmentResults/latest",
        "status": "Succeeded",
        "detected": "",
        "counts": {"security": 4, "other": 1},
    }
    wire.answers(
        *(answer(200, {"data": rows}) for rows in ([], [row], [], [], [assessment])),
    )
    snapshot = await client.snapshot([SUBSCRIPTION])
    assert snapshot.machines == {SERVER.lower(): FACTS}
    found = snapshot.assessments[SERVER.lower()]
    assert (found.critical_and_security, found.other, found.detected) == (4, 1, None)


async def test_a_child_of_a_server_is_no_machine_and_nothing_is_sent(
    client: port.AzureClient, wire: Any
) -> None:
    child = f"{SERVER}/extensions/x"
    with pytest.raises(port.Gone):
        await client.machine(child)
    with pytest.raises(port.Gone):
        await client.assess(child, "attempt")
    assert wire.sent == []


# --- beginning ------------------------------------------------------------------------------------


async def test_an_install_is_one_post_with_the_body_as_it_was_given(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202, None, ACCEPTED))
    accepted = await client.install(SERVER, BODY, "attempt-7")
    assert accepted == port.Accepted(ACTIVITY, URL)
    (post,) = wire.sent
    path = f"{ARM}{SERVER}/installPatches"
    assert (post.method, post.url) == ("POST", f"{path}?api-version=2026-07-15")
    assert post.json() == BODY
    assert post.headers["x-ms-client-request-id"] == "attempt-7"


async def test_an_assessment_is_one_post_without_a_body(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202, None, ACCEPTED))
    assert (await client.assess(SERVER, "attempt-8")).poll_url == URL
    (post,) = wire.sent
    assert post.url.startswith(f"{ARM}{SERVER}/assessPatches?")
    assert not post.content
    assert post.headers["x-ms-client-request-id"] == "attempt-8"


async def test_of_two_urls_the_location_is_followed(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202, None, {**ACCEPTED, "Azure-AsyncOperation": URL.replace("?", "/x?")}))
    assert (await client.assess(SERVER, "attempt")).poll_url == URL


@pytest.mark.parametrize("call", ["assess", "install"])
@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (202, {}, port.Unconfirmed),
        (400, {}, port.NotStarted),
        (403, {}, port.Denied),
        (404, {}, port.Gone),
        (409, {}, port.Busy),
        (409, {"Retry-After": "5"}, port.Busy),
        (429, {"Retry-After": "17"}, port.Throttled),
        (500, {}, port.Unconfirmed),
        (503, {"Retry-After": "1"}, port.Unconfirmed),
    ],
)
async def test_a_post_that_is_not_accepted_is_not_repeated(
    call: str,
    status: int,
    headers: dict[str, str],
    expected: type[port.AzureError],
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    error = {"error": {"code": "Code", "message": "In Azure's words."}}
    wire.answers(answer(status, error, headers))
    with pytest.raises(port.AzureError) as caught:
        await (
            client.assess(SERVER, "a") if call == "assess" else client.install(SERVER, BODY, "a")
        )
    assert type(caught.value) is expected
    assert len(wire.sent) == 1


@pytest.mark.parametrize("what", ["lost", "silent", "refused"])
async def test_a_post_whose_answer_is_lost_may_have_begun(
    what: str, client: port.AzureClient, wire: Any, connection_error: Any
) -> None:
    wire.answers(connection_error(what))
    expected = port.NeverSent if what == "refused" else port.Unconfirmed
    with pytest.raises(port.AzureError) as caught:
        await client.install(SERVER, BODY, "attempt")
    assert type(caught.value) is expected
    assert len(wire.sent) == 1


def test_an_operation_costs_of_arms_budgets_alone() -> None:
    key = SERVER.lower()
    assert limits.patch(key, SUBSCRIPTION, "westeurope") == ((limits.WRITES, SUBSCRIPTION),)
    assert limits.read_machine(key, SUBSCRIPTION) == ((limits.READS, SUBSCRIPTION),)


# --- following ------------------------------------------------------------------------------------


async def test_an_operation_that_runs_says_when_to_look_again(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202, None, ACCEPTED))
    expected = port.Progress(running=True, retry_after=timedelta(seconds=30))
    assert await client.operation(URL) == expected
    (get,) = wire.sent
    assert get.url == URL


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            ASSESSED,
            port.Progress(
                running=False,
                assessment=AssessmentResult(
                    status=GuestStatus.SUCCEEDED,
                    start_time=START,
                    last_modified=END,
                    activity_id=ACTIVITY,
                    critical_and_security=5,
                    other=2,
                    reboot_pending=True,
                ),
                ended=END,
            ),
            id="an assessment",
        ),
        pytest.param(
            INSTALLED,
            port.Progress(
                running=False,
                installation=InstallationResult(
                    status=GuestStatus.SUCCEEDED,
                    start_time=START,
                    last_modified=END,
                    activity_id=ACTIVITY,
                    installed=3,
                    not_selected=6,
                    reboot_status=RebootStatus.COMPLETED,
                    patches=None,
                ),
                ended=END,
            ),
            id="an install, without a list of patches",
        ),
        pytest.param(
            {
                "status": "Failed",
                "installationActivityId": ACTIVITY,
                "errorDetails": {"code": "VMGuestPatchInternalError", "message": "Retry later."},
            },
            port.Progress(
                running=False,
                installation=InstallationResult(
                    status=GuestStatus.FAILED,
                    activity_id=ACTIVITY,
                    error=OperationError("VMGuestPatchInternalError", "Retry later."),
                ),
            ),
            id="an install that failed as a whole",
        ),
        pytest.param(
            {"status": "Failed", "error": {"code": "Code", "message": "Words."}},
            port.Progress(running=False, error=OperationError("Code", "Words.")),
            id="a failure of nothing in particular",
        ),
        pytest.param({**INSTALLED, "status": "InProgress"}, port.Progress(running=True), id="runs"),
        pytest.param(None, port.Progress(running=False), id="no result"),
        pytest.param(
            {**INSTALLED, "status": "Unknown"},
            port.Progress(running=False, ended=END),
            id="an install of which Azure does not know what became of it",
        ),
        pytest.param(
            {**ASSESSED, "status": "Levitating"},
            port.Progress(running=False, ended=END),
            id="an assessment with a word that is new",
        ),
    ],
)
async def test_what_the_url_gives_is_a_result(
    body: Any, expected: port.Progress, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, body))
    assert await client.operation(URL) == expected


@pytest.mark.parametrize("status", [400, 409, 412, 499])
async def test_a_refusal_in_arms_words_is_the_operations_error(
    status: int, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(status, {"error": {"code": "PatchFailed", "message": "In Azure's words."}}))
    error = OperationError("PatchFailed", "In Azure's words.")
    assert await client.operation(URL) == port.Progress(running=False, error=error)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": {"code": "ExpiredToken", "message": "m"}}, port.SignInFailed),
        (403, {"error": {"code": "AuthorizationFailed", "message": "m"}}, port.Gone),
        (404, {"error": {"code": "NotFound", "message": "m"}}, port.Gone),
        (400, {"error": {"code": "InvalidApiVersionParameter", "message": "m"}}, port.Retry),
        (400, {"error": {"code": "NoRegisteredProviderFound", "message": "m"}}, port.Retry),
        (400, {"error": {"code": "InvalidSubscriptionId", "message": "m"}}, port.Retry),
        (400, {"error": {"code": "BadRequest", "message": "m"}}, port.Retry),
        (400, {"error": {"code": "400", "message": "m"}}, port.Retry),
        (400, {"error": {"code": "Bad Request", "message": "m"}}, port.Retry),
        (409, {"error": {"code": "Conflict", "message": "m"}}, port.Retry),
        (413, {"error": {"code": "RequestEntityTooLarge", "message": "m"}}, port.Retry),
        (422, {"error": {"code": "UnprocessableEntity", "message": "m"}}, port.Retry),
        (412, {"error": {"code": "PreconditionFailed", "message": "m"}}, port.Retry),
        (409, {"error": {"code": "MissingSubscriptionRegistration", "message": "m"}}, port.Retry),
        (409, {"error": {"code": "ReadOnlyDisabledSubscription", "message": "m"}}, port.Retry),
        (409, b"<html>a proxy</html>", port.Retry),
        (410, {"error": {"code": "OperationExpired", "message": "m"}}, port.Retry),
        (429, {"error": {"code": "TooManyRequests", "message": "m"}}, port.Retry),
        (503, {"error": {"code": "ServiceUnavailable", "message": "m"}}, port.Retry),
        (200, b"<html>a proxy</html>", port.Retry),
    ],
)
async def test_what_is_no_word_about_the_operation_does_not_end_it(
    status: int,
    body: Any,
    expected: type[port.AzureError],
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    wire.answers(answer(status, body))
    with pytest.raises(port.AzureError) as caught:
        await client.operation(URL)
    assert type(caught.value) is expected


async def test_a_url_that_leads_elsewhere_is_not_followed(
    client: port.AzureClient, wire: Any
) -> None:
    with pytest.raises(port.Gone):
        await client.operation(URL.replace("management.azure.com", "evil.example"))
    assert wire.sent == []
