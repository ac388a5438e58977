"""When a run is over at the latest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.domain.opening import usable
from azpatch.domain.windows import Calendar

REASSESSED = timedelta(minutes=15)
"""From the end of an install until the assessment after it has ended, by what Azure takes."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """A wave that is not over."""

    waiting: int
    """Machines of it that have not been installed on."""
    soak: timedelta
    calendar: Calendar


def forecast(
    waves: Sequence[Ahead], at_once: int, needed: timedelta, now: datetime
) -> datetime | None:
    """The end of the window in which the last machine has its turn, if every install takes all of
    its time; None: no end is in sight. It does not change as time passes, unless the run is late.

    `at_once`: how many machines may be unavailable; `needed`: maximumDuration.
    """
    at, closes = now, None
    for wave in waves:
        if wave.waiting:
            found = _placed(wave, at_once, needed, at)
            if found is None:
                return None
            at, closes = found
        at += wave.soak
    return closes


def _placed(
    wave: Ahead, at_once: int, needed: timedelta, since: datetime
) -> tuple[datetime, datetime] | None:
    """When the last of the wave is done, and when that window ends."""
    left = -(-wave.waiting // max(at_once, 1))
    for one in usable(wave.calendar, needed, since):
        start = max(one.span.start, since)
        rounds = (one.span.end - start - needed) // (needed + REASSESSED) + 1
        if left <= rounds:
            return start + left * (needed + REASSESSED), one.span.end
        left -= rounds
    return None
