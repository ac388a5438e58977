"""The command line of `make simulate`: many seeds, over all processors, and what they came to."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator

import click

from simulation.report import Report
from simulation.run import Outcome, simulate

COVERED_FROM = 2500
"""Seeds after which an empty cell is a fault of the simulation and not chance. None is impossible;
in 2,250 seeds the rarest happened 5 times and the next 10: of 250 sets of 2,500, one lacks it."""


@click.command()
@click.option("--seeds", default=200, show_default=True, help="How many.")
@click.option("--first-seed", default=0, show_default=True, help="The first of them.")
@click.option("--processes", default=0, help="0: as many as there are processors.")
@click.option(
    "--require-coverage/--allow-gaps",
    default=None,
    help=f"Whether an empty cell of the table is a failure; it is from {COVERED_FROM} seeds on.",
)
def main(seeds: int, first_seed: int, processes: int, require_coverage: bool | None) -> None:
    """Simulate the whole operator in virtual time, a fleet and its troubles for each seed."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of what a seed decides.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], environment)
    report = Report()
    wanted = range(first_seed, first_seed + seeds)
    for outcome in _outcomes(wanted, processes or os.cpu_count() or 1):
        report.add(outcome)
        if outcome.violation is not None:
            click.echo(report.failure(outcome))
    click.echo(report.table())
    click.echo(report.summary())
    covers = seeds >= COVERED_FROM if require_coverage is None else require_coverage
    missing = report.empty_cells() if covers else []
    for kind, step in missing:
        click.echo(f"never happened: {kind}, in step {step}")
    sys.exit(1 if report.failures or missing else 0)


def _outcomes(seeds: range, processes: int) -> Iterator[Outcome]:
    if processes == 1 or len(seeds) == 1:
        yield from map(simulate, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=200) as pool:
        yield from pool.imap(simulate, seeds, chunksize=5)


if __name__ == "__main__":
    main(prog_name="simulation")
