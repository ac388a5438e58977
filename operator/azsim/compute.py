"""Microsoft.Compute's virtual machines: reading them, power, guest patching, operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from azsim import power, throttling
from azsim.fleet import PowerState
from azsim.http import ArmError, Params, Principal, Request, Response, Router, resource_not_found
from azsim.operations import Operation
from azsim.selection import parse_install
from azsim.subscriptions import subscription_of
from azsim.throttling import Limit, charge

if TYPE_CHECKING:
    from azsim.cloud import Cloud
    from azsim.machine import Machine

PAGE = 120
"""Machines in one page of a list."""

_SUBSCRIPTION = "/subscriptions/{sub}"
_COMPUTE = "providers/Microsoft.Compute"
_MACHINES = f"{_SUBSCRIPTION}/resourceGroups/{{rg}}/{_COMPUTE}/virtualMachines"
_ACTION = "Microsoft.Compute/virtualMachines"


def routes(router: Router) -> None:
    """The routes of virtual machines and of their operations."""
    machine = f"{_MACHINES}/{{vm}}"
    for collection in (f"{_SUBSCRIPTION}/{_COMPUTE}/virtualMachines", _MACHINES):
        router.add("GET", collection, list_machines, action=f"{_ACTION}/read")
    router.add("GET", machine, get_machine, action=f"{_ACTION}/read")
    router.add("DELETE", machine, delete_machine, action=f"{_ACTION}/delete")
    router.add(
        "GET", f"{machine}/instanceView", get_instance_view, action=f"{_ACTION}/instanceView/read"
    )
    for verb, handler in (
        ("assessPatches", assess_patches),
        ("installPatches", install_patches),
        ("start", start),
        ("restart", restart),
        ("powerOff", power_off),
        ("deallocate", deallocate),
    ):
        router.add("POST", f"{machine}/{verb}", handler, action=f"{_ACTION}/{verb}/action")
    router.add(
        "GET",
        f"{_SUBSCRIPTION}/{_COMPUTE}/locations/{{location}}/operations/{{operation}}",
        get_operation,
        action="Microsoft.Compute/locations/operations/read",
    )


# -- reading --------------------------------------------------------------------------------------


def list_machines(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The machines of a subscription or of one of its groups, a page at a time."""
    subscription = subscription_of(cloud, principal, params["sub"])
    group = params.get("rg", "").lower()
    if group and group not in subscription.resource_groups:
        raise _group_not_found(params["rg"])
    headers = _charge(
        cloud,
        principal,
        params,
        throttling.READS,
        (throttling.LIST_SUBSCRIPTION, subscription.id.lower()),
    )
    found = [
        machine
        for _, machine in sorted(subscription.machines.items())
        if not group or machine.resource_group.lower() == group
    ]
    start_at = _skipped(request)
    expand = _wants_instance_view(request) or request.param("statusOnly") == "true"
    page = found[start_at : start_at + PAGE]
    body: dict[str, Any] = {"value": [machine.to_arm(instance_view=expand) for machine in page]}
    if start_at + PAGE < len(found):
        body["nextLink"] = _next_link(request, start_at + PAGE)
    return Response(200, body, headers)


