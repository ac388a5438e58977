"""azsim's journal as tests read it: requests, what happened in guests, and whole operations.

The journal is the truth by which tests judge. It names machines as ARM does; here they are keys,
the id in lower case.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

Kind = Literal["Assess", "Install"]

VERBS: Mapping[str, Kind] = {"assesspatches": "Assess", "installpatches": "Install"}
"""The last segment of a guest patch request, in lower case."""

_PATCH_REQUEST = re.compile(
    r"(?P<machine>/subscriptions/.+)/(?P<verb>assessPatches|installPatches)", re.I
)


@dataclass(frozen=True)
class Request:
    """A request that azsim answered. `principal` is None where nobody had signed in."""

    number: int
    time: datetime
    principal: str | None
    method: str
    path: str
    status: int
    attempt_id: str | None = None
    body: Any = None

    @cached_property
    def patches(self) -> tuple[str, Kind] | None:
        """The machine and kind of a guest patch request; None: it is another request."""
        found = _PATCH_REQUEST.fullmatch(self.path)
        if self.method != "POST" or found is None:
            return None
        return found["machine"].lower(), VERBS[found["verb"].lower()]

    def __str__(self) -> str:
        return f"#{self.number} {self.principal} {self.method} {self.path} {self.status}"


@dataclass(frozen=True)
class Event:
    """Something that happened to a machine or a subscription."""

    number: int
    time: datetime
    resource: str
    name: str
    operation_id: str | None = None
    attempt_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


Entry = Request | Event


@dataclass(frozen=True)
class Operation:
    """A guest patch operation from its start in the guest to its end there, if that was seen."""

    machine: str
    kind: Kind
    id: str
    principal: str
    vm_id: str
    first: int
    """The number of the entry that begins it."""
    started: datetime
    attempt_id: str | None = None
    last: int | None = None
    ended: datetime | None = None
    status: str | None = None
    """`Succeeded`, `Failed`, …, or `Deleted` with its machine; None: it is still going on."""
    superseded: str | None = None
    """Id of the operation that this one had to make way for."""
    result: Mapping[str, Any] = field(default_factory=dict)

    def covers(self, number: int) -> bool:
        """Whether it was going on when entry `number` was written."""
        return self.first <= number and (self.last is None or number <= self.last)

    def __str__(self) -> str:
        end = f"ended #{self.last} {self.status}" if self.last else "not ended"
        who = f"{self.kind} {self.id} by {self.principal} on {name_of(self.machine)}"
        return f"{who} from #{self.first}, {end}"


class Journal:
    """All entries, in order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)

    @classmethod
    def read(cls, *files: Path) -> Journal:
        """From the files that azsim wrote, numbered through; a line being written is left out."""
        entries: list[Entry] = []
        for file in files:
            before = entries[-1].number if entries else 0
            lines = file.read_text().splitlines(keepends=True)
            entries += [parse(json.loads(line), before) for line in lines if line.endswith("\n")]
        return cls(entries)

    @property
    def end(self) -> int:
        """The number of the last entry; 0: there is none."""
        return self.entries[-1].number if self.entries else 0

    def first_at(self, time: datetime) -> int:
        """The number of the first entry at this time or later; if none is, the next number."""
        found = bisect_left(self.entries, time, key=lambda entry: entry.time)
        return self.entries[found].number if found < len(self.entries) else self.end + 1

    def after(self, number: int) -> Journal:
        """What was written after entry `number`."""
        return Journal(entry for entry in self.entries if entry.number > number)

    def requests(self, principals: Collection[str | None] | None = None) -> Iterator[Request]:
        """The requests of these principals, or of all."""
        for entry in self.entries:
            if isinstance(entry, Request) and (principals is None or entry.principal in principals):
                yield entry

    def events(self, *names: str) -> Iterator[Event]:
        """The events of these names, or all."""
        for entry in self.entries:
            if isinstance(entry, Event) and (not names or entry.name in names):
                yield entry

    def posts(
        self,
        machine: str,
        kind: Kind | None = None,
        principals: Collection[str | None] | None = None,
    ) -> list[Request]:
        """The guest patch requests to a machine that arrived, whatever the answer."""
        return [
            request
            for request in self.requests(principals)
            if (asked := request.patches) is not None
            and asked[0] == machine.lower()
            and kind in (None, asked[1])
        ]

    def operations(self, machine: str | None = None) -> list[Operation]:
        """The operations that began in guests, in the order of their start."""
        operations = self._operations
        return [one for one in operations if machine is None or one.machine == machine.lower()]

    @cached_property
    def _operations(self) -> tuple[Operation, ...]:
        """Put together once: checkers ask for those of one machine after another."""
        found: dict[str, dict[str, Any]] = {}
        for event in self.events():
            if event.operation_id is None:
                continue
            if event.name == "OperationStarted":
                found[event.operation_id] = _begun(event)
            elif (begun := found.get(event.operation_id)) is not None:
                begun.update(_went_on(event))
        return tuple(Operation(**facts) for facts in found.values())


def parse(line: Mapping[str, Any], before: int = 0) -> Entry:
    """One line of the journal; `before` is added to its number."""
    number, time = line["number"] + before, datetime.fromisoformat(line["time"])
    if line["kind"] == "request":
        return Request(
            number,
            time,
            line["principal"],
            line["method"],
            line["path"],
            line["status"],
            line["clientRequestId"],
            line["body"],
        )
    return Event(
        number,
        time,
        line["resource"].lower(),
        line["event"],
        line["operationId"],
        line["attemptId"],
        line["details"],
    )


def is_arc(machine: str) -> bool:
    """Whether a key is that of an Azure Arc-enabled server."""
    return "/providers/microsoft.hybridcompute/machines/" in machine.lower()


def name_of(machine: str) -> str:
    """The last segment of an id."""
    return machine.rstrip("/").rsplit("/", 1)[-1]


def _begun(event: Event) -> dict[str, Any]:
    return {
        "machine": event.resource,
        "kind": event.details["operation"],
        "id": event.operation_id,
        "principal": event.details["principal"],
        "vm_id": event.details["vmId"],
        "first": event.number,
        "started": event.time,
        "attempt_id": event.attempt_id,
    }


def _went_on(event: Event) -> dict[str, Any]:
    if event.name == "OperationSuperseded":
        return {"superseded": event.details["by"]}
    if event.name == "OperationEnded":
        return {
            "last": event.number,
            "ended": event.time,
            "status": event.details["status"],
            "result": event.details,
        }
    return {}
