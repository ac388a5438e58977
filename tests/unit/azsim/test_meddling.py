"""What others do to machines, in the middle of an installation too."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from simulated import Azure, linux

from azsim.fleet import PowerState
from azsim.http import ArmError
from azsim.meddling import Action, By, Deed, Meddling
from azsim.records import Status

FLEET = """
machines:
  - name: web
    guest:
      assessedAgo: 1h
      missing:
        - {name: a, version: "1"}
        - {name: b, version: "1"}
        - {name: c, version: "1"}
  - {name: twin, group: rg-1}
  - {name: twin, group: rg-2}
  - {name: idle, power: stopped}
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


@pytest.fixture
def meddling(sim: Azure) -> Meddling:
    return Meddling(sim.cloud)


def installing(sim: Azure) -> Any:
    """An installation that has one patch done."""
    accepted = sim.post("web", "installPatches", linux("Security"))
    sim.wait(minutes=2, seconds=30)
    assert sim.story("web")[-1] == "PatchInstalled"
    return accepted


@pytest.mark.parametrize("deed", ["stop", "deallocate"])
def test_a_machine_stopped_in_an_install_goes_on_when_it_is_started(
    sim: Azure, meddling: Meddling, deed: str
) -> None:
    accepted = installing(sim)
    getattr(meddling, deed)("web")
    sim.wait(hours=1)
    assert sim.operation(accepted)["status"] == "InProgress"
    assert sim.post("web", "assessPatches").status == 409
    meddling.start("web")
    sim.wait(hours=1)

    assert sim.output(accepted)["installedPatchCount"] == 3
    assert "OperationPaused" in sim.story("web")


def test_a_machine_deleted_in_an_install_takes_it_along(sim: Azure, meddling: Meddling) -> None:
    accepted, machine = installing(sim), sim.machine("web")
    meddling.delete(machine.id.upper())

    assert sim.operation(accepted)["status"] == "Failed"
    assert sim.call("GET", machine.id).status == 404


def test_a_machine_rebuilt_in_an_install_is_a_new_one(sim: Azure, meddling: Meddling) -> None:
    accepted, old = installing(sim), sim.machine("web")
    vm_id = meddling.rebuild("web")
    new = sim.machine("web")
    sim.wait(minutes=5)

    assert (new.id, new.vm_id) == (old.id, vm_id)
    assert vm_id != old.vm_id
    assert new.time_created > old.time_created
    assert (len(old.missing), len(new.missing)) == (2, 3)
    assert sim.operation(accepted)["status"] == "Failed"
    assert sim.cloud.graph.shown(new) is not None
    assert (new.assessment, new.installation) == (None, None)


