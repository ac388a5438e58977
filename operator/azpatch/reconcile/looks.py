"""Bulk look-ups in Resource Graph for machines that wait for something there.

A machine that waits for a row, for the patches an assessment found, or for the end of an install
says so here and goes on; all that are due are asked for in one query per identity, and what is
news wakes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import groupby
from typing import TypeVar

import structlog

from azpatch.azure.port import AzureClient, AzureError
from azpatch.clock import Clock
from azpatch.domain.facts import AssessmentResult
from azpatch.domain.ids import key
from azpatch.reconcile.inventory import Inventory, PatchesOf, SubscriptionInventory

TICK = timedelta(seconds=15)
"""How often due look-ups are gathered into one query."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait before the second look, and how that grows."""

    first: timedelta
    growth: float
    longest: timedelta

    def after(self, wait: timedelta) -> timedelta:
        """The wait that comes next."""
        return min(wait * self.growth, self.longest)


FOLLOWING = Pace(timedelta(seconds=30), 1.1, timedelta(minutes=5))
"""Of an operation in flight. Azure says that most rows appear within 30 s; what has run for long is
looked at after another tenth of that time."""

MISSING = Pace(timedelta(seconds=15), 2, timedelta(minutes=15))
"""Of a row that should be there, and is not."""

RowT = TypeVar("RowT")

log = structlog.get_logger(__name__)


class Subject(StrEnum):
    """What a machine waits for."""

    ASSESSMENT = "assessment"
    """A newer assessment row."""
    PATCHES = "patches"
    """The patches that the assessment row counts."""
    INSTALLATION = "installation"
    """The row of the install in flight."""


@dataclass(frozen=True, slots=True)
class _Wish:
    machine_key: str
    subject: Subject
    due: timedelta
    wait: timedelta
    pace: Pace


class Looks:
    """Who waits for what. `wake(machine_key)` is called when something new was seen."""

    def __init__(self, inventory: Inventory, clock: Clock, wake: Callable[[str], None]) -> None:
        self._inventory = inventory
        self._clock = clock
        self._wake = wake
        self._wishes: dict[tuple[str, Subject], _Wish] = {}
        self._asked = asyncio.Event()

    def want(self, machine_id: str, subject: Subject, *, following: bool = False) -> None:
        """Look until told otherwise, at the pace for an operation in flight while `following`."""
        index = (key(machine_id), subject)
        known = self._wishes.get(index)
        pace = FOLLOWING if following else MISSING
        if known is not None and (known.pace is pace or not following):
            return
        due = self._clock.elapsed() + (pace.first if following else timedelta(0))
        self._wishes[index] = _Wish(*index, due=due, wait=pace.first, pace=pace)
        self._asked.set()

    def enough(self, machine_id: str, *subjects: Subject) -> None:
        """No longer wanted; without subjects, nothing of this machine is."""
        for subject in subjects or tuple(Subject):
            self._wishes.pop((key(machine_id), subject), None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._wishes:
                self._asked.clear()
                await self._asked.wait()
            await self._look()
            await self._clock.sleep(TICK)

    async def _look(self) -> None:
        now = self._clock.elapsed()
        due = [wish for wish in self._wishes.values() if wish.due <= now]
        for wish in due:
            index = (wish.machine_key, wish.subject)
            wait = wish.pace.after(wish.wait)
            self._wishes[index] = replace(wish, due=now + wish.wait, wait=wait)
        for subject, wishes in groupby(sorted(due, key=lambda w: w.subject), lambda w: w.subject):
            for client, keys in self._by_client(wish.machine_key for wish in wishes):
                try:
                    await self._read(subject, client, keys)
                except AzureError as error:
                    log.info("look-up failed", subject=subject, machines=len(keys), code=error.code)

    def _by_client(self, keys: Iterable[str]) -> list[tuple[AzureClient, list[str]]]:
        grouped: dict[AzureClient, list[str]] = {}
        for machine_key in keys:
            subscription = self._inventory.of(machine_key)
            if subscription is not None:
                grouped.setdefault(subscription.client, []).append(machine_key)
        return list(grouped.items())

    async def _read(self, subject: Subject, client: AzureClient, keys: list[str]) -> None:
        match subject:
            case Subject.ASSESSMENT:
                self._take_rows(await client.assessments(keys))
            case Subject.INSTALLATION:
                rows = await client.installations(keys)
                for machine_key in _news(rows, self._inventory.installations):
                    self._wake(machine_key)
            case Subject.PATCHES:
                rows_before = {k: self._inventory.row(k) for k in keys}
                patches = await client.missing_patches(keys)
                wished = (k for k in keys if (k, subject) in self._wishes)
                for machine_key in wished:
                    row = rows_before[machine_key]
                    # No rows: nothing is missing, which the assessment's counts confirm or not.
                    self._inventory.patches[machine_key] = PatchesOf(
                        row.last_modified if row else None, patches.get(machine_key, ())
                    )
                    self._wake(machine_key)

    def _take_rows(self, rows: Mapping[str, AssessmentResult]) -> None:
        for machine_key, row in rows.items():
            subscription: SubscriptionInventory | None = self._inventory.of(machine_key)
            if subscription is not None and subscription.take_row(machine_key, row):
                self._wake(machine_key)


def _news(rows: Mapping[str, RowT], kept: dict[str, RowT]) -> list[str]:
    """Takes the rows in; the keys of those that changed."""
    changed = [machine_key for machine_key, row in rows.items() if kept.get(machine_key) != row]
    kept.update(rows)
    return changed
