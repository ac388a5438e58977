"""The running operator: what is started in which order, and how it ends.

Everything shares one loop. Until this process leads it serves health and metrics and contends for
the Lease, nothing else: it neither lists nor watches. What it knows of the cluster is younger than
its Lease for that reason, so nothing that a former leader wrote is missing in it.

Then comes the first LIST; then the workers, the background tasks and, last, the watch. It ends in
the opposite order of trust: the workers finish the keys in hand, so that no intent is lost between
being written and being acted on, only then goes what they need, and last the Lease. A leader that
loses its Lease does not finish: the workers are cancelled, and the process ends.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

import structlog

from azpatch.reconcile.queue import Key, Result, WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.store import Store

WORKERS_STOP = timedelta(seconds=18)
"""Real time for the keys in hand: longer than a request that succeeds takes."""

ENGINE_STOP = timedelta(seconds=5)
"""Real time for the watch to end. With the workers', and the 3 s for the Lease, 26 s; a pod has 30
by default."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger(__name__)


class Leadership(Protocol):
    """The Lease: see `azpatch.kube.election.Election`."""

    @property
    def held(self) -> bool:
        """Whether this process leads at this moment."""
        ...

    async def acquire(self) -> None:
        """Until it is held."""
        ...

    async def keep(self) -> None:
        """Until it is lost."""
        ...

    async def release(self) -> None:
        """Gives it back."""
        ...


class Watch(Protocol):
    """See `azpatch.handlers.engine.Engine`."""

    async def run(self, started: Callable[[], None]) -> None:
        """Until `stop`; calls `started` once it watches."""
        ...

    def stop(self) -> None:
        """Begins its end."""
        ...


class Pages(Protocol):
    """See `azpatch.health.HealthServer`."""

    host: str
    port: int

    async def start(self) -> None:
        """Listens."""
        ...

    async def stop(self) -> None:
        """Ends it."""
        ...


class Reconcilers(Protocol):
    """What is done with a key, and what runs beside."""

    async def reconcile(self, key: Key) -> Result:
        """One reconcile."""
        ...

    async def run_background(self) -> None:
        """Runs until cancelled: the inventory's refreshers."""
        ...

    def health(self) -> Sequence[str]:
        """What stands still, in sentences."""
        ...

    async def close(self) -> None:
        """Ends the connections to Azure."""
        ...


class Runtime:
    """Runs the parts that the composition root made."""

    def __init__(
        self,
        *,
        election: Leadership,
        store: Store,
        queue: WorkQueue,
        resync: Resync,
        engine: Watch,
        reconcilers: Reconcilers,
        health: Pages,
        workers: int,
    ) -> None:
        self._election = election
        self._store = store
        self._queue = queue
        self._resync = resync
        self._engine = engine
        self._reconcilers = reconcilers
        self._health = health
        self._workers = workers
        self._stopping = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def run(self) -> None:
        """Until a signal, or `stop`. Raises LeaseLostError, or PartEndedError for what ended a part
        that should not end."""
        self._take_signals()
        await self._health.start()
        log.info("serving health and metrics", host=self._health.host, port=self._health.port)
        stop = self._start("stop", self._stopping.wait())
        try:
            acquired = self._start("acquire", self._election.acquire())
            await self._first_end(stop, acquired)
            if not self._stopping.is_set() and acquired.exception() is None:
                await self._lead(stop)
        finally:
            await self._end()
        self._raise_if_failed()
        log.info("stopped")

    async def _lead(self, stop: asyncio.Task[Any]) -> None:
        """From the Lease on until the end begins."""
        del self._tasks["acquire"]
        lost = self._start("lease", self._election.keep())
        self._start("resync", self._resync.run())
        synced = self._start("first list", self._store.wait_synced())
        await self._first_end(stop, lost, synced)
        self._tasks.pop("first list").cancel()
        if not self._stopping.is_set() and not lost.done():
            log.info("synced", workers=self._workers)
            self._start("queue", self._queue.run(self._workers, self._reconcilers.reconcile))
            self._start("background", self._reconcilers.run_background())
            self._start("watch", self._engine.run(started=self._take_signals))
            await self._first_end(stop)

    def stop(self) -> None:
        """Begins the end; a second signal kills."""
        if not self._stopping.is_set():
            log.info("stopping", keys_in_hand=self._queue.in_hand)
            self._stopping.set()
            _release_signals()

    def _take_signals(self) -> None:
        if not self._stopping.is_set():
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, self.stop)

    def _start(self, name: str, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = self._tasks[name] = asyncio.ensure_future(work)
        task.set_name(name)
        return task

    async def _first_end(self, *expected: asyncio.Task[Any]) -> None:
        """Until one of `expected` ends, or a part that should not."""
        parts = {*self._tasks.values(), *expected}
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)

    async def _end(self) -> None:
        self._stopping.set()
        _release_signals()
        await self._finish_keys()
        await self._cancel("background", "resync", "first list", "acquire")
        await self._reconcilers.close()
        if not self._lost:
            # Nothing is left that writes: another may begin.
            await self._cancel("lease")
            await self._election.release()
        await self._health.stop()
        # Last: kopf waits for, and then cancels, every task that is younger than itself.
        self._engine.stop()
        if "watch" in self._tasks:
            await asyncio.wait([self._tasks["watch"]], timeout=ENGINE_STOP.total_seconds())
        await self._cancel("watch", "queue", "stop")

    async def _finish_keys(self) -> None:
        """The workers finish what they have in hand; without the Lease they do not."""
        finished = asyncio.ensure_future(self._queue.stop(WORKERS_STOP))
        lease = self._tasks.get("lease", finished)
        await asyncio.wait({finished, lease}, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            await self._cancel("queue")
        await finished

    @property
    def _lost(self) -> bool:
        """The Lease was ours, and is not any more."""
        lease = self._tasks.get("lease")
        return lease is not None and lease.done() and not lease.cancelled()

    async def _cancel(self, *names: str) -> None:
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _raise_if_failed(self) -> None:
        for name, task in self._tasks.items():
            if not task.cancelled() and (error := task.exception()) is not None:
                raise PartEndedError(f"{name} ended") from error
        if self._lost:
            raise LeaseLostError("the Lease was lost: another replica works now")


class PartEndedError(Exception):
    """A part that runs for ever ended; its own error is the cause. The pod is to be restarted."""


class LeaseLostError(Exception):
    """Another may lead. What this process knows may be old, so it is to be restarted, too."""


def _release_signals() -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.remove_signal_handler(number)
