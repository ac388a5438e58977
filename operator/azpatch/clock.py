"""The one clock. Everything Azure does is told in its time; only leases, watches, resyncs and HTTP
timeouts are in real time.

With the defaults Azure's time is real time. Against the simulated Azure both programs are given the
same origin and pace, and so agree on the time without talking.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Time, as the reconcile layer sees it."""

    def now(self) -> datetime:
        """Azure's time, UTC."""
        ...

    def monotonic(self) -> float:
        """Real seconds since some start; never jumps."""
        ...

    def elapsed(self) -> timedelta:
        """Azure's time since some start; never jumps, where `now` follows the machine's clock."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Waits this much of Azure's time."""
        ...


class SystemClock:
    """The machine's clock, from `origin` on `pace` times as fast."""

    def __init__(self, origin: datetime | None = None, pace: float = 1.0) -> None:
        self._origin = (origin or datetime.now(UTC)).astimezone(UTC)
        self._pace = pace

    def now(self) -> datetime:
        """Azure's time, UTC: real time while the pace is 1."""
        real = datetime.now(UTC)
        if self._pace == 1.0:
            return real
        return self._origin + (real - self._origin) * self._pace

    def monotonic(self) -> float:
        """Real seconds since some start."""
        return time.monotonic()

    def elapsed(self) -> timedelta:
        """Azure's time since some start."""
        return timedelta(seconds=time.monotonic() * self._pace)

    async def sleep(self, duration: timedelta) -> None:
        """Waits this much of Azure's time."""
        await asyncio.sleep(max(0.0, duration.total_seconds() / self._pace))
