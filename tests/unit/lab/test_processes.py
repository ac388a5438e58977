"""The clock and the environment that azsim and the operator share."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lab.processes import Clock, read_env_file, rfc3339


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        pytest.param(datetime(2026, 11, 23, 10, tzinfo=UTC), "2026-11-23T10:00:00Z", id="UTC"),
        pytest.param(
            datetime(2026, 11, 23, 10, tzinfo=timezone(timedelta(hours=1))),
            "2026-11-23T09:00:00Z",
            id="elsewhere",
        ),
    ],
)
def test_instants_are_written_in_utc(instant: datetime, text: str) -> None:
    assert rfc3339(instant) == text


def test_both_programs_get_the_same_flags() -> None:
    clock = Clock(pace=60, origin=datetime(2026, 11, 23, tzinfo=UTC))
    assert clock.flags == ["--pace", "60", "--clock-origin", "2026-11-23T00:00:00Z"]


def test_simulated_time_runs_from_the_origin_at_the_pace() -> None:
    origin = datetime.now(UTC) - timedelta(seconds=10)
    elapsed = Clock(pace=60, origin=origin).now() - origin
    assert timedelta(minutes=10) <= elapsed < timedelta(minutes=30)


def test_an_env_file_is_read_as_a_shell_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("# of azsim\nA=1\n\nB=x=y\n")
    assert read_env_file(path) == {"A": "1", "B": "x=y"}
