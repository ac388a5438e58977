"""The permissions API: what the caller may do at a scope, as Azure's own tools ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azsim.http import Params, Principal, Request, Response, Router
from azsim.subscriptions import not_found, spent

if TYPE_CHECKING:
    from azsim.cloud import Cloud

_SUFFIX = "/providers/Microsoft.Authorization/permissions"
_SCOPES = (
    "/subscriptions/{sub}",
    "/subscriptions/{sub}/resourceGroups/{rg}",
    "/subscriptions/{sub}/resourceGroups/{rg}/providers/{ns}/{type}/{name}",
    "/subscriptions/{sub}/resourceGroups/{rg}/providers/{ns}/{type}/{name}/{child}/{child_name}",
)


def routes(router: Router) -> None:
    """One route per kind of scope."""
    for scope in _SCOPES:
        router.add("GET", scope + _SUFFIX, list_permissions)


def list_permissions(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """The roles that hold at the scope, inherited ones too.

    Asking needs no right of its own: one who has no role gets an empty list. ArmError 404 for a
    subscription that is not there.
    """
    if params["sub"].lower() not in cloud.subscriptions:
        raise not_found(params["sub"])
    scope = request.path[: request.path.lower().rindex(_SUFFIX.lower())]
    granted = cloud.rights.at(principal.object_id, scope)
    return Response(
        200,
        {"value": [assignment.permission() for assignment in granted]},
        spent(cloud, principal, params["sub"]),
    )
