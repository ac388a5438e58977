"""Long-running operations and the URLs at which they are read.

The URLs are as Azure's: about 3.3 KB, signed, valid for a limited time, the same for the operation
and its `monitor` but for one parameter. Who changes a character of one is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from azsim.clock import timestamp

URL_LIFETIME = timedelta(hours=12)
"""How long an operation's URL is good: longer than the longest install with its grace."""

INTERNAL_ERROR = (
    "VMGuestPatchInternalError",
    "An internal execution error occurred. Please retry later.",
)
"""Code and message of a failed operation, as recorded from Azure."""

COMPUTE = "Microsoft.Compute/locations/{location}/operations"
HYBRID_COMPUTE = "Microsoft.HybridCompute/locations/{location}/updateCenterOperationResults"
"""Where operations are read, by their resource provider."""

_PADDING_BYTES = 2200
_CERTIFICATE_BYTES = 200


@dataclass
class Operation:
    """One long-running operation. `status` is InProgress, Succeeded or Failed.

    `id` is what its result carries as its activity id; `url_id`, by default the same, is what its
    URL ends with, and `collection` where that is. `principal` is who began it, as the journal names
    people; `started_by` is what Resource Graph's rows make of that: User or Platform.
    """

    id: str
    subscription_id: str
    location: str
    machine_id: str
    start: datetime
    api_version: str
    kind: str = "Other"
    """Assess, Install or Other."""
    collection: str = COMPUTE
    url_id: str = ""
    attempt_id: str | None = None
    principal: str | None = None
    started_by: str = "User"
    body: Mapping[str, Any] = field(default_factory=dict)
    status: str = "InProgress"
    end: datetime | None = None
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.url_id = self.url_id or self.id

    def succeed(self, now: datetime, output: dict[str, Any] | None = None) -> None:
        """End it; what ended stays as it ended."""
        if self.end is None:
            self.status, self.end, self.output = "Succeeded", now, output

    def fail(self, now: datetime, code: str, message: str) -> None:
        """End it with an error in place of an output."""
        if self.end is None:
            self.status, self.end = "Failed", now
            self.error = {"code": code, "message": message}

    def to_arm(self) -> dict[str, Any]:
        """As a GET of its URL answers."""
        answer: dict[str, Any] = {"startTime": timestamp(self.start)}
        if self.end is not None:
            answer["endTime"] = timestamp(self.end)
        answer["status"] = self.status
        if self.output is not None:
            answer["properties"] = {"output": self.output}
        if self.error is not None:
            answer["error"] = self.error
        answer["name"] = self.id
        return answer


class Operations:
    """All operations, and the key that signs their URLs."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.signatures: dict[str, None] = {}
        """The `s` of every URL given out so far, in that order."""
        self._operations: dict[str, Operation] = {}

    def add(self, operation: Operation) -> Operation:
        """Remember an operation."""
        self._operations[operation.url_id.lower()] = operation
        return operation

    def get(self, url_id: str) -> Operation | None:
        """The operation whose URL ends with this id."""
        return self._operations.get(url_id.lower())

    def url(self, base: str, operation: Operation) -> str:
        """The signed URL of an operation, without `monitor=true`."""
        path = self.path(operation)
        issued = str(int(operation.start.timestamp()))
        padding = self._stretch(operation.id, "p", _PADDING_BYTES)
        certificate = self._stretch(operation.id, "c", _CERTIFICATE_BYTES)
        signature = self._sign(path, operation.api_version, issued, padding, certificate)
        self.signatures[signature] = None
        digest = self._stretch(operation.id, "h", 32)
        return (
            f"{base}{path}?p={quote(padding, safe='')}"
            f"&api-version={operation.api_version}&t={issued}&c={quote(certificate, safe='')}"
            f"&s={quote(signature, safe='')}&h={quote(digest, safe='')}"
        )

    @staticmethod
    def path(operation: Operation) -> str:
        """Where an operation is read."""
        collection = operation.collection.format(location=operation.location)
        return (
            f"/subscriptions/{operation.subscription_id}/providers/{collection}/{operation.url_id}"
        )

    def valid(self, path: str, query: Mapping[str, str], now: datetime) -> bool:
        """Whether a URL is one that `url` gave, unchanged and not yet expired."""
        issued = query.get("t", "")
        expected = self._sign(
            path, query.get("api-version", ""), issued, query.get("p", ""), query.get("c", "")
        )
        if not hmac.compare_digest(expected.encode(), query.get("s", "").encode()):
            return False
        return now < datetime.fromtimestamp(int(issued), UTC) + URL_LIFETIME

    def _sign(self, path: str, *parts: str) -> str:
        text = "\n".join([path.lower(), *parts])
        return _text(hmac.new(self._key, text.encode(), hashlib.sha256).digest())

    def _stretch(self, operation_id: str, name: str, size: int) -> str:
        seed = self._key + f"{operation_id}:{name}".encode()
        return _text(hashlib.shake_256(seed).digest(size))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
