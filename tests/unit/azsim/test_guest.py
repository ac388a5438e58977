"""What assessments and installations do in a guest, and what each place shows of it when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from simulated import START, Azure, linux

from azsim.fleet import Detection
from azsim.records import Status

FLEET = """
resourceGraph: {lag: 20s, tailShare: 0}
machines:
  - name: web
    guest:
      durations: {assess: 2m, prepare: 1m, perPatch: 1m, reboot: 3m, boot: 1m}
      failures: %s
      %s
      missing:
        - {name: curl, version: "8.5", classification: Security}
        - {name: openssl, version: "3.0", classification: Critical,
           rebootBehavior: AlwaysRequiresReboot}
        - {name: vim, version: "9.1", classification: Other}
        - {name: linux-image, version: "6.8", classification: Security}
"""


def azure(failures: str = "{}", more: str = "", *, seed: int = 1) -> Azure:
    return Azure(FLEET % (failures, more), seed=seed)


def states(output: Any) -> dict[str, str]:
    return {patch["name"]: patch["installationState"] for patch in output["patches"]}


class TestAssessment:
    def test_finds_what_is_missing(self) -> None:
        sim = azure()
        accepted = sim.post("web", "assessPatches")
        assert sim.operation(accepted)["status"] == "InProgress"
        sim.wait(minutes=2)

        output = sim.output(accepted)

        assert output["status"] == "Succeeded"
        assert output["criticalAndSecurityPatchCount"] == 3
        assert output["otherPatchCount"] == 1
        assert [p["name"] for p in output["availablePatches"]] == [
            "curl",
            "openssl",
            "vim",
            "linux-image",
        ]
        assert output["assessmentActivityId"] == sim.operation(accepted)["name"]

    def test_shows_in_the_instance_view_at_once_and_in_resource_graph_later(self) -> None:
        sim = azure()
        sim.post("web", "assessPatches")
        sim.wait(minutes=2)
        summary = sim.view("web")["patchStatus"]["availablePatchSummary"]

        assert summary["status"] == "Succeeded"
        assert sim.machine("web").graph.assessment is not None
        assert sim.machine("web").graph.assessment.status is Status.IN_PROGRESS
        sim.wait(seconds=20)
        assert sim.machine("web").graph.assessment.status is Status.SUCCEEDED
        assert sim.machine("web").graph.assessment.detection is Detection.SUPPORTED

    def test_never_shows_detected_support_in_the_instance_view(self) -> None:
        sim = azure()
        sim.post("web", "assessPatches")
        sim.wait(minutes=3)

        assert "Support" not in str(sim.view("web"))

    def test_leaves_resource_graph_after_seven_days(self) -> None:
        sim = azure()
        sim.post("web", "assessPatches")
        sim.wait(minutes=3)
        version = sim.cloud.graph.version
        sim.wait(days=7)

        assert sim.machine("web").graph.assessment is None
        assert sim.machine("web").graph.version > version
        assert "availablePatchSummary" in sim.view("web")["patchStatus"]

    @pytest.mark.parametrize("seed", range(6))
    def test_of_a_guest_that_cannot_be_patched_fails_and_says_unsupported(self, seed: int) -> None:
        sim = azure(more="patchable: false", seed=seed)
        accepted = sim.post("web", "assessPatches")
        sim.wait(minutes=3)
        row = sim.machine("web").graph.assessment

        assert row is not None
        assert (row.status, row.detection) == (Status.FAILED, Detection.UNSUPPORTED)
        operation = sim.operation(accepted)
        failed = operation["status"] == "Failed"
        assert failed or operation["properties"]["output"]["status"] == "Failed"

    def test_may_conclude_something_else_than_the_truth(self) -> None:
        sim = azure(more="detected: UnableToDetermine")
        sim.post("web", "assessPatches")
        sim.wait(minutes=3)

        assert sim.machine("web").graph.assessment is not None
        assert sim.machine("web").graph.assessment.detection is Detection.UNDETERMINED

    def test_that_fails_once_succeeds_the_next_time(self) -> None:
        sim = azure("{assessFails: true, times: 1}")
        results = []
        for _ in range(2):
            sim.post("web", "assessPatches")
            sim.wait(minutes=3)
            results.append(sim.view("web")["patchStatus"]["availablePatchSummary"]["status"])

        assert results == ["Failed", "Succeeded"]

    def test_from_before_the_start_is_there_at_once(self) -> None:
        sim = azure(more="assessedAgo: 3h")
        row = sim.machine("web").graph.assessment

        assert row is not None
        assert row.last_modified == START - timedelta(hours=3)
        assert len(row.patches) == 4


class TestInstallation:
    def test_installs_what_the_classifications_select_reboots_and_reports(self) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(minutes=10)
        output = sim.output(accepted)

        assert output["status"] == "Succeeded"
        assert output["error"]["code"] == "0"
        assert output["rebootStatus"] == "Completed"
        assert output["installedPatchCount"] == 3
        assert output["notSelectedPatchCount"] == 1
        assert states(output)["vim"] == "NotSelected"
        assert output["installationActivityId"] == sim.operation(accepted)["name"]
        assert [patch.name for patch in sim.machine("web").missing] == ["vim"]

    def test_takes_the_time_that_it_takes_and_journals_each_step_at_its_own_time(self) -> None:
        sim = azure()
        sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(hours=1)

        minutes = [
            (entry.event, (entry.time - START).total_seconds() / 60)
            for entry in sim.journal.events()
        ]
        assert minutes == [
            ("OperationStarted", 0),
            ("PatchInstalled", 2),
            ("PatchInstalled", 3),
            ("PatchInstalled", 4),
            ("RebootStarted", 4),
            ("RebootEnded", 7),
            ("OperationEnded", 7),
        ]

    def test_leaves_the_assessment_in_resource_graph_as_it_was(self) -> None:
        sim = azure(more="assessedAgo: 1h")
        sim.post("web", "installPatches", linux("Critical", "Security", "Other"))
        sim.wait(hours=1)
        row = sim.machine("web").graph.assessment

        assert row is not None
        assert len(row.patches) == 4
        sim.post("web", "assessPatches")
        sim.wait(minutes=3)
        assert sim.machine("web").graph.assessment is not None
        assert sim.machine("web").graph.assessment.patches == ()

    def test_appears_in_resource_graph_by_its_operation_id_for_thirty_days(self) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Security"))
        sim.wait(hours=1)
        name = sim.operation(accepted)["name"]

        assert sim.machine("web").graph.installations[name].status is Status.SUCCEEDED
        sim.wait(days=30)
        assert sim.machine("web").graph.installations == {}

    @pytest.mark.parametrize(
        ("setting", "rebooted", "status", "reboot_status"),
        [
            pytest.param("IfRequired", True, "Succeeded", "Completed", id="if-required"),
            pytest.param("Always", True, "Succeeded", "Completed", id="always"),
            pytest.param("Never", False, "CompletedWithWarnings", "Required", id="never"),
        ],
    )
    def test_reboots_as_told(
        self, setting: str, rebooted: bool, status: str, reboot_status: str
    ) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Critical", rebootSetting=setting))
        sim.wait(hours=1)
        output = sim.output(accepted)

        assert (output["status"], output["rebootStatus"]) == (status, reboot_status)
        assert ("RebootEnded" in sim.story("web")) is rebooted
        assert sim.machine("web").reboot_pending is not rebooted

    def test_has_no_ready_agent_while_it_reboots(self) -> None:
        sim = azure()
        sim.post("web", "installPatches", linux("Critical"))
        sim.wait(minutes=4)
        view = sim.view("web")

        assert view["vmAgent"]["statuses"][0]["displayStatus"] == "Not Ready"
        assert view["statuses"][1]["code"] == "PowerState/running"
        sim.wait(minutes=3)
        assert sim.view("web")["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"

    def test_reboots_first_where_a_reboot_is_already_pending(self) -> None:
        sim = azure(more="rebootPending: true")
        sim.post("web", "installPatches", linux("Security"))
        sim.wait(hours=1)

        assert sim.story("web")[:4] == [
            "OperationStarted",
            "RebootStarted",
            "RebootEnded",
            "PatchInstalled",
        ]

    def test_that_runs_out_of_time_leaves_patches_pending_and_says_so(self) -> None:
        sim = azure("{exceedsWindow: true}")
        accepted = sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(hours=3)
        output = sim.output(accepted)

        assert output["maintenanceWindowExceeded"] is True
        assert (output["installedPatchCount"], output["pendingPatchCount"]) == (2, 1)

    def test_in_a_window_too_short_for_any_patch_installs_nothing(self) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Critical", maximumDuration="PT15M"))
        sim.wait(hours=1)
        output = sim.output(accepted)

        assert output["maintenanceWindowExceeded"] is True
        assert output["pendingPatchCount"] == 1

    def test_half_of_which_fails_names_the_patches_and_installs_the_others(self) -> None:
        sim = azure('{failingPatches: ["curl*"]}')
        accepted = sim.post("web", "installPatches", linux("Security"))
        sim.wait(hours=1)
        output = sim.output(accepted)

        assert output["status"] in ("Failed", "CompletedWithWarnings")
        assert states(output)["curl"] == "Failed"
        assert states(output)["linux-image"] == "Installed"
        assert output["error"]["code"] != "0"
        assert {d["code"] for d in output["error"]["details"]} == {"PACKAGE_MANAGER_FAILURE"}
        assert "curl" in [patch.name for patch in sim.machine("web").missing]

    def test_cannot_install_what_only_ubuntu_pro_has(self) -> None:
        sim = Azure(
            "machines: [{name: web, guest: {missing: [{name: imagemagick, "
            "version: UA_ESM_Required, classification: Security}]}}]"
        )
        accepted = sim.post("web", "installPatches", linux("Security"))
        sim.wait(hours=1)
        output = sim.output(accepted)

        assert output["status"] == "CompletedWithWarnings"
        assert output["error"]["details"][0]["code"] == "UA_ESM_REQUIRED"

    def test_with_an_internal_error_has_an_error_in_place_of_a_result(self) -> None:
        sim = azure("{internalError: true}")
        accepted = sim.post("web", "installPatches", linux("Security"))
        sim.wait(minutes=5)
        operation = sim.operation(accepted)

        assert operation["status"] == "Failed"
        assert operation["error"]["code"] == "VMGuestPatchInternalError"
        assert "properties" not in operation
        assert len(sim.machine("web").missing) == 4

    def test_on_a_guest_that_cannot_be_patched_fails_and_changes_nothing(self) -> None:
        sim = azure(more="patchable: false")
        accepted = sim.post("web", "installPatches", linux("Security"))
        sim.wait(minutes=5)

        assert sim.operation(accepted)["status"] == "Failed"
        assert len(sim.machine("web").missing) == 4

    def test_after_whose_reboot_the_machine_is_gone_fails_and_the_agent_stays_silent(self) -> None:
        sim = azure("{rebootDoesNotComeBack: true}")
        accepted = sim.post("web", "installPatches", linux("Critical"))
        sim.wait(hours=1)
        output = sim.output(accepted)

        assert output["status"] == "Failed"
        assert output["rebootStatus"] in ("Failed", "Started")
        assert sim.machine("web").agent_ready is False
        sim.post("web", "deallocate")
        sim.wait(minutes=1)
        sim.post("web", "start")
        sim.wait(minutes=1)
        assert sim.machine("web").agent_ready is True

    def test_that_loses_its_agent_fails_after_its_window(self) -> None:
        sim = azure("{agentLost: true}")
        accepted = sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(hours=2)
        assert sim.operation(accepted)["status"] == "InProgress"
        assert sim.machine("web").agent_ready is False
        sim.wait(minutes=31)

        assert sim.operation(accepted)["status"] == "Failed"
        assert len(sim.machine("web").missing) < 4

    def test_without_a_result_never_ends(self) -> None:
        sim = azure("{noResult: true}")
        sim.post("web", "installPatches", linux("Security"))
        sim.wait(days=2)

        summary = sim.view("web")["patchStatus"]["lastPatchInstallationSummary"]
        assert summary["status"] == "InProgress"
        assert sim.story("web") == ["OperationStarted"]

    def test_with_a_duration_that_the_linux_extension_cannot_read_fails_in_the_guest(self) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Security", maximumDuration="P0DT2H"))
        sim.wait(minutes=5)

        assert sim.output(accepted)["status"] == "Failed"

    def test_is_superseded_by_a_newer_operation(self) -> None:
        sim = azure()
        first = sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(minutes=2, seconds=30)
        second = sim.post("web", "assessPatches")
        sim.wait(minutes=5)
        output = sim.output(first)

        assert output["status"] == "Failed"
        codes = [detail["code"] for detail in output["error"]["details"]]
        assert codes == ["NEWER_OPERATION_SUPERSEDED"]
        assert (output["installedPatchCount"], output["pendingPatchCount"]) == (1, 2)
        assert sim.output(second)["status"] == "Succeeded"
        assert len(sim.output(second)["availablePatches"]) == 3
        superseded = sim.journal.events("OperationSuperseded")[0]
        assert superseded.operation_id == sim.operation(first)["name"]
        assert superseded.details["by"] == sim.operation(second)["name"]

    def test_interrupted_by_a_stop_goes_on_when_the_machine_starts(self) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(minutes=2, seconds=30)
        sim.post("web", "deallocate")
        sim.wait(minutes=30)
        assert sim.operation(accepted)["status"] == "InProgress"
        assert sim.view("web")["statuses"][1]["code"] == "PowerState/deallocated"
        sim.post("web", "start")
        sim.wait(minutes=20)

        assert sim.output(accepted)["installedPatchCount"] == 3
        assert sim.story("web").count("OperationPaused") == 1
        assert sim.story("web").count("OperationResumed") == 1

    def test_interrupted_for_longer_than_its_window_ends_when_the_machine_starts(self) -> None:
        sim = azure()
        accepted = sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(minutes=2, seconds=30)
        sim.post("web", "deallocate")
        sim.wait(hours=3)
        sim.post("web", "start")
        sim.wait(minutes=20)

        assert sim.output(accepted)["maintenanceWindowExceeded"] is True

    def test_ends_with_the_machine(self) -> None:
        sim = azure()
        machine = sim.machine("web")
        accepted = sim.post("web", "installPatches", linux("Security"))
        sim.wait(minutes=1)
        sim.call("DELETE", machine.id)
        sim.wait(minutes=30)

        assert sim.operation(accepted)["status"] == "Failed"
        assert sim.call("GET", machine.id).status == 404
        assert machine.id.lower() not in sim.cloud.graph.machines


WINDOWS = """
machines:
  - name: win
    osType: Windows
    guest:
      missing:
        - {name: Cumulative Update, kbId: "5050009", classification: Security,
           rebootBehavior: AlwaysRequiresReboot, publishedDate: "2026-11-10T00:00:00Z"}
        - {name: Security Intelligence, kbId: "2267602", classification: Definition,
           publishedDate: "2026-11-20T00:00:00Z"}
        - {name: NET, kbId: "5049620", classification: Security,
           publishedDate: "2026-11-01T00:00:00Z"}
