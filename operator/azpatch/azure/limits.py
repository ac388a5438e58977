"""Azure's published request limits, and what one request costs.

Numbers: ARM's limits by subscription, principal and kind of request, and Compute's by machine and
by subscription and region, as Microsoft's throttling pages give them. ARM's count each principal;
here they are kept by subscription, which only ever has one identity of ours. Compute's limits for
reading, of a whole subscription and region, are wider than ARM's and are not kept. Of
Microsoft.HybridCompute, for Arc-enabled servers, none are published: they take of ARM's alone.

The reserves and starts: a process that begins does not know what the one before it has spent in the
last minute. It takes no more than `start` tokens before Azure has told it, and each process leaves
`reserve`, which lasts for several starts in a row. The reserve also takes up that requests which
leave evenly do not arrive so.
"""

from __future__ import annotations

from azpatch.azure.buckets import Limit
from azpatch.domain import ids

MINUTE = 60

READS = Limit("subscription-reads", 250, 25, reserve=50, start=20)
WRITES = Limit("subscription-writes", 200, 10, reserve=20, start=5)
"""ARM's."""

PATCHES = Limit("VMGuestPatchOperationSubscriptionMaximum", 600, 200 / MINUTE, reserve=20, start=5)
PATCHES_OF_MACHINE = Limit("VMGuestPatchOperationResource", 6, 2 / MINUTE, reserve=1, start=1)
"""assessPatches and installPatches together."""

READS_OF_MACHINE = Limit("LowCostGetResource", 36, 12 / MINUTE, reserve=6, start=3)
OPERATIONS_OF_MACHINE = Limit("GetOperationResource", 45, 15 / MINUTE, reserve=5, start=2)
"""Looking at the machine, and at an operation on it."""

Cost = tuple[Limit, str]
"""One token of the bucket of this kind with this key. Of several the first is waited for first."""


def patch(machine_key: str, subscription: str, location: str) -> tuple[Cost, ...]:
    """A guest patch operation."""
    if ids.is_arc_server(machine_key):
        return ((WRITES, subscription),)
    region = f"{subscription}/{location.lower()}"
    return (PATCHES, region), (PATCHES_OF_MACHINE, machine_key), (WRITES, subscription)


def read_machine(machine_key: str, subscription: str) -> tuple[Cost, ...]:
    """A GET of a machine."""
    if ids.is_arc_server(machine_key):
        return ((READS, subscription),)
    return (READS_OF_MACHINE, machine_key), (READS, subscription)


def read_operation(operation_key: str, subscription: str) -> tuple[Cost, ...]:
    """A GET of an operation's URL. Azure counts these by machine; an operation is one of it."""
    return (OPERATIONS_OF_MACHINE, operation_key), (READS, subscription)


def read(subscription: str) -> tuple[Cost, ...]:
    """Any other GET at ARM."""
    return ((READS, subscription),)


def write(subscription: str) -> tuple[Cost, ...]:
    """Any other PUT, PATCH or POST at ARM."""
    return ((WRITES, subscription),)
