"""What must not lose its finalizer now, because somebody is about to write an intent under it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from azpatch.reconcile.queue import Key


class Holds:
    """A count per object, for one event loop.

    A machine's reconciler makes sure that its policy and its AzureSubscription carry the operation
    finalizer, then writes its intent; their own reconcilers take the finalizer away when no
    operation is recorded. The hold closes the gap between the two writes; the lock sees to it that
    putting on and taking off never overlap.
    """

    def __init__(self) -> None:
        self._held: Counter[Key] = Counter()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    @contextmanager
    def hold(self, *keys: Key) -> Iterator[None]:
        """Keeps the finalizers of these objects where they are."""
        self._held.update(keys)
        try:
            yield
        finally:
            self._held -= Counter(keys)

    def lock(self, key: Key) -> asyncio.Lock:
        """Held while this object's finalizer is put on or taken off."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    def held(self, key: Key) -> bool:
        """Whether somebody holds this object."""
        return self._held[key] > 0
