"""Who leads, and since when: stories of two replicas in virtual time, and any story at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leases import TIMES, Cluster, Fault, Replica, Trouble
from virtual_time import run

DURATION, DEADLINE, RETRY = TIMES.duration, TIMES.renew_deadline, TIMES.retry_period
AGAIN = 1.5 * RETRY
"""A retry period, the most that chance adds to it, and the way."""

RELEASED = {"holderIdentity": "", "leaseTransitions": 3}


def now() -> float:
    return asyncio.get_running_loop().time()


class Two:
    """a leads, b stands by; the Lease was free when they came."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.create(RELEASED)
        self.a, self.b = Replica("a", self.cluster), Replica("b", self.cluster)

    async def begin(self) -> None:
        self.a.start()
        await asyncio.sleep(1)
        self.b.start()
        await asyncio.sleep(9)
        assert (self.a.leads, self.b.leads) == (True, False)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.cluster.get()["spec"]
        return spec

    async def until_b_leads(self) -> float:
        """How long that takes from now."""
        start = now()
        while not self.b.leads:
            assert not self.a.leads or now() - start < DEADLINE
            await asyncio.sleep(0.05)
        return now() - start


Story = Callable[[Two], Awaitable[None]]
"""What happens to two replicas of which a leads; an assertion of its own where one is needed."""


async def crash(two: Two) -> None:
    two.a.crash()


async def stop(two: Two) -> None:
    await two.a.stop()


async def cut_off(two: Two) -> None:
    two.a.way.always = Trouble(Fault.REFUSED)


async def hang(two: Two) -> None:
    two.a.way.always = Trouble(Fault.LATE, 3600)


async def sleep_long(two: Two) -> None:
    two.a.way.always = Trouble(Fault.PAUSED, 40)


async def taken_by_hand(two: Two) -> None:
    lease = two.cluster.get()
    two.cluster.replace(lease, {**lease["spec"], "holderIdentity": "somebody"})


async def deleted_by_hand(two: Two) -> None:
    two.cluster.delete()


async def taken_and_a_cut_off(two: Two) -> None:
    await taken_by_hand(two)
    await cut_off(two)


async def deleted_and_a_cut_off(two: Two) -> None:
    await deleted_by_hand(two)
    await cut_off(two)


@pytest.mark.parametrize(
    ("story", "earliest", "latest"),
    [
        # The standby saw the last renewal up to a retry period after it was made.
        pytest.param(crash, DURATION - AGAIN, DURATION + 2 * AGAIN, id="a crashes"),
        pytest.param(stop, 0.0, AGAIN, id="a ends and releases"),
        pytest.param(cut_off, DURATION - AGAIN, DURATION + 2 * AGAIN, id="a does not reach it"),
        pytest.param(hang, DURATION - AGAIN, DURATION + 2 * AGAIN, id="a's renewals hang"),
        pytest.param(sleep_long, DURATION - AGAIN, DURATION + 2 * AGAIN, id="a sleeps"),
        pytest.param(taken_and_a_cut_off, DURATION, DURATION + 2 * AGAIN, id="somebody writes it"),
        pytest.param(
            deleted_and_a_cut_off, DURATION, DURATION + 2 * AGAIN, id="somebody deletes it"
        ),
    ],
)
def test_another_takes_over_and_not_too_early(story: Story, earliest: float, latest: float) -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        await story(two)
        assert earliest <= await two.until_b_leads() <= latest
        assert not two.a.leads
        assert two.spec["holderIdentity"].startswith("b_")

    run(main())


async def short_outage(two: Two) -> None:
    for replica in (two.a, two.b):
        replica.way.always = Trouble(Fault.REFUSED)
    await asyncio.sleep(DEADLINE - 1.5 * AGAIN)
    for replica in (two.a, two.b):
        replica.way.always = None


async def answers_lost(two: Two) -> None:
    for number in range(two.a.way.requests, two.a.way.requests + 40, 3):
        two.a.way.troubles[number] = Trouble(Fault.LOST)


async def one_hangs(two: Two) -> None:
    two.a.way.troubles[two.a.way.requests] = Trouble(Fault.LATE, 3600)


