"""Who may begin an install now: slots of maxUnavailable, held in memory.

A machine that is due asks. Its policy's reconciler hands out as many slots as the machines that are
unavailable leave free. A slot counts from the moment it is handed out until the machine gives it
back or its install intent, which is then counted instead, stands in its status.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

PolicyName = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class _Book:
    asking: dict[str, None] = field(default_factory=dict)
    """In the order in which they asked."""
    granted: set[str] = field(default_factory=set)


class Slots:
    """For one event loop; nothing here awaits, so that no two decisions overlap."""

    def __init__(self) -> None:
        self._books: dict[PolicyName, _Book] = {}

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
        had = target in book.granted
        book.granted.discard(target)
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

    def hand_out(
        self, policy: PolicyName, limit: int, unavailable: Collection[str]
    ) -> tuple[str, ...]:
        """Gives the free slots to those who asked first; returns who got one just now.

        `unavailable`: the targets that count against `limit` by their status.
        """
        book = self._books.get(policy)
        if book is None:
            return ()
        free = limit - len(book.granted | set(unavailable))
        chosen = tuple(name for name in book.asking if name not in unavailable)[: max(free, 0)]
        for name in chosen:
            del book.asking[name]
            book.granted.add(name)
        return chosen
