"""Objects read once more: one answer serves all who called before it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from azpatch.clock import SystemClock
from azpatch.kube.port import NAMESPACE, Kind, NotFound, Object, Unavailable
from azpatch.reconcile.queue import WorkQueue
from azpatch.reconcile.rereads import Rereads
from azpatch.reconcile.store import Store


class Server:
    """Answers when it is told to, with the version that it has when it is asked."""

    def __init__(self) -> None:
        self.version = 1
        self.asked = 0
        self.answers: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        self.asked += 1
        version = self.version
        error = await self.answers.get()
        if error is not None:
            raise error
        return {"metadata": {"name": name, "uid": "u", "resourceVersion": str(version)}}


class Case:
    def __init__(self) -> None:
        self.server: Any = Server()
        self.store = Store()
        self.rereads = Rereads(self.server, self.store, WorkQueue(SystemClock()))
        self.readers: list[asyncio.Task[None]] = []

    async def ask(self, readers: int = 1) -> None:
        for _ in range(readers):
            self.readers.append(asyncio.create_task(self.rereads.read(NAMESPACE, "", "web")))
        await asyncio.sleep(0)

    async def answer(self, error: Exception | None = None) -> None:
        self.server.answers.put_nowait(error)
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def ended(self) -> Sequence[bool]:
        return [reader.done() for reader in self.readers]

    @property
    def version(self) -> str:
        found = self.store.get(NAMESPACE, "", "web")
        return found.resource_version if found else ""


async def test_who_asks_while_a_read_is_on_its_way_waits_for_one_that_begins_later() -> None:
    case = Case()
    await case.ask()
    case.server.version = 2
    await case.ask(readers=3)
    await case.answer()
    assert case.ended == [True, False, False, False]
    assert (case.version, case.server.asked) == ("1", 2)
    await case.answer()
    assert case.ended == [True] * 4
    assert (case.version, case.server.asked) == ("2", 2)


async def test_who_asks_later_is_not_served_by_what_was_read_before() -> None:
    case = Case()
    await case.ask()
    await case.answer()
    case.server.version = 2
    await case.ask()
    await case.answer()
    assert (case.version, case.server.asked) == ("2", 2)


async def test_a_read_that_failed_serves_nobody() -> None:
    case = Case()
    await case.ask(readers=2)
    await case.answer(Unavailable("etcd is away"))
    assert case.ended == [True, False]
    with pytest.raises(Unavailable):
        await case.readers[0]
    await case.answer()
    await case.readers[1]
    assert case.server.asked == 2


async def test_that_an_object_is_not_there_is_an_answer() -> None:
    case = Case()
    await case.ask()
    await case.answer()
    await case.ask()
    await case.answer(NotFound("no such namespace"))
    await case.readers[1]
    assert case.version == ""


async def test_a_reader_that_is_cancelled_leaves_the_others_their_answer() -> None:
    case = Case()
    await case.ask(readers=2)
    case.readers[0].cancel()
    await asyncio.sleep(0)
    await case.answer()
    assert case.readers[0].cancelled()
    await case.readers[1]
    assert case.version == "1"
