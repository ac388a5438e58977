"""Inside an Arc-enabled server: silence, what goes on meanwhile, and what Azure makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Azure, linux
from test_guest_any_order import in_order, one_at_a_time

from azsim.clock import timestamp
from azsim.fleet import ArcStatus
from azsim.http import ArmError, Response
from azsim.meddling import By, Deed, Meddling

FLEET = """
machines:
  - name: dc
    arc: {{}}
    guest:
      failures: {failures}
      missing:
        - {{name: a, version: "1"}}
        - {{name: b, version: "1", rebootBehavior: AlwaysRequiresReboot}}
        - {{name: c, version: "1"}}
  - {{name: expired, arc: {{status: Expired}}}}
  - {{name: away, arc: {{status: Disconnected}}}}
  - {{name: broken, arc: {{status: Error}}}}
  - {{name: vm}}
"""


def azure(failures: str = "{}", seed: int = 1) -> Azure:
    return Azure(FLEET.format(failures=failures), seed=seed)


@pytest.fixture
def sim() -> Azure:
    return azure()


@pytest.fixture
def meddling(sim: Azure) -> Meddling:
    return Meddling(sim.cloud)


def followed(sim: Azure, accepted: Response) -> Response:
    assert accepted.status == 202, accepted.body
    return sim.call("GET", accepted.headers["location"])


def installing(sim: Azure, **more: Any) -> Response:
    """An installation that has one patch done."""
    accepted = sim.post("dc", "installPatches", linux("Security", **more))
    sim.wait(minutes=2, seconds=30)
    assert sim.story("dc")[-1] == "PatchInstalled"
    return accepted


class TestSilence:
    def test_azure_notices_a_silent_agent_after_a_quarter_of_an_hour(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        meddling.lose_agent("dc")
        sim.wait(minutes=14)
        assert sim.arc("dc").status is ArcStatus.CONNECTED
        sim.wait(minutes=2)
        assert sim.arc("dc").status is ArcStatus.DISCONNECTED
        sim.wait(days=45)
        assert sim.arc("dc").status is ArcStatus.EXPIRED
        assert sim.story("dc") == ["AgentLost", "StatusChanged", "StatusChanged"]

    def test_one_that_is_back_before_that_was_never_disconnected(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        meddling.lose_agent("dc")
        sim.wait(minutes=14)
        meddling.agent_back("dc")
        sim.wait(hours=1)

        assert sim.story("dc") == ["AgentLost", "AgentBack"]

    def test_a_disconnected_server_is_connected_again_at_once(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        meddling.disconnect("dc")
        assert sim.arc("dc").status is ArcStatus.DISCONNECTED
        assert sim.post("dc", "assessPatches").status in (400, 409)
        meddling.reconnect("dc")
        assert sim.arc("dc").status is ArcStatus.CONNECTED
        assert sim.post("dc", "assessPatches").status == 202

    @pytest.mark.parametrize("name", ["away", "broken"])
    def test_a_server_that_the_file_has_otherwise_can_be_connected(
        self, sim: Azure, meddling: Meddling, name: str
    ) -> None:
        assert sim.post(name, "assessPatches").status in (400, 409)
        meddling.reconnect(name)
        assert sim.arc(name).status is ArcStatus.CONNECTED
        assert sim.post(name, "assessPatches").status == 202

    @pytest.mark.parametrize(
        ("failures", "verb"),
        [("{noResult: true}", "installPatches"), ("{assessNoResult: true}", "assessPatches")],
    )
    def test_what_hangs_in_a_server_that_is_heard_is_given_up_after_six_hours(
        self, failures: str, verb: str
    ) -> None:
        sim = azure(failures)
        accepted = sim.post("dc", verb, linux("Security") if verb == "installPatches" else None)
        sim.wait(hours=5, minutes=59)
        assert followed(sim, accepted).status == 202
        sim.wait(minutes=2)
        assert followed(sim, accepted).status != 202
        assert sim.story("dc")[-1] == "OperationEnded"

    def test_a_reboot_is_over_before_azure_notices_it(self, sim: Azure) -> None:
        sim.post("dc", "installPatches", linux("Security"))
        sim.wait(minutes=30)

        assert "RebootEnded" in sim.story("dc")
        assert "StatusChanged" not in sim.story("dc")


class TestCutOff:
    def test_an_installation_goes_on_and_reports_when_the_server_is_back(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        accepted = installing(sim)
        meddling.disconnect("dc")
        sim.wait(minutes=40)
        assert sim.arc("dc").missing == []
        assert sim.story("dc")[-1] == "OperationEnded"
        assert followed(sim, accepted).status == 202

        meddling.reconnect("dc")
        result = followed(sim, accepted).json()
        assert (result["status"], result["installedPatchCount"]) == ("Succeeded", 3)
        (ended,) = sim.journal.events("OperationEnded")
        assert result["lastModifiedDateTime"] == timestamp(ended.time)

    def test_one_that_is_back_too_late_has_patches_that_no_result_speaks_of(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        accepted = installing(sim)
        meddling.disconnect("dc")
        sim.wait(hours=2, minutes=31)
        failed = followed(sim, accepted)
        assert failed.status in (200, 409)
        assert sim.arc("dc").missing == []

        meddling.reconnect("dc")
        sim.wait(minutes=10)
        assert followed(sim, accepted).json() == failed.json()
        row = sim.cloud.graph.shown(sim.arc("dc"))
        assert row is not None
        assert [record.status.value for record in row.installations.values()] == ["Failed"]
        assess = sim.post("dc", "assessPatches")
        sim.wait(minutes=3)
        counts = followed(sim, assess).json()["availablePatchCountByClassification"]
        assert counts["security"] == 0

    def test_an_assessment_is_given_up_half_an_hour_after_the_cut(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        accepted = sim.post("dc", "assessPatches")
        sim.wait(minutes=1)
        meddling.disconnect("dc")
        sim.wait(minutes=29)
        assert followed(sim, accepted).status == 202
        sim.wait(minutes=2)

        assert followed(sim, accepted).status in (200, 409)

    def test_the_agent_that_is_lost_in_an_installation_does_not_stop_it(self) -> None:
        sim = azure("{agentLost: true}")
        accepted = sim.post("dc", "installPatches", linux("Security"))
        sim.wait(minutes=30)
        assert sim.arc("dc").missing == []
        assert sim.arc("dc").status is ArcStatus.DISCONNECTED
        Meddling(sim.cloud).agent_back("dc")

        assert followed(sim, accepted).json()["installedPatchCount"] == 3


class TestNotYetNoticed:
    def test_an_operation_waits_for_the_agent(self, sim: Azure, meddling: Meddling) -> None:
        meddling.lose_agent("dc")
        accepted = sim.post("dc", "installPatches", linux("Security"))
        sim.wait(minutes=25)
        assert sim.story("dc") == ["AgentLost", "StatusChanged"]
        meddling.agent_back("dc")
        sim.wait(minutes=30)

        assert followed(sim, accepted).json()["installedPatchCount"] == 3

    def test_it_fails_if_the_agent_does_not_come(self, sim: Azure, meddling: Meddling) -> None:
        meddling.lose_agent("dc")
        accepted = sim.post("dc", "assessPatches")
        sim.wait(minutes=31)
        meddling.agent_back("dc")
        sim.wait(minutes=5)

        assert followed(sim, accepted).status in (200, 409)
        assert "OperationStarted" not in sim.story("dc")
        (unreached,) = sim.journal.events("OperationUnreached")
        assert unreached.details["operation"] == "Assess"

    def test_of_two_the_newer_one_is_left(self, sim: Azure, meddling: Meddling) -> None:
        meddling.lose_agent("dc")
        older = sim.post("dc", "installPatches", linux("Security"))
        newer = sim.post("dc", "assessPatches")
        meddling.agent_back("dc")
        sim.wait(minutes=3)

        assert "NEWER_OPERATION_SUPERSEDED" in str(followed(sim, older).json())
        assert followed(sim, newer).json()["status"] == "Succeeded"

    def test_it_supersedes_what_went_on_meanwhile(self, sim: Azure, meddling: Meddling) -> None:
        install = installing(sim)
        meddling.lose_agent("dc")
        assess = sim.post("dc", "assessPatches")
        meddling.agent_back("dc")
        sim.wait(minutes=3)

        assert followed(sim, install).json()["status"] == "Failed"
        assert followed(sim, assess).json()["status"] == "Succeeded"

    def test_one_that_waited_for_a_reboot_takes_its_place(self, sim: Azure) -> None:
        install = sim.post("dc", "installPatches", linux("Security"))
        sim.wait(minutes=4, seconds=30)
        assert sim.story("dc")[-1] == "RebootStarted"
        assess = sim.post("dc", "assessPatches")
        sim.wait(minutes=20)

        assert sim.story("dc")[-5:] == [
            "RebootEnded",
            "OperationSuperseded",
            "OperationEnded",
            "OperationStarted",
            "OperationEnded",
        ]
        assert followed(sim, install).json()["installedPatchCount"] == 3
        assert followed(sim, assess).json()["status"] == "Succeeded"


class TestSwitchedOff:
    def test_an_installation_goes_on_when_the_server_is_switched_on(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        accepted = installing(sim)
        meddling.stop("dc")
        sim.wait(minutes=40)
        assert len(sim.arc("dc").missing) == 2
        assert sim.arc("dc").status is ArcStatus.DISCONNECTED
        meddling.start("dc")
        sim.wait(minutes=20)

        assert followed(sim, accepted).json()["installedPatchCount"] == 3

    def test_it_does_not_once_azure_has_given_it_up(self, sim: Azure, meddling: Meddling) -> None:
        accepted = installing(sim)
        meddling.stop("dc")
        sim.wait(hours=3)
        meddling.start("dc")
        sim.wait(hours=1)

        assert followed(sim, accepted).status in (200, 409)
        assert len(sim.arc("dc").missing) == 2

    def test_a_server_that_hangs_in_a_reboot_is_started_from_outside(self) -> None:
        sim = azure("{rebootDoesNotComeBack: true}")
        accepted = sim.post("dc", "installPatches", linux("Security"))
        sim.wait(minutes=25)
        assert sim.arc("dc").status is ArcStatus.DISCONNECTED
        assert followed(sim, accepted).status == 202
        sim.wait(minutes=10)
        assert followed(sim, accepted).json()["rebootStatus"] in ("Failed", "Started")
        Meddling(sim.cloud).start("dc")
        sim.wait(minutes=2)

        assert sim.arc("dc").status is ArcStatus.CONNECTED

    def test_one_that_is_switched_off_again_stays_off(self, sim: Azure, meddling: Meddling) -> None:
        meddling.stop("dc")
        meddling.start("dc")
        meddling.stop("dc")
        sim.wait(minutes=20)

        assert sim.arc("dc").status is ArcStatus.DISCONNECTED


class TestOthers:
    def test_a_colleagues_operation_is_like_ours(self, sim: Azure, meddling: Meddling) -> None:
        operation = meddling.install("dc", linux("Security"), by=By.COLLEAGUE)
        sim.wait(minutes=30)

        (started,) = sim.journal.events("OperationStarted")
        assert (started.operation_id, started.details["principal"]) == (operation, "a colleague")
        shown = sim.cloud.graph.shown(sim.arc("dc"))
        assert shown is not None
        assert shown.installations[operation].started_by == "User"

    def test_nobody_operates_on_a_server_that_is_not_connected(self, meddling: Meddling) -> None:
        with pytest.raises(ArmError, match="not connected"):
            meddling.assess("away", by=By.PLATFORM)

    def test_a_rebuilt_server_is_connected_and_another_machine(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        before = sim.arc("expired").vm_id
        uuid = sim.arc("expired").properties()["vmUuid"]
        meddling.rebuild("expired")

        assert sim.arc("expired").vm_id != before
        assert sim.arc("expired").status is ArcStatus.CONNECTED
        assert sim.arc("expired").properties()["vmUuid"] == uuid

    def test_a_deleted_server_takes_what_ran_in_it_along(
        self, sim: Azure, meddling: Meddling
    ) -> None:
        machine = sim.arc("dc").id
        accepted = installing(sim)
        meddling.disconnect("dc")
        sim.wait(minutes=40)
        meddling.delete("dc")
        sim.wait(hours=5)

        assert followed(sim, accepted).status in (200, 409)
        last = [e.event for e in sim.journal.events() if e.resource == machine][-1]
        assert last == "MachineDeleted"

    @pytest.mark.parametrize(
        ("machine", "deed"),
        [
            ("dc", Deed.DEALLOCATE),
            ("vm", Deed.DISCONNECT),
            ("vm", Deed.RECONNECT),
            ("expired", Deed.RECONNECT),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, sim: Azure, machine: str, deed: Deed) -> None:
        answer = sim.call("POST", "/azsim/actions", {"machine": machine, "action": deed.value})

        assert answer.status == 400
        assert f"'{machine}' is" in answer.json()["error"]["message"]


FAILURES = (
    "{}",
    "{assessFails: true, times: 1}",
    "{failingPatches: [b]}",
    "{rebootDoesNotComeBack: true}",
    "{agentLost: true}",
    "{exceedsWindow: true}",
    "{internalError: true, times: 1}",
)

deeds = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "assessPatches",
                "installPatches",
                "disconnect",
                "reconnect",
                "lose_agent",
                "agent_back",
                "stop",
                "start",
            ]
        ),
        st.one_of(st.integers(0, 5), st.integers(0, 40)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(deeds=deeds, failures=st.sampled_from(FAILURES), seed=st.integers(0, 3))
def test_whatever_is_done_in_whatever_order_its_story_stays_a_possible_one(
    deeds: list[tuple[str, int]], failures: str, seed: int
) -> None:
    sim = azure(failures, seed)
    meddling, accepted = Meddling(sim.cloud), []
    for deed, minutes in deeds:
        if deed.endswith("Patches"):
            body = linux("Security") if deed == "installPatches" else None
            answer = sim.post("dc", deed, body)
            assert (answer.status == 202) is (sim.arc("dc").status is ArcStatus.CONNECTED)
            if answer.status == 202:
                url_id = answer.headers["location"].partition("?")[0].rpartition("/")[2]
                accepted.append(sim.cloud.operations.get(url_id))
        else:
            getattr(meddling, deed)("dc")
        sim.wait(minutes=minutes)
    sim.wait(minutes=30)
    meddling.reconnect("dc")
    meddling.start("dc")
    sim.wait(hours=6)
    # An install that went on when the server started may have lost the agent once more.
    meddling.reconnect("dc")
    sim.wait(minutes=1)

    machine = sim.arc("dc")
    assert machine.heard or "rebootDoesNotComeBack" in failures
    assert all(operation is not None and operation.end for operation in accepted)
    events = [entry for entry in sim.journal.events() if entry.resource == machine.id]
    one_at_a_time(events)
    in_order([entry.time for entry in events])
    installed = {e.details["name"] for e in events if e.event == "PatchInstalled"}
    assert installed == {"a", "b", "c"} - {patch.name for patch in machine.missing}
