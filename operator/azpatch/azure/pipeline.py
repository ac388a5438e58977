"""What every request to ARM passes through on its way: one pipeline for all SDK clients.

The SDK's own pipeline is not used, because of four policies in it:

- its retry policy repeats any method that is answered with Retry-After, and POST on 500, 503, 504;
- its resource provider registration answers 409 MissingSubscriptionRegistration with a POST of its
  own and a second try;
- its redirect policy follows a POST to another host;
- its logging policies put URLs and headers into logs; nothing here logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from azure.core.exceptions import AzureError
from azure.core.pipeline import AsyncPipeline, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRetryPolicy,
    ContentDecodePolicy,
    CustomHookPolicy,
    RequestIdPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)

from azpatch.azure.cloud import CloudSettings
from azpatch.azure.credentials import SignIn
from azpatch.azure.throttles import CHARGE, TOO_MANY_REQUESTS
from azpatch.azure.transport import Transport

READ_REPEATS = 2
"""Repeats of a GET within one call; beyond that the work queue's backoff is the better place."""
READ_BACKOFF_SECONDS = 0.4
"""azure-core repeats at once, then after twice this."""

UNAUTHORIZED = 401

ArmPipeline = AsyncPipeline[Any, Any]
SeenAnswer = Callable[[Mapping[str, str]], None]
"""Told the headers of every answer."""


class RepeatReads(AsyncRetryPolicy[Any, Any]):
    """Repeats GETs, few and soon. A POST is never repeated, an answer that asks to wait neither."""

    def __init__(self) -> None:
        super().__init__(retry_total=READ_REPEATS, retry_backoff_factor=READ_BACKOFF_SECONDS)

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Whether this answer is asked for again."""
        answer = response.http_response
        if response.http_request.method != "GET" or answer.status_code == TOO_MANY_REQUESTS:
            return False
        return "Retry-After" not in answer.headers and bool(super().is_retry(settings, response))


class SignedIn(AsyncBearerTokenCredentialPolicy[Any, Any]):
    """Adds the token. A challenge is answered for reads only: one call is one POST."""

    def __init__(self, sign_in: SignIn, scope: str) -> None:
        super().__init__(sign_in, scope)
        self._sign_in = sign_in

    def on_response(
        self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]
    ) -> None:
        """A refused token is forgotten; azure-identity would hand it out until it expires."""
        if response.http_response.status_code == UNAUTHORIZED:
            self._sign_in.forget()

    async def on_challenge(
        self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]
    ) -> bool:
        """Whether the request is sent again with another token."""
        if request.http_request.method != "GET":
            return False
        return await super().on_challenge(request, response)


class Listening(SansIOHTTPPolicy[Any, Any]):
    """Tells someone about every answer's headers: the budgets that are left stand there. And tells
    the call that this is a part of what is sent and answered, repeats included."""

    def __init__(self, seen: SeenAnswer) -> None:
        self._seen = seen

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Called for every request that goes out."""
        charge = CHARGE.get()
        if charge is not None:
            charge.sent()

    def on_response(
        self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]
    ) -> None:
        """Called for every answer."""
        answer, charge = response.http_response, CHARGE.get()
        self._seen(answer.headers)
        if charge is not None:
            charge.answered(answer.status_code, answer.headers, _words(answer))


def _words(answer: Any) -> str:
    """A refusal's body: it may name the limit that was reached."""
    if answer.status_code != TOO_MANY_REQUESTS:
        return ""
    try:
        return str(answer.text())
    except (ValueError, AzureError):
        return ""


def arm_pipeline(
    cloud: CloudSettings,
    sign_in: SignIn,
    transport: Transport,
    seen: SeenAnswer,
    user_agent: str,
) -> ArmPipeline:
    """The pipeline. Retries stand outside of sign-in, so that a repeat has a fresh token."""
    return AsyncPipeline(
        transport,
        [
            RequestIdPolicy(),
            UserAgentPolicy(user_agent),
            ContentDecodePolicy(),
            RepeatReads(),
            SignedIn(sign_in, cloud.scope),
            CustomHookPolicy(),
            Listening(seen),
        ],
    )
