"""The control endpoint: faults, deeds and secrets over the same door as everything else."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from simulated import Azure, linux

from azsim.http import Response

FLEET = """
principals: [{name: owner, secret: open sesame}, {name: other}]
machines: [{name: web, guest: {missing: [{name: curl, version: "8.5"}]}}]
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def add(sim: Azure, body: Any) -> Response:
    return sim.call("POST", "/azsim/faults", body)


def standing(sim: Azure) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = sim.call("GET", "/azsim/faults").json()["faults"]
    return faults


def test_faults_are_added_read_and_removed(sim: Azure) -> None:
    one = {"operation": "installPatches", "drop": "After", "count": 2}
    two = {"machine": "web", "delay": {"request": "1m30s"}, "for": "1h"}
    added = add(sim, one), add(sim, [two])
    sim.post("web", "assessPatches")

    assert [(answer.status, answer.json()) for answer in added] == [
        (201, {"ids": ["fault-1"]}),
        (201, {"ids": ["fault-2"]}),
    ]
    assert [(each["id"], each["fault"]) for each in standing(sim)] == [
        ("fault-1", one),
        ("fault-2", two),
    ]
    assert [(each["met"], each["struck"]) for each in standing(sim)] == [(0, 0), (1, 1)]
    assert sim.call("DELETE", "/azsim/faults/fault-1").status == 204
    assert sim.call("DELETE", "/azsim/faults/fault-1").status == 404
    assert [each["id"] for each in standing(sim)] == ["fault-2"]
    assert sim.call("DELETE", "/azsim/faults").status == 204
    assert standing(sim) == []


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        pytest.param("faults", {"drop": "Now"}, "drop: Input should be", id="field"),
        pytest.param("faults", {}, "(body): give exactly one of", id="fault"),
        pytest.param("faults", 3, "(body): ", id="no object"),
        pytest.param(
            "faults",
            [{"status": 503}, {"status": 1}],
            "faults[1].status: Input should be greater",
            id="one of a list",
        ),
        pytest.param("faults", {"delay": {"request": 5}}, "delay.request: expected", id="nested"),
        pytest.param("actions", {"action": "stop"}, "machine: Field required", id="no machine"),
        pytest.param("actions", [{"machine": "web"}], "actions[0].action: Field", id="no action"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_the_field(
    sim: Azure, path: str, body: Any, complaint: str
) -> None:
    answer = sim.call("POST", f"/azsim/{path}", body)

    assert answer.status == 400
    assert complaint in answer.json()["error"]["message"]
    assert standing(sim) == []


def test_machines_are_meddled_with(sim: Azure) -> None:
    answer = sim.call(
        "POST",
        "/azsim/actions",
        [
            {"machine": "web", "action": "install", "by": "Platform", "body": linux("Security")},
            {"machine": "web", "action": "stop"},
        ],
    )
    [operation, nothing] = answer.json()["operations"]

    assert answer.status == 200
    assert nothing is None
    assert sim.cloud.operations.get(operation) is not None
    assert sim.story("web") == ["OperationStarted", "OperationPaused", "PowerStateChanged"]


@pytest.mark.parametrize(
    ("action", "status"),
    [
        pytest.param({"machine": "nobody", "action": "stop"}, 404, id="no machine"),
        pytest.param({"machine": "web", "action": "install", "body": {}}, 400, id="a bad body"),
    ],
)
def test_a_deed_that_cannot_be_done_is_refused(
    sim: Azure, action: dict[str, Any], status: int
) -> None:
    assert sim.call("POST", "/azsim/actions", action).status == status


def test_every_secret_is_known(sim: Azure) -> None:
    url = sim.post("web", "assessPatches").headers["azure-asyncoperation"]
    tenant = sim.cloud.fleet.tenants[0].id
    sim.cloud.answer(
        sim.request(
            "POST",
            f"/{tenant}/oauth2/v2.0/token",
            b"grant_type=client_credentials&client_id="
            + sim.cloud.fleet.principals[0].client_id.encode()
            + b"&client_secret=open+sesame&scope=https://azure.test/.default",
        )
    )
    secrets = sim.call("GET", "/azsim/issued").json()

    assert secrets["clientSecrets"] == ["open sesame"]
    assert secrets["signatures"] == parse_qs(urlsplit(url).query)["s"]
    assert len(secrets["tokens"]) == 2
    assert all(token.count(".") == 2 for token in secrets["tokens"])


def test_what_the_control_endpoint_is_asked_is_not_in_the_journal(sim: Azure) -> None:
    sim.call("GET", "/azsim/issued")
    add(sim, {"status": 503})

    assert sim.journal.requests() == []
    assert [event.event for event in sim.journal.events()] == ["FaultBegan"]