async def short_sleep(two: Two) -> None:
    two.a.way.troubles[two.a.way.requests] = Trouble(Fault.PAUSED, DEADLINE - RETRY)


async def wall_clock_ahead(two: Two) -> None:
    two.b.wall += timedelta(days=400)


async def wall_clock_behind(two: Two) -> None:
    two.a.wall -= timedelta(days=400)


async def labelled(two: Two) -> None:
    lease = two.cluster.get()
    two.cluster.replace(lease, lease["spec"])


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(short_outage, id="the API server is away for less than the deadline"),
        pytest.param(answers_lost, id="answers to renewals are lost"),
        pytest.param(one_hangs, id="a renewal hangs"),
        pytest.param(short_sleep, id="it sleeps for less than the deadline"),
        pytest.param(wall_clock_ahead, id="another's wall clock is ahead"),
        pytest.param(wall_clock_behind, id="its own wall clock is behind"),
        pytest.param(labelled, id="somebody labels the Lease"),
    ],
)
def test_the_leader_goes_on(story: Story) -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        await story(two)
        await asyncio.sleep(60)
        assert (len(two.a.led), len(two.b.led)) == (1, 0)
        assert two.a.leads
        assert two.spec["leaseTransitions"] == 4

    run(main())


def test_an_outage_longer_than_the_deadline_ends_the_leader_and_then_one_leads_again() -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        await cut_off(two)
        two.b.way.always = Trouble(Fault.REFUSED)
        await asyncio.sleep(DEADLINE + 1)
        assert not two.a.leads
        two.a.way.always = two.b.way.always = None
        await asyncio.sleep(DURATION + AGAIN)
        assert two.a.leads != two.b.leads

    run(main())


def test_a_leader_that_slept_does_not_lead_when_it_wakes() -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        two.a.way.troubles[two.a.way.requests] = Trouble(Fault.PAUSED, DEADLINE + 2)
        await asyncio.sleep(RETRY + DEADLINE)
        assert not two.a.leads, "before it could notice"
        assert not two.b.leads, "the Lease is not over yet"

    run(main())


@pytest.mark.parametrize("story", [taken_by_hand, deleted_by_hand])
def test_a_leader_that_sees_its_lease_gone_gives_up_at_once(story: Story) -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        await story(two)
        await asyncio.sleep(AGAIN)
        assert not two.a.leads

    run(main())


def test_a_renewal_counts_from_when_it_began_to_be_sent() -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        number = two.a.way.requests
        two.a.way.troubles[number] = Trouble(Fault.SLOW, DEADLINE / 2 - 1)
        while two.a.way.requests == number:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)
        sent = now()
        two.a.way.troubles[number + 1] = Trouble(Fault.LATE, 3600)
        two.a.way.troubles[number + 2] = Trouble(Fault.LATE, 3600)
        await asyncio.sleep(sent + DEADLINE - now())
        assert not two.a.leads

    run(main())


def test_a_free_lease_is_taken_at_once_and_a_created_one_counts_later() -> None:
    async def main() -> None:
        cluster = Cluster()
        a = Replica("a", cluster)
        a.start()
        await asyncio.sleep(1)
        assert cluster.get()["spec"]["holderIdentity"] == "a_1"
        await asyncio.sleep(DURATION - 2)
        assert not a.leads, "it may have been deleted under a holder that counts on it"
        await asyncio.sleep(1 + AGAIN)
        assert a.leads

    run(main())


def test_a_lease_that_does_not_count_yet_is_not_given_on() -> None:
    async def main() -> None:
        cluster = Cluster()
        a = Replica("a", cluster)
        a.start()
        await asyncio.sleep(1)
        await a.stop()
        assert cluster.get()["spec"]["holderIdentity"] == "a_1"

    run(main())


def test_a_standby_that_ends_leaves_the_lease_alone() -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        await two.b.stop()
        assert two.spec["holderIdentity"] == "a_1"
        assert two.a.leads

    run(main())


def test_an_end_in_the_middle_of_taking_the_lease_gives_it_back() -> None:
    async def main() -> None:
        two = Two()
        two.a.way.troubles[1] = Trouble(Fault.SLOW, 3)
        two.a.start()
        await asyncio.sleep(1)
        assert not two.a.leads
        assert two.spec["holderIdentity"] == "a_1"
        await two.a.stop()
        assert two.spec["holderIdentity"] == ""

    run(main())


