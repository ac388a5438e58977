"""Facts as the decisions read them, with ordinary values for what a test does not speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from azpatch.api.common import API_VERSION, Condition, MachineKind, Metadata, OsType
from azpatch.api.policy import PatchPolicy
from azpatch.api.run import Effective, PatchRun, PatchRunStatus
from azpatch.api.subscription import AccessLevel, AzureSubscription, Grant
from azpatch.api.target import (
    AssessmentStatus,
    Installation,
    Operation,
    OperationKind,
    OperationState,
    Outcome,
    PatchTarget,
    PatchTargetSpec,
    PatchTargetStatus,
    RunEntry,
    RunState,
)
from azpatch.domain.facts import ImageReference, Machine, MachineView
from azpatch.domain.matrix import Matrix, NeededFeature, revision
from azpatch.domain.opening import Open
from azpatch.domain.plan import Standing
from azpatch.domain.run import admitted
from azpatch.domain.run_entry import APART
from azpatch.domain.run_facts import RunMember

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
READABLE = 512
"""No message is longer: it is read in a terminal, and stored on every PatchTarget."""

MATRIX = revision("2023-05")


def _needed(matrix: Matrix) -> NeededFeature:
    assert matrix.preview_feature is not None
    return matrix.preview_feature


NEEDED = _needed(MATRIX)

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
VM = f"{COMPUTE}/virtualMachines/web-1"
SERVER = f"{GROUP}/providers/Microsoft.HybridCompute/machines/dc-7"
DEFINITION = f"{COMPUTE}/galleries/g/images/web"
VERSION = f"{DEFINITION}/versions/1.4.0"

_MACHINE = Machine(
    id=VM,
    vm_id="vm-1",
    location="westeurope",
    os_type=OsType.LINUX,
    time_created=NOW - 100 * DAY,
    power_state="Running",
    image=ImageReference(id=DEFINITION, exact_version="1.4.0"),
    os_disk_create_option="FromImage",
    computer_name="web-1",
)


def machine(**changes: Any) -> Machine:
    """A running Linux machine from a gallery image, generalized."""
    return replace(_MACHINE, **changes)


_SERVER = Machine(
    id=SERVER,
    vm_id="server-1",
    location="westeurope",
    os_type=OsType.LINUX,
    computer_name="dc-7",
    kind=MachineKind.ARC_SERVER,
    arc_status="Connected",
    arc_status_since=NOW - 100 * DAY,
    os_sku="Ubuntu 24.04",
)


def arc_server(**changes: Any) -> Machine:
    """A connected Azure Arc-enabled server."""
    return replace(_SERVER, **changes)


STANDING = Standing(
    access=AccessLevel.PATCH,
    governs=True,
    elsewhere="",
    busy_elsewhere=False,
    deleting=False,
    has_slot=True,
    opening=Open(None),
    part=APART,
    blocked=None,
)
"""Of a machine that nothing holds back."""


# --- objects of the cluster -----------------------------------------------------------------------


def patch_policy(
    name: str = "web-linux",
    *,
    namespace: str = "web",
    target: Mapping[str, Any] | None = None,
    generation: int = 3,
    status: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> PatchPolicy:
    """A policy that installs on VM whenever it is due; `spec` by API names, None takes away."""
    declared: dict[str, Any] = {
        "target": target or {"virtualMachine": {"id": VM}},
        "install": {"linux": {}},
        "schedule": {"always": {}},
        **spec,
    }
    return PatchPolicy.from_object(
        {
            "apiVersion": API_VERSION,
            "kind": "PatchPolicy",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{name}",
                "generation": generation,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                **(metadata or {}),
            },
            "spec": {field: value for field, value in declared.items() if value is not None},
            "status": status or {},
        }
    )


def assess_only(**more: Any) -> PatchPolicy:
    """A policy without install."""
    return patch_policy(install=None, schedule=None, **more)


def patch_target(
    status: PatchTargetStatus | None = None,
    *,
    machine_id: str = VM,
    policy: str = "web-linux",
    generation: int = 1,
    labels: Mapping[str, str] | None = None,
) -> PatchTarget:
    """A PatchTarget, named like its machine."""
    return PatchTarget(
        metadata=Metadata(
            name=machine_id.rsplit("/", 1)[-1],
            namespace="web",
            uid=f"uid-{machine_id}",
            generation=generation,
            labels=dict(labels or {}),
        ),
        spec=PatchTargetSpec(machine_id=machine_id, policy=policy),
        status=status or PatchTargetStatus(),
    )


def subscription(
    name: str = "prod",
    *,
    created: str = "2026-01-01T00:00:00Z",
    grants: Sequence[Mapping[str, Any]] = (),
    status: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> AzureSubscription:
    """The AzureSubscription of SUBSCRIPTION; `spec` by API names."""
    return AzureSubscription.from_object(
        {
            "apiVersion": API_VERSION,
            "kind": "AzureSubscription",
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "generation": 2,
                "creationTimestamp": created,
                **(metadata or {}),
            },
            "spec": {
                "subscriptionId": SUBSCRIPTION,
                "tenantId": "22222222-2222-2222-2222-222222222222",
                "supportMatrix": "2023-05",
                "grants": list(grants),
                **spec,
            },
            "status": status or {},
        }
    )


def grant(name: str = "web", access: str = "Patch", **more: Any) -> Grant:
    """A grant to namespace web."""
    fields = {"namespaces": {"names": ["web"]}, **more}
    return Grant.model_validate({"name": name, "access": access, **fields})


# --- runs -----------------------------------------------------------------------------------------

RUN = "web-linux-202611231200"
"""Of the window that began NOW."""

NIGHTS = {"windows": [{"name": "nights", "daily": {}, "startTime": "12:00", "duration": "6h"}]}
"""A schedule whose window of today began NOW."""


def terms(**rollout: Any) -> Effective:
    """What a run goes by; `rollout` by API names."""
    return admitted(patch_policy(schedule=NIGHTS, rollout=rollout))


OWNER = {"apiVersion": API_VERSION, "kind": "PatchPolicy", "uid": "uid-1", "controller": True}


def patch_run(
    status: PatchRunStatus | None = None,
    *,
    name: str = RUN,
    policy: str = "web-linux",
    deleted: bool = False,
    one_time: bool = False,
    **spec: Any,
) -> PatchRun:
    """A run of a policy, or one that a person made for it; `spec` by API names."""
    metadata = {
        "name": name,
        "namespace": "web",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **({"deletionTimestamp": "2026-11-23T12:00:00Z"} if deleted else {}),
        **({} if one_time else {"ownerReferences": [{**OWNER, "name": policy}]}),
    }
    run = PatchRun.from_object(
        {
            "apiVersion": API_VERSION,
            "kind": "PatchRun",
            "metadata": metadata,
            "spec": {"policyRef": {"name": policy}, **spec},
        }
    )
    return run.replace(status=status or PatchRunStatus())


def entry(
    state: RunState = RunState.PENDING,
    reason: str | None = None,
    *,
    wave: str = "all",
    name: str = RUN,
) -> RunEntry:
    """A machine's part in a run."""
    return RunEntry(name=name, uid=f"uid-{name}", wave=wave, state=state, reason=reason)


