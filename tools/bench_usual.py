"""The operator written the usual way, on the same machines: what azpatch is measured beside."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from azure.identity.aio import ClientSecretCredential

import bench_fleet as fleet
from bench_cluster import Writes, azure_requests
from bench_process import cpu_seconds, memory, wait_until
from bench_report import Figure, listed, refused
from bench_stage import QUIET_SECONDS, Stage
from lab import chart
from lab.binaries import ROOT
from lab.child import Child
from lab.processes import PYTHONPATH, AzSim

NAMESPACE = "usual"
ACCOUNT = "default"
PROGRAM = ROOT / "tools" / "bench_usual_operator.py"

RESTING_SECONDS = 120.0
"""Two of its timer's intervals; what is counted is told for five minutes."""

FIVE_MINUTES = 300.0


def measure(stage: Stage) -> Iterator[tuple[str, list[Figure]]]:
    """No azpatch may run. Its namespace is cleared first."""
    stage.clear()
    chart.create_namespace(stage.controlplane, NAMESPACE)
    user = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    stage.controlplane.kubectl(
        "create",
        "clusterrolebinding",
        "usual",
        "--clusterrole=cluster-admin",
        f"--serviceaccount={NAMESPACE}:{ACCOUNT}",
    )
    with stage.azure() as azsim:
        writes = Writes(stage.controlplane.audit_log, user)
        child = _start(stage, azsim)
        try:
            yield (
                f"An operator written the usual way, with {stage.machines:,} machines",
                _measured(stage, azsim, child, writes),
            )
        finally:
            child.stop()


def _measured(stage: Stage, azsim: AzSim, child: Child, writes: Writes) -> list[Figure]:
    before, cpu = stage.apply(azsim, access="Read", assess=False), cpu_seconds(child.pid)
    looked: set[str] = set()

    def all_settled() -> bool:
        writes.read()
        looked.update(writes.settled)
        return len(looked) >= stage.machines

    wait_until(child, all_settled, "status on every machine", stage.patience)
    seconds = (datetime.now(UTC) - before).total_seconds()
    wait_until(child, lambda: _quiet(writes), "rest", stage.patience)
    count, spent = stage.machines, cpu_seconds(child.pid) - cpu
    entries, asked = azure_requests(azsim.journal, 0)
    converging, resident = writes.total, memory(child.pid)[0]
    time.sleep(RESTING_SECONDS)
    writes.read()
    resting = azure_requests(azsim.journal, entries)[1]
    scale = FIVE_MINUTES / RESTING_SECONDS
    return [
        Figure(
            "until the last one has its status",
            "",
            f"{seconds:.1f} s; {spent:.1f} s of CPU, {spent / count * 1000:.2f} ms a machine",
        ),
        Figure(
            "writes to the API server for each machine",
            f"{converging / count:.2f}",
            listed(writes.counted) + refused(writes.refused),
        ),
        Figure("requests to Azure for each machine", f"{asked.total() / count:.2f}", listed(asked)),
        Figure(
            "at rest: requests to Azure for each machine in five minutes",
            f"{resting.total() * scale / count:.2f}",
            listed(resting) + f" in {RESTING_SECONDS:.0f} s",
        ),
        Figure(
            "at rest: writes to the API server for each machine in five minutes",
            f"{(writes.total - converging) * scale / count:.2f}",
            f"{writes.total - converging:,} in {RESTING_SECONDS:.0f} s",
        ),
        Figure("resident memory at rest", "", f"{resident:.0f} MiB"),
    ]


def _quiet(writes: Writes) -> bool:
    """For some seconds no write."""
    before = writes.total
    time.sleep(QUIET_SECONDS)
    writes.read()
    return writes.total == before


def _start(stage: Stage, azsim: AzSim) -> Child:
    folder = stage.folder / "usual-operator"
    folder.mkdir(parents=True, exist_ok=True)
    controlplane = stage.controlplane
    env = {
        "USUAL_ARM": azsim.env["AZSIM_ARM_ENDPOINT"],
        "USUAL_AZURE_CA": azsim.env["AZSIM_CA_FILE"],
        "USUAL_AZURE_TOKEN": asyncio.run(_azure_token(azsim)),
        "USUAL_CLUSTER": controlplane.url,
        "USUAL_CLUSTER_CA": str(controlplane.ca_file),
        "USUAL_CLUSTER_TOKEN": controlplane.service_account_token(NAMESPACE, ACCOUNT),
    }
    return Child(
        "usual-operator",
        [
            *(sys.executable, "-m", "kopf", "run", "--standalone"),
            *("--namespace", fleet.NAMESPACE, str(PROGRAM)),
        ],
        folder / "usual-operator.log",
        env={
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            **{"PYTHONPATH": PYTHONPATH, "NO_PROXY": "*", "no_proxy": "*"},
            **env,
        },
        cwd=folder,
    )


async def _azure_token(azsim: AzSim) -> str:
    endpoint = azsim.env["AZSIM_ARM_ENDPOINT"]
    async with ClientSecretCredential(
        azsim.env["AZURE_TENANT_ID"],
        azsim.env["AZURE_CLIENT_ID"],
        azsim.env["AZURE_CLIENT_SECRET"],
        authority=azsim.env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        connection_verify=azsim.env["AZSIM_CA_FILE"],
    ) as credential:
        token: str = (await credential.get_token(f"{endpoint}/.default")).token
        return token
