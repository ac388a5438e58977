"""Whether an install may start now, by the schedule and the freezes; and when it may next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from azpatch.api.durations import format_go, format_iso
from azpatch.api.reasons import Reason
from azpatch.domain.attempts import OVERDUE_AFTER, Turn
from azpatch.domain.windows import DAY, Calendar, Frozen, Occurrence, Span, UnknownTimeZoneError
from azpatch.domain.words import at

HORIZON = 5 * 366 * DAY
"""How far the next window is looked for. One that is further away is as good as none."""

ROOM_TO_BEGIN = timedelta(minutes=5)
"""What a window must have beside maximumDuration: until a machine was looked at and its install is
sent, some of it has passed."""

_LONGEST_PAST = 4 * 366 * DAY
"""How far past windows are looked for: two of a yearly one."""


@dataclass(frozen=True, slots=True)
class Open:
    """An install may start."""

    until: datetime | None
    """The last instant at which one may; None: no end is known."""
    turn: Turn | None = None
    span: Span | None = None
    """The stretch of a window that it may start in; None without windows."""
    holds_until: datetime | None = None
    """When to ask again; None: not before the schedule or a freeze is changed."""
    late: bool = False
    """It has been open for so long that what something else keeps from it is not waited for."""


@dataclass(frozen=True, slots=True)
class Shut:
    """No install may start."""

    reason: Reason
    message: str
    next: datetime | None
    """When one may; None: never, as far as it is known."""
    turn: Turn | None = None
    span: Span | None = None
    """The stretch of a window in which one may next; None also without windows."""
    holds_until: datetime | None = None
    """When to ask again; None: not before the schedule or a freeze is changed."""


Opening = Open | Shut

NEEDS_A_PERSON = (Reason.WINDOW_TOO_SHORT, Reason.TIME_ZONE_UNKNOWN)
"""Why nothing is installed that no time will mend."""

UNSCHEDULED = Open(None)
"""Of a policy that does not install: nothing asks."""

UNKNOWN_TURN = Turn(None, None, None)
"""Where no calendar can be read, no window counts."""


def opening(calendar: Calendar, needed: timedelta, now: datetime) -> Opening:
    """`needed`: the install's maximumDuration, which must fit before the window ends or a freeze
    begins."""
    begins, later = _now_and_next(calendar, needed, now)
    turn = _turn(calendar, needed, now)
    frozen = calendar.frozen_at(now)
    until = None
    if begins is not None and begins.span.end < now + HORIZON:
        until = begins.span.end - needed
    changes = (
        until + timedelta.resolution if until else None,
        later.span.start if later else None,
        turn.end if turn else None,
        frozen.span.end if frozen else None,
        _opens(calendar, now),
        *(freeze.span.start for freeze in calendar.freezes),
    )
    holds_until = min((one for one in changes if one is not None and one > now), default=None)
    if begins is not None:
        span = begins.span if calendar.windows else None
        return Open(until, turn, span, holds_until)
    if later is None:
        # What is beyond the horizon now comes into sight.
        holds_until = min(holds_until or now + DAY, now + DAY)
    reason, message = _why(calendar, needed, frozen, later)
    found = later.span if later else None
    span = found if calendar.windows else None
    return Shut(reason, message, found.start if found else None, turn, span, holds_until)


def without_windows(names: Sequence[str]) -> Shut:
    """Of a wave whose windows the schedule does not have any more."""
    return Shut(
        Reason.NO_WINDOW_LEFT,
        f"The schedule has no window of the wave any more ({', '.join(names)}). Give the policy "
        "one with that name again.",
        None,
        UNKNOWN_TURN,
    )


def unreadable(error: UnknownTimeZoneError, where: str) -> Shut:
    """Nothing is installed by a calendar that cannot be read."""
    message = f"In {where}: {error}. Until then nothing is installed."
    return Shut(Reason.TIME_ZONE_UNKNOWN, message, None, UNKNOWN_TURN)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a policy installs, over all of its subscriptions."""

    opening: Opening
    """Where it may soonest."""
    next: Span | None
    """The stretch of a window in which installs may start now, or may next; None also without
    windows."""
    overdue_since: datetime | None
    """See `overdue_since`; by all of the policy's windows."""
    holds_until: datetime | None
    """When to ask again; None: not before the schedule or a freeze is changed."""
    overdue_by_wave: Mapping[str, datetime | None] = field(default_factory=dict)
    """Likewise by the windows of each wave that has windows of its own, by the wave's name."""

    def overdue_since_in(self, wave: str | None) -> datetime | None:
        """Of a machine that is in this wave, or was in its last run; None: it was in no run."""
        return self.overdue_by_wave.get(wave or "", self.overdue_since)


