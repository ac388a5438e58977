"""Routes of azsim itself, for tests and people: health, the journal, secrets, faults, deeds.

Azure has none of them. They need no sign-in, no fault strikes them, and the server listens on the
loopback interface only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from azsim.calls import OWN_PATHS
from azsim.clock import timestamp
from azsim.faults import Fault
from azsim.fleet import Model
from azsim.fleetfile import complaint, place
from azsim.http import ArmError, Params, Request, Response, Router
from azsim.issued import issued
from azsim.meddling import Action, Meddling

if TYPE_CHECKING:
    from azsim.cloud import Cloud

_Read = TypeVar("_Read", bound=Model)


def routes(router: Router) -> None:
    """The control routes."""
    router.add_open("GET", f"{OWN_PATHS}healthz", healthz)
    router.add_open("GET", f"{OWN_PATHS}journal", journal)
    router.add_open("GET", f"{OWN_PATHS}issued", secrets)
    router.add_open("GET", f"{OWN_PATHS}faults", list_faults)
    router.add_open("POST", f"{OWN_PATHS}faults", add_faults)
    router.add_open("DELETE", f"{OWN_PATHS}faults", clear_faults)
    router.add_open("DELETE", f"{OWN_PATHS}faults/{{fault}}", remove_fault)
    router.add_open("POST", f"{OWN_PATHS}actions", act)


def healthz(cloud: Cloud, request: Request, params: Params) -> Response:
    """That it is up, and its time."""
    return Response(
        200,
        {
            "status": "ok",
            "time": timestamp(cloud.clock.now()),
            "entries": len(cloud.journal.entries),
        },
    )


def journal(cloud: Cloud, request: Request, params: Params) -> Response:
    """The journal's entries after number `after` (absent: all), as `{"entries": […]}`."""
    after = request.param("after") or "0"
    if not after.isdigit():
        raise ArmError(400, "InvalidParameter", f"after must be a number, not '{after}'.")
    return Response(
        200, {"entries": [entry.to_json() for entry in cloud.journal.since(int(after))]}
    )


def secrets(cloud: Cloud, request: Request, params: Params) -> Response:
    """Every secret by kind, for who searches for leaks."""
    return Response(200, {**issued(cloud)})


# -- making it hostile ----------------------------------------------------------------------------


def list_faults(cloud: Cloud, request: Request, params: Params) -> Response:
    """The faults that stand, oldest first, as `{"faults": […]}`."""
    return Response(200, {"faults": [each.to_json() for each in cloud.faults.standing()]})


def add_faults(cloud: Cloud, request: Request, params: Params) -> Response:
    """Add one fault, or a list of them, all or none: 201 with `{"ids": […]}`; 400 names a field."""
    faults = _read(request, Fault)
    return Response(201, {"ids": [cloud.faults.add(fault) for fault in faults]})


def clear_faults(cloud: Cloud, request: Request, params: Params) -> Response:
    """End every fault."""
    cloud.faults.clear()
    return Response(204)


def remove_fault(cloud: Cloud, request: Request, params: Params) -> Response:
    """End one fault. 404 if there is none of this id, as once it has ended by itself."""
    try:
        cloud.faults.remove(params["fault"])
    except KeyError:
        raise ArmError(404, "NoSuchFault", f"There is no fault '{params['fault']}'.") from None
    return Response(204)


def act(cloud: Cloud, request: Request, params: Params) -> Response:
    """Do something to a machine, or a list of such things one after the other.

    200 with `{"operations": […]}`: the id of the operation that each began, or null. 400 for what
    makes no sense, 404 for no such machine, 409 and 429 as Azure would refuse the operation.
    """
    meddling = Meddling(cloud)
    try:
        operations = [meddling.do(action) for action in _read(request, Action)]
    except LookupError as error:
        raise ArmError(404, "NoSuchMachine", f"{error.args[0]}.") from error
    return Response(200, {"operations": operations})


def _read(request: Request, model: type[_Read]) -> list[_Read]:
    """What the body holds, one or a list. ArmError 400 that names each field that is wrong."""
    raw = request.json()
    name = f"{model.__name__.lower()}s"
    found, problems = [], []
    for number, each in enumerate(raw if isinstance(raw, list) else [raw]):
        where = (name, number) if isinstance(raw, list) else ()
        try:
            found.append(model.model_validate(each))
        except ValidationError as error:
            problems += [
                f"{place((*where, *item['loc']), {}, whole='(body)')}: {complaint(item)}"
                for item in error.errors()
            ]
    if problems:
        raise ArmError(400, f"Invalid{model.__name__}", "; ".join(problems))
    return found
