"""What it costs to hold machines against the marketplace rules, beside reading their rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from azpatch.api.common import OsType
from azpatch.azure.rows import Row, machine
from azpatch.domain import marketplace
from azpatch.domain.facts import ImageReference, Machine
from azpatch.domain.matrix import REVISIONS, revision
from bench_report import Figure, times

VM_TYPE = "Microsoft.Compute/virtualMachines"

IMAGES = 200
"""Distinct images; a large fleet from the marketplace has fewer."""

REPEATS = 5
"""The fastest is told: what is slower was slowed down by something else."""


def measure(machines: int) -> list[Figure]:
    """As many machines, of IMAGES images, of which a third is under no rule."""
    found = [_row(number) for number in range(machines)]
    fleet = [machine(row) for row in found]
    rules = revision(REVISIONS[-1]).marketplace_rules
    compiling = _seconds(lambda: marketplace.judge(rules, ImageReference(), None), once=True)
    reading = _seconds(lambda: [machine(row) for row in found])
    judging = _seconds(lambda: _judge(rules, fleet))
    return [
        Figure(
            f"{machines:,} machines of {IMAGES} images against the marketplace rules, to making "
            "machines of their rows",
            times(judging, reading),
            f"{1000 * judging:.1f} ms to {1000 * reading:.1f} ms; once {1000 * compiling:.0f} ms "
            "to read and compile the rules",
        )
    ]


def _judge(rules: str, fleet: Sequence[Machine]) -> None:
    for one in fleet:
        marketplace.judge(rules, one.image or ImageReference(), one.os_type)


def _seconds(work: Callable[[], object], *, once: bool = False) -> float:
    taken = []
    for _ in range(1 if once else REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _row(number: int) -> Row:
    image = number % IMAGES
    publisher, offer, sku = (
        ("Canonical", f"ubuntu-{image}", "server"),
        ("RedHat", "RHEL", f"9_{image}"),
        ("nobody", "knows", f"it-{image}"),
    )[image % 3]
    return {
        "id": f"/subscriptions/s/resourceGroups/g/providers/{VM_TYPE}/{number}",
        "vmId": str(number),
        "location": "westeurope",
        "osType": OsType.LINUX.value,
        "timeCreated": "2026-11-01T08:00:00Z",
        "powerCode": "PowerState/running",
        "publisher": publisher,
        "offer": offer,
        "sku": sku,
        "version": "latest",
    }
