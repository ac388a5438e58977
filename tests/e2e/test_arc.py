"""Azure Arc-enabled servers through the whole operator.

In `make test-slow` twice, with seeds between which each of the things that nobody has documented
about such servers is one way and the other: whether an operation's URL names its activity, whether
ARM shows what was asked for last, how a server that is not connected refuses, how a failure is
told. In `make test` once; the simulation's fleets have both ways there.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from manifests import (
    CURL,
    KERNEL,
    OPERATOR,
    Manifest,
    arc_id,
    azure_subscription,
    condition,
    grant,
    namespace,
    operator_principal,
    person_principal,
    policy,
    reason,
    server,
    subscription,
    subscription_id,
)
from world import World

from error_cases import Case, section
from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Leave,
    Verdict,
    at_most_one_in_flight,
    only_what_is_granted,
    verdicts_kept,
)
from lab.controlplane import ControlPlane

PACE = 120
SEEDS = (0, 3) if os.environ.get("SLOW") else (0,)
NS = "arc"
PAID, UNPAID = 1, 2
"""Subscriptions, by whether what Azure charges is accepted."""

WINDOWS: Manifest = {"windows": {}, "maximumDuration": "PT30M"}
WINDOWS_PATCH = {"name": "Cumulative", "kbId": "5034441", "classification": "Security"}
LONG: Manifest = {"linux": {}, "maximumDuration": "PT1H", "rebootSetting": "Never"}
SLOW = {"perPatch": "24m"}
"""An install of twelve real seconds: the operator is back before it ends."""


def of(name: str, subscription: int = PAID, **more: Any) -> Manifest:
    """The policy of a server."""
    return policy(NS, name, arc_id(name, subscription), **more)


PLAIN = of(
    "plain", install={"linux": {}, "maximumDuration": "PT30M", "rebootSetting": "IfRequired"}
)
SERVES = of("serves", install=WINDOWS)
CLIENT = of("client", install=WINDOWS)
AWAY = of("away")
KILLED = of("killed", install=LONG)
LOST = of("lost", install=LONG)
CUT = of("cut")
COSTS = of("costs", UNPAID)
EXPIRED = of("expired")
BROKEN = of("broken")
POLICIES = (PLAIN, SERVES, CLIENT, AWAY, KILLED, LOST, CUT, COSTS, EXPIRED, BROKEN)

SHOWS = {
    "What Azure charges is not accepted": COSTS,
    "A server that is disconnected": AWAY,
    "A server that has expired": EXPIRED,
    "A server whose agent reports an error": BROKEN,
    "A server that runs Windows client": CLIENT,
}
"""The policies that meet what docs/errors.md lists."""


def fleet(controlplane: ControlPlane) -> Manifest:
    windows = {"osType": "Windows", "missing": [WINDOWS_PATCH]}
    return {
        "subscriptions": [subscription(PAID, features=[]), subscription(UNPAID, features=[])],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [
            server("plain", missing=[CURL, KERNEL]),
            server("serves", os="Windows Server 2022 Datacenter", **windows),
            server("client", os="Windows 11 Pro", **windows),
            server("away", arc={"status": "Disconnected"}),
            server("killed", durations=SLOW),
            server("lost", durations=SLOW),
            server("cut", durations={"perPatch": "10m"}),
            server("costs", subscription=UNPAID),
            server("expired", arc={"status": "Expired"}),
            server("broken", arc={"status": "Error"}),
        ],
    }


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed {seed}")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World("arc", fleet, pace=PACE, seed=request.param) as world:
        world.apply(
            namespace(NS),
            azure_subscription(PAID, [grant(NS)], arcBilling="Accepted"),
            azure_subscription(UNPAID, [grant(NS)]),
            *(one for one in POLICIES if one not in (KILLED, LOST, CUT)),
        )
        world.start_operator()
        yield world


def act(world: World, machine: str, action: str) -> None:
    """Something happens to a server."""
    world.azsim.ask("POST", "/azsim/actions", {"machine": machine, "action": action})


def test_a_server_is_assessed_patched_rebooted_and_assessed_again(world: World) -> None:
    target = world.wait_for_target(PLAIN, "Compliant", "Compliant")

    operations = world.journal().operations(arc_id("plain"))
    assert [one.kind for one in operations] == ["Assess", "Install", "Assess"]
    status = target["status"]
    assert (status["installation"]["installed"], status["installation"]["outcome"]) == (
        2,
        "Succeeded",
    )
    assert status["installation"]["activityId"] == operations[1].id
    assert status["image"]["class"] == "NotApplicable"
    assert (status["machine"]["kind"], status["machine"]["arcStatus"]) == ("ArcServer", "Connected")
    assert reason(target, "Supported") == "ArcServerSupported"
    assert "finalizers" not in target["metadata"]


def test_windows_server_is_patched_and_windows_client_is_not(world: World) -> None:
    world.wait_for_target(SERVES, "Compliant", "Compliant")
    world.wait_for_target(CLIENT, "WindowsClient", "Supported")
    assert world.posts(arc_id("client")) == 0


@pytest.mark.parametrize("case", section("arc").cases, ids=lambda case: case.name)
def test_what_keeps_azpatch_from_a_server_is_said_in_the_words_of_the_page(
    world: World, case: Case
) -> None:
    policy = SHOWS[case.name]
    wait = world.wait_for_target if case.kind == "PatchTarget" else world.wait_for_reason
    found = condition(wait(policy, case.reason, case.condition), case.condition)
    assert found["status"] == case.status
    assert case.shown_in(found["message"]), found["message"]
    assert world.posts(policy["spec"]["target"]["arcMachine"]["id"]) == 0


def test_kubectl_shows_a_server_as_one(world: World) -> None:
    world.wait_for_target(PLAIN, "Compliant", "Compliant")
    shown = world.controlplane.kubectl("get", "azpt", "--namespace", NS, "--output=wide").stdout
    header, *lines = shown.splitlines()
    assert {"KIND", "ARC", "POWER"} <= set(header.split())
    assert any("ArcServer" in line and "Connected" in line for line in lines)


def test_a_policy_waits_with_the_forecast_until_its_cost_is_accepted(world: World) -> None:
    found = world.wait_for_reason(COSTS, "ArcBillingNotAccepted")
    assert "up to US$ 5 a month for 1 server" in condition(found, "Ready")["message"]
    assert condition(found, "Stalled")["status"] == "True"
    world.let_pass(refreshes=1)
    assert world.posts(arc_id("costs", UNPAID)) == 0

    world.apply(azure_subscription(UNPAID, [grant(NS)], arcBilling="Accepted"))

    world.wait_for_target(COSTS, "Compliant", "Compliant")
    assert world.posts(arc_id("costs", UNPAID), "Install") == 1


def test_a_server_that_is_disconnected_is_waited_for_and_patched_when_it_is_back(
    world: World,
) -> None:
    target = world.wait_for_target(AWAY, "ArcDisconnected")
    assert reason(target, "Supported") == "ArcDisconnected"
    assert world.posts(arc_id("away")) == 0

    act(world, "away", "reconnect")

    world.wait_for_target(AWAY, "Compliant", "Compliant")


def test_killed_after_the_post_the_next_operator_follows_the_one_install(world: World) -> None:
    world.apply(KILLED)
    install = world.wait_for_install(arc_id("killed"), KILLED)
    world.operator.kill()
    target = world.target(KILLED)
    assert target is not None
    assert target["status"]["operation"]["kind"] == "Install"
    assert target["metadata"]["finalizers"]
    world.start_operator()

    target = world.wait_for_target(KILLED, "Compliant", "Compliant")

    assert target["status"]["installation"]["activityId"] == install.id
    assert target["status"]["installation"]["installed"] == 1
    assert world.posts(arc_id("killed"), "Install") == 1


def test_an_install_whose_answer_was_lost_is_found_by_what_it_leaves_behind(world: World) -> None:
    lost = {"machine": "lost", "operation": "installPatches", "drop": "After", "count": 1}
    world.azsim.ask("POST", "/azsim/faults", lost)
    world.apply(LOST)
    world.wait_for_target(LOST, "OperationUnconfirmed")

    target = world.wait_for_target(LOST, "Compliant", "Compliant")

    assert world.posts(arc_id("lost"), "Install") == 1
    assert target["status"]["installation"]["outcome"] == "Succeeded"


def test_what_a_server_finished_while_it_was_cut_off_is_found_by_the_assessment(
    world: World,
) -> None:
    """Azure gives the install up, half an hour after its time."""
    world.apply(CUT)
    world.wait_for_install(arc_id("cut"), CUT)
    act(world, "cut", "loseAgent")
    target = world.wait_for_target(CUT, "ArcDisconnected")
    assert target["status"]["installation"]["outcome"] in ("NotBack", "Failed", "Unknown")
    assert condition(target, "Compliant")["status"] != "True"

    act(world, "cut", "agentBack")

    world.wait_for_target(CUT, "Compliant", "Compliant")
    assert world.posts(arc_id("cut"), "Install") == 1


def test_all_the_while_nothing_was_sent_that_a_verdict_or_a_grant_forbids(world: World) -> None:
    journal, targets = world.journal(), world.targets()
    ids = [next(iter(one["spec"]["target"].values()))["id"] for one in POLICIES]
    allowed = [Verdict(id_, *(2 * [not id_.endswith("client")])) for id_ in ids]
    assert verdicts_kept(journal, allowed, {OPERATOR}) == []
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    mine = {OPERATOR: [subscription_id(PAID), subscription_id(UNPAID)]}
    assert only_what_is_granted(journal, [Leave(id_) for id_ in ids], mine) == []
    assert status_claims_nothing_else(journal, targets) == []
