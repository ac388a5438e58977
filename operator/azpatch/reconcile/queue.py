"""The work queue: which keys are to be reconciled, when, and by whom.

A key waits at most once, is in at most one worker's hand, and is run again when something happened
to it meanwhile. A key that fails is tried again later and later. Keys carry no facts: a reconcile
reads what is so now, so that nothing is lost when ten events become one run.

Waits and backoffs are Azure's time, as it passes, whatever the wall clock jumps to; the ages that
health and metrics show are real seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from random import Random

import structlog
from prometheus_client import Counter, Gauge, Histogram

from azpatch.clock import Clock
from azpatch.kube.port import Conflict, KubeError, NotFound, Unavailable

FIRST_BACKOFF = timedelta(seconds=1)
"""After the first failure: a conflict or a restart of the API server is over by then."""

LONGEST_BACKOFF = timedelta(minutes=5)
"""A cause that a person removes is noticed this soon; also about the interval of the resync."""

SUMMARIES = frozenset({"AzureSubscription", "PatchPolicy", "PatchRun"})
"""Kinds that look at all of their machines. They are few, so they come before the machines, of
which thousands may wait. And each machine that changes wakes its policy, so they rest between two
runs."""

REST = 4
"""Times the length of its run that a summary rests: together they keep the loop busy for a fifth of
the time at most, and the smaller the policy, the sooner it sees a change."""

SHORTEST_REST = timedelta(seconds=1)
"""Machines change in bursts, and each time the policy counts anew and writes its status."""

LONGEST_REST = timedelta(seconds=5)
"""How late a policy may see that a machine changed or asks for a slot. A run that creates
PatchTargets takes long without keeping the loop busy."""

EXPECTED_ERRORS = (Conflict, NotFound, Unavailable)
"""What happens in a healthy cluster: told in one line, without a traceback."""

DEPTH = Gauge("azpatch_workqueue_depth", "Keys that wait for a worker.")
IN_HAND = Gauge("azpatch_workqueue_in_hand", "Keys that a worker is reconciling.")
LATENCY = Histogram(
    "azpatch_workqueue_latency_seconds", "Real seconds a key waited for a worker.", ["kind"]
)
WORK = Histogram(
    "azpatch_workqueue_work_duration_seconds", "Real seconds one reconcile took.", ["kind"]
)
ERRORS = Counter("azpatch_workqueue_errors", "Reconciles that ended in an exception.", ["kind"])

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What one reconcile is about."""

    kind: str
    """The Kubernetes kind, such as `PatchTarget`."""
    namespace: str
    """"" for a cluster-scoped kind."""
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True)
class Result:
    """How a reconcile ended that raised nothing."""

    requeue_after: timedelta | None = None
    """Azure time until the key is due again; None: when something happens to it."""


Reconcile = Callable[[Key], Awaitable[Result]]

OwnerOf = Callable[[Key], Hashable]
"""Whose a key is: owners take turns."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A key and for how many real seconds it has been in hand or waiting for a worker."""

    key: Key
    seconds: float


class Turns:
    """Owners take turns, and each one's keys keep their order. Turns are not saved up: who comes
    begins in the round that is under way."""

    def __init__(self) -> None:
        self._round = 0
        self._last: dict[Hashable, int] = {}
        """The round of each owner's last key. Of rounds that are over, some are left."""
        self._room = 64

    def take(self, owner: Hashable) -> int:
        """The round in which the owner's next key has its turn."""
        if len(self._last) > self._room:
            self._last = {one: last for one, last in self._last.items() if last >= self._round}
            self._room = 2 * len(self._last) + 64
        self._last[owner] = max(self._round, self._last.get(owner, -1) + 1)
        return self._last[owner]

    def reached(self, number: int) -> None:
        """A key of this round has its turn now."""
        self._round = max(self._round, number)


