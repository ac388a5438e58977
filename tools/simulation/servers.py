"""Trouble that comes over Azure Arc-enabled servers alone: there are few of them, and what is only
true of them would strike too seldom by itself."""

from __future__ import annotations

from contextvars import Context
from datetime import timedelta
from typing import Any

from azsim.arcmachine import ArcMachine
from azsim.faults import Drop
from simulation.azure_trouble import AzureTrouble
from simulation.world import World


class Servers:
    """The servers of one world."""

    def __init__(self, world: World, trouble: AzureTrouble) -> None:
        self._world, self._trouble = world, trouble
        self._random = world.random("servers")
        self._keys = [
            machine.id
            for machine in world.cloud.machines.values()
            if isinstance(machine, ArcMachine)
        ]
        if not self._keys:
            return
        planned = ((0.6, self._answer_lost), (0.3, self._cut_off), (0.4, self._others_at_work))
        for chance, begin in planned:
            if self._random.random() < chance:
                begin()

    def _answer_lost(self) -> None:
        """Azure takes an operation and nobody hears of it; its row is all that will tell, and that
        may come late."""
        fields: dict[str, Any] = {"drop": Drop.AFTER, "count": self._random.choice((1, 1, 2))}
        operation = self._random.choice(("assessPatches", "installPatches"))
        for machine in self._keys:
            self._trouble.fault(operation=operation, machine=machine, **fields)
            if self._random.random() < 0.7:
                late = timedelta(minutes=self._random.randint(5, 40))
                self._trouble.fault(graph="Frozen", machine=machine, lasts=late)

    def _others_at_work(self) -> None:
        """Somebody is at work on one before azpatch looks at it first, and while it begins."""
        machine = self._random.choice(self._keys).lower()
        for least, most in ((1, 40), (120, 900), (120, 900)):
            act = self._random.choice((self._trouble.install, self._trouble.assess))
            seconds = self._random.uniform(least, most)
            self._world.loop.call_later(seconds, act, machine, context=Context())

    def _cut_off(self) -> None:
        """One is cut off at some time."""
        seconds = self._random.uniform(90, 3600)
        machine = self._random.choice(self._keys).lower()
        self._world.loop.call_later(seconds, self._trouble.disconnect, machine, context=Context())
