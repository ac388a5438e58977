"""What it takes to begin a guest patch operation, on either kind of machine, whoever begins it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from azsim import throttling
from azsim.arcmachine import ArcMachine, Requested
from azsim.fleet import ArcStatus, PowerState
from azsim.http import ArmError, Principal, Request
from azsim.operations import COMPUTE, HYBRID_COMPUTE, Operation
from azsim.throttling import Limit
from azsim.virtualmachine import VirtualMachine

if TYPE_CHECKING:
    from azsim.cloud import Cloud
    from azsim.machine import Machine

Kind = Literal["Assess", "Install", "Other"]


def check_ready(cloud: Cloud, machine: Machine) -> None:
    """ArmError for a machine to which nothing can be sent now, as far as Azure knows."""
    if isinstance(machine, VirtualMachine):
        quirks = cloud.quirks
        if machine.power is not PowerState.RUNNING:
            message = quirks.not_running_message.format(vm=machine.name)
            raise ArmError(409, quirks.not_running_code, message)
        if quirks.agent_refused and not machine.agent_ready:
            raise ArmError(409, quirks.agent_code, quirks.agent_message.format(vm=machine.name))
    elif isinstance(machine, ArcMachine) and machine.status is not ArcStatus.CONNECTED:
        arc = cloud.arc_quirks
        message = arc.not_connected_message.format(machine=machine.name)
        raise ArmError(arc.not_connected_status, arc.not_connected_code, message)


def region(machine: Machine) -> str:
    """The key of a bucket of Compute that a whole subscription and region shares."""
    return f"{machine.subscription_id}/{machine.location}".lower()


def patch_limits(machine: Machine) -> tuple[tuple[Limit, str], ...]:
    """The buckets that a guest patch operation takes from, whoever begins it.

    None of Compute's for an Arc-enabled server; of its own provider none are published.
    """
    if isinstance(machine, ArcMachine):
        return ()
    return (
        (throttling.PATCH_SUBSCRIPTION, region(machine)),
        (throttling.PATCH_MACHINE, machine.id.lower()),
    )


def begin(
    cloud: Cloud,
    machine: Machine,
    kind: Kind,
    *,
    principal: str | None,
    started_by: str = "User",
    api_version: str = "",
    attempt_id: str | None = None,
    body: Mapping[str, Any],
) -> Operation:
    """A new operation on a machine. Azure has taken it; its guest has not been told."""
    arc = isinstance(machine, ArcMachine)
    operation_id = cloud.new_guid()
    operation = Operation(
        id=operation_id,
        subscription_id=machine.subscription_id,
        location=machine.location,
        machine_id=machine.id,
        start=cloud.now,
        api_version=api_version,
        kind=kind,
        collection=HYBRID_COMPUTE if arc else COMPUTE,
        url_id=cloud.new_guid()
        if arc and not cloud.arc_quirks.url_names_activity
        else operation_id,
        attempt_id=attempt_id,
        principal=principal,
        started_by=started_by,
        body=body,
    )
    if isinstance(machine, ArcMachine) and kind != "Other":
        machine.requested = Requested(operation.id, kind, cloud.now)
    return cloud.operations.add(operation)


def begin_requested(
    cloud: Cloud, request: Request, principal: Principal, machine: Machine, kind: Kind
) -> Operation:
    """The same, as a request to ARM asks for it."""
    body = request.json()
    return begin(
        cloud,
        machine,
        kind,
        principal=cloud.name_of(principal),
        api_version=request.param("api-version") or "",
        attempt_id=request.headers.get("x-ms-client-request-id"),
        body=body if isinstance(body, dict) else {},
    )
