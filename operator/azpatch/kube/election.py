"""Who of several operators works: the one that holds the Lease.

Two rules make it safe, both by each process's own monotonic clock; no two clocks are compared.

1. A holder counts on its Lease for `renew_deadline` from the moment it *began* to send the last
   renewal that succeeded.
2. Another takes the Lease when it has seen it unchanged for `duration`, counted from the moment it
   *had* the answer that first showed it so. The write fails if the Lease changed meanwhile.

The second moment is later than the first, and `duration` is longer than `renew_deadline`: the first
is over before the second begins, as long as clocks run about equally fast. What the times in the
Lease say is for people.

A Lease that is not there may have been deleted a moment ago, under a holder that still counts on
it. So one that was created counts only after `duration`, and a holder whose Lease was deleted gives
up.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import structlog
from prometheus_client import Gauge

from azpatch.clock import Clock
from azpatch.kube.port import Conflict, KubeError, Leases, NotFound, Object

LEASE_NAME = "azpatch"
"""One in a namespace, whatever the release is called: two releases there are not two leaders. The
chart's Role names it."""

JITTER = 0.2
"""Share of the retry period that is added by chance, so that contenders do not write together."""

SHORTEST_PAUSE = 0.01
"""Seconds. What is left of a deadline may be less than a clock's step."""

RELEASE_SECONDS = 3.0
"""For giving the Lease back at the end. If that fails, the next one waits for `duration`."""

RELEASE_TRIES = 3
"""A renewal that was cut off may still arrive, and change the Lease once more."""

CREATED = 0
"""leaseTransitions of a Lease that nobody held before. Whoever takes it adds one."""

