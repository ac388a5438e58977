"""How often the operator does what it does whether or not anything happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from azpatch.kube.election import LeaseTimes


@dataclass(frozen=True)
class Pace:
    """Of one world."""

    lease: LeaseTimes
    """What its times are to each other is the same as the operator's own."""
    resync: timedelta


DAYS = Pace(
    LeaseTimes(duration=90.0, renew_deadline=60.0, retry_period=25.0), timedelta(minutes=20)
)
"""The Lease is six times slower than the operator's own, so that a simulated day has thousands of
renewals and not tens of thousands."""

MONTHS = Pace(
    LeaseTimes(duration=3600.0, renew_deadline=2400.0, retry_period=1000.0), timedelta(hours=24)
)
"""Of worlds that last for weeks, in most of which nothing happens."""
