"""Resource Graph: what its tables hold, who sees which rows, and how they are paged."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from simulated import START, Azure, linux

from azsim.http import Response
from azsim.resourcegraph.engine import Engine, Visible
from azsim.resourcegraph.handler import QUOTA

SUBSCRIPTION = "5ab10000-0000-4000-8000-0000000000aa"
OTHER = "5ab10000-0000-4000-8000-0000000000bb"
WEB = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/RG-Web"
WEB_1 = f"{WEB}/providers/Microsoft.Compute/virtualMachines/web-1"

FLEET = f"""
resourceGraph: {{lag: 20s, tailLag: 2m, tailShare: 0}}
subscriptions:
  - id: {SUBSCRIPTION}
    displayName: prod
    resourceGroups: [{{name: aks-nodes, managedBy: /subscriptions/{SUBSCRIPTION}/aks}}]
    galleries:
      - {{name: golden, group: rg-images, images: [{{name: web, versions: [1.0.0, 1.1.0]}}]}}
  - {{id: {OTHER}, displayName: other}}
principals:
  - name: owner
  - name: group reader
    roleAssignments: [{{scope: "{WEB.lower()}", role: Reader}}]
  - name: machine reader
    roleAssignments:
      - scope: {WEB_1}
        actions: [Microsoft.Compute/virtualMachines/read]
  - {{name: nobody, roleAssignments: []}}
machines:
  - name: web-1
    group: RG-Web
    zone: "2"
    tags: {{env: prod}}
    image: {{gallery: golden/web/1.1.0}}
    guest:
      os: Ubuntu
      osVersion: "24.04"
      missing:
        - {{name: curl, version: "8.5", classification: Security}}
        - name: openssl
          version: "3.0"
          classification: Critical
          rebootBehavior: AlwaysRequiresReboot
        - {{name: vim, version: "9.1", classification: Other}}
  - {{name: web-2, group: RG-Web, guest: {{detected: Unsupported, patchable: false}}}}
  - {{name: web-3, group: RG-Web, guest: {{detected: Absent}}}}
  - name: win-1
    group: rg-win
    osType: Windows
    subscription: other
    guest:
      patchService: WU_WSUS
      missing:
        - name: 2026-11 Cumulative Update
          kbId: "5030211"
          classification: UpdateRollUp
          publishedDate: 2026-11-10T18:00:00Z
