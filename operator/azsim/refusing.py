"""The answers that a fault gives in Azure's place, in the words of whoever was asked.

Resource Manager, Resource Graph and sign-in each word a refusal in their own way; what a client
makes of one depends on it.
"""

from __future__ import annotations

import math
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from azsim.calls import SIGN_IN, Call, asked
from azsim.clock import timestamp
from azsim.faults import Fault
from azsim.http import ArmError, Request, Response, resource_not_found, scope_of

if TYPE_CHECKING:
    from azsim.cloud import Cloud

_MANAGED: dict[int, tuple[str, str]] = {
    400: ("BadRequest", "The request is invalid."),
    401: ("InvalidAuthenticationToken", "The access token is invalid."),
    403: (
        "AuthorizationFailed",
        "The client does not have authorization to perform this action over this scope or the "
        "scope is invalid. If access was recently granted, please refresh your credentials.",
    ),
    409: (
        "Conflict",
        "The request failed due to conflict with a concurrent request. To resolve it, please "
        "refer to https://aka.ms/activitylog to get more details on the conflicting requests.",
    ),
    412: ("PreconditionFailed", "The condition in the request's headers is not met."),
    429: ("TooManyRequests", "The request is being throttled. Please retry later."),
    500: ("InternalServerError", "Encountered internal server error."),
    502: ("BadGateway", "The gateway received an invalid response from an upstream server."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable. Please retry later."),
    504: (
        "GatewayTimeout",
        "The gateway did not receive a response from 'Microsoft.Compute' within the specified "
        "time period.",
    ),
}
"""Status → ARM's code and message. 404 names what was asked for."""

_GRAPH_THROTTLED = (
    "RateLimiting",
    "Client application has been throttled and should not attempt to repeat the request until an "
    "amount of time has elapsed. Please see https://aka.ms/resourcegraph-throttling for help.",
)

_SIGN_IN: dict[int, tuple[str, int, str]] = {
    400: ("invalid_request", 900144, "The request body must contain a parameter that it lacks."),
    401: ("invalid_client", 7000215, "Invalid client secret provided."),
    403: ("access_denied", 53003, "Access has been blocked by Conditional Access policies."),
    429: ("temporarily_unavailable", 90055, "The tenant sends too many requests."),
}
"""Status → Entra ID's error, number and description; any other is an error of its own."""

_SIGN_IN_BROKEN = ("temporarily_unavailable", 90033, "A transient error has occurred.")


def refusal(cloud: Cloud, fault: Fault, request: Request) -> Response:
    """The answer of a fault that has a `status`."""
    call = asked(request.method, request.path).call
    headers = _retry_after(fault.retry_after)
    if call in SIGN_IN:
        return _by_sign_in(cloud, fault, headers)
    error = _by_resource_manager(call, fault, request)
    headers |= error.headers
    if call is Call.QUERY and error.status == 429:
        headers["x-ms-user-quota-remaining"] = "0"
        seconds = int(headers.get("retry-after", "5"))
        headers["x-ms-user-quota-resets-after"] = str(timedelta(seconds=seconds)).zfill(8)
    answer = error.response()
    return Response(answer.status, answer.body, headers)


def _retry_after(wait: timedelta | None) -> dict[str, str]:
    return {} if wait is None else {"retry-after": str(math.ceil(wait.total_seconds()))}


def _by_resource_manager(call: Call, fault: Fault, request: Request) -> ArmError:
    status = fault.status or 500
    if status == 404:
        error = resource_not_found(scope_of(request.path))
        code, message = error.code, error.message
    elif status == 429 and call is Call.QUERY:
        code, message = _GRAPH_THROTTLED
    else:
        code, message = _MANAGED.get(status) or _generic(status)
    code, message = fault.code or code, fault.message or message
    headers = {}
    if status == 401:
        description = message.replace('"', "'")
        headers["www-authenticate"] = (
            f'Bearer authorization_uri="{request.base_url}/common", '
            f'error="invalid_token", error_description="{description}"'
        )
    return ArmError(status, code, message, headers=headers)


def _generic(status: int) -> tuple[str, str]:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    return phrase.replace(" ", ""), f"{phrase}."


def _by_sign_in(cloud: Cloud, fault: Fault, headers: dict[str, str]) -> Response:
    status = fault.status or 500
    error, number, description = _SIGN_IN.get(status, _SIGN_IN_BROKEN)
    return Response(
        status,
        {
            "error": fault.code or error,
            "error_description": fault.message or f"AADSTS{number}: {description}",
            "error_codes": [number],
            "timestamp": timestamp(cloud.now),
        },
        headers,
    )
