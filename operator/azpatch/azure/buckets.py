"""One of Azure's token buckets, as we believe it to be, and the line of those who wait at it.

A bucket holds at most `size` tokens and is refilled steadily. Who wants a token gets a place in
line; it is its turn as soon as there is a token for everyone before it and for itself. So each
knows at once how long to wait, if nobody comes who goes before, and nobody has to be woken.

The level is a belief: this process counts what it sends, and each answer says what Azure has left.
"""

from __future__ import annotations

from dataclasses import dataclass

from azpatch.azure.line import Line, Place, Precedence

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
        self._level = float(limit.reserve + limit.start)
        """What Azure has left, if every request that we sent has reached it."""
        self._line = Line()
        self._sent = self._answered = 0
        self._since = now
        self._closed_until = now
        self._untold_until = now + ANSWERS_BY

    def join(self, precedence: Precedence, number: int) -> Place:
        """A place in the line. `number`: order of coming, with which it came to other lines too."""
        return self._line.join(precedence, number)

    def turn(self, place: Place, now: float) -> float:
        """Seconds until it is this place's turn, as it looks now, or it is to be asked for again;
        0: it is, and the token is kept for it."""
        self._refill(now)
        short = self._line.rank(place) + 1 + self.limit.reserve - self._level
        refilled = short / self.limit.per_second if short > ROUNDING else 0.0
        if now < self._untold_until:
            refilled = min(refilled, UNTOLD)
        wait = max(refilled, self._closed_until - now, 0.0)
        if not wait:
            self._line.call(place)
        return wait

    def leave(self, place: Place) -> None:
        """A place that no request will use."""
        self._line.leave(place)

    def send(self, place: Place, now: float) -> Sent:
        """A request uses its place."""
        self._line.leave(place)
        return self.send_unasked(now)

    def send_unasked(self, now: float) -> Sent:
        """A request goes out that has no place: who is in the line waits longer."""
        self._level -= 1
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
        at_most = left + 1 + (now - sent.time) * self.limit.per_second
        at_least = left - (self._sent - sent.answered - 1)
        if at_most < self._level:
            self._level = left - (self._sent - self._answered)
        elif at_least > self._level:
            self._level = min(at_least, self.limit.size)

    def close(self, until: float, now: float) -> None:
        """Azure refused for want of tokens: none is there, and none is taken until then."""
        self._refill(now)
        self._level = min(self._level, 0.0)
        self._closed_until = max(self._closed_until, until)

    def idle(self, now: float) -> bool:
        """Nobody waits or is on the way, and it is full: a new one would be no worse off."""
        self._refill(now)
        full = self._level >= self.limit.size - ROUNDING
        return full and not len(self._line) and self._sent == self._answered

    def _refill(self, now: float) -> None:
        came_in = max(now - self._since, 0.0) * self.limit.per_second
        self._level = min(self._level + came_in, self.limit.size)
        self._since = max(now, self._since)
