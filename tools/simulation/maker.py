"""What all kinds of trouble share: where it is made, by which chance, and that it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from datetime import datetime, timedelta
from random import Random

from simulation.world import World

MINUTE = timedelta(minutes=1)


class Maker:
    """Makes trouble in one world, and undoes it."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self._undo: list[Callable[[], None]] = []
        """What calms down, newest last; doing it twice does nothing."""
        self.over = False
        """All is to be calm from now on."""
        self.last: datetime | None = None
        """When something was last done or undone."""

    def calm(self) -> None:
        """Undoes all that is not undone yet."""
        self.over = True
        undo, self._undo = self._undo, []
        for step in reversed(undo):
            step()

    def later(self, least: timedelta, most: timedelta, undo: Callable[[], None]) -> None:
        """Undoes something after a while, or when all is to be calm."""
        done = False

        def once() -> None:
            nonlocal done
            if not done:
                done = True
                self.last = self.world.clock.now()
                undo()

        self._undo.append(once)
        seconds = self.random.uniform(least.total_seconds(), most.total_seconds())
        self.world.loop.call_later(seconds, once, context=Context())
