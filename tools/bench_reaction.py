"""How soon azpatch acts with a large fleet in place: on a new policy, and after a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import bench_fleet as fleet
import bench_raw as raw
from bench_cluster import API, azure_requests, requests
from bench_process import samples
from bench_report import Figure, times
from bench_stage import Stage, wait_until_quiet
from lab import chart
from lab.child import ChildFailed
from lab.processes import AzSim, Operator

SERVING = "serving health and metrics"
"""The operator's first line: everything is imported."""

POLL_SECONDS = 0.02

REPEATS = 3
"""Of the restart and of the LIST, in turns; the medians are told."""


def measure(stage: Stage) -> Iterator[tuple[str, list[Figure]]]:
    """Needs the PatchTargets in place."""
    with stage.azure() as azsim:
        stage.apply(azsim, access="Assess", assess=False)
        with stage.operator(azsim, "operator-settling") as operator:
            operator.wait_until_ready()
            wait_until_quiet(operator, stage.writes(), stage.patience)
        pairs = [(_restart(stage, azsim, n), _list(stage)) for n in range(REPEATS)]
        restart, listed = (sorted(column)[REPEATS // 2] for column in zip(*pairs, strict=True))
        with stage.operator(azsim, "operator-reacting") as operator:
            operator.wait_until_ready()
            wait_until_quiet(operator, stage.writes(), stage.patience)
            seconds = list(reactions(stage, azsim, operator))
    title = f"The operator's reactions with {stage.machines:,} machines in place"
    yield (
        title,
        [
            Figure(
                "restart, from the end of the imports to the first decision on a machine, with the "
                "Lease free, to a bare client's LIST and decoding; goal 2",
                times(restart, listed),
                f"{restart:.2f} s to {listed:.2f} s",
            ),
            told("at rest", seconds),
        ],
    )


def _restart(stage: Stage, azsim: AzSim, number: int) -> float:
    """Seconds. An election comes first: a Lease that is not free costs up to its duration more."""
    chart.free_lease(stage.controlplane, stage.installed.namespace)
    with stage.operator(azsim, f"operator-restart-{number}") as operator:
        deadline = time.monotonic() + stage.patience
        while not _decisions(operator):
            if not operator.running or time.monotonic() > deadline:
                raise ChildFailed(f"no decision; the log is {operator.log}")
            time.sleep(POLL_SECONDS)
        return (datetime.now(UTC) - _serving(operator)).total_seconds()


def _decisions(operator: Operator) -> float:
    if not operator.status("/healthz"):
        return 0
    counts = samples(operator.metrics(), "azpatch_workqueue_work_duration_seconds_count", "kind")
    return counts.get("PatchTarget", 0)


def _serving(operator: Operator) -> datetime:
    for line in operator.log.read_text().splitlines():
        if SERVING in line:
            return datetime.fromisoformat(json.loads(line)["timestamp"])
    raise ChildFailed(f"nothing says '{SERVING}'; the log is {operator.log}")


def _list(stage: Stage) -> float:
    return raw.read(stage.controlplane, stage.token(), fleet.NAMESPACE).seconds


def reactions(stage: Stage, azsim: AzSim, operator: Operator) -> Iterator[float]:
    """Real seconds from before the request of a server-side apply until azsim took in the first
    request about the machine: kubectl's own start does not count."""
    for number in range(1, fleet.PROBES + 1):
        machine = fleet.probe_id(stage.machines, number)
        skip = azure_requests(azsim.journal, 0)[0]
        name = f"probe-{number}"
        policy = fleet.policy(name, {"virtualMachine": {"id": machine}}, assess=True)
        path = f"{API}/namespaces/{fleet.NAMESPACE}/patchpolicies/{name}"
        before = datetime.now(UTC)
        stage.controlplane.admin.patch(f"{path}?fieldManager=bench", policy, "apply")
        asked = _first_about(machine, azsim, skip, operator, stage.patience)
        yield (asked - azsim.clock.at(before)).total_seconds() / azsim.clock.pace


def told(where: str, seconds: list[float], more: str = "") -> Figure:
    """What reactions come to."""
    ordered = sorted(seconds)
    middle, late = (ordered[int((len(ordered) - 1) * share)] for share in (0.5, 0.99))
    return Figure(
        f"{where}: from the apply of a policy to the first call to Azure about its machine, "
        f"{len(ordered)} policies one after another; goal 1 s of 99 in 100",
        "",
        f"half: {middle:.2f} s; 99 in 100: {late:.2f} s; longest: {ordered[-1]:.2f} s{more}",
    )


def _first_about(
    machine: str, azsim: AzSim, skip: int, operator: Operator, patience: float
) -> datetime:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and operator.running:
        for _, entry in requests(azsim.journal, skip):
            if entry["path"].lower().startswith(machine.lower()):
                return datetime.fromisoformat(entry["time"])
        time.sleep(POLL_SECONDS)
    raise ChildFailed(f"no request about {machine}; the log is {operator.log}")