UNTIMED = Timing(UNSCHEDULED, None, None, None)
"""Of a policy that does not install, or has no machine."""


def timing(
    there: Sequence[tuple[Opening, Calendar | None]],
    needed: timedelta,
    now: datetime,
    waves: Mapping[str, Calendar] = MappingProxyType({}),
) -> Timing:
    """`there`: for each of the policy's subscriptions, with a calendar where it can be read;
    `waves`: those with windows of their own, by name."""
    if not there:
        return UNTIMED
    calendars = [one for _, one in there if one is not None]
    openings = [one for one, _ in there]
    asks = [one.holds_until for one in openings]
    asks += [_closes(calendar, needed, now) for calendar in calendars[:1]]
    return Timing(
        opening=soonest(openings),
        next=min((one.span for one in openings if one.span is not None), default=None),
        # Freezes do not count here, so any of them will do.
        overdue_since=overdue_since(calendars[0], needed, now) if calendars else None,
        holds_until=min((at for at in asks if at is not None), default=None),
        overdue_by_wave={name: overdue_since(one, needed, now) for name, one in waves.items()},
    )


def soonest(openings: Sequence[Opening]) -> Opening:
    """Of several, one at least: that in which an install may start first."""
    return min(openings, key=_soonest)


def _soonest(one: Opening) -> tuple[bool, bool, datetime]:
    if isinstance(one, Open) or one.next is None:
        return not isinstance(one, Open), True, datetime.max.replace(tzinfo=UTC)
    return True, False, one.next


def overdue_since(calendar: Calendar, needed: timedelta, now: datetime) -> datetime | None:
    """Who has been due since then has been due in OVERDUE_AFTER whole windows that are long enough
    for an install; None: there were not so many. A window counts though a freeze closed it."""
    if not calendar.windows:
        return now - OVERDUE_AFTER * DAY
    past = 2 * DAY
    while past < _LONGEST_PAST:
        past *= 4
        recent = calendar.occurrences(now - past, now, _long_enough(calendar, needed))
        ended = [one for one in recent if one.span.end <= now]
        if len(ended) >= OVERDUE_AFTER:
            return ended[-OVERDUE_AFTER].span.start
    return None


def _now_and_next(
    calendar: Calendar, needed: timedelta, now: datetime
) -> tuple[Occurrence | None, Occurrence | None]:
    """The stretch of a window in which an install may start now, and the next after it."""
    begins: Occurrence | None = None
    for one in usable(calendar, needed, now):
        if one.span.start > now:
            return begins, one
        if begins is None or one.span.end > begins.span.end:
            begins = one
    return begins, None


def usable(calendar: Calendar, needed: timedelta, now: datetime) -> Iterator[Occurrence]:
    """Stretches of windows, each long enough to begin an install in it, that one still fits in."""
    for one in _candidates(calendar, needed, now):
        for stretch in calendar.stretches(one.span):
            left = stretch.end - max(stretch.start, now)
            if stretch.length >= needed + ROOM_TO_BEGIN and left >= needed:
                yield Occurrence(one.window, stretch)


