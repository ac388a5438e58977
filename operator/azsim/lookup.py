"""What reading resources has in common: finding them, pages of them, operations by their URLs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from azsim.http import ArmError, Params, Principal, Request, resource_not_found
from azsim.operations import Operation
from azsim.subscriptions import subscription_of

if TYPE_CHECKING:
    from azsim.cloud import Cloud
    from azsim.machine import Machine

M = TypeVar("M", bound="Machine")

PAGE = 120
"""Machines in one page of a list."""


def find_machine(cloud: Cloud, principal: Principal, params: Params, kind: type[M], name: str) -> M:
    """The machine of this kind and name in the group of the path. ArmError 404."""
    subscription = subscription_of(cloud, principal, params["sub"])
    if params["rg"].lower() not in subscription.resource_groups:
        raise _group_not_found(params["rg"])
    machine_id = (
        f"/subscriptions/{params['sub']}/resourceGroups/{params['rg']}/providers/{kind.type}/{name}"
    )
    machine = subscription.machines.get(machine_id.lower())
    if not isinstance(machine, kind):
        raise resource_not_found(machine_id)
    return machine


def find_machines(cloud: Cloud, principal: Principal, params: Params, kind: type[M]) -> list[M]:
    """The machines of this kind in the subscription, or group, of the path. ArmError 404."""
    subscription = subscription_of(cloud, principal, params["sub"])
    group = params.get("rg", "").lower()
    if group and group not in subscription.resource_groups:
        raise _group_not_found(params["rg"])
    return [
        machine
        for _, machine in sorted(subscription.machines.items())
        if isinstance(machine, kind) and (not group or machine.resource_group.lower() == group)
    ]


def _group_not_found(name: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def page_of(
    request: Request, found: Sequence[M], printed: Callable[[M], dict[str, Any]]
) -> dict[str, Any]:
    """The page of a list that a request asks for."""
    token = request.param("$skiptoken") or "0"
    if not token.isdigit():
        raise ArmError(400, "InvalidParameter", f"The skip token '{token}' is invalid.")
    start_at = int(token)
    body: dict[str, Any] = {"value": [printed(each) for each in found[start_at : start_at + PAGE]]}
    if start_at + PAGE < len(found):
        query = {k: v for k, v in request.query.items() if k.lower() != "$skiptoken"}
        query["$skiptoken"] = str(start_at + PAGE)
        path = f"{request.base_url}{quote(request.path)}"
        body["nextLink"] = f"{path}?{urlencode(query, safe='$')}"
    return body


def find_operation(
    cloud: Cloud, request: Request, params: Params, query: Mapping[str, str]
) -> Operation:
    """The operation of a signed URL; `query` has its names in lower case. ArmError 403, 404."""
    quirks = cloud.quirks
    if not cloud.operations.valid(request.path, query, cloud.now):
        raise ArmError(403, quirks.signature_code, quirks.signature_message)
    operation = cloud.operations.get(params["operation"])
    if operation is None:
        raise ArmError(404, "NotFound", f"The operation '{params['operation']}' was not found.")
    return operation
