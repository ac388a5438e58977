"""Microsoft.Compute's virtual machines: reading them, power, guest patching, operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from azsim import power, throttling
from azsim.fleet import PowerState
from azsim.http import ArmError, Params, Principal, Request, Response, Router
from azsim.lookup import find_machine, find_machines, find_operation, page_of
from azsim.operations import Operation
from azsim.patching import begin_requested, check_ready, patch_limits, region
from azsim.selection import parse_install
from azsim.throttling import Limit, charge
from azsim.virtualmachine import VirtualMachine

if TYPE_CHECKING:
    from azsim.cloud import Cloud

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
    found = find_machines(cloud, principal, params, VirtualMachine)
    headers = _charge(
        cloud,
        principal,
        params,
        throttling.READS,
        (throttling.LIST_SUBSCRIPTION, params["sub"].lower()),
    )
    expand = _wants_instance_view(request) or request.param("statusOnly") == "true"
    page = page_of(request, found, lambda machine: machine.to_arm(instance_view=expand))
    return Response(200, page, headers)


def get_machine(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One machine, with its instance view if asked."""
    machine = _machine(cloud, params, principal)
    headers = _charge_read(cloud, principal, params, machine)
    return Response(200, machine.to_arm(instance_view=_wants_instance_view(request)), headers)


def get_instance_view(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """What the platform sees of a machine now."""
    machine = _machine(cloud, params, principal)
    headers = _charge_read(cloud, principal, params, machine)
    return Response(200, machine.instance_view(), headers)


def _wants_instance_view(request: Request) -> bool:
    return "instanceview" in (request.param("$expand") or "").lower()


def _machine(cloud: Cloud, params: Params, principal: Principal) -> VirtualMachine:
    return find_machine(cloud, principal, params, VirtualMachine, params["vm"])


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
    cloud: Cloud, principal: Principal, params: Params, machine: VirtualMachine
) -> dict[str, str]:
    return _charge(
        cloud,
        principal,
        params,
        throttling.READS,
        (throttling.GET_SUBSCRIPTION, region(machine)),
        (throttling.GET_MACHINE, machine.id.lower()),
    )


# -- guest patching -------------------------------------------------------------------------------


def assess_patches(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Begin an assessment."""
    machine = _machine(cloud, params, principal)
    headers = _charge_patch(cloud, principal, params, machine)
    check_ready(cloud, machine)
    operation = begin_requested(cloud, request, principal, machine, "Assess")
    cloud.guest(machine).assess(operation)
    return _accepted(cloud, request, operation, headers)


def install_patches(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Begin an installation. ArmError 400 for a body that Azure refuses."""
    machine = _machine(cloud, params, principal)
    headers = _charge_patch(cloud, principal, params, machine)
    install = parse_install(request.json(), machine.os_type)
    check_ready(cloud, machine)
    operation = begin_requested(cloud, request, principal, machine, "Install")
    cloud.guest(machine).install(operation, install)
    return _accepted(cloud, request, operation, headers)


def _charge_patch(
    cloud: Cloud, principal: Principal, params: Params, machine: VirtualMachine
) -> dict[str, str]:
    return _charge(
        cloud,
        principal,
        params,
        throttling.WRITES,
        *patch_limits(machine),
    )


# -- power and deletion ---------------------------------------------------------------------------


def start(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Start a machine; what an installation had left to do goes on."""

    def act(machine: VirtualMachine, done: Callable[[], None]) -> None:
        power.start(cloud, machine, done)

    return _power(cloud, request, params, principal, act)


def restart(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Restart a machine, from outside."""

    def act(machine: VirtualMachine, done: Callable[[], None]) -> None:
        cloud.guest(machine).stop()
        power.boot(cloud, machine, done)

    return _power(cloud, request, params, principal, act)


def power_off(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Stop a machine; it keeps its place."""

    def act(machine: VirtualMachine, done: Callable[[], None]) -> None:
        power.stop(cloud, machine, PowerState.STOPPED, done)

    return _power(cloud, request, params, principal, act)


def deallocate(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Stop a machine and give its place back."""

    def act(machine: VirtualMachine, done: Callable[[], None]) -> None:
        power.stop(cloud, machine, PowerState.DEALLOCATED, done)

    return _power(cloud, request, params, principal, act)


def delete_machine(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Delete a machine. 204 if there is none, as ARM answers."""
    try:
        machine = _machine(cloud, params, principal)
    except ArmError as error:
        if error.code != "ResourceNotFound":
            raise
        return Response(204)
    headers = _charge(cloud, principal, params, throttling.DELETES)
    operation = begin_requested(cloud, request, principal, machine, "Other")
    cloud.remove_machine(machine)
    operation.succeed(cloud.now)
    return _accepted(cloud, request, operation, headers)


def _power(
    cloud: Cloud,
    request: Request,
    params: Params,
    principal: Principal,
    act: Callable[[VirtualMachine, Callable[[], None]], None],
) -> Response:
    machine = _machine(cloud, params, principal)
    headers = _charge(
        cloud,
        principal,
        params,
        throttling.WRITES,
        (throttling.UPDATE_SUBSCRIPTION, region(machine)),
        (throttling.UPDATE_MACHINE, machine.id.lower()),
    )
    operation = begin_requested(cloud, request, principal, machine, "Other")
    act(machine, lambda: operation.succeed(cloud.now))
    return _accepted(cloud, request, operation, headers)


# -- operations -----------------------------------------------------------------------------------


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
    operation = find_operation(cloud, request, params, query)
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
