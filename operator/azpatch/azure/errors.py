"""Azure's failures, translated once into the errors of `port`.

What a failure means depends on what was asked. A read may be asked again. A mutating call may have
begun although its answer was lost; only where it is certain that nothing began does it say so.

| answer                                   | read           | mutating call  |
|------------------------------------------|----------------|----------------|
| no token                                 | SignInFailed   | SignInFailed   |
| nobody to ask for a token                | Retry          | NeverSent      |
| connection never made                    | Retry          | NeverSent      |
| connection lost, timeout, unreadable     | Retry          | Unconfirmed    |
| 401                                      | SignInFailed   | SignInFailed   |
| 403; 404 SubscriptionNotFound            | Denied         | Denied         |
| 404 in ARM's own form                    | Gone           | Gone           |
| 408, 3xx, 5xx                            | Retry          | Unconfirmed    |
| 409                                      | Retry          | Busy           |
| 429                                      | Retry          | Throttled      |
| other 4xx                                | Retry          | NotStarted     |
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import aiohttp
from azure.core import exceptions as core

from azpatch.azure.port import (
    UNTRUSTED,
    AzureError,
    Busy,
    Denied,
    Gone,
    NeverSent,
    NotStarted,
    Retry,
    SignInFailed,
    Throttled,
    Unconfirmed,
)
from azpatch.azure.redaction import redacted

CALL_TIMEOUT = timedelta(seconds=100)
"""Real time after which one call is given up, its short repeats included. A read that Azure answers
at all is answered within seconds; a worker must not hang on one that is not."""

UNREADABLE = "UnreadableAnswer"
NOT_ARM = "it is not in Azure's own form, so a proxy or a firewall in between may have given it"
"""What is said of an answer that is no JSON. Its text is nobody's to show: it is often a page of
HTML, and of whoever stands in between."""
NOT_JSON = f"The answer is not JSON: {NOT_ARM}."

NO_SUCH_SUBSCRIPTION = "SubscriptionNotFound"
"""ARM's 404 for a subscription in which this identity has no role left: nothing was deleted."""


class Call(Enum):
    """What was asked of Azure."""

    READ = "read"
    MUTATE = "mutate"


class TokenUnavailable(core.ClientAuthenticationError):
    """The identity got no token, so the request that needed it was never sent."""


class AuthorityUntrusted(TokenUnavailable):
    """Whoever answered in the authority's place has a certificate that nobody vouches for."""


class AuthorityUnreachable(TokenUnavailable):
    """Nobody answered who could give a token: the identity may be as good as ever."""


CONFLICT = 409
GONE = 410
"""The URL is no more; what became of the operation, it does not say."""

BY_STATUS: Mapping[int, tuple[type[AzureError], type[AzureError]]] = {
    401: (SignInFailed, SignInFailed),
    403: (Denied, Denied),
    404: (Gone, Gone),
    408: (Retry, Unconfirmed),
    CONFLICT: (Retry, Busy),
    429: (Retry, Throttled),
}
"""Status → what it means for a read, and for a mutating call."""

OTHER_REFUSAL = (Retry, NotStarted)
"""The other 4xx."""
NO_USABLE_ANSWER = (Retry, Unconfirmed)
"""Redirects, 5xx, and no answer at all."""
NEVER_SENT = (Retry, NeverSent)
"""No connection was made, so nothing was sent."""


def translated(error: BaseException, call: Call) -> AzureError:
    """The port's error for what the SDK raised."""
    if isinstance(error, AzureError):
        return error
    if isinstance(error, AuthorityUnreachable):
        return _pick(NEVER_SENT, call)(*_entra(error.message, "AuthorityUnreachable"))
    if isinstance(error, AuthorityUntrusted):
        return SignInFailed(UNTRUSTED, redacted(error.message))
    if isinstance(error, TokenUnavailable):
        return SignInFailed(*_entra(error.message, "SignInFailed"))
    response = error.response if isinstance(error, core.HttpResponseError) else None
    if response is not None and (response.status_code or 0) >= 300:
        return _refused(response, call)
    if isinstance(error, core.DecodeError | ValueError):
        return _pick(NO_USABLE_ANSWER, call)(UNREADABLE, NOT_JSON)
    kinds = NEVER_SENT if _never_sent(error) else NO_USABLE_ANSWER
    code = UNTRUSTED if untrusted(error) else type(error).__name__
    return _pick(kinds, call)(code, redacted(str(error)) or "no answer")


_ENTRA_ERROR = re.compile(r"(?P<code>AADSTS\d+):\s*(?P<message>.*?)(?=\s*Trace ID:|'?\s*(?:\n|$))")
"""Microsoft Entra ID's words without the trace id and time that follow them: an error that stays
the same must read the same, because it stands in a status."""


def _entra(text: str, fallback: str) -> tuple[str, str]:
    """Microsoft Entra ID's code and message, else `fallback` and the first line."""
    entra = _ENTRA_ERROR.search(text)
    if entra is None:
        return fallback, redacted(text.splitlines()[0] if text else text)
    return entra["code"], redacted(entra["message"])


