"""Phrases that several decisions use in their messages."""

from __future__ import annotations

from datetime import UTC, datetime

from azpatch.domain.facts import OperationError

QUOTED = 600
"""Characters of Azure's words in a message, which has 1024: some 400 for ours."""

QUOTED_ON_MACHINE = 140
"""In a PatchTarget's, which has 320."""


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
    return f"Azure says {code}: {_cut(message)}."


def quoted(code: str, message: str, most: int = QUOTED) -> str:
    """What Azure said, or what kept it from saying anything, to stand in a sentence about it:
    `(Conflict: Something else runs)`. A long message is cut, so that what follows it is read."""
    shown = _cut(message, most)
    return f"({code}: {shown})" if shown else f"({code})"


def _cut(message: str, most: int = QUOTED) -> str:
    shown = message.rstrip(". ")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def sentences(*parts: str) -> str:
    """The parts that are not empty, one after the other."""
    return " ".join(part for part in parts if part)
