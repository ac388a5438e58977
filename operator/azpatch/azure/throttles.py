"""Spends Azure's request budgets: one scheduler for all identities of the process.

A request takes a token of each bucket that Azure charges for it (`limits`). Reads wait here, for a
short time. A guest patch operation never waits here, because its intent must be young when it goes
out: its place is taken before, by `reserve`, and the caller comes back when it is ready. A place
belongs to its machine or to what is read, so that whoever asks again is where they were in the
line, and one that nobody uses is given back after a while.

The buckets that one call costs are waited for one after another, that of the subscription last: who
waits for a region's tokens would hold up there those of another region, which has some.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush
from math import ceil

from azpatch.azure import limits
from azpatch.azure.buckets import Bucket, Sent
from azpatch.azure.budgets import remaining
from azpatch.azure.errors import retry_after
from azpatch.azure.limits import Cost
from azpatch.azure.line import Place, Precedence
from azpatch.azure.port import OverBudget, Throttled
from azpatch.clock import Clock
from azpatch.domain import ids

LONGEST_WAIT = timedelta(seconds=5)
"""What a read waits by itself, in Azure's time; if it takes longer, the caller comes back. A worker
that waits does nothing else."""

KEPT = 300.0
"""Seconds of Azure's time that a place is kept from its turn on: longer than a caller that comes
back waits for a worker."""

IN_HAND = 3600.0
"""Likewise, once the caller was told that it is its turn. It sends or gives back within a minute of
real time; this is for the ones that died, and for a simulated Azure that runs faster."""

FEW = 1000
"""Buckets that are kept without looking for full ones."""

TOO_MANY_REQUESTS = 429

OVER_BUDGET = "Azure's limit for such requests is reached; asked later."


OURS = Precedence("", yields=False)
"""Of what is not done for one policy: reads, and the few writes of an AzureSubscription."""


@dataclass(slots=True)
class _Wait:
    """Of one call, at the buckets that it costs."""

    costs: Sequence[Cost]
    precedence: Precedence
    number: int
    """Order of coming."""
    places: list[tuple[Bucket, Place]] = field(default_factory=list)
    """At the buckets that it has come to: all but the last have called it."""
    kept_until: float = 0.0

    @property
    def called(self) -> bool:
        """It was told that it is its turn."""
        return len(self.places) == len(self.costs) and self.places[-1][1].called


class Charge:
    """What one call costs, and what its answers say."""

    def __init__(self, places: Sequence[tuple[Bucket, Place]], clock: Clock) -> None:
        self._places = places
        self._buckets = [bucket for bucket, _ in places]
        self._clock = clock
        self._used = False
        self._on_way: list[Sent] = []

    def sent(self) -> None:
        """A request goes out. The first has the call's place; each repeat costs the same again."""
        self._over()
        now = _seconds(self._clock)
        for bucket, place in self._places:
            self._on_way.append(bucket.send_unasked(now) if self._used else bucket.send(place, now))
        self._used = True

    def answered(self, status: int, headers: Mapping[str, str], text: str) -> None:
        """Its answer came. `text` is needed where Azure refused."""
        on_way, now, left = self._on_way, _seconds(self._clock), remaining(headers)
        self._over()
        for bucket, sent in zip(self._buckets, on_way, strict=False):
            if bucket.limit.name in left:
                bucket.hear(left[bucket.limit.name], sent, now)
        if status == TOO_MANY_REQUESTS:
            wait = retry_after(headers) or timedelta(0)
            for bucket in _concerned(self._buckets, left, text):
                bucket.close(now + wait.total_seconds(), now)

    def end(self) -> None:
        """The call is over. If nothing went out, nothing is spent."""
        self._over()
        if not self._used:
            for bucket, place in self._places:
                bucket.leave(place)

    def _over(self) -> None:
        for bucket, _ in zip(self._buckets, self._on_way, strict=False):
            bucket.answered()
        self._on_way = []


CHARGE: ContextVar[Charge | None] = ContextVar("CHARGE", default=None)
"""Of the call that this task is in; the pipeline tells it what it sends and gets."""


