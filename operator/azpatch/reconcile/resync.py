"""The periodic LIST of everything watched.

A watch can lose a deletion, and what is only waited for can be waited for too long. So every few
minutes everything is listed: what is gone leaves the store, and every key is reconciled. The first
LIST makes the store complete; no reconcile begins before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from random import Random
from typing import Any, Protocol

import structlog
from prometheus_client import Counter, Gauge

from azpatch.clock import Clock
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    WATCHED,
    Kind,
    KubeError,
    Object,
)
from azpatch.reconcile import routing
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Store, Stored

JITTER = 0.2
"""Share of the interval by which a resync comes earlier, by chance: operators that were started
together do not ask together."""

FIRST_RETRY = timedelta(seconds=1)
LONGEST_RETRY = timedelta(seconds=30)
"""Real time between attempts while the API server does not answer: as a watch would."""

RESYNCS = Counter("azpatch_resyncs", "LISTs of everything watched that ended well.")
AGE = Gauge("azpatch_resync_age_seconds", "Real seconds since the last resync ended well.")

log = structlog.get_logger(__name__)

RECONCILED = (AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_RUN, PATCH_TARGET)
"""The watched kinds that have keys of their own, in the order in which they are enqueued: what
others depend on comes first."""


class Lists(Protocol):
    """The one call of `Kube` that a resync needs."""

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        """Gives every object of the kind to `take`; returns their uids. Raises KubeError."""
        ...


class Resync:
    """Lists, sweeps and enqueues, on an interval of real time."""

    def __init__(
        self,
        kube: Lists,
        store: Store,
        enqueue: Callable[[Key], None],
        clock: Clock,
        random: Random,
        interval: timedelta,
    ) -> None:
        self._kube = kube
        self._store = store
        self._enqueue = enqueue
        self._clock = clock
        self._random = random
        self._interval = interval
        self._last: float | None = None
        self.rounds = 0
        """Resyncs that ended well."""
        AGE.set_function(lambda: self.age)

    @property
    def age(self) -> float:
        """Real seconds since the last one ended well (before the first: since `run` began, and 0
        before that, as in a replica that waits to lead)."""
        return 0.0 if self._last is None else self._clock.monotonic() - self._last

    async def run(self) -> None:
        """Until cancelled; the first one at once."""
        self._last = self._clock.monotonic()
        retry = FIRST_RETRY
        while True:
            try:
                await self.once()
            except KubeError as error:
                log.warning("resync failed", error=str(error), retry_in=str(retry))
                await asyncio.sleep(retry.total_seconds())
                retry = min(retry * 2, LONGEST_RETRY)
            else:
                retry = FIRST_RETRY
                share = 1 - JITTER * self._random.random()
                await asyncio.sleep(self._interval.total_seconds() * share)

    async def once(self) -> None:
        """One LIST of every watched kind. Raises KubeError; what was listed until then counts."""
        swept = [stored for kind in WATCHED for stored in await self._sweep(kind)]
        present = [stored for kind in RECONCILED for stored in self._store.all(kind)]
        keys = dict.fromkeys(routing.own_key(stored) for stored in present)
        for stored in swept:
            keys.update(dict.fromkeys(routing.keys(self._store, stored)))
        for key in keys:
            self._enqueue(key)
        self._last = self._clock.monotonic()
        self.rounds += 1
        RESYNCS.inc()
        log.info("resync", keys=len(keys), swept=len(swept))

    async def _sweep(self, kind: Kind) -> tuple[Stored[Any], ...]:
        before = self._store.uids(kind)
        seen = await self._kube.scan(kind, lambda raw: self._store.observe(kind, raw))
        return self._store.sweep(kind, before, seen)
