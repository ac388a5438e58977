"""At most two installs per machine and window: of the schedule, or stretches of 24 hours."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from domain_builders import DAY, HOUR, NOW
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.target import Attempts
from azpatch.domain.attempts import (
    POSTS_PER_WINDOW,
    WINDOW,
    Turn,
    assessment_retry,
    became_due,
    next_window,
    no_longer_due,
    not_in_this_window,
    not_posted,
    overdue,
    posted,
    window_after_last_try,
)

ALWAYS = None
OPEN = Turn(start=NOW - HOUR, end=NOW + 3 * HOUR, next=NOW + 7 * DAY)
CLOSED = Turn(start=None, end=None, next=NOW + 7 * DAY)


def attempts(**fields: object) -> Attempts:
    return Attempts.model_validate(fields)


def test_the_first_window_begins_when_the_machine_becomes_due() -> None:
    assert became_due(None, NOW, ALWAYS) == attempts(due_since=NOW, window_start=NOW)


@pytest.mark.parametrize(
    ("later", "window", "posts"),
    [
        pytest.param(DAY - timedelta(seconds=1), NOW, 2, id="within the day: the same window"),
        pytest.param(DAY, NOW + DAY, 0, id="after 24 hours: the next, with nothing sent"),
        pytest.param(3.5 * DAY, NOW + 3 * DAY, 0, id="consecutive, whether looked at or not"),
    ],
)
def test_windows_are_consecutive_stretches_of_24_hours(
    later: timedelta, window: datetime, posts: int
) -> None:
    before = attempts(due_since=NOW, window_start=NOW, install_posts=2)

    after = became_due(before, NOW + later, ALWAYS)

    assert (after.due_since, after.window_start, after.install_posts) == (NOW, window, posts)


def test_due_again_within_the_window_gets_no_more_installs_than_are_left() -> None:
    before = attempts(due_since=NOW, window_start=NOW, install_posts=2)

    again = became_due(no_longer_due(before), NOW + HOUR, ALWAYS)

    assert (again.window_start, again.install_posts) == (NOW, 2)
    assert again.due_since == NOW + HOUR


@pytest.mark.parametrize(
    ("posts", "later"),
    [
        pytest.param(0, HOUR, id="nothing was sent in the old window"),
        pytest.param(2, DAY, id="the old window is over"),
    ],
)
def test_due_again_otherwise_begins_a_window_of_its_own(posts: int, later: timedelta) -> None:
    before = attempts(due_since=NOW, window_start=NOW, install_posts=posts)

    again = became_due(no_longer_due(before), NOW + later, ALWAYS)

    assert again == attempts(due_since=NOW + later, window_start=NOW + later)


def test_what_must_wait_for_the_next_window_waits_though_the_machine_was_not_due_meanwhile() -> (
    None
):
    before = attempts(
        due_since=NOW, window_start=NOW, install_posts=1, retry_after=NOW + DAY, selected_hash="abc"
    )

    again = became_due(no_longer_due(before), NOW + HOUR, ALWAYS)

    assert again.retry_after == NOW + DAY
    assert again.selected_hash is None, "what was in vain may be tried again"


def test_a_machine_that_is_not_due_and_was_never_tried_has_no_attempts() -> None:
    assert no_longer_due(None) is None
    assert no_longer_due(became_due(None, NOW, ALWAYS)) is None


def test_failed_assessments_are_remembered_whether_due_or_not() -> None:
    assert no_longer_due(attempts(failed_assessments=2)) == attempts(failed_assessments=2)


def test_installs_are_counted_and_those_that_did_not_start_are_not() -> None:
    due = became_due(None, NOW, ALWAYS)

    once = posted(due, "abc")

    assert (once.install_posts, once.selected_hash) == (1, "abc")
    assert not_posted(once).install_posts == 0
    assert not_posted(due).install_posts == 0


@pytest.mark.parametrize(
    ("later", "begins"),
    [
        pytest.param(timedelta(0), NOW + DAY, id="at its start"),
        pytest.param(DAY - timedelta(seconds=1), NOW + DAY, id="at its end"),
        pytest.param(DAY, NOW + 2 * DAY, id="a window later"),
    ],
)
def test_the_next_window_begins_24_hours_after_this_one(later: timedelta, begins: datetime) -> None:
    tried = attempts(window_start=NOW)

    assert next_window(tried, NOW + later, ALWAYS) == begins
    assert not_in_this_window(tried, NOW + later, ALWAYS) == begins


@pytest.mark.parametrize(
    ("posts", "later", "begins"),
    [
        pytest.param(1, HOUR, None, id="another try is left"),
        pytest.param(2, HOUR, NOW + DAY, id="it was the last"),
        pytest.param(2, DAY, None, id="it ended when the next window had begun"),
    ],
)
def test_after_the_last_try_the_next_window_is_waited_for(
    posts: int, later: timedelta, begins: datetime | None
) -> None:
    tried = attempts(due_since=NOW, window_start=NOW, install_posts=posts)
    assert window_after_last_try(tried, NOW + later, ALWAYS) == begins


@pytest.mark.parametrize(
    ("before", "turn", "window", "posts"),
    [
        pytest.param({}, OPEN, OPEN.start, 0, id="the first that it is due in"),
        pytest.param({}, CLOSED, None, 0, id="none is open"),
        pytest.param(
            {"window_start": OPEN.start, "install_posts": 1}, OPEN, OPEN.start, 1, id="the same"
        ),
        pytest.param(
            {"window_start": NOW - 7 * DAY, "install_posts": 2}, OPEN, OPEN.start, 0, id="the next"
        ),
        pytest.param(
            {"window_start": NOW - 2 * HOUR, "install_posts": 2},
            CLOSED,
            NOW - 2 * HOUR,
            2,
            id="the last has closed: what was sent in it is remembered",
        ),
    ],
)
def test_installs_are_counted_by_the_schedules_windows(
    before: dict[str, object], turn: Turn, window: datetime | None, posts: int
) -> None:
    after = became_due(attempts(**before), NOW, turn)

    assert (after.due_since, after.window_start, after.install_posts) == (NOW, window, posts)


def test_a_new_window_is_not_waited_for_by_the_time_of_an_old_one() -> None:
    before = attempts(window_start=NOW - 7 * DAY, retry_after=NOW + DAY)

    assert became_due(before, NOW, OPEN).retry_after is None


def test_a_one_time_run_in_the_midst_of_a_window_does_not_give_it_its_tries_back() -> None:
    run = Turn(start=NOW, end=NOW + DAY, next=None, own=True)
    used_up = attempts(due_since=NOW - DAY, window_start=OPEN.start, install_posts=2)

    in_run = became_due(used_up, NOW, run)
    assert (in_run.window_start, in_run.install_posts) == (NOW, 0)
    after = became_due(posted(in_run, "selected"), NOW + HOUR, OPEN)
    assert after.install_posts == POSTS_PER_WINDOW
    later = OPEN.start + 7 * DAY if OPEN.start else NOW
    assert became_due(after, later, Turn(later, None, None)).install_posts == 0


def test_a_window_that_begins_in_the_future_is_of_a_clock_that_went_back() -> None:
    ahead = attempts(due_since=NOW, window_start=NOW + DAY, install_posts=2)
    assert became_due(ahead, NOW, OPEN).install_posts == 0


def test_what_is_not_tried_again_in_a_window_is_when_it_has_ended() -> None:
    tried = attempts(window_start=OPEN.start, install_posts=1)

    assert not_in_this_window(tried, NOW, OPEN) == OPEN.end
    assert not_in_this_window(tried, NOW, CLOSED) is None
    assert next_window(tried, NOW, OPEN) == OPEN.next
    assert window_after_last_try(tried, NOW, OPEN) is None
    assert window_after_last_try(posted(tried, "abc"), NOW, OPEN) == OPEN.next


@pytest.mark.parametrize(
    ("due_since", "since", "late"),
    [
        pytest.param(None, NOW, False, id="not due"),
        pytest.param(NOW + HOUR, NOW, False, id="due since some time in the first of them"),
        pytest.param(NOW, NOW, True, id="due since the first of them began"),
        pytest.param(NOW - DAY, NOW, True, id="due since before"),
        pytest.param(NOW - DAY, None, False, id="so many windows have not passed"),
    ],
)
def test_overdue_is_who_was_due_in_whole_windows(
    due_since: datetime | None, since: datetime | None, late: bool
) -> None:
    assert overdue(attempts(due_since=due_since), since) is late


def test_a_machine_without_attempts_is_not_overdue() -> None:
    assert not overdue(None, NOW)


STEPS = st.lists(
    st.tuples(st.integers(1, 30 * 60), st.sampled_from(["due", "not due", "lost"])), max_size=60
)


@given(STEPS)
def test_never_three_installs_in_one_window(steps: list[tuple[int, str]]) -> None:
    """Whatever the order in which a machine becomes due, is sent installs, and is due no more."""
    now, current = NOW, None
    sent: list[datetime] = []
    windows: list[datetime] = []
    for minutes, what in steps:
        now += timedelta(minutes=minutes)
        if what == "not due":
            current = no_longer_due(current)
            continue
        current = became_due(current, now, ALWAYS)
        if current.install_posts >= POSTS_PER_WINDOW:
            continue
        current = posted(current, None)
        if what == "lost":
            current = not_posted(current)
            continue
        sent.append(now)
        assert current.window_start is not None
        if current.window_start not in windows:
            windows.append(current.window_start)

    for one, following in itertools.pairwise(windows):
        assert following - one >= WINDOW, "windows do not overlap"
    for window in windows:
        assert sum(window <= one < window + WINDOW for one in sent) <= POSTS_PER_WINDOW


@pytest.mark.parametrize(
    ("max_age", "waits"),
    [
        pytest.param(
            DAY, [timedelta(minutes=15), HOUR, 6 * HOUR, DAY, DAY], id="15 min, 1 h, 6 h, maxAge"
        ),
        pytest.param(
            2 * HOUR,
            [timedelta(minutes=15), HOUR, 2 * HOUR, 2 * HOUR, 2 * HOUR],
            id="never later than maxAge",
        ),
    ],
)
def test_failed_assessments_are_sent_again_ever_later(
    max_age: timedelta, waits: list[timedelta]
) -> None:
    assert [assessment_retry(failures, max_age) for failures in range(5)] == waits
