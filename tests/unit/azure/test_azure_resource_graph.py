"""Resource Graph: its rows as facts, its pages, its groups and its quota."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from azpatch.api import DetectedState, OsType
from azpatch.azure import port, queries
from azpatch.domain.facts import (
    GuestStatus,
    ImageReference,
    InstalledPatch,
    Machine,
    MissingPatch,
    RebootStatus,
)

SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/RG-Web"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Web-1"
KEY = VM.lower()
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/web"

MACHINE_ROW = {
    "id": VM,
    "location": "westeurope",
    "tags": {"env": "prod"},
    "zones": ["1"],
    "powerCode": "PowerState/deallocated",
    "osName": "Windows Server 2022 Datacenter",
    "osVersion": "10.0.20348.1726",
    "vmId": "aaaa",
    "timeCreated": "2026-11-01T08:00:00.1234567Z",
    "osType": "Windows",
    "osDiskCreateOption": "FromImage",
    "computerName": "",
    "licenseType": "Windows_Server",
    "availabilitySet": f"{GROUP}/providers/Microsoft.Compute/availabilitySets/AS",
    "scaleSet": "",
    "imageId": f"{DEFINITION}/versions/1.4.0",
    "publisher": "",
    "offer": "",
    "sku": "",
    "version": "",
    "exactVersion": "1.4.0",
    "sharedGalleryImageId": "",
    "communityGalleryImageId": "",
}
ASSESSMENT_ROW = {
    "id": f"{KEY}/patchAssessmentResults/latest",
    "status": "Succeeded",
    "startTime": "2026-11-22T10:00:00Z",
    "lastModified": "2026-11-22T10:03:12Z",
    "rebootPending": "false",
    "activityId": "",
    "detected": "Supported",
    "counts": {
        "security": 4,
        "critical": 1,
        "updateRollup": 2,
        "featurePack": 0,
        "servicePack": 0,
        "definition": 0,
        "tools": 0,
        "updates": 0,
        "other": 11,
    },
    "errorDetails": {"code": "0", "message": "0 error/s reported.", "details": []},
}


def page(answer: Any, *rows: dict[str, Any], token: str | None = None, **headers: str) -> Any:
    body: dict[str, Any] = {
        "totalRecords": len(rows),
        "count": len(rows),
        "resultTruncated": "false",
        "data": list(rows),
        "facets": [],
    }
    if token:
        body["$skipToken"] = token
    return answer(200, body, headers)


async def test_a_snapshot_joins_machines_definitions_groups_and_assessments(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    cluster = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/aks"
    wire.answers(
        page(answer, MACHINE_ROW),
        page(answer),
        page(answer, {"id": DEFINITION, "osState": "Specialized", "osType": "Windows"}),
        page(answer, {"id": GROUP.lower(), "managedBy": cluster}),
        page(answer, ASSESSMENT_ROW),
    )
    snapshot = await client.snapshot([SUBSCRIPTION.upper()])
    assert snapshot.machines == {
        KEY: Machine(
            id=VM,
            vm_id="aaaa",
            location="westeurope",
            os_type=OsType.WINDOWS,
            time_created=datetime(2026, 11, 1, 8, 0, 0, 123456, tzinfo=UTC),
            power_state="Deallocated",
            tags={"env": "prod"},
            zones=("1",),
            availability_set=f"{GROUP}/providers/Microsoft.Compute/availabilitySets/AS",
            image=ImageReference(id=f"{DEFINITION}/versions/1.4.0", exact_version="1.4.0"),
            os_disk_create_option="FromImage",
            license_type="Windows_Server",
            os_name="Windows Server 2022 Datacenter",
            os_version="10.0.20348.1726",
            group_managed_by=cluster,
        )
    }
    assert [d.os_state for d in snapshot.definitions.values()] == ["Specialized"]
    assert list(snapshot.definitions) == [DEFINITION.lower()]
    assessment = snapshot.assessments[KEY]
    assert assessment.detected is DetectedState.SUPPORTED
    assert (assessment.critical_and_security, assessment.other) == (5, 13)
    assert assessment.reboot_pending is False
    assert assessment.error is None
    assert assessment.last_modified == datetime(2026, 11, 22, 10, 3, 12, tzinfo=UTC)


async def test_a_machine_without_image_reference_tags_and_zones_is_still_a_machine(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    bare = dict.fromkeys(MACHINE_ROW, "") | {"id": VM, "tags": None, "zones": None}
    wire.answers(page(answer, bare), page(answer))
    snapshot = await client.snapshot([SUBSCRIPTION])
    assert snapshot.machines == {KEY: Machine(id=VM, vm_id="", location="")}


@pytest.mark.parametrize(
    ("detected", "expected"),
    [
        ("Supported", DetectedState.SUPPORTED),
        ("UNSUPPORTED", DetectedState.UNSUPPORTED),
        ("UnableToDetermine", DetectedState.UNABLE_TO_DETERMINE),
        ("Unknown", DetectedState.UNKNOWN),
        ("", None),
        (None, None),
        ("SomethingNew", None),
    ],
)
async def test_a_detected_state_is_one_that_azure_documents_or_none(
    detected: str | None,
    expected: DetectedState | None,
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    wire.answers(page(answer, {**ASSESSMENT_ROW, "detected": detected, "status": "Inprogress"}))
    assessment = (await client.assessments([VM]))[KEY]
    assert assessment.detected is expected
    assert assessment.status is GuestStatus.IN_PROGRESS


async def test_machines_without_an_assessment_are_absent(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(page(answer))
    assert await client.assessments([VM]) == {}
    assert wire.sent[0].json()["subscriptions"] == [SUBSCRIPTION]


async def test_missing_patches_are_spelt_as_the_install_api_spells_them(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    row = {"id": f"{VM}/patchAssessmentResults/latest/softwarePatches/117", "machineId": KEY}
    linux = {"patchName": "curl", "version": "7.81", "kbId": "", "classifications": ["Security"]}
    windows = {
        "patchName": "2026-11 Cumulative Update",
        "version": "",
        "kbId": "KB5030211",
        "classifications": ["UpdateRollup", "critical"],
        "rebootBehavior": "CanRequestReboot",
        "published": "2026-11-10T18:00:00Z",
    }
    wire.answers(page(answer, {**row, **linux}, {**row, **windows}))
    published = datetime(2026, 11, 10, 18, tzinfo=UTC)
    assert await client.missing_patches([VM]) == {
        KEY: (
            MissingPatch("curl", "7.81", None, ("Security",), None, None),
            MissingPatch(
                "2026-11 Cumulative Update",
                None,
                "5030211",
                ("UpdateRollUp", "Critical"),
                "CanRequestReboot",
                published,
            ),
        )
    }


async def test_an_installation_carries_its_patches(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    install = f"{VM}/patchInstallationResults/0d3a7d0e"
    row = {
        "id": install,
        "machineId": KEY,
        "status": "CompletedWithWarnings",
        "startTime": "2026-11-22T10:00:00Z",
        "activityId": "0d3a7d0e",
        "rebootStatus": "required",
        "maintenanceWindowExceeded": "true",
        "installedPatchCount": "3",
        "failedPatchCount": "1",
        "pendingPatchCount": "",
        "errorDetails": {"code": 1, "message": "1 error/s reported."},
    }
    patch = {
        "id": f"{install}/softwarePatches/1",
        "installationId": install.lower(),
        "patchName": "curl",
        "version": "UA_ESM_Required",
        "kbId": None,
        "classifications": ["Security"],
        "installationState": "NotSelected",
    }
    wire.answers(page(answer, row), page(answer, patch))
    result = (await client.installations([VM]))[KEY]
    assert result.status is GuestStatus.COMPLETED_WITH_WARNINGS
    assert result.reboot_status is RebootStatus.REQUIRED
    assert result.maintenance_window_exceeded
    assert (result.installed, result.failed, result.pending) == (3, 1, 0)
    assert result.error is not None
    assert result.error.code == "1"
    assert result.patches == (
        InstalledPatch("curl", "UA_ESM_Required", None, ("Security",), "NotSelected"),
    )


async def test_an_install_is_found_by_its_activity_among_those_of_its_machine(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    """Whatever came after it, and in whatever case either id is written."""
    rows = [
        {
            "id": f"{VM}/patchInstallationResults/{activity}",
            "machineId": KEY,
            "status": "Succeeded",
            "startTime": start,
            "activityId": activity,
            "installedPatchCount": "1",
        }
        for activity, start in (
            ("aaaa-Ours", "2026-11-22T10:00:00Z"),
            ("bbbb-later", "2026-11-23T10:00:00Z"),
        )
    ]
    patch = {
        "id": f"{VM}/patchInstallationResults/aaaa-Ours/softwarePatches/1",
        "installationId": f"{KEY}/patchinstallationresults/aaaa-ours",
        "patchName": "curl",
        "version": "8.1",
        "kbId": None,
        "classifications": ["Security"],
        "installationState": "Installed",
    }
    wire.answers(page(answer, *rows), page(answer, patch))

    found = await client.installs({VM.upper(): "AAAA-ours"})

    assert list(found) == [KEY]
    assert found[KEY].patches == (InstalledPatch("curl", "8.1", None, ("Security",), "Installed"),)
    assert "bbbb-later" not in wire.sent[1].json()["query"]


async def test_pages_are_followed_to_the_last(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    other = VM.replace("Web-1", "Web-2")
    wire.answers(
        page(answer, MACHINE_ROW, token="page-2"),
        page(answer, {**MACHINE_ROW, "id": other}),
        page(answer),
    )
    snapshot = await client.snapshot([SUBSCRIPTION])
    assert set(snapshot.machines) == {KEY, other.lower()}
    options = [post.json()["options"] for post in wire.sent[:2]]
    assert [option.get("$skipToken") for option in options] == [None, "page-2"]
    assert {option["$top"] for option in options} == {1000}
    assert {option["resultFormat"] for option in options} == {"objectArray"}


async def test_an_answer_that_was_cut_short_is_no_answer(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(200, {"data": [MACHINE_ROW], "resultTruncated": "true"}))
    with pytest.raises(port.Retry):
        await client.snapshot([SUBSCRIPTION])


async def test_many_subscriptions_and_many_ids_are_asked_in_groups_below_300(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(page(answer))
    await client.snapshot(f"subscription-{n}" for n in range(600))
    sizes = [len(post.json()["subscriptions"]) for post in wire.sent]
    assert sizes == [250, 250, 100] * 5
    wire.sent.clear()
    await client.missing_patches(f"{VM}-{n}" for n in range(600))
    assert [post.json()["query"].count(KEY) for post in wire.sent] == [250, 250, 100]


async def test_nothing_is_asked_about_nothing(client: port.AzureClient, wire: Any) -> None:
    # Without subscriptions Resource Graph would answer for the whole tenant.
    snapshot = await client.snapshot([])
    assert (snapshot.machines, await client.assessments(["", "not-an-id"])) == ({}, {})
    assert wire.sent == []


async def test_an_exhausted_quota_is_waited_for(
    client: port.AzureClient, wire: Any, answer: Any, clock: Any
) -> None:
    spent = {
        "x-ms-user-quota-remaining": "0",
        "x-ms-user-quota-resets-after": "00:00:04",
    }
    wire.answers(page(answer, **spent), page(answer))
    await client.snapshot([SUBSCRIPTION])
    assert clock.slept == [timedelta(seconds=5)], "whole seconds, maybe rounded down"


async def test_a_throttled_query_is_asked_again_after_the_time_azure_names(
    client: port.AzureClient, wire: Any, answer: Any, clock: Any
) -> None:
    throttled = answer(
        429, {"error": {"code": "RateLimiting", "message": "…"}}, {"Retry-After": "5"}
    )
    wire.answers(throttled, page(answer, ASSESSMENT_ROW))
    assert list(await client.assessments([VM])) == [KEY]
    assert clock.slept == [timedelta(seconds=5)]


@pytest.mark.parametrize(
    ("status", "headers", "requests"),
    [
        pytest.param(429, {"Retry-After": "5"}, 3, id="429 again and again"),
        pytest.param(429, {"Retry-After": "600"}, 1, id="429 for long"),
        pytest.param(503, {}, 3, id="503 again and again"),
        pytest.param(400, {}, 3, id="400"),
    ],
)
async def test_a_query_that_keeps_failing_is_given_up(
    status: int,
    headers: dict[str, str],
    requests: int,
    client: port.AzureClient,
    wire: Any,
    answer: Any,
) -> None:
    wire.answers(answer(status, None, headers))
    with pytest.raises(port.Retry):
        await client.assessments([VM])
    assert len(wire.sent) == requests


async def test_a_query_that_is_denied_is_not_asked_again(
    client: port.AzureClient, wire: Any, answer: Any
) -> None:
    wire.answers(answer(403, {"error": {"code": "AuthorizationFailed", "message": "…"}}))
    with pytest.raises(port.Denied):
        await client.assessments([VM])
    assert len(wire.sent) == 1


def test_an_id_cannot_break_out_of_a_query() -> None:
    query = queries.missing_patches_of(["/a') or (true", "/b\\", "/c\n| take 1"])
    assert r"in ('/a\') or (true', '/b\\', '/c| take 1')" in query


@pytest.mark.parametrize(
    "query",
    [
        queries.MACHINES,
        queries.IMAGE_DEFINITIONS,
        queries.MANAGED_GROUPS,
        queries.ASSESSMENTS,
        queries.assessments_of(["/a"]),
        queries.missing_patches_of(["/a"]),
        queries.installations_of(["/a"]),
        queries.all_installations_of(["/a"]),
        queries.installed_patches_of(["/a"]),
    ],
    ids=lambda query: " ".join(query.split()[:6]),
)
def test_every_query_can_be_paged(query: str) -> None:
    assert query.endswith("| order by id asc")
    assert "| project id" in query
    assert "parse " not in query
