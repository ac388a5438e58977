"""Faults that strike requests: which ones, how often, and what becomes of them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from simulated import START, Azure, linux

from azsim.calls import Call, asked
from azsim.faults import Fault, azure_away, sign_in_down
from azsim.http import Request, Response
from azsim.journal import RequestEntry

SUB = "/subscriptions/5ab10000-0000-4000-8000-000000000001"
VM = f"{SUB}/resourceGroups/rg-web/providers/Microsoft.Compute/virtualMachines/web"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
TOKEN = f"/{TENANT}/oauth2/v2.0/token"

FLEET = """
principals: [{name: owner, secret: open sesame}]
machines:
  - {name: web, group: rg-web, guest: {missing: [{name: curl, version: "8.5"}]}}
  - {name: db, group: rg-web}
"""


@pytest.fixture
def sim() -> Azure:
    return Azure(FLEET)


def wrong(sim: Azure, **fault: Any) -> str:
    return sim.cloud.faults.add(Fault.model_validate(fault))


def last(sim: Azure) -> RequestEntry:
    return sim.journal.requests()[-1]


def error(answer: Response) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


# -- which requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "call", "machine"),
    [
        pytest.param("POST", f"{VM}/assessPatches", Call.ASSESS, VM, id="assess"),
        pytest.param("POST", f"{VM.upper()}/INSTALLPATCHES", Call.INSTALL, VM, id="install"),
        pytest.param("GET", VM, Call.GET_MACHINE, VM, id="get"),
        pytest.param("GET", f"{VM}/instanceView", Call.GET_MACHINE, VM, id="instance-view"),
        pytest.param("POST", f"{VM}/deallocate", Call.CHANGE_MACHINE, VM, id="power"),
        pytest.param("DELETE", VM, Call.CHANGE_MACHINE, VM, id="delete"),
        pytest.param("GET", VM.removesuffix("/web"), Call.LIST_MACHINES, None, id="list"),
        pytest.param(
            "GET",
            f"{SUB}/providers/Microsoft.Compute/locations/westeurope/operations/1",
            Call.GET_OPERATION,
            None,
            id="operation",
        ),
        pytest.param("POST", GRAPH, Call.QUERY, None, id="query"),
        pytest.param(
            "POST",
            f"{SUB}/providers/Microsoft.Features/providers/Microsoft.Compute/features/F/register",
            Call.FEATURES,
            None,
            id="feature",
        ),
        pytest.param(
            "GET",
            f"{VM}/providers/Microsoft.Authorization/permissions",
            Call.PERMISSIONS,
            VM,
            id="permissions",
        ),
        pytest.param(
            "GET",
            f"{SUB}/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/i",
            Call.GALLERIES,
            None,
            id="gallery",
        ),
        pytest.param(
            "GET",
            f"{SUB}/providers/Microsoft.Compute/locations/l/sharedGalleries/g/images/i",
            Call.GALLERIES,
            None,
            id="shared-gallery",
        ),
        pytest.param(
            "GET",
            f"{SUB}/providers/Microsoft.Compute/locations/l/communityGalleries/g/images/i",
            Call.GALLERIES,
            None,
            id="community-gallery",
        ),
        pytest.param("GET", "/subscriptions", Call.SUBSCRIPTIONS, None, id="subscriptions"),
        pytest.param("GET", f"{SUB}/resourceGroups", Call.SUBSCRIPTIONS, None, id="groups"),
        pytest.param("POST", TOKEN, Call.TOKEN, None, id="token"),
        pytest.param(
            "GET", "/metadata/identity/oauth2/token", Call.TOKEN, None, id="managed-identity"
        ),
        pytest.param(
            "GET",
            f"/{TENANT}/v2.0/.well-known/openid-configuration",
            Call.DISCOVERY,
            None,
            id="openid",
        ),
    ],
)
def test_every_request_has_a_name(method: str, path: str, call: Call, machine: str | None) -> None:
    found = asked(method, path)

    assert found.call is call
    assert (found.machine or "").lower() == (machine or "").lower()


@pytest.mark.parametrize(
    ("matcher", "struck"),
    [
        pytest.param({}, {"assess", "db", "query", "operation"}, id="everything but sign-in"),
        pytest.param({"method": "get"}, {"db", "operation"}, id="method"),
        pytest.param({"operation": "assessPatches"}, {"assess"}, id="operation"),
        pytest.param({"machine": "WEB"}, {"assess", "operation"}, id="machine by its name"),
        pytest.param({"machine": VM.upper()}, {"assess", "operation"}, id="machine by its id"),
        pytest.param({"operation": "getOperation", "machine": "db"}, set(), id="of another one"),
        pytest.param({"operation": "token"}, {"token"}, id="sign-in"),
        pytest.param(
            {"operation": "everything"},
            {"assess", "db", "query", "operation", "token"},
            id="everything",
        ),
    ],
)
def test_a_fault_strikes_what_it_is_about(
    sim: Azure, matcher: dict[str, Any], struck: set[str]
) -> None:
    url = sim.post("web", "assessPatches").headers["azure-asyncoperation"]
    wrong(sim, status=503, **matcher)
    answers = {
        "assess": sim.post("web", "assessPatches"),
        "db": sim.call("GET", sim.machine("db").id),
        "query": sim.call("POST", GRAPH, {"query": "resources"}),
        "operation": sim.call("GET", url),
        "token": sim.call("POST", TOKEN),
    }

    assert {name for name, answer in answers.items() if answer.status == 503} == struck


def test_the_control_endpoint_is_out_of_reach(sim: Azure) -> None:
    sim.cloud.faults.add(azure_away())

    assert sim.call("GET", "/azsim/healthz").status == 200


@settings(max_examples=50, deadline=None)
@given(skip=st.integers(0, 5), count=st.integers(1, 5), sent=st.integers(0, 12))
def test_it_lets_some_pass_strikes_so_often_and_is_over(skip: int, count: int, sent: int) -> None:
    sim = Azure(FLEET)
    wrong(sim, status=503, skip=skip, count=count)
    struck = [sim.call("GET", VM).status == 503 for _ in range(sent)]

    assert struck == [skip <= number < skip + count for number in range(sent)]
    assert bool(sim.cloud.faults.standing()) is (sent < skip + count)


def test_of_several_faults_a_request_meets_the_oldest(sim: Azure) -> None:
    first = wrong(sim, status=503, count=1)
    second = wrong(sim, status=500, count=1)
    statuses = [sim.call("GET", VM).status for _ in range(3)]

    assert statuses == [503, 500, 200]
    assert [entry.fault for entry in sim.journal.requests()] == [first, second, None]


def test_it_ends_by_itself_when_its_time_is_over(sim: Azure) -> None:
    sim.cloud.faults.add(azure_away(timedelta(minutes=10)))
    sim.clock.advance(timedelta(minutes=9, seconds=59))
    assert sim.send("GET", VM) is None
    sim.clock.advance(timedelta(seconds=1))
    assert sim.call("GET", VM).status == 200
    began, ended = sim.journal.events("FaultBegan", "FaultEnded")

    assert (began.event, began.time) == ("FaultBegan", START)
    assert began.details["fault"] == {"operation": "everything", "drop": "Before", "for": "10m"}
    assert (ended.event, ended.time) == ("FaultEnded", START + timedelta(minutes=10))
    assert ended.details["struck"] == 1


def test_it_ends_when_it_is_removed(sim: Azure) -> None:
    fault = wrong(sim, status=503)
    other = wrong(sim, status=500)
    sim.cloud.faults.remove(fault)
    with pytest.raises(KeyError):
        sim.cloud.faults.remove(fault)

    assert [standing.id for standing in sim.cloud.faults.standing()] == [other]
    sim.cloud.faults.clear()
    assert sim.call("GET", VM).status == 200


# -- an error status ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "BadRequest"),
        (401, "InvalidAuthenticationToken"),
        (403, "AuthorizationFailed"),
        (404, "ResourceNotFound"),
        (409, "Conflict"),
        (412, "PreconditionFailed"),
        (418, "I'maTeapot"),
        (429, "TooManyRequests"),
        (500, "InternalServerError"),
        (502, "BadGateway"),
        (503, "ServiceUnavailable"),
        (504, "GatewayTimeout"),
        (599, "Error"),
    ],
)
def test_a_status_is_answered_in_arms_words_and_nothing_happens(
    sim: Azure, status: int, code: str
) -> None:
    fault = wrong(sim, status=status)
    answer = sim.post("web", "assessPatches")

    assert error(answer) == (status, code)
    assert answer.json()["error"]["message"]
    assert answer.headers["x-ms-request-id"] == last(sim).request_id
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert "retry-after" not in answer.headers
    assert sim.story("web") == []
    assert (last(sim).status, last(sim).error_code, last(sim).fault) == (status, code, fault)
    assert (last(sim).principal, last(sim).answer) == ("owner", "sent")


def test_code_message_and_retry_after_can_be_given(sim: Azure) -> None:
    wrong(sim, status=503, code="ServerBusy", message="Come back.", retryAfter="1m30s")
    answer = sim.call("GET", VM)

    assert answer.json()["error"] == {"code": "ServerBusy", "message": "Come back."}
    assert answer.headers["retry-after"] == "90"


def test_resource_graph_refuses_with_its_quota_headers(sim: Azure) -> None:
    wrong(sim, status=429, operation="query", retryAfter="5s")
    answer = sim.call("POST", GRAPH, {"query": "resources"})

    assert error(answer) == (429, "RateLimiting")
    assert answer.headers["x-ms-user-quota-remaining"] == "0"
    assert answer.headers["x-ms-user-quota-resets-after"] == "00:00:05"


@pytest.mark.parametrize(
    ("status", "name"),
    [(503, "temporarily_unavailable"), (401, "invalid_client"), (429, "temporarily_unavailable")],
)
def test_sign_in_refuses_in_its_own_words(sim: Azure, status: int, name: str) -> None:
    sim.cloud.faults.add(sign_in_down(status=status))
    answer = sim.call("POST", TOKEN)

    assert (answer.status, answer.json()["error"]) == (status, name)
    assert answer.json()["error_description"].startswith("AADSTS")
    assert sim.call("GET", VM).status == 200


def test_a_request_that_was_answered_in_azures_place_costs_no_budget(sim: Azure) -> None:
    header = "x-ms-ratelimit-remaining-subscription-reads"
    wrong(sim, status=503, count=3)
    for _ in range(3):
        sim.call("GET", VM)

    assert sim.call("GET", VM).headers[header] == "249"


# -- lost, late, spoiled --------------------------------------------------------------------------


def test_a_request_that_is_lost_leaves_nothing_but_an_entry(sim: Azure) -> None:
    fault = wrong(sim, drop="Before", operation="installPatches")
    headers = {"x-ms-client-request-id": "attempt-1"}
    answer = sim.send("POST", f"{VM}/installPatches", linux("Security"), headers=headers)

    assert answer is None
    assert sim.story("web") == []
    entry = last(sim)
    assert (entry.status, entry.answer, entry.fault) == (0, "lost", fault)
    assert (entry.client_request_id, entry.principal) == ("attempt-1", "owner")


def test_an_answer_that_is_lost_leaves_the_operation_running(sim: Azure) -> None:
    fault = wrong(sim, drop="After", operation="installPatches")

    assert sim.send("POST", f"{VM}/installPatches", linux("Security")) is None
    assert sim.story("web") == ["OperationStarted"]
    assert (last(sim).status, last(sim).answer, last(sim).fault) == (202, "lost", fault)


def test_a_request_can_take_its_time_and_its_answer_too(sim: Azure) -> None:
    wrong(sim, delay={"request": "30s", "answer": "10s"})
    assert sim.post("web", "assessPatches").status == 202
    [started] = sim.journal.events("OperationStarted")

    assert started.time == START + timedelta(seconds=30)
    assert sim.clock.now() == START + timedelta(seconds=40)


@pytest.mark.parametrize(
    ("garbage", "strip"),
    [(kind, strip) for kind in ("Html", "Truncated", "Empty") for strip in (False, True)],
)
def test_garbage_is_no_json_whatever_was_answered(sim: Azure, garbage: str, strip: bool) -> None:
    wrong(sim, garbage=garbage, stripHeaders=strip)
    accepted, read = sim.post("web", "assessPatches"), sim.call("GET", VM)

    assert (accepted.status, read.status) == (202, 200)
    for answer in (accepted, read):
        with pytest.raises(json.JSONDecodeError):
            answer.json()
        assert ("azure-asyncoperation" in accepted.headers) is not strip
        assert answer.headers["x-ms-request-id"]
        assert answer.headers.get("content-length") is None
    assert read.headers["content-type"].startswith(
        "text/html" if garbage == "Html" else "application/json"
    )
    assert sim.story("web") == ["OperationStarted"]
    assert last(sim).answer == "sent"


def test_without_faults_a_request_is_as_before(sim: Azure) -> None:
    request = Request("GET", VM, {"api-version": "1"}, {"host": "azure.test"})
    effect = sim.cloud.faults.strike(request)
    struck, plain = sim.cloud.answer(request, effect), sim.cloud.answer(request)

    assert effect.fault_id is None
    assert struck is not None
    assert struck.body == plain.body


# -- how it is written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        pytest.param({}, "exactly one of", id="no effect"),
        pytest.param({"status": 503, "drop": "After"}, "not status and drop", id="two effects"),
        pytest.param({"status": 200}, "greater than or equal to 400", id="a success"),
        pytest.param({"drop": "Now"}, "'Before' or 'After'", id="no such drop"),
        pytest.param({"drop": "After", "retryAfter": "1s"}, "retryAfter goes with", id="no status"),
        pytest.param({"drop": "After", "stripHeaders": True}, "stripHeaders goes", id="no garbage"),
        pytest.param({"delay": {}}, "longer than nothing", id="no delay"),
        pytest.param({"status": 503, "for": "0s"}, "greater than", id="no time"),
        pytest.param({"status": 503, "for": "soon"}, "expected a duration", id="no duration"),
        pytest.param({"status": 503, "count": 0}, "greater than or equal to 1", id="never"),
        pytest.param({"status": 503, "operation": "patch"}, "operation", id="no operation"),
        pytest.param({"status": 503, "machines": "web"}, "machines", id="no such field"),
        pytest.param({"graph": "Frozen", "count": 3}, "it has no count", id="graph and requests"),
        pytest.param({"graph": "Stale", "rows": "All"}, "Missing only", id="rows of nothing"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fault: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Fault.model_validate(fault)
