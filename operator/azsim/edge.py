"""Everything between a request and the simulated cloud's state, put together.

`Cloud` owns one `Edge`: it signs in, checks rights, finds the handler, and writes every request
into the journal with who asked and what came out.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from azsim import compute, control, features, galleries, permissions, signin, subscriptions
from azsim.fleet import Fleet
from azsim.http import (
    Answer,
    Dispatcher,
    Ids,
    Principal,
    Request,
    Response,
    Router,
    Slow,
    require,
    settle,
)
from azsim.resourcegraph import routes as resource_graph_routes
from azsim.rights import Rights
from azsim.signin import SignIn

if TYPE_CHECKING:
    from azsim.cloud import Cloud


class Edge:
    """The front of one simulated cloud."""

    def __init__(self, fleet: Fleet, ids: Ids) -> None:
        self.signin = SignIn.of(fleet)
        self.rights = Rights.of_fleet(fleet)
        self.router = Router()
        for module in (compute, control, features, galleries, permissions, signin, subscriptions):
            module.routes(self.router)
        resource_graph_routes(self.router)
        self._dispatcher = Dispatcher(self.router, self, ids)

    def handle(self, cloud: Cloud, request: Request) -> Response:
        """Answer one request and record it, all of it here and now."""
        answer = self._dispatcher.start(cloud, request)
        return self._finish(cloud, request, answer, settle(answer.result))

    async def handle_async(self, cloud: Cloud, request: Request) -> Response:
        """Like `handle`, but what is slow runs in a thread while others are answered."""
        answer = self._dispatcher.start(cloud, request)
        if isinstance(answer.result, Slow):
            response = await asyncio.to_thread(settle, answer.result)
        else:
            response = answer.result
        return self._finish(cloud, request, answer, response)

    def _finish(
        self, cloud: Cloud, request: Request, answer: Answer, response: Response
    ) -> Response:
        response = self._dispatcher.finish(request, answer, response)
        if not request.path.startswith(control.PREFIX):
            _record(cloud, request, answer, response)
        return response

    def authenticate(self, request: Request) -> Principal:
        """Who calls; ArmError 401 without a good token."""
        return self.signin.authenticate(request)

    def allowed(self, principal: Principal, action: str, scope: str) -> bool:
        """Whether the principal may do this there."""
        return self.rights.allowed(principal.object_id, action, scope)

    def require(self, principal: Principal, action: str, scope: str) -> None:
        """ArmError 403 AuthorizationFailed unless the principal may do this there."""
        require(self, principal, action, scope)


def _record(cloud: Cloud, request: Request, answer: Answer, response: Response) -> None:
    principal = answer.principal
    cloud.journal.request(
        cloud.clock.now(),
        principal=principal.object_id if principal else None,
        client_id=principal.app_id if principal else None,
        method=request.method,
        path=request.path,
        query=dict(request.query),
        status=response.status,
        error_code=_error_code(response),
        client_request_id=request.headers.get("x-ms-client-request-id"),
        request_id=answer.request_id,
        body=_body(request) if principal else None,
    )


def _error_code(response: Response) -> str | None:
    """ARM's code, or Entra ID's error, of a refusal."""
    if response.status < 400 or not isinstance(response.body, dict):
        return None
    error = response.body.get("error")
    return error.get("code") if isinstance(error, dict) else error


def _body(request: Request) -> Any:
    """What was sent to ARM. Sign-in's forms hold secrets and are not recorded."""
    try:
        return json.loads(request.body) if request.body else None
    except ValueError:
        return None