"""


@pytest.fixture
def azure() -> Azure:
    return Azure(FLEET)


def post(azure: Azure, query: str, *, principal: int = 0, **more: Any) -> Response:
    options = {key.replace("_", "$"): value for key, value in more.pop("options", {}).items()}
    return azure.call(
        "POST",
        "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01",
        {"query": query, "options": options, **more},
        principal=principal,
    )


def rows(azure: Azure, query: str, **more: Any) -> list[Any]:
    answer = post(azure, query, **more)
    assert answer.status == 200, answer.body
    found: list[Any] = answer.json()["data"]
    return found


def names(azure: Azure, query: str = "resources", **more: Any) -> list[str]:
    return [row["name"] for row in rows(azure, f"{query} | order by id asc", **more)]


def assessed(azure: Azure, name: str) -> None:
    """An assessment that has ended and that Resource Graph shows."""
    azure.post(name, "assessPatches")
    azure.wait(minutes=5)


# -- the rows -------------------------------------------------------------------------------------


def test_a_machine_is_a_row_in_resource_graphs_spelling(azure: Azure) -> None:
    [row] = rows(azure, "resources | where name == 'web-1'")

    assert row["id"] == WEB_1
    assert row["type"] == "microsoft.compute/virtualmachines"
    assert row["resourceGroup"] == "rg-web"
    assert row["subscriptionId"] == SUBSCRIPTION
    assert row["tenantId"] == azure.cloud.fleet.tenants[0].id
    assert (row["tags"], row["zones"]) == ({"env": "prod"}, ["2"])
    assert (row["kind"], row["managedBy"], row["plan"], row["sku"]) == ("", "", None, None)
    properties = row["properties"]
    assert properties["vmId"] == azure.machine("web-1").vm_id
    assert properties["storageProfile"]["imageReference"]["id"].endswith("web/versions/1.1.0")
    assert properties["extended"]["instanceView"]["powerState"] == {
        "code": "PowerState/running",
        "level": "Info",
        "displayStatus": "VM running",
    }


def test_what_the_agent_reported_of_the_system_stays_when_the_machine_is_stopped(
    azure: Azure,
) -> None:
    azure.post("web-1", "deallocate")
    azure.wait(minutes=5)
    systems = {
        row["name"]: (row["os"], row["version"])
        for row in rows(
            azure,
            "resources | where type has 'virtualmachines' | project name,"
            " os = tostring(properties.extended.instanceView.osName),"
            " version = tostring(properties.extended.instanceView.osVersion)",
        )
    }

    assert systems["web-1"] == ("ubuntu", "24.04")
    assert systems["web-2"] == ("", "")


def test_galleries_their_images_and_versions_are_rows(azure: Azure) -> None:
    found = rows(azure, "resources | where type has 'galleries' | order by id asc")

    assert [(row["type"], row["name"]) for row in found] == [
        ("microsoft.compute/galleries", "golden"),
        ("microsoft.compute/galleries/images", "web"),
        ("microsoft.compute/galleries/images/versions", "1.0.0"),
        ("microsoft.compute/galleries/images/versions", "1.1.0"),
    ]
    assert found[1]["properties"]["osState"] == "Generalized"


def test_subscriptions_and_groups_are_containers(azure: Azure) -> None:
    found = rows(azure, "resourcecontainers | order by id asc")

    assert [(row["type"].rsplit("/", 1)[1], row["name"], row["managedBy"]) for row in found] == [
        ("subscriptions", "prod", ""),
        ("resourcegroups", "RG-Web", ""),
        ("resourcegroups", "aks-nodes", f"/subscriptions/{SUBSCRIPTION}/aks"),
        ("resourcegroups", "rg-images", ""),
        ("subscriptions", "other", ""),
        ("resourcegroups", "rg-win", ""),
    ]


def test_an_assessment_is_a_row_with_its_counts_and_detected_support(azure: Azure) -> None:
    assessed(azure, "web-1")
    [row] = rows(azure, "patchassessmentresources | where type endswith '/patchassessmentresults'")

    assert row["id"] == f"{WEB_1}/patchAssessmentResults/latest"
    properties = row["properties"]
    assert (properties["status"], properties["osType"]) == ("Succeeded", "Linux")
    assert (properties["patchServiceUsed"], properties["startedBy"]) == ("APT", "User")
    counts = properties["availablePatchCountByClassification"]
    assert {k: v for k, v in counts.items() if v} == {"security": 1, "critical": 1, "other": 1}
    assert len(counts) == 9
    assert properties["errorDetails"]["code"] == "0"
    readiness = properties["configurationStatus"]["vmGuestPatchReadiness"]
    assert readiness == {"detectedVMGuestPatchSupportState": "Supported"}


@pytest.mark.parametrize(
    ("machine", "readiness"),
    [
        ("web-2", {"detectedVMGuestPatchSupportState": "Unsupported"}),
        ("web-3", {}),
    ],
)
def test_detected_support_follows_the_guest(
    azure: Azure, machine: str, readiness: dict[str, str]
) -> None:
    assessed(azure, machine)
    [row] = rows(azure, "patchassessmentresources | where type endswith '/patchassessmentresults'")

    assert row["properties"]["configurationStatus"]["vmGuestPatchReadiness"] == readiness


def test_each_missing_patch_is_a_row(azure: Azure) -> None:
    assessed(azure, "web-1")
    found = rows(azure, "patchassessmentresources | where type has 'softwarepatches' | order by id")

    assert {row["id"] for row in found} == {
        f"{WEB_1}/patchAssessmentResults/latest/softwarePatches/{n}" for n in range(3)
    }
    openssl = next(r["properties"] for r in found if r["properties"]["patchName"] == "openssl")
    assert (openssl["version"], openssl["kbId"]) == ("3.0", None)
    assert openssl["classifications"] == ["Critical"]
    assert (openssl["rebootBehavior"], openssl["rebootRequired"]) == ("AlwaysRequiresReboot", True)
    assert openssl["publishedDateTime"] is None


def test_a_windows_patch_has_a_kb_and_no_version(azure: Azure) -> None:
    assessed(azure, "win-1")
    [patch] = rows(azure, "patchassessmentresources | where type has 'softwarepatches'")

    assert (patch["properties"]["kbId"], patch["properties"]["version"]) == ("5030211", None)
    assert patch["properties"]["publishedDateTime"] == "2026-11-10T18:00:00.000Z"


def test_an_installation_is_a_row_named_by_its_activity_id(azure: Azure) -> None:
    accepted = azure.post("web-1", "installPatches", linux("Security"))
    azure.wait(hours=1)
    activity = azure.output(accepted)["installationActivityId"]
    [row] = rows(
        azure, "patchinstallationresources | where type endswith '/patchinstallationresults'"
    )

    assert row["id"] == f"{WEB_1}/patchInstallationResults/{activity}"
    properties = row["properties"]
    assert properties["installationActivityId"] == activity
    assert (properties["installedPatchCount"], properties["notSelectedPatchCount"]) == (1, 2)
    states = rows(
        azure,
        "patchinstallationresources | where type has 'softwarepatches'"
        " | summarize n = count() by state = tostring(properties.installationState)"
        " | order by state asc",
    )
    assert states == [{"state": "Installed", "n": 1}, {"state": "NotSelected", "n": 2}]


# -- time -----------------------------------------------------------------------------------------


def test_rows_appear_with_a_lag(azure: Azure) -> None:
    azure.post("web-1", "assessPatches")
    assert rows(azure, "patchassessmentresources") == []

    azure.wait(seconds=21)
    [row] = rows(azure, "patchassessmentresources | where type !has 'softwarepatches'")
    assert row["properties"]["status"] == "InProgress"


@pytest.mark.parametrize(
    ("table", "days"), [("patchassessmentresources", 7), ("patchinstallationresources", 30)]
)
def test_rows_disappear_when_their_retention_ends(azure: Azure, table: str, days: int) -> None:
    azure.post("web-1", "installPatches", linux("Security"))
    azure.wait(hours=1)
    assessed(azure, "web-1")

    azure.wait(days=days - 1)
    assert rows(azure, table)
    azure.wait(days=1)
    assert rows(azure, table) == []


def test_a_machine_that_is_gone_stays_visible_for_the_lag(azure: Azure) -> None:
    assert "web-1" in names(azure)
    azure.cloud.remove_machine(azure.machine("web-1"))

    assert "web-1" in names(azure)
    azure.wait(seconds=21)
    assert "web-1" not in names(azure)


def test_ago_and_now_are_simulated(azure: Azure) -> None:
    assessed(azure, "web-1")
    recent = (
        "patchassessmentresources | where type !has 'softwarepatches'"
        " | where todatetime(properties.lastModifiedDateTime) > ago(1d) | project id"
    )

    assert len(rows(azure, recent)) == 1
    azure.wait(days=2)
    assert rows(azure, recent) == []
    assert rows(azure, "print at = now()") == [{"at": "2026-11-25T08:05:00Z"}]


# -- queries --------------------------------------------------------------------------------------

INVENTORY = """
resources
| where type in~ ("Microsoft.Compute/virtualMachines", "microsoft.hybridcompute/machines")
| extend machineId = tolower(id)
| join kind=leftouter (
    patchassessmentresources
    | where type =~ "microsoft.compute/virtualmachines/patchassessmentresults"
    | extend machineId = tostring(split(tolower(id), "/patchassessmentresults/")[0])
    | project machineId, assess = properties) on machineId
