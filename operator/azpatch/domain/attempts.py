"""What was tried already, so that nothing is tried without end.

With schedule.always a machine's windows are consecutive stretches of 24 hours, the first of which
begins when the machine became due.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.api.target import Attempts

WINDOW = timedelta(hours=24)

POSTS_PER_WINDOW = 2
"""Installs sent to one machine in one window, those without an answer counted."""

OVERDUE_AFTER = 2
"""Windows that a machine was due in from their beginning to their end."""

ASSESSMENT_RETRIES = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6))
"""After the first, second and third assessment in a row that failed; then at maxAge."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a schedule of windows is now. In place of it None stands for schedule.always."""

    start: datetime | None
    """When the window that is open began, and all that overlap it; None: none is open."""
    end: datetime | None
    """When it ends."""
    next: datetime | None
    """When the next may be installed in begins; None: there is none."""
    own: bool = False
    """It is a one-time run, for which the schedule's windows do not hold."""
    goes_on: bool = False
    """A window was open before, too: what never closes is cut into weeks."""


def became_due(attempts: Attempts | None, now: datetime, turn: Turn | None) -> Attempts:
    """The machine is due: since now, or since before; in the window that holds `now`."""
    before = attempts or Attempts()
    due = before.replace(due_since=before.due_since or now)
    if turn is not None:
        if turn.start is None or turn.start == due.window_start:
            return due
        if _was_in_a_run(due, turn.start, now):
            # Whatever there was before the run is not known any more.
            return due.replace(install_posts=POSTS_PER_WINDOW)
        return due.replace(window_start=turn.start, install_posts=0, retry_after=None)
    passed = 0 if due.window_start is None else (now - due.window_start) // WINDOW
    if due.window_start is None or (passed and before.due_since is None):
        return due.replace(window_start=now, install_posts=0)
    if not passed:
        return due
    return due.replace(window_start=due.window_start + passed * WINDOW, install_posts=0)


def _was_in_a_run(attempts: Attempts, start: datetime, now: datetime) -> bool:
    """What is counted was sent after this window began, in a one-time run in the midst of it. What
    was counted from a time that is yet to come was not; a clock went back."""
    counted = attempts.window_start
    return bool(attempts.install_posts) and counted is not None and start < counted <= now


def no_longer_due(attempts: Attempts | None) -> Attempts | None:
    """The machine is not due; what it was tried with before is history.

    The window stays while posts are counted in it: a machine that is due again within the day does
    not get two more installs, nor one that was to wait for the next window. What was in vain may be
    tried again when the machine is due again.
    """
    if attempts is None:
        return None
    kept = attempts.replace(due_since=None, selected_hash=None)
    if not kept.install_posts:
        kept = kept.replace(window_start=None, retry_after=None)
    return None if kept == Attempts() else kept


def posted(attempts: Attempts, selected_hash: str | None) -> Attempts:
    """An install of this selection is sent."""
    return attempts.replace(install_posts=attempts.install_posts + 1, selected_hash=selected_hash)


def not_posted(attempts: Attempts) -> Attempts:
    """An install that was counted did not start after all."""
    return attempts.replace(install_posts=max(0, attempts.install_posts - 1))


def not_in_this_window(attempts: Attempts, now: datetime, turn: Turn | None) -> datetime | None:
    """When this window is over; None: it is already."""
    return _next_day(attempts, now) if turn is None else turn.end


def next_window(attempts: Attempts, now: datetime, turn: Turn | None) -> datetime | None:
    """When the next window begins; None: there is none."""
    return _next_day(attempts, now) if turn is None else turn.next


def window_after_last_try(
    attempts: Attempts | None, now: datetime, turn: Turn | None
) -> datetime | None:
    """When the next window begins, if this one's tries are used up; None: one is left."""
    current = became_due(attempts, now, turn)
    return next_window(current, now, turn) if current.install_posts >= POSTS_PER_WINDOW else None


def _next_day(attempts: Attempts, now: datetime) -> datetime:
    start = attempts.window_start or now
    return start + ((now - start) // WINDOW + 1) * WINDOW


def assessment_retry(failures_before: int, max_age: timedelta) -> timedelta:
    """How long to wait after a failed assessment: never longer than for a regular one."""
    if failures_before < len(ASSESSMENT_RETRIES):
        return min(ASSESSMENT_RETRIES[failures_before], max_age)
    return max_age


def overdue(attempts: Attempts | None, since: datetime | None) -> bool:
    """Due since this instant, from which on OVERDUE_AFTER windows have passed, or before; None: so
    many have not."""
    return (
        since is not None
        and attempts is not None
        and attempts.due_since is not None
        and attempts.due_since <= since
    )
