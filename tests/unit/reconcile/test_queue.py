"""The work queue, in virtual time."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from prometheus_client import REGISTRY

from azpatch.kube.port import Conflict, Unavailable
from azpatch.reconcile.queue import (
    FIRST_BACKOFF,
    LONGEST_BACKOFF,
    Key,
    OwnerOf,
    Result,
    Turns,
    WorkQueue,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
A = Key("PatchTarget", "web", "a")
B = Key("PatchTarget", "web", "b")
POLICY = Key("PatchPolicy", "web", "p")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class VirtualClock:
    """Time that passes when `advance` says so."""

    def __init__(self) -> None:
        self._now = START
        self.wrong_by = timedelta(0)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return self._now + self.wrong_by

    def monotonic(self) -> float:
        return (self._now - START).total_seconds()

    def elapsed(self) -> timedelta:
        return self._now - START

    async def sleep(self, duration: timedelta) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + duration, self._count, future))
        await future

    async def advance(self, by: timedelta) -> None:
        end = self._now + by
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._now = max(due, self._now)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now = end
        await settle()


async def settle() -> None:
    """Lets every task run until it waits for time or for another."""
    for _ in range(30):
        await asyncio.sleep(0)


class Harness:
    """A queue whose reconciles are noted, and do what the test says."""

    def __init__(self, owner_of: OwnerOf = lambda key: None) -> None:
        self.clock = VirtualClock()
        self.queue = WorkQueue(self.clock, Random(1), owner_of)
        self.runs: list[tuple[Key, float]] = []
        self.behaviour: Callable[[Key], Coroutine[Any, Any, Result]] | None = None

    async def reconcile(self, key: Key) -> Result:
        self.runs.append((key, self.clock.monotonic()))
        return await self.behaviour(key) if self.behaviour else Result()

    @property
    def times(self) -> list[float]:
        return [when for _, when in self.runs]

    @property
    def keys(self) -> list[Key]:
        return [key for key, _ in self.runs]

    @asynccontextmanager
    async def running(self, workers: int = 1) -> AsyncIterator["Harness"]:
        task = asyncio.create_task(self.queue.run(workers, self.reconcile))
        await settle()
        try:
            yield self
        finally:
            await self.queue.stop(timedelta(0))
            await task


class Gate:
    """A reconcile that lasts until the test opens it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.inside = 0
        self.most = 0

    async def __call__(self, _key: Key) -> Result:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.opened.wait()
        self.inside -= 1
        return Result()


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def test_a_key_added_many_times_is_reconciled_once(harness: Harness) -> None:
    for _ in range(5):
        harness.queue.add(A)
    assert len(harness.queue) == 1
    async with harness.running():
        await settle()
    assert harness.keys == [A]


async def test_keys_are_reconciled_in_the_order_in_which_they_came(harness: Harness) -> None:
    keys = [Key("PatchPolicy", "web", str(number)) for number in (3, 1, 2)]
    for key in keys:
        harness.queue.add(key)
    async with harness.running():
        await settle()
    assert harness.keys == keys


async def test_owners_take_turns_and_each_ones_keys_keep_their_order() -> None:
    """A machine of another policy does not wait for a whole wave."""
    harness = Harness(owner_of=lambda key: key.namespace)
    wave = [Key("PatchTarget", "wave", f"vm-{number}") for number in range(9)]
    late = [Key("PatchTarget", "late", f"vm-{number}") for number in range(3)]

    async def others_come(key: Key) -> Result:
        for one in late if key == wave[4] else ():
            harness.queue.add(one)
        return Result()

    harness.behaviour = others_come
    for key in wave:
        harness.queue.add(key)
    async with harness.running():
        await settle()
    assert harness.keys == [
        *wave[:5],
        *(late[0], wave[5]),
        *(late[1], wave[6]),
        *(late[2], wave[7]),
        wave[8],
    ]


