"""Who is before whom in the line at a bucket."""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpatch.azure.buckets import ANSWERS_BY, Bucket, Limit
from azpatch.azure.line import Line, Place, Precedence


class Queue:
    """A line, and those in it by name: flow and order of coming in it, such as `a2`."""

    def __init__(self) -> None:
        self.line = Line()
        self.places: dict[str, Place] = {}
        self._numbers = count()

    def come(self, *names: str, yields: bool = False) -> None:
        for name in names:
            precedence = Precedence(name[0], yields)
            self.places[name] = self.line.join(precedence, next(self._numbers))

    def order(self) -> str:
        ranks = {self.line.rank(place): name for name, place in self.places.items()}
        assert sorted(ranks) == list(range(len(self.places))), "each has a rank of its own"
        return " ".join(ranks[rank] for rank in sorted(ranks))

    def call(self, name: str) -> None:
        self.line.call(self.places[name])

    def go(self, *names: str) -> None:
        for name in names:
            self.line.leave(self.places.pop(name))

    def serve(self, times: int) -> str:
        """The first, so many times."""
        served = []
        for _ in range(times):
            first = self.order().split()[0]
            self.call(first)
            self.go(first)
            served.append(first)
        return " ".join(served)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_within_a_flow_first_come_is_first_served(queue: Queue) -> None:
    queue.come("a1", "a2", "a3")
    assert queue.order() == "a1 a2 a3"


def test_flows_take_turns(queue: Queue) -> None:
    queue.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    assert queue.order() == "a1 b1 c1 a2 b2 a3 a4"


def test_who_comes_late_does_not_wait_for_a_long_flow(queue: Queue) -> None:
    queue.come(*(f"a{number}" for number in range(100)))
    queue.serve(40)
    queue.come("b1", "b2")
    assert queue.order().split()[:5] == ["a40", "b1", "a41", "b2", "a42"]


def test_a_flow_that_is_away_saves_up_no_turns(queue: Queue) -> None:
    queue.come("b1", *(f"a{number}" for number in range(9)))
    assert queue.serve(6) == "b1 a0 a1 a2 a3 a4"
    queue.come("b2", "b3")
    assert queue.serve(4) == "a5 b2 a6 b3"


def test_a_flow_that_comes_one_by_one_has_no_more_than_its_turns(queue: Queue) -> None:
    queue.come(*(f"a{number}" for number in range(9)))
    served = []
    for number in range(3):
        queue.come(f"b{number}")
        served.append(queue.serve(2))
    assert served == ["a0 b0", "a1 b1", "a2 b2"]


def test_who_yields_comes_after_all_who_do_not_and_they_take_turns_too(queue: Queue) -> None:
    queue.come("a1", "a2", "b1", yields=True)
    queue.come("b2", "c1", "c2")
    assert queue.order() == "b2 c1 c2 a1 b1 a2"


def test_who_was_called_stays_before_all_who_come_later(queue: Queue) -> None:
    queue.come("a1", "a2", yields=True)
    queue.call("a1")
    queue.come("b1")
    assert queue.order() == "a1 b1 a2"


def test_who_leaves_lets_the_others_move_up(queue: Queue) -> None:
    queue.come("a1", "a2", "a3", "a4", "b1", "b2")
    queue.go("a1", "a3", "b1")
    assert queue.order() == "a2 b2 a4"


def test_who_comes_from_another_line_keeps_the_order_of_coming() -> None:
    line, flow = Line(), Precedence("a", yields=False)
    late, early = line.join(flow, 7), line.join(flow, 3)
    assert (line.rank(early), line.rank(late)) == (0, 1)


# --- at a bucket ----------------------------------------------------------------------------------

LIMIT = Limit("Some", size=12, per_second=1.0, reserve=2, start=3)
FLOWS = "abcd"

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("passes"), st.integers(0, 8), st.booleans()),
        st.tuples(st.just("comes"), st.integers(0, len(FLOWS) - 1), st.booleans()),
        st.tuples(st.just("leaves"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("asks"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("sends"), st.integers(0, 30), st.booleans()),
    ),
    max_size=120,
)
"""What happens, and to whom or how much of it."""


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_never_more_is_called_than_there_are_tokens_and_nobody_yields_in_vain(
    steps: list[tuple[str, int, bool]],
) -> None:
    now, level, numbers = 0.0, float(LIMIT.start), count()
    bucket = Bucket(LIMIT, now)
    waiting: list[Place] = []
    called: list[Place] = []

    def ask(place: Place) -> None:
        if bucket.turn(place, now):
            return
        waiting.remove(place)
        called.append(place)
        if place.precedence.yields:
            left = level - len(called)
            first = [one for one in waiting if not one.precedence.yields]
            assert left >= len(first) - 1e-6, "a token is left for each that does not yield"

    for what, amount, yields in steps:
        match what:
            case "passes":
                now += amount
                level = min(level + amount, LIMIT.size - LIMIT.reserve)
            case "comes":
                waiting.append(bucket.join(Precedence(FLOWS[amount], yields), next(numbers)))
            case "leaves" if waiting or called:
                those = called if called and (yields or not waiting) else waiting
                bucket.leave(those.pop(amount % len(those)))
            case "asks" if waiting:
                ask(waiting[amount % len(waiting)])
            case "sends" if called:
                bucket.send(called.pop(amount % len(called)), now)
                bucket.answered()
                level -= 1
        assert len(called) <= level + 1e-6


@settings(max_examples=200, deadline=None)
@given(
    longs=st.lists(st.integers(40, 60), min_size=2, max_size=5),
    asking=st.randoms(use_true_random=False),
    tokens=st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_flows_that_always_wait_are_served_alike(
    longs: list[int], asking: Random, tokens: list[int]
) -> None:
    bucket, now, numbers = Bucket(LIMIT, 0.0), 0.0, count()
    flows = [Precedence(str(flow), yields=False) for flow in range(len(longs))]
    waiting = [
        bucket.join(flow, next(numbers))
        for flow, long in zip(flows, longs, strict=True)
        for _ in range(long)
    ]
    served: Counter[str] = Counter({flow.flow: 0 for flow in flows})
    for came_in in tokens:
        now += came_in
        asking.shuffle(waiting)
        for place in [place for place in waiting if not bucket.turn(place, now)]:
            waiting.remove(place)
            bucket.send(place, now)
            bucket.answered()
            served[place.precedence.flow] += 1
        assert {place.precedence.flow for place in waiting} == {flow.flow for flow in flows}
        assert max(served.values()) - min(served.values()) <= 1
    assert sum(served.values()) > 0


@settings(max_examples=100, deadline=None)
@given(
    others=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=25),
    flow=st.integers(0, 3),
    yields=st.booleans(),
)
def test_what_a_place_is_told_is_right_if_nobody_else_comes(
    others: list[tuple[int, bool]], flow: int, yields: bool
) -> None:
    bucket, numbers = Bucket(LIMIT, 0.0), count()
    now = ANSWERS_BY
    places = [bucket.join(Precedence(FLOWS[of], last), next(numbers)) for of, last in others]
    mine = bucket.join(Precedence(FLOWS[flow], yields), next(numbers))
    end = now + bucket.turn(mine, now)
    while True:
        for place in [place for place in places if not bucket.turn(place, now)]:
            places.remove(place)
            bucket.send(place, now)
            bucket.answered()
        if now == end:
            break
        assert bucket.turn(mine, now) > 0, "not sooner"
        now = min(now + 0.25, end)
    assert bucket.turn(mine, now) == 0, "not later"
