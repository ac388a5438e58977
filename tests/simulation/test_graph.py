"""The simulation's short cut to Resource Graph gives what KQL gives."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from azpatch.azure import queries
from azpatch.domain.ids import key
from azsim import fleetfile
from azsim.arcmachine import ArcMachine
from azsim.clock import ManualClock
from azsim.cloud import Cloud
from azsim.edge import build_router
from azsim.faults import Fault
from azsim.http import Principal, Request
from azsim.journal import Journal
from azsim.meddling import Meddling
from azsim.resourcegraph import ResourceGraph
from simulation import fleets, images
from simulation.graph import DirectGraph

SERVERS = [
    {
        "name": f"dc-{n}",
        "group": "rg-dc",
        "arc": {"status": status},
        "osType": ("Linux", "Windows")[n % 2],
        "tags": {"ring": str(n)},
        "guest": {
            "os": "Windows Server" if n % 2 else "Ubuntu",
            "assessedAgo": "1h",
            "missing": [
                {"name": "one", "kbId": "5001"} if n % 2 else {"name": "one", "version": "1"}
            ],
        },
    }
    for n, status in enumerate(("Connected", "Connected", "Disconnected", "Expired"))
]
"""The simulation has none; a user of azpatch has."""

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Twin:
    """One fleet, with a past, and one of the two engines."""

    def __init__(self, seed: int, graph: ResourceGraph) -> None:
        self.clock = ManualClock(START)
        drawn = fleets.draw(random.Random(seed), large=False).azure
        drawn["machines"] = [*drawn["machines"], *SERVERS]
        fleet = fleetfile.build(drawn)
        self.cloud = Cloud(fleet, self.clock, random.Random(seed), Journal(), build_router(graph))
        spec = fleet.principals[0]
        principal = Principal(spec.object_id, spec.client_id, spec.tenant_id)
        issued = self.cloud.signin.issue(principal, "https://azure.sim", "https://azure.sim/")
        self._token = issued["access_token"]
        self._live(random.Random(seed))

    def _live(self, chance: random.Random) -> None:
        meddling = Meddling(self.cloud)
        for machine in sorted(self.cloud.machines):
            found = self.cloud.machines[machine]
            body = {
                "maximumDuration": "PT2H",
                "rebootSetting": "Never",
                f"{found.os_type.value.lower()}Parameters": {
                    "classificationsToInclude": ["Critical", "Security"]
                },
            }
            if isinstance(found, ArcMachine) and not found.heard:
                continue
            meddling.assess(machine)
            self.wait(minutes=6)
            if chance.random() < 0.6:
                meddling.install(machine, body)
                self.wait(minutes=chance.choice((1, 40)))
            if isinstance(found, ArcMachine) and chance.random() < 0.5:
                meddling.disconnect(machine)
            elif chance.random() < 0.2:
                meddling.delete(machine)
        self.wait(minutes=chance.choice((0, 5)))

    def wait(self, **duration: float) -> None:
        self.cloud.advance(self.clock.advance(timedelta(**duration)))

    def ask(self, query: str) -> Any:
        self.wait(seconds=5)  # Inside the quota.
        body = {
            "subscriptions": [images.subscription_id(1), images.subscription_id(2)],
            "query": query,
            "options": {"resultFormat": "objectArray"},
        }
        answer = self.cloud.answer(
            Request(
                "POST",
                "/providers/Microsoft.ResourceGraph/resources",
                {"api-version": "2021-03-01"},
                {"host": "azure.sim", "authorization": f"Bearer {self._token}"},
                json.dumps(body).encode(),
            )
        )
        assert answer is not None
        assert answer.status == 200, answer.body
        return answer.json()["data"]


def questions(twin: Twin) -> dict[str, str]:
    """Every query that azpatch has, about this fleet."""
    machines = [key(machine) for machine in twin.cloud.machines]
    installs = [
        f"{machine.id}/patchInstallationResults/{activity}".lower()
        for machine in twin.cloud.machines.values()
        if (shown := twin.cloud.graph.shown(machine)) is not None
        for activity in shown.installations
    ]
    return {
        "machines": queries.MACHINES,
        "machines of Arc": queries.MACHINES_OF_ARC,
        "definitions": queries.IMAGE_DEFINITIONS,
        "managed groups": queries.MANAGED_GROUPS,
        "assessments": queries.ASSESSMENTS,
        "assessments of some": queries.assessments_of(machines[::2]),
        "missing patches": queries.missing_patches_of(machines),
        "installs": queries.installations_of(machines),
        "all installs": queries.all_installations_of(machines),
        "installed patches": queries.installed_patches_of(installs or ["/none"]),
        "a name with a quote": queries.assessments_of(["/subscriptions/it's\\"]),
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fault", [None, Fault(graph="Missing"), Fault(graph="Stale")])
def test_both_engines_give_the_same_rows(seed: int, fault: Fault | None) -> None:
    kusto, direct = Twin(seed, ResourceGraph()), Twin(seed, DirectGraph())
    for twin in (kusto, direct):
        if fault is not None:
            twin.cloud.faults.add(fault)
    for name, query in questions(kusto).items():
        assert direct.ask(query) == kusto.ask(query), name


def test_servers_are_among_what_is_compared() -> None:
    twin = Twin(1, DirectGraph())
    found = {name: twin.ask(query) for name, query in questions(twin).items()}

    for name in ("machines of Arc", "assessments", "missing patches", "installs"):
        assert any("hybridcompute" in row["id"].lower() for row in found[name]), name


@pytest.mark.parametrize(
    "query",
    ["resources\n| take 1", "resources\n| where name == 'x'", "nowhere\n| order by id asc"],
)
def test_a_query_that_is_not_azpatchs_is_refused(query: str) -> None:
    with pytest.raises(AssertionError, match="azpatch"):
        Twin(1, DirectGraph()).ask(query)
