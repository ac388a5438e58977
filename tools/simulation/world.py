"""One simulated cluster, one simulated Azure, and the processes that run between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from datetime import datetime, timedelta
from itertools import count
from random import Random
from uuid import UUID

from azpatch.kube.port import AZURE_SUBSCRIPTION, NAMESPACE, PATCH_POLICY, Kind, Object
from azsim import fleetfile
from azsim.cloud import Cloud
from azsim.edge import build_router
from azsim.journal import Entry, Journal
from simulation import fleets, matrices
from simulation.apiserver import CONFIG_MAP, ApiServer, WatchEvent
from simulation.graph import DirectGraph
from simulation.heard import Heard
from simulation.kube import HOME, KubeFate, SimulatedKube, SimulatedWatch
from simulation.loop import VirtualLoop
from simulation.operator_process import OperatorProcess, ProcessClock
from simulation.story import Story
from simulation.trouble import KubeTrouble, fate
from simulation.wire import TRAVEL, Wire

RESTART_AFTER = 5.0
"""Seconds until the kubelet starts a process anew that ended by itself."""

GARBAGE_AFTER = 2.0
"""Seconds until the garbage collector sees what has lost its owner."""


def config_map(name: str, text: str) -> Object:
    """A ConfigMap with an organisation's own support matrix."""
    return {"metadata": {"name": name, "namespace": HOME}, "data": {matrices.KEY: text}}


class LoopClock:
    """azsim's clock: it never jumps."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime) -> None:
        self._loop = loop
        self.start = start

    def now(self) -> datetime:
        """The true time."""
        return self.start + timedelta(seconds=self._loop.time())


class LiveJournal(Journal):
    """azsim's journal, which tells of each entry as it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[Entry], None]] = []

    def _append(self, entry: Entry) -> None:
        super()._append(entry)
        for listener in self.listeners:
            listener(entry)


class LiveCloud(Cloud):
    """azsim's core, in which what is due happens by itself."""

    clock: LoopClock

    def schedule(self, at: datetime, action: Callable[[], None]) -> None:
        """See Cloud."""
        super().schedule(at, action)
        loop = asyncio.get_running_loop()
        loop.call_at((at - self.clock.start).total_seconds(), self._due, context=Context())

    def _due(self) -> None:
        self.advance(self.clock.now())


class World:
    """See the module."""

    def __init__(self, seed: int, fleet: fleets.Fleet, inventory_interval: timedelta) -> None:
        self.seed = seed
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.clock = LoopClock(self.loop, fleet.start)
        self.story = Story(self.clock.now)
        self.journal = LiveJournal()
        self.fleet = fleet
        self.cloud = LiveCloud(
            fleetfile.build(fleet.azure),
            self.clock,
            self.random("azure"),
            self.journal,
            build_router(DirectGraph()),
        )
        self.api = ApiServer(self.clock.now)
        self.processes: list[OperatorProcess] = []
        self.kube_trouble: list[KubeTrouble] = []
        self.askers: list[Callable[[Kind, Object, Heard], None]] = []
        """Told of each object that an operator asks for, as it asks, and of what it was told."""
        self.deleted_by_hand: set[str] = set()
        """uids of PatchTargets and PatchRuns."""
        self.one_time = 0
        """How many runs people made."""
        self.clock_errors = {timedelta(0)}
        """By how much an operator's wall clock was ever wrong."""
        self.request_ids = map(UUID, map("{:032x}".format, count(1)))
        """Of requests to which the operator gives none of its own. azure-core's would be of the
        computer and its time: dear, and others each time that a seed runs."""
        self.ended = asyncio.Event()
        """Set when there is no point in going on."""
        self._interval = inventory_interval
        for name in (HOME, *fleets.NAMESPACES):
            self.api.create(NAMESPACE, {"metadata": {"name": name}})
        for name, text in fleet.matrices.items():
            self.api.create(CONFIG_MAP, config_map(name, text))
        for subscription in fleet.subscriptions:
            self.api.create(AZURE_SUBSCRIPTION, subscription)
        for policy in fleet.policies:
            self.api.create(PATCH_POLICY, policy)
        self.api.watchers.append(self._deleted)

    def random(self, *what: object) -> Random:
        """A source of its own for each purpose: what one draws does not move another."""
        return Random("/".join(map(str, (self.seed, *what))))

    def start_operator(self) -> OperatorProcess:
        """One more process."""
        name = f"operator{len(self.processes) + 1}"
        clock = ProcessClock(self.loop, self.fleet.start)
        lags, heard = self.random(name, "watch"), Heard(self.loop.on_error)
        process = OperatorProcess(
            name,
            kube=SimulatedKube(
                self.api,
                self,
                SECRETS,
                lambda what: self.story.tell(name, what),
                heard,
                self._asks,
            ),
            watch=lambda store, enqueue, context: SimulatedWatch(
                self.api, store, enqueue, lambda: lags.uniform(0.001, 0.05), context, heard
            ),
            wire=lambda: Wire(self.cloud, lambda: TRAVEL),
            clock=clock,
            random=self.random(name),
            inventory_interval=self._interval,
            pace=self.fleet.pace,
            ended=lambda why: self._exited(name, why),
        )
        self.processes.append(process)
        process.start()
        return process

    def _asks(self, kind: Kind, body: Object, heard: Heard) -> None:
        """On the stack of who asks, whose error it must not be."""
        try:
            for listener in self.askers:
                listener(kind, body, heard)
        except (LookupError, TypeError, ValueError) as error:
            self.loop.on_error(error)

    def living(self) -> list[OperatorProcess]:
        """The processes that are not dead, stopped ones too."""
        return [process for process in self.processes if process.process.alive]

    def restart_later(self, seconds: float) -> None:
        """A process dies, or will; the kubelet starts another some time after."""
        self.loop.call_later(seconds, self._restart, context=Context())

    def _exited(self, name: str, why: str) -> None:
        self.story.tell(name, f"exits: {why}")
        self.restart_later(RESTART_AFTER)

    def _restart(self) -> None:
        if not self.living():
            self.start_operator()
        elif any(process.process.dies_at is not None for process in self.living()):
            self.restart_later(5)

    def to_kube(self, verb: str, kind: Kind) -> KubeFate:
        """What becomes of a request to the API server."""
        self.kube_trouble = [trouble for trouble in self.kube_trouble if trouble.count > 0]
        return fate(self.kube_trouble, verb)

    def _deleted(self, event: WatchEvent) -> None:
        """What is left behind by what was deleted is collected a little later."""
        if event.change == "DELETED" or event.object["metadata"].get("deletionTimestamp"):
            self.loop.call_later(GARBAGE_AFTER, self.api.collect_garbage, context=Context())


SECRETS: dict[str, dict[str, bytes]] = {
    fleets.SECRET_NAME: {"AZURE_CLIENT_SECRET": fleets.OPERATOR_SECRET.encode()}
}
