"""What was tried already, so that nothing is tried without end.

With schedule.always a machine's windows are consecutive stretches of 24 hours, the first of which
begins when the machine became due.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from azpatch.api.target import Attempts

WINDOW = timedelta(hours=24)

POSTS_PER_WINDOW = 2
"""Installs sent to one machine in one window, those without an answer counted."""

OVERDUE_AFTER = 2 * WINDOW


def became_due(attempts: Attempts | None, now: datetime) -> Attempts:
    """The machine is due: since now, or since before; in the window that holds `now`."""
    if attempts is None or attempts.due_since is None or attempts.window_start is None:
        kept = attempts or Attempts()
        return kept.replace(due_since=now, window_start=now, install_posts=0)
    passed = (now - attempts.window_start) // WINDOW
    if passed < 1:
        return attempts
    return attempts.replace(window_start=attempts.window_start + passed * WINDOW, install_posts=0)


def no_longer_due(attempts: Attempts | None) -> Attempts | None:
    """The machine is not due; what it was tried with before is history.

    The window stays while posts are counted in it: a machine that is due again within the day does
    not get two more installs. What was in vain may be tried again when the machine is due again.
    """
    if attempts is None:
        return None
    kept = attempts.replace(due_since=None, selected_hash=None, retry_after=None)
    return None if kept == Attempts() else kept


def posted(attempts: Attempts, selected_hash: str | None) -> Attempts:
    """An install of this selection is sent."""
    return attempts.replace(install_posts=attempts.install_posts + 1, selected_hash=selected_hash)


def not_posted(attempts: Attempts) -> Attempts:
    """An install that was counted did not start after all."""
    return attempts.replace(install_posts=max(0, attempts.install_posts - 1))


def next_window(attempts: Attempts, now: datetime) -> datetime:
    """When the next window begins."""
    start = attempts.window_start or now
    return start + ((now - start) // WINDOW + 1) * WINDOW


def overdue(attempts: Attempts | None, now: datetime) -> bool:
    """Due for two windows."""
    return (
        attempts is not None
        and attempts.due_since is not None
        and now - attempts.due_since >= OVERDUE_AFTER
    )
