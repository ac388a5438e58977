"""Simulated time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from azsim.clock import ManualClock, PacedClock, timestamp


def test_two_clocks_with_one_origin_and_pace_agree() -> None:
    origin = datetime.now(UTC) - timedelta(minutes=10)
    one, other = PacedClock(origin, 60), PacedClock(origin, 60)

    assert abs(one.now() - other.now()) < timedelta(seconds=30)


def test_simulated_time_runs_from_the_origin_at_the_pace() -> None:
    origin = datetime.now(UTC) - timedelta(minutes=10)
    passed = PacedClock(origin, 60).now() - origin

    assert timedelta(hours=10) <= passed < timedelta(hours=11)


def test_without_a_pace_it_is_real_time() -> None:
    assert abs(PacedClock().now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_pace_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        PacedClock(pace=0)


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="back"):
        ManualClock(datetime(2026, 1, 1, tzinfo=UTC)).advance(timedelta(seconds=-1))


def test_a_time_is_printed_in_utc() -> None:
    moment = datetime(2026, 11, 22, 12, 3, 12, 345678, tzinfo=timezone(timedelta(hours=2)))

    assert timestamp(moment) == "2026-11-22T10:03:12.345Z"
