"""Azure's loose values made firm: case, spelling, missing fields, numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from azpatch.domain.facts import OperationError

E = TypeVar("E", bound=StrEnum)

NO_TIME = 1
"""Year of .NET's `0001-01-01T00:00:00Z`, which Azure sends for a time that is not set."""


def text(value: object) -> str | None:
    """The text; None for null and for the empty string, which `tostring(null)` gives in KQL."""
    return None if value is None or value == "" else str(value)


def number(value: object) -> int | None:
    """A count, which Resource Graph gives as number or as text."""
    try:
        return None if value is None or value == "" else int(str(value))
    except ValueError:
        return None


def truth(value: object) -> bool | None:
    """A boolean, which Resource Graph gives as boolean or as text."""
    return {"true": True, "false": False}.get(str(value).lower())


def moment(value: object) -> datetime | None:
    """An aware time in UTC; None for what is not a time, or is not set."""
    if not isinstance(value, str) or not value:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return None if aware.year == NO_TIME else aware.astimezone(UTC)


def member(kind: type[E], value: object) -> E | None:
    """The member of this enum that is spelt so, compared without case; None if there is none."""
    wanted = str(value or "").lower()
    return next((m for m in kind if m.value.lower() == wanted), None)


def mapping(value: object) -> Mapping[str, Any]:
    """The object; empty for null and for anything else."""
    # What JSON gives is told ten times as fast as what might be a mapping.
    return value if isinstance(value, dict | Mapping) else {}


def texts(value: object) -> tuple[str, ...]:
    """The strings of a list; empty for null and for anything else."""
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def spelt(value: str | None, spellings: Iterable[str]) -> str | None:
    """The documented spelling of a value, compared without case; else the value itself."""
    if value is None:
        return None
    return next((s for s in spellings if s.lower() == value.lower()), value)


def operation_error(value: object) -> OperationError | None:
    """An `error` or `errorDetails` object. Code `0` reports that there was no error: None."""
    error = mapping(value)
    code, message = text(error.get("code")), text(error.get("message"))
    if code == "0" or (code is None and message is None):
        return None
    listed = error.get("details")
    details = tuple(
        (str(detail.get("code") or ""), str(detail.get("message") or ""))
        for detail in (listed if isinstance(listed, list) else ())
        if isinstance(detail, Mapping)
    )
    return OperationError(code or "Unknown", message or "", details)
