"""Who may begin an install now: slots of maxUnavailable, held in memory.

A machine that is due asks. Its policy's reconciler hands out as many slots as the machines that are
unavailable leave free. A slot counts from the moment it is handed out until the machine gives it
back or its install intent, which is then counted instead, stands in its status. Beside that a
policy may wait for certain machines, those that fill the groups of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from azpatch.domain.spread import Limits

PolicyName = tuple[str, str]
"""Namespace and name."""

Choose = Callable[[Sequence[str], int], Mapping[str, Limits]]
"""Who of those that ask, in their order, gets one of so many free slots; with the limits of its
groups."""


@dataclass(slots=True)
class _Book:
    asking: dict[str, None] = field(default_factory=dict)
    """In the order in which they asked."""
    granted: dict[str, Limits] = field(default_factory=dict)
    """With the limits, of the groups that it is in, with which each got its slot."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A slot that is held."""

    policy: PolicyName
    target: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Waits:
    until_available: Collection[str]
    until_begun: Collection[str]


def first_come(line: Sequence[str], free: int) -> Mapping[str, Limits]:
    """Who asked first."""
    return {name: {} for name in line[:free]}


class Slots:
    """For one event loop; nothing here awaits, so that no two decisions overlap."""

    def __init__(self) -> None:
        self._books: dict[PolicyName, _Book] = {}
        self._waits: dict[PolicyName, _Waits] = {}

    def ask(self, policy: PolicyName, target: str) -> bool:
        """A due machine asks. True if that is news to the policy's reconciler."""
        book = self._books.setdefault(policy, _Book())
        if target in book.granted or target in book.asking:
            return False
        book.asking[target] = None
        return True

    def give_back(self, policy: PolicyName, target: str) -> bool:
        """The machine no longer needs one. True if it had one."""
        book = self._books.get(policy)
        if book is None:
            return False
        book.asking.pop(target, None)
        had = book.granted.pop(target, None) is not None
        if not book.asking and not book.granted:
            del self._books[policy]
        return had

    def has(self, policy: PolicyName, target: str) -> bool:
        """Whether the machine holds a slot."""
        book = self._books.get(policy)
        return book is not None and target in book.granted

    def wanted(self, policy: PolicyName) -> bool:
        """Whether a machine of the policy asks and has not got one."""
        book = self._books.get(policy)
        return book is not None and bool(book.asking)

    def granted(self) -> Iterator[Granted]:
        """Every slot that is held, of all policies."""
        for policy, book in self._books.items():
            for target, limits in book.granted.items():
                yield Granted(policy, target, limits)

    def hand_out(
        self,
        policy: PolicyName,
        limit: int,
        unavailable: Collection[str],
        choose: Choose = first_come,
    ) -> tuple[str, ...]:
        """Gives the free slots to those who asked first; returns who got one just now.

        `unavailable`: the targets that count against `limit` by their status. `choose`: who may go
        now; who may not keeps its place in the line.
        """
        book = self._books.get(policy)
        if book is None:
            return ()
        free = limit - len(book.granted.keys() | set(unavailable))
        line = tuple(name for name in book.asking if name not in unavailable)
        if free <= 0 or not line:
            return ()
        chosen = choose(line, free)
        for name in chosen:
            del book.asking[name]
        book.granted.update(chosen)
        return tuple(chosen)

    def wait_for(
        self, policy: PolicyName, until_available: Collection[str], until_begun: Collection[str]
    ) -> None:
        """From now on the policy waits until one of these machines (keys) is available again, or
        one of those has given back its slot."""
        self._waits.pop(policy, None)
        if until_available or until_begun:
            self._waits[policy] = _Waits(until_available, until_begun)

    def awaited(self, machine: str) -> bool:
        """Whether a policy waits for this machine."""
        return any(
            machine in waits.until_available or machine in waits.until_begun
            for waits in self._waits.values()
        )

    def let_go(self, machine: str, *, available: bool) -> tuple[PolicyName, ...]:
        """The machine has no slot any more, and may be available again: who waited for it, and
        waits no more."""
        woken = tuple(
            policy
            for policy, waits in self._waits.items()
            if machine in waits.until_begun or (available and machine in waits.until_available)
        )
        for policy in woken:
            del self._waits[policy]
        return woken
