"""The way from one process to the API server and back: delays, losses, a watch that lags.

`SimulatedKube` is the port. A request travels, is carried out, and its answer travels back; the
request of a process that dies meanwhile arrives all the same. `SimulatedWatch` feeds `take_in`, as
kopf does: in order, late, and after a cut from a new listing, which shows no deletion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from azpatch.handlers.events import take_in
from azpatch.kube.port import WATCHED, Conflict, Kind, KubeError, NotFound, Object, Unavailable
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Store
from simulation.apiserver import CONFIG_MAP, LEASE, ApiServer, WatchEvent
from simulation.heard import Heard

AnswerT = TypeVar("AnswerT")

HOME = "azpatch-system"
"""The operator's own namespace."""

TIMEOUT = 60.0
"""Seconds after which the client gives a request up, as the real one does."""


class Weather(Protocol):
    """What the network does to requests to the API server."""

    def to_kube(self, verb: str, kind: Kind) -> KubeFate:
        """What becomes of one request."""
        ...


class KubeFate:
    """What becomes of one request to the API server."""

    def __init__(
        self,
        there: float = 0.002,
        back: float = 0.002,
        *,
        refused: KubeError | None = None,
        lost: bool = False,
        answer_lost: bool = False,
    ) -> None:
        self.there = there
        """Seconds until it arrives."""
        self.back = back
        self.refused = refused
        """Answered in place of the API server."""
        self.lost = lost
        """It never arrives."""
        self.answer_lost = answer_lost
        """It is carried out, and nobody hears of it."""