async def test_turns_are_not_saved_up() -> None:
    """Nor is who was served long ago remembered."""
    turns = Turns()
    assert [turns.take("one") for _ in range(3)] == [0, 1, 2]
    turns.reached(2)
    assert (turns.take("two"), turns.take("one"), turns.take("two")) == (2, 3, 3)
    turns.reached(90)
    assert turns.take("one") == 90


async def test_a_thousand_keys_with_nothing_to_do_give_way_to_the_rest_of_the_process(
    harness: Harness,
) -> None:
    keys = [Key("PatchTarget", "web", f"vm-{number}") for number in range(1000)]
    async with harness.running(workers=2):
        for key in keys:
            harness.queue.add(key)
        done = [len(harness.runs)]
        while done[-1] < len(keys):
            await asyncio.sleep(0)
            done.append(len(harness.runs))
    turns = [later - earlier for earlier, later in pairwise(done)]
    assert max(turns) <= 2, "each worker does one at a time"


async def test_a_policy_comes_before_the_machines_that_wait(harness: Harness) -> None:
    for key in (A, B, POLICY):
        harness.queue.add(key)
    async with harness.running():
        await settle()
    assert harness.keys == [POLICY, A, B]


@pytest.mark.parametrize(
    ("key", "lasts", "expected"),
    [
        pytest.param(POLICY, 0.5, [0, 2.5], id="a policy rests four times as long as it ran"),
        pytest.param(POLICY, 0.125, [0, 1.125], id="a second at least"),
        pytest.param(POLICY, 10, [0, 15], id="but no longer than five seconds"),
        pytest.param(A, 0.5, [0, 0.5], id="a machine does not rest"),
    ],
)
async def test_what_changes_during_a_run_is_looked_at_after_a_rest(
    harness: Harness, key: Key, lasts: float, expected: list[float]
) -> None:
    async def long(_key: Key) -> Result:
        await harness.clock.sleep(timedelta(seconds=lasts))
        return Result()

    harness.behaviour = long
    async with harness.running():
        harness.queue.add(key)
        await harness.clock.advance(timedelta(seconds=lasts / 2))
        harness.queue.add(key)
        await harness.clock.advance(MINUTE)
    assert harness.times == expected


async def test_many_changes_while_a_policy_rests_are_one_run(harness: Harness) -> None:
    async def a_second(_key: Key) -> Result:
        await harness.clock.sleep(SECOND)
        return Result(requeue_after=30 * SECOND)

    harness.behaviour = a_second
    async with harness.running():
        harness.queue.add(POLICY)
        await harness.clock.advance(2 * SECOND)
        for _ in range(10):
            harness.queue.add(POLICY)
            await harness.clock.advance(SECOND / 10)
        await harness.clock.advance(20 * SECOND)
    assert harness.times == [0, 5]


async def test_a_policy_that_has_rested_begins_at_once(harness: Harness) -> None:
    async def a_second(_key: Key) -> Result:
        await harness.clock.sleep(SECOND)
        return Result()

    harness.behaviour = a_second
    async with harness.running():
        harness.queue.add(POLICY)
        await harness.clock.advance(20 * SECOND)
        harness.queue.add(POLICY)
        await harness.clock.advance(20 * SECOND)
    assert harness.times == [0, 20]


async def test_a_key_in_hand_is_run_again_afterwards_and_never_twice_at_once(
    harness: Harness,
) -> None:
    harness.behaviour = gate = Gate()
    async with harness.running(workers=4):
        harness.queue.add(A)
        await settle()
        harness.queue.add(A)
        harness.queue.add(A)
        await settle()
        assert harness.keys == [A]
        gate.opened.set()
        await settle()
    assert harness.keys == [A, A]
    assert gate.most == 1


