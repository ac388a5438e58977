"""The operator with a large fleet: coming to rest, being at rest, assessing everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import bench_fleet as fleet
import bench_raw as raw
from bench_cluster import (
    Writes,
    azure_requests,
    delete_patch_targets,
    machines_told,
    patch_targets,
)
from bench_process import Probe, cpu_seconds, memory, samples, wait_until
from bench_report import Figure, listed, refused, times
from bench_stage import MOST_AT_WORK, Stage, wait_until_quiet
from lab import chart
from lab.processes import AzSim, Operator

RAW_NAMESPACE = "raw"

RESYNCS_WATCHED = 2
"""At rest. The default interval is five minutes, here it is as short as the fleet allows."""

RESTING_SECONDS = 300.0
"""How long nothing may be written, at least: five minutes, with an inventory and the resyncs."""

DEFAULT_RESYNC_SECONDS = 300
"""What `azpatch run` has unless told otherwise."""

ASSESSING_PACE = 20.0
"""Azure takes 200 guest patch operations a minute in each subscription (600 at once), so that 4000
machines need a quarter of an hour there: some 50 seconds here."""


def measure(stage: Stage) -> Iterator[tuple[str, list[Figure]]]:
    """Tables, as they are ready."""
    machines = stage.machines
    with stage.azure() as azsim:
        came = _come_to_rest(stage, azsim)
        beside = _raw(stage)
        yield (
            f"The operator: from kubectl apply to a status on each of {machines:,} PatchTargets",
            _converged(stage, came, beside),
        )
        yield f"The operator at rest with {machines:,} machines", _at_rest(stage, azsim, came)
    if machines > MOST_AT_WORK:
        return
    with stage.azure(ASSESSING_PACE) as azsim:
        yield f"The operator: {machines:,} machines assessed", _assessed(stage, azsim, came)


# --- coming to rest -------------------------------------------------------------------------------


@dataclass
class _Convergence:
    seconds: float
    """From before `kubectl apply` to the last PatchTarget's first status."""
    reading_seconds: float
    """Of these, until the first PatchTarget was created."""
    cpu_seconds: float
    base_mebibytes: float
    """Before there was anything."""
    mebibytes: float
    """At its highest."""
    writes: Writes
    page: str
    """The operator's metrics."""
    probe: Probe


def _come_to_rest(stage: Stage, azsim: AzSim) -> _Convergence:
    with stage.operator(azsim, "operator-converging") as operator:
        operator.wait_until_ready()
        writes, cpu = stage.writes(), cpu_seconds(operator.child.pid)
        base = memory(operator.child.pid)[0]
        with Probe(operator) as probe:
            before = stage.apply(azsim, access="Read", assess=False)

            def all_settled() -> bool:
                writes.read()
                return len(writes.settled) >= stage.machines

            wait_until(operator.child, all_settled, "status on every machine", stage.patience)
            wait_until_quiet(operator, writes, stage.patience)
        assert writes.created is not None
        return _Convergence(
            seconds=(max(writes.settled.values()) - before).total_seconds(),
            reading_seconds=(writes.created - before).total_seconds(),
            cpu_seconds=cpu_seconds(operator.child.pid) - cpu,
            base_mebibytes=base,
            mebibytes=memory(operator.child.pid)[1],
            writes=writes,
            page=operator.metrics(),
            probe=probe,
        )


def _raw(stage: Stage) -> raw.RawCost:
    """The same objects, written by a bare client in another namespace, with the same rights."""
    admin = stage.controlplane.admin
    targets = patch_targets(admin, fleet.NAMESPACE)
    unsettled = [t["metadata"]["name"] for t in targets if not t["status"].get("conditions")]
    assert len(targets) == stage.machines, f"{len(targets)} PatchTargets"
    assert not unsettled, f"without conditions: {unsettled[:3]}"
    chart.create_namespace(stage.controlplane, RAW_NAMESPACE)
    cost = raw.write(stage.controlplane, stage.token(), raw.like(targets, RAW_NAMESPACE))
    delete_patch_targets(admin, RAW_NAMESPACE)
    return cost


def _converged(stage: Stage, came: _Convergence, beside: raw.RawCost) -> list[Figure]:
    count = stage.machines
    working = came.seconds - came.reading_seconds
    runs = samples(came.page, "azpatch_workqueue_work_duration_seconds_count", "kind")
    work = samples(came.page, "azpatch_workqueue_work_duration_seconds_sum", "kind")
    return [
        Figure(
            "until the last one has its status, to a bare client that writes the same objects; "
            "goal 1.3",
            times(came.seconds, beside.seconds),
            f"{came.seconds:.1f} s to {beside.seconds:.1f} s; {count / came.seconds:.0f} "
            f"to {count / beside.seconds:.0f} a second",
        ),
        Figure(
            "the same from the first create on, without kubectl and the reading of the inventory",
            times(working, beside.seconds),
            f"{working:.1f} s to {beside.seconds:.1f} s",
        ),
        Figure(
            "CPU until all is at rest, to the bare client's",
            times(came.cpu_seconds, beside.cpu_seconds),
            f"{came.cpu_seconds:.1f} s to {beside.cpu_seconds:.1f} s; "
            f"{came.cpu_seconds / count * 1000:.2f} ms a machine",
        ),
        Figure(
            "writes to the API server for each machine: one create, one status, and the policies'",
            f"{came.writes.total / count:.2f}",
            listed(came.writes.counted) + refused(came.writes.refused),
        ),
        Figure(
            "reconciles of each PatchTarget: created, written",
            f"{runs.get('PatchTarget', 0) / count:.2f}",
            f"{sum(runs.values()) / came.seconds:.0f} reconciles a second",
        ),
        Figure(
            "reconciles of policies, for each thousand machines; each walks its machines",
            f"{runs.get('PatchPolicy', 0) / count * 1000:.1f}",
            f"{runs.get('PatchPolicy', 0):.0f} of them, {work.get('PatchPolicy', 0):.1f} s with "
            "the creates they wait for",
        ),
        Figure("highest resident memory", "", f"{came.mebibytes:.0f} MiB"),
        _lag(came.probe),
    ]


