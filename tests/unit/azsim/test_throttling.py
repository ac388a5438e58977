"""Token buckets: what is left stands on every answer, and a 429 says when to come back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from simulated import START, Azure

from azsim.http import ArmError
from azsim.throttling import Buckets, Limit, charge, charge_tenant

SMALL = Limit("reads", 2, 0.1)
MACHINE, REGION = Limit("Machine", 1, 1 / 30), Limit("Region", 3, 1)


def refused(buckets: Buckets, *compute: tuple[Limit, str], arm: Limit = SMALL) -> dict[str, str]:
    with pytest.raises(ArmError) as found:
        charge(buckets, START, "sub", "me", arm, *compute)
    assert found.value.status == 429
    return found.value.headers


def test_a_429_of_arm_says_what_is_left_and_when_to_come_back() -> None:
    buckets = Buckets()
    for _ in range(2):
        charge(buckets, START, "sub", "me", SMALL)

    assert refused(buckets) == {
        "x-ms-ratelimit-remaining-subscription-reads": "0",
        "x-ms-ratelimit-remaining-subscription-global-reads": "28",
        "retry-after": "10",
    }


def test_each_principal_has_a_bucket_and_all_of_them_share_one() -> None:
    buckets = Buckets()
    for number in range(15):
        for _ in range(2):
            charge(buckets, START, "sub", f"principal-{number}", SMALL)
    headers = refused(buckets)

    assert headers["x-ms-ratelimit-remaining-subscription-reads"] == "2"
    assert headers["x-ms-ratelimit-remaining-subscription-global-reads"] == "0"


def test_a_429_of_compute_names_every_bucket_and_takes_from_none() -> None:
    buckets = Buckets()
    large = Limit("writes", 100, 10)
    charge(buckets, START, "sub", "me", large, (REGION, "west"), (MACHINE, "web"))
    for _ in range(2):
        headers = refused(buckets, (REGION, "west"), (MACHINE, "web"), arm=large)
        assert headers["x-ms-ratelimit-remaining-resource"] == (
            "Microsoft.Compute/Region;2,Microsoft.Compute/Machine;0"
        )
        assert headers["retry-after"] == "30"

    assert headers["x-ms-ratelimit-remaining-subscription-writes"] == "97"
    later = START + timedelta(seconds=30)
    assert charge(buckets, later, "sub", "me", large, (MACHINE, "web"))


def test_reads_outside_of_subscriptions_are_refused_likewise() -> None:
    buckets, tenant = Buckets(), Limit("tenant-reads", 1, 0.5)
    assert charge_tenant(buckets, START, "t", "me", tenant) == {
        "x-ms-ratelimit-remaining-tenant-reads": "0"
    }
    with pytest.raises(ArmError) as found:
        charge_tenant(buckets, START, "t", "me", tenant)

    assert found.value.headers == {
        "x-ms-ratelimit-remaining-tenant-reads": "0",
        "retry-after": "2",
    }


def test_an_earned_429_carries_no_fault_in_the_journal() -> None:
    sim = Azure("machines: [{name: web}]")
    answers = [sim.post("web", "assessPatches") for _ in range(7)]

    assert [answer.status for answer in answers] == [202] * 6 + [429]
    assert answers[-1].headers["x-ms-ratelimit-remaining-resource"].endswith("Resource;0")
    assert (sim.journal.requests()[-1].status, sim.journal.requests()[-1].fault) == (429, None)
