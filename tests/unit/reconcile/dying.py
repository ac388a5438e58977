"""An operator that dies before one of its writes, and the next one that goes on."""

from __future__ import annotations

from typing import Protocol

from fakes import MINUTE, World

from azpatch.azure.port import AzureError
from azpatch.kube.port import KubeError, Unavailable


class Guest(Protocol):
    """A machine that carries out what is sent to it."""

    dead: bool
    """The operator: nothing of what it still does gets out."""

    def post(self, machine: str, /) -> AzureError | None:
        """Takes an operation."""
        ...

    def tick(self) -> None:
        """Ends what has run for long enough."""
        ...


async def dies_before(point: int | None, world: World, guest: Guest, minutes: int) -> int:
    """An hour, in which the operator dies before its write number `point`; if it did, some more
    minutes under the next one. Returns the number of writes that got out before."""
    written = 0

    def count(_line: str) -> KubeError | None:
        nonlocal written
        if guest.dead or written == point:
            guest.dead = True
            return Unavailable("It never got out.")
        written += 1
        return None

    world.kube.refuse, world.azure.post = count, guest.post
    await _lives(world, guest, 60)
    if guest.dead:
        guest.dead = False
        world.kube.refuse = lambda _line: None
        await _lives(world, guest, minutes)
    return written


async def _lives(world: World, guest: Guest, minutes: int) -> None:
    async with world.operator_runs():
        for _ in range(minutes):
            if guest.dead:
                return
            await world.passes(MINUTE)
            guest.tick()
