"""A bucket is never asked for more than it holds, and everyone in line gets their turn."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpatch.azure.buckets import UNTOLD, Bucket, Limit, Sent
from azpatch.azure.line import Place, Precedence

LIMIT = Limit("Some", size=20, per_second=0.5, reserve=4, start=2)


ANYBODY = Precedence("web/linux", yields=False)
NUMBERS = count()


def join(bucket: Bucket) -> Place:
    """Somebody comes."""
    return bucket.join(ANYBODY, next(NUMBERS))


class Azures:
    """The bucket as Azure keeps it: independent of ours."""

    def __init__(self, level: float) -> None:
        self.level, self.time = level, 0.0

    def at(self, now: float) -> None:
        self.level = min(LIMIT.size, self.level + (now - self.time) * LIMIT.per_second)
        self.time = now

    def take(self, now: float) -> int | None:
        """What is left; None: refused."""
        self.at(now)
        if self.level < 1 - 1e-6:
            return None
        self.level -= 1
        return int(self.level + 1e-6)


def told(level: int, now: float = 0.0) -> Bucket:
    """A bucket that has heard that this much is left."""
    bucket = Bucket(LIMIT, now)
    sent = bucket.send(join(bucket), now)
    bucket.answered()
    bucket.hear(level, sent, now)
    return bucket


def test_a_new_one_gives_a_few_tokens_and_the_next_asks_again_soon() -> None:
    bucket = Bucket(LIMIT, 0)
    waits = [bucket.turn(join(bucket), 0) for _ in range(10)]
    assert waits == [0, 0, 2, 4, 5, 5, 5, 5, 5, 5]
    assert UNTOLD == 5


def test_an_answer_tells_that_there_is_more() -> None:
    bucket = told(19)
    waits = [bucket.turn(join(bucket), 0) for _ in range(16)]
    assert waits == [0] * 15 + [2], "all but the reserve of four"


def test_an_answer_tells_that_somebody_else_spent() -> None:
    bucket = told(19)
    sent = bucket.send(join(bucket), 0)
    bucket.answered()
    bucket.hear(4, sent, 0)
    assert bucket.turn(join(bucket), 0) == 2


def test_answers_that_overtake_each_other_do_not_raise_the_level() -> None:
    bucket = told(19)
    sent: list[Sent] = []
    for _ in range(10):
        sent.append(bucket.send(join(bucket), 0))
    for number in reversed(range(10)):
        bucket.answered()
        bucket.hear(18 - number, sent[number], 0)
    waits = [bucket.turn(join(bucket), 0) for _ in range(6)]
    assert waits == [0] * 5 + [2]


def test_a_refusal_closes_it_and_it_is_empty() -> None:
    bucket = told(19)
    bucket.close(60, 0)
    place = join(bucket)
    assert bucket.turn(place, 0) == 60
    assert bucket.turn(place, 60) == 0


def test_a_place_moves_up_when_others_leave() -> None:
    bucket = told(4)
    places = [join(bucket) for _ in range(5)]
    assert bucket.turn(places[-1], 0) == 8
    for place in places[1:4]:
        bucket.leave(place)
    assert bucket.turn(places[-1], 0) == 2
    bucket.leave(places[0])
    assert bucket.turn(places[-1], 0) == 0


def test_places_that_nobody_uses_do_not_fill_it_beyond_its_size() -> None:
    bucket = told(19)
    places = [join(bucket) for _ in range(40)]
    ready = [place for place in places if bucket.turn(place, 10_000) == 0]
    assert len(ready) == LIMIT.size - LIMIT.reserve


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("passes"), st.floats(0.0, 8.0)),
        st.tuples(st.just("asks"), st.integers(1, 4)),
        st.tuples(st.just("leaves"), st.integers(0, 5)),
        st.tuples(st.just("reaches"), st.integers(0, 5)),
        st.tuples(st.just("hears"), st.integers(0, 5)),
        st.tuples(st.just("lost"), st.integers(0, 5)),
        st.tuples(st.just("clock back"), st.floats(0.0, 100.0)),
    ),
    max_size=60,
)
"""What happens, to the n-th of those to whom it can happen."""


@settings(max_examples=400, deadline=None)
@given(before=st.floats(LIMIT.reserve, LIMIT.size), steps=STEPS)
def test_whatever_happens_nothing_is_refused_and_nobody_starves(
    before: float, steps: list[tuple[str, float]]
) -> None:
    now = 0.0
    azure, ours = Azures(before), Bucket(LIMIT, 0.0)
    line: list[Place] = []
    on_way: list[Sent] = []
    answers: list[tuple[Sent, int]] = []

    def send_ready() -> None:
        """A request is sent as soon as it may; Azure gets it when it gets it."""
        for place in list(line):
            if ours.turn(place, now) == 0:
                line.remove(place)
                on_way.append(ours.send(place, now))

    def reach(index: int) -> None:
        sent = on_way.pop(index % len(on_way))
        left = azure.take(now)
        assert left is not None, "refused"
        answers.append((sent, left))

    for what, amount in steps:
        match what:
            case "passes":
                now += amount
            case "asks":
                line.extend(join(ours) for _ in range(int(amount)))
            case "leaves" if line:
                ours.leave(line.pop(int(amount) % len(line)))
            case "reaches" if on_way:
                reach(int(amount))
            case "hears" if answers:
                sent, left = answers.pop(int(amount) % len(answers))
                ours.answered()
                ours.hear(left, sent, now)
            case "lost" if answers:
                answers.pop(int(amount) % len(answers))
                ours.answered()
            case "clock back":
                ours.idle(now - amount)
        send_ready()

    end = now + (len(line) + LIMIT.size) / LIMIT.per_second
    while (line or on_way) and now < end:
        now += 1 / LIMIT.per_second
        send_ready()
        while on_way:
            reach(0)
    assert line == []


@pytest.mark.parametrize("level", [0, 10, 19])
def test_a_full_bucket_that_nobody_uses_may_be_forgotten(level: int) -> None:
    bucket = told(level)
    assert not bucket.idle(1)
    assert bucket.idle(LIMIT.size / LIMIT.per_second + 1)
    join(bucket)
    assert not bucket.idle(101)
