"""Ten thousand machines of a subscription, as fast as Azure takes them, and without a 429."""

from __future__ import annotations

import asyncio

import pytest
from spending import AGAIN, MINUTE, LoopClock, Spending, numbered

from azpatch.azure.throttles import Throttles

MANY = 10_000
BURST, A_MINUTE = 600, 200

SLACK = 1.05
"""Times the time that the bucket itself needs."""


def bound(machines: int, a_minute: float = A_MINUTE) -> float:
    """Minutes that the bucket itself needs."""
    return (machines - BURST) / a_minute


def machines(count: int) -> list[str]:
    return [numbered(number) for number in range(count)]


async def cut_off(work: object, after: float) -> None:
    """Runs the work and kills it after these seconds."""
    task = asyncio.ensure_future(work)  # type: ignore[arg-type]
    await asyncio.sleep(after)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_all_are_assessed_in_the_time_that_the_bucket_needs() -> None:
    azure = Spending()
    azure.run(azure.operator(Throttles(LoopClock()), machines(MANY)))
    assert len(azure.taken) == MANY
    assert azure.refused == []
    assert azure.minutes() <= SLACK * bound(MANY)


def test_first_come_is_first_served() -> None:
    azure = Spending()
    azure.run(azure.operator(Throttles(LoopClock()), machines(3000)))
    order = sorted(azure.taken, key=lambda machine: azure.taken[machine])
    places = {machine: place for place, machine in enumerate(order)}
    late = max(places[machine] - number for number, machine in enumerate(machines(3000)))
    # All of the first burst may be sent at once, and find a worker in any order.
    assert late < BURST / 2


def test_two_identities_share_what_compute_counts_together() -> None:
    azure = Spending()

    def principal(machine: str) -> str:
        return "one" if machine.endswith(("1", "3", "5", "7", "9")) else "two"

    azure.run(azure.operator(Throttles(LoopClock()), machines(3000), principal=principal))
    assert azure.refused == []
    assert azure.minutes() <= SLACK * bound(3000)


def test_each_region_has_a_bucket_and_all_of_them_share_the_writes_of_arm() -> None:
    azure = Spending()

    def region(machine: str) -> str:
        return f"region-{int(machine.rsplit('-', 1)[1]) % 4}"

    azure.run(azure.operator(Throttles(LoopClock()), machines(4000), region=region))
    assert azure.refused == []
    # Not (1000 - 600) / 200 minutes: ARM takes 10 writes a second.
    assert azure.minutes() <= SLACK * (4000 - 200) / 10 / MINUTE


@pytest.mark.parametrize("after", [3.0, 10.0, 8 * MINUTE], ids=lambda s: f"after {s:.0f} s")
def test_a_restart_neither_earns_a_refusal_nor_costs_time(after: float) -> None:
    azure = Spending()

    async def story() -> None:
        await cut_off(azure.operator(Throttles(LoopClock()), machines(3000)), after)
        left = [machine for machine in machines(3000) if machine not in azure.taken]
        assert left
        await azure.operator(Throttles(LoopClock()), left)

    azure.run(story())
    assert azure.refused == []
    assert azure.minutes() <= SLACK * bound(3000)


def test_three_restarts_in_a_row_earn_no_refusal() -> None:
    azure = Spending()

    async def story() -> None:
        for life in (5 * MINUTE, 2.0, 2.0):
            left = [machine for machine in machines(3000) if machine not in azure.taken]
            await cut_off(azure.operator(Throttles(LoopClock()), left), life)
        left = [machine for machine in machines(3000) if machine not in azure.taken]
        await azure.operator(Throttles(LoopClock()), left)

    azure.run(story())
    assert azure.refused == []
    assert azure.minutes() <= SLACK * bound(3000)


def test_a_stranger_who_takes_half_is_left_his_half() -> None:
    azure = Spending()

    async def story() -> None:
        stranger = asyncio.create_task(azure.stranger(A_MINUTE / 2))
        await azure.operator(Throttles(LoopClock()), machines(2000))
        stranger.cancel()

    azure.run(story())
    assert azure.refused == []
    assert azure.minutes() <= SLACK * bound(2000, A_MINUTE / 2)


def test_a_refusal_closes_the_bucket_for_everyone_until_retry_after_and_no_other_one() -> None:
    azure = Spending()
    refused_at: list[float] = []

    def region(machine: str) -> str:
        return "east" if int(machine.rsplit("-", 1)[1]) % 2 else "west"

    def fault(machine: str) -> float | None:
        now = asyncio.get_running_loop().time()
        if refused_at or now < 100 or region(machine) == "west":
            return None
        refused_at.append(now)
        return 120.0

    azure.fault = fault
    azure.run(azure.operator(Throttles(LoopClock()), machines(3000), region=region))
    (closed,) = refused_at
    on_its_way = 1.0
    during = [
        region(machine)
        for machine, time in azure.taken.items()
        if closed + on_its_way < time < closed + 120
    ]
    # Without a word of which limit it was, it is taken to be any of those that were asked.
    assert during == []
    assert len(azure.taken) == 3000
    assert azure.refused == []


def test_who_left_the_line_does_not_hold_up_the_others() -> None:
    azure = Spending()

    async def story() -> None:
        throttles = Throttles(LoopClock())
        gone = machines(9000)[3000:]
        task = asyncio.create_task(azure.operator(throttles, machines(3000)))
        await asyncio.sleep(1)
        for machine in gone:
            throttles.reserve(machine, "westeurope", "web/linux", yields=False)
        late = asyncio.create_task(azure.operator(throttles, map(numbered, range(9000, 9100))))
        await asyncio.sleep(MINUTE)
        for machine in gone:
            throttles.release(machine)
        await asyncio.gather(task, late)
        assert throttles.waiting() == 0

    azure.run(story())
    assert azure.refused == []
    assert azure.minutes() <= SLACK * bound(3100) + AGAIN / MINUTE
