"""Arc-enabled servers as ARM answers them: reading, guest patching's front, operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from simulated import Azure, linux

from azsim.http import Response

SUB = "/subscriptions/5ab10000-0000-4000-8000-000000000001"
SERVERS = "providers/Microsoft.HybridCompute/machines"

FLEET = """
principals:
  - {name: owner, secret: a}
  - name: reader
    roleAssignments: [{scope: "/", role: Reader}]
  - name: assessor
    roleAssignments:
      - scope: /subscriptions/5ab10000-0000-4000-8000-000000000001/resourceGroups/rg-dc
        actions: ["Microsoft.HybridCompute/machines/assessPatches/action"]
machines:
  - name: dc-7
    group: rg-dc
    arc: {agentVersion: 1.50.1.1}
    tags: {env: prod}
    guest:
      os: Ubuntu
      osVersion: "24.04"
      missing:
        - {name: curl, version: "8.5"}
        - {name: linux-image, version: "6.8", classification: Critical}
        - {name: vim, version: "9.1", classification: Other}
  - {name: gone-quiet, group: rg-dc, arc: {status: Disconnected}}
  - {name: forgotten, group: rg-dc, arc: {status: Expired}}
  - {name: win, group: rg-dc, osType: Windows, arc: {}}
  - {name: broken, group: rg-dc, arc: {}, guest: {patchable: false}}
  - {name: dc-7, group: rg-dc}
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def drawn(wanted: Callable[[Azure], bool]) -> Azure:
    """A cloud in which what nobody knows is so."""
    return next(sim for seed in range(50) if wanted(sim := Azure(FLEET, seed=seed)))


def post(sim: Azure, name: str, verb: str, body: Any = None, **more: Any) -> Response:
    return sim.call("POST", f"{SUB}/resourceGroups/rg-dc/{SERVERS}/{name}/{verb}", body, **more)


def followed(sim: Azure, accepted: Response) -> Response:
    assert accepted.status == 202, accepted.body
    return sim.call("GET", accepted.headers["location"])


class TestReading:
    def test_a_server_is_printed_as_arm_prints_it(self, sim: Azure) -> None:
        server = sim.call("GET", f"{SUB}/resourceGroups/RG-DC/{SERVERS}/DC-7").json()

        assert server["id"] == f"{SUB}/resourceGroups/rg-dc/{SERVERS}/dc-7"
        assert server["type"] == "Microsoft.HybridCompute/machines"
        assert server["tags"] == {"env": "prod"}
        properties = server["properties"]
        assert properties["status"] == "Connected"
        assert properties["agentVersion"] == "1.50.1.1"
        assert (properties["osType"], properties["osName"]) == ("linux", "ubuntu")
        assert (properties["osVersion"], properties["osSku"]) == ("24.04", "Ubuntu 24.04")
        assert properties["vmId"]
        assert properties["vmUuid"] != properties["vmId"]
        assert "instanceView" not in properties

    @pytest.mark.parametrize(
        ("name", "status"),
        [("gone-quiet", "Disconnected"), ("forgotten", "Expired"), ("win", "Connected")],
    )
    def test_its_status_is_what_the_file_says(self, sim: Azure, name: str, status: str) -> None:
        server = sim.call("GET", f"{SUB}/resourceGroups/rg-dc/{SERVERS}/{name}").json()

        assert server["properties"]["status"] == status

    @pytest.mark.parametrize("scope", [SUB, f"{SUB}/resourceGroups/rg-dc"])
    def test_servers_and_virtual_machines_are_in_lists_of_their_own(
        self, sim: Azure, scope: str
    ) -> None:
        servers = sim.call("GET", f"{scope}/{SERVERS}").json()["value"]
        machines = sim.call("GET", f"{scope}/providers/Microsoft.Compute/virtualMachines").json()

        assert [server["name"] for server in servers] == [
            "broken",
            "dc-7",
            "forgotten",
            "gone-quiet",
            "win",
        ]
        assert [machine["name"] for machine in machines["value"]] == ["dc-7"]

    def test_a_server_that_is_not_there_is_404_even_if_a_virtual_machine_has_its_name(
        self, sim: Azure
    ) -> None:
        machines = "providers/Microsoft.Compute/virtualMachines"
        answer = sim.call("GET", f"{SUB}/resourceGroups/rg-dc/{machines}/win")

        assert answer.status == 404
        assert "Microsoft.Compute/virtualMachines/win" in answer.json()["error"]["message"]

    def test_a_deleted_server_is_gone_and_deleting_it_again_is_no_error(self, sim: Azure) -> None:
        url = f"{SUB}/resourceGroups/rg-dc/{SERVERS}/win"

        assert sim.call("DELETE", url).status == 200
        assert sim.call("GET", url).status == 404
        assert sim.call("DELETE", url).status == 204