def _candidates(calendar: Calendar, needed: timedelta, now: datetime) -> Iterator[Occurrence]:
    """Windows that are long enough. Those that a freeze swallows are jumped over, not gone through:
    it may last for years."""
    until = now + HORIZON
    if not calendar.windows:
        # It has been open for long enough already.
        yield Occurrence("", Span(now - ROOM_TO_BEGIN, until))
        return
    names, since = _long_enough(calendar, needed), now
    while True:
        for one in calendar.occurrences(since, until, names):
            frozen = calendar.frozen_at(max(one.span.start, since))
            if frozen is not None and frozen.span.end >= one.span.end:
                since = frozen.span.end
                break
            yield one
        else:
            return


def _long_enough(calendar: Calendar, needed: timedelta) -> frozenset[str]:
    """Names of windows that an install fits in, with the time to begin it."""
    return frozenset(one.name for one in calendar.windows if one.duration >= needed + ROOM_TO_BEGIN)


def _turn(calendar: Calendar, needed: timedelta, now: datetime) -> Turn | None:
    if not calendar.windows:
        return None
    long_enough = _long_enough(calendar, needed)
    chain = calendar.chain_at(now, long_enough)
    if chain is None:
        _, later = _now_and_next(calendar, needed, now)
        return Turn(None, None, later.span.start if later else None)
    begins, later = _now_and_next(calendar, needed, chain.end)
    after = begins or later
    return Turn(
        chain.start,
        chain.end,
        max(after.span.start, chain.end) if after else None,
        goes_on=_open_before(calendar, chain.start, long_enough),
    )


def _open_before(calendar: Calendar, instant: datetime, names: frozenset[str]) -> bool:
    """One of these windows is open then, and was a moment before."""
    there = calendar.occurrences(instant, instant + timedelta.resolution, names)
    return any(one.span.start < instant for one in there)


def _closes(calendar: Calendar, needed: timedelta, now: datetime) -> datetime | None:
    """When the next window ends of those that are open, whatever closes it: a wave's may while
    another goes on, and who was due in it may be overdue then."""
    names = _long_enough(calendar, needed)
    going = calendar.occurrences(now, now + timedelta.resolution, names)
    return min((one.span.end for one in going), default=None)


def _opens(calendar: Calendar, now: datetime) -> datetime | None:
    """When a window opens next, whatever closes it."""
    starts = (one.span.start for one in calendar.occurrences(now, now + HORIZON))
    return next((start for start in starts if start > now), None)


# --- in words -------------------------------------------------------------------------------------


def _waits(later: Occurrence) -> str:
    if not later.window:
        return f"An install is due. It may start {at(later.span.start)}, when a freeze has ended."
    return (
        f"An install is due. It may start when window {later.window} opens, {at(later.span.start)}."
    )


def _why(
    calendar: Calendar, needed: timedelta, frozen: Frozen | None, later: Occurrence | None
) -> tuple[Reason, str]:
    if calendar.windows and not _long_enough(calendar, needed):
        return _too_short(calendar, needed)
    if frozen is not None:
        return Reason.FROZEN, _is_frozen(frozen, later)
    if later is not None:
        return Reason.WAITING_FOR_WINDOW, _waits(later)
    return (
        Reason.NO_WINDOW_LEFT,
        "The schedule has no window within five years in which an install could start: its windows "
        "have ended or are further away, or freezes close them all. Add one, or remove an endDate "
        "or a freeze.",
    )


def _is_frozen(frozen: Frozen, later: Occurrence | None) -> str:
    why = f" ({frozen.reason})" if frozen.reason else ""
    again = f"; the next install may start {at(later.span.start)}" if later else ""
    return f"Freeze {frozen.name}{why} holds until {at(frozen.span.end)}{again}."


def _too_short(calendar: Calendar, needed: timedelta) -> tuple[Reason, str]:
    longest = max(one.duration for one in calendar.windows)
    return (
        Reason.WINDOW_TOO_SHORT,
        f"No window is long enough: install.maximumDuration is {format_iso(needed)}, to begin "
        f"takes up to {format_go(ROOM_TO_BEGIN)}, and the longest window is {format_go(longest)}. "
        "Make a window longer, or maximumDuration shorter.",
    )