class SimulatedKube:
    """Implements `azpatch.kube.port.Kube`, for one process."""

    def __init__(
        self,
        server: ApiServer,
        weather: Weather,
        secrets: Mapping[str, Mapping[str, bytes]],
        tell: Callable[[str], None],
        heard: Heard,
        asked: Callable[[Kind, Object, Heard], None] = lambda _kind, _body, _heard: None,
    ) -> None:
        self._server = server
        self._weather = weather
        self._secrets = secrets
        self._tell = tell
        self._heard = heard
        self._asked = asked
        """Told what is to be made, as it is asked for."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """See Kube."""
        return self._hear(
            kind,
            await self._request("get", kind, lambda: self._server.get(kind, namespace, name)),
        )

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        """See Kube."""
        listed = await self._request("list", kind, lambda: self._server.list(kind))
        for raw in listed:
            self._heard.hear(kind, raw)
            take(raw)
        return {raw["metadata"]["uid"] for raw in listed}

    async def create(self, kind: Kind, body: Object) -> Object:
        """See Kube."""
        self._asked(kind, body, self._heard)
        return self._hear(
            kind, await self._request("create", kind, lambda: self._server.create(kind, body))
        )

    async def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        """See Kube."""
        return self._hear(
            kind,
            await self._request(
                "status", kind, lambda: self._server.replace_status(kind, base, status)
            ),
        )

    async def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        """See Kube."""
        return await self._request(
            "finalizers", kind, lambda: self._server.set_finalizers(kind, base, finalizers)
        )

    async def delete(self, kind: Kind, base: Object) -> None:
        """See Kube."""
        meta = base["metadata"]

        def delete() -> None:
            self._server.delete(
                kind, str(meta.get("namespace") or ""), meta["name"], uid=meta["uid"]
            )

        with suppress(NotFound, Conflict):
            # Gone already; or another object has its name.
            await self._request("delete", kind, delete)

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """See Kube."""
        if name not in self._secrets:
            raise NotFound(f'secrets "{name}" not found')
        return self._secrets[name]

    async def config_map(self, name: str) -> Mapping[str, str]:
        """See Kube."""
        found = await self.get(CONFIG_MAP, name, HOME)
        data: Mapping[str, str] = found["data"]
        return data

    async def get_lease(self, name: str) -> Object:
        """See Leases."""
        return await self.get(LEASE, name, HOME)

    async def create_lease(self, name: str, spec: Mapping[str, Any]) -> Object:
        """See Leases."""
        body = {"metadata": {"name": name, "namespace": HOME}, "spec": dict(spec)}
        return await self.create(LEASE, body)

    async def replace_lease(self, base: Object, spec: Mapping[str, Any]) -> Object:
        """See Leases."""
        return await self._request("lease", LEASE, lambda: self._server.replace(LEASE, base, spec))

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        """See Kube."""
        self._tell(f"Event {'Warning' if warning else 'Normal'} {reason}: {note}")

    def _hear(self, kind: Kind, answer: Object) -> Object:
        self._heard.hear(kind, answer)
        return answer

    async def _request(self, verb: str, kind: Kind, act: Callable[[], AnswerT]) -> AnswerT:
        """Carries `act` out at the other side, whatever becomes of who asked."""
        fate = self._weather.to_kube(verb, kind)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[AnswerT] = loop.create_future()

        def arrive() -> None:
            try:
                if fate.refused is not None:
                    raise fate.refused
                result = act()
            except KubeError as error:
                self._deliver(fate, partial(answer.set_exception, error), answer)
            else:
                self._deliver(fate, partial(answer.set_result, result), answer)

        if not fate.lost:
            # In a context of nobody's: a request that has left does not die with its sender.
            loop.call_later(fate.there, arrive, context=Context())
        try:
            async with asyncio.timeout(TIMEOUT):
                return await answer
        except TimeoutError:
            raise Unavailable("no answer from the API server: TimeoutError") from None

    def _deliver(
        self, fate: KubeFate, give: Callable[[], None], answer: asyncio.Future[Any]
    ) -> None:
        def arrived() -> None:
            if not answer.done():
                give()

        if fate.answer_lost:
            lost = Unavailable("no answer from the API server: connection lost")

            def give() -> None:
                answer.set_exception(lost)

        asyncio.get_running_loop().call_later(fate.back, arrived, context=Context())


class SimulatedWatch:
    """One process's watches, one stream a kind."""

    def __init__(
        self,
        server: ApiServer,
        store: Store,
        enqueue: Callable[[Key], None],
        lag: Callable[[], float],
        context: Context,
        heard: Heard,
    ) -> None:
        self._server = server
        self._heard = heard
        self._store = store
        self._enqueue = enqueue
        self._lag = lag
        # The process's: what arrives at a dead process is not taken in.
        self._context = context
        self._until: dict[Kind, float] = {}
        """When the newest event of each stream arrives."""
        self._epoch: dict[Kind, int] = {}
        self._down: set[Kind] = set()
        self._stopped = asyncio.Event()

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Until `stop`."""
        for kind in WATCHED:
            self._list(kind)
        self._server.watchers.append(self._happened)
        started()
        try:
            await self._stopped.wait()
        finally:
            self.abandon()

    def stop(self) -> None:
        """Ends it."""
        self._stopped.set()

    def abandon(self) -> None:
        """Its process is dead."""
        if self._happened in self._server.watchers:
            self._server.watchers.remove(self._happened)

    def cut(self, back_after: timedelta) -> None:
        """Every stream breaks; what happens until they are back is not seen as it happens."""
        loop = asyncio.get_running_loop()
        for kind in WATCHED:
            self._down.add(kind)
            self._epoch[kind] = self._epoch.get(kind, 0) + 1
            loop.call_later(back_after.total_seconds(), self._back, kind)

    def _back(self, kind: Kind) -> None:
        if kind in self._down:
            self._down.remove(kind)
            self._list(kind)

    def _list(self, kind: Kind) -> None:
        for raw in self._server.list(kind):
            self._send(None, kind, raw)

    def _happened(self, event: WatchEvent) -> None:
        if event.kind in WATCHED and event.kind not in self._down:
            self._send(event.change, event.kind, event.object)

    def _send(self, change: str | None, kind: Kind, raw: Object) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time() + self._lag(), self._until.get(kind, 0.0))
        self._until[kind] = at
        epoch = self._epoch.get(kind, 0)

        def arrive() -> None:
            if self._epoch.get(kind, 0) == epoch:
                self._heard.hear(kind, raw)
                event = cast(Any, {"type": change, "object": raw})
                take_in(kind, event, self._store, self._enqueue)

        loop.call_at(at, arrive, context=self._context)
