"""What one process was told of the windows that there was a PatchRun for.

By answers and by the watch, whatever it made of that. One that was deleted while nobody had written
down that it was made is known to whoever was told of it, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, Kind, Object
from judging import runs


class Heard:
    """Of one process. What this raises, on its stack, is not the process's error."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._on_error = on_error
        self._last: dict[str, datetime] = {}
        """By the policy's uid: the last window."""

    def hear(self, kind: Kind, raw: Object) -> None:
        """It is told of an object."""
        try:
            for policy, window in _windows(kind, raw):
                self._last[policy] = max(window, self._last.get(policy, window))
        except (LookupError, TypeError, ValueError) as error:
            self._on_error(error)

    def had(self, run: Object) -> bool:
        """It was told that there was one for the window of this run, or for a later one."""
        return any(
            policy in self._last and self._last[policy] >= window
            for policy, window in _windows(PATCH_RUN, run)
        )


def _windows(kind: Kind, raw: Object) -> Iterator[tuple[str, datetime]]:
    """(policy's uid, window)"""
    if kind == PATCH_RUN and not runs.is_one_time(raw):
        for owner in raw["metadata"]["ownerReferences"]:
            yield owner["uid"], runs.window(raw)
    if kind == PATCH_POLICY:
        last = (raw.get("status") or {}).get("lastScheduleTime")
        if last is not None:
            yield raw["metadata"]["uid"], datetime.fromisoformat(last)