class TestRights:
    @pytest.mark.parametrize(
        ("verb", "body", "principal", "status"),
        [
            ("assessPatches", None, 1, 403),
            ("installPatches", linux("Security"), 1, 403),
            ("assessPatches", None, 2, 202),
            ("installPatches", linux("Security"), 2, 403),
        ],
    )
    def test_an_operation_needs_its_own_action(
        self, sim: Azure, verb: str, body: Any, principal: int, status: int
    ) -> None:
        answer = post(sim, "dc-7", verb, body, principal=principal)

        assert answer.status == status
        if status == 403:
            action = f"Microsoft.HybridCompute/machines/{verb}/action"
            assert action in answer.json()["error"]["message"]

    def test_who_may_begin_an_operation_may_not_follow_it_without_the_right_to(
        self, sim: Azure
    ) -> None:
        accepted = post(sim, "dc-7", "assessPatches", principal=2)
        answer = sim.call("GET", accepted.headers["location"], principal=2)

        assert answer.status == 403
        assert "updateCenterOperationResults/read" in answer.json()["error"]["message"]

    def test_a_virtual_machines_action_is_no_use(self) -> None:
        sim = Azure(
            FLEET.replace("HybridCompute/machines/assess", "Compute/virtualMachines/assess")
        )

        assert post(sim, "dc-7", "assessPatches", principal=2).status == 403


