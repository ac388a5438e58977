"""The shape of what `azpatch windows` answers, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter

from azpatch.api.common import ApiModel
from azpatch.console import columns
from azpatch.domain.windows import Calendar, Frozen, Occurrence


class WindowAnswer(ApiModel):
    """A window that opens. Stable: fields may be added, what is there keeps its name and meaning.
    Instants are RFC 3339."""

    window: str
    """Its name in spec.schedule.windows."""
    start: str
    """When it opens, in the schedule's time zone."""
    end: str
    """When it closes, in the schedule's time zone."""
    start_utc: str
    """When it opens, in UTC."""
    end_utc: str
    """When it closes, in UTC."""
    frozen: bool
    """Freezes leave no time in it in which an install could be done."""


_ANSWERS = TypeAdapter(list[WindowAnswer])


def answers(
    calendar: Calendar, occurrences: Sequence[Occurrence], needed: timedelta
) -> list[WindowAnswer]:
    """`needed`: install.maximumDuration."""
    return [
        WindowAnswer(
            window=one.window,
            start=_local(one.span.start, calendar),
            end=_local(one.span.end, calendar),
            start_utc=_utc(one.span.start),
            end_utc=_utc(one.span.end),
            frozen=swallowed(calendar, one, needed),
        )
        for one in occurrences
    ]


def swallowed(calendar: Calendar, one: Occurrence, needed: timedelta) -> bool:
    """Whether freezes take so much of a window that no install fits."""
    stretches = calendar.stretches(one.span)
    return stretches != (one.span,) and not any(left.length >= needed for left in stretches)


def as_json(found: Sequence[WindowAnswer]) -> str:
    """Indented, so that a person can read it too."""
    return f"{_ANSWERS.dump_json(list(found), indent=2).decode()}\n"


def table(
    calendar: Calendar, occurrences: Sequence[Occurrence], needed: timedelta
) -> Iterator[str]:
    """A line for each window."""
    rows = [_head(calendar), *(_row(one, calendar, needed) for one in occurrences)]
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    yield from columns(rows)


def _head(calendar: Calendar) -> tuple[str, ...]:
    zones = (str(calendar.zone), "UTC")
    times = (f"{what} ({zone})" for zone in dict.fromkeys(zones) for what in ("OPENS", "CLOSES"))
    return ("WINDOW", *times, "FREEZE")


def _row(one: Occurrence, calendar: Calendar, needed: timedelta) -> tuple[str, ...]:
    instants = (one.span.start, one.span.end)
    local = (_shown(at, calendar) for at in instants)
    utc = (f"{at:%Y-%m-%d %H:%M}" for at in instants) if str(calendar.zone) != "UTC" else ()
    return (one.window, *local, *utc, _freeze(calendar, one, needed))


def _freeze(calendar: Calendar, one: Occurrence, needed: timedelta) -> str:
    stretches = calendar.stretches(one.span)
    if stretches == (one.span,):
        return ""
    cuts = [
        freeze
        for freeze in calendar.freezes
        if freeze.span.start < one.span.end and freeze.span.end > one.span.start
    ]
    names = ", ".join(map(_named, cuts))
    if swallowed(calendar, one, needed):
        return f"frozen: {names}"
    left = ", ".join(
        f"{_clock(stretch.start, calendar)} to {_clock(stretch.end, calendar)}"
        for stretch in stretches
        if stretch.length >= needed
    )
    return f"open {left}: {names}"


def _named(freeze: Frozen) -> str:
    return f"{freeze.name} ({freeze.reason})" if freeze.reason else freeze.name


def _shown(at: datetime, calendar: Calendar) -> str:
    local = at.astimezone(calendar.zone)
    offset = "" if str(calendar.zone) == "UTC" else f" {local:%z}"
    return f"{local:%a %Y-%m-%d %H:%M}{offset}"


def _clock(at: datetime, calendar: Calendar) -> str:
    return f"{at.astimezone(calendar.zone):%a %H:%M}"


def _local(at: datetime, calendar: Calendar) -> str:
    return at.astimezone(calendar.zone).isoformat(timespec="seconds")


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
