"""The clock of the simulated Azure.

Every time that azsim prints, waits for or compares is read from one clock, in UTC. Nothing in the
core sleeps: what is due happens when the next request arrives, with the time at which it was due.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where simulated time comes from."""

    def now(self) -> datetime:
        """The simulated time, aware, in UTC."""
        ...


class PacedClock:
    """Simulated time = origin + (real time - origin) * pace.

    `origin` is the instant at which simulated and real time agree. Two processes that are given
    the same origin and pace read the same clock.
    """

    def __init__(self, origin: datetime | None = None, pace: float = 1.0) -> None:
        if pace <= 0:
            raise ValueError(f"pace must be positive, not {pace}")
        self.origin = (origin or datetime.now(UTC)).astimezone(UTC)
        self.pace = pace
        # Read once and carried on monotonically: a step of the machine's clock must not
        # take guests back in time.
        self._real = datetime.now(UTC)
        self._mark = time.monotonic()

    def now(self) -> datetime:
        """The simulated time, aware, in UTC."""
        real = self._real + timedelta(seconds=time.monotonic() - self._mark)
        return self.origin + (real - self.origin) * self.pace


class ManualClock:
    """A clock that moves only when told to, for tests and simulations in virtual time."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The simulated time, aware, in UTC."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move forward and return the new time."""
        if by < timedelta(0):
            raise ValueError("time does not go back")
        self._now += by
        return self._now


def timestamp(moment: datetime) -> str:
    """A time as ARM prints it, with milliseconds: `2026-11-22T10:03:12.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
