"""What Azure detected, and for how long it is believed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from domain_builders import DAY, DEFINITION, HOUR, NOW, machine
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.common import DetectedState
from azpatch.api.target import DetectedStatus
from azpatch.domain.detection import (
    SUPPORTED_REMEMBERED,
    Detection,
    Sign,
    counts,
    detect,
)
from azpatch.domain.facts import AssessmentResult, GuestStatus

CREATED = NOW - 100 * DAY
UNKNOWN = DetectedState.UNKNOWN
SUPPORTED = DetectedState.SUPPORTED
UNSUPPORTED = DetectedState.UNSUPPORTED
UNDETERMINED = DetectedState.UNABLE_TO_DETERMINE


def row(
    detected: DetectedState | None = SUPPORTED,
    status: GuestStatus = GuestStatus.SUCCEEDED,
    at: datetime = NOW - HOUR,
) -> AssessmentResult:
    return AssessmentResult(status, last_modified=at, detected=detected)


def remembered(
    state: DetectedState,
    age: timedelta,
    reference: str = DEFINITION,
    probes: int = 0,
    probe_in: timedelta | None = None,
) -> DetectedStatus:
    return DetectedStatus(
        state=state,
        time=NOW - age,
        image_reference=reference,
        probes=probes,
        next_probe_time=None if probe_in is None else NOW + probe_in,
    )


def seen(
    found: AssessmentResult | None,
    known: DetectedStatus | None = None,
    since: datetime | None = None,
    now: datetime = NOW,
    reference: str | None = DEFINITION,
) -> Detection:
    return detect(found, known, machine(), reference, since, now)


@pytest.mark.parametrize(
    ("found", "sign"),
    [
        pytest.param(row(SUPPORTED), Sign.SUPPORTED, id="D+ Supported"),
        pytest.param(row(UNKNOWN), Sign.SUCCEEDED, id="D0 succeeded, Unknown"),
        pytest.param(row(None), Sign.SUCCEEDED, id="D0 succeeded, no value"),
        pytest.param(row(UNDETERMINED), Sign.UNDETERMINED, id="D? UnableToDetermine"),
        pytest.param(row(UNSUPPORTED), Sign.UNSUPPORTED, id="D- Unsupported"),
        pytest.param(
            row(UNSUPPORTED, GuestStatus.FAILED),
            Sign.UNSUPPORTED,
            id="D- also on a failed assessment's row",
        ),
        pytest.param(None, Sign.NONE, id="D∅ no row"),
        pytest.param(row(SUPPORTED, GuestStatus.IN_PROGRESS), Sign.NONE, id="D∅ running"),
        pytest.param(row(UNSUPPORTED, GuestStatus.IN_PROGRESS), Sign.NONE, id="D∅ running, too"),
        pytest.param(row(SUPPORTED, GuestStatus.FAILED), Sign.NONE, id="D∅ failed"),
        pytest.param(row(None, GuestStatus.FAILED), Sign.NONE, id="D∅ failed, no value"),
        pytest.param(
            row(None, GuestStatus.COMPLETED_WITH_WARNINGS), Sign.NONE, id="D0 needs a success"
        ),
    ],
)
def test_a_row_gives_a_sign(found: AssessmentResult | None, sign: Sign) -> None:
    assert seen(found).sign is sign


@pytest.mark.parametrize(
    ("at", "since", "counted"),
    [
        pytest.param(CREATED, None, False, id="as old as the machine"),
        pytest.param(CREATED + HOUR, None, True, id="newer than the machine, anyone's"),
        pytest.param(NOW - 2 * HOUR, NOW - HOUR, False, id="older than our last operation"),
        pytest.param(NOW - HOUR, NOW - HOUR, True, id="from our last operation's start on"),
        pytest.param(None, None, False, id="no time"),
    ],
)
def test_a_row_counts_by_its_age(
    at: datetime | None, since: datetime | None, counted: bool
) -> None:
    found = AssessmentResult(GuestStatus.SUCCEEDED, last_modified=at, detected=SUPPORTED)

    assert counts(found, machine(), since) is counted
    assert seen(found, since=since).row_counts is counted
    assert seen(found, since=since).sign is (Sign.SUPPORTED if counted else Sign.NONE)


def test_without_timeCreated_only_rows_of_our_own_operations_count() -> None:  # noqa: N802
    unknown_age = machine(time_created=None)

    assert not counts(row(), unknown_age, None)
    assert counts(row(), unknown_age, NOW - 2 * HOUR)


@pytest.mark.parametrize(
    ("known", "found", "sign"),
    [
        pytest.param(remembered(SUPPORTED, 29 * DAY), None, Sign.SUPPORTED, id="D+ for 30 days"),
        pytest.param(remembered(SUPPORTED, 31 * DAY), None, Sign.NONE, id="D+ no longer"),
        pytest.param(
            remembered(UNSUPPORTED, 90 * DAY), None, Sign.UNSUPPORTED, id="D- until probed"
        ),
        pytest.param(remembered(UNKNOWN, DAY), None, Sign.NONE, id="D0 is not remembered"),
        pytest.param(remembered(UNDETERMINED, DAY), None, Sign.NONE, id="D? is not remembered"),
        pytest.param(
            remembered(SUPPORTED, 8 * DAY),
            row(UNSUPPORTED),
            Sign.UNSUPPORTED,
            id="a newer answer replaces D+",
        ),
        pytest.param(
            remembered(UNSUPPORTED, 8 * DAY),
            row(SUPPORTED),
            Sign.SUPPORTED,
            id="a newer answer replaces D-",
        ),
        pytest.param(
            remembered(UNSUPPORTED, 8 * DAY),
            row(None),
            Sign.SUCCEEDED,
            id="a success contradicts D-",
        ),
        pytest.param(
            remembered(SUPPORTED, 8 * DAY), row(None), Sign.SUPPORTED, id="and does not touch D+"
        ),
        pytest.param(
            remembered(SUPPORTED, 40 * DAY), row(None), Sign.SUCCEEDED, id="which has its time"
        ),
        pytest.param(
            remembered(UNSUPPORTED, 8 * DAY),
            row(None, GuestStatus.FAILED),
            Sign.UNSUPPORTED,
            id="a failure says nothing",
        ),
        pytest.param(
            remembered(UNSUPPORTED, timedelta(0)),
            row(SUPPORTED, at=NOW - DAY),
            Sign.UNSUPPORTED,
            id="an older row says nothing",
        ),
    ],
)
def test_what_is_remembered_stands_until_a_newer_answer(
    known: DetectedStatus, found: AssessmentResult | None, sign: Sign
) -> None:
    assert seen(found, known).sign is sign


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="no row"),
        pytest.param(row(SUPPORTED, at=NOW - HOUR), id="a row"),
        pytest.param(row(SUPPORTED, at=NOW + HOUR / 2), id="a row, and our clock is behind"),
    ],
)
def test_another_image_reference_forgets_and_rows_from_before_never_count_again(
    found: AssessmentResult | None,
) -> None:
    known = remembered(SUPPORTED, HOUR)
    first = seen(found, known, reference=DEFINITION + "-2")
    later = seen(found, first.status, now=NOW + HOUR, reference=DEFINITION + "-2")
    fresh = seen(row(at=NOW + HOUR), later.status, now=NOW + 2 * HOUR, reference=DEFINITION + "-2")

    assert (first.sign, later.sign, fresh.sign) == (Sign.NONE, Sign.NONE, Sign.SUPPORTED)


def test_an_image_reference_in_another_case_is_the_same() -> None:
    assert seen(None, remembered(SUPPORTED, DAY, DEFINITION.upper())).sign is Sign.SUPPORTED


def test_a_machine_found_unsupported_is_probed_after_a_day_three_days_then_weekly() -> None:
    waits = []
    known, at = None, NOW
    for _ in range(5):
        known = seen(row(UNSUPPORTED, at=at), known, now=at).status
        assert known is not None
        assert known.next_probe_time is not None
        waits.append(known.next_probe_time - at)
        at = known.next_probe_time

    assert waits == [DAY, 3 * DAY, 7 * DAY, 7 * DAY, 7 * DAY]
    assert known is not None
    assert known.probes == 4


def test_the_same_row_read_again_is_no_new_probe() -> None:
    first = seen(row(UNSUPPORTED))

    assert seen(row(UNSUPPORTED), first.status).status == first.status


@pytest.mark.parametrize(("probe_in", "due"), [(HOUR, False), (timedelta(0), True), (-HOUR, True)])
def test_a_probe_is_due_at_its_time(probe_in: timedelta, due: bool) -> None:
    known = remembered(UNSUPPORTED, 2 * DAY, probe_in=probe_in)

    assert seen(None, known).probe_due is due


def test_a_probe_that_brought_no_row_is_sent_again_after_its_interval() -> None:
    known = remembered(UNSUPPORTED, 2 * DAY, probe_in=-DAY)
    sent = NOW - HOUR
    result = seen(None, known, since=sent)

    assert not result.probe_due
    assert result.status is not None
    assert result.status.next_probe_time == sent + DAY
    assert seen(None, result.status, since=sent, now=sent + DAY).probe_due


ROWS = st.none() | st.builds(
    row,
    st.none() | st.sampled_from(DetectedState),
    st.sampled_from(GuestStatus),
    st.integers(-99, 0).map(lambda days: NOW + days * DAY),
)


@given(rows=st.lists(ROWS, max_size=8))
def test_memory_never_goes_back_in_time(rows: list[AssessmentResult | None]) -> None:
    status: DetectedStatus | None = None
    for found in rows:
        before, status = status, seen(found, status).status
        assert before is None or (status is not None and status.time >= before.time)


@given(found=ROWS, known=st.none() | st.sampled_from(DetectedState), age=st.integers(0, 60))
def test_reading_the_same_facts_again_changes_nothing(
    found: AssessmentResult | None, known: DetectedState | None, age: int
) -> None:
    first = seen(found, None if known is None else remembered(known, age * DAY))

    assert seen(found, first.status) == first


@given(age=st.timedeltas(min_value=timedelta(0), max_value=60 * DAY))
def test_once_forgotten_support_stays_forgotten(age: timedelta) -> None:
    known = remembered(SUPPORTED, timedelta(0))

    expected = Sign.SUPPORTED if age <= SUPPORTED_REMEMBERED else Sign.NONE
    assert seen(None, known, now=NOW + age).sign is expected
