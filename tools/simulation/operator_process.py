"""One process of the operator: the parts that `azpatch.operate` composes, on simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Protocol

from prometheus_client import CollectorRegistry

from azpatch.azure.client import SdkAzureClients
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.metrics import AzureMetrics
from azpatch.kube.election import LEASE_NAME, Election
from azpatch.kube.port import Kube, Leases
from azpatch.reconcile.operator import build
from azpatch.reconcile.queue import WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.routing import owner
from azpatch.reconcile.store import Store
from azpatch.runtime import Runtime
from simulation.kube import SimulatedWatch
from simulation.loop import PROCESS, Process
from simulation.pace import Pace
from simulation.wire import HOST, Wire

CLOUD = CloudSettings(f"https://{HOST}", f"https://{HOST}")
WORKERS = 4


class ProcessClock:
    """The clock of the computer that a process runs on. Its wall clock may jump."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime) -> None:
        self._loop = loop
        self._start = start
        self.wrong_by = timedelta(0)

    def now(self) -> datetime:
        """What the wall clock says."""
        return self._start + timedelta(seconds=self._loop.time()) + self.wrong_by

    def monotonic(self) -> float:
        """Seconds, never jumping."""
        return self._loop.time()

    def elapsed(self) -> timedelta:
        """Azure's time, never jumping."""
        return timedelta(seconds=self._loop.time())

    async def sleep(self, duration: timedelta) -> None:
        """Waits."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))


class Ports(Kube, Leases, Protocol):
    """The API server, whole."""


class Silence:
    """In place of the health server: nobody asks."""

    def __init__(self) -> None:
        self.host, self.port = "nowhere", 0

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


class OperatorProcess:
    """From its start to its end. `ended` is called when it ends by itself."""

    def __init__(
        self,
        name: str,
        *,
        kube: Ports,
        watch: Callable[..., SimulatedWatch],
        wire: Callable[[], Wire],
        clock: ProcessClock,
        random: Random,
        inventory_interval: timedelta,
        pace: Pace,
        ended: Callable[[str], None],
    ) -> None:
        self.process = Process(name)
        self.clock = clock
        self._context = copy_context()
        self._context.run(PROCESS.set, self.process)
        self._ended = ended
        store = Store()
        queue = WorkQueue(clock, random, partial(owner, store))
        self.watch = watch(store, queue.add, self._context.copy())
        self.process.on_death = self.watch.abandon
        self._election = Election(kube, clock, random, name, LEASE_NAME, pace.lease, clock.now)
        self._runtime = Runtime(
            election=self._election,
            store=store,
            queue=queue,
            resync=Resync(kube, store, queue.add, clock, random, pace.resync),
            engine=self.watch,
            reconcilers=build(
                clock=clock,
                random=random,
                kube=kube,
                azure=SdkAzureClients(CLOUD, clock, AzureMetrics(CollectorRegistry()), wire),
                store=store,
                queue=queue,
                inventory_interval=inventory_interval,
                leading=lambda: self._election.held,
            ),
            health=Silence(),
            workers=WORKERS,
        )
        self._main: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether it holds the Lease, as it believes."""
        return self._election.held

    def start(self) -> None:
        """Begins."""
        self._main = asyncio.get_running_loop().create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        try:
            await self._runtime.run()
        except Exception as error:
            cause = error.__cause__ or error
            why = f"{type(cause).__name__}: {cause}"
        else:
            why = "it ended"
        self.process.kill()
        self._ended(why)
