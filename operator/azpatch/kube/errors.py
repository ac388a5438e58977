"""The API server's answers, translated once.

Everything that goes wrong becomes one of the errors of `azpatch.kube.port`, named by what the
caller does next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from azpatch.kube.port import Conflict, KubeError, NotFound, Refused, Unavailable


class Expired(Unavailable):
    """A list's next page is older than what etcd keeps: the list begins anew."""


BY_STATUS: Mapping[int, type[KubeError]] = {
    401: Unavailable,  # a token that ended; the next request signs in anew
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Expired,
    429: Unavailable,
}
"""HTTP status → error. Other 4xx are Refused, everything else Unavailable."""


def translate(status: int, body: bytes, headers: Mapping[str, str]) -> KubeError:
    """The error that this answer is."""
    error = BY_STATUS.get(status, Refused if 400 <= status < 500 else Unavailable)
    return error(_message(status, body), _retry_after(headers))


def _message(status: int, body: bytes) -> str:
    """The Status object's message; from a proxy between us, the beginning of what it said."""
    try:
        answer = json.loads(body)
        return str(answer["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}: {body[:200].decode('utf-8', 'replace')}"


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    seconds = headers.get("Retry-After", "")
    return timedelta(seconds=int(seconds)) if seconds.isdecimal() else None