async def test_no_more_than_the_workers_are_at_work(harness: Harness) -> None:
    harness.behaviour = gate = Gate()
    async with harness.running(workers=3):
        for number in range(10):
            harness.queue.add(Key("PatchTarget", "web", str(number)))
        await settle()
        assert gate.inside == 3
        assert (harness.queue.in_hand, len(harness.queue)) == (3, 7)
        gate.opened.set()
        await settle()
    assert len(harness.runs) == 10
    assert gate.most == 3


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        pytest.param([10], [10], id="one appointment"),
        pytest.param([10, 5], [5], id="an earlier one replaces it"),
        pytest.param([5, 10], [5], id="a later one is dropped"),
        pytest.param([0], [0], id="no delay is now"),
        pytest.param([-1], [0], id="the past is now"),
    ],
)
async def test_the_earliest_appointment_counts(
    harness: Harness, delays: list[int], expected: list[float]
) -> None:
    async with harness.running():
        for delay in delays:
            harness.queue.add_after(A, timedelta(seconds=delay))
        await harness.clock.advance(MINUTE)
    assert harness.times == expected


async def test_add_brings_an_appointment_forward(harness: Harness) -> None:
    async with harness.running():
        harness.queue.add_after(A, MINUTE)
        await harness.clock.advance(SECOND)
        harness.queue.add(A)
        await harness.clock.advance(2 * MINUTE)
    assert harness.times == [1]
    assert harness.queue.due(A) is None


async def test_appointments_made_while_another_is_waited_for_are_kept(harness: Harness) -> None:
    async with harness.running():
        harness.queue.add_after(A, 30 * SECOND)
        await harness.clock.advance(SECOND)
        harness.queue.add_after(B, 9 * SECOND)
        await harness.clock.advance(MINUTE)
    assert harness.runs == [(B, 10), (A, 30)]


async def test_a_result_requeues_its_key(harness: Harness) -> None:
    async def every_twenty_seconds(_key: Key) -> Result:
        return Result(requeue_after=20 * SECOND)

    harness.behaviour = every_twenty_seconds
    async with harness.running():
        harness.queue.add(A)
        await harness.clock.advance(MINUTE)
    assert harness.times == [0, 20, 40, 60]


async def test_a_change_while_in_hand_outruns_the_requeue(harness: Harness) -> None:
    async def later(_key: Key) -> Result:
        if len(harness.runs) == 1:
            harness.queue.add(A)
            return Result(requeue_after=MINUTE)
        return Result()

    harness.behaviour = later
    async with harness.running():
        harness.queue.add(A)
        await harness.clock.advance(2 * MINUTE)
    assert harness.times == [0, 0]


async def test_failures_back_off_from_a_second_to_five_minutes(harness: Harness) -> None:
    async def fails(_key: Key) -> Result:
        raise Conflict("somebody wrote first")

    harness.behaviour = fails
    async with harness.running():
        harness.queue.add(A)
        await harness.clock.advance(timedelta(hours=2))
    waits = [
        later - earlier for earlier, later in zip(harness.times, harness.times[1:], strict=False)
    ]
    for number, wait in enumerate(waits):
        longest = min(FIRST_BACKOFF.total_seconds() * 2**number, LONGEST_BACKOFF.total_seconds())
        assert longest / 2 <= wait <= longest
    assert max(waits) > LONGEST_BACKOFF.total_seconds() / 2
    assert len(set(waits)) == len(waits), "jitter"


async def test_success_ends_the_backoff(harness: Harness) -> None:
    outcomes = iter([Conflict("1"), Conflict("2"), Conflict("3"), None, Conflict("4"), None])

    async def mostly_fails(_key: Key) -> Result:
        error = next(outcomes)
        if error:
            raise error
        return Result()

    harness.behaviour = mostly_fails
    async with harness.running():
        harness.queue.add(A)
        await harness.clock.advance(MINUTE)
        assert len(harness.runs) == 4
        harness.queue.add(A)
        await harness.clock.advance(SECOND)
    assert len(harness.runs) == 6


