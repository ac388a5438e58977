"""Preview features: what is there, and registering for it."""

from __future__ import annotations

import pytest
from simulated import Azure

SUB = "/subscriptions/5ab10000-0000-4000-8000-000000000001"
ROOT = f"{SUB}/providers/Microsoft.Features"
FEATURES = f"{ROOT}/providers/Microsoft.Compute/features"
REGISTRATIONS = f"{ROOT}/featureProviders/Microsoft.Compute/subscriptionFeatureRegistrations"

FLEET = """
subscriptions:
  - features:
      - {name: Gallery, displayName: VM Guest Patch Gallery Image Preview, registeringTakes: 10m}
      - {name: Guarded, approval: ApprovalRequired}
      - {name: Approved, approval: ApprovalRequired, approvedAfter: 30h}
      - {name: Never, comes: false}
      - {name: Done, state: Registered}
      - {name: Other, namespace: Microsoft.Network}
machines: []
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def state(sim: Azure, name: str) -> str:
    found: str = sim.call("GET", f"{FEATURES}/{name}").json()["properties"]["state"]
    return found


def test_a_list_holds_the_features_of_the_provider(sim: Azure) -> None:
    names = [feature["name"] for feature in sim.call("GET", FEATURES).json()["value"]]

    assert names == [
        f"Microsoft.Compute/{name}" for name in ("Approved", "Done", "Gallery", "Guarded", "Never")
    ]
    assert len(sim.call("GET", f"{ROOT}/features").json()["value"]) == 6


def test_a_feature_says_its_name_and_state_but_not_its_display_name(sim: Azure) -> None:
    assert sim.call("GET", f"{FEATURES}/gallery").json() == {
        "id": f"{FEATURES}/Gallery",
        "name": "Microsoft.Compute/Gallery",
        "type": "Microsoft.Features/providers/features",
        "properties": {"state": "NotRegistered"},
    }


def test_registering_takes_its_time(sim: Azure) -> None:
    answer = sim.call("POST", f"{FEATURES}/Gallery/register")
    seen = [answer.json()["properties"]["state"]]
    for _ in range(2):
        sim.wait(minutes=5)
        seen.append(state(sim, "Gallery"))

    assert seen == ["Registering", "Registering", "Registered"]
    changes = [(e.details["before"], e.details["after"]) for e in sim.journal.events()]
    assert changes == [("NotRegistered", "Registering"), ("Registering", "Registered")]


def test_what_needs_approval_stays_pending(sim: Azure) -> None:
    sim.call("POST", f"{FEATURES}/Guarded/register")
    sim.wait(days=1)

    assert state(sim, "Guarded") == "Pending"


def test_an_approval_comes_when_the_file_says(sim: Azure) -> None:
    sim.call("POST", f"{FEATURES}/Approved/register")
    seen = []
    for _ in range(2):
        sim.wait(hours=15)
        # Asking again does not begin anew.
        seen.append(sim.call("POST", f"{FEATURES}/Approved/register").json()["properties"]["state"])

    assert seen == ["Pending", "Registered"]


def test_one_that_never_comes_stays_registering(sim: Azure) -> None:
    sim.call("POST", f"{FEATURES}/Never/register")
    sim.wait(days=30)

    assert state(sim, "Never") == "Registering"


def test_unregistering_in_the_middle_of_registering_wins(sim: Azure) -> None:
    sim.call("POST", f"{FEATURES}/Gallery/register")
    sim.wait(minutes=5)
    sim.call("POST", f"{FEATURES}/Gallery/unregister")
    sim.wait(minutes=5)
    assert state(sim, "Gallery") == "Unregistering"
    sim.wait(minutes=5)

    assert state(sim, "Gallery") == "Unregistered"


def test_registering_what_is_registered_changes_nothing(sim: Azure) -> None:
    answer = sim.call("POST", f"{FEATURES}/Done/register")

    assert answer.json()["properties"]["state"] == "Registered"
    assert sim.journal.events() == []


def test_a_registration_with_its_display_name_exists_only_once_someone_registered(
    sim: Azure,
) -> None:
    assert sim.call("GET", f"{REGISTRATIONS}/Gallery").status == 404
    sim.call("POST", f"{FEATURES}/Gallery/register")
    properties = sim.call("GET", f"{REGISTRATIONS}/Gallery").json()["properties"]

    assert properties["displayName"] == "VM Guest Patch Gallery Image Preview"
    names = [each["name"] for each in sim.call("GET", REGISTRATIONS).json()["value"]]
    assert names == ["Done", "Gallery"]


def test_an_unknown_feature_is_a_404(sim: Azure) -> None:
    assert sim.call("GET", f"{FEATURES}/Nothing").status == 404
    assert sim.call("POST", f"{FEATURES}/Nothing/register").status == 404
