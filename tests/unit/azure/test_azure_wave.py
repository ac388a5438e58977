"""Three operations on each of ten thousand machines of one policy, at the bucket alone."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from azpatch.azure.buckets import ANSWERS_BY, Bucket
from azpatch.azure.limits import PATCHES
from azpatch.azure.line import Place, Precedence

MACHINES, OPERATIONS = 10_000, 3
AGAIN = 300.0
"""Seconds after which who waits longer asks again."""
LASTS = 100.0
"""Seconds from an operation to the machine's next, give or take a fifth."""


def test_a_wave_ends_in_time_though_first_assessments_yield() -> None:
    random, now = Random(1), ANSWERS_BY
    bucket = Bucket(PATCHES, now - PATCHES.size / PATCHES.per_second - ANSWERS_BY)
    asks: list[tuple[float, int, int, Place | None]] = []
    for machine in range(MACHINES):
        heappush(asks, (now + random.random(), machine, 0, None))
    came, sent = 0, [now]
    while asks:
        now, machine, done, place = heappop(asks)
        if place is None:
            came += 1
            place = bucket.join(Precedence("web/linux", yields=done == 0), came)
        if wait := bucket.turn(place, now):
            heappush(asks, (now + min(wait, AGAIN) + 1e-6, machine, done, place))
            continue
        bucket.send(place, now)
        bucket.answered()
        sent.append(now)
        if done + 1 < OPERATIONS:
            heappush(asks, (now + LASTS * random.uniform(0.8, 1.2), machine, done + 1, None))
    assert len(sent) == 1 + MACHINES * OPERATIONS
    bound = (MACHINES * OPERATIONS - PATCHES.size) / PATCHES.per_second
    assert sent[-1] - sent[0] <= 1.05 * bound
