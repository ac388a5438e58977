"""The two notations of a duration."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.durations import format_go, format_iso, parse_go, parse_iso

WHOLE_SECONDS = st.integers(0, 99_999).map(lambda seconds: timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("24h", timedelta(days=1)),
        ("1h30m", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("168h", timedelta(days=7)),
    ],
)
def test_go_is_read(text: str, duration: timedelta) -> None:
    assert parse_go(text) == duration


@pytest.mark.parametrize("text", ["", "24", "1d", "PT2H", "-1h", "1.5h", "30m1h", "1h ", "100ms"])
def test_what_is_not_go_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 24h or 1h30m"):
        parse_go(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT2H", timedelta(hours=2)),
        ("PT3H55M", timedelta(hours=3, minutes=55)),
        ("PT235M", timedelta(minutes=235)),
        ("PT04H00M00S", timedelta(hours=4)),
    ],
)
def test_iso_is_read(text: str, duration: timedelta) -> None:
    assert parse_iso(text) == duration


@pytest.mark.parametrize("text", ["", "PT", "P1D", "2h", "PT1.5H", "PT1M1H", "pt2h"])
def test_what_is_not_iso_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not an ISO 8601 duration such as PT2H"):
        parse_iso(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(hours=24), "PT24H"),
        (timedelta(hours=4), "PT4H"),
        (timedelta(minutes=90), "PT1H30M"),
        (timedelta(minutes=45), "PT45M"),
        (timedelta(0), "PT0S"),
    ],
)
def test_iso_is_written_as_the_guest_reads_it(duration: timedelta, text: str) -> None:
    assert format_iso(duration) == text


@given(WHOLE_SECONDS)
def test_go_survives_a_round_trip(duration: timedelta) -> None:
    assert parse_go(format_go(duration)) == duration


@given(WHOLE_SECONDS)
def test_iso_survives_a_round_trip(duration: timedelta) -> None:
    assert parse_iso(format_iso(duration)) == duration
