"""Virtual machines as ARM answers them: reading, guest patching's front, operations, power."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from simulated import API, Azure, linux

from azsim.journal import Journal

SUB = "/subscriptions/5ab10000-0000-4000-8000-000000000001"
VMS = "providers/Microsoft.Compute/virtualMachines"

FLEET = """
principals:
  - {name: owner, secret: a}
  - name: reader
    roleAssignments: [{scope: "/", role: Reader}]
  - name: assessor
    roleAssignments:
      - scope: /subscriptions/5ab10000-0000-4000-8000-000000000001/resourceGroups/rg-web
        actions: ["Microsoft.Compute/virtualMachines/assessPatches/action"]
machines:
  - name: web
    group: rg-web
    zone: "2"
    tags: {env: prod}
    guest: {missing: [{name: curl, version: "8.5"}]}
  - {name: idle, group: rg-web, power: deallocated}
  - {name: mute, group: rg-web, agent: {ready: false}}
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


class TestReading:
    def test_a_machine_is_printed_as_arm_prints_it(self, sim: Azure) -> None:
        answer = sim.call("GET", f"{SUB}/resourceGroups/RG-WEB/{VMS}/WEB")
        machine = answer.json()

        assert machine["id"] == f"{SUB}/resourceGroups/rg-web/{VMS}/web"
        assert machine["type"] == "Microsoft.Compute/virtualMachines"
        assert machine["zones"] == ["2"]
        assert machine["tags"] == {"env": "prod"}
        assert machine["properties"]["osProfile"]["computerName"] == "web"
        assert "instanceView" not in machine["properties"]
        assert answer.headers["x-ms-request-id"]

    def test_the_instance_view_comes_along_if_asked(self, sim: Azure) -> None:
        url = f"{sim.machine('web').id}?$expand=instanceView"
        view = sim.call("GET", url).json()["properties"]["instanceView"]

        assert view["statuses"][1] == {
            "code": "PowerState/running",
            "level": "Info",
            "displayStatus": "VM running",
        }
        assert view["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"
        assert "patchStatus" not in view

    @pytest.mark.parametrize(
        ("image", "reference", "create", "has_profile"),
        [
            pytest.param(
                "{publisher: p, offer: o, sku: s, version: latest, exactVersion: 1.2.3}",
                {
                    "publisher": "p",
                    "offer": "o",
                    "sku": "s",
                    "version": "latest",
                    "exactVersion": "1.2.3",
                },
                "FromImage",
                True,
                id="marketplace",
            ),
            pytest.param(
                "{gallery: g/gen/1.0.0}",
                {
                    "id": f"{SUB}/resourceGroups/rg-azsim/providers/Microsoft.Compute"
                    "/galleries/g/images/gen/versions/1.0.0",
                    "exactVersion": "1.0.0",
                },
                "FromImage",
                True,
                id="generalized-gallery-version",
            ),
            pytest.param(
                "{gallery: g/spec}",
                {
                    "id": f"{SUB}/resourceGroups/rg-azsim/providers/Microsoft.Compute"
                    "/galleries/g/images/spec",
                    "exactVersion": "2.10.0",
                },
                "FromImage",
                False,
                id="specialized-gallery-definition",
            ),
            pytest.param(
                "{managedImage: old}",
                {
                    "id": f"{SUB}/resourceGroups/rg-azsim/providers/Microsoft.Compute/images/old",
                },
                "FromImage",
                True,
                id="managed-image",
            ),
            pytest.param(
                "{communityGalleryImageId: /CommunityGalleries/c/Images/i/Versions/1.0.0}",
                {"communityGalleryImageId": "/CommunityGalleries/c/Images/i/Versions/1.0.0"},
                "FromImage",
                True,
                id="community-gallery",
            ),
            pytest.param("{attachedDisk: true}", None, "Attach", False, id="attached-disk"),
            pytest.param("{}", None, "FromImage", True, id="unknown"),
        ],
    )
    def test_where_the_disk_came_from(
        self, image: str, reference: dict[str, Any] | None, create: str, has_profile: bool
    ) -> None:
        sim = Azure(
            "subscriptions: [{galleries: [{name: g, images: "
            "[{name: gen}, "
            "{name: spec, osState: Specialized, versions: [2.10.0, 2.9.0]}]}]}]\n"
            f"machines: [{{name: web, image: {image}}}]"
        )
        properties = sim.call("GET", sim.machine("web").id).json()["properties"]

        assert properties["storageProfile"].get("imageReference") == reference
        assert properties["storageProfile"]["osDisk"]["createOption"] == create
        assert ("osProfile" in properties) is has_profile

    def test_lists_come_in_pages_that_follow_one_another(self) -> None:
        sim = Azure("machines: [{name: 'web-{n}', count: 250}, {name: db, group: rg-db}]")
        url, names, pages = f"{SUB}/{VMS}", set(), 0
        while url:
            page = sim.call("GET", url).json()
            names |= {machine["name"] for machine in page["value"]}
            url, pages = page.get("nextLink"), pages + 1

        assert (len(names), pages) == (251, 3)

    def test_a_list_of_a_group_holds_only_its_machines(self) -> None:
        sim = Azure("machines: [{name: web}, {name: db, group: rg-db}]")
        page = sim.call("GET", f"{SUB}/resourceGroups/RG-DB/{VMS}").json()

        assert [machine["name"] for machine in page["value"]] == ["db"]

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            (f"{SUB}/resourceGroups/rg-web/{VMS}/nobody", "ResourceNotFound"),
            (f"{SUB}/resourceGroups/nowhere/{VMS}/web", "ResourceGroupNotFound"),
            (f"/subscriptions/{'0' * 8}-0000-0000-0000-{'0' * 12}/{VMS}", "SubscriptionNotFound"),
        ],
    )
    def test_what_is_not_there_is_a_404_with_its_own_code(
        self, sim: Azure, path: str, code: str
    ) -> None:
        answer = sim.call("GET", path)

        assert (answer.status, answer.json()["error"]["code"]) == (404, code)

    def test_an_agent_that_is_not_ready_says_so(self, sim: Azure) -> None:
        status = sim.view("mute")["vmAgent"]["statuses"][0]

        assert status["displayStatus"] == "Not Ready"

    def test_a_stopped_machine_has_no_agent_at_all(self, sim: Azure) -> None:
        assert "vmAgent" not in sim.view("idle")