class WorkQueue:
    """Keys, each at most once waiting and at most once in hand. For one event loop. `owner_of` says
    who takes turns; without it all keys come in their order."""

    def __init__(
        self,
        clock: Clock,
        random: Random | None = None,
        owner_of: OwnerOf = lambda key: None,
    ) -> None:
        self._clock = clock
        self._random = random or Random()
        self._owner_of = owner_of
        self._turns = Turns()
        self._order: asyncio.PriorityQueue[tuple[int, int, int, Key | None]] = (
            asyncio.PriorityQueue()
        )
        self._number = count()
        self._waiting: dict[Key, float] = {}
        self._in_hand: dict[Key, float] = {}
        self._dirty: dict[Key, float] = {}
        self._due: dict[Key, timedelta] = {}
        # May hold instants that `_due` no longer has: passed over when they come up, or thrown out
        # when they are the most of it.
        self._calendar: list[tuple[timedelta, Key]] = []
        self._earlier = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._rests_until: dict[Key, timedelta] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._stopping = False
        self.last_progress = clock.monotonic()
        """When a reconcile last ended, well or not (`clock.monotonic()`)."""

    def add(self, key: Key) -> None:
        """Reconcile this key now, or once more if it is in hand, or when it has rested. A later
        appointment is dropped: the reconcile makes the next one."""
        if key in self._in_hand:
            self._due.pop(key, None)
            self._dirty.setdefault(key, self._clock.monotonic())
        else:
            self._enqueue(key, self._clock.monotonic())

    def add_after(self, key: Key, delay: timedelta) -> None:
        """Reconcile this key after this much of Azure's time; of several appointments the earliest
        counts."""
        if delay <= timedelta(0):
            self.add(key)
        elif key not in self._waiting and key not in self._dirty:
            self._appoint(key, self._clock.elapsed() + delay)

    def due(self, key: Key) -> timedelta | None:
        """When the key has its appointment (`clock.elapsed()`); None without one."""
        return self._due.get(key)

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting)

    @property
    def in_hand(self) -> int:
        """Keys that a worker is reconciling."""
        return len(self._in_hand)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is in hand; appointments may exist."""
        return not self._waiting and not self._in_hand

    def oldest_waiting(self) -> Waiting | None:
        """The key longest in hand, or waiting for a worker; None when idle."""
        if self.idle:
            return None
        since, key = min(
            (since, key) for keys in (self._waiting, self._in_hand) for key, since in keys.items()
        )
        return Waiting(key, self._clock.monotonic() - since)

    async def run(self, workers: int, reconcile: Reconcile) -> None:
        """Reconciles with this many workers until `stop`. Cancelling it drops the keys in hand."""
        self._workers = [
            asyncio.create_task(self._work(reconcile), name=f"queue worker {number}")
            for number in range(workers)
        ]
        calendar = asyncio.create_task(self._keep_appointments(), name="queue calendar")
        tasks = [calendar, *self._workers]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled():
                # Only a defect of the queue itself gets here; it ends the operator.
                task.result()

    async def stop(self, within: timedelta) -> tuple[Key, ...]:
        """Takes no more keys and lets those in hand end, for at most this much real time; then
        cancels them. Returns the keys that were cancelled."""
        self._stopping = True
        self._earlier.set()
        for _ in self._workers:
            self._order.put_nowait((-1, 0, next(self._number), None))
        if not self._workers:
            return ()
        _, late = await asyncio.wait(self._workers, timeout=within.total_seconds())
        cancelled = tuple(sorted(self._in_hand)) if late else ()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            log.warning("stopped with keys in hand", keys=[str(key) for key in cancelled])
        return cancelled

    def _appoint(self, key: Key, due: timedelta) -> None:
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        if len(self._calendar) > 2 * len(self._due) + 64:
            self._calendar = sorted((due, key) for key, due in self._due.items())
        else:
            heapq.heappush(self._calendar, (due, key))
        if self._calendar[0] == (due, key):
            self._earlier.set()

    def _enqueue(self, key: Key, since: float) -> None:
        if key in self._waiting:
            return
        rested = self._rests_until.get(key)
        if rested is not None and rested > self._clock.elapsed():
            if self._due.get(key) != rested:
                self._due.pop(key, None)
                self._appoint(key, rested)
            return
        self._rests_until.pop(key, None)
        self._due.pop(key, None)
        self._waiting[key] = since
        summary = key.kind in SUMMARIES
        turn = 0 if summary else self._turns.take(self._owner_of(key))
        self._order.put_nowait((not summary, turn, next(self._number), key))
        DEPTH.set(len(self._waiting))

    async def _work(self, reconcile: Reconcile) -> None:
        while True:
            _, turn, _, key = await self._order.get()
            if key is None or self._stopping:
                return
            self._turns.reached(turn)
            now = self._clock.monotonic()
            LATENCY.labels(key.kind).observe(now - self._waiting.pop(key))
            self._in_hand[key] = now
            self._gauge()
            began = self._clock.elapsed()
            try:
                await self._reconcile_once(key, reconcile)
            finally:
                self._rest(key, began)
                self._lay_down(key)
            # Neither a queue that is not empty nor a reconcile with nothing to do gives way: ten
            # thousand of them at a resync would keep the Lease and the probes waiting for seconds.
            await asyncio.sleep(0)

    async def _reconcile_once(self, key: Key, reconcile: Reconcile) -> None:
        try:
            result = await reconcile(key)
        except Exception as error:
            ERRORS.labels(key.kind).inc()
            delay = self._backoff(key, error)
            self._tell(key, error, delay)
            self.add_after(key, delay)
        else:
            self._failures.pop(key, None)
            if result.requeue_after is not None:
                self.add_after(key, result.requeue_after)

    def _rest(self, key: Key, began: timedelta) -> None:
        now = self._clock.elapsed()
        if key.kind in SUMMARIES:
            self._rests_until[key] = (
                now + sorted((SHORTEST_REST, REST * (now - began), LONGEST_REST))[1]
            )

    def _lay_down(self, key: Key) -> None:
        now = self._clock.monotonic()
        WORK.labels(key.kind).observe(now - self._in_hand.pop(key))
        self.last_progress = now
        since = self._dirty.pop(key, None)
        if since is not None:
            self._enqueue(key, since)
        self._gauge()

    def _gauge(self) -> None:
        DEPTH.set(len(self._waiting))
        IN_HAND.set(len(self._in_hand))

    def _backoff(self, key: Key, error: Exception) -> timedelta:
        """Doubles from the first to the longest, less up to half by chance, so that keys which
        failed together do not come back together."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(FIRST_BACKOFF * (1 << min(failures - 1, 16)), LONGEST_BACKOFF)
        delay *= 1 - self._random.random() / 2
        if isinstance(error, KubeError) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        return delay

    def _tell(self, key: Key, error: Exception, delay: timedelta) -> None:
        line = log.bind(key=str(key), failures=self._failures[key], retry_in=str(delay))
        if isinstance(error, EXPECTED_ERRORS):
            line.info("reconcile is tried again", error=type(error).__name__, message=str(error))
        else:
            line.error("reconcile failed", exc_info=error)

    async def _keep_appointments(self) -> None:
        while not self._stopping:
            self._earlier.clear()
            await self._sleep(self._enqueue_due())

    def _enqueue_due(self) -> timedelta | None:
        """Adds what is due; returns the time until the next appointment, None if there is none."""
        now = self._clock.elapsed()
        while self._calendar:
            due, key = self._calendar[0]
            current = self._due.get(key) == due
            if current and due > now:
                return due - now
            heapq.heappop(self._calendar)
            if current:
                self.add(key)
        return None

    async def _sleep(self, delay: timedelta | None) -> None:
        """Until this much of Azure's time passed, or an earlier appointment was made."""
        if delay is None:
            await self._earlier.wait()
            return
        sleeper = asyncio.ensure_future(self._clock.sleep(delay))
        waker = asyncio.ensure_future(self._earlier.wait())
        try:
            await asyncio.wait((sleeper, waker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeper, waker):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
