"""The wire of Azure Resource Manager, without sockets.

A `Request` goes in, a `Response` comes out. What Azure refuses is an `ArmError`, rendered as ARM's
envelope. A `Router` maps method and path to a handler; the `Dispatcher` puts ARM's front door
before it: sign-in, api-version, rights, the headers that every answer carries. Nothing here waits,
opens a socket or reads a clock, so the same code serves HTTPS and an in-memory transport; only
`dispatch_async` leaves the thread, for answers that say that they are slow.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from azsim.cloud import Cloud

JsonValue = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Request:
    """One HTTP request. `path` is percent-decoded, header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON, `{}` if empty. ArmError 400 if it is not JSON."""
        if not self.body.strip():
            return {}
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ArmError(
                400,
                "InvalidRequestContent",
                f"The request content was invalid and could not be deserialized: '{error}'.",
            ) from error

    def param(self, name: str) -> str | None:
        """A query parameter; ARM compares their names without case."""
        for key, value in self.query.items():
            if key.lower() == name.lower():
                return value
        return None

    @property
    def base_url(self) -> str:
        """`https://host[:port]` as the client addressed it: the URLs of an answer begin with it."""
        return f"https://{self.headers.get('host', 'localhost')}"


@dataclass(frozen=True)
class Response:
    """One HTTP answer. A dict or a list is sent as JSON, None as an empty body."""

    status: int = 200
    body: bytes | JsonValue | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body as it goes over the wire."""
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, separators=(",", ":")).encode()

    def json(self) -> Any:
        """The body as a client would parse it."""
        return json.loads(self.content())


@dataclass(frozen=True)
class Slow:
    """An answer that takes a while to work out and touches no shared state while it does.

    A server may run it in a thread and answer others meanwhile; without one it is simply run.
    """

    run: Callable[[], Response]


class ArmError(Exception):
    """An answer that ARM gives instead of the asked one: `{"error": {"code", "message"}}`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = [dict(detail) for detail in details]
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """ARM's error envelope."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = self.details
        return Response(self.status, {"error": error}, self.headers)


def resource_not_found(resource_id: str) -> ArmError:
    """404 as ARM words it for a resource that is not there; `resource_id` is the full id."""
    match = re.match(
        r".*/resourceGroups/(?P<group>[^/]+)/providers/(?P<resource>.+)$",
        resource_id,
        re.IGNORECASE,
    )
    if match is None:
        return ArmError(404, "ResourceNotFound", f"The Resource '{resource_id}' was not found.")
    namespace, *pairs = match["resource"].split("/")
    kind = "/".join([namespace, *pairs[0::2]])
    name = "/".join(pairs[1::2])
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}/{name}' under resource group '{match['group']}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


@dataclass(frozen=True)
class Principal:
    """Who calls: a service principal or a managed identity, as its token names it."""

    object_id: str
    app_id: str
    tenant_id: str


Params = Mapping[str, str]
Handler = Callable[["Cloud", Request, Params, Principal], Response | Slow]
OpenHandler = Callable[["Cloud", Request, Params], Response]


@dataclass(frozen=True)
class Route:
    """One method and path. `open_handler` is set for what needs no sign-in."""

    method: str
    pattern: str
    handler: Handler | None = None
    open_handler: OpenHandler | None = None
    action: str | None = None


class _Node:
    """A tree of path segments: a request costs its own length, not the number of routes."""

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.placeholder: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Match:
    """The route that a request takes and the values of its placeholders, in the client's case."""

    route: Route
    params: Params


class Router:
    """Routes by method and path; literal segments compare without case, as ARM's do."""

    def __init__(self) -> None:
        self._root = _Node()
        self.routes: list[Route] = []

    def add(
        self, method: str, pattern: str, handler: Handler, *, action: str | None = None
    ) -> None:
        """A route for signed-in callers.

        `action` is the RBAC action that the dispatcher checks at the scope of the path (see
        `scope_of`) before it calls the handler; None leaves the decision to the handler.
        """
        self._insert(Route(method.upper(), pattern, handler=handler, action=action))

    def add_open(self, method: str, pattern: str, handler: OpenHandler) -> None:
        """A route without sign-in and without api-version: metadata, tokens, the journal."""
        self._insert(Route(method.upper(), pattern, open_handler=handler))

    def _insert(self, route: Route) -> None:
        node, names = self._root, []
        for segment in _segments(route.pattern):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.placeholder = node.placeholder or _Node()
                node = node.placeholder
            else:
                node = node.literal.setdefault(segment.lower(), _Node())
        if route.method in node.routes:
            raise ValueError(f"two routes for {route.method} {route.pattern}")
        node.routes[route.method] = (route, tuple(names))
        self.routes.append(route)

    def match(self, method: str, path: str) -> Match | None:
        """The route for a request; a literal segment wins over a placeholder.

        ArmError 405 where the path exists but not with this method, None where it does not exist.
        """
        found: list[tuple[_Node, list[str]]] = []
        _walk(self._root, _segments(path), [], found)
        for node, values in found:
            if method.upper() in node.routes:
                route, names = node.routes[method.upper()]
                return Match(route, dict(zip(names, values, strict=True)))
        if found:
            raise ArmError(
                405,
                "HttpMethodNotAllowed",
                f"The requested resource does not support http method '{method.upper()}'.",
            )
        return None


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _walk(
    node: _Node, segments: list[str], values: list[str], found: list[tuple[_Node, list[str]]]
) -> None:
    if not segments:
        if node.routes:
            found.append((node, values))
        return
    head, rest = segments[0], segments[1:]
    if (literal := node.literal.get(head.lower())) is not None:
        _walk(literal, rest, values, found)
    if node.placeholder is not None:
        _walk(node.placeholder, rest, [*values, head], found)