@pytest.mark.parametrize(
    ("verb", "body", "minutes"),
    [("installPatches", linux("Security"), 2.5), ("assessPatches", None, 1)],
)
def test_an_agent_that_is_lost_holds_an_operation_until_it_is_back(
    sim: Azure, meddling: Meddling, verb: str, body: Any, minutes: float
) -> None:
    accepted = sim.post("web", verb, body)
    sim.wait(minutes=minutes)
    meddling.lose_agent("web")
    sim.wait(minutes=20)
    assert sim.view("web")["vmAgent"]["statuses"][0]["displayStatus"] == "Not Ready"
    assert sim.operation(accepted)["status"] == "InProgress"
    meddling.agent_back("web")
    sim.wait(minutes=10)

    assert sim.output(accepted)["status"] == "Succeeded"
    assert sim.view("web")["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"


@pytest.mark.parametrize(
    ("verb", "body", "wait"),
    [
        pytest.param("installPatches", linux("Security"), "2h30m", id="install"),
        pytest.param("assessPatches", None, "30m", id="assess"),
    ],
)
def test_an_agent_that_stays_away_ends_the_operation_as_failed(
    sim: Azure, meddling: Meddling, verb: str, body: Any, wait: str
) -> None:
    sim.post("web", verb, body)
    meddling.lose_agent("web")
    hours, _, minutes = wait.rpartition("h")
    sim.wait(hours=int(hours or 0), minutes=int(minutes.removesuffix("m")) + 1)
    [ended] = sim.journal.events("OperationEnded")

    assert ended.details["status"] == "Failed"


def test_a_start_brings_a_lost_agent_back_too(sim: Azure, meddling: Meddling) -> None:
    accepted = installing(sim)
    meddling.lose_agent("web")
    meddling.stop("web")
    sim.wait(minutes=5)
    meddling.start("web")
    sim.wait(minutes=20)

    assert sim.output(accepted)["installedPatchCount"] == 3


def test_an_agent_that_was_not_lost_does_not_come_back(sim: Azure, meddling: Meddling) -> None:
    meddling.agent_back("web")
    meddling.lose_agent("idle")

    assert sim.story("web") == sim.story("idle") == []


@pytest.mark.parametrize(
    ("by", "principal", "started_by"),
    [(By.COLLEAGUE, "a colleague", "User"), (By.PLATFORM, "the platform", "Platform")],
)
def test_somebody_elses_operations_are_seen_as_theirs(
    sim: Azure, meddling: Meddling, by: By, principal: str, started_by: str
) -> None:
    assessment = meddling.assess("web", by=by)
    sim.wait(minutes=5)
    installation = meddling.install("web", linux("Security"), by=by)
    sim.wait(minutes=20)
    shown = sim.cloud.graph.shown(sim.machine("web"))
    begun = sim.journal.events("OperationStarted")

    assert [event.details["principal"] for event in begun] == [principal] * 2
    assert shown is not None
    assert shown.assessment is not None
    assert (shown.assessment.activity_id, shown.assessment.started_by) == (assessment, started_by)
    assert shown.installations[installation].started_by == started_by
    assert shown.installations[installation].status is Status.SUCCEEDED


def test_somebody_elses_assessment_supersedes_ours(sim: Azure, meddling: Meddling) -> None:
    accepted = installing(sim)
    meddling.assess("web")

    assert sim.output(accepted)["status"] == "Failed"
    assert "OperationSuperseded" in sim.story("web")


def test_somebody_else_spends_the_machines_budget(sim: Azure, meddling: Meddling) -> None:
    for _ in range(6):
        meddling.assess("web")
    with pytest.raises(ArmError, match="429"):
        meddling.assess("web")

    answer = sim.post("web", "assessPatches")
    assert answer.status == 429
    assert sim.journal.requests()[-1].fault is None


def test_somebody_else_is_refused_like_anyone(sim: Azure, meddling: Meddling) -> None:
    with pytest.raises(ArmError, match="409"):
        meddling.assess("idle")
    with pytest.raises(ArmError, match="400"):
        meddling.install("web", linux())


@pytest.mark.parametrize("machine", ["nobody", "twin", "/subscriptions/1/virtualMachines/web"])
def test_a_machine_must_be_one_machine(meddling: Meddling, machine: str) -> None:
    with pytest.raises(LookupError):
        meddling.stop(machine)


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        pytest.param({"action": "install"}, "needs a body", id="install without body"),
        pytest.param({"action": "stop", "body": {}}, "body goes with", id="stop with a body"),
        pytest.param({"action": "stop", "by": "Platform"}, "by goes with", id="stop by somebody"),
        pytest.param({"action": "explode"}, "'stop'", id="no deed"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused(action: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Action.model_validate({"machine": "web", **action})


deeds = st.lists(st.tuples(st.sampled_from(Deed), st.integers(0, 10)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(deeds=deeds, seed=st.integers(0, 3))
def test_whatever_is_done_a_machine_that_is_there_can_be_patched_again(
    deeds: list[tuple[Deed, int]], seed: int
) -> None:
    sim = Azure(FLEET, seed=seed)
    meddling = Meddling(sim.cloud)
    machine = sim.machine("web").id
    for deed, minutes in deeds:
        if machine.lower() not in sim.cloud.machines:
            sim.cloud.add_machine(sim.cloud.fleet.machines[0])
        body = linux("Security") if deed is Deed.INSTALL else None
        with contextlib.suppress(ArmError):
            meddling.do(Action(machine=machine, action=deed, body=body))
        sim.wait(minutes=minutes)
    if machine.lower() not in sim.cloud.machines:
        sim.cloud.add_machine(sim.cloud.fleet.machines[0])
    sim.wait(minutes=5)
    meddling.start(machine)
    meddling.agent_back(machine)
    sim.wait(hours=4)

    assert sim.machine("web").power is PowerState.RUNNING
    accepted = sim.post("web", "installPatches", linux("Security"))
    sim.cloud.advance(sim.clock.advance(timedelta(hours=2)))
    assert sim.output(accepted)["status"] == "Succeeded"
    assert sim.machine("web").missing == []
