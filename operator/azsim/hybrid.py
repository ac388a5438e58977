"""Microsoft.HybridCompute's Arc-enabled servers: reading them, guest patching, its operations.

Guest patch operations are followed by `Location` alone, which asks to wait. What ends them is a
result with counts and without a list of patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azsim import throttling
from azsim.arcmachine import ARC_TYPE, ArcMachine
from azsim.http import ArmError, Params, Principal, Request, Response, Router
from azsim.lookup import find_machine, find_machines, find_operation, page_of
from azsim.operations import Operation
from azsim.patching import begin_requested, check_ready
from azsim.selection import parse_install
from azsim.throttling import Limit, charge

if TYPE_CHECKING:
    from azsim.cloud import Cloud

_SUBSCRIPTION = "/subscriptions/{sub}"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{rg}}"
_OPERATIONS = "providers/Microsoft.HybridCompute/locations/{location}/updateCenterOperationResults"


def routes(router: Router) -> None:
    """The routes of Arc-enabled servers and of their operations."""
    for scope in (_SUBSCRIPTION, _GROUP):
        router.add("GET", f"{scope}/providers/{ARC_TYPE}", list_machines, action=f"{ARC_TYPE}/read")
    machine = f"{_GROUP}/providers/{ARC_TYPE}/{{machine}}"
    router.add("GET", machine, get_machine, action=f"{ARC_TYPE}/read")
    router.add("DELETE", machine, delete_machine, action=f"{ARC_TYPE}/delete")
    for verb, handler in (("assessPatches", assess_patches), ("installPatches", install_patches)):
        router.add("POST", f"{machine}/{verb}", handler, action=f"{ARC_TYPE}/{verb}/action")
    router.add(
        "GET",
        f"{_SUBSCRIPTION}/{_OPERATIONS}/{{operation}}",
        get_operation,
        action="Microsoft.HybridCompute/locations/updateCenterOperationResults/read",
    )


def list_machines(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The servers of a subscription or of one of its groups, a page at a time."""
    found = find_machines(cloud, principal, params, ArcMachine)
    headers = _charge(cloud, principal, params, throttling.READS)
    return Response(200, page_of(request, found, lambda machine: machine.to_arm()), headers)


def get_machine(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One server."""
    machine = _machine(cloud, params, principal)
    headers = _charge(cloud, principal, params, throttling.READS)
    return Response(200, machine.to_arm(), headers)


def delete_machine(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Delete the resource, at once; the server itself is nobody's. 204 if there is none."""
    headers = _charge(cloud, principal, params, throttling.DELETES)
    try:
        machine = _machine(cloud, params, principal)
    except ArmError as error:
        if error.code != "ResourceNotFound":
            raise
        return Response(204, None, headers)
    cloud.remove_machine(machine)
    return Response(200, None, headers)


def assess_patches(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Begin an assessment. ArmError if the server is not Connected."""
    machine = _machine(cloud, params, principal)
    headers = _charge(cloud, principal, params, throttling.WRITES)
    check_ready(cloud, machine)
    operation = begin_requested(cloud, request, principal, machine, "Assess")
    cloud.guest(machine).assess(operation)
    return _accepted(cloud, request, operation, headers)


def install_patches(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Begin an installation. ArmError 400 for a body that Azure refuses, or if not Connected."""
    machine = _machine(cloud, params, principal)
    headers = _charge(cloud, principal, params, throttling.WRITES)
    body = request.json()
    if isinstance(body, dict) and body and not body.get("maximumDuration"):
        raise ArmError(
            400, "InvalidParameter", "Required parameter 'maximumDuration' is missing (null)."
        )
    install = parse_install(body, machine.os_type)
    check_ready(cloud, machine)
    operation = begin_requested(cloud, request, principal, machine, "Install")
    cloud.guest(machine).install(operation, install)
    return _accepted(cloud, request, operation, headers)


def _machine(cloud: Cloud, params: Params, principal: Principal) -> ArcMachine:
    return find_machine(cloud, principal, params, ArcMachine, params["machine"])


def _charge(cloud: Cloud, principal: Principal, params: Params, limit: Limit) -> dict[str, str]:
    """ARM's budgets; the provider's own are published nowhere, and no header tells of any."""
    return charge(cloud.buckets, cloud.now, params["sub"].lower(), principal.object_id, limit)


def _accepted(
    cloud: Cloud, request: Request, operation: Operation, headers: dict[str, str]
) -> Response:
    """202: not yet there, and where and when to look."""
    url = cloud.operations.url(request.base_url, operation)
    wait = str(cloud.arc_quirks.retry_after)
    return Response(
        202, None, {**headers, "content-length": "0", "location": url, "retry-after": wait}
    )


def get_operation(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """An operation by its signed URL: 202 while it runs, then its result."""
    query = {key.lower(): value for key, value in request.query.items()}
    operation = find_operation(cloud, request, params, query)
    headers = _charge(cloud, principal, params, throttling.READS)
    if operation.end is None:
        return _accepted(cloud, request, operation, headers)
    if operation.error is None:
        return Response(200, operation.output, headers)
    if cloud.arc_quirks.failure_is_a_result:
        return Response(200, _failed(operation, operation.error), headers)
    return Response(409, {"error": operation.error}, headers)


def _failed(operation: Operation, error: dict[str, Any]) -> dict[str, Any]:
    """The result of an operation that failed as a whole."""
    name = "assessmentActivityId" if operation.kind == "Assess" else "installationActivityId"
    return {"status": "Failed", name: operation.id, "errorDetails": {**error, "details": []}}
