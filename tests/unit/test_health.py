"""/healthz tells whether work moves, /readyz whether it may begin."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from azpatch import health
from azpatch.kube.port import WATCHED, Kind, Object, Unavailable
from azpatch.reconcile.queue import Key, Result, WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.store import Store

INTERVAL = timedelta(minutes=5)


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def elapsed(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.Event().wait()


class AbsentCluster:
    """Does not answer."""

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        raise Unavailable("no answer")


class EmptyCluster:
    """Lists nothing."""

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        return ()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_an_idle_queue_stands_not_still(clock: SetClock) -> None:
    queue = WorkQueue(clock)
    clock.seconds = 100_000
    assert health.standstill(queue) == []


@pytest.mark.parametrize(
    ("minutes", "problems"), [pytest.param(9, 0, id="slow"), pytest.param(11, 1, id="stuck")]
)
async def test_a_key_in_hand_too_long_is_a_standstill(
    clock: SetClock, minutes: int, problems: int
) -> None:
    queue = WorkQueue(clock)

    async def hangs(_key: Key) -> Result:
        await asyncio.Event().wait()
        return Result()

    queue.add(Key("PatchTarget", "web", "web-1"))
    running = asyncio.create_task(queue.run(1, hangs))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.seconds = minutes * 60
    found = health.standstill(queue)
    assert len(found) == problems
    assert all("PatchTarget/web/web-1" in problem for problem in found)
    await queue.stop(timedelta(0))
    await running


async def test_three_missed_resyncs_are_too_many(clock: SetClock) -> None:
    store = Store()
    resync = Resync(EmptyCluster(), store, lambda _: None, clock, Random(1), INTERVAL)
    await resync.once()
    clock.seconds = 14 * 60
    assert health.overdue(resync, INTERVAL) == []
    clock.seconds = 16 * 60
    assert "960 s ago" in health.overdue(resync, INTERVAL)[0]
    await resync.once()
    assert health.overdue(resync, INTERVAL) == []


def test_a_replica_that_does_not_lead_misses_no_resync(clock: SetClock) -> None:
    resync = Resync(EmptyCluster(), Store(), lambda _: None, clock, Random(1), INTERVAL)
    clock.seconds = 1000 * 60
    assert health.overdue(resync, INTERVAL) == []


async def test_a_leader_whose_first_lists_fail_misses_resyncs(clock: SetClock) -> None:
    clock.seconds = 1000 * 60
    resync = Resync(AbsentCluster(), Store(), lambda _: None, clock, Random(1), INTERVAL)
    running = asyncio.create_task(resync.run())
    await asyncio.sleep(0)
    assert health.overdue(resync, INTERVAL) == []
    clock.seconds += 16 * 60
    assert health.overdue(resync, INTERVAL)
    running.cancel()


@dataclass
class Lease:
    """What health asks of the election."""

    contends: bool
    held: bool = False


@pytest.mark.parametrize(
    ("lease", "synced", "ready"),
    [
        pytest.param(Lease(contends=False), False, False, id="the Lease was not read yet"),
        pytest.param(Lease(contends=True), False, True, id="a standby that could take over"),
        pytest.param(Lease(contends=True, held=True), False, False, id="a leader that lists"),
        pytest.param(Lease(contends=True, held=True), True, True, id="a leader that works"),
    ],
)
def test_ready_is_a_standby_that_contends_and_a_leader_that_listed(
    lease: Lease, synced: bool, ready: bool
) -> None:
    store = Store()
    for kind in WATCHED if synced else ():
        store.sweep(kind, frozenset(), [])
    assert (health.unready(lease, store) == []) is ready


class TestPages:
    """What a kubelet and Prometheus get."""

    @pytest.fixture
    def problems(self) -> list[str]:
        return []

    @pytest.fixture
    async def url(self, problems: list[str]) -> AsyncIterator[str]:
        registry = CollectorRegistry()
        Counter("azpatch_things", "Things.", registry=registry).inc()
        app = health.application(lambda: problems, lambda: problems, registry)
        server = health.HealthServer(app, "127.0.0.1", 0)
        await server.start()
        yield f"http://{server.host}:{server.port}"
        await server.stop()

    @pytest.mark.parametrize("page", ["/healthz", "/readyz"])
    async def test_green_and_red(self, url: str, problems: list[str], page: str) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(url + page) as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            problems.append("PatchTarget/web/web-1 has been in hand for 700 s")
            async with session.get(url + page) as answer:
                assert answer.status == 503
                assert problems[0] in await answer.text()

    async def test_metrics_are_prometheus_text(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(url + "/metrics") as answer:
            assert answer.status == 200
            assert answer.content_type == "text/plain"
            assert "azpatch_things_total 1.0" in await answer.text()
