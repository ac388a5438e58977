"""ARM's and Compute's token buckets, on simulated time.

Numbers: ARM's request limits (per region, subscription, principal and kind) and Compute's own
(per machine and per subscription and region), as Microsoft's throttling pages give them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from azsim.http import ArmError


@dataclass(frozen=True)
class Limit:
    """A bucket's size and its refill per second."""

    name: str
    size: int
    per_second: float


READS = Limit("reads", 250, 25)
WRITES = Limit("writes", 200, 10)
DELETES = Limit("deletes", 200, 10)
"""ARM's, per subscription, principal and kind of request."""

PATCH_SUBSCRIPTION = Limit("VMGuestPatchOperationSubscriptionMaximum", 600, 200 / 60)
PATCH_MACHINE = Limit("VMGuestPatchOperationResource", 6, 2 / 60)
"""Compute's, for assessPatches and installPatches together."""

GET_SUBSCRIPTION = Limit("LowCostGetSubscriptionMaximum", 24_000, 8_000 / 60)
GET_MACHINE = Limit("LowCostGetResource", 36, 12 / 60)
"""Compute's, for reading one machine."""

LIST_SUBSCRIPTION = Limit("HighCostGetSubscriptionMaximum", 900, 300 / 60)
"""Compute's, for lists of machines."""

OPERATION_SUBSCRIPTION = Limit("GetOperationSubscriptionMaximum", 15_000, 5_000 / 60)
OPERATION_MACHINE = Limit("GetOperationResource", 45, 15 / 60)
"""Compute's, for reading an operation."""

UPDATE_SUBSCRIPTION = Limit("UpdateVMSubscriptionMaximum", 1_500, 500 / 60)
UPDATE_MACHINE = Limit("UpdateVMResource", 12, 4 / 60)
"""Compute's, for changing a machine or its power."""


class Buckets:
    """Every bucket there is, filled when first used."""

    def __init__(self) -> None:
        self._level: dict[tuple[str, ...], tuple[float, datetime]] = {}

    def take(self, now: datetime, *wanted: tuple[Limit, tuple[str, ...]]) -> tuple[list[int], int]:
        """Take a token of each bucket, or of none of them if one is empty.

        Returns how many each has left, and the whole seconds until all of them have one; 0: they
        were taken.
        """
        levels = [self._filled(now, limit, key) for limit, key in wanted]
        short = [
            (1 - level) / limit.per_second
            for level, (limit, _) in zip(levels, wanted, strict=True)
            if level < 1
        ]
        if short:
            return [int(level) for level in levels], max(1, math.ceil(max(short)))
        for level, (limit, key) in zip(levels, wanted, strict=True):
            self._level[limit.name, *key] = (level - 1, now)
        return [int(level - 1) for level in levels], 0

    def _filled(self, now: datetime, limit: Limit, key: tuple[str, ...]) -> float:
        level, since = self._level.get((limit.name, *key), (float(limit.size), now))
        passed = (now - since).total_seconds()
        return min(float(limit.size), level + passed * limit.per_second)


GLOBAL_FACTOR = 15
"""ARM's limit over all principals of a subscription, as a multiple of one principal's."""


def charge(
    buckets: Buckets,
    now: datetime,
    subscription: str,
    principal: str,
    arm: Limit,
    *compute: tuple[Limit, str],
) -> dict[str, str]:
    """Take what one request costs and return the headers that say what is left.

    `compute`: Compute's limits with the key of the bucket. ArmError 429 if a bucket is empty, with
    the same headers; what Compute refuses has cost ARM's budget, and nothing of Compute's.
    """
    whole = Limit(f"global-{arm.name}", arm.size * GLOBAL_FACTOR, arm.per_second * GLOBAL_FACTOR)
    # One endpoint serves all of a simulated Azure, so ARM's region is not part of the key.
    prefix = "x-ms-ratelimit-remaining-subscription"
    left, wait = buckets.take(now, (arm, (subscription, principal)), (whole, (subscription,)))
    headers = {f"{prefix}-{arm.name}": str(left[0]), f"{prefix}-{whole.name}": str(left[1])}
    if wait:
        raise throttled(arm.name if left[0] < 1 else whole.name, wait, headers)
    if compute:
        left, wait = buckets.take(now, *((limit, (key,)) for limit, key in compute))
        remaining = [(limit.name, count) for (limit, _), count in zip(compute, left, strict=True)]
        headers["x-ms-ratelimit-remaining-resource"] = ",".join(
            f"Microsoft.Compute/{name};{count}" for name, count in remaining
        )
        if wait:
            raise throttled(next(name for name, count in remaining if count < 1), wait, headers)
    return headers


def charge_tenant(
    buckets: Buckets, now: datetime, tenant: str, principal: str, limit: Limit
) -> dict[str, str]:
    """As `charge`, for a request that is outside of subscriptions."""
    [left], wait = buckets.take(now, (limit, (tenant, principal)))
    headers = {f"x-ms-ratelimit-remaining-{limit.name}": str(left)}
    if wait:
        raise throttled(limit.name, wait, headers)
    return headers


def throttled(limit: str, seconds: int, headers: Mapping[str, str]) -> ArmError:
    """429 because of an empty bucket; it too says what is left of all."""
    return ArmError(
        429,
        "TooManyRequests",
        f"The request is being throttled as the limit has been reached for {limit}. "
        f"Please retry after {seconds} seconds.",
        headers={**headers, "retry-after": str(seconds)},
    )