| project id, name, power = tostring(properties.extended.instanceView.powerState.code),
    support = tostring(
        assess.configurationStatus.vmGuestPatchReadiness.detectedVMGuestPatchSupportState),
    critical = toint(assess.availablePatchCountByClassification.critical),
    rebootPending = tobool(assess.rebootPending)
| order by id asc
"""


def test_the_portals_joined_inventory_query_runs(azure: Azure) -> None:
    assessed(azure, "web-1")
    found = {row.pop("name"): row for row in rows(azure, INVENTORY)}

    assert found["web-1"] == {
        "id": WEB_1,
        "power": "PowerState/running",
        "support": "Supported",
        "critical": 1,
        "rebootPending": False,
    }
    assert (found["web-2"]["support"], found["web-2"]["critical"]) == ("", None)


def test_a_query_may_name_its_own_tables(azure: Azure) -> None:
    query = "let web = resources | where name startswith 'web-'; web | project name, id"

    assert names(azure, query) == ["web-1", "web-2", "web-3"]


def test_table_names_compare_without_case(azure: Azure) -> None:
    assert rows(azure, "Resources | join (PatchAssessmentResources) on id") == []
    assert names(azure, "Resources | where name == 'web-1'") == ["web-1"]


def test_queries_run_beside_each_other_and_beside_changes() -> None:
    kinds = {"microsoft.compute/virtualmachines": ("",)}
    visible = Visible((SUBSCRIPTION,), kinds)
    row = {"type": "microsoft.compute/virtualmachines", "subscriptionId": SUBSCRIPTION}
    engine = Engine()

    def change(owner: int) -> None:
        engine.replace({owner: {"resources": [{**row, "id": str(owner)}] * 10}})

    for owner in range(20):
        change(owner)
    with ThreadPoolExecutor(4) as threads:
        counts = []
        for n in range(60):
            query = engine.prepare(f"resources | extend n = {n} | count", visible, START)
            counts.append(threads.submit(query))
            change(n % 20)
        seen = {count.result().rows[0][0] for count in counts}

    # A change replaces its owner's ten rows at once: nobody sees them missing or double.
    assert seen == {200}


@pytest.mark.parametrize(
    ("query", "line"),
    [
        pytest.param("resources | where", 1, id="unfinished"),
        pytest.param("resources\n| wherever x == 1", 2, id="no such operator"),
        pytest.param("secrets | take 1", None, id="no such table"),
        pytest.param("resources | where colour == 'red'", None, id="no such column"),
        pytest.param(".drop table resources", 1, id="a control command"),
        pytest.param("// hidden\n.show tables", None, id="a command behind a comment"),
        pytest.param("externaldata(x: string) ['/etc/hostname']", 1, id="a file"),
        pytest.param("rows_resources | take 1", None, id="what is behind the tables"),
        pytest.param("duckdb_tables | take 1", None, id="what the engine knows of itself"),
        pytest.param("database('main').rows_resources", None, id="another database"),
        pytest.param("   ", None, id="nothing"),
    ],
)
def test_a_query_that_cannot_run_is_refused_as_resource_graph_does(
    azure: Azure, query: str, line: int | None
) -> None:
    answer = post(azure, query)
    error = answer.json()["error"]

    assert (answer.status, error["code"]) == (400, "BadRequest")
    assert error["message"].startswith("Please provide below info when asking for support")
    assert error["details"][0]["code"] == "InvalidQuery"
    if line is not None:
        assert error["details"][1]["line"] == line


def test_a_table_has_columns_with_types(azure: Azure) -> None:
    query = (
        "resources | where name == 'web-1' | project name, n = 1, x = 1.5, b = true, tags,"
        " t = datetime(2026-11-23), span = 36h"
    )
    data = post(azure, query, options={"resultFormat": "table"}).json()["data"]

    assert [(column["name"], column["type"]) for column in data["columns"]] == [
        ("name", "string"),
        ("n", "integer"),
        ("x", "number"),
        ("b", "boolean"),
        ("tags", "object"),
        ("t", "string"),
        ("span", "string"),
    ]
    expected = ["web-1", 1, 1.5, True, {"env": "prod"}, "2026-11-23T00:00:00Z", "1.12:00:00"]
    assert data["rows"] == [expected]


# -- who sees what --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "seen"),
    [
        pytest.param(0, ["web-1", "web-2", "web-3", "win-1"], id="an owner: all"),
        pytest.param(1, ["web-1", "web-2", "web-3"], id="a reader of a group: the group's"),
        pytest.param(2, ["web-1"], id="a reader of one machine: that one"),
        pytest.param(3, [], id="nobody: nothing, and no refusal"),
    ],
)
def test_rows_are_those_that_the_principal_may_read(
    azure: Azure, principal: int, seen: list[str]
) -> None:
    query = "resources | where type =~ 'microsoft.compute/virtualmachines'"

    assert names(azure, query, principal=principal) == seen


def test_each_kind_of_row_needs_its_own_right(azure: Azure) -> None:
    assessed(azure, "web-1")

    assert rows(azure, "patchassessmentresources", principal=1)
    assert rows(azure, "patchassessmentresources", principal=2) == []


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        pytest.param([OTHER], ["win-1"], id="one"),
        pytest.param([OTHER.upper()], ["win-1"], id="in any case"),
        pytest.param([], ["web-1", "web-2", "web-3", "win-1"], id="none named is all"),
        pytest.param(["5ab10000-0000-4000-8000-0000000000ff"], [], id="one that is not there"),
    ],
)
def test_a_query_runs_over_the_subscriptions_it_names(
    azure: Azure, asked: list[str], seen: list[str]
) -> None:
    query = "resources | where type =~ 'microsoft.compute/virtualmachines'"

    assert names(azure, query, subscriptions=asked) == seen


# -- pages ----------------------------------------------------------------------------------------


def pages(azure: Azure, query: str, size: int) -> tuple[list[str], int]:
    """The names on all pages, and how many pages there were."""
    found: list[str] = []
    token, count = None, 0
    while token or not count:
        options = {"_top": size, **({"_skipToken": token} if token else {})}
        answer = post(azure, query, options=options).json()
        found += [row["name"] for row in answer["data"]]
        assert answer["count"] == len(answer["data"]) <= size
        assert answer["facets"] == []
        token, count = answer.get("$skipToken"), count + 1
        assert answer["resultTruncated"] == ("true" if token else "false")
    return found, count


MANY = "machines: [{name: 'm-{n}', count: 25}]\nprincipals: [{name: owner}]"
ALL = {f"m-{n}" for n in range(1, 26)}


def test_an_ordered_query_gives_every_row_once() -> None:
    found, count = pages(Azure(MANY), "resources | project id, name | order by id asc", 10)

    assert count == 3
    assert len(found) == 25
    assert set(found) == ALL


def test_an_unordered_query_may_repeat_and_miss_rows() -> None:
    found, _ = pages(Azure(MANY), "resources | project id, name", 10)

    assert len(found) == 25
    assert set(found) != ALL


def test_without_the_id_there_is_no_next_page() -> None:
    answer = post(Azure(MANY), "resources | project name", options={"_top": 10}).json()

    assert (answer["totalRecords"], answer["count"]) == (25, 10)
    assert answer["resultTruncated"] == "true"
    assert "$skipToken" not in answer


def test_skip_leaves_out_the_first_rows() -> None:
    query = "resources | project id, name | order by id asc"
    found = [row["name"] for row in rows(Azure(MANY), query, options={"_skip": 20})]

    assert len(found) == 5


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"_top": 1001}, id="too long a page"),
        pytest.param({"_top": 0}, id="an empty page"),
        pytest.param({"_skip": -1}, id="before the first row"),
        pytest.param({"_skipToken": "made up"}, id="a token that was not given out"),
    ],
)
def test_a_page_that_cannot_be_is_refused(azure: Azure, options: dict[str, Any]) -> None:
    assert post(azure, "resources", options=options).status == 400


def test_a_token_belongs_to_its_query() -> None:
    azure = Azure(MANY)
    token = post(azure, "resources | order by id", options={"_top": 10}).json()["$skipToken"]

    assert post(azure, "resources | order by name", options={"_skipToken": token}).status == 400


def test_a_page_has_a_thousand_rows_at_most() -> None:
    azure = Azure("machines: [{name: 'm-{n}', count: 1001}]\nprincipals: [{name: owner}]")
    answer = post(azure, "resources | order by id asc").json()

    assert (answer["totalRecords"], answer["count"]) == (1001, 1000)


# -- quota ----------------------------------------------------------------------------------------


def test_queries_are_counted_per_principal_and_time(azure: Azure) -> None:
    left = [
        post(azure, "resources | take 1").headers["x-ms-user-quota-remaining"] for _ in range(QUOTA)
    ]
    assert left == [str(n) for n in reversed(range(QUOTA))]

    refused = post(azure, "resources | take 1")
    assert (refused.status, refused.json()["error"]["code"]) == (429, "RateLimiting")
    assert refused.headers["retry-after"] == "5"
    assert refused.headers["x-ms-user-quota-resets-after"] == "00:00:05"
    assert post(azure, "resources | take 1", principal=1).status == 200

    azure.wait(seconds=5)
    assert post(azure, "resources | take 1").status == 200
