"""One of Azure's token buckets, as we believe it to be, and the line of those who wait at it.

A bucket holds at most `size` tokens and is refilled steadily. Who wants a token gets a place in
line, a number; the place is ready as soon as that many tokens have come in. So first come is first
served, each knows at once how long to wait, and nobody has to be woken.

The level is a belief: this process counts what it sends, and each answer says what Azure has left.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUNDING = 1e-6
"""A token less than this short is there: sums of floats."""


UNTOLD = 5.0
"""Seconds after which who waits asks again while no answer has told the level: it may be full."""

ANSWERS_BY = 60.0
"""Seconds in which a first answer is hoped for."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A kind of bucket."""

    name: str
    """As Azure spells it in the headers of its answers."""
    size: int
    per_second: float
    """Of Azure's time."""
    reserve: int
    """Tokens that we leave: for the process after us, which cannot know what we spent."""
    start: int
    """Of these, what a new process takes before an answer has told it the level."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a bucket knew when a request went out."""

    time: float
    answered: int


class Bucket:
    """Times are seconds of a clock that never jumps."""

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self._came_in = float(limit.reserve + limit.start)
        """Tokens that were ever in it."""
        self._given = 0
        """Places ever given, without those given back."""
        self._waiting = 0
        """Of these, the ones that no request has used yet."""
        self._sent = self._answered = 0
        self._since = now
        self._closed_until = now
        self._untold_until = now + ANSWERS_BY

    def place(self, now: float) -> int:
        """A number in the line."""
        self._refill(now)
        self._given += 1
        self._waiting += 1
        return self._given

    def wait(self, number: int, now: float) -> float:
        """Seconds until this place is ready, as it looks now, or is to be asked for again; 0: it is
        ready."""
        self._refill(now)
        reserve = self.limit.reserve
        # The second counts what went out of turn, which no number in the line knows of.
        short = max(number + reserve - self._came_in, reserve + 1 - self._level())
        refilled = short / self.limit.per_second if short > ROUNDING else 0.0
        if now < self._untold_until:
            refilled = min(refilled, UNTOLD)
        return max(refilled, self._closed_until - now, 0.0)

    def moved_up(self, number: int) -> int:
        """The number, after those who gave their places back before it."""
        return min(number, self._given)

    def give_back(self) -> None:
        """A place that no request will use."""
        self._given -= 1
        self._waiting -= 1

    def send(self, now: float) -> Sent:
        """A request uses its place."""
        self._waiting -= 1
        self._sent += 1
        return Sent(now, self._answered)

    def send_unasked(self, now: float) -> Sent:
        """A request goes out that has no place: what is behind it in the line waits longer."""
        self._given += 1
        self._sent += 1
        return Sent(now, self._answered)

    def answered(self) -> None:
        """The request is over, whether its answer came or not."""
        self._answered += 1
        self._untold_until = self._since

    def hear(self, left: int, sent: Sent, now: float) -> None:
        """What Azure had left after a request of ours.

        Lower than it can be by our own requests: somebody else spends, and Azure is believed.
        Higher, even if all that were on their way at the time came after it: we knew too little.
        """
        self._refill(now)
        believed = self._level()
        at_most = left + 1 + (now - sent.time) * self.limit.per_second
        at_least = left - (self._sent - sent.answered - 1)
        if at_most < believed:
            self._came_in -= believed - (left - (self._sent - self._answered))
        elif at_least > believed:
            self._came_in += at_least - believed
        self._cap()

    def close(self, until: float, now: float) -> None:
        """Azure refused for want of tokens: none is there, and none is taken until then."""
        self._refill(now)
        self._came_in -= max(self._level(), 0.0)
        self._closed_until = max(self._closed_until, until)

    def idle(self, now: float) -> bool:
        """Nobody waits or is on the way, and it is full: a new one would be no worse off."""
        self._refill(now)
        full = self._level() >= self.limit.size - ROUNDING
        return full and not self._waiting and self._sent == self._answered

    def _level(self) -> float:
        """What Azure has left, if every request that we sent has reached it."""
        return self._came_in - (self._given - self._waiting)

    def _refill(self, now: float) -> None:
        self._came_in += max(now - self._since, 0.0) * self.limit.per_second
        self._since = max(now, self._since)
        self._cap()

    def _cap(self) -> None:
        self._came_in = min(self._came_in, self._given - self._waiting + self.limit.size)
