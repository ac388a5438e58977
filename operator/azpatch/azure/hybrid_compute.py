"""Microsoft.HybridCompute: one Arc-enabled server as ARM sees it, its two guest patch operations.

Without the SDK's client, whose models nobody here would use: its requests are four.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from azpatch.azure import limits, models, rows
from azpatch.azure.arm import CLIENT_REQUEST_ID, Arm, answered
from azpatch.azure.compute import ACCEPTED, accepted
from azpatch.azure.errors import NOT_JSON, UNREADABLE, Call, asking, outcome, retry_after
from azpatch.azure.port import Accepted, Denied, Gone, Progress, Retry
from azpatch.azure.queries import ARC_SERVERS
from azpatch.azure.throttles import Throttles
from azpatch.azure.values import mapping, moment, operation_error
from azpatch.domain import ids
from azpatch.domain.facts import ARC_CONNECTED, MachineView, OperationError

HYBRID_COMPUTE_API = "2026-07-15"
"""The newest stable version; guest patching has been in all of them since 2022-12-27."""

_PROVIDER = "/providers/microsoft.hybridcompute/"


class HybridCompute:
    """Arc-enabled servers and their operations."""

    def __init__(
        self, client: AsyncARMPipelineClient[Any, Any], arm: Arm, throttles: Throttles
    ) -> None:
        self._client = client
        self._arm = arm
        self._throttles = throttles

    async def machine(self, machine_id: str) -> MachineView:
        """GET. There is no patch status in it; at most it names what was requested last."""
        _server(machine_id)
        key = ids.key(machine_id)
        costs = limits.read_machine(key, ids.subscription_of(machine_id))
        query = {"api-version": HYBRID_COMPUTE_API}
        async with self._throttles.reading(key, costs):
            _, model = await self._arm.get(
                HttpRequest("GET", self._arm.url(machine_id), params=query)
            )
        if not isinstance(model, Mapping):
            raise Retry(UNREADABLE, NOT_JSON)
        return machine_view(model)

    async def assess(self, machine_id: str, attempt_id: str) -> Accepted:
        """One POST of assessPatches."""
        return await self._post(machine_id, "assessPatches", None, attempt_id)

    async def install(
        self, machine_id: str, parameters: Mapping[str, object], attempt_id: str
    ) -> Accepted:
        """One POST of installPatches, with the body as it was given."""
        return await self._post(machine_id, "installPatches", dict(parameters), attempt_id)

    async def _post(
        self, machine_id: str, verb: str, body: dict[str, object] | None, attempt_id: str
    ) -> Accepted:
        _server(machine_id)
        request = HttpRequest(
            "POST",
            self._arm.url(f"{machine_id}/{verb}"),
            params={"api-version": HYBRID_COMPUTE_API},
            headers={CLIENT_REQUEST_ID: attempt_id},
            json=body,
        )
        async with self._throttles.posting(machine_id), asking(Call.MUTATE):
            response = await answered(self._client, request)
        return accepted(response.headers, "Location", "Azure-AsyncOperation")

    async def operation(self, poll_url: str) -> Progress:
        """One GET of the operation's URL.

        What Compute says in the body of an operation, this provider may say by the status of its
        answer: a refusal in ARM's own form, that is about the operation and not about who asks or
        how, is the operation's error. 403 is Gone, for Compute's reason.
        """
        self._arm.require_own(poll_url)
        path = urlsplit(poll_url).path.lower()
        costs = limits.read(ids.subscription_of(path))
        try:
            async with self._throttles.reading(path, costs), asking(Call.READ):
                response: Any = await self._client.send_request(HttpRequest("GET", poll_url))
                if (error := outcome(response)) is not None:
                    return Progress(running=False, error=OperationError(*error))
                if response.status_code >= 300:
                    raise HttpResponseError(response=response)
                if response.status_code == ACCEPTED:
                    wait = retry_after(response.headers)
                    return Progress(running=True, retry_after=wait)
                return progress(mapping(response.json() if response.content else None))
        except Denied as error:
            raise Gone(error.code, error.message) from None


def _server(machine_id: str) -> None:
    """Gone for what cannot be the id of an Arc-enabled server, so that nothing is sent."""
    parts = ids.parse(machine_id)
    if parts is None or parts.type != ARC_SERVERS:
        raise Gone("InvalidResourceId", "This is not the id of an Azure Arc-enabled server.")


def is_operation_of_arc(poll_url: str) -> bool:
    """Whether an operation's URL is one of this provider's."""
    return _PROVIDER in urlsplit(poll_url).path.lower()


def progress(result: Mapping[str, Any]) -> Progress:
    """What an operation's URL gives once it is no longer 202: its bare result."""
    if rows.at_work(result):
        return Progress(running=True)
    assessed, installed = "assessmentActivityId" in result, "installationActivityId" in result
    over = rows.is_over(result)
    error = mapping(result.get("error")) or mapping(result.get("errorDetails"))
    return Progress(
        running=False,
        assessment=rows.arc_assessment(result) if assessed and over else None,
        installation=rows.installation(result) if installed and over else None,
        error=None if assessed or installed else operation_error(error),
        ended=moment(result.get("lastModifiedDateTime")),
    )


def machine_view(model: Mapping[str, Any]) -> MachineView:
    """An Arc-enabled server's model."""
    machine = models.arc_server(model)
    return MachineView(
        machine=machine,
        agent_ready=machine.arc_status == ARC_CONNECTED,
        assessment=None,
        installation=None,
        requested=rows.requested(model),
    )
