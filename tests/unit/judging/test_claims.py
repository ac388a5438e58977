"""The checker of invariant 9 sees what a status claims and the journal does not show."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from test_invariants import SERVER, START, WEB, Written, vm_id

from judging.claims import status_claims_nothing_else


@pytest.fixture
def written() -> Written:
    return Written()


def target(machine: str = vm_id("web"), *, made: datetime = START, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "web",
            "name": "web-1",
            "creationTimestamp": made.isoformat(),
        },
        "spec": {"machineId": machine},
        "status": status,
    }


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


TRUE_INSTALL = {
    "activityId": "I",
    "status": "succeeded",
    "outcome": "Succeeded",
    "installed": 2,
    "time": at(6),
}
TRUE_ASSESSMENT = {"activityId": "a", "status": "Succeeded", "time": at(3)}
COMPLIANT = {"type": "Compliant", "status": "True"}


@pytest.mark.parametrize(
    ("status", "broken"),
    [
        ({"assessment": TRUE_ASSESSMENT, "installation": TRUE_INSTALL}, 0),
        ({"assessment": TRUE_ASSESSMENT | {"activityId": "x"}}, 1),
        ({"assessment": TRUE_ASSESSMENT | {"status": "Failed"}}, 1),
        ({"assessment": TRUE_ASSESSMENT | {"time": at(4)}}, 1),
        ({"assessment": {"status": "Succeeded", "time": at(-60)}}, 0),
        ({"installation": TRUE_INSTALL | {"activityId": "x"}}, 1),
        ({"installation": TRUE_INSTALL | {"installed": 3}}, 1),
        ({"installation": TRUE_INSTALL | {"failed": 1}}, 1),
        ({"installation": TRUE_INSTALL | {"status": "Failed"}}, 1),
        ({"installation": TRUE_INSTALL | {"time": at(7)}}, 1),
        ({"installation": {"status": "Unknown", "outcome": "Unknown", "time": at(9)}}, 0),
        ({"installation": {"status": "Unknown", "outcome": "Succeeded", "time": at(9)}}, 1),
        ({"operation": {"kind": "Install", "state": "Started", "attemptId": "x"}}, 1),
        ({"operation": {"kind": "Install", "state": "Intent", "attemptId": "x"}}, 0),
        (
            {
                "operation": {
                    "kind": "Assess",
                    "state": "Started",
                    "attemptId": "attempt",
                    "operationId": "x",
                }
            },
            1,
        ),
        ({"conditions": [COMPLIANT]}, 1),
    ],
    ids=[
        "the truth",
        "an assessment that was not",
        "an assessment that failed",
        "an assessment at another time",
        "an assessment before the journal",
        "an install that was not",
        "one more installed",
        "one more failed",
        "an install that ended otherwise",
        "an install at another time",
        "a result that nobody knows",
        "a success that nobody knows",
        "a request that was not",
        "an intent",
        "an operation that was not",
        "compliant without an assessment since",
    ],
)
def test_a_claim_that_the_journal_does_not_show_is_seen(
    written: Written, status: dict[str, Any], broken: int
) -> None:
    written.assess(id_="a")
    written.install(id_="i")
    written.request("POST", f"{vm_id('web')}/installPatches")
    claims = status_claims_nothing_else(written.journal, [target(**status)])
    assert len(claims) == broken, claims


@pytest.mark.parametrize("outcome", ["Failed", "NotBack", "Unknown", "Succeeded"])
def test_an_install_that_no_agent_heard_of_may_only_be_told_as_one_that_came_to_nothing(
    written: Written, outcome: str
) -> None:
    written.event("OperationUnreached", WEB, "u", timedelta(minutes=5), operation="Install")
    told = {"status": "Failed", "outcome": outcome, "activityId": "u", "time": at(9)}
    claims = status_claims_nothing_else(written.journal, [target(installation=told)])
    assert len(claims) == (outcome == "Succeeded")


@pytest.mark.parametrize(("status", "broken"), [("Failed", 0), ("Succeeded", 1)])
def test_an_assessment_that_no_agent_heard_of_failed(
    written: Written, status: str, broken: int
) -> None:
    written.event("OperationUnreached", WEB, "u", timedelta(minutes=5), operation="Assess")
    told = {"status": status, "activityId": "u", "time": at(9)}
    claims = status_claims_nothing_else(written.journal, [target(assessment=told)])
    assert len(claims) == broken


def test_compliant_is_true_to_an_assessment_after_the_install(written: Written) -> None:
    written.install(id_="i")
    written.assess(id_="a")
    assert status_claims_nothing_else(written.journal, [target(conditions=[COMPLIANT])]) == []


@pytest.mark.parametrize(("followed", "broken"), [(True, 0), (False, 1)])
def test_superseded_without_a_result_is_true_of_an_install_that_was_followed_by_another(
    written: Written, followed: bool, broken: int
) -> None:
    written.install(id_="i")
    written.assess()
    if followed:
        written.install(id_="others")
    told = {"status": "Unknown", "outcome": "Superseded", "activityId": "i", "time": at(90)}
    claims = status_claims_nothing_else(written.journal, [target(installation=told)])
    assert len(claims) == broken, claims


def test_of_an_install_that_ended_before_it_was_made_a_patch_target_knows_nothing(
    written: Written,
) -> None:
    """It was deleted and made anew: what Azure assessed last is all there is."""
    written.assess()
    written.install()
    late = START + timedelta(days=1)
    for made, broken in ((START, 1), (late, 0)):
        claims = status_claims_nothing_else(
            written.journal, [target(made=made, conditions=[COMPLIANT])], ["azpatch"]
        )
        assert len(claims) == broken


# -- Azure Arc-enabled servers -------------------------------------------------------------------

GIVEN_UP = {"activityId": "i", "status": "Failed", "outcome": "NotBack", "time": at(70)}


def cut_off(written: Written, back_after: int | None = None) -> None:
    """An install that ended well in a guest that Azure did not hear any more."""
    written.install(SERVER, "i")
    changed = {"before": "Connected", "after": "Disconnected"}
    written.event("StatusChanged", SERVER, None, timedelta(minutes=15), **changed)
    if back_after is not None:
        back = {"before": "Disconnected", "after": "Connected"}
        written.event("StatusChanged", SERVER, None, timedelta(minutes=back_after), **back)


@pytest.mark.parametrize(
    ("claim", "broken"),
    [
        pytest.param({}, 0, id="as Azure says"),
        pytest.param({"activityId": None}, 0, id="as Azure says, of an activity without a name"),
        pytest.param({"status": "Succeeded", "outcome": "Succeeded"}, 2, id="that it succeeded"),
        pytest.param({"installed": 1}, 0, id="with what was heard of it"),
        pytest.param({"failed": 1}, 4, id="with patches that failed"),
        pytest.param({"time": at(10)}, 3, id="while the server was Connected"),
    ],
)
def test_that_an_install_failed_is_true_where_azure_gave_it_up(
    written: Written, claim: dict[str, Any], broken: int
) -> None:
    cut_off(written)
    found = status_claims_nothing_else(
        written.journal, [target(SERVER, installation=GIVEN_UP | claim)]
    )
    assert len(found) == broken, found


def test_it_is_not_true_of_a_server_that_was_back(written: Written) -> None:
    cut_off(written, back_after=5)
    assert status_claims_nothing_else(written.journal, [target(SERVER, installation=GIVEN_UP)])


def test_it_is_not_true_of_a_virtual_machine(written: Written) -> None:
    written.install(id_="i")
    assert status_claims_nothing_else(written.journal, [target(installation=GIVEN_UP)])


@pytest.mark.parametrize(
    ("machine", "minutes", "broken"),
    [
        pytest.param(SERVER, 10, 0, id="read since"),
        pytest.param(SERVER, 20, 1, id="too late"),
        pytest.param(SERVER, -1, 1, id="before"),
        pytest.param(vm_id("web"), 10, 1, id="a virtual machine's has a time"),
    ],
)
def test_an_assessment_that_was_refused_failed_when_that_was_read(
    written: Written, machine: str, minutes: int, broken: int
) -> None:
    written.assess(machine, status="Failed")
    [end] = written.journal.events("OperationEnded")
    told = {"status": "Failed", "time": (end.time + timedelta(minutes=minutes)).isoformat()}
    claims = status_claims_nothing_else(written.journal, [target(machine, assessment=told)])
    assert len(claims) == broken


def test_an_install_that_no_agent_heard_of_has_no_activity(written: Written) -> None:
    written.event("OperationUnreached", SERVER, "u", timedelta(minutes=5), operation="Install")
    told = {"status": "Failed", "outcome": "Superseded", "time": at(9)}
    for machine, broken in ((SERVER, 0), (vm_id("web"), 1)):
        claims = status_claims_nothing_else(written.journal, [target(machine, installation=told)])
        assert len(claims) == broken


@pytest.mark.parametrize("outcome", ["Failed", "Superseded"])
@pytest.mark.parametrize(("status", "broken"), [("Failed", 0), ("Succeeded", 1)])
def test_an_install_that_was_refused_has_no_activity(
    written: Written, outcome: str, status: str, broken: int
) -> None:
    written.install(SERVER, status=status)
    told = {"status": "Failed", "outcome": outcome, "time": at(10)}
    claims = status_claims_nothing_else(written.journal, [target(SERVER, installation=told)])
    assert len(claims) == broken


def test_an_operation_that_no_agent_took_failed(written: Written) -> None:
    written.event("OperationUnreached", SERVER, "i", timedelta(minutes=30), operation="Install")
    assert (
        status_claims_nothing_else(written.journal, [target(SERVER, installation=GIVEN_UP)]) == []
    )


@pytest.mark.parametrize(("attempt", "broken"), [("attempt", 0), ("another", 2)])
def test_an_operation_that_waits_for_its_agent_has_an_id_and_did_not_begin(
    written: Written, attempt: str, broken: int
) -> None:
    written.request("POST", f"{SERVER}/installPatches")
    operation = {
        "kind": "Install", "state": "Started", "attemptId": attempt, "operationId": "i",
    }  # fmt: skip
    found = status_claims_nothing_else(written.journal, [target(SERVER, operation=operation)])
    assert len(found) == broken, found
