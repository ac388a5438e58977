"""A whole wave on the real parts, at a stated pace. `bench_wave` has the bound, and the same in
virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from bench_cluster import requests
from bench_process import cpu_seconds, wait_until
from bench_report import Figure
from bench_stage import MOST_AT_WORK, Stage
from bench_wave import Wave, patience
from lab import chart

PACE = 3.0
"""Azure's seconds in a real one: 1000 machines, which the bucket lets through in 12 minutes, then
take 4 minutes, and 10 operations a second are no limit of two cores."""


def measure(stage: Stage) -> Iterator[tuple[str, list[Figure]]]:
    """No azpatch may run. What is there is cleared first."""
    if stage.machines > MOST_AT_WORK:
        return
    stage.clear()
    chart.free_lease(stage.controlplane, stage.installed.namespace)
    with stage.azure(PACE) as azsim:
        seen = 0
        wave = Wave(stage.machines)

        def complete() -> bool:
            nonlocal seen
            for place, entry in requests(azsim.journal, seen):
                seen = place
                at = datetime.fromisoformat(entry["time"])
                wave.read(at, entry["method"], entry["path"], entry["status"])
            return wave.complete

        with stage.operator(azsim, "operator-wave") as operator:
            operator.wait_until_ready()
            cpu = cpu_seconds(operator.child.pid)
            stage.apply(azsim, access="Patch", assess=True, install=True)
            limit = patience(stage.machines).total_seconds() / PACE + stage.patience
            wait_until(operator.child, complete, "end of the wave", limit)
            spent = cpu_seconds(operator.child.pid) - cpu
    costs = f"pace {PACE:g}, {spent / stage.machines * 1000:.1f} ms of CPU a machine"
    title = f"A wave of {stage.machines:,} machines: assessed, installed, assessed again"
    yield title, wave.figures("on the real parts", costs)
