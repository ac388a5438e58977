"""What people may say to a PatchRun, and in which words the API server refuses the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from crd_objects import IMAGE, MACHINE, SERVER, changed, collection, put, refusal, run

from azpatch.api.run import PatchRun
from lab.apiclient import ApiError
from lab.controlplane import ControlPlane

APPROVED = {"approved": True, "approvedBy": "anna"}

RUN_REFUSALS = [
    pytest.param(
        {},
        {"policyRef": {"name": "other"}},
        "policyRef of a PatchRun cannot change: make another PatchRun, and cancel this one",
        id="another policy",
    ),
    *(
        pytest.param(
            {},
            {field: value},
            f"{field} of a PatchRun cannot change: make another PatchRun, and cancel this one",
            id=f"{field} comes later",
        )
        for field, value in (
            ("operation", "Assess"),
            ("machines", {"all": {}}),
            ("start", "Immediate"),
            ("notAfter", "2026-12-12T02:00:00Z"),
            ("override", {"freezes": True, "reason": "CVE-2026-1"}),
        )
    ),
    pytest.param(
        {"cancelled": True},
        {"cancelled": False},
        "cancelled cannot be taken back: azpatch makes a run for the next window, and you may make "
        "one",
        id="cancelled, taken back",
    ),
    *(
        pytest.param(
            {"acknowledgedFailures": 2},
            {"acknowledgedFailures": number},
            "acknowledgedFailures cannot become less: give the number of failures that you have "
            "seen to",
            id=f"2 acknowledged failures become {number}",
        )
        for number in (1, 0, None)
    ),
    pytest.param(
        APPROVED,
        {"approved": False},
        "approved cannot be taken back: set cancelled, and nothing more is started",
        id="approved, taken back",
    ),
    pytest.param(
        {},
        {"approvedBy": "anna"},
        "approved and approvedBy go together: give both, approvedBy with your own user name as "
        "`kubectl auth whoami` prints it",
        id="half an approval",
    ),
    pytest.param(
        APPROVED,
        {"approvedBy": "erik"},
        "approvedBy cannot change: it says who approved the run",
        id="approved by somebody else",
    ),
]
"""What it says, what it is to say, and why not."""


NOT_AFTER = "2026-12-12T02:00:00Z"
OVERRIDE = {"freezes": True, "reason": "CVE-2026-1"}

ONE_TIME_REFUSALS = [
    pytest.param(
        {"operation": "Assess", "start": "Immediate"},
        "spec.operation",
        "an Assess run waits for no window: remove start and override",
        id="an assessment at once",
    ),
    pytest.param(
        {"operation": "Assess", "override": OVERRIDE},
        "spec.operation",
        "an Assess run waits for no window: remove start and override",
        id="an assessment in spite of a freeze",
    ),
    pytest.param(
        {"override": {"reason": "CVE-2026-1"}},
        "spec.override",
        "override lifts nothing: set windows, freezes or both to true",
        id="an override of nothing",
    ),
    *(
        pytest.param(
            {"machines": machines},
            "spec.machines",
            "machines says which of the policy's machines a run is for: give exactly one of all "
            "and ids",
            id=name,
        )
        for name, machines in (
            ("neither all nor ids", {}),
            ("both all and ids", {"all": {}, "ids": [MACHINE]}),
        )
    ),
    pytest.param(
        {"machines": {"ids": [MACHINE, MACHINE.upper()]}},
        "spec.machines.ids",
        "machines.ids names a machine twice (ids are compared without case): name it once",
        id="a machine twice",
    ),
    pytest.param(
        {"machines": {"ids": [IMAGE]}},
        "spec.machines.ids[0]",
        "machines.ids takes ARM ids of virtual machines and of Azure Arc-enabled servers, as "
        "`kubectl get azpt -o jsonpath={.items[*].spec.machineId}` prints them",
        id="an image",
    ),
]
"""What a one-time run is to say, which field is wrong, and why."""


@pytest.mark.parametrize(("spec", "field", "message"), ONE_TIME_REFUSALS)
def test_a_one_time_run_that_cannot_be_meant_is_refused(
    crds: ControlPlane, namespace: str, spec: dict[str, Any], field: str, message: str
) -> None:
    body = changed(run(), put("spec.notAfter", NOT_AFTER))
    body["spec"].update(spec)

    told = refusal(crds, collection("patchruns", namespace), body)

    assert f"{field}: Invalid value: " in told
    assert message in told


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"machines": {"ids": [MACHINE, SERVER]}}, id="two machines"),
        pytest.param({"machines": {"all": {}}, "start": "Immediate"}, id="all, at once"),
        pytest.param({"override": {**OVERRIDE, "windows": True}}, id="an emergency"),
        pytest.param({"operation": "Assess"}, id="an assessment"),
    ],
)
def test_a_person_may_make_a_one_time_run(
    crds: ControlPlane, namespace: str, spec: dict[str, Any]
) -> None:
    body = changed(run(), put("spec.notAfter", NOT_AFTER))
    body["spec"].update(spec)

    created = crds.admin.create(collection("patchruns", namespace), body)

    read = PatchRun.from_object(created)
    assert read.one_time
    assert read.spec == PatchRun.from_object(body).spec


def made(crds: ControlPlane, namespace: str, spec: dict[str, Any]) -> str:
    """The path of a run that says this, as azpatch made it and people went on."""
    path = collection("patchruns", namespace)
    crds.admin.create(path, run())
    if spec:
        crds.admin.patch(f"{path}/{run()['metadata']['name']}", {"spec": spec})
    return f"{path}/{run()['metadata']['name']}"


@pytest.mark.parametrize(("before", "spec", "message"), RUN_REFUSALS)
def test_what_was_said_to_a_run_is_not_unsaid(
    crds: ControlPlane,
    namespace: str,
    before: dict[str, Any],
    spec: dict[str, Any],
    message: str,
) -> None:
    path = made(crds, namespace, before)
    (field,) = spec

    with pytest.raises(ApiError) as refused:
        crds.admin.patch(path, {"spec": spec})

    assert f"spec.{field}: Invalid value: " in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"cancelled": True}, id="cancelled"),
        pytest.param({"acknowledgedFailures": 3}, id="failures seen to"),
        pytest.param({"cancelled": True, "acknowledgedFailures": 3}, id="both"),
        pytest.param(APPROVED, id="approved"),
    ],
)
def test_people_may_say_to_a_run(crds: ControlPlane, namespace: str, spec: dict[str, Any]) -> None:
    path = made(crds, namespace, {})

    answer = crds.admin.patch(path, {"spec": spec})
    again = crds.admin.patch(path, {"spec": spec})

    read = PatchRun.from_object(answer).spec
    assert read.cancelled is spec.get("cancelled", False)
    assert read.acknowledged_failures == spec.get("acknowledgedFailures", 0)
    assert again["metadata"]["resourceVersion"] == answer["metadata"]["resourceVersion"]


def test_a_run_that_is_applied_again_does_not_change(crds: ControlPlane, namespace: str) -> None:
    body = json.dumps(changed(run(), put("spec.acknowledgedFailures", 1)))
    how = ("--server-side", f"--namespace={namespace}", "--filename=-")

    crds.kubectl("apply", *how, input=body)

    assert crds.kubectl("diff", *how, input=body).stdout == ""


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("spec.acknowledgedFailures", -1, "spec.acknowledgedFailures: Invalid value: -1"),
        ("spec.acknowledgedFailures", 100_001, "spec.acknowledgedFailures: Invalid value: 100001"),
        ("spec.operation", "Reboot", 'spec.operation: Unsupported value: "Reboot"'),
        ("spec.start", "Later", 'spec.start: Unsupported value: "Later"'),
        ("spec.override", {"freezes": True}, "spec.override.reason: Required value"),
        ("spec.machines", {"ids": []}, "spec.machines.ids: Invalid value: 0"),
        ("spec.policyRef", {}, "spec.policyRef.name: Required value"),
        ("spec", {}, "spec.policyRef: Required value"),
    ],
)
def test_a_run_has_no_field_or_value_that_this_release_does_not_act_on(
    crds: ControlPlane, namespace: str, field: str, value: Any, error: str
) -> None:
    body = changed(run(), put(field, value))

    assert error in refusal(crds, collection("patchruns", namespace), body)
