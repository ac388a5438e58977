"""Reads from Resource Graph what the first wave of a run was given, where that is to be pinned.

Nothing of this needs to outlive the process: what was read and not written into the run yet is read
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from azpatch.azure.port import AzureClient, AzureError
from azpatch.clock import Clock
from azpatch.domain.facts import InstallationResult
from azpatch.domain.given import Given, Reading
from azpatch.domain.run_facts import RunMember
from azpatch.reconcile.inventory import Inventory
from azpatch.reconcile.looks import MISSING

NEWS = timedelta(0)
"""It is time to decide again: something was read that was not known."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Reading:
    """Of one run."""

    given: dict[str, Given] = field(default_factory=dict)
    """By activity id in lower case."""
    due: timedelta = timedelta(0)
    """When to ask again (`clock.elapsed()`)."""
    wait: timedelta = MISSING.first


class PatchSets:
    """For the runs' reconciler."""

    def __init__(self, inventory: Inventory, clock: Clock) -> None:
        self._inventory = inventory
        self._clock = clock
        self._readings: dict[str, _Reading] = {}
        """By uid of the run."""

    def given(self, run_uid: str) -> Reading:
        """What is known of what the run's first wave was given."""
        known = self._readings.get(run_uid)
        return known.given if known is not None else {}

    async def read(self, run_uid: str, members: Sequence[RunMember]) -> timedelta | None:
        """Asks for the installs of these, if it is time to. NEWS, or when to come again; None:
        nothing is to be read (any more)."""
        if not members:
            return None
        reading = self._readings.setdefault(run_uid, _Reading())
        now = self._clock.elapsed()
        if now < reading.due:
            return reading.due - now
        reading.due, reading.wait = now + reading.wait, MISSING.after(reading.wait)
        before = dict(reading.given)
        for client, activities in self._by_client(members):
            try:
                rows = await client.installs(activities)
            except AzureError as error:
                log.info("patch set not read", run=run_uid, code=error.code)
                continue
            for row in rows.values():
                _take(reading.given, row)
        return NEWS if reading.given != before else reading.due - now

    def forget(self, run_uid: str) -> None:
        """It is over, or gone."""
        self._readings.pop(run_uid, None)

    def _by_client(
        self, members: Sequence[RunMember]
    ) -> list[tuple[AzureClient, Mapping[str, str]]]:
        """Machines and their activity ids, by who may read them."""
        grouped: dict[AzureClient, dict[str, str]] = {}
        for one in members:
            subscription = self._inventory.of(one.machine_id)
            activity = one.installation.activity_id if one.installation else None
            if subscription is not None and activity is not None:
                grouped.setdefault(subscription.client, {})[one.machine_id] = activity
        return list(grouped.items())


def _take(given: dict[str, Given], row: InstallationResult) -> None:
    """Resource Graph's replicas may answer with fewer rows after more."""
    found, activity = Given.by(row), (row.activity_id or "").lower()
    known = given.get(activity)
    if found is not None and (known is None or known.listed < found.listed):
        given[activity] = found