# --- at rest --------------------------------------------------------------------------------------


def _at_rest(stage: Stage, azsim: AzSim, came: _Convergence) -> list[Figure]:
    interval = max(10, stage.machines // 200)
    writes, began = stage.writes(), time.monotonic()
    with stage.operator(
        azsim, "operator-resting", ["--resync-interval", f"{interval}s"]
    ) as operator:
        operator.wait_until_ready()
        ready = time.monotonic() - began
        wait_until_quiet(operator, writes, stage.patience)
        pid = operator.child.pid
        started = cpu_seconds(pid)
        writes_before, (entries, _) = writes.total, azure_requests(azsim.journal, 0)
        _wait_for_resyncs(operator, 1, stage.patience)
        cpu, resting = cpu_seconds(pid), time.monotonic()
        with Probe(operator) as probe:
            _wait_for_resyncs(operator, RESYNCS_WATCHED, stage.patience)
        each = (cpu_seconds(pid) - cpu) / RESYNCS_WATCHED
        time.sleep(max(0.0, RESTING_SECONDS - (time.monotonic() - resting)))
        writes.read()
        asked = azure_requests(azsim.journal, entries)[1]
        now, highest = memory(pid)
    return [
        Figure(
            "CPU of one resync, to that of coming to rest",
            f"{each / came.cpu_seconds:.3f}",
            f"{each:.2f} s, {each / stage.machines * 1000:.2f} ms a machine; every five minutes "
            f"{each / DEFAULT_RESYNC_SECONDS:.1%} of a core",
        ),
        Figure(
            f"writes to the API server in {RESTING_SECONDS / 60:g} minutes and more than "
            f"{RESYNCS_WATCHED} resyncs; goal 0",
            f"{writes.total - writes_before}",
            listed(writes.counted) + refused(writes.refused),
        ),
        Figure(
            "requests to Azure meanwhile other than the inventory's",
            f"{sum(asked.values()) - asked['Resource Graph queries'] - asked['others']}",
            listed(asked),
        ),
        Figure(
            "CPU of a restart with everything in place, until at rest, to that of coming to rest",
            f"{started / came.cpu_seconds:.2f}",
            f"{started:.1f} s; ready after {ready:.1f} s, {writes_before} writes",
        ),
        Figure(
            "resident memory: ready and without an object; goal 200 MiB",
            "",
            f"{came.base_mebibytes:.0f} MiB",
        ),
        Figure(
            "resident memory at rest over that, for each thousand machines; goal 10 MiB",
            "",
            f"{(now - came.base_mebibytes) / stage.machines * 1000:.1f} MiB; at its highest "
            f"{highest:.0f} MiB in all",
        ),
        _lag(probe),
    ]


def _wait_for_resyncs(operator: Operator, count: int, seconds: float) -> None:
    def resyncs() -> float:
        return sum(samples(operator.metrics(), "azpatch_resyncs_total").values())

    enough = resyncs() + count
    wait_until(operator.child, lambda: resyncs() >= enough, "resync", seconds)


# --- assessing ------------------------------------------------------------------------------------


def _assessed(stage: Stage, azsim: AzSim, came: _Convergence) -> list[Figure]:
    count = stage.machines
    with stage.operator(azsim, "operator-assessing") as operator:
        operator.wait_until_ready()
        writes, pid = stage.writes(), operator.child.pid
        entries, _ = azure_requests(azsim.journal, 0)
        with Probe(operator) as probe:
            before = stage.apply(azsim, access="Assess", assess=True)
            cpu = cpu_seconds(pid)
            admin = stage.controlplane.admin
            wait_until(
                operator.child,
                lambda: machines_told(admin, fleet.NAMESPACE) >= count,
                "assessment of every machine",
                2 * stage.patience,
            )
            seconds = (datetime.now(UTC) - before).total_seconds()
            wait_until_quiet(operator, writes, stage.patience)
        spent = cpu_seconds(pid) - cpu
        asked = azure_requests(azsim.journal, entries)[1]
        highest = memory(pid)[1]
    in_azure = seconds * ASSESSING_PACE
    each_subscription = count / len(fleet.subscriptions(count))
    return [
        Figure(
            "assessments a minute of Azure's time in each subscription; its budget is 200",
            f"{each_subscription / in_azure * 60:.0f}",
            f"{in_azure / 60:.0f} minutes there, {seconds:.0f} s here",
        ),
        Figure(
            "CPU, to that of coming to rest",
            times(spent, came.cpu_seconds),
            f"{spent:.1f} s, {spent / count * 1000:.1f} ms a machine",
        ),
        Figure(
            "writes to the API server for each machine",
            f"{writes.total / count:.2f}",
            listed(writes.counted) + refused(writes.refused),
        ),
        Figure(
            "requests to Azure for each machine",
            f"{sum(asked.values()) / count:.2f}",
            listed(asked),
        ),
        Figure("highest resident memory", "", f"{highest:.0f} MiB"),
        _lag(probe),
    ]


def _lag(probe: Probe) -> Figure:
    """A kubelet's probe waits one second by default."""
    return Figure(
        "until /readyz is answered by the loop that also reconciles: 99 of 100, the longest",
        "",
        f"{probe.share(0.99) * 1000:.0f} ms, {probe.share(1) * 1000:.0f} ms "
        f"(half: {probe.share(0.5) * 1000:.0f} ms; {len(probe.seconds)} answers)",
    )
