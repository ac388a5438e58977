"""The line of those who want a token of one bucket: who is before whom.

Who comes says in which flow: each policy has one. Within a flow first come is first served, and the
flows take turns, one token each: a flow of ten thousand does not keep one of ten waiting. Who
yields comes after all who do not. Who was told that it is their turn is before everybody.

A place's rank is counted from what stands in the line when it is asked for, so that who comes, goes
or overtakes changes it for all at once, and nobody has to be told.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Precedence:
    """What decides who is before whom, beside the order of coming."""

    flow: str
    yields: bool


@dataclass(slots=True, eq=False)
class Place:
    """One in one line."""

    precedence: Precedence
    number: int
    """Order of coming; once it is its turn, of that."""
    called: bool = False
    """It was told that it is its turn."""


@dataclass(slots=True)
class _Flow:
    order: int
    """Among flows, in a round."""
    round: int
    """In which the first of those who wait is served."""
    numbers: list[int] = field(default_factory=list)
    """Of those who wait, sorted."""

    def before(self, round_: int, order: int) -> int:
        """How many are served before this flow is in this round."""
        ahead = round_ - self.round + (self.order < order)
        return min(max(ahead, 0), len(self.numbers))


class _Flows:
    """They take turns: in each round everyone who waits is served once."""

    __slots__ = ("_flows", "_made", "waiting")

    def __init__(self) -> None:
        self._flows: dict[str, _Flow] = {}
        self._made = 0
        self.waiting = 0

    def join(self, name: str, number: int) -> None:
        flow = self._flows.get(name)
        if flow is None or not flow.numbers:
            flow = self._begin(name)
        insort(flow.numbers, number)
        self.waiting += 1

    def rank(self, name: str, number: int) -> int:
        """How many are served before."""
        mine = self._flows[name]
        index = bisect_left(mine.numbers, number)
        others = (flow for flow in self._flows.values() if flow is not mine)
        return index + sum(flow.before(mine.round + index, mine.order) for flow in others)

    def leave(self, name: str, number: int, *, served: bool) -> None:
        flow = self._flows[name]
        del flow.numbers[bisect_left(flow.numbers, number)]
        flow.round += served
        self.waiting -= 1

    def _begin(self, name: str) -> _Flow:
        """A flow in which nobody waits gets somebody. It has saved up no turns, and one that was
        served in this round already is not served in it again."""
        rounds = [flow.round for flow in self._flows.values() if flow.numbers]
        now = min(rounds, default=None)
        self._flows = {
            key: flow
            for key, flow in self._flows.items()
            if now is not None and (flow.numbers or flow.round > now)
        }
        if name not in self._flows:
            self._made += 1
            self._flows[name] = _Flow(self._made, now or 0)
        return self._flows[name]


class Line:
    """Of one bucket."""

    __slots__ = ("_called", "_calls", "_first", "_yielding")

    def __init__(self) -> None:
        self._calls = 0
        self._called: list[int] = []
        self._first, self._yielding = _Flows(), _Flows()

    def __len__(self) -> int:
        return len(self._called) + self._first.waiting + self._yielding.waiting

    def join(self, precedence: Precedence, number: int) -> Place:
        """A place, behind those of its flow with smaller numbers."""
        place = Place(precedence, number)
        self._among(place).join(precedence.flow, number)
        return place

    def rank(self, place: Place) -> int:
        """How many are before it."""
        if place.called:
            return bisect_left(self._called, place.number)
        ahead = len(self._called)
        if place.precedence.yields:
            ahead += self._first.waiting
        return ahead + self._among(place).rank(place.precedence.flow, place.number)

    def call(self, place: Place) -> None:
        """It is its turn."""
        if place.called:
            return
        self._among(place).leave(place.precedence.flow, place.number, served=True)
        self._calls += 1
        place.number, place.called = self._calls, True
        self._called.append(place.number)

    def leave(self, place: Place) -> None:
        """It waits no more."""
        if place.called:
            del self._called[bisect_left(self._called, place.number)]
        else:
            self._among(place).leave(place.precedence.flow, place.number, served=False)

    def _among(self, place: Place) -> _Flows:
        return self._yielding if place.precedence.yields else self._first
