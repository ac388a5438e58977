"""The calendars of policies, kept: thousands of machines ask the same one in the same second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from azpatch.api.policy import PatchPolicy
from azpatch.api.subscription import AzureSubscription
from azpatch.domain.lifting import NOTHING, Lifted
from azpatch.domain.opening import UNSCHEDULED, Opening, opening, unreadable, without_windows
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
Windows = tuple[str, ...] | None
"""Names of those that count; None: all do."""
Terms = tuple[SubscriptionUid, timedelta, Windows, Lifted]


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
        self._entries: dict[PolicyUid, dict[Terms, _Entry]] = {}

    def opening(
        self,
        policy: PatchPolicy,
        subscription: AzureSubscription,
        now: datetime,
        windows: Windows = None,
        lifted: Lifted = NOTHING,
    ) -> Opening:
        """Whether an install of the policy may start on a machine of the subscription."""
        install = policy.spec.install
        if install is None:
            return UNSCHEDULED
        entry = self._entry(policy, subscription, windows, lifted)
        if not isinstance(entry.calendar, Calendar):
            return entry.calendar
        if entry.opening is None or not _holds(entry, entry.opening, now):
            entry.opening = opening(entry.calendar, install.maximum_duration, now)
            entry.asked = now
        return entry.opening

    def calendar(
        self,
        policy: PatchPolicy,
        subscription: AzureSubscription,
        windows: Windows = None,
        lifted: Lifted = NOTHING,
    ) -> Calendar | None:
        """The windows and freezes that go for the policy there; None if they cannot be read, or
        nothing is installed."""
        if policy.spec.install is None:
            return None
        found = self._entry(policy, subscription, windows, lifted).calendar
        return found if isinstance(found, Calendar) else None

    def forget(self, policy_uid: PolicyUid) -> None:
        """The policy is gone."""
        self._entries.pop(policy_uid, None)

    def _entry(
        self,
        policy: PatchPolicy,
        subscription: AzureSubscription,
        windows: Windows,
        lifted: Lifted,
    ) -> _Entry:
        mine, there = policy.metadata, subscription.metadata
        generations = (mine.generation, there.generation)
        assert policy.spec.install is not None
        entries = self._entries.setdefault(mine.uid or "", {})
        terms = (there.uid or "", policy.spec.install.maximum_duration, windows, lifted)
        entry = entries.get(terms)
        if entry is None or entry.generations != generations:
            made = _made(policy, subscription, windows, lifted)
            entry = entries[terms] = _Entry(generations, made)
        return entry


def _holds(entry: _Entry, known: Opening, now: datetime) -> bool:
    """Clocks jump back, too."""
    if entry.asked is None or now < entry.asked:
        return False
    return known.holds_until is None or now < known.holds_until


def _made(
    policy: PatchPolicy, subscription: AzureSubscription, windows: Windows, lifted: Lifted
) -> Calendar | Opening:
    schedule = policy.spec.schedule
    assert schedule is not None
    declared = () if lifted.freezes else subscription.spec.freezes
    try:
        others = freezes(declared, FREEZE_ZONE)
    except UnknownTimeZoneError as error:
        return unreadable(error, f"AzureSubscription {subscription.metadata.name}, spec.freezes")
    try:
        whole = calendar(schedule, others, own_freezes=not lifted.freezes)
    except UnknownTimeZoneError as error:
        return unreadable(error, "spec.schedule of the PatchPolicy")
    if lifted.own_windows or (lifted.windows and windows is None):
        return replace(whole, windows=())
    if windows is None or not whole.windows:
        return whole
    named = tuple(one for one in whole.windows if one.name in windows)
    return replace(whole, windows=named) if named else without_windows(windows)