async def test_a_failing_key_does_not_hold_up_another(harness: Harness) -> None:
    async def a_fails(key: Key) -> Result:
        if key == A:
            raise RuntimeError("a defect")
        return Result()

    harness.behaviour = a_fails
    before = REGISTRY.get_sample_value("azpatch_workqueue_errors_total", {"kind": A.kind}) or 0
    async with harness.running():
        harness.queue.add(A)
        harness.queue.add(B)
        await settle()
        assert harness.keys == [A, B]
    after = REGISTRY.get_sample_value("azpatch_workqueue_errors_total", {"kind": A.kind})
    assert after == before + 1


async def test_the_api_server_is_given_the_time_it_asks_for(harness: Harness) -> None:
    async def busy(_key: Key) -> Result:
        if len(harness.runs) == 1:
            raise Unavailable("too many requests", retry_after=30 * SECOND)
        return Result()

    harness.behaviour = busy
    async with harness.running():
        harness.queue.add(A)
        await harness.clock.advance(MINUTE)
    assert harness.times == [0, 30]


async def test_stop_lets_the_key_in_hand_end_and_takes_no_other(harness: Harness) -> None:
    harness.behaviour = gate = Gate()
    harness.queue.add(A)
    harness.queue.add(B)
    task = asyncio.create_task(harness.queue.run(1, harness.reconcile))
    await settle()
    stop = asyncio.create_task(harness.queue.stop(MINUTE))
    await settle()
    assert not stop.done()
    gate.opened.set()
    assert await stop == ()
    await task
    assert harness.keys == [A]
    assert gate.inside == 0


async def test_stop_cancels_what_outlasts_its_time(harness: Harness) -> None:
    harness.behaviour = Gate()
    harness.queue.add(A)
    task = asyncio.create_task(harness.queue.run(2, harness.reconcile))
    await settle()
    assert await harness.queue.stop(timedelta(milliseconds=10)) == (A,)
    await task
    assert harness.queue.in_hand == 0


async def test_a_defect_of_the_queue_itself_ends_run(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_key: Key) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(harness.queue, "_lay_down", breaks)
    harness.queue.add(A)
    with pytest.raises(ZeroDivisionError):
        await harness.queue.run(2, harness.reconcile)


async def test_the_oldest_key_tells_how_long_it_stands_still(harness: Harness) -> None:
    assert harness.queue.oldest_waiting() is None
    harness.behaviour = gate = Gate()
    async with harness.running():
        harness.queue.add(A)
        await harness.clock.advance(MINUTE)
        harness.queue.add(B)
        await harness.clock.advance(MINUTE)
        oldest = harness.queue.oldest_waiting()
        assert oldest is not None
        assert (oldest.key, oldest.seconds) == (A, 120)
        gate.opened.set()
        await settle()
        assert harness.queue.idle
        assert harness.queue.last_progress == 120


async def test_appointments_that_were_replaced_do_not_pile_up(harness: Harness) -> None:
    async with harness.running():
        harness.queue.add_after(B, MINUTE)
        for _ in range(1000):
            harness.queue.add_after(A, timedelta(days=1))
            harness.queue.add(A)
            await settle()
        assert len(harness.queue._calendar) < 200
        await harness.clock.advance(MINUTE)
        assert harness.keys == [*[A] * 1000, B], "the one that counts is still there"


def test_a_key_reads_as_its_path() -> None:
    assert str(A) == "PatchTarget/web/a"
    assert str(Key("AzureSubscription", "", "prod")) == "AzureSubscription/prod"


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(hours=-2)])
async def test_a_wall_clock_that_jumps_neither_hurries_nor_delays(
    harness: Harness, jump: timedelta
) -> None:
    async with harness.running():
        harness.queue.add_after(A, MINUTE)
        harness.clock.wrong_by = jump
        await harness.clock.advance(50 * SECOND)
        assert harness.runs == []
        await harness.clock.advance(20 * SECOND)
    assert harness.times == [60.0]