def scope_of(path: str) -> str:
    """The RBAC scope that a path speaks of: the resource, or what a collection is listed in.

    `…/virtualMachines/a/assessPatches` and `…/virtualMachines/a` are both at the VM;
    `…/providers/Microsoft.Compute/virtualMachines` is at the group or subscription before it.
    """
    segments = _segments(path)
    if len(segments) % 2:
        segments.pop()
    while len(segments) >= 2 and segments[-2].lower() == "providers":
        segments = segments[:-2]
    return "/" + "/".join(segments)


class Gate(Protocol):
    """Sign-in and rights, as the dispatcher needs them."""

    def authenticate(self, request: Request) -> Principal:
        """Who calls. ArmError 401 without a good token."""

    def allowed(self, principal: Principal, action: str, scope: str) -> bool:
        """Whether an RBAC assignment gives the action at the scope."""


class Ids(Protocol):
    """Where the ids of requests come from: seeded, so that a run can be repeated."""

    def new_guid(self) -> str:
        """A new GUID in lower-case text."""


@dataclass(frozen=True)
class Answer:
    """What the front door gave: the response and, for the journal, who asked for it."""

    response: Response
    principal: Principal | None
    request_id: str
    route: Route | None


@dataclass(frozen=True)
class _Started:
    result: Response | Slow
    principal: Principal | None
    request_id: str
    route: Route | None


class Dispatcher:
    """ARM's front door: route, sign-in, api-version, rights, handler, common headers."""

    def __init__(self, router: Router, gate: Gate, ids: Ids) -> None:
        self._router = router
        self._gate = gate
        self._ids = ids

    def dispatch(self, cloud: Cloud, request: Request) -> Answer:
        """Answer one request here and now. Every refusal is an answer, not an exception."""
        started = self._start(cloud, request)
        return self._finish(request, started, settle(started.result))

    async def dispatch_async(self, cloud: Cloud, request: Request) -> Answer:
        """As `dispatch`, but what is slow runs in a thread while others are answered."""
        started = self._start(cloud, request)
        if isinstance(started.result, Slow):
            response = await asyncio.to_thread(settle, started.result)
        else:
            response = started.result
        return self._finish(request, started, response)

    def unprocessed(self, request: Request, response: Response) -> Answer:
        """A response that was given in ARM's place, with its headers and, if known, the caller."""
        try:
            principal = self._gate.authenticate(request)
        except ArmError:
            principal = None
        started = _Started(response, principal, self._ids.new_guid(), None)
        return self._finish(request, started, response)

    def _start(self, cloud: Cloud, request: Request) -> _Started:
        request_id = self._ids.new_guid()
        principal: Principal | None = None
        route: Route | None = None
        try:
            match = self._router.match(request.method, request.path)
            route = match.route if match else None
            result: Response | Slow
            if match is not None and match.route.open_handler is not None:
                result = match.route.open_handler(cloud, request, match.params)
            else:
                principal = self._gate.authenticate(request)
                result = self._call(cloud, request, match, principal)
        except ArmError as error:
            result = error.response()
        return _Started(result, principal, request_id, route)

    def _finish(self, request: Request, started: _Started, response: Response) -> Answer:
        """The answer with the headers that every answer of ARM carries."""
        headers = {
            "cache-control": "no-cache",
            "pragma": "no-cache",
            "strict-transport-security": "max-age=31536000; includeSubDomains",
            "x-content-type-options": "nosniff",
            "x-ms-request-id": started.request_id,
            "x-ms-correlation-request-id": request.headers.get(
                "x-ms-correlation-request-id", started.request_id
            ),
        }
        client_id = request.headers.get("x-ms-client-request-id")
        wanted = request.headers.get("x-ms-return-client-request-id", "").lower() == "true"
        if client_id and wanted:
            headers["x-ms-client-request-id"] = client_id
        if response.body is not None and not isinstance(response.body, bytes):
            headers["content-type"] = "application/json; charset=utf-8"
        response = Response(response.status, response.body, {**headers, **response.headers})
        return Answer(response, started.principal, started.request_id, started.route)

    def _call(
        self, cloud: Cloud, request: Request, match: Match | None, principal: Principal
    ) -> Response | Slow:
        if not request.param("api-version"):
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if match is None or match.route.handler is None:
            raise _no_such_path(request)
        if match.route.action is not None:
            require(self._gate, principal, match.route.action, scope_of(request.path))
        return match.route.handler(cloud, request, match.params, principal)


def settle(result: Response | Slow) -> Response:
    """The response, worked out here and now if it is slow."""
    if isinstance(result, Response):
        return result
    try:
        return result.run()
    except ArmError as error:
        return error.response()


def require(gate: Gate, principal: Principal, action: str, scope: str) -> None:
    """ArmError 403 AuthorizationFailed in ARM's words unless the principal may."""
    if gate.allowed(principal, action, scope):
        return
    raise ArmError(
        403,
        "AuthorizationFailed",
        f"The client '{principal.app_id}' with object id '{principal.object_id}' does not have "
        f"authorization to perform action '{action}' over scope '{scope}' or the scope is "
        "invalid. If access was recently granted, please refresh your credentials.",
    )


def _no_such_path(request: Request) -> ArmError:
    segments = _segments(request.path)
    lower = [segment.lower() for segment in segments]
    if "providers" in lower and len(segments) > lower.index("providers") + 2:
        start = lower.index("providers")
        namespace, kind = segments[start + 1], "/".join(segments[start + 2 :][0::2])
        return ArmError(
            404,
            "InvalidResourceType",
            f"The resource type '{kind}' could not be found in the namespace '{namespace}' "
            f"for api version '{request.param('api-version')}'.",
        )
    return ArmError(404, "NotFound", f"The path '{request.path}' was not found.")
