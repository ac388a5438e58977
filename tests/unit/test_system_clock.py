"""One clock: simulated time = origin + (real time - origin) * pace."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

from azpatch.clock import SystemClock

HOUR = timedelta(hours=1)
SLACK = timedelta(minutes=5)
"""Far more than a test takes, at ten times the pace."""


def test_with_the_defaults_it_is_real_time() -> None:
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)


def test_at_its_origin_simulated_and_real_time_agree() -> None:
    now = datetime.now(UTC)
    assert abs(SystemClock(now, pace=10).now() - now) < SLACK


def test_from_its_origin_on_it_is_pace_times_as_fast() -> None:
    origin = datetime.now(UTC) - HOUR
    found = SystemClock(origin.astimezone(timezone(2 * HOUR)), pace=10).now()
    assert abs(found - (origin + 10 * HOUR)) < SLACK
    assert found.tzinfo is UTC


def test_an_origin_changes_nothing_at_the_pace_of_real_time() -> None:
    assert abs(SystemClock(datetime(2020, 1, 1, tzinfo=UTC)).now() - datetime.now(UTC)) < SLACK


async def test_sleeping_takes_simulated_time() -> None:
    clock = SystemClock(pace=36000)
    began = clock.monotonic()
    await clock.sleep(HOUR)
    assert 0.05 < clock.monotonic() - began < 5
    await clock.sleep(-HOUR)


def test_the_monotonic_clock_is_real_seconds() -> None:
    before = time.monotonic()
    assert before <= SystemClock(pace=1000).monotonic() <= time.monotonic()