class TestOperations:
    def test_an_assessment_is_followed_by_location_and_ends_with_counts(self, sim: Azure) -> None:
        accepted = post(sim, "dc-7", "assessPatches")
        assert "azure-asyncoperation" not in accepted.headers
        assert "x-ms-ratelimit-remaining-resource" not in accepted.headers
        assert int(accepted.headers["x-ms-ratelimit-remaining-subscription-writes"]) == 199
        assert int(accepted.headers["retry-after"]) > 0
        location = accepted.headers["location"]
        assert "/Microsoft.HybridCompute/locations/westeurope/updateCenterOperationRes" in location

        running = followed(sim, accepted)
        assert (running.status, running.body) == (202, None)
        assert running.headers["location"] == location

        sim.wait(minutes=3)
        result = followed(sim, accepted).json()
        assert result["status"] == "Succeeded"
        assert result["availablePatchCountByClassification"] == {
            "security": 1,
            "critical": 1,
            "updateRollup": 0,
            "featurePack": 0,
            "servicePack": 0,
            "definition": 0,
            "tools": 0,
            "updates": 0,
            "other": 1,
        }
        assert (result["osType"], result["patchServiceUsed"]) == ("Linux", "APT")
        assert (result["startedBy"], result["rebootPending"]) == ("User", False)
        assert result["errorDetails"]["code"] == "0"
        assert "availablePatches" not in result
        assert "criticalAndSecurityPatchCount" not in result

    def test_an_installation_ends_with_counts_and_no_list(self, sim: Azure) -> None:
        accepted = post(sim, "dc-7", "installPatches", linux("Security", "Critical"))
        sim.wait(minutes=10)
        result = followed(sim, accepted).json()

        assert result["status"] == "Succeeded"
        assert (result["installedPatchCount"], result["notSelectedPatchCount"]) == (2, 1)
        assert result["rebootStatus"] == "NotNeeded"
        assert "patches" not in result
        assert [patch.name for patch in sim.arc("dc-7").missing] == ["vim"]

    @pytest.mark.parametrize("same", [True, False])
    def test_the_operations_url_may_or_may_not_name_the_activity(self, same: bool) -> None:
        sim = drawn(lambda sim: sim.cloud.arc_quirks.url_names_activity is same)
        accepted = post(sim, "dc-7", "assessPatches")
        sim.wait(minutes=3)
        activity = followed(sim, accepted).json()["assessmentActivityId"]

        in_url = accepted.headers["location"].partition("?")[0].rpartition("/")[2]
        assert (in_url == activity) is same
        (started,) = sim.journal.events("OperationStarted")
        assert started.operation_id == activity

    @pytest.mark.parametrize("as_result", [True, False])
    def test_a_failure_as_a_whole_is_a_result_or_an_error(self, as_result: bool) -> None:
        sim = drawn(lambda sim: sim.cloud.arc_quirks.failure_is_a_result is as_result)
        accepted = post(sim, "broken", "installPatches", linux("Security"))
        sim.wait(minutes=3)
        answer = followed(sim, accepted)

        code = sim.cloud.quirks.unsupported_code
        if as_result:
            assert (answer.status, answer.json()["status"]) == (200, "Failed")
            assert answer.json()["errorDetails"]["code"] == code
        else:
            assert (answer.status, answer.json()["error"]["code"]) == (409, code)

    @pytest.mark.parametrize("name", ["gone-quiet", "forgotten"])
    @pytest.mark.parametrize("verb", ["assessPatches", "installPatches"])
    def test_a_server_that_is_not_connected_takes_none(
        self, sim: Azure, name: str, verb: str
    ) -> None:
        answer = post(sim, name, verb, linux("Security") if verb == "installPatches" else None)

        assert answer.status in (400, 409)
        assert name in answer.json()["error"]["message"]
        assert sim.story(name) == []

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(None, id="none"),
            pytest.param({**linux("Security"), "maximumDuration": None}, id="no duration"),
            pytest.param({**linux("Security"), "maximumDuration": "PT4H"}, id="too long"),
            pytest.param({**linux("Security"), "rebootSetting": "Maybe"}, id="reboot setting"),
            pytest.param(linux(), id="selects nothing"),
        ],
    )
    def test_a_body_that_makes_no_sense_is_refused(self, sim: Azure, body: Any) -> None:
        assert post(sim, "dc-7", "installPatches", body).status == 400
        assert sim.story("dc-7") == []

    def test_a_newer_operation_supersedes_the_older_one(self, sim: Azure) -> None:
        install = post(sim, "dc-7", "installPatches", linux("Security", "Critical"))
        sim.wait(minutes=2, seconds=10)
        assess = post(sim, "dc-7", "assessPatches")
        sim.wait(minutes=3)

        superseded = followed(sim, install).json()
        assert (superseded["status"], superseded["installedPatchCount"]) == ("Failed", 1)
        (detail,) = superseded["errorDetails"]["details"]
        assert detail["code"] == "NEWER_OPERATION_SUPERSEDED"
        assert followed(sim, assess).json()["availablePatchCountByClassification"]["security"] == 0

    def test_a_url_with_a_changed_signature_is_refused(self, sim: Azure) -> None:
        accepted = post(sim, "dc-7", "assessPatches")
        url = accepted.headers["location"].replace("&s=", "&s=x")

        assert sim.call("GET", url).status == 403

    def test_writes_are_throttled_by_arm_alone(self, sim: Azure) -> None:
        statuses = [post(sim, "dc-7", "assessPatches").status for _ in range(201)]

        assert statuses == [202] * 200 + [429]

    @pytest.mark.parametrize("shown", [True, False])
    def test_arm_may_or_may_not_show_what_was_last_requested(self, shown: bool) -> None:
        sim = drawn(lambda sim: sim.cloud.arc_quirks.shows_requests is shown)
        url = f"{SUB}/resourceGroups/rg-dc/{SERVERS}/dc-7"
        assert "resources" not in sim.call("GET", url).json()
        post(sim, "dc-7", "installPatches", linux("Security"))

        extensions = sim.call("GET", url).json().get("resources", [])
        assert bool(extensions) is shown
        for extension in extensions:
            settings = extension["properties"]["settings"]["updateConfiguration"]
            (started,) = sim.journal.events("OperationStarted")
            assert settings == {
                "activityId": started.operation_id,
                "startTime": "2026-11-23T08:00:00.000Z",
                "action": "Patching",
            }


class TestFaults:
    def test_a_fault_strikes_the_requests_of_a_server(self, sim: Azure) -> None:
        accepted = post(sim, "dc-7", "assessPatches")
        for operation in ("getMachine", "getOperation", "assessPatches", "listMachines"):
            fault: dict[str, Any] = {"operation": operation, "status": 503}
            if operation != "listMachines":
                fault["machine"] = sim.arc("dc-7").id
            assert sim.call("POST", "/azsim/faults", fault).status == 201

        assert post(sim, "win", "assessPatches").status == 202
        assert post(sim, "dc-7", "assessPatches").status == 503
        assert followed(sim, accepted).status == 503
        assert sim.call("GET", sim.arc("dc-7").id).status == 503
        assert sim.call("GET", f"{SUB}/{SERVERS}").status == 503
