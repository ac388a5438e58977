"""Objects read once more from the API server, by many at a time with few requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import count

from azpatch.kube.port import Kind, Kube, NotFound
from azpatch.reconcile import routing
from azpatch.reconcile.queue import WorkQueue
from azpatch.reconcile.store import Store


class Rereads:
    """One per process."""

    def __init__(self, kube: Kube, store: Store, queue: WorkQueue) -> None:
        self._kube = kube
        self._store = store
        self._queue = queue
        self._order = count()
        self._began: dict[tuple[Kind, str, str], int] = {}
        """When the last read of an object that was answered began, in the order of calls."""
        self._locks: defaultdict[tuple[Kind, str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, kind: Kind, namespace: str, name: str) -> None:
        """Asks the API server for an object and takes the answer in. Raises KubeError; that it is
        not there is an answer.

        One answer serves all who called before it was asked for.
        """
        index = (kind, namespace, name)
        called = next(self._order)
        async with self._locks[index]:
            if self._began.get(index, -1) > called:
                return
            began = next(self._order)
            await self._read(*index)
            self._began[index] = began

    async def _read(self, kind: Kind, namespace: str, name: str) -> None:
        """What is news wakes whom it concerns: the watch, when it tells the same, will be taken for
        an echo."""
        known = self._store.get(kind, namespace, name)
        try:
            raw = await self._kube.get(kind, name, namespace)
        except NotFound:
            news = known is not None and self._store.forget(kind, namespace, name, known.uid)
        else:
            news = self._store.observe(kind, raw)
            known = self._store.get(kind, namespace, name)
        if news and known is not None:
            for key in routing.keys(self._store, known):
                self._queue.add(key)
