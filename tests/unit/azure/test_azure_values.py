"""Azure's loose values made firm, and secrets taken out of texts: tables."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from azpatch.azure import budgets, rows, values
from azpatch.azure.errors import retry_after
from azpatch.azure.redaction import LONGEST_MESSAGE, redacted
from azpatch.domain.facts import GuestStatus, OperationError

MOMENT = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("2026-11-22T10:00:00Z", MOMENT, id="Z"),
        pytest.param("2026-11-22T12:00:00+02:00", MOMENT, id="offset"),
        pytest.param("2026-11-22T10:00:00", MOMENT, id="without zone: UTC"),
        pytest.param("2026-11-22T10:00:00.0000009Z", MOMENT, id="seven digits"),
        pytest.param("0001-01-01T00:00:00Z", None, id="not set"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="null"),
        pytest.param("yesterday", None, id="no time"),
        pytest.param(5, None, id="number"),
    ],
)
def test_a_time_is_aware_and_in_utc(value: object, expected: datetime | None) -> None:
    assert values.moment(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Succeeded", GuestStatus.SUCCEEDED),
        ("Inprogress", GuestStatus.IN_PROGRESS),
        ("InProgress", GuestStatus.IN_PROGRESS),
        ("COMPLETEDWITHWARNINGS", GuestStatus.COMPLETED_WITH_WARNINGS),
        ("NotStarted", GuestStatus.NOT_STARTED),
        ("Unknown", GuestStatus.UNKNOWN),
        ("Levitating", GuestStatus.UNKNOWN),
        ("", GuestStatus.UNKNOWN),
        (None, GuestStatus.UNKNOWN),
    ],
)
def test_a_status_is_compared_without_case(value: object, expected: GuestStatus) -> None:
    assert rows.guest_status(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"code": "0", "message": "0 error/s reported."}, None, id="0"),
        pytest.param({"code": 0, "message": "…", "details": []}, None, id="0 as number"),
        pytest.param(None, None, id="null"),
        pytest.param({}, None, id="empty"),
        pytest.param(
            {"code": "1", "message": "m", "details": [{"code": "UA_ESM_REQUIRED"}, None]},
            OperationError("1", "m", (("UA_ESM_REQUIRED", ""),)),
            id="with details",
        ),
        pytest.param({"message": "m"}, OperationError("Unknown", "m"), id="without code"),
    ],
)
def test_an_error_with_code_0_is_none(value: object, expected: OperationError | None) -> None:
    assert values.operation_error(value) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("PowerState/running", "Running"),
        ("powerstate/deallocated", "Deallocated"),
        ("ProvisioningState/succeeded", None),
        ("", None),
        (None, None),
    ],
)
def test_a_power_state_is_the_part_after_the_slash(code: object, expected: str | None) -> None:
    assert rows.power_state(code) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"Retry-After": "17"}, timedelta(seconds=17), id="seconds"),
        pytest.param(
            {
                "Retry-After": "Sun, 22 Nov 2026 10:01:00 GMT",
                "Date": "Sun, 22 Nov 2026 10:00:00 GMT",
            },
            timedelta(minutes=1),
            id="date",
        ),
        pytest.param(
            {
                "Retry-After": "Sun, 22 Nov 2026 09:00:00 GMT",
                "Date": "Sun, 22 Nov 2026 10:00:00 GMT",
            },
            timedelta(0),
            id="date in the past",
        ),
        pytest.param({"Retry-After": "Sun, 22 Nov 2026 10:01:00 GMT"}, None, id="no Date"),
        pytest.param({"Retry-After": "soon"}, None, id="nonsense"),
        pytest.param({"Retry-After": "-5"}, None, id="negative"),
        pytest.param({}, None, id="none"),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    headers: Mapping[str, str], expected: timedelta | None
) -> None:
    assert retry_after(headers) == expected


def test_budgets_are_read_from_the_headers_of_arm_compute_and_resource_graph() -> None:
    assert budgets.remaining(
        {
            "X-Ms-Ratelimit-Remaining-Subscription-Writes": "199",
            "x-ms-ratelimit-remaining-subscription-global-writes": "2999",
            "x-ms-ratelimit-remaining-resource": "Microsoft.Compute/VMGuestPatchOperation"
            "SubscriptionMaximum;599,Microsoft.Compute/VMGuestPatchOperationResource;5,odd",
            "x-ms-user-quota-remaining": "14",
            "x-ms-request-id": "5",
        }
    ) == {
        "subscription-writes": 199,
        "subscription-global-writes": 2999,
        "VMGuestPatchOperationSubscriptionMaximum": 599,
        "VMGuestPatchOperationResource": 5,
        "resource-graph-queries": 14,
    }


def test_the_budgets_of_single_machines_are_too_many_to_show() -> None:
    assert budgets.shared({"VMGuestPatchOperationResource": 5, "subscription-reads": 9}) == {
        "subscription-reads": 9
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "GET https://management.azure.com/operations/1?p=1&s=sig failed",
            "GET https://management.azure.com/operations/1?[redacted] failed",
            id="query of a URL",
        ),
        pytest.param("https://user:word@host/a", "https://[redacted]@host/a", id="user of a URL"),
        pytest.param("Bearer abc.def, again", "Bearer [redacted], again", id="bearer"),
        pytest.param("token eyJh-b.eyJz_d.s1g!", "token [redacted]!", id="JWT"),
        pytest.param("client_secret=a~b&x=1", "client_secret=[redacted]&x=1", id="form"),
        pytest.param(
            '{"access_token": "abc", "x": 1}', '{"access_token": "[redacted]", "x": 1}', id="JSON"
        ),
        pytest.param(
            "No such app. Trace ID: 0d4e-1 Correlation ID: 0d4e-2 Timestamp: 2026-11-25 23:02:23Z",
            "No such app",
            id="what differs in every answer",
        ),
        pytest.param(
            "error 'No app '0d4e'. Trace ID: 0d4e-1 Timestamp: 2026-11-25 23:02:23Z'",
            "error 'No app '0d4e''",
            id="and nothing beside it",
        ),
        pytest.param(
            "AADSTS7000215: Invalid client secret provided.",
            "AADSTS7000215: Invalid client secret provided.",
            id="nothing secret",
        ),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_message_is_cut_to_what_a_status_can_hold() -> None:
    assert len(redacted("x" * 5000)) == LONGEST_MESSAGE