def get_machine(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One machine, with its instance view if asked."""
    machine = _machine(cloud, request, params, principal)
    headers = _charge_read(cloud, principal, params, machine)
    return Response(200, machine.to_arm(instance_view=_wants_instance_view(request)), headers)


def get_instance_view(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """What the platform sees of a machine now."""
    machine = _machine(cloud, request, params, principal)
    headers = _charge_read(cloud, principal, params, machine)
    return Response(200, machine.instance_view(), headers)


def _wants_instance_view(request: Request) -> bool:
    return "instanceview" in (request.param("$expand") or "").lower()


def _skipped(request: Request) -> int:
    token = request.param("$skiptoken") or "0"
    if not token.isdigit():
        raise ArmError(400, "InvalidParameter", f"The skip token '{token}' is invalid.")
    return int(token)


def _next_link(request: Request, start_at: int) -> str:
    query = {k: v for k, v in request.query.items() if k.lower() != "$skiptoken"}
    query["$skiptoken"] = str(start_at)
    return f"{request.base_url}{quote(request.path)}?{urlencode(query, safe='$')}"


def _machine(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Machine:
    subscription = subscription_of(cloud, principal, params["sub"])
    if params["rg"].lower() not in subscription.resource_groups:
        raise _group_not_found(params["rg"])
    machine_id = (
        f"/subscriptions/{params['sub']}/resourceGroups/{params['rg']}"
        f"/{_COMPUTE}/virtualMachines/{params['vm']}"
    )
    machine = subscription.machines.get(machine_id.lower())
    if machine is None:
        raise resource_not_found(machine_id)
    return machine


def _group_not_found(name: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def _charge(
    cloud: Cloud,
    principal: Principal,
    params: Params,
    arm: Limit,
    *compute: tuple[Limit, str],
) -> dict[str, str]:
    return charge(
        cloud.buckets, cloud.now, params["sub"].lower(), principal.object_id, arm, *compute
    )


def _charge_read(
    cloud: Cloud, principal: Principal, params: Params, machine: Machine
) -> dict[str, str]:
    return _charge(
        cloud,
        principal,
        params,
        throttling.READS,
        (throttling.GET_SUBSCRIPTION, _region(machine)),
        (throttling.GET_MACHINE, machine.id.lower()),
    )


def _region(machine: Machine) -> str:
    return f"{machine.subscription_id}/{machine.location}".lower()


# -- guest patching -------------------------------------------------------------------------------


def assess_patches(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Begin an assessment."""
    machine = _machine(cloud, request, params, principal)
    headers = _charge_patch(cloud, principal, params, machine)
    check_ready(cloud, machine)
    operation = _begin(cloud, request, principal, machine)
    cloud.guest(machine).assess(operation)
    return _accepted(cloud, request, operation, headers)


def install_patches(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Begin an installation. ArmError 400 for a body that Azure refuses."""
    machine = _machine(cloud, request, params, principal)
    headers = _charge_patch(cloud, principal, params, machine)
    install = parse_install(request.json(), machine.os_type)
    check_ready(cloud, machine)
    operation = _begin(cloud, request, principal, machine)
    cloud.guest(machine).install(operation, install)
    return _accepted(cloud, request, operation, headers)


def _charge_patch(
    cloud: Cloud, principal: Principal, params: Params, machine: Machine
) -> dict[str, str]:
    return _charge(
        cloud,
        principal,
        params,
        throttling.WRITES,
        *patch_limits(machine),
    )


def patch_limits(machine: Machine) -> tuple[tuple[Limit, str], ...]:
    """The buckets that a guest patch operation takes from, whoever begins it."""
    return (
        (throttling.PATCH_SUBSCRIPTION, _region(machine)),
        (throttling.PATCH_MACHINE, machine.id.lower()),
    )


def check_ready(cloud: Cloud, machine: Machine) -> None:
    """ArmError 409 for a machine to which nothing can be sent now."""
    quirks = cloud.quirks
    if machine.power is not PowerState.RUNNING:
        message = quirks.not_running_message.format(vm=machine.name)
        raise ArmError(409, quirks.not_running_code, message)
    if quirks.agent_refused and not machine.agent_ready:
        raise ArmError(409, quirks.agent_code, quirks.agent_message.format(vm=machine.name))


# -- power and deletion ---------------------------------------------------------------------------


def start(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Start a machine; what an installation had left to do goes on."""

    def act(machine: Machine, done: Callable[[], None]) -> None:
        power.start(cloud, machine, done)

    return _power(cloud, request, params, principal, act)


def restart(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Restart a machine, from outside."""

    def act(machine: Machine, done: Callable[[], None]) -> None:
        cloud.guest(machine).stop()
        power.boot(cloud, machine, done)

    return _power(cloud, request, params, principal, act)


def power_off(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Stop a machine; it keeps its place."""

    def act(machine: Machine, done: Callable[[], None]) -> None:
        power.stop(cloud, machine, PowerState.STOPPED, done)

    return _power(cloud, request, params, principal, act)


def deallocate(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Stop a machine and give its place back."""

    def act(machine: Machine, done: Callable[[], None]) -> None:
        power.stop(cloud, machine, PowerState.DEALLOCATED, done)

    return _power(cloud, request, params, principal, act)


def delete_machine(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Delete a machine. 204 if there is none, as ARM answers."""
    try:
        machine = _machine(cloud, request, params, principal)
    except ArmError as error:
        if error.code != "ResourceNotFound":
            raise
        return Response(204)
    headers = _charge(cloud, principal, params, throttling.DELETES)
    operation = _begin(cloud, request, principal, machine)
    cloud.remove_machine(machine)
    operation.succeed(cloud.now)
    return _accepted(cloud, request, operation, headers)


def _power(
    cloud: Cloud,
    request: Request,
    params: Params,
    principal: Principal,
    act: Callable[[Machine, Callable[[], None]], None],
) -> Response:
    machine = _machine(cloud, request, params, principal)
    headers = _charge(
        cloud,
        principal,
        params,
        throttling.WRITES,
        (throttling.UPDATE_SUBSCRIPTION, _region(machine)),
        (throttling.UPDATE_MACHINE, machine.id.lower()),
    )
    operation = _begin(cloud, request, principal, machine)
    act(machine, lambda: operation.succeed(cloud.now))
    return _accepted(cloud, request, operation, headers)


# -- operations -----------------------------------------------------------------------------------


def _begin(cloud: Cloud, request: Request, principal: Principal, machine: Machine) -> Operation:
    body = request.json()
    return cloud.operations.add(
        Operation(
            id=cloud.new_guid(),
            subscription_id=machine.subscription_id,
            location=machine.location,
            machine_id=machine.id,
            start=cloud.now,
            api_version=request.param("api-version") or "",
            attempt_id=request.headers.get("x-ms-client-request-id"),
            principal=cloud.name_of(principal),
            body=body if isinstance(body, dict) else {},
        )
    )


def _accepted(
    cloud: Cloud, request: Request, operation: Operation, headers: dict[str, str]
) -> Response:
    """202 with both URLs, an empty body and, as recorded from Azure, no Retry-After."""
    url = cloud.operations.url(request.base_url, operation)
    return Response(
        202,
        None,
        {
            **headers,
            "content-length": "0",
            "azure-asyncoperation": url,
            "location": f"{url}&monitor=true",
        },
    )


def get_operation(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """An operation by its signed URL; with `monitor=true` its result alone."""
    query = {key.lower(): value for key, value in request.query.items()}
    quirks = cloud.quirks
    if not cloud.operations.valid(request.path, query, cloud.now):
        raise ArmError(403, quirks.signature_code, quirks.signature_message)
    operation = cloud.operations.get(params["operation"])
    if operation is None:
        raise ArmError(404, "NotFound", f"The operation '{params['operation']}' was not found.")
    headers = _charge(
        cloud,
        principal,
        params,
        throttling.READS,
        (
            throttling.OPERATION_SUBSCRIPTION,
            f"{operation.subscription_id}/{operation.location}".lower(),
        ),
        (throttling.OPERATION_MACHINE, operation.machine_id.lower()),
    )
    if query.get("monitor", "").lower() == "true":
        return _monitor(operation, headers)
    return Response(200, operation.to_arm(), headers)


def _monitor(operation: Operation, headers: dict[str, str]) -> Response:
    if operation.end is None:
        return Response(202, None, {**headers, "content-length": "0"})
    if operation.error is not None:
        return Response(409, {"error": operation.error}, headers)
    return Response(200, operation.output, headers)
