"""What `azpatch support` takes with many machines, as a process, beside one machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench_report import Figure, times

REPEATS = 3
"""Of each; the medians are told."""

IMAGES = 200
"""Distinct images."""

COMPUTE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute"


def measure(machines: int, folder: Path) -> list[Figure]:
    """A list of machines as the Azure CLI prints it, from the start of the process to its end, the
    imports included."""
    many, one = _asked(machines, folder), _asked(1, folder)
    return [
        Figure(
            f"azpatch support on {machines:,} machines of {IMAGES} images, to one machine: {what}",
            times(of_many, of_one),
            f"{of_many:.1f} s to {of_one:.1f} s",
        )
        for what, of_many, of_one in zip(("time", "CPU"), many, one, strict=True)
    ]


def _asked(machines: int, folder: Path) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{machines}-machines.json"
    file.write_text(json.dumps([_model(number) for number in range(machines)], indent=2))
    command = ["support", "--revision", "2025-02", "--vm-json", str(file), "--output", "json"]
    runs = [_run([sys.executable, "-m", "azpatch", *command]) for _ in range(REPEATS)]
    seconds, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
    return seconds, cpu


def _run(command: list[str]) -> tuple[float, float]:
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in {0, 3, 4}:
        raise subprocess.CalledProcessError(child.returncode, command)
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def _model(number: int) -> dict[str, Any]:
    """With as much beside what decides as the Azure CLI prints."""
    image = number % IMAGES
    reference = (
        {"publisher": "Canonical", "offer": f"ubuntu-{image}", "sku": "server"},
        {"publisher": "nobody", "offer": "knows", "sku": f"it-{image}"},
        {"id": f"{COMPUTE}/galleries/golden/images/{image}/versions/1.0.0"},
        {"id": f"{COMPUTE}/images/{image}"},
    )[image % 4]
    status = {"code": "ProvisioningState/succeeded", "displayStatus": "Ready", "level": "Info"}
    return {
        "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
        "id": f"{COMPUTE}/virtualMachines/{number}",
        "instanceView": {
            "osName": "ubuntu",
            "osVersion": "22.04",
            "statuses": [status] * 3,
            "vmAgent": {"statuses": [status], "vmAgentVersion": "2.9.1.1"},
        },
        "location": "westeurope",
        "name": str(number),
        "networkProfile": {"networkInterfaces": [{"id": f"{COMPUTE}/nics/{number}"}]},
        "osProfile": {
            "adminUsername": "azureuser",
            "computerName": str(number),
            "linuxConfiguration": {"patchSettings": {"patchMode": "ImageDefault"}},
        },
        "storageProfile": {
            "dataDisks": [],
            "imageReference": {"version": "latest", **reference},
            "osDisk": {"createOption": "FromImage", "diskSizeGB": 30, "osType": "Linux"},
        },
        "tags": {"env": "prod", "team": "web"},
        "type": "Microsoft.Compute/virtualMachines",
        "vmId": str(number),
    }