def test_an_end_without_the_api_server_is_quick() -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        await hang(two)
        start = now()
        await two.a.stop()
        assert now() - start < 4
        assert not two.a.leads

    run(main())


def test_the_restarted_process_of_a_pod_is_another() -> None:
    async def main() -> None:
        two = Two()
        await two.begin()
        two.a.crash()
        two.a.start()
        await asyncio.sleep(DURATION - AGAIN)
        assert not two.a.leads, "the Lease has the old one's name"

    run(main())


def test_the_lease_says_who_since_when_and_how_often_in_kubernetes_terms() -> None:
    async def main() -> None:
        two = Two()
        two.a.wall = datetime(2026, 11, 25, 12, tzinfo=UTC)
        await two.begin()
        two.a.wall = datetime(2026, 11, 25, 12, 0, 30, 5, tzinfo=UTC)
        await asyncio.sleep(AGAIN)
        assert two.spec == {
            "holderIdentity": "a_1",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-11-25T12:00:00.000000Z",
            "renewTime": "2026-11-25T12:00:30.000005Z",
            "leaseTransitions": 4,
        }

    run(main())


def test_a_holder_with_a_longer_duration_is_given_it() -> None:
    async def main() -> None:
        cluster = Cluster()
        cluster.create({"holderIdentity": "old", "leaseDurationSeconds": 60})
        a = Replica("a", cluster)
        a.start()
        await asyncio.sleep(59)
        assert not a.leads
        await asyncio.sleep(1 + AGAIN)
        assert a.leads

    run(main())


# --- any story ------------------------------------------------------------------------------------

STORY = 150.0
"""Seconds; about ten times what a Lease lasts."""

CALM = DURATION + DEADLINE + 3 * AGAIN
"""After the last trouble, until one leads for certain."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person or a node does."""

    at: float
    what: str
    whom: int


troubles = st.builds(
    Trouble, st.sampled_from(Fault), st.floats(0, 40, allow_nan=False, allow_infinity=False)
)
events = st.builds(
    Event,
    st.floats(0, STORY),
    st.sampled_from(["crash", "stop", "delete", "wall"]),
    st.integers(0, 2),
)


@given(
    rates=st.tuples(*[st.floats(0.87, 1.13)] * 3),
    plagues=st.tuples(*[st.dictionaries(st.integers(0, 60), troubles, max_size=20)] * 3),
    happen=st.lists(events, max_size=8),
    free=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_never_do_two_lead_and_in_the_end_one_does(
    rates: tuple[float, ...],
    plagues: tuple[dict[int, Trouble], ...],
    happen: list[Event],
    free: bool,
) -> None:
    async def main() -> None:
        cluster = Cluster()
        if free:
            cluster.create(RELEASED)
        replicas = [Replica(name, cluster, rate) for name, rate in zip("abc", rates, strict=True)]
        for replica, plague in zip(replicas, plagues, strict=True):
            replica.way.troubles = dict(plague)
            replica.start()
        watch = asyncio.ensure_future(_watch(replicas))
        for event in sorted(happen, key=lambda event: event.at):
            await asyncio.sleep(max(event.at - now(), 0))
            await _happens(event, replicas, cluster)
        await asyncio.sleep(max(STORY - now(), 0))
        for replica in replicas:
            replica.way.troubles.clear()
        # What was under way when the troubles ended.
        await asyncio.sleep(40 + CALM)
        assert sum(replica.leads for replica in replicas) == 1
        if watch.done():
            watch.result()

    run(main())


async def _watch(replicas: list[Replica]) -> None:
    while True:
        leaders = [replica.name for replica in replicas if replica.leads]
        assert len(leaders) <= 1, f"at {now():.2f} s both lead: {leaders}"
        await asyncio.sleep(0.05)


async def _happens(event: Event, replicas: list[Replica], cluster: Cluster) -> None:
    replica = replicas[event.whom]
    match event.what:
        case "crash":
            replica.crash()
            replica.start()
        case "stop":
            await replica.stop()
            replica.start()
        case "delete":
            cluster.delete()
        case "wall":
            replica.wall += timedelta(days=event.at - STORY / 2)
