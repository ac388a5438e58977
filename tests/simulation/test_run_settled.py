"""What the simulation asks of a run: to go on, or to be over, as soon as it can."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Object
from simulation.run_settled import unsettled_runs

RUN = "one-202709111345"
OWNED = [{"kind": "PatchPolicy", "uid": "policy"}]
ASSESSED = {"startTime": "2027-09-11T13:45:00Z", "status": "Succeeded"}
INSTALLED = {"time": "2027-09-11T14:45:00Z", "outcome": "Succeeded"}
ASSESSED_SINCE = {"startTime": "2027-09-11T14:46:00Z", "status": "Succeeded"}
FAILED_SINCE = {**ASSESSED_SINCE, "status": "Failed"}


def said_of(run_spec: Object, *members: Object) -> list[str]:
    """Of a run whose only wave has begun."""
    meta = {"name": "one", "namespace": "shop"}
    effective = {"rollout": {"waves": [{"name": "all", "machines": "100%"}]}}
    membership = {"total": len(members), "recordedTime": "2027-09-11T13:45:00Z"}
    waves = [{"name": "all", "startTime": "2027-09-11T13:45:00Z"}]
    objects: dict[Any, list[Object]] = {
        PATCH_POLICY: [
            {
                "metadata": {**meta, "uid": "policy"},
                "spec": {},
                "status": {"lastScheduleTime": "2027-09-11T13:45:00Z"},
            }
        ],
        PATCH_RUN: [
            {
                "metadata": {**meta, "name": RUN, "uid": "run", "ownerReferences": OWNED},
                "spec": {"policyRef": {"name": "one"}, **run_spec},
                "status": {
                    "phase": "Cancelling",
                    "effective": effective,
                    "membership": membership,
                    "waves": waves,
                },
            }
        ],
        PATCH_TARGET: [
            {
                "metadata": {"name": f"vm-{number}", "namespace": "shop"},
                "spec": {"machineId": f"/vm-{number}", "policy": "one"},
                "status": member,
            }
            for number, member in enumerate(members)
        ],
    }
    api = SimpleNamespace(
        list=objects.__getitem__,
        find=lambda kind, _namespace, _name: objects[kind][0],
    )
    world: Any = SimpleNamespace(api=api)
    unasked: Any = None
    found = unsettled_runs(world, unasked, unasked, patient=False, last=True)
    return [why for _, why in found]


def member(state: str, **status: Any) -> Object:
    return {"run": {"name": RUN, "uid": "run", "wave": "all", "state": state}, **status}


@pytest.mark.parametrize(
    ("one", "over"),
    [
        pytest.param(member("Pending"), True, id="it has not begun"),
        pytest.param(
            member("Running", assessment=ASSESSED, operation={"kind": "Install"}),
            False,
            id="its install is in flight",
        ),
        pytest.param(
            member("Running", assessment=ASSESSED, installation=INSTALLED),
            False,
            id="it has not been assessed since",
        ),
        pytest.param(
            member("Running", assessment=FAILED_SINCE, installation=INSTALLED),
            False,
            id="that assessment is tried again",
        ),
        pytest.param(
            member("Running", assessment=ASSESSED_SINCE, installation=INSTALLED),
            True,
            id="it has been assessed since",
        ),
        pytest.param(
            member(
                "Running",
                assessment=FAILED_SINCE,
                installation=INSTALLED,
                attempts={"failedAssessments": 4},
            ),
            True,
            id="that assessment has failed for good",
        ),
        pytest.param(
            member("Running", assessment=ASSESSED, installation={**INSTALLED, "outcome": "Failed"}),
            True,
            id="its install failed",
        ),
        pytest.param(
            member(
                "Running",
                assessment=ASSESSED_SINCE,
                installation=INSTALLED,
                operation={"kind": "Assess"},
            ),
            True,
            id="it has been assessed since, and is once more",
        ),
        pytest.param(member("Running"), True, id="nothing is known of it"),
        pytest.param(
            member("Pending", assessment=ASSESSED, operation={"kind": "Assess"}),
            True,
            id="it has not begun, and is assessed",
        ),
    ],
)
def test_a_cancelled_run_may_wait_for_what_it_began_and_for_nothing_else(
    one: Object, over: bool
) -> None:
    said = said_of({"cancelled": True}, one, member("Pending"))
    assert said == ([f"PatchRun {RUN} is cancelled, and not over"] if over else [])


# --- a run that has not been let in ---------------------------------------------------------------

NOW = datetime(2027, 9, 11, 13, 45, tzinfo=UTC)


def said_of_one_that_waits(
    *, ready: Sequence[str], tells_of: str, hanging: Collection[int], is_for: Sequence[int] = ()
) -> list[str]:
    """`ready`: what each of the policy's machines says; `hanging`: those whose guest is at work
    since the day before."""
    meta = {"name": "one", "namespace": "shop"}
    waits = f"The run waits until spec.notAfter, and fails then: see the PatchTarget of {tells_of}"
    conditions = [{"type": "Ready", "reason": "RecordingMembers", "message": f"{waits}."}]
    machines = {"machines": {"ids": [f"/VM-{number}" for number in is_for]}} if is_for else {}
    not_after = (NOW + timedelta(hours=1)).isoformat()
    objects: dict[Any, list[Object]] = {
        PATCH_POLICY: [{"metadata": {**meta, "uid": "policy"}, "spec": {"install": {}}}],
        PATCH_RUN: [
            {
                "metadata": {**meta, "name": RUN, "uid": "run"},
                "spec": {"policyRef": {"name": "one"}, "notAfter": not_after, **machines},
                "status": {"phase": "Waiting", "conditions": conditions},
            }
        ],
        PATCH_TARGET: [
            {
                "metadata": {"name": f"vm-{n}", "namespace": "shop", "ownerReferences": OWNED},
                "spec": {"machineId": f"/VM-{n}", "policy": "one"},
                "status": {"conditions": [{"type": "Ready", "reason": reason}]},
            }
            for n, reason in enumerate(ready)
        ],
    }
    at_work = SimpleNamespace(operation=SimpleNamespace(start=NOW - timedelta(days=1)))
    world: Any = SimpleNamespace(
        api=SimpleNamespace(list=objects.__getitem__),
        clock=SimpleNamespace(now=lambda: NOW),
        cloud=SimpleNamespace(
            machines={f"/vm-{n}": n for n in range(len(ready))},
            guest=lambda n: SimpleNamespace(task=at_work if n in hanging else None),
        ),
    )
    unasked: Any = None
    found = unsettled_runs(world, unasked, unasked, patient=False, last=True)
    return [why for _, why in found]


@pytest.mark.parametrize(
    ("run", "stuck"),
    [
        pytest.param(
            {"ready": ["Working"], "tells_of": "VM-0", "hanging": {0}},
            False,
            id="it tells of one that never ends",
        ),
        pytest.param(
            {"ready": ["UpToDate", "Working"], "tells_of": "VM-0", "hanging": {1}},
            True,
            id="it tells of another",
        ),
        pytest.param(
            {"ready": ["Working"], "tells_of": "VM-0", "hanging": ()},
            True,
            id="that one could end",
        ),
        pytest.param(
            {"ready": ["Working", "WaitingForRun"], "tells_of": "VM-0", "hanging": {0}},
            True,
            id="another is due",
        ),
        pytest.param(
            {"ready": ["Working", "WaitingForRun"], "tells_of": "VM-0", "hanging": {0}}
            | {"is_for": [0]},
            False,
            id="another is due, for which it is not",
        ),
        pytest.param(
            {"ready": ["UpToDate", "Working"], "tells_of": "VM-1", "hanging": {1}, "is_for": [0]},
            True,
            id="it tells of one for which it is not",
        ),
    ],
)
def test_a_run_may_wait_for_who_never_ends_if_it_says_so_and_none_of_its_machines_is_due(
    run: Any, stuck: bool
) -> None:
    said = said_of_one_that_waits(**run)
    assert said == ([f"PatchRun {RUN} has not begun: RecordingMembers"] if stuck else [])
