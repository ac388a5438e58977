"""The command line: `azsim serve` and `azsim fleet`."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from azsim.clock import PacedClock, timestamp
from azsim.cloud import Cloud
from azsim.edge import build_router
from azsim.fleet import Fleet
from azsim.fleetfile import FleetError, load
from azsim.generate import render
from azsim.journal import Journal
from azsim.resourcegraph import ResourceGraph
from azsim.server import HOST, Addresses, serving

PORT = click.IntRange(0, 65535)


@click.group()
def main() -> None:
    """A simulated Azure Resource Manager for tests, demos and CI. It touches nothing real."""


class Instant(click.ParamType[datetime]):
    """An RFC 3339 time with its offset."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The time in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-23T12:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no offset; write 2026-11-23T12:00:00Z", param, ctx)
        return moment.astimezone(UTC)


@main.command()
@click.option(
    "--fleet",
    "fleet_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What the simulated Azure holds (YAML or JSON).",
)
@click.option("--port", type=PORT, default=0, show_default="any free", help="HTTPS port.")
@click.option(
    "--imds-port",
    type=PORT,
    default=0,
    show_default="any free",
    help="HTTP port of the metadata service.",
)
@click.option(
    "--pace",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Simulated seconds per real second.",
)
@click.option(
    "--clock-origin",
    type=Instant(),
    help="When simulated and real time agree [default: the start].",
)
@click.option("--seed", default=0, show_default=True, help="Draws ids, lags and what is unknown.")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what a client needs here, as KEY=value lines, once it is up.",
)
@click.option(
    "--journal",
    "journal_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every request and event here, as JSON lines.",
)
def serve(
    fleet_file: Path,
    port: int,
    imds_port: int,
    pace: float,
    clock_origin: datetime | None,
    seed: int,
    env_file: Path | None,
    journal_file: Path | None,
) -> None:
    """Serve a simulated Azure on the loopback interface until SIGTERM or SIGINT."""
    if env_file is not None:
        # First of all: whoever waits for the file waits for this start, and it may fail.
        env_file.unlink(missing_ok=True)
    try:
        fleet = load(fleet_file)
    except OSError as error:
        raise click.ClickException(f"cannot read the fleet file: {error}") from error
    except FleetError as error:
        lines = "\n".join(f"  {path}: {message}" for path, message in error.problems)
        raise click.ClickException(f"{fleet_file} is not a fleet file:\n{lines}") from error
    clock = PacedClock(clock_origin, pace)
    graph = ResourceGraph()
    cloud = Cloud(fleet, clock, random.Random(seed), Journal(journal_file), build_router(graph))
    graph.refresh(cloud)
    try:
        asyncio.run(_serve(cloud, fleet, clock, port, imds_port, env_file and env_file.absolute()))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {HOST}: {error}") from error


async def _serve(
    cloud: Cloud,
    fleet: Fleet,
    clock: PacedClock,
    port: int,
    imds_port: int,
    env_file: Path | None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="azsim-") as scratch:
        ca_file = env_file.with_name(f"{env_file.name}.ca.pem") if env_file else Path(scratch, "ca")
        async with serving(cloud, port=port, imds_port=imds_port, ca_file=ca_file) as addresses:
            settings = client_settings(fleet, clock, addresses)
            print(f"azsim: {len(fleet.machines)} machines, listening on {HOST} only")
            for key, value in settings.items():
                print(f"{key}={value}")
            sys.stdout.flush()
            if env_file is not None:
                _write(env_file, settings)
            await stop.wait()


def client_settings(fleet: Fleet, clock: PacedClock, addresses: Addresses) -> dict[str, str]:
    """What a client needs, under the names that azure-identity and azpatch read."""
    principal = next((p for p in fleet.principals if p.secret), fleet.principals[0])
    settings = {
        "AZURE_TENANT_ID": principal.tenant_id,
        "AZURE_CLIENT_ID": principal.client_id,
        "AZURE_CLIENT_SECRET": principal.secret or "",
        "AZURE_SUBSCRIPTION_ID": fleet.subscriptions[0].id,
        "AZURE_AUTHORITY_HOST": addresses.arm,
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": addresses.imds,
        "AZSIM_ARM_ENDPOINT": addresses.arm,
        "AZSIM_CA_FILE": str(addresses.ca_file),
        "AZSIM_CLOCK_ORIGIN": timestamp(clock.origin),
        "AZSIM_PACE": f"{clock.pace:g}",
    }
    return {key: value for key, value in settings.items() if value}


def _write(env_file: Path, settings: dict[str, str]) -> None:
    """All at once: whoever waits for the file finds it whole."""
    env_file.parent.mkdir(parents=True, exist_ok=True)
    partial = env_file.with_name(env_file.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    os.replace(partial, env_file)


@main.command()
@click.option("--machines", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--seed", default=0, show_default=True)
def fleet(machines: int, seed: int) -> None:
    """Print a fleet file with a realistic mix of images, states and failures."""
    click.echo(render(machines, seed))


if __name__ == "__main__":
    main()
