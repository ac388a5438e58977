"""What the simulation asks of a run: to go on, or to be over, as soon as it can."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Object
from simulation.run_settled import unsettled_runs

RUN = "one-202709111345"
OWNED = [{"kind": "PatchPolicy", "uid": "policy"}]
ASSESSED = {"startTime": "2027-09-11T13:45:00Z", "status": "Succeeded"}
INSTALLED = {"time": "2027-09-11T14:45:00Z"}
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