"""


@pytest.mark.parametrize(
    ("parameters", "installed", "excluded"),
    [
        pytest.param({"classificationsToInclude": ["Definition"]}, {"2267602"}, 0, id="class"),
        pytest.param({"kbNumbersToInclude": ["KB5049620"]}, {"5049620"}, 0, id="kb-with-letters"),
        pytest.param(
            {"classificationsToInclude": ["Security"], "kbNumbersToExclude": ["5049620"]},
            {"5050009"},
            1,
            id="exclude-outweighs-class",
        ),
        pytest.param(
            {"classificationsToInclude": ["Security"], "excludeKbsRequiringReboot": True},
            {"5049620"},
            1,
            id="without-reboots",
        ),
        pytest.param(
            {
                "classificationsToInclude": ["Security", "Definition"],
                "maxPatchPublishDate": "2026-11-05T00:00:00Z",
            },
            {"5049620"},
            0,
            id="published-until",
        ),
    ],
)
def test_windows_filters_select(
    parameters: dict[str, Any], installed: set[str], excluded: int
) -> None:
    sim = Azure(WINDOWS)
    accepted = sim.post(
        "win",
        "installPatches",
        {"maximumDuration": "PT3H", "rebootSetting": "Always", "windowsParameters": parameters},
    )
    sim.wait(hours=1)
    output = sim.output(accepted)

    done = {p["kbId"] for p in output["patches"] if p["installationState"] == "Installed"}
    assert done == installed
    assert output["excludedPatchCount"] == excluded


@pytest.mark.parametrize(
    ("parameters", "installed"),
    [
        pytest.param({"packageNameMasksToInclude": ["vim"]}, {"vim"}, id="name"),
        pytest.param({"packageNameMasksToInclude": ["*l"]}, {"curl", "openssl"}, id="wildcard"),
        pytest.param({"packageNameMasksToInclude": ["CURL=8.*"]}, {"curl"}, id="name-and-version"),
        pytest.param(
            {"packageNameMasksToInclude": ["curl=7.*", "vim"]}, {"vim"}, id="other-version"
        ),
        pytest.param(
            {
                "classificationsToInclude": ["security"],
                "packageNameMasksToInclude": ["vim"],
                "packageNameMasksToExclude": ["linux-image*"],
            },
            {"curl", "vim"},
            id="class-or-mask-less-excludes",
        ),
    ],
)
def test_linux_filters_select(parameters: dict[str, Any], installed: set[str]) -> None:
    sim = azure()
    accepted = sim.post("web", "installPatches", linux(linuxParameters=parameters))
    sim.wait(hours=1)

    done = {name for name, state in states(sim.output(accepted)).items() if state == "Installed"}
    assert done == installed


def test_the_same_seed_and_requests_give_the_same_journal() -> None:
    def journal(seed: int) -> list[dict[str, Any]]:
        sim = azure('{failingPatches: ["curl"]}', seed=seed)
        sim.post("web", "assessPatches")
        sim.wait(minutes=5)
        sim.post("web", "installPatches", linux("Critical", "Security"))
        sim.wait(hours=1)
        return [entry.to_json() for entry in sim.journal.since(0)]

    assert journal(7) == journal(7)
    assert journal(7) != journal(8)
