"""Worlds that last for weeks: what their clocks and windows go through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from azpatch.api.policy import PatchPolicy
from judging.calendar_by_day import opened
from simulation import month_rollouts, months
from simulation.fleets import Fleet
from simulation.month_windows import ZONES, Change, changes

WORLDS = range(months.AMONG, 40 * months.ONE_IN, months.ONE_IN)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("zone", "at", "by", "doubtful"),
    [
        pytest.param("Europe/Berlin", "2027-03-28T01:00", HOUR, "2027-03-28T02:30", id="in spring"),
        pytest.param(
            "Europe/Berlin", "2027-10-31T01:00", -HOUR, "2027-10-31T02:30", id="in autumn"
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "2027-10-02T15:30",
            30 * MINUTE,
            "2027-10-03T02:15",
            id="by half an hour",
        ),
        pytest.param(
            "America/Santiago", "2027-09-05T04:00", HOUR, "2027-09-05T00:30", id="at midnight"
        ),
    ],
)
def test_changes_are_read_off_the_zone(zone: str, at: str, by: timedelta, doubtful: str) -> None:
    known = Change(zone, datetime.fromisoformat(at).replace(tzinfo=UTC), by)
    assert known in changes(zone, 2027)
    assert known.doubtful == datetime.fromisoformat(doubtful)


def test_each_world_goes_through_the_end_of_a_month_and_a_change_of_a_policys_clock() -> None:
    for seed in WORLDS:
        fleet, lasts = months.draw(Random(seed))
        end = fleet.start + lasts
        assert fleet.start.month != end.month
        zone = ZoneInfo(fleet.policies[0]["spec"]["schedule"]["timeZone"])
        assert fleet.start.astimezone(zone).utcoffset() != end.astimezone(zone).utcoffset()


def test_all_zones_are_drawn_with_changes_both_ways() -> None:
    seen = set()
    for seed in WORLDS:
        fleet, lasts = months.draw(Random(seed))
        name = fleet.policies[0]["spec"]["schedule"]["timeZone"]
        zone = ZoneInfo(name)
        before, after = (
            at.astimezone(zone).utcoffset() for at in (fleet.start, fleet.start + lasts)
        )
        assert before is not None
        assert after is not None
        seen.add((name, before < after))
    assert seen == {(zone, forward) for zone in ZONES for forward in (False, True)}


def _whole(seed: int) -> Fleet:
    """With what its policies ask for besides windows."""
    return month_rollouts.drawn(months.draw(Random(seed))[0], Random(seed))


def test_every_policy_is_one_that_the_api_server_takes() -> None:
    for seed in WORLDS:
        for raw in _whole(seed).policies:
            PatchPolicy.model_validate(raw)


def test_some_policies_ask_for_an_approval_for_groups_or_for_what_the_canary_was_given() -> None:
    asked = [
        field
        for seed in WORLDS
        for raw in _whole(seed).policies
        for field in raw["spec"]["rollout"]
    ]
    rare = {field: asked.count(field) for field in ("approval", "spread", "patchSet", "maxFailed")}
    assert min(rare.values()) >= 3, rare


def test_a_machine_in_a_group_is_still_its_policys() -> None:
    for seed in WORLDS:
        plain, whole = (
            fleet.azure["machines"] for fleet in (months.draw(Random(seed))[0], _whole(seed))
        )
        assert [one["tags"][months.TAG] for one in whole] == [
            one["tags"][months.TAG] for one in plain
        ]


def test_a_window_of_each_world_is_near_a_change_of_its_clock() -> None:
    for seed in WORLDS:
        fleet, _ = months.draw(Random(seed))
        schedule = fleet.policies[0]["spec"]["schedule"]
        around = [
            one
            for year in months.YEARS
            for one in changes(schedule["timeZone"], year)
            if any(
                start - 2 * HOUR <= one.at <= end + 2 * HOUR
                for start, end, _ in opened(schedule, one.at - 2 * DAY, one.at + 2 * DAY)
            )
        ]
        assert any(abs(one.at - fleet.start) < 50 * DAY for one in around)
