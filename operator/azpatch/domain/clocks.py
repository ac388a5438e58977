"""Our clock beside Azure's."""

from __future__ import annotations

from datetime import datetime, timedelta

SAME_SECOND = timedelta(seconds=1)
"""By how much two of Azure's answers may differ in when something was: one has fractions."""


def no_earlier(now: datetime, *known: datetime | None) -> datetime:
    """Now, to be compared with Azure's times: if our clock is behind, what happens now is still
    later than what Azure has timed already."""
    return max([now, *(time + SAME_SECOND for time in known if time is not None)])
