"""What happened in one simulation, line by line, so that a failure can be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta


class Story:
    """Lines with their virtual times. The lines are cheap, because most stories end well."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._start = now()
        self._lines: list[tuple[datetime, str, str]] = []

    def tell(self, who: str, what: str) -> None:
        """`who` is a machine's name, a process, a person, or `azure` and `cluster` as a whole."""
        self._lines.append((self._now(), who, what))

    def print(self, about: str | None = None, last: int = 80) -> str:
        """The last lines; `about` keeps those of one machine and of what concerns all."""
        kept = [
            line for line in self._lines if about is None or line[1] == about or "-" not in line[1]
        ]
        return "\n".join(
            f"{_elapsed(at - self._start)}  {who:<12} {what}" for at, who, what in kept[-last:]
        )

    def fingerprint(self) -> tuple[tuple[datetime, str, str], ...]:
        """Everything that was told: two runs of one seed tell the same."""
        return tuple(self._lines)


def _elapsed(span: timedelta) -> str:
    hours, rest = divmod(span.total_seconds(), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{int(hours):3}:{int(minutes):02}:{seconds:06.3f}"
