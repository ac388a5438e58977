"""Routes of azsim itself, for tests and people: health and the journal. Azure has none of them.

They need no sign-in, and the server listens on the loopback interface only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azsim.clock import timestamp
from azsim.http import ArmError, Params, Request, Response, Router

if TYPE_CHECKING:
    from azsim.cloud import Cloud

PREFIX = "/azsim/"


def routes(router: Router) -> None:
    """The control routes."""
    router.add_open("GET", f"{PREFIX}healthz", healthz)
    router.add_open("GET", f"{PREFIX}journal", journal)


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