class TestRights:
    def test_a_reader_may_not_assess(self, sim: Azure) -> None:
        answer = sim.post("web", "assessPatches", principal=1)
        error = answer.json()["error"]

        assert (answer.status, error["code"]) == (403, "AuthorizationFailed")
        assert "'Microsoft.Compute/virtualMachines/assessPatches/action'" in error["message"]

    def test_an_assessor_of_a_group_may_assess_there_and_not_install(self, sim: Azure) -> None:
        assert sim.post("web", "assessPatches", principal=2).status == 202
        assert sim.post("web", "installPatches", linux("Security"), principal=2).status == 403

    def test_an_operation_is_read_with_a_right_at_the_subscription(self, sim: Azure) -> None:
        url = sim.post("web", "assessPatches").headers["azure-asyncoperation"]

        assert sim.call("GET", url, principal=1).status == 200
        assert sim.call("GET", url, principal=2).status == 403


class TestOperations:
    def test_begin_with_an_empty_202_and_two_urls_and_no_retry_after(self, sim: Azure) -> None:
        accepted = sim.post("web", "assessPatches")
        headers = accepted.headers

        assert (accepted.status, accepted.content()) == (202, b"")
        assert headers["content-length"] == "0"
        assert headers["location"] == headers["azure-asyncoperation"] + "&monitor=true"
        assert 3000 < len(headers["location"]) < 3600
        assert "retry-after" not in headers
        assert headers["x-ms-ratelimit-remaining-resource"] == (
            "Microsoft.Compute/VMGuestPatchOperationSubscriptionMaximum;599,"
            "Microsoft.Compute/VMGuestPatchOperationResource;5"
        )
        assert headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"
        assert headers["x-ms-ratelimit-remaining-subscription-global-writes"] == "2999"

    def test_the_monitor_is_an_empty_202_and_then_the_result_alone(self, sim: Azure) -> None:
        accepted = sim.post("web", "assessPatches")
        waiting = sim.call("GET", accepted.headers["location"])
        sim.wait(minutes=5)
        done = sim.call("GET", accepted.headers["location"])

        assert (waiting.status, waiting.content()) == (202, b"")
        assert "retry-after" not in waiting.headers
        assert (done.status, done.json()) == (200, sim.output(accepted))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            pytest.param("&t=1", "&t=2", id="later"),
            pytest.param(f"api-version={API}", "api-version=2020-01-01", id="another version"),
            pytest.param("&s=", "&s=x", id="another signature"),
            pytest.param("/operations/", "/operations/f", id="another operation"),
            pytest.param("?p=", "?p=A", id="another parameter"),
        ],
    )
    def test_a_url_with_a_changed_character_is_refused(
        self, sim: Azure, old: str, new: str
    ) -> None:
        url = sim.post("web", "assessPatches").headers["azure-asyncoperation"]
        assert old in url

        assert sim.call("GET", url.replace(old, new)).status == 403

    def test_a_url_expires(self, sim: Azure) -> None:
        url = sim.post("web", "assessPatches").headers["azure-asyncoperation"]
        sim.wait(hours=11, minutes=59)
        assert sim.call("GET", url).status == 200
        sim.wait(minutes=1)

        assert sim.call("GET", url).status == 403

    def test_more_than_the_bucket_holds_is_throttled_until_it_refills(self, sim: Azure) -> None:
        answers = [sim.post("web", "assessPatches") for _ in range(7)]

        assert [answer.status for answer in answers] == [202] * 6 + [429]
        assert answers[-1].headers["retry-after"] == "30"
        sim.wait(seconds=30)
        assert sim.post("web", "assessPatches").status == 202


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "word"),
        [
            pytest.param(None, "installPatchesInput", id="no body"),
            pytest.param(
                linux("Security", rebootSetting=None), "rebootSetting", id="no reboot setting"
            ),
            pytest.param(
                linux("Security", rebootSetting="IfNeeded"), "rebootSetting", id="reboot setting"
            ),
            pytest.param(
                linux("Security", maximumDuration="PT4H"), "maximumDuration", id="4 hours"
            ),
            pytest.param(linux("Security", maximumDuration="2h"), "maximumDuration", id="no ISO"),
            pytest.param(linux("Security", maximumDuration="PT"), "maximumDuration", id="empty"),
            pytest.param(linux("Security", maximumDuration="PT0S"), "maximumDuration", id="zero"),
            pytest.param(linux("Updates"), "classificationsToInclude", id="a Windows class"),
            pytest.param(linux(), "classification", id="nothing selected"),
            pytest.param(
                linux(linuxParameters={"packageNameMasksToInclude": "curl"}),
                "packageNameMasksToInclude",
                id="text for a list",
            ),
            pytest.param(
                {"rebootSetting": "Never", "windowsParameters": {}},
                "linuxParameters",
                id="wrong OS",
            ),
        ],
    )
    def test_a_body_that_azure_refuses_is_a_400_that_names_the_parameter(
        self, sim: Azure, body: Any, word: str
    ) -> None:
        answer = sim.post("web", "installPatches", body)

        assert (answer.status, answer.json()["error"]["code"]) == (400, "InvalidParameter")
        assert word in answer.json()["error"]["message"]
        assert sim.journal.events() == []

    @pytest.mark.parametrize("duration", ["PT3H55M", "PT30M", "PT04H00M00S", "PT5400S"])
    def test_durations_in_any_iso_form_up_to_the_longest_are_taken(
        self, sim: Azure, duration: str
    ) -> None:
        expected = 400 if duration == "PT04H00M00S" else 202

        answer = sim.post("web", "installPatches", linux("Security", maximumDuration=duration))
        assert answer.status == expected

    def test_nothing_can_be_sent_to_a_machine_that_does_not_run(self, sim: Azure) -> None:
        assert sim.post("idle", "assessPatches").status == 409
        assert sim.post("idle", "installPatches", linux("Security")).status == 409

    def test_the_unpublished_code_of_that_refusal_depends_on_the_seed(self) -> None:
        codes = {
            Azure(FLEET, seed=seed).post("idle", "assessPatches").json()["error"]["code"]
            for seed in range(8)
        }

        assert len(codes) > 1

    @pytest.mark.parametrize("seed", range(4))
    def test_an_operation_never_reaches_an_agent_that_is_not_ready(self, seed: int) -> None:
        sim = Azure(FLEET, seed=seed)
        answer = sim.post("mute", "assessPatches")
        sim.wait(minutes=5)

        assert answer.status == 409 or sim.operation(answer)["status"] == "Failed"
        assert sim.journal.events() == []


