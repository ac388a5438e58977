"""Operators that spend Azure's budgets in virtual time, against the buckets of azsim."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from multidict import CIMultiDict

from azpatch.azure.throttles import CHARGE, Throttles
from azsim.http import ArmError
from azsim.throttling import PATCH_MACHINE, PATCH_SUBSCRIPTION, WRITES, Buckets, charge

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
MINUTE = 60.0
WORKERS = 20
AGAIN = 300.0
"""Seconds after which who waits longer asks again."""


def numbered(number: int, kind: str = "vm") -> str:
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute"
        f"/virtualMachines/{kind}-{number}"
    )


class _Jumping(selectors.DefaultSelector):
    """Waits by moving the time."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.passed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next appointment."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed


class LoopClock:
    """The loop's time. The date is nobody's business here: it may jump."""

    def now(self) -> datetime:
        raise AssertionError("a budget was read on a clock that jumps")

    def monotonic(self) -> float:
        raise AssertionError("a budget was read in real time")

    def elapsed(self) -> timedelta:
        return timedelta(seconds=asyncio.get_running_loop().time())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class Spending:
    """Azure, and when it took or refused what."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.buckets = Buckets()
        self.taken: dict[str, float] = {}
        """When Azure took the operation, by machine."""
        self.refused: list[tuple[str, float]] = []
        self.fault: Callable[[str], float | None] = lambda _machine: None
        """Asked at each operation: the Retry-After of a refusal that has no reason."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(work)

    async def ask(self, machine: str, region: str, principal: str) -> tuple[int, CIMultiDict[str]]:
        """One operation at Azure, with the way there and back."""
        await asyncio.sleep(self.random.uniform(0.05, 0.4))
        now = asyncio.get_running_loop().time()
        fault = self.fault(machine)
        if fault is not None:
            return 429, CIMultiDict({"Retry-After": str(int(fault))})
        try:
            headers = charge(
                self.buckets,
                START + timedelta(seconds=now),
                SUBSCRIPTION,
                principal,
                WRITES,
                (PATCH_SUBSCRIPTION, f"{SUBSCRIPTION}/{region}"),
                (PATCH_MACHINE, machine),
            )
        except ArmError as error:
            self.refused.append((machine, now))
            return 429, CIMultiDict(error.headers)
        self.taken[machine] = now
        await asyncio.sleep(self.random.uniform(0.05, 0.4))
        return 202, CIMultiDict(headers)

    async def operator(
        self,
        throttles: Throttles,
        machines: Iterable[str],
        *,
        region: Callable[[str], str] = lambda _machine: "westeurope",
        principal: Callable[[str], str] = lambda _machine: "one",
        policy: str = "web/linux",
        yields: bool = False,
    ) -> None:
        """Assesses all of them once, as the machines' reconciler does."""
        workers = asyncio.Semaphore(WORKERS)

        async def assess(machine: str) -> None:
            while True:
                async with workers:
                    wait = throttles.reserve(
                        machine, region(machine), policy, yields=yields
                    ).total_seconds()
                    if not wait:
                        await asyncio.sleep(self.random.uniform(0.1, 0.5))
                        wait = await send(machine)
                        if not wait:
                            return
                await asyncio.sleep(min(wait, AGAIN))

        async def send(machine: str) -> float:
            async with throttles.posting(machine):
                charged = CHARGE.get()
                assert charged is not None
                charged.sent()
                status, headers = await self.ask(machine, region(machine), principal(machine))
                charged.answered(status, headers, "")
            return 0.0 if status == 202 else float(headers["retry-after"])

        async with asyncio.TaskGroup() as tasks:
            for machine in machines:
                tasks.create_task(assess(machine))

    async def stranger(self, a_minute: float) -> None:
        """Somebody else's operations, until cancelled."""
        number = 0
        while True:
            await asyncio.sleep(MINUTE / a_minute)
            number += 1
            await self.ask(numbered(number, "foreign"), "westeurope", "stranger")

    def minutes(self) -> float:
        """Until the last operation was taken."""
        return max(self.taken.values()) / MINUTE
