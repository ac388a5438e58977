"""azsim as a process, as the demo and the end-to-end tests start it."""

import ssl
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.child import ChildFailed
from lab.processes import AzSim, Clock, read_env_file

FLEET = """
subscriptions:
  - id: 6f1c0000-0000-4000-8000-000000000001
    displayName: prod
machines: []
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def test_it_serves_when_the_constructor_returns_and_ends_by_sigterm(
    fleet: Path, tmp_path: Path
) -> None:
    origin = datetime(2026, 11, 23, tzinfo=UTC)
    with AzSim(fleet, tmp_path / "logs", Clock(pace=60, origin=origin)) as azsim:
        context = ssl.create_default_context(cafile=azsim.env["AZSIM_CA_FILE"])
        url = azsim.env["AZSIM_ARM_ENDPOINT"] + "/metadata/endpoints?api-version=2022-09-01"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            assert answer.status == 200
        assert azsim.env == read_env_file(azsim.env_file)
        assert azsim.env["AZSIM_PACE"] == "60"
        assert datetime.fromisoformat(azsim.env["AZSIM_CLOCK_ORIGIN"]) == origin
        assert azsim.journal.read_text().count("\n") >= 1
        assert azsim.stop() == 0
        assert not azsim.running


def test_a_fleet_file_that_is_wrong_is_an_error_with_its_reason(
    fleet: Path, tmp_path: Path
) -> None:
    fleet.write_text("subscriptions: 3\n")
    with pytest.raises(ChildFailed, match=r"(?s)azsim ended with status 1.*subscriptions"):
        AzSim(fleet, tmp_path / "logs")