LEADER = Gauge("azpatch_leader", "1 while this process holds the Lease, else 0.")
TRANSITIONS = Gauge(
    "azpatch_lease_transitions", "How often the Lease changed hands, as this process last saw it."
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Real seconds; `azpatch.settings` says why which."""

    duration: float
    renew_deadline: float
    """Less than `duration`."""
    retry_period: float


class Election:
    """Contends for one Lease, for one process."""

    def __init__(
        self,
        leases: Leases,
        clock: Clock,
        random: Random,
        identity: str,
        name: str,
        times: LeaseTimes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`identity` is this process's alone: another one in the same pod has another. `now` is
        what the Lease shows to people; nothing is decided by it."""
        self._leases = leases
        self._clock = clock
        self._random = random
        self._identity = identity
        self._name = name
        self._times = times
        self._now = now
        self._ours: Object | None = None
        """The Lease as our last write left it; None: it has to be read."""
        self._attempted = -math.inf
        """When the last attempt began."""
        self._renewed: float | None = None
        """When the last renewal that succeeded began; None: the Lease is not ours."""
        self._term: tuple[str, int] | None = None
        """Which time that the Lease is or was ours: its uid and leaseTransitions."""
        self._counts_from = 0.0
        """From when on this term counts."""
        self._seen: tuple[tuple[str, str] | None, float] = (None, 0.0)
        """The Lease as last seen (uid and resourceVersion), and since when it is like that."""
        self._told = ""
        self._contends = False
        LEADER.set_function(lambda: self.held)

    @property
    def held(self) -> bool:
        """Whether this process leads at this moment. Asks the clock only, so it is also true of a
        process that slept."""
        now = self._clock.monotonic()
        return self._counts_from <= now and self._left(now) > 0

    @property
    def contends(self) -> bool:
        """Whether the API server has ever shown us the Lease, or that there is none."""
        return self._contends

    async def acquire(self) -> None:
        """Until the Lease is held."""
        while not self.held:
            await self._attempt()
            if not self.held:
                await self._pause()
        log.info("leading", lease=self._name, identity=self._identity)

    async def keep(self) -> None:
        """Renews; returns when the Lease is lost."""
        while self.held:
            await self._pause()
            if self.held:
                await self._attempt()
        log.error("not leading any more", lease=self._name, identity=self._identity)

    async def release(self) -> None:
        """Gives the Lease back, so that the next one need not wait. To be called when all work has
        ended; from then on it is not held. Never raises."""
        self._renewed = None
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                for _ in range(RELEASE_TRIES):
                    if await self._release():
                        return
        except (KubeError, TimeoutError) as error:
            log.warning("lease was not released", lease=self._name, error=_said(error))

    async def _release(self) -> bool:
        lease = await self._leases.get_lease(self._name)
        if _holder(lease) != self._identity or not self._counts(lease):
            return True
        freed = {**lease["spec"], "holderIdentity": "", "renewTime": self._time()}
        try:
            await self._leases.replace_lease(lease, freed)
        except Conflict:
            return False
        log.info("lease released", lease=self._name)
        return True

    def _counts(self, lease: Object) -> bool:
        """One that was created a moment ago keeps its holder: the next one has to wait, too."""
        if _transitions(lease) != CREATED:
            return True
        return _term(lease) == self._term and self._counts_from <= self._clock.monotonic()

    async def _attempt(self) -> None:
        """One look or write. What goes wrong is told; the next attempt begins with a look."""
        # Half of the deadline, so that one request that hangs does not cost the Lease.
        self._attempted = now = self._clock.monotonic()
        limit = self._times.renew_deadline / 2
        if self.held:
            limit = min(limit, self._left(now))
        try:
            async with asyncio.timeout(limit):
                try:
                    await self._step()
                except (Conflict, NotFound):
                    # Somebody was first. If it is not ours any more, that is to be known at once.
                    self._ours = None
                    await self._step()
        except (KubeError, TimeoutError) as error:
            # It may have been written and the answer lost.
            self._ours = None
            if not isinstance(error, Conflict):
                log.warning("no answer about the lease", lease=self._name, error=_said(error))

    async def _step(self) -> None:
        """Raises KubeError."""
        lease = self._ours or await self._look()
        if lease is None:
            await self._create()
        elif _holder(lease) == self._identity:
            await self._write(lease, {**lease["spec"], "renewTime": self._time()})
        elif self._free(lease):
            await self._write(lease, self._begin(_transitions(lease) + 1))
        else:
            self._lose(f"held by {_holder(lease)}")

    async def _look(self) -> Object | None:
        """The Lease as it is; None: there is none."""
        try:
            lease = await self._leases.get_lease(self._name)
        except NotFound:
            lease = None
        self._contends = True
        meta = lease["metadata"] if lease else {}
        version = (meta["uid"], meta["resourceVersion"]) if lease else None
        if version != self._seen[0]:
            self._seen = (version, self._clock.monotonic())
        TRANSITIONS.set(_transitions(lease) if lease else 0)
        return lease

    def _free(self, lease: Object) -> bool:
        """Nobody's, or as good as that."""
        # During an upgrade the holder may go by a longer duration than we do.
        theirs = float(lease["spec"].get("leaseDurationSeconds") or 0)
        unchanged = self._clock.monotonic() - self._seen[1]
        return not _holder(lease) or unchanged >= max(self._times.duration, theirs)

    async def _create(self) -> None:
        if self._renewed is not None:
            self._lose("deleted")
            return
        started = self._clock.monotonic()
        self._won(started, await self._leases.create_lease(self._name, self._begin(CREATED)))

    async def _write(self, lease: Object, spec: dict[str, Any]) -> None:
        started = self._clock.monotonic()
        self._won(started, await self._leases.replace_lease(lease, spec))

    def _won(self, started: float, lease: Object) -> None:
        term = _term(lease)
        if term != self._term:
            self._term = term
            # Of a creation not even the answer may have come: it counts from when we know of it.
            wait = self._times.duration if term[1] == CREATED else 0.0
            self._counts_from = self._clock.monotonic() + wait
        self._renewed = started
        self._ours = lease
        TRANSITIONS.set(_transitions(lease))

    def _lose(self, why: str) -> None:
        self._renewed = None
        if self._told != why:
            self._told = why
            log.info("lease is not ours", lease=self._name, why=why)

    def _begin(self, transitions: int) -> dict[str, Any]:
        """The spec of a Lease that is ours from now on."""
        now = self._time()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._times.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _time(self) -> str:
        """A MicroTime."""
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _left(self, now: float) -> float:
        """Seconds that the last renewal still counts; not above 0 if the Lease is not ours."""
        return 0.0 if self._renewed is None else self._renewed + self._times.renew_deadline - now

    async def _pause(self) -> None:
        """Until a retry period after the last attempt began, and not longer than the Lease counts:
        an attempt that took long is followed at once."""
        now = self._clock.monotonic()
        period = self._times.retry_period * (1 + JITTER * self._random.random())
        left = self._attempted + period - now
        if self.held:
            left = min(left, self._left(now))
        await asyncio.sleep(max(left, SHORTEST_PAUSE))


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _transitions(lease: Object) -> int:
    return int((lease.get("spec") or {}).get("leaseTransitions") or 0)


def _term(lease: Object) -> tuple[str, int]:
    """Of one holder: its uid and leaseTransitions."""
    return str(lease["metadata"]["uid"]), _transitions(lease)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
