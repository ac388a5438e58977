"""Resource Graph's quota of queries, of one principal."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import timedelta

from azpatch.clock import Clock

QUERIES = 15
WINDOW = timedelta(seconds=5)
"""Resource Graph answers this many queries of a principal in each such time."""

RESERVE = 3
"""Queries of a window that we leave: the process after us begins without knowing what was asked
just before, and its first answers tell it."""

UNKNOWN = timedelta(seconds=1)
"""Until the quota is refilled, where Azure says that it is used up and not for how long."""

ROUNDED = timedelta(seconds=1)
"""Azure tells whole seconds, and may have rounded them down."""

QUOTA_REMAINING = "x-ms-user-quota-remaining"
QUOTA_RESETS_AFTER = "x-ms-user-quota-resets-after"


class GraphQuota:
    """One query at a time, which `turn` is for. Times are Azure's, on a clock that never jumps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.turn = asyncio.Lock()
        # A query counts from its answer on: it reached Azure some time before.
        self._asked: deque[timedelta] = deque()
        self._closed_until = timedelta(0)

    def wait(self) -> timedelta:
        """How long until the next query may go out."""
        now = self._clock.elapsed()
        while self._asked and self._asked[0] <= now - WINDOW:
            self._asked.popleft()
        full = len(self._asked) >= QUERIES - RESERVE
        room = self._asked[0] + WINDOW if full else now
        return max(room, self._closed_until, now) - now

    def asked(self) -> None:
        """A query went out, and its answer is here or will not come."""
        self._asked.append(self._clock.elapsed())

    def hear(self, headers: Mapping[str, str]) -> None:
        """What an answer says."""
        left = (headers.get(QUOTA_REMAINING) or "").strip()
        if left.isdigit() and int(left) <= RESERVE:
            self.close(_resets_after(headers))

    def close(self, wait: timedelta) -> None:
        """Nothing is asked for this long."""
        self._closed_until = max(self._closed_until, self._clock.elapsed() + wait)


def _resets_after(headers: Mapping[str, str]) -> timedelta:
    hours, _, rest = (headers.get(QUOTA_RESETS_AFTER) or "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        told = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    except ValueError:
        return UNKNOWN
    return told + ROUNDED
