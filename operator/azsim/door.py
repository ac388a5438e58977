"""Faults as they strike: between the wire and the door of the simulated Azure.

Whoever brings a request, a server or a transport in memory, does this, with `wait` in its own time:

    effect = cloud.faults.strike(request)
    wait(effect.arrive_after)
    response = cloud.answer(request, effect)      # or: await cloud.handle(…)
    wait(effect.answer_after)
    # None: the connection ends without an answer

Nothing here waits, and nothing is drawn: the same requests at the same times are struck alike.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from azsim.calls import OWN_PATHS, asked
from azsim.clock import timestamp
from azsim.faults import Drop, Fault, Garbage
from azsim.http import Request, Response
from azsim.refusing import refusal

if TYPE_CHECKING:
    from azsim.cloud import Cloud

HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head>"
    b"<body><h1>Our services aren't available right now</h1></body></html>\n"
)
"""What a proxy or a front door sends in place of JSON."""

KEPT = frozenset({"x-ms-request-id", "x-ms-correlation-request-id"})
"""Headers of an answer that stay when a fault strips them."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to one request. Times are simulated; `refuse` is the answer in Azure's place.

    With `lose_request` nothing is processed, with `lose_answer` it is and nobody hears of it.
    """

    fault_id: str | None = None
    arrive_after: timedelta = timedelta(0)
    answer_after: timedelta = timedelta(0)
    lose_request: bool = False
    lose_answer: bool = False
    refuse: Response | None = None
    spoil: Garbage | None = None
    strip_headers: bool = False

    def spoiled(self, response: Response) -> Response:
        """The response as the client gets it."""
        if self.spoil is None:
            return response
        content, kind = response.content(), response.headers.get("content-type")
        if self.spoil is Garbage.HTML:
            content, kind = HTML, "text/html; charset=utf-8"
        elif self.spoil is Garbage.EMPTY:
            content = b""
        else:
            content, kind = content[: len(content) // 2] or b"{", kind or "application/json"
        headers = {
            name: value
            for name, value in response.headers.items()
            if name not in ("content-length", "content-type")
            and (name in KEPT or not self.strip_headers)
        }
        if kind is not None:
            headers["content-type"] = kind
        return Response(response.status, content, headers)


NOTHING = Effect()
"""What happens to nearly all requests."""


@dataclass
class Standing:
    """A fault that is there: since when, how many requests it has met and how many it struck."""

    id: str
    fault: Fault
    began: datetime
    met: int = 0
    struck: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the control endpoint prints it."""
        return {
            "id": self.id,
            "began": timestamp(self.began),
            "met": self.met,
            "struck": self.struck,
            "fault": self.fault.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }


class Faults:
    """The faults of one cloud, oldest first."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._standing: dict[str, Standing] = {}
        self._numbers = itertools.count(1)

    def add(self, fault: Fault) -> str:
        """Let something go wrong from now on; the fault's id."""
        cloud = self._cloud
        cloud.catch_up()
        standing = Standing(f"fault-{next(self._numbers)}", fault, cloud.now)
        self._standing[standing.id] = standing
        cloud.journal.event(
            cloud.now, _path(standing), "FaultBegan", **{"fault": standing.to_json()["fault"]}
        )
        if fault.graph is not None:
            self._distort()
        if fault.lasts is not None:
            cloud.schedule(cloud.now + fault.lasts, lambda: self._end(standing))
        return standing.id

    def remove(self, fault_id: str) -> None:
        """End a fault. KeyError if there is none of this id."""
        self._cloud.catch_up()
        self._end(self._standing[fault_id])

    def clear(self) -> None:
        """End all of them."""
        self._cloud.catch_up()
        for standing in list(self._standing.values()):
            self._end(standing)

    def standing(self) -> list[Standing]:
        """What is there now, oldest first."""
        return list(self._standing.values())

    def strike(self, request: Request) -> Effect:
        """What happens to a request that comes in sight now. Counts it: ask once a request."""
        if not self._standing or request.path.lower().startswith(OWN_PATHS):
            return NOTHING
        self._cloud.catch_up()
        wanted = asked(request.method, request.path)
        machine = wanted.machine
        if wanted.operation_id is not None:
            operation = self._cloud.operations.get(wanted.operation_id)
            machine = operation.machine_id if operation is not None else None
        for standing in list(self._standing.values()):
            fault = standing.fault
            if not fault.is_about_request(request.method, wanted.call, machine):
                continue
            standing.met += 1
            if standing.met <= fault.skip:
                continue
            standing.struck += 1
            if standing.struck == fault.count:
                self._end(standing)
            return self._effect(standing, request)
        return NOTHING

    def _effect(self, standing: Standing, request: Request) -> Effect:
        fault = standing.fault
        if fault.status is not None:
            return Effect(standing.id, refuse=refusal(self._cloud, fault, request))
        delay = fault.delay
        return Effect(
            standing.id,
            arrive_after=delay.request if delay else timedelta(0),
            answer_after=delay.answer if delay else timedelta(0),
            lose_request=fault.drop is Drop.BEFORE,
            lose_answer=fault.drop is Drop.AFTER,
            spoil=fault.garbage,
            strip_headers=fault.strip_headers,
        )

    def _end(self, standing: Standing) -> None:
        if self._standing.pop(standing.id, None) is None:
            return
        cloud = self._cloud
        cloud.journal.event(cloud.now, _path(standing), "FaultEnded", struck=standing.struck)
        if standing.fault.graph is not None:
            self._distort()

    def _distort(self) -> None:
        faults = (standing.fault for standing in self._standing.values())
        self._cloud.graph.distort(tuple(fault for fault in faults if fault.graph is not None))


def _path(standing: Standing) -> str:
    return f"{OWN_PATHS}faults/{standing.id}"
