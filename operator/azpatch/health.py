"""/healthz, /readyz and /metrics.

Alive means that work moves: no key stands still and everything is listed now and then. A loop that
merely turns proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from azpatch.reconcile.queue import WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.store import Store

STANDSTILL = timedelta(minutes=10)
"""Real time that one key may wait or be in hand: more than any call's timeouts and repeats take."""

RESYNCS_MISSED = 3
"""Intervals without a resync: one may fail with the API server, three do not."""

Problems = Callable[[], Sequence[str]]
"""What is wrong now, in sentences; empty when nothing is."""


def standstill(queue: WorkQueue) -> list[str]:
    """A problem if the queue does not move."""
    oldest = queue.oldest_waiting()
    if oldest is None or oldest.seconds < STANDSTILL.total_seconds():
        return []
    return [f"{oldest.key} has been waiting or in hand for {oldest.seconds:.0f} s"]


def overdue(resync: Resync, interval: timedelta) -> list[str]:
    """A problem if resyncs fail to come."""
    limit = max(interval * RESYNCS_MISSED, timedelta(minutes=1))
    if resync.age < limit.total_seconds():
        return []
    return [f"the last resync was {resync.age:.0f} s ago, the limit is {limit}"]


class Lease(Protocol):
    """What `azpatch.kube.election.Election` knows."""

    @property
    def contends(self) -> bool:
        """Whether it could be read, once."""
        ...

    @property
    def held(self) -> bool:
        """Whether this process leads."""
        ...


def unready(election: Lease, store: Store) -> list[str]:
    """A problem of a standby until it contends, of a leader until the first LIST is in.

    A standby that contends can reach the API server, may write the Lease and is there to take over:
    all that a rolling update should wait for before it ends the pod that leads.
    """
    if not election.contends:
        return ["the Lease could not be read yet"]
    if election.held and not store.is_synced:
        return ["the first LIST is not in"]
    return []


def application(alive: Problems, ready: Problems, registry: CollectorRegistry) -> web.Application:
    """The three pages: 200 and `ok`, or 503 and the problems, one a line."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(ready())

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


class HealthServer:
    """Serves the pages."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        # Its own access log would say every probe; one that hangs must not hold up the end.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        self.host = host
        """What it listens on; after `start`, `port` is the one it got."""
        self.port = port

    async def start(self) -> None:
        """Listens; port 0 asks for any that is free."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Ends it."""
        await self._runner.cleanup()


def _answer(problems: Sequence[str]) -> web.Response:
    if not problems:
        return web.Response(text="ok\n")
    return web.Response(status=503, text="".join(f"{problem}\n" for problem in problems))
