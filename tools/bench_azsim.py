"""azsim by itself: how soon it is up with a large fleet, and how fast it answers."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from azure.identity.aio import ClientSecretCredential
from azure.mgmt.resourcegraph.aio import ResourceGraphClient
from azure.mgmt.resourcegraph.models import QueryRequest, QueryRequestOptions

from bench_process import cpu_seconds, memory
from bench_report import Figure, times
from lab.processes import AzSim

REPEATS = 5
"""Of each query, after one that does not count; the median is told."""

INVENTORY = """
resources
| where type in~ ("microsoft.compute/virtualmachines", "microsoft.hybridcompute/machines")
| extend machineId = tolower(id)
| join kind=leftouter (
    patchassessmentresources
    | where type =~ "microsoft.compute/virtualmachines/patchassessmentresults"
    | extend machineId = tostring(split(tolower(id), "/patchassessmentresults/")[0])
    | project machineId, assess = properties) on machineId
| project id, name, location, tags,
    power = tostring(properties.extended.instanceView.powerState.displayStatus),
    support = tostring(
        assess.configurationStatus.vmGuestPatchReadiness.detectedVMGuestPatchSupportState),
    status = tostring(assess.status), assessed = todatetime(assess.lastModifiedDateTime),
    counts = assess.availablePatchCountByClassification,
    rebootPending = tobool(assess.rebootPending)
| order by id asc
"""
"""Machines with their last assessment, joined as Azure's portal joins them: a page of 1000."""

ONE_ROW = "resources | project id | take 1"


def measure(machines: int, folder: Path) -> list[Figure]:
    """A fleet of `azsim fleet`, against one of a single machine."""
    small, large = (_fleet(count, folder) for count in (1, machines))
    baseline, _ = _start(small, folder / "azsim-1")
    seconds, azsim = _start(large, folder / "azsim")
    with azsim:
        pid = azsim.child.pid
        cpu, (resident, _) = cpu_seconds(pid), memory(pid)
        one_row, inventory = asyncio.run(_queries(azsim.env))
    return [
        Figure(
            f"azsim: up with {machines:,} machines, to up with one",
            times(seconds, baseline),
            f"{seconds:.1f} s to {baseline:.1f} s; {cpu:.1f} s of CPU, {resident:.0f} MiB",
        ),
        Figure(
            "azsim: the portal's joined inventory (a page of 1000) through the SDK, to a query of "
            "one row",
            times(inventory, one_row),
            f"{inventory * 1000:.0f} ms to {one_row * 1000:.0f} ms",
        ),
    ]


def _fleet(machines: int, folder: Path) -> Path:
    path = folder / f"fleet-{machines}.yaml"
    with path.open("w") as file:
        command = [sys.executable, "-m", "azsim", "fleet", "--machines", str(machines)]
        subprocess.run(command, stdout=file, check=True)
    return path


def _start(fleet: Path, folder: Path) -> tuple[float, AzSim]:
    """Seconds until it served. That of one machine is stopped again."""
    began = time.monotonic()
    azsim = AzSim(fleet, folder)
    seconds = time.monotonic() - began
    if fleet.stem.endswith("-1"):
        azsim.stop()
    return seconds, azsim


async def _queries(env: Mapping[str, str]) -> tuple[float, float]:
    """Median seconds of the query for one row, and of the inventory."""
    endpoint, ca_file = env["AZSIM_ARM_ENDPOINT"], env["AZSIM_CA_FILE"]
    credential = ClientSecretCredential(
        env["AZURE_TENANT_ID"],
        env["AZURE_CLIENT_ID"],
        env["AZURE_CLIENT_SECRET"],
        authority=env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        connection_verify=ca_file,
    )
    client = ResourceGraphClient(
        credential,
        base_url=endpoint,
        credential_scopes=[f"{endpoint}/.default"],
        connection_verify=ca_file,
    )
    async with credential, client:
        return await _median(client, ONE_ROW), await _median(client, INVENTORY)


async def _median(client: ResourceGraphClient, query: str) -> float:
    request = QueryRequest(
        query=query, options=QueryRequestOptions(top=1000, result_format="objectArray")
    )
    taken = []
    for _ in range(REPEATS + 1):
        began = time.monotonic()
        await client.resources(request)
        taken.append(time.monotonic() - began)
    return statistics.median(taken[1:])