class TestPower:
    @pytest.mark.parametrize(
        ("verb", "during", "after"),
        [
            ("powerOff", "PowerState/stopping", "PowerState/stopped"),
            ("deallocate", "PowerState/deallocating", "PowerState/deallocated"),
            ("restart", "PowerState/starting", "PowerState/running"),
        ],
    )
    def test_a_change_takes_a_while(self, sim: Azure, verb: str, during: str, after: str) -> None:
        accepted = sim.post("web", verb)
        assert sim.view("web")["statuses"][1]["code"] == during
        sim.wait(minutes=1)

        assert sim.view("web")["statuses"][1]["code"] == after
        assert sim.operation(accepted)["status"] == "Succeeded"

    def test_deallocating_what_is_deallocated_changes_nothing(self, sim: Azure) -> None:
        accepted = sim.post("idle", "deallocate")

        assert sim.operation(accepted)["status"] == "Succeeded"
        assert sim.journal.events() == []

    def test_resource_graph_learns_of_it_later(self, sim: Azure) -> None:
        machine = sim.machine("idle")
        sim.post("idle", "start")
        sim.wait(minutes=1)
        assert machine.power.value == "running"
        sim.wait(minutes=2)

        assert machine.graph.state == "running"

    def test_a_deleted_machine_is_gone_at_once_and_from_resource_graph_later(
        self, sim: Azure
    ) -> None:
        machine = sim.machine("web")
        sim.call("DELETE", machine.id)

        assert sim.call("GET", machine.id).status == 404
        assert machine.id.lower() in sim.cloud.graph.machines
        sim.wait(minutes=2)
        assert machine.id.lower() not in sim.cloud.graph.machines
        assert sim.call("DELETE", machine.id).status == 204

    def test_a_machine_made_anew_under_an_old_name_is_another_machine(self, sim: Azure) -> None:
        old = sim.machine("web")
        sim.call("DELETE", old.id)
        new = sim.cloud.add_machine(old.spec)
        sim.wait(minutes=2)

        assert new.id == old.id
        assert new.vm_id != old.vm_id
        assert new.time_created > old.time_created
        assert sim.cloud.graph.machines[new.id.lower()] is new


