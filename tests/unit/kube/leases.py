"""A Lease as the API server keeps it, the ways to it, and processes that contend for it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any

from azpatch.kube.election import LEASE_NAME, Election, LeaseTimes
from azpatch.kube.port import Conflict, NotFound, Object, Unavailable

TIMES = LeaseTimes(duration=15.0, renew_deadline=10.0, retry_period=2.0)
TRIP = 0.01
"""Seconds that a request, or an answer, takes on its way."""


class Fault(StrEnum):
    """What may become of a request."""

    REFUSED = "the API server does not answer"
    LATE = "arrives late, also when nobody waits for the answer any more"
    LOST = "done, but the answer is lost"
    SLOW = "done, but the answer is late"
    PAUSED = "done, and the process sleeps until after the answer is there"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One fault."""

    fault: Fault
    seconds: float = 0.0


class Cluster:
    """Holds the Lease."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self._version = 0

    def get(self) -> Object:
        if self.lease is None:
            raise NotFound("there is none")
        return copy.deepcopy(self.lease)

    def create(self, spec: Mapping[str, Any]) -> Object:
        if self.lease is not None:
            raise Conflict("it is there")
        self._version += 1
        return self._store({"uid": f"uid-{self._version}"}, spec)

    def replace(self, base: Object, spec: Mapping[str, Any]) -> Object:
        current, meant = self.get()["metadata"], base["metadata"]
        if current != meant:
            raise Conflict("it has been modified")
        return self._store(current, spec)

    def delete(self) -> None:
        self.lease = None

    def _store(self, meta: Mapping[str, Any], spec: Mapping[str, Any]) -> Object:
        self._version += 1
        self.lease = {
            "metadata": {**meta, "name": LEASE_NAME, "resourceVersion": str(self._version)},
            "spec": copy.deepcopy(dict(spec)),
        }
        return copy.deepcopy(self.lease)


class Way:
    """One process's way to the API server. Implements `Leases`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.requests = 0
        self.troubles: dict[int, Trouble] = {}
        """By the number of the request, from 0."""
        self.always: Trouble | None = None
        """What becomes of every request from now on."""
        self.ended: set[asyncio.Task[Any]] = set()
        """Processes that were killed or told to end: these do not sleep on."""

    async def get_lease(self, name: str) -> Object:
        return await self._send(self._cluster.get)

    async def create_lease(self, name: str, spec: Mapping[str, Any]) -> Object:
        return await self._send(lambda: self._cluster.create(spec))

    async def replace_lease(self, base: Object, spec: Mapping[str, Any]) -> Object:
        return await self._send(lambda: self._cluster.replace(base, spec))

    async def _send(self, done: Callable[[], Object]) -> Object:
        trouble = self.always or self.troubles.get(self.requests, Trouble(Fault.SLOW, 0.0))
        self.requests += 1
        match trouble.fault:
            case Fault.REFUSED:
                await asyncio.sleep(TRIP)
                raise Unavailable("no answer")
            case Fault.LATE:
                late = asyncio.ensure_future(_later(trouble.seconds, done))
                # Nobody may be left to take what it raises.
                late.add_done_callback(lambda task: task.cancelled() or task.exception())
                return await asyncio.shield(late)
            case Fault.LOST:
                await _later(TRIP, done)
                raise Unavailable("the connection was lost")
            case Fault.SLOW:
                answer = await _later(TRIP, done)
                await asyncio.sleep(TRIP + trouble.seconds)
                return answer
            case Fault.PAUSED:
                answer = await _later(TRIP, done)
                await self._asleep(trouble.seconds)
                return answer

    async def _asleep(self, seconds: float) -> None:
        """A process that sleeps hears of no timeout; when it wakes, the answer comes first."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if asyncio.current_task() in self.ended or getattr(loop, "ended", True):
                    raise


async def _later(seconds: float, done: Callable[[], Object]) -> Object:
    await asyncio.sleep(seconds)
    return done()


class LoopClock:
    """The loop's time, at a rate of its own: no two clocks run equally fast."""

    def __init__(self, rate: float = 1.0) -> None:
        self._rate = rate

    def now(self) -> datetime:
        raise AssertionError("nothing is decided by what a wall clock says")

    def monotonic(self) -> float:
        return self._rate * asyncio.get_running_loop().time()

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("leases are real time")


@dataclass
class Replica:
    """A pod: its process contends, leads, and is started again when it ends."""

    name: str
    cluster: Cluster
    rate: float = 1.0
    wall: datetime = datetime(2026, 11, 25, 12, tzinfo=UTC)
    """What its wall clock shows; a test may turn it."""
    led: list[tuple[str, float]] = field(default_factory=list)
    """Which of its processes led, and from when on."""

    def __post_init__(self) -> None:
        self.way = Way(self.cluster)
        self._number = 0
        self._new()

    @property
    def leads(self) -> bool:
        """Whether its process may work at this moment."""
        return self.election.held

    def start(self) -> None:
        """A process of it begins."""
        self._task = asyncio.ensure_future(self._run())

    def crash(self) -> None:
        """SIGKILL; what is on its way to the API server still arrives."""
        self._end()
        self._new()

    async def stop(self) -> None:
        """SIGTERM."""
        self._end()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.election.release()
        self._new()

    def _end(self) -> None:
        self.way.ended.add(self._task)
        self._task.cancel()

    def _new(self) -> None:
        self._number += 1
        self.election = Election(
            self.way,
            LoopClock(self.rate),
            Random(self._number),
            f"{self.name}_{self._number}",
            LEASE_NAME,
            TIMES,
            now=lambda: self.wall,
        )

    async def _run(self) -> None:
        while True:
            await self.election.acquire()
            identity = f"{self.name}_{self._number}"
            self.led.append((identity, asyncio.get_running_loop().time()))
            await self.election.keep()
            self._new()