def _refused(response: Any, call: Call) -> AzureError:
    code, message = arm_error(response)
    status = response.status_code
    if status == 404 and code == NO_SUCH_SUBSCRIPTION:
        kinds: tuple[type[AzureError], type[AzureError]] = (Denied, Denied)
    elif status == 404 and code == _status_code(response):
        # Not ARM's: whoever gave it knows nothing of what exists in Azure.
        kinds = OTHER_REFUSAL
    elif 400 <= status < 500:
        kinds = BY_STATUS.get(status, OTHER_REFUSAL)
    else:
        kinds = NO_USABLE_ANSWER
    return _pick(kinds, call)(code, message, retry_after(response.headers))


_ABOUT_THE_REQUEST = re.compile(r"api-?version|subscription|registered", re.IGNORECASE)
"""In ARM's codes for a version, a subscription or a registration that does not let it look:
InvalidApiVersionParameter, DisabledSubscription, NoRegisteredProviderFound."""


def outcome(response: Any) -> tuple[str, str] | None:
    """Code and message of an answer that is the end of what was asked about, and not a refusal to
    show it: 409 and the other 4xx, in ARM's own form. None for any other answer."""
    status = response.status_code
    if not 400 <= status < 500 or status == GONE or (status in BY_STATUS and status != CONFLICT):
        return None
    code, message = arm_error(response)
    refused = _repeats(code, status) or _ABOUT_THE_REQUEST.search(code)
    return None if refused else (code, message)


_IN_WORDS: Mapping[int, tuple[str, ...]] = {
    400: ("BadRequest",),
    402: ("PaymentRequired",),
    405: ("MethodNotAllowed",),
    406: ("NotAcceptable",),
    409: ("Conflict",),
    411: ("LengthRequired",),
    412: ("PreconditionFailed",),
    413: ("RequestEntityTooLarge", "PayloadTooLarge", "ContentTooLarge"),
    414: ("RequestURITooLong", "URITooLong"),
    415: ("UnsupportedMediaType",),
    417: ("ExpectationFailed",),
    422: ("UnprocessableEntity", "UnprocessableContent"),
    428: ("PreconditionRequired",),
    431: ("RequestHeaderFieldsTooLarge",),
}
"""Names of statuses that ARM may give as its code, older and newer ones."""


def _repeats(code: str, status: int) -> bool:
    """It is the status itself, by number or by name, or what stands for a code where there is none:
    it says nothing of an operation."""
    plain = re.sub(r"[^a-z0-9]", "", code.lower()).removeprefix("http")
    return plain in {str(status), *(name.lower() for name in _IN_WORDS.get(status, ()))}


def _pick(kinds: tuple[type[AzureError], type[AzureError]], call: Call) -> type[AzureError]:
    return kinds[0] if call is Call.READ else kinds[1]


def untrusted(error: BaseException) -> bool:
    """Whether there was an answer from somebody whose certificate no trusted CA signed."""
    cause = error.inner_exception if isinstance(error, core.AzureError) else error
    return isinstance(cause, aiohttp.ClientConnectorCertificateError)


def _never_sent(error: BaseException) -> bool:
    """Whether it is certain that no byte of the request left.

    azure-core raises ServiceRequestError for a connection that broke half-way too, so only its
    cause is believed.
    """
    cause = error.inner_exception if isinstance(error, core.AzureError) else error
    return isinstance(
        cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL
    )


def arm_error(response: Any) -> tuple[str, str]:
    """(code, message) of ARM's envelope `{"error": {"code", "message"}}`, else the status's own."""
    try:
        body = json.loads(response.text())
    except (ValueError, core.AzureError):
        body = None
    error = body.get("error", body) if isinstance(body, Mapping) else None
    if isinstance(error, str):
        return error, redacted(str(body.get("error_description") or _phrase(response)))
    if not isinstance(error, Mapping) or not (error.get("code") or error.get("message")):
        return _status_code(response), f"{redacted(_phrase(response))}; {NOT_ARM}."
    message = str(error.get("message") or _phrase(response))
    return str(error.get("code") or _status_code(response)), redacted(message)


def _status_code(response: Any) -> str:
    """Stands for ARM's code where the answer has none."""
    return f"HTTP{response.status_code}"


def _phrase(response: Any) -> str:
    return str(response.reason or http.client.responses.get(response.status_code, "no reason"))


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long Azure asks to wait, from `Retry-After` (seconds, or a date read against `Date`)."""
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return timedelta(seconds=int(value))
    try:
        until, now = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("Date") or "")
        return max(timedelta(0), until - now)
    except (ValueError, TypeError):
        return None


@asynccontextmanager
async def asking(call: Call) -> AsyncIterator[None]:
    """Raises what goes wrong inside as an error of the port, and gives up after CALL_TIMEOUT.

    The SDK's own exception is not chained: its text may hold a signed URL.
    """
    try:
        async with asyncio.timeout(CALL_TIMEOUT.total_seconds()):
            yield
    except asyncio.CancelledError:
        raise
    except Exception as error:
        raise translated(error, call) from None
