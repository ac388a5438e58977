"""Globs of Azure's lists: `*` stands for any characters, the rest for itself, case for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

Globs = re.Pattern[str]


def compiled(globs: Iterable[str]) -> Globs:
    """One pattern for all of them; `matches` applies it. Of none, it matches nothing."""
    alternatives = (".*".join(map(re.escape, glob.lower().split("*"))) for glob in globs)
    return re.compile("|".join(alternatives) or r"(?!)", re.DOTALL)


def matches(pattern: Globs, value: str) -> bool:
    """Whether one of the globs is about the whole value."""
    return pattern.fullmatch(value.lower()) is not None