class TestJournal:
    def test_names_who_asked_for_what_with_which_attempt(self, sim: Azure) -> None:
        body = linux("Security")
        sim.post("web", "installPatches", body, headers={"x-ms-client-request-id": "attempt-1"})
        sim.wait(hours=1)
        request = sim.journal.requests()[0]
        started, *_, ended = sim.journal.events()

        assert (request.principal, request.method, request.status) == ("owner", "POST", 202)
        assert (request.client_request_id, request.body) == ("attempt-1", body)
        assert (started.attempt_id, started.details["body"]) == ("attempt-1", body)
        assert started.operation_id == ended.operation_id
        assert ended.details["status"] == "Succeeded"

    def test_keeps_signatures_to_itself(self, sim: Azure) -> None:
        accepted = sim.post("web", "assessPatches")
        sim.operation(accepted)

        assert sim.journal.requests()[-1].query == {"api-version": API}

    def test_gives_what_came_after_a_number(self, sim: Azure) -> None:
        sim.view("web")
        sim.view("web")

        assert [entry.number for entry in sim.journal.since(1)] == [2]

    def test_is_written_as_json_lines_as_it_happens(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        journal = Journal(path)
        sim = Azure(FLEET, journal=journal)
        sim.post("web", "assessPatches")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        journal.close()

        assert [line["kind"] for line in lines] == ["event", "request"]
        assert lines == [entry.to_json() for entry in journal.since(0)]


def test_the_attempt_of_a_client_is_echoed_if_it_asks(sim: Azure) -> None:
    headers = {"x-ms-client-request-id": "a", "x-ms-return-client-request-id": "true"}
    answer = sim.call("GET", sim.machine("web").id, headers=headers)

    assert answer.headers["x-ms-client-request-id"] == "a"
