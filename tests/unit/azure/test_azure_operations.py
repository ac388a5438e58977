"""Assess and install: one POST each, whatever happens to it; then the operation's URL."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from azpatch.azure import port
from azpatch.domain.facts import GuestStatus, OperationError, RebootStatus

VM = "/subscriptions/s-1/resourceGroups/rg-web/providers/Microsoft.Compute/virtualMachines/web-1"
OPERATION = "0d3a7d0e-5f3c-4f8e-9a5f-6a1f7a3f9b11"
URL = (
    "https://management.azure.com/subscriptions/s-1/providers/Microsoft.Compute/locations/"
    f"westeurope/operations/{OPERATION}?p=1&api-version=2026-04-01&t=638&c=MII&s=SIGNATURE&h=x"
)
ACCEPTED = {
    "Azure-AsyncOperation": URL,
    "Location": f"{URL}&monitor=true",
    "x-ms-ratelimit-remaining-resource": "Microsoft.Compute/VMGuestPatchOperationSubscription"
    "Maximum;599,Microsoft.Compute/VMGuestPatchOperationResource;5",
    "x-ms-ratelimit-remaining-subscription-writes": "199",
}
BODY = {
    "maximumDuration": "PT3H55M",
    "rebootSetting": "IfRequired",
    "linuxParameters": {"classificationsToInclude": ["Critical", "Security"]},
}
INSTALL_RESULT = {
    "status": "Succeeded",
    "installationActivityId": OPERATION,
    "rebootStatus": "Completed",
    "maintenanceWindowExceeded": False,
    "excludedPatchCount": 0,
    "notSelectedPatchCount": 11,
    "pendingPatchCount": 0,
    "installedPatchCount": 32,
    "failedPatchCount": 0,
    "patches": [
        {
            "patchId": "curl_7.81.0-1ubuntu1.19_Ubuntu_22.04",
            "name": "curl",
            "version": "7.81.0-1ubuntu1.19",
            "classifications": ["Security"],
            "installationState": "Installed",
        }
    ],
    "startDateTime": "2026-11-22T10:00:00Z",
    "maintenanceRunId": "",
    "error": {"details": [], "code": "0", "message": "0 error/s reported."},
}


def refusal(answer: Any, status: int, code: str = "Code", **headers: str) -> Any:
    return answer(status, {"error": {"code": code, "message": "In Azure's words."}}, headers)


async def test_an_install_is_one_post_with_the_body_as_it_was_given(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202, None, ACCEPTED))
    accepted = await client.install(VM, BODY, "attempt-7")
    assert accepted == port.Accepted(OPERATION, URL)
    (post,) = wire.sent
    path = post.url.partition("?")[0]
    assert (post.method, path) == ("POST", f"https://management.azure.com{VM}/installPatches")
    assert post.json() == BODY
    assert post.headers["x-ms-client-request-id"] == "attempt-7"


async def test_an_assessment_is_one_post_without_a_body(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202, None, ACCEPTED))
    assert (await client.assess(VM, "attempt-8")).operation_id == OPERATION
    (post,) = wire.sent
    assert post.url.startswith(f"https://management.azure.com{VM}/assessPatches?")
    assert not post.content
    assert post.headers["x-ms-client-request-id"] == "attempt-8"


POSTS: Mapping[str, Callable[[port.AzureClient], Awaitable[object]]] = {
    "assess": lambda client: client.assess(VM, "a"),
    "install": lambda client: client.install(VM, BODY, "a"),
    "register a feature": lambda client: client.register_feature("s-1", "Gallery", "a"),
    "register compute": lambda client: client.register_compute("s-1", "a"),
}
"""Everything that changes something in Azure."""


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (
            "register a feature",
            "Microsoft.Features/providers/Microsoft.Compute/features/Gallery/register"
            "?api-version=2021-07-01",
        ),
        ("register compute", "Microsoft.Compute/register?api-version=2021-04-01"),
    ],
)
async def test_a_registration_is_one_post_without_a_body(
    call: str, path: str, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {"properties": {"state": "Registering"}}))
    await POSTS[call](client)
    (post,) = wire.sent
    where = f"https://management.azure.com/subscriptions/s-1/providers/{path}"
    assert (post.method, post.url) == ("POST", where)
    assert not post.content
    assert post.headers["x-ms-client-request-id"] == "a"


@pytest.mark.parametrize("call", POSTS)
@pytest.mark.parametrize(
    ("status", "code", "headers", "expected"),
    [
        pytest.param(400, "InvalidParameter", {}, port.NotStarted, id="400"),
        pytest.param(401, "InvalidAuthenticationToken", {}, port.SignInFailed, id="401"),
        pytest.param(
            401,
            "InvalidAuthenticationToken",
            {"WWW-Authenticate": 'Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="'},
            port.SignInFailed,
            id="401 with a claims challenge",
        ),
        pytest.param(403, "AuthorizationFailed", {}, port.Denied, id="403"),
        pytest.param(404, "ResourceNotFound", {}, port.Gone, id="404"),
        pytest.param(408, "RequestTimeout", {}, port.Unconfirmed, id="408"),
        pytest.param(409, "Conflict", {}, port.Busy, id="409"),
        pytest.param(409, "Conflict", {"Retry-After": "5"}, port.Busy, id="409 with Retry-After"),
        pytest.param(
            409,
            "MissingSubscriptionRegistration",
            {},
            port.Busy,
            id="409 that the SDK would answer by registering",
        ),
        pytest.param(429, "TooManyRequests", {"Retry-After": "17"}, port.Throttled, id="429"),
        pytest.param(500, "InternalServerError", {}, port.Unconfirmed, id="500"),
        pytest.param(503, "ServerTimeout", {"Retry-After": "1"}, port.Unconfirmed, id="503"),
        pytest.param(504, "GatewayTimeout", {}, port.Unconfirmed, id="504"),
        pytest.param(307, "Moved", {"Location": URL}, port.Unconfirmed, id="307"),
    ],
)
async def test_a_post_that_is_not_accepted_is_not_repeated(
    call: str,
    status: int,
    code: str,
    headers: dict[str, str],
    expected: type[port.AzureError],
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    wire.answers(refusal(answer, status, code, **headers))
    with pytest.raises(port.AzureError) as caught:
        await POSTS[call](client)
    assert type(caught.value) is expected
    assert (caught.value.code, caught.value.message) == (code, "In Azure's words.")
    assert len(wire.sent) == 1


async def test_a_throttled_post_says_how_long_azure_asks_to_wait(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(refusal(answer, 429, "TooManyRequests", **{"Retry-After": "17"}))
    with pytest.raises(port.Throttled) as caught:
        await client.install(VM, BODY, "a")
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 17


@pytest.mark.parametrize("call", POSTS)
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        pytest.param("lost", port.Unconfirmed, id="the connection broke"),
        pytest.param("silent", port.Unconfirmed, id="no answer came"),
        pytest.param("refused", port.NeverSent, id="no connection was ever made"),
    ],
)
async def test_a_post_without_an_answer_is_not_repeated(
    call: str,
    what: str,
    expected: type[port.AzureError],
    client: port.AzureClient,
    wire: Any,
    connection_error: Any,
) -> None:
    wire.answers(connection_error(what))
    with pytest.raises(port.AzureError) as caught:
        await POSTS[call](client)
    assert type(caught.value) is expected
    assert "sig=" not in "".join(traceback.format_exception(caught.value))
    assert len(wire.sent) == 1


async def test_an_acceptance_that_names_no_operation_is_unconfirmed(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202))
    with pytest.raises(port.Unconfirmed):
        await client.install(VM, BODY, "a")


async def test_nothing_is_sent_for_what_is_not_the_id_of_a_vm(
    client: port.AzureClient, wire: Any
) -> None:
    scale_set = VM.replace("virtualMachines", "virtualMachineScaleSets")
    for wrong in (scale_set, "/subscriptions/s-1", ""):
        with pytest.raises(port.Gone):
            await client.install(wrong, BODY, "a")
    assert wire.sent == []


async def test_nothing_is_sent_without_a_token(
    client: port.AzureClient, wire: Any, authority: Any, answer: Any
) -> None:
    authority.answers(
        answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215"})
    )
    with pytest.raises(port.SignInFailed, match="AADSTS7000215"):
        await client.install(VM, BODY, "a")
    assert wire.sent == []


async def test_a_running_operation_runs(client: port.AzureClient, wire: Any, answer: Any) -> None:
    wire.answers(answer(200, {"startTime": "…", "status": "InProgress", "name": OPERATION}))
    assert await client.operation(URL) == port.Progress(running=True)
    (get,) = wire.sent
    assert (get.method, get.url) == ("GET", URL)


async def test_a_monitor_url_answers_202_without_a_body_while_it_runs(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(202))
    assert await client.operation(f"{URL}&monitor=true") == port.Progress(running=True)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {
                "status": "Succeeded",
                "properties": {"output": INSTALL_RESULT},
                "name": OPERATION,
            },
            id="operation",
        ),
        pytest.param(INSTALL_RESULT, id="monitor"),
    ],
)
async def test_an_installs_result_with_error_code_0_is_a_success(
    body: dict[str, Any], client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, body))
    progress = await client.operation(URL)
    assert not progress.running
    assert progress.error is None
    assert progress.assessment is None
    result = progress.installation
    assert result is not None
    assert result.status is GuestStatus.SUCCEEDED
    assert result.activity_id == OPERATION
    assert (result.installed, result.not_selected, result.failed) == (32, 11, 0)
    assert result.reboot_status is RebootStatus.COMPLETED
    assert result.error is None
    assert result.patches is not None
    assert [(p.name, p.state) for p in result.patches] == [("curl", "Installed")]


async def test_an_assessments_result_has_its_counts(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    output = {
        "status": "Succeeded",
        "assessmentActivityId": OPERATION,
        "rebootPending": True,
        "criticalAndSecurityPatchCount": 1,
        "otherPatchCount": 2,
        "startDateTime": "2026-11-22T10:00:00Z",
        "availablePatches": [],
        "error": None,
    }
    wire.answers(answer(200, {"status": "Succeeded", "properties": {"output": output}}))
    progress = await client.operation(URL)
    result = progress.assessment
    assert result is not None
    assert (result.critical_and_security, result.other, result.reboot_pending) == (1, 2, True)
    assert (result.error, progress.error, progress.installation) == (None, None, None)


async def test_a_failed_operation_carries_azures_error(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    error = {"code": "VMGuestPatchInternalError", "message": "Please retry later."}
    times = {"startTime": "2026-12-11T22:00:00Z", "endTime": "2026-12-11T22:05:00.5Z"}
    wire.answers(answer(200, {**times, "status": "Failed", "error": error, "name": OPERATION}))
    assert await client.operation(URL) == port.Progress(
        running=False,
        error=OperationError("VMGuestPatchInternalError", "Please retry later."),
        ended=datetime(2026, 12, 11, 22, 5, 0, 500_000, tzinfo=UTC),
    )


@pytest.mark.parametrize("status", [403, 404])
async def test_an_operations_url_that_ran_out_is_gone_and_not_a_right_that_was_lost(
    status: int, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(refusal(answer, status))
    with pytest.raises(port.Gone):
        await client.operation(URL)


async def test_an_operation_that_succeeded_without_output_leaves_its_result_to_be_read(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {"status": "Succeeded", "name": OPERATION}))
    assert await client.operation(URL) == port.Progress(running=False)


@pytest.mark.parametrize("word", ["Unknown", "Levitating", None])
@pytest.mark.parametrize("enveloped", [True, False])
async def test_a_result_that_does_not_say_how_it_ended_is_none(
    word: str | None, enveloped: bool, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    result = {**INSTALL_RESULT, "status": word}
    envelope = {"status": "Succeeded", "properties": {"output": result}, "name": OPERATION}
    wire.answers(answer(200, envelope if enveloped else result))
    assert await client.operation(URL) == port.Progress(running=False)


@pytest.mark.parametrize("word", ["InProgress", "NotStarted"])
async def test_a_bare_result_can_say_that_the_operation_runs(
    word: str, client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {**INSTALL_RESULT, "status": word}))
    assert await client.operation(f"{URL}&monitor=true") == port.Progress(running=True)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(URL.replace("management.azure.com", "evil.example"), id="other host"),
        pytest.param(URL.replace("https:", "http:"), id="not TLS"),
        pytest.param(URL.replace("azure.com/", "azure.com:444/"), id="other port"),
        pytest.param(URL.replace("management.", "management.azure.com@"), id="user information"),
        pytest.param("", id="none"),
    ],
)
async def test_an_operations_url_elsewhere_is_not_followed(
    url: str, client: port.AzureClient, wire: Any, authority: Any
) -> None:
    with pytest.raises(port.Gone):
        await client.operation(url)
    assert wire.sent == []
    assert authority.sent == []


async def test_no_secret_token_or_signature_reaches_a_log_or_an_error(
    client: port.AzureClient,
    wire: Any,
    answer: Any,
    authority: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    wire.answers(answer(202, None, ACCEPTED))
    accepted = await client.install(VM, BODY, "a")
    message = f"Cannot reach {URL} with Bearer eyJhbGciOiJub25l.eyJzdWIi.sig"
    wire.answers(answer(400, {"error": {"code": "Odd", "message": message}}))
    with pytest.raises(port.Retry) as caught:
        await client.operation(accepted.poll_url)
    everything = "\n".join([caplog.text, str(caught.value), repr(accepted)])
    sent = authority.sent[0]
    assert "s3cr3t" in str(sent.content)
    for secret in ("s3cr3t", "eyJ", "SIGNATURE"):
        assert secret not in everything
