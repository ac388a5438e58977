"""``make bench``: what azpatch costs with many machines, on a real control plane and azsim.

``BENCH_MACHINES`` says how many (default 1000; 10000 is possible). Only the ratios carry over: each
compares two measurements of one run. docs/performance.md says what they mean.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rich.console import Console

import bench_azsim
import bench_marketplace
import bench_operator
import bench_reaction
import bench_real_run
import bench_real_wave
import bench_run
import bench_start
import bench_support
import bench_usual
import bench_wave
from bench_report import show
from bench_stage import Stage
from lab import chart
from lab.binaries import BinariesMissing
from lab.child import ChildFailed
from lab.command import CommandFailed
from lab.controlplane import ControlPlane
from lab.folders import run_folder

MACHINES = 1000
"""Enough for what grows faster than the fleet to show, few enough for a coffee."""


def main() -> int:
    """Exit status 1 if something that is measured failed."""
    # Not a terminal: a width at which the tables can be read, as in a log.
    console = Console(width=None if sys.stdout.isatty() else 140)
    if not os.path.exists("/proc/self/stat"):
        console.print("The benchmark reads /proc, so it needs Linux.")
        return 1
    machines = int(os.environ.get("BENCH_MACHINES") or MACHINES)
    folder = run_folder("bench")
    began = time.monotonic()
    console.print(
        f"{machines:,} machines, {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} "
        "before the start. Ratios compare two measurements of this run."
    )
    try:
        _measure(console, folder, machines)
    except (BinariesMissing, ChildFailed, CommandFailed) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    console.print(f"\n{time.monotonic() - began:.0f} s. Logs: {folder}", soft_wrap=True)
    return 0


def _measure(console: Console, folder: Path, machines: int) -> None:
    show(console, "azsim", bench_azsim.measure(machines, folder))
    show(console, "Marketplace rules", bench_marketplace.measure(machines))
    show(console, "Without a cluster", bench_support.measure(machines, folder / "support"))
    with ControlPlane(folder / "controlplane") as controlplane:
        installed = chart.install(controlplane)
        with Stage(controlplane, installed, folder, 1).azure() as azsim:
            show(console, "Start", bench_start.measure(installed, azsim.env, folder / "start"))
        stage = Stage(controlplane, installed, folder, machines)
        for part in (
            bench_operator,
            bench_reaction,
            bench_usual,
            bench_real_wave,
            bench_real_run,
        ):
            for title, figures in part.measure(stage):
                show(console, title, figures)
    show(console, "A wave in virtual time", bench_wave.simulated(machines))
    show(console, "A run in waves in virtual time", bench_run.simulated(machines))


if __name__ == "__main__":
    sys.exit(main())
