"""Phrases that several decisions use in their messages."""

from __future__ import annotations

from datetime import UTC, datetime

from azpatch.domain.facts import OperationError


def at(time: datetime) -> str:
    """An instant, to the minute, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def counted(count: int, what: str) -> str:
    """A count and its noun: `1 machine`, `3 machines`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def share(some: int, total: int, verb: tuple[str, str] = ("", "")) -> str:
    """How many machines of how many, and the verb that fits: `1 of 5 machines is`."""
    machines = counted(total, "machine")
    subject = machines if some == total == 1 else f"{some} of {machines}"
    return f"{subject} {verb[0 if some == 1 else 1]}".strip()


def azure_says(error: OperationError | None) -> str:
    """A sentence with Azure's code and message: the guest's first, if it gave any. Else ""."""
    if error is None or error.code == "0":
        return ""
    code, message = error.details[0] if error.details else (error.code, error.message)
    return f"Azure says {code}: {message.rstrip('.')}."


def sentences(*parts: str) -> str:
    """The parts that are not empty, one after the other."""
    return " ".join(part for part in parts if part)
