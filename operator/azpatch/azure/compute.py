"""Microsoft.Compute: one machine as ARM sees it, its two guest patch operations, their progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from azure.core.rest import HttpRequest
from azure.mgmt.compute.aio import ComputeManagementClient

from azpatch.azure import limits, models, rows
from azpatch.azure.arm import CLIENT_REQUEST_ID, Arm
from azpatch.azure.errors import NOT_JSON, UNREADABLE, Call, asking
from azpatch.azure.port import Accepted, Denied, Gone, Progress, Retry, Unconfirmed
from azpatch.azure.throttles import Throttles
from azpatch.azure.values import mapping, moment, operation_error
from azpatch.domain import ids
from azpatch.domain.facts import MachineView

COMPUTE_API = "2026-04-01"
"""The version that the SDK asks for the operations. A test keeps the two equal."""

ACCEPTED = 202
ENDED = ("succeeded", "failed", "canceled")
"""ARM's terminal states of an operation; every other one means that it runs."""


ComputeClients = Callable[[str], ComputeManagementClient]
"""The SDK's compute client of a subscription."""


class Compute:
    """Machines and their operations."""

    def __init__(self, clients: ComputeClients, arm: Arm, throttles: Throttles) -> None:
        self._clients = clients
        self._arm = arm
        self._throttles = throttles

    async def machine(self, machine_id: str) -> MachineView:
        """GET with instance view.

        Not through the SDK's method: that makes a model of the whole VM, which nobody here uses.
        """
        _vm(machine_id)
        key = ids.key(machine_id)
        costs = limits.read_machine(key, ids.subscription_of(machine_id))
        query = {"$expand": "instanceView", "api-version": COMPUTE_API}
        async with self._throttles.reading(key, costs):
            _, model = await self._arm.get(
                HttpRequest("GET", self._arm.url(machine_id), params=query)
            )
        if not isinstance(model, Mapping):
            raise Retry(UNREADABLE, NOT_JSON)
        return machine_view(model)

    async def assess(self, machine_id: str, attempt_id: str) -> Accepted:
        """One POST of assessPatches."""
        vm = _vm(machine_id)
        seen = _Answer()
        async with self._throttles.posting(machine_id), asking(Call.MUTATE):
            await self._clients(vm.subscription).virtual_machines.begin_assess_patches(
                vm.resource_group, vm.name, **_once(attempt_id, seen)
            )
        return accepted(seen.headers)

    async def install(
        self, machine_id: str, parameters: Mapping[str, object], attempt_id: str
    ) -> Accepted:
        """One POST of installPatches.

        The body goes out as it was given: through the SDK's model a duration would become a
        timedelta and leave as `P1D` or `PT04H00M00S`, which the guest's agent cannot read.
        """
        vm = _vm(machine_id)
        seen = _Answer()
        body: Any = dict(parameters)
        async with self._throttles.posting(machine_id), asking(Call.MUTATE):
            await self._clients(vm.subscription).virtual_machines.begin_install_patches(
                vm.resource_group, vm.name, body, **_once(attempt_id, seen)
            )
        return accepted(seen.headers)

    async def operation(self, poll_url: str) -> Progress:
        """One GET of the operation's URL.

        403 is Gone: a signature that ran out looks the same as a right that was lost, and the
        machine itself, which is read next, tells them apart.
        """
        path = urlsplit(poll_url).path.lower()
        costs = limits.read_operation(path, ids.subscription_of(path))
        try:
            async with self._throttles.reading(path, costs):
                status, body = await self._arm.get(HttpRequest("GET", poll_url))
        except Denied as error:
            raise Gone(error.code, error.message) from None
        return Progress(running=True) if status == ACCEPTED else progress(mapping(body))


class _Answer:
    """Keeps the headers of the answer to one call."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}

    def __call__(self, response: Any) -> None:
        self.headers = response.http_response.headers


def _once(attempt_id: str, seen: _Answer) -> dict[str, Any]:
    """Options of a mutating call: one request, no polling by the SDK, our id, its headers kept."""
    return {
        "polling": False,
        "retry_total": 0,
        "headers": {CLIENT_REQUEST_ID: attempt_id},
        "raw_response_hook": seen,
    }


def _vm(machine_id: str) -> ids.ResourceId:
    """The parts of a VM's id; Gone for what cannot be one, so that nothing is sent."""
    parts = ids.parse(machine_id)
    if parts is None or parts.type != "microsoft.compute/virtualmachines":
        raise Gone("InvalidResourceId", "This is not the id of a virtual machine.")
    return parts


def accepted(
    headers: Mapping[str, str], first: str = "Azure-AsyncOperation", then: str = "Location"
) -> Accepted:
    """What the headers of 202 say, the preferred one first. Azure took the operation, so without a
    URL it is Unconfirmed."""
    url = headers.get(first) or headers.get(then) or ""
    operation_id = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    if not operation_id:
        raise Unconfirmed("OperationUrlMissing", "Azure accepted without naming the operation.")
    return Accepted(operation_id, url)


def progress(body: Mapping[str, Any]) -> Progress:
    """The body of an operation's URL, or the bare result of its `monitor` URL."""
    result = mapping(mapping(body.get("properties")).get("output"))
    if "installationActivityId" in body or "assessmentActivityId" in body:
        result = body
        running = rows.at_work(result)
    else:
        running = str(body.get("status") or "").lower() not in ENDED
    if running:
        return Progress(running=True)
    over = rows.is_over(result)
    assessed, installed = "assessmentActivityId" in result, "installationActivityId" in result
    return Progress(
        running=False,
        assessment=rows.assessment_answer(result) if assessed and over else None,
        installation=rows.installation(result) if installed and over else None,
        error=None if result is body else operation_error(body.get("error")),
        ended=moment(body.get("endTime")),
    )


def machine_view(model: Mapping[str, Any]) -> MachineView:
    """A VM's model with its instance view."""
    view = models.instance_view(model)
    patches = mapping(view.get("patchStatus"))
    available = mapping(patches.get("availablePatchSummary"))
    installed = mapping(patches.get("lastPatchInstallationSummary"))
    return MachineView(
        machine=models.virtual_machine(model),
        agent_ready=agent_ready(view),
        assessment=rows.assessment_answer(available) if available else None,
        installation=rows.installation(installed) if installed else None,
    )


def agent_ready(view: Mapping[str, Any]) -> bool:
    """Whether the latest status of the VM agent says `Ready` (`ProvisioningState/succeeded`)."""
    statuses = models.statuses(mapping(view.get("vmAgent")))
    latest = max(statuses, key=_time, default={})
    display = str(latest.get("displayStatus") or "")
    if display:
        return display.lower() == "ready"
    return str(latest.get("code") or "").lower() == "provisioningstate/succeeded"


def _time(status: Mapping[str, Any]) -> float:
    time = moment(status.get("time"))
    return time.timestamp() if time else 0.0
