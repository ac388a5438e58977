"""Whether a feature is registered once: what the checker finds, and what it lets pass."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from judging.azure_journal import Entry, Event, Journal, Request
from judging.registrations import registered_once

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OURS = "azpatch"


def post(feature: str = "X", principal: str = OURS, status: int = 200) -> Request:
    path = (
        "/subscriptions/S-1/providers/Microsoft.Features/providers/Microsoft.Compute"
        f"/features/{feature}/register"
    )
    return Request(0, NOW, principal, "POST", path, status)


def became(state: str, feature: str = "X") -> Event:
    details = {"feature": f"Microsoft.Compute/{feature}", "before": "", "after": state}
    return Event(0, NOW, "/subscriptions/s-1", "FeatureStateChanged", details=details)


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        pytest.param([post()], 0, id="once"),
        pytest.param([became("Registering"), post(), post()], 1, id="twice"),
        pytest.param([post(), became("Registered"), post()], 1, id="what is there"),
        pytest.param([post(), post(status=0), post(status=403)], 0, id="what Azure did not take"),
        pytest.param([post(), post("Y")], 0, id="another feature"),
        pytest.param([post(), post(principal="person")], 0, id="somebody else"),
        pytest.param([post(), became("Unregistered"), post()], 0, id="lost since"),
        pytest.param([post(), became("Unregistered", "Y"), post()], 1, id="another one lost"),
    ],
)
def test_a_second_registration_is_found_unless_the_first_was_lost(
    entries: list[Entry], found: int
) -> None:
    assert len(registered_once(Journal(entries), {OURS})) == found
