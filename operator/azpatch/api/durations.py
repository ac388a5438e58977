"""The two duration formats of the API, read into and written from `timedelta`.

Azure's own fields are ISO 8601 (`PT2H`), all others are Go's (`24h`). Neither is
`format: duration` in the schema, because JSON Schema means the first by it and Kubernetes the
second.
"""

from __future__ import annotations

import re
from datetime import timedelta

GO_PATTERN = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"
"""Go's duration in hours, minutes and seconds, largest unit first; the empty string is refused
by a minimal length."""

ISO_PATTERN = r"^PT([0-9]{1,2}H([0-9]{1,3}M)?|[0-9]{1,3}M)$"
"""ISO 8601 in hours and minutes. The guest's extension reads only `PT#H#M#S`, and refuses days,
fractions and leading zeros that ISO 8601 would allow."""

_ISO = re.compile(r"^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?$")


def parse_go(text: str) -> timedelta:
    """The duration that Go's notation `text` (such as `1h30m`) means.

    Raises ValueError when `text` is not hours, minutes and seconds in this order.
    """
    if not text or not re.match(GO_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration such as 24h or 1h30m")
    units = {unit: int(count) for count, unit in re.findall(r"(\d+)([hms])", text)}
    return timedelta(hours=units.get("h", 0), minutes=units.get("m", 0), seconds=units.get("s", 0))


def format_go(duration: timedelta) -> str:
    """`duration` in Go's notation, in whole seconds, without units that are zero: `1h30m`."""
    return _units(duration, "h", "m", "s") or "0s"


def parse_iso(text: str) -> timedelta:
    """The duration that ISO 8601's `text` (such as `PT1H30M`) means.

    Raises ValueError when `text` has days, fractions, or no unit at all.
    """
    found = _ISO.match(text)
    if found is None or text == "PT":
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT2H or PT1H30M")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_iso(duration: timedelta) -> str:
    """`duration` as Azure's guests read it: `PT#H#M#S` without units that are zero.

    Not what `isodate` or the SDK write (`P1D`, `PT04H00M00S`), which the Linux guest refuses.
    """
    return "PT" + (_units(duration, "H", "M", "S") or "0S")


def _units(duration: timedelta, hour: str, minute: str, second: str) -> str:
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, hour), (minutes, minute), (seconds, second))
    return "".join(f"{count}{unit}" for count, unit in parts if count)
