"""Facts as the decisions read them, with ordinary values for what a test does not speak of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from azpatch.api.common import OsType
from azpatch.domain.facts import ImageReference, Machine
from azpatch.domain.matrix import Matrix, NeededFeature, revision

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
READABLE = 512
"""No message is longer: it is read in a terminal, and stored on every PatchTarget."""

MATRIX = revision("2023-05")


def _needed(matrix: Matrix) -> NeededFeature:
    assert matrix.preview_feature is not None
    return matrix.preview_feature


NEEDED = _needed(MATRIX)

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
VM = f"{COMPUTE}/virtualMachines/web-1"
DEFINITION = f"{COMPUTE}/galleries/g/images/web"
VERSION = f"{DEFINITION}/versions/1.4.0"

_MACHINE = Machine(
    id=VM,
    vm_id="vm-1",
    location="westeurope",
    os_type=OsType.LINUX,
    time_created=NOW - 100 * DAY,
    power_state="Running",
    image=ImageReference(id=DEFINITION, exact_version="1.4.0"),
    os_disk_create_option="FromImage",
    computer_name="web-1",
)


def machine(**changes: Any) -> Machine:
    """A running Linux machine from a gallery image, generalized."""
    return replace(_MACHINE, **changes)
