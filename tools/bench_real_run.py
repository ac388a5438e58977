"""A run in waves on the real parts, at a stated pace: how soon a new policy is acted on beside it,
and what it costs the API server. `bench_run` has the bound, and the same in virtual time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_fleet as fleet
from bench_cluster import API, Writes, patch_targets
from bench_process import wait_until
from bench_reaction import reactions, told
from bench_report import Figure
from bench_run_writes import RunWrites
from bench_stage import MOST_AT_WORK, Stage
from bench_wave import patience
from lab import chart
from lab.audit import AuditEvent
from lab.processes import Operator

PACE = 3.0
"""As in `bench_real_wave`."""

SUMMARIES = ("patchpolicies", "patchruns")

OVER = ("Succeeded", "Failed", "Cancelled")

AFTERWARDS = 60.0
"""Real seconds from the end of the run until its writes are counted, as in `bench_run`."""


class AuditedRun(Writes):
    """Of the operator's writes, those from when it creates the PatchRun."""

    def __init__(self, audit_log: Path, user: str) -> None:
        super().__init__(audit_log, user)
        self.of_run = RunWrites(PACE)
        self._begun = False

    def _take(self, event: AuditEvent) -> None:
        super()._take(event)
        if event.code >= 300:
            return
        if event.verb == "create" and event.resource == "patchruns":
            self._begun = True
        elif self._begun and event.resource == "patchtargets":
            self.of_run.targets[event.name] += 1
        elif self._begun and event.subresource == "status" and event.resource in SUMMARIES:
            self.of_run.summaries[f"{event.resource} {event.name}"].append(event.time)


def measure(stage: Stage) -> Iterator[tuple[str, list[Figure]]]:
    """No azpatch may run. What is there is cleared first."""
    if stage.machines > MOST_AT_WORK:
        return
    stage.clear()
    chart.free_lease(stage.controlplane, stage.installed.namespace)
    writes = AuditedRun(stage.controlplane.audit_log, stage.user)
    limit = patience(stage.machines).total_seconds() / PACE + stage.patience
    with stage.azure(PACE) as azsim, stage.operator(azsim, "operator-run") as operator:
        operator.wait_until_ready()
        stage.apply(azsim, access="Patch", assess=True, waves=True)
        wait_until(operator.child, lambda: _begun(stage), "last wave", limit)
        seconds, beside = [], 0
        for number, reaction in enumerate(reactions(stage, azsim, operator), start=1):
            seconds.append(reaction)
            beside = number if _phase(stage) == "Running" else beside
        phase = _end(stage, operator, limit)
        time.sleep(AFTERWARDS)
        writes.read()
        writes.of_run.only(_in_run(stage))
    where = f"{stage.machines:,} machines, a run on the real parts at pace {PACE:g}"
    yield (
        f"Beside a run of {stage.machines:,} machines, which is {phase}",
        [
            told(f"{where}: with it under way", seconds, f"; {beside} of them within the run"),
            *writes.of_run.figures(where, stage.machines),
        ],
    )


def _runs(stage: Stage) -> list[dict[str, Any]]:
    path = f"{API}/namespaces/{fleet.NAMESPACE}/patchruns"
    items: list[dict[str, Any]] = stage.controlplane.admin.get(path)["items"]
    return items


def _phase(stage: Stage) -> str:
    return next((str(run["status"].get("phase")) for run in _runs(stage)), "not there")


def _begun(stage: Stage) -> bool:
    """The last wave has."""
    return any(
        run["status"].get("waves") and run["status"]["waves"][-1].get("startTime")
        for run in _runs(stage)
    )


def _in_run(stage: Stage) -> set[str]:
    """Names of the PatchTargets that are: those of the new policies are not."""
    targets = patch_targets(stage.controlplane.admin, fleet.NAMESPACE)
    return {one["metadata"]["name"] for one in targets if "run" in one.get("status", {})}


def _end(stage: Stage, operator: Operator, seconds: float) -> str:
    wait_until(operator.child, lambda: _phase(stage) in OVER, "end of the run", seconds)
    return _phase(stage)
