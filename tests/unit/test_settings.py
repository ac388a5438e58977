"""Settings: defaults, sources, refusals."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from azpatch.settings import ENV_PREFIX, Settings, is_loopback, options, parse

LOOPBACK = "https://127.0.0.1:8443"


@click.command()
@options
def command(**values: str | None) -> None:
    """Prints what the settings are."""
    click.echo(parse(values).model_dump_json())


def cli(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments, env=env)
    return result.exit_code, result.output


def test_without_anything_the_operator_runs_against_public_azure_in_real_time() -> None:
    settings = parse({})
    assert settings.azure().arm_endpoint == "https://management.azure.com"
    assert (settings.pace, settings.workers) == (1.0, 20)
    assert settings.inventory_interval == settings.resync_interval == timedelta(minutes=5)
    assert settings.address() == ("0.0.0.0", 8080)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_flag_a_variable_and_explained(name: str) -> None:
    _, help_text = cli("--help")
    assert f"--{name.replace('_', '-')} " in help_text
    assert ENV_PREFIX + name.upper() in " ".join(help_text.split())
    assert Settings.model_fields[name].description


def test_a_flag_wins_over_its_variable() -> None:
    status, output = cli("--workers", "7", env={"AZPATCH_WORKERS": "9", "AZPATCH_SEED": "4"})
    assert status == 0
    assert '"workers":7' in output
    assert '"seed":4' in output


def test_an_empty_variable_is_an_absent_one() -> None:
    status, output = cli(env={"AZPATCH_WORKERS": "", "AZPATCH_ARM_ENDPOINT": ""})
    assert status == 0
    assert '"workers":20' in output


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param({"workers": "0"}, "--workers", id="no workers"),
        pytest.param({"workers": "many"}, "--workers", id="not a number"),
        pytest.param({"resync_interval": "5 minutes"}, "5 minutes", id="not a Go duration"),
        pytest.param({"inventory_interval": "1s"}, "--inventory-interval", id="too often"),
        pytest.param({"lease_duration": "10s"}, "--lease-duration", id="a leader for too long"),
        pytest.param({"lease_retry_period": "6s"}, "twice", id="one renewal must not fail"),
        pytest.param({"cloud": "AzureMoon"}, "AzurePublic", id="a cloud that is not there"),
        pytest.param({"listen": "8080"}, "--listen", id="no address"),
        pytest.param({"log_level": "loud"}, "--log-level", id="a level that is not there"),
        pytest.param({"clock_origin": "2026-03-01T00:00:00"}, "timezone", id="no time zone"),
        pytest.param({"arm_endpoint": "http://127.0.0.1:1"}, "https", id="ARM without TLS"),
        pytest.param({"pace": "60"}, "not a loopback address", id="pace on real Azure"),
        pytest.param(
            {"clock_origin": "2026-03-01T00:00:00Z"},
            "not a loopback address",
            id="clock origin on real Azure",
        ),
        pytest.param(
            {"pace": "60", "arm_endpoint": "https://arm.example.com"},
            "https://arm.example.com",
            id="pace on somebody's ARM",
        ),
        pytest.param({"pace": "0", "arm_endpoint": LOOPBACK}, "--pace", id="time stands still"),
    ],
)
def test_what_cannot_work_is_refused_and_named(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        parse(values)
    assert problem in refused.value.message


def test_a_simulated_azure_on_this_machine_may_have_its_own_time() -> None:
    settings = parse(
        {"pace": "60", "clock_origin": "2026-03-01T01:00:00+01:00", "arm_endpoint": LOOPBACK}
    )
    assert settings.pace == 60
    assert settings.origin.astimezone(UTC) == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("https://127.0.0.1:8443", True),
        ("https://127.9.9.9", True),
        ("https://[::1]:8443", True),
        ("https://localhost:8443", True),
        ("https://management.azure.com", False),
        ("https://127.0.0.1.example.com", False),
        ("https://localhost@example.com", False),
        ("https://10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_decided_by_the_host_alone(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"cloud": "AzureUSGovernment"}, id="by name"),
        pytest.param({"arm_endpoint": "https://management.usgovcloudapi.net"}, id="by endpoint"),
    ],
)
def test_a_sovereign_cloud_comes_with_its_authority_and_scope(given: dict[str, str]) -> None:
    cloud = parse(given).azure()
    assert cloud.authority_host == "https://login.microsoftonline.us"
    assert cloud.scope == "https://management.core.usgovcloudapi.net/.default"


def test_an_endpoint_of_ones_own_has_its_own_scope_and_ca(tmp_path: Path) -> None:
    ca = str(tmp_path / "ca.pem")
    cloud = parse({"arm_endpoint": LOOPBACK, "authority_host": LOOPBACK, "ca_file": ca}).azure()
    assert cloud.scope == f"{LOOPBACK}/.default"
    assert cloud.ca_file == ca
