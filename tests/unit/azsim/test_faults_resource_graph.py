"""Resource Graph that is frozen, stale or lacks rows, and comes back to the truth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Azure, linux

from azsim.faults import Fault
from azsim.meddling import Meddling
from azsim.showing import Shown

FLEET = """
machines:
  - name: "web-{n}"
    count: 2
    guest:
      assessedAgo: 48h
      missing: [{name: curl, version: "8.5"}, {name: vim, version: "9.1", classification: Other}]
"""

RESOURCES = "/providers/Microsoft.ResourceGraph/resources"


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def wrong(sim: Azure, **fault: Any) -> str:
    return sim.cloud.faults.add(Fault.model_validate(fault))


def shown(sim: Azure, name: str = "web-1") -> Shown | None:
    return sim.cloud.graph.shown(sim.machine(name))


def rows(sim: Azure, name: str = "web-1") -> Shown:
    """What is shown of a machine that is shown."""
    view = shown(sim, name)
    assert view is not None
    return view


def missing(sim: Azure, name: str = "web-1") -> int | None:
    """How many patches the assessment row of a machine has."""
    view = shown(sim, name)
    return len(view.assessment.patches) if view and view.assessment else None


def query(sim: Azure, kql: str) -> Any:
    return sim.call("POST", RESOURCES, {"query": kql}).json()["data"]


def count(sim: Azure, table: str) -> int:
    total: int = query(sim, f"{table} | where id contains 'web-1' | count")[0]["Count"]
    return total


def install(sim: Azure) -> None:
    """Patch web-1 and look again."""
    assert sim.post("web-1", "installPatches", linux("Security")).status == 202
    sim.wait(minutes=15)
    assert sim.post("web-1", "assessPatches").status == 202
    sim.wait(minutes=5)


def test_frozen_rows_stay_until_the_end_and_then_all_changes_come(sim: Azure) -> None:
    fault = wrong(sim, graph="Frozen", machine="web-1")
    install(sim)
    sim.post("web-2", "deallocate")
    sim.wait(minutes=5)

    assert missing(sim) == 2
    assert rows(sim).installations == {}
    assert rows(sim, "web-2").state == "deallocated"
    sim.cloud.faults.remove(fault)
    assert missing(sim) == 1
    assert len(rows(sim).installations) == 1


def test_frozen_rows_outlive_their_machine(sim: Azure) -> None:
    wrong(sim, graph="Frozen")
    old = sim.machine("web-1")
    Meddling(sim.cloud).rebuild("web-1")
    sim.wait(minutes=5)

    assert sim.cloud.graph.shown(old) is not None
    assert shown(sim) is None
    assert query(sim, "resources | where name == 'web-1' | project v = properties.vmId") == [
        {"v": old.vm_id}
    ]
    sim.cloud.faults.clear()
    assert sim.cloud.graph.shown(old) is None
    assert query(sim, "resources | where name == 'web-1' | project v = properties.vmId") == [
        {"v": sim.machine("web-1").vm_id}
    ]


def test_a_stale_row_is_that_of_the_assessment_before(sim: Azure) -> None:
    install(sim)
    assert missing(sim) == 1
    wrong(sim, graph="Stale", machine="web-1", **{"for": "1h"})

    assert missing(sim) == 2
    assert query(
        sim,
        "patchassessmentresources | where id contains 'web-1' and type endswith 'softwarepatches'"
        " | count",
    ) == [{"Count": 2}]
    assert len(rows(sim).installations) == 1
    sim.wait(hours=1)
    assert missing(sim) == 1


def test_a_stale_replica_knows_nothing_of_the_latest_installation(sim: Azure) -> None:
    sim.post("web-1", "installPatches", linux("Security"))
    sim.wait(minutes=15)
    assert len(rows(sim).installations) == 1
    wrong(sim, graph="Stale")

    assert rows(sim).installations == {}


def test_a_stale_machine_without_operations_is_as_it_is(sim: Azure) -> None:
    before = shown(sim)
    wrong(sim, graph="Stale")

    assert shown(sim) == before


def test_stale_rows_end_with_their_retention_too(sim: Azure) -> None:
    install(sim)
    wrong(sim, graph="Stale")
    sim.wait(days=6)

    assert missing(sim) is None


@pytest.mark.parametrize(
    ("which", "machines", "assessments"),
    [
        pytest.param("Machine", 0, 3, id="its own"),
        pytest.param("Patches", 1, 0, id="those of its patches"),
        pytest.param("All", 0, 0, id="all"),
        pytest.param(None, 0, 0, id="all unless told"),
    ],
)
def test_rows_go_missing_and_come_back(
    sim: Azure, which: str | None, machines: int, assessments: int
) -> None:
    resources, patches = "resources", "patchassessmentresources"
    assert (count(sim, resources), count(sim, patches)) == (1, 3)
    fault = wrong(sim, graph="Missing", machine="web-1", **({"rows": which} if which else {}))

    assert (count(sim, resources), count(sim, patches)) == (machines, assessments)
    assert sim.call("GET", sim.machine("web-1").id).status == 200
    assert query(sim, "resources | where name == 'web-2' | count") == [{"Count": 1}]
    sim.cloud.faults.remove(fault)
    assert (count(sim, resources), count(sim, patches)) == (1, 3)


def test_own_and_patch_rows_missing_by_two_faults_are_all_of_them(sim: Azure) -> None:
    wrong(sim, graph="Missing", rows="Machine")
    wrong(sim, graph="Missing", rows="Patches", machine="web-1")

    assert shown(sim) is None
    assert shown(sim, "web-2") is not None


# -- whatever was wrong, the truth comes back -----------------------------------------------------

DEEDS: tuple[Callable[[Azure], object], ...] = (
    lambda sim: sim.post("web-1", "assessPatches"),
    lambda sim: sim.post("web-1", "installPatches", linux("Security")),
    lambda sim: Meddling(sim.cloud).deallocate("web-1"),
    lambda sim: Meddling(sim.cloud).start("web-1"),
    lambda sim: Meddling(sim.cloud).rebuild("web-1"),
)

graph_faults = st.sampled_from(
    [
        {"graph": graph, "for": lasts, **about}
        for graph in ("Frozen", "Stale", "Missing")
        for lasts in ("30s", "7m", "2h")
        for about in ({}, {"machine": "web-1"})
    ]
)

days = st.lists(
    st.tuples(st.integers(0, len(DEEDS) - 1), st.none() | graph_faults, st.integers(0, 20)),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(days=days, seed=st.integers(0, 3))
def test_after_every_fault_it_shows_what_it_would_have_shown_without(
    days: list[tuple[int, dict[str, Any] | None, int]], seed: int
) -> None:
    plain, faulty = Azure(FLEET, seed=seed), Azure(FLEET, seed=seed)
    for deed, fault, minutes in days:
        if fault is not None:
            wrong(faulty, **fault)
        for sim in (plain, faulty):
            DEEDS[deed](sim)
            sim.wait(minutes=minutes)
    for sim in (plain, faulty):
        sim.cloud.advance(sim.clock.advance(timedelta(hours=8)))

    for name in ("web-1", "web-2"):
        assert shown(faulty, name) == shown(plain, name)
        machine, other = faulty.machine(name), plain.machine(name)
        assert machine.assessment == other.assessment
        assert machine.vm_id == other.vm_id
