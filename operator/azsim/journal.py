"""What azsim received and what happened inside it, in order, each with its simulated time.

An entry is written once and never changes. The journal is the truth that tests judge by: a request
entry for every request answered, an event entry for everything that happened to a machine or a
subscription, also when nobody was looking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from azsim.clock import timestamp

Event = Literal[
    "OperationStarted",  # details: operation, request body, principal
    "OperationSuperseded",  # details: by (the newer operation's id)
    "OperationPaused",  # the machine stopped in the middle of it
    "OperationResumed",
    "OperationEnded",  # details: status, and counts for an install
    "PatchInstalled",  # details: name, version or kbId
    "PatchFailed",
    "RebootStarted",
    "RebootEnded",
    "RebootFailed",
    "OperationUnreached",  # it failed, because no agent took it
    "AgentLost",
    "AgentBack",
    "PowerStateChanged",  # details: before, after
    "StatusChanged",  # of an Arc-enabled server; details: before, after
    "MachineCreated",
    "MachineDeleted",
    "FeatureStateChanged",  # details: feature, before, after
    "ProviderStateChanged",  # details: provider, before, after
    "FaultBegan",  # details: the fault as it was given
    "FaultEnded",  # details: struck (how many requests)
]
"""Everything that can happen other than a request."""

Reply = Literal["sent", "lost"]
"""What became of an answer."""


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """One request and its answer. `body` is the JSON that was sent, for management calls only.

    `fault` is the id of the fault that struck it: without one, a 429 or 503 was earned. With
    `answer` lost the client got none; `status` is then what the request led to, 0 if it was lost
    itself and nothing came of it.
    """

    number: int
    time: datetime
    principal: str | None
    client_id: str | None
    method: str
    path: str
    query: Mapping[str, str]
    status: int
    error_code: str | None
    client_request_id: str | None
    request_id: str
    body: Any = None
    fault: str | None = None
    answer: Reply = "sent"

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {
            "number": self.number,
            "time": timestamp(self.time),
            "kind": "request",
            "principal": self.principal,
            "clientId": self.client_id,
            "method": self.method,
            "path": self.path,
            "query": dict(self.query),
            "status": self.status,
            "errorCode": self.error_code,
            "clientRequestId": self.client_request_id,
            "requestId": self.request_id,
            "body": self.body,
            "fault": self.fault,
            "answer": self.answer,
        }


@dataclass(frozen=True, slots=True)
class EventEntry:
    """Something that happened to `resource`: an ARM resource id, or the path of a fault.

    `operation_id` is the id that the operation's result carries as its activity id; `attempt_id`
    the `x-ms-client-request-id` of the request that began it.
    """

    number: int
    time: datetime
    resource: str
    event: Event
    operation_id: str | None = None
    attempt_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {
            "number": self.number,
            "time": timestamp(self.time),
            "kind": "event",
            "resource": self.resource,
            "event": self.event,
            "operationId": self.operation_id,
            "attemptId": self.attempt_id,
            "details": dict(self.details),
        }


Entry = RequestEntry | EventEntry


class Journal:
    """All entries in memory, and as JSON lines in `path` as they happen."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8", buffering=1)

    def since(self, number: int) -> list[Entry]:
        """The entries after entry `number`; 0 gives all of them."""
        return self.entries[max(number, 0) :]

    def request(
        self,
        time: datetime,
        *,
        principal: str | None,
        client_id: str | None,
        method: str,
        path: str,
        query: Mapping[str, str],
        status: int,
        error_code: str | None,
        client_request_id: str | None,
        request_id: str,
        body: Any = None,
        fault: str | None = None,
        answer: Reply = "sent",
    ) -> None:
        """Record one answered request."""
        self._append(
            RequestEntry(
                len(self.entries) + 1,
                time,
                principal,
                client_id,
                method,
                path,
                query,
                status,
                error_code,
                client_request_id,
                request_id,
                body,
                fault,
                answer,
            )
        )

    def event(
        self,
        time: datetime,
        resource: str,
        event: Event,
        *,
        operation_id: str | None = None,
        attempt_id: str | None = None,
        **details: Any,
    ) -> None:
        """Record something that happened to a resource."""
        self._append(
            EventEntry(
                len(self.entries) + 1, time, resource, event, operation_id, attempt_id, details
            )
        )

    def close(self) -> None:
        """Close the file; the entries in memory stay."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def events(self, *names: Event) -> list[EventEntry]:
        """The events of these names, or all events."""
        return [
            entry
            for entry in self.entries
            if isinstance(entry, EventEntry) and (not names or entry.event in names)
        ]

    def requests(self) -> list[RequestEntry]:
        """The requests, oldest first."""
        return [entry for entry in self.entries if isinstance(entry, RequestEntry)]

    def _append(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry.to_json()) + "\n")
