"""How soon the operator is ready and what it holds when idle, beside what its libraries alone cost
to import."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench_process import cpu_seconds, memory
from bench_report import Figure, times
from lab.chart import Installed
from lab.processes import Operator

REPEATS = 3
"""Of each, in turns; the medians are told."""

IMPORTS = "import kopf, azure.mgmt.compute"

Cost = tuple[float, float, float]
"""Seconds, seconds of CPU, MiB resident."""


def measure(installed: Installed, azure: Mapping[str, str], folder: Path) -> list[Figure]:
    """In a cluster without any object of azpatch's."""
    pairs = [(_operator(installed, azure, folder), _imports()) for _ in range(REPEATS)]
    ours, theirs = (
        [statistics.median(c) for c in zip(*x, strict=True)] for x in zip(*pairs, strict=True)
    )
    what = f"azpatch run: %s, to python -c '{IMPORTS}'"
    return [
        Figure(
            what % "until it is ready",
            times(ours[0], theirs[0]),
            f"{ours[0]:.1f} s to {theirs[0]:.1f} s",
        ),
        Figure(
            what % "CPU until it is ready",
            times(ours[1], theirs[1]),
            f"{ours[1]:.1f} s to {theirs[1]:.1f} s",
        ),
        Figure(
            what % "resident memory, idle",
            times(ours[2], theirs[2]),
            f"{ours[2]:.0f} MiB to {theirs[2]:.0f} MiB",
        ),
    ]


def _operator(installed: Installed, azure: Mapping[str, str], folder: Path) -> Cost:
    began = time.monotonic()
    with Operator(installed, azure, folder) as operator:
        operator.wait_until_ready()
        seconds = time.monotonic() - began
        pid = operator.child.pid
        return seconds, cpu_seconds(pid), memory(pid)[0]


def _imports() -> Cost:
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", IMPORTS])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
