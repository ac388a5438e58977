"""The calendars of policies, kept: thousands of machines ask the same one in the same second."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from azpatch.api.policy import PatchPolicy
from azpatch.api.subscription import AzureSubscription
from azpatch.domain.opening import UNSCHEDULED, Opening, opening, unreadable
from azpatch.domain.windows import (
    FREEZE_ZONE,
    Calendar,
    UnknownTimeZoneError,
    calendar,
    freezes,
)

Generations = tuple[int | None, int | None]
PolicyUid = str
SubscriptionUid = str


@dataclass(slots=True)
class _Entry:
    generations: Generations
    calendar: Calendar | Opening
    """An Opening where no calendar could be made."""
    opening: Opening | None = None
    asked: datetime | None = None


class Calendars:
    """One per process."""

    def __init__(self) -> None:
        self._entries: dict[PolicyUid, dict[SubscriptionUid, _Entry]] = {}

    def opening(
        self, policy: PatchPolicy, subscription: AzureSubscription, now: datetime
    ) -> Opening:
        """Whether an install of the policy may start on a machine of the subscription."""
        install = policy.spec.install
        if install is None:
            return UNSCHEDULED
        entry = self._entry(policy, subscription)
        if not isinstance(entry.calendar, Calendar):
            return entry.calendar
        if entry.opening is None or not _holds(entry, entry.opening, now):
            entry.opening = opening(entry.calendar, install.maximum_duration, now)
            entry.asked = now
        return entry.opening

    def calendar(self, policy: PatchPolicy, subscription: AzureSubscription) -> Calendar | None:
        """The windows and freezes that go for the policy there; None if they cannot be read, or
        nothing is installed."""
        if policy.spec.install is None:
            return None
        found = self._entry(policy, subscription).calendar
        return found if isinstance(found, Calendar) else None

    def forget(self, policy_uid: PolicyUid) -> None:
        """The policy is gone."""
        self._entries.pop(policy_uid, None)

    def _entry(self, policy: PatchPolicy, subscription: AzureSubscription) -> _Entry:
        mine, there = policy.metadata, subscription.metadata
        generations = (mine.generation, there.generation)
        entries = self._entries.setdefault(mine.uid or "", {})
        entry = entries.get(there.uid or "")
        if entry is None or entry.generations != generations:
            entry = entries[there.uid or ""] = _Entry(generations, _made(policy, subscription))
        return entry


def _holds(entry: _Entry, known: Opening, now: datetime) -> bool:
    """Clocks jump back, too."""
    if entry.asked is None or now < entry.asked:
        return False
    return known.holds_until is None or now < known.holds_until


def _made(policy: PatchPolicy, subscription: AzureSubscription) -> Calendar | Opening:
    schedule = policy.spec.schedule
    assert schedule is not None
    try:
        others = freezes(subscription.spec.freezes, FREEZE_ZONE)
    except UnknownTimeZoneError as error:
        return unreadable(error, f"AzureSubscription {subscription.metadata.name}, spec.freezes")
    try:
        return calendar(schedule, others)
    except UnknownTimeZoneError as error:
        return unreadable(error, "spec.schedule of the PatchPolicy")
