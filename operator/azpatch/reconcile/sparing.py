"""How often a summary's status is written.

A policy and a run count their machines. In a wave of thousands one of them changes every moment,
and whoever watches would get all of the status each time.
"""

from __future__ import annotations

from datetime import timedelta

from azpatch.clock import Clock

APART = timedelta(seconds=5)
"""Azure's time between two writes of one object's status."""


class Sparing:
    """When each object's status was written, by uid. For one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._written: dict[str, timedelta] = {}

    def wait(self, uid: str) -> timedelta | None:
        """How long the next write has to wait; None: it may be now."""
        written = self._written.get(uid)
        left = None if written is None else written + APART - self._clock.elapsed()
        return left if left is not None and left > timedelta(0) else None

    def wrote(self, uid: str) -> None:
        """It was written now."""
        self._written[uid] = self._clock.elapsed()

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written.pop(uid, None)
