"""What the benchmark counts with."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from azsim.fleetfile import build
from bench_cluster import Writes, azure_requests, requests
from bench_fleet import PROBE_IMAGE, fleet, manifests, policies, subscriptions
from bench_process import cpu_seconds, memory, samples
from bench_real_run import PACE, AuditedRun
from bench_run import PLACES, RunOfWaves
from bench_run import simulated as simulated_run
from bench_run_writes import RunWrites
from bench_virtual import placed
from bench_wave import Wave, bound, simulated

ME = "system:serviceaccount:azpatch-system:azpatch"

PAGE = """\
# HELP azpatch_workqueue_depth Keys that wait for a worker.
azpatch_workqueue_depth 3.0
azpatch_workqueue_errors_total{kind="PatchTarget"} 2.0
azpatch_workqueue_errors_total{kind="PatchPolicy"} 1e+01
azpatch_kube_request_duration_seconds_count{code="200",resource="patchtargets",verb="PUT"} 5.0
azpatch_kube_request_duration_seconds_count{code="409",resource="patchtargets",verb="PUT"} 1.0
"""


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        pytest.param("azpatch_workqueue_depth", "", {"": 3.0}, id="without labels"),
        pytest.param(
            "azpatch_workqueue_errors_total",
            "kind",
            {"PatchTarget": 2.0, "PatchPolicy": 10.0},
            id="by a label",
        ),
        pytest.param(
            "azpatch_kube_request_duration_seconds_count", "verb", {"PUT": 6.0}, id="others added"
        ),
        pytest.param("azpatch_workqueue", "", {}, id="a name's beginning is not the name"),
    ],
)
def test_samples_are_read_from_a_metrics_page(
    name: str, label: str, expected: dict[str, float]
) -> None:
    assert samples(PAGE, name, label) == expected


@pytest.mark.parametrize("machines", [1, 7, 1000, 10_000])
def test_every_machine_is_under_exactly_one_policy(machines: int) -> None:
    built = build(fleet(machines, ME, "key"))
    names = [machine.name.rpartition("-")[0] for machine in built.machines]

    assert len(built.machines) == machines == sum(policies(machines).values())
    for name, count in policies(machines).items():
        assert names.count(name) == count


def test_a_large_fleet_is_spread_over_subscriptions() -> None:
    assert [len(subscriptions(count)) for count in (4000, 4001, 10_000)] == [1, 2, 3]
    kinds = [each["kind"] for each in manifests(10_000, "tenant", "Read", assess=False)]
    assert kinds.count("AzureSubscription") == 3


def audit(
    verb: str,
    user: str = ME,
    code: int = 200,
    status: str = "status",
    resource: str = "patchtargets",
    second: int = 0,
) -> str:
    event: dict[str, Any] = {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": user},
        "requestReceivedTimestamp": f"2026-11-23T03:00:{second:02}.000000Z",
        "objectRef": {"resource": resource, "subresource": status, "name": "web-1"},
        "responseStatus": {"code": code},
    }
    return json.dumps(event) + "\n"


def test_writes_are_counted_while_they_are_logged(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(audit("create", status=""))
    writes = Writes(log, ME)
    second = audit("update")
    with log.open("a") as file:
        file.write(audit("create", status="") + audit("update", user="admin"))
        file.write(audit("update", code=409) + second[:20])
        file.flush()
        writes.read()
        assert writes.counted == {"create patchtargets": 1}, "from the start on, and this user's"
        assert writes.refused == {409: 1}
        file.write(second[20:])
    writes.read()
    assert writes.counted["update patchtargets/status"] == 1, "a line that was half written"
    assert list(writes.settled) == ["web-1"]


def test_writes_of_a_run_count_from_when_it_is_made(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("")
    writes = AuditedRun(log, ME)
    log.write_text(
        audit("update")
        + audit("create", status="", resource="patchruns")
        + audit("patch", status="")
        + audit("update")
        + audit("update", code=409)
        + audit("update", resource="patchruns", second=1)
        + audit("patch", status="", resource="patchpolicies", second=2)
        + audit("update", resource="patchpolicies", second=2)
        + audit("update", resource="patchruns", second=3)
    )
    writes.read()

    assert writes.of_run.targets == {"web-1": 2}, "its finalizer's too, and none from before"
    assert writes.of_run.apart == timedelta(seconds=2 * PACE), "of one object's status"


def test_what_was_written_once_has_no_least_time_between_two_writes() -> None:
    assert RunWrites(summaries={"PatchRun a": [datetime(2026, 11, 23, tzinfo=UTC)]}).apart is None


def test_requests_to_azure_are_told_apart(tmp_path: Path) -> None:
    machine = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m"
    entries = [
        {"kind": "request", "path": "/skipped", "status": 200},
        {"kind": "AssessmentStarted"},
        {"kind": "request", "path": machine, "status": 200},
        {"kind": "request", "path": f"{machine}/assessPatches", "status": 202},
        {"kind": "request", "path": f"{machine}/assessPatches", "status": 429},
    ]
    journal = tmp_path / "journal"
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    assert azure_requests(journal, 1) == (
        5,
        {"GETs of machines": 1, "assessPatches": 1, "refused for lack of budget (429)": 1},
    )


def test_a_request_is_told_with_its_place_so_that_reading_can_go_on_there(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    entries = [{"kind": "request"}, {"kind": "AssessmentStarted"}, {"kind": "request"}]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"kind": "requ')

    assert [place for place, _ in requests(journal, 0)] == [1, 3]
    assert [place for place, _ in requests(journal, 1)] == [3]


def test_new_policies_are_tried_where_no_wave_fills_the_line() -> None:
    built = build(fleet(10, ME, "key", probes=2)).machines
    probes = {one.location for one in built if one.name.startswith(PROBE_IMAGE)}

    assert len(probes) == 1
    assert probes.isdisjoint(one.location for one in built if not one.name.startswith(PROBE_IMAGE))


@pytest.mark.parametrize(
    ("machines", "minutes"),
    [
        pytest.param(200, 0, id="the burst is enough"),
        pytest.param(1000, 12, id="1000"),
        pytest.param(10_000, 147, id="10,000"),
    ],
)
def test_the_bucket_bounds_a_wave(machines: int, minutes: int) -> None:
    assert bound(machines) == timedelta(minutes=minutes)


def test_a_wave_reaches_from_the_first_accepted_post_to_the_last() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    machine = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m"
    wave = Wave(1)
    for minute, method, path, status in (
        (0, "GET", machine, 200),
        (1, "POST", f"{machine}/assessPatches", 202),
        (2, "POST", f"{machine}/installPatches", 202),
        (3, "POST", f"{machine}/assessPatches", 429),
    ):
        wave.read(noon + timedelta(minutes=minute), method, path, status)
    assert not wave.complete

    wave.read(noon + timedelta(minutes=5), "POST", f"{machine}/assessPatches", 202)
    assert wave.complete
    assert (wave.span, wave.refused, wave.requests) == (timedelta(minutes=4), 1, 5)


def test_a_wave_in_virtual_time_is_complete_and_refused_nothing() -> None:
    span, refused = simulated(3)

    assert "NOT COMPLETE" not in span.raw
    assert refused.ratio == "0"


def test_the_machines_of_a_run_are_in_two_subscriptions_and_two_regions_each() -> None:
    where = list(placed(1000, PLACES))

    assert {(place.subscription, place.location) for place in where} == {
        (subscription, region)
        for subscription in (1, 2)
        for region in ("westeurope", "northeurope")
    }
    assert [where.count(place) for place in PLACES] == [400, 300, 200, 100]


def test_the_fullest_bucket_bounds_a_wave_that_installs_and_assesses_again() -> None:
    seen = RunOfWaves(2000)
    seen.waves = dict.fromkeys(seen.places, "rest")

    assert seen.fullest("rest") == 800
    assert seen.least("rest") == timedelta(minutes=5), "1,600 operations, 600 of them at once"
    assert seen.least("canary") == timedelta(seconds=30), "nobody waits: an install takes as long"


def test_a_run_in_virtual_time_is_complete_and_refused_nothing() -> None:
    last, whole, refused, writes, apart = simulated_run(12)

    assert "NOT COMPLETE" not in last.raw
    assert float(last.ratio.removesuffix(" x")) >= 1 <= float(whole.ratio.removesuffix(" x"))
    assert refused.ratio == "0"
    assert "2.00 operations a machine" in refused.raw
    assert 0 < int(writes.ratio) <= 16
    assert float(apart.raw.split()[0]) >= 5


def test_a_process_is_measured() -> None:
    now, highest = memory(os.getpid())

    assert 1 < now <= highest
    assert cpu_seconds(os.getpid()) > 0
