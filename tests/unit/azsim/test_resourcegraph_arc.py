"""Resource Graph's rows of Arc-enabled servers."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import Azure, linux

from azsim.meddling import Meddling

SUB = "/subscriptions/5ab10000-0000-4000-8000-000000000001"
DC = f"{SUB}/resourceGroups/rg-dc/providers/Microsoft.HybridCompute/machines/dc-7"
ARC = "microsoft.hybridcompute/machines"

FLEET = """
resourceGraph: {lag: 20s, tailLag: 20s, tailShare: 0}
principals:
  - {name: owner}
  - {name: of virtual machines, roleAssignments: [{scope: "/", actions: [Microsoft.Compute/*]}]}
  - name: of patches
    roleAssignments:
      - {scope: "/", actions: [Microsoft.HybridCompute/machines/patchAssessmentResults/read]}
machines:
  - name: dc-7
    group: rg-dc
    arc: {}
    tags: {env: prod}
    guest:
      os: Ubuntu
      osVersion: "24.04"
      missing:
        - {name: curl, version: "8.5"}
        - {name: vim, version: "9.1", classification: Other}
  - {name: web, group: rg-dc}
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def rows(sim: Azure, query: str, principal: int = 0) -> Any:
    path = "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01"
    answer = sim.call("POST", path, {"query": query}, principal=principal)
    assert answer.status == 200, answer.body
    return answer.json()["data"]


def patched(sim: Azure) -> None:
    for verb, body in (("assessPatches", None), ("installPatches", linux("Security"))):
        assert sim.post("dc-7", verb, body).status == 202
        sim.wait(minutes=10)


def test_a_server_is_a_row_of_its_own_type(sim: Azure) -> None:
    (row,) = rows(sim, f"resources | where type =~ '{ARC}'")

    assert (row["id"], row["type"], row["tags"]) == (DC, ARC, {"env": "prod"})
    assert row["properties"]["status"] == "Connected"
    assert row["properties"]["vmId"] == sim.arc("dc-7").vm_id
    assert row["properties"]["osType"] == "linux"
    assert "storageProfile" not in row["properties"]
    assert not row["zones"]


def test_its_status_is_shown_after_the_lag(sim: Azure) -> None:
    status = f"resources | where type =~ '{ARC}' | project status = tostring(properties.status)"
    assert rows(sim, status) == [{"status": "Connected"}]
    Meddling(sim.cloud).disconnect("dc-7")
    assert rows(sim, status) == [{"status": "Connected"}]
    sim.wait(seconds=21)

    assert rows(sim, status) == [{"status": "Disconnected"}]


def test_an_assessment_is_a_row_with_counts_and_without_detection(sim: Azure) -> None:
    patched(sim)
    (row,) = rows(sim, f"patchassessmentresources | where type =~ '{ARC}/patchassessmentresults'")

    assert row["id"] == f"{DC}/patchAssessmentResults/latest"
    properties = row["properties"]
    assert properties["status"] == "Succeeded"
    assert properties["startDateTime"] == "2026-11-23T08:00:00.000Z"
    assert properties["availablePatchCountByClassification"]["security"] == 1
    assert "vmGuestPatchReadiness" not in properties["configurationStatus"]


def test_missing_and_installed_patches_are_rows_too(sim: Azure) -> None:
    patched(sim)
    patches = "/softwarepatches' | project name = properties.patchName"
    missing = rows(
        sim, f"patchassessmentresources | where type =~ '{ARC}/patchassessmentresults{patches}"
    )
    installed = rows(
        sim,
        f"patchinstallationresources | where type =~ '{ARC}/patchinstallationresults{patches}"
        " , state = properties.installationState | where state =~ 'Installed'",
    )

    assert [row["name"] for row in missing] == ["curl", "vim"]
    assert [row["name"] for row in installed] == ["curl"]


def test_an_installation_is_a_row_named_by_its_activity(sim: Azure) -> None:
    patched(sim)
    (row,) = rows(
        sim, f"patchinstallationresources | where type =~ '{ARC}/patchinstallationresults'"
    )

    activity = sim.journal.events("OperationStarted")[-1].operation_id
    assert row["id"] == f"{DC}/patchInstallationResults/{activity}"
    assert row["properties"]["installationActivityId"] == activity
    assert row["properties"]["installedPatchCount"] == 1


@pytest.mark.parametrize(
    ("principal", "seen"),
    [
        (0, {ARC, "microsoft.compute/virtualmachines", f"{ARC}/patchassessmentresults"}),
        (1, {"microsoft.compute/virtualmachines"}),
        (2, {f"{ARC}/patchassessmentresults"}),
    ],
)
def test_each_kind_of_row_needs_its_own_right(sim: Azure, principal: int, seen: set[str]) -> None:
    patched(sim)
    found = [
        row["type"]
        for table in ("resources", "patchassessmentresources")
        for row in rows(sim, table, principal)
        if not row["type"].endswith("softwarepatches")
    ]

    assert set(found) == seen