class Throttles:
    """One per process: Compute counts a subscription's requests whoever sends them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._many = FEW
        self._waits: dict[str, _Wait] = {}
        self._came = 0
        # By the time at which they are looked at again, which may be earlier than they end.
        self._ends: list[tuple[float, str]] = []

    # --- guest patch operations -------------------------------------------------------------------

    def reserve(self, machine_id: str, location: str, policy: str, *, yields: bool) -> timedelta:
        """See AzureClients."""
        machine_key, subscription = ids.key(machine_id), ids.subscription_of(machine_id)
        costs = limits.patch(machine_key, subscription, location)
        return self._turn(_posting(machine_key), costs, Precedence(policy, yields))

    def release(self, machine_id: str) -> None:
        """See AzureClients."""
        self._give_back(_posting(ids.key(machine_id)))

    def waiting(self) -> int:
        """Places in line, those included whose turn it is."""
        return len(self._waits)

    @asynccontextmanager
    async def posting(self, machine_id: str) -> AsyncIterator[None]:
        """Around one operation on a machine, which uses its place."""
        with self._charged(_posting(ids.key(machine_id))):
            yield

    # --- reads ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def reading(
        self, name: str, costs: tuple[Cost, ...], patience: timedelta = LONGEST_WAIT
    ) -> AsyncIterator[None]:
        """Around one read, whose place is `name`'s. OverBudget, and nothing is sent, if its turn is
        too far away; it keeps its place."""
        while wait := self._turn(name, costs):
            if wait > patience:
                raise OverBudget("OverBudget", OVER_BUDGET, wait)
            await self._clock.sleep(wait)
        with self._charged(name):
            yield

    # --- other writes -----------------------------------------------------------------------------

    @contextmanager
    def writing(self, name: str, costs: tuple[Cost, ...]) -> Iterator[None]:
        """Around one write, whose place is `name`'s. Throttled, and nothing is sent, if it is not
        its turn; it keeps its place."""
        if wait := self._turn(name, costs):
            raise Throttled("OverBudget", OVER_BUDGET, wait)
        with self._charged(name):
            yield

    # --- the line ---------------------------------------------------------------------------------

    def _turn(self, name: str, costs: Sequence[Cost], precedence: Precedence = OURS) -> timedelta:
        """Zero: it is its turn. Else when to ask again."""
        now = _seconds(self._clock)
        self._tidy(now)
        waits = self._waits.get(name)
        if waits is not None and waits.precedence != precedence and not waits.called:
            self._give_back(name)
            waits = None
        if waits is None:
            self._came += 1
            waits = self._waits[name] = _Wait(costs, precedence, self._came)
            heappush(self._ends, (now, name))
        wait = self._step(waits, now)
        waits.kept_until = now + (wait + KEPT if wait else IN_HAND)
        # Up to the next microsecond: rounded down, the caller would be back too early.
        return timedelta(microseconds=ceil(wait * 1_000_000))

    def _step(self, waits: _Wait, now: float) -> float:
        """On to the first bucket that has no token for it: seconds to wait there."""
        for index, cost in enumerate(waits.costs):
            if index == len(waits.places):
                bucket = self._bucket(cost, now)
                waits.places.append((bucket, bucket.join(waits.precedence, waits.number)))
            bucket, place = waits.places[index]
            if wait := bucket.turn(place, now):
                return wait
        return 0.0

    def _tidy(self, now: float) -> None:
        """Gives back what nobody came for."""
        while self._ends and self._ends[0][0] < now:
            _, name = heappop(self._ends)
            waits = self._waits.get(name)
            if waits is None:
                continue
            if waits.kept_until < now:
                self._give_back(name)
            else:
                heappush(self._ends, (waits.kept_until, name))

    def _give_back(self, name: str) -> None:
        waits = self._waits.pop(name, None)
        for bucket, place in waits.places if waits else ():
            bucket.leave(place)

    def _bucket(self, cost: Cost, now: float) -> Bucket:
        limit, key = cost
        found = self._buckets.get((limit.name, key))
        if found is None:
            if len(self._buckets) >= self._many:
                self._buckets = {k: b for k, b in self._buckets.items() if not b.idle(now)}
                self._many = 2 * len(self._buckets) + FEW
            found = self._buckets[limit.name, key] = Bucket(limit, now)
        return found

    @contextmanager
    def _charged(self, name: str) -> Iterator[None]:
        waits = self._waits.pop(name, None)
        charge = Charge(waits.places if waits else (), self._clock)
        CHARGE.set(charge)
        try:
            yield
        finally:
            # Not `reset`: of a task that was killed this runs in another context.
            CHARGE.set(None)
            charge.end()


def _posting(machine_key: str) -> str:
    return f"POST {machine_key}"


def _seconds(clock: Clock) -> float:
    return clock.elapsed().total_seconds()


def _concerned(buckets: Sequence[Bucket], left: Mapping[str, int], text: str) -> Sequence[Bucket]:
    """Which of them a 429 is about: the ones that its headers or its words name, else all."""
    named = [b for b in buckets if left.get(b.limit.name) == 0 or b.limit.name in text]
    return named or buckets