def numbered(number: int) -> str:
    """Id of a machine."""
    return VM.replace("web-1", f"web-{number}")


def longest(number: int) -> str:
    """Id of a machine, as long as the API takes any: a resource group of 90, a name of 64."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{'g' * 90}"
    return f"{group}/providers/Microsoft.Compute/virtualMachines/{number:v>64}"


def member(
    number: int = 1,
    state: RunState = RunState.PENDING,
    reason: str | None = None,
    *,
    wave: str = "all",
    ended: datetime | None = None,
) -> RunMember:
    """A machine in a run. `ended`: when its install did."""
    known = installed(time=ended or NOW) if state is not RunState.PENDING else None
    return RunMember(numbered(number), entry(state, reason, wave=wave), known)


# --- what is recorded of a machine ----------------------------------------------------------------


def assessed(**changes: Any) -> AssessmentStatus:
    """An assessment that succeeded an hour ago."""
    known = AssessmentStatus(
        time=NOW - HOUR,
        start_time=NOW - HOUR - timedelta(minutes=5),
        status="Succeeded",
        activity_id="assessment-1",
        critical_and_security=4,
        other=11,
        selected=3,
        reboot_pending=False,
    )
    return known.replace(**changes)


def installed(outcome: Outcome = Outcome.SUCCEEDED, **changes: Any) -> Installation:
    """An install that ended two hours ago, before the assessment of `assessed`."""
    known = Installation(
        time=NOW - 2 * HOUR,
        start_time=NOW - 3 * HOUR,
        status="Succeeded",
        outcome=outcome,
        activity_id="install-1",
    )
    return known.replace(**changes)


def operation(kind: OperationKind = OperationKind.INSTALL, **changes: Any) -> Operation:
    """An operation that began a minute ago and is followed."""
    known = Operation(
        kind=kind,
        intent_time=NOW - timedelta(minutes=1),
        attempt_id="attempt-1",
        previous_activity_id="before",
        operation_id="ours",
        deadline=NOW + 3 * HOUR,
        state=OperationState.STARTED,
    )
    return known.replace(**changes)


def condition(type_: str, status: str, reason: str, message: str = "") -> Condition:
    """A condition of a day ago."""
    return Condition.model_validate(
        {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": NOW - DAY,
        }
    )


def arc_view(**changes: Any) -> MachineView:
    """What Azure shows of a connected Arc-enabled server on which nothing ever ran. `status` and
    `since` are of the server."""
    status, since = changes.pop("status", "Connected"), changes.pop("since", NOW - 100 * DAY)
    server = arc_server(arc_status=status, arc_status_since=since)
    known = MachineView(
        machine=server, agent_ready=status == "Connected", assessment=None, installation=None
    )
    return replace(known, **changes)


def view(**changes: Any) -> MachineView:
    """ARM's view of a running machine whose agent is ready, on which nothing ever ran."""
    known = MachineView(machine=machine(), agent_ready=True, assessment=None, installation=None)
    return replace(known, **changes)
