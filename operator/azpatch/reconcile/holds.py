"""What must not lose its finalizer now, because somebody is about to write an intent under it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from azpatch.reconcile.queue import Key


class Holds:
    """A count per object, for one event loop.

    A machine's reconciler makes sure that its policy and its AzureSubscription carry the operation
    finalizer, then writes its intent; their own reconcilers take the finalizer away when no
    operation is recorded. The hold closes the gap between the two writes.
    """

    def __init__(self) -> None:
        self._held: Counter[Key] = Counter()

    @contextmanager
    def hold(self, *keys: Key) -> Iterator[None]:
        """Keeps the finalizers of these objects where they are."""
        self._held.update(keys)
        try:
            yield
        finally:
            self._held.subtract(keys)

    def held(self, key: Key) -> bool:
        """Whether somebody holds this object."""
        return self._held[key] > 0
