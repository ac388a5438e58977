"""PatchRun: one execution of a policy's install, as a Job is one of a CronJob's."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from azpatch.api.common import (
    MACHINE_PATTERN,
    ApiModel,
    Condition,
    Count,
    ObjectName,
    Resource,
    ResourceId,
    ShortMessage,
    Time,
    Word,
)
from azpatch.api.install import Install
from azpatch.api.markers import Column, Form, ListMap, Rule, condition_column
from azpatch.api.patch_set import PatchSet
from azpatch.api.rollout import WAVES_MOST, Rollout, WaveName

FAILURES_LISTED = 24
"""With messages of 192 characters of three bytes, in a run that pins as much as may be, this is
what fits in 64 KiB."""

DIGESTS_KEPT = 500
"""Of more failures than are listed: their order is what acknowledgedFailures goes by."""

MEMBERS_LONGEST = 100_000


class RunPhase(StrEnum):
    """Where a run is."""

    AWAITING_APPROVAL = "AwaitingApproval"
    WAITING = "Waiting"
    RUNNING = "Running"
    PAUSED = "Paused"
    CANCELLING = "Cancelling"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


OVER = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})
"""Phases that a run ends in."""


class PolicyRef(ApiModel):
    """A PatchPolicy in the same namespace."""

    name: ObjectName
    """Its name."""


class RunOperation(StrEnum):
    """What is done to the machines."""

    ASSESS = "Assess"
    INSTALL = "Install"


class RunStart(StrEnum):
    """When an Install run may begin."""

    WINDOW = "Window"
    IMMEDIATE = "Immediate"


NAMED_MOST = 100
"""Machines that a run can name: more are a policy's selector."""

SCOPE_ONE_OF = (
    "machines says which of the policy's machines a run is for: give exactly one of all and ids"
)


class All(ApiModel):
    """Every machine of the policy."""


class RunScope(ApiModel):
    """Which of the policy's machines a run is for."""

    RULES: ClassVar[tuple[Rule, ...]] = (Rule("has(self.all) != has(self.ids)", SCOPE_ONE_OF),)

    all: All | None = None
    """Every machine that the policy governs."""
    ids: (
        Annotated[
            tuple[
                Annotated[
                    str,
                    Field(min_length=1, max_length=300, pattern=MACHINE_PATTERN),
                    Form(
                        MACHINE_PATTERN,
                        "machines.ids takes ARM ids of virtual machines and of Azure Arc-enabled "
                        "servers, as `kubectl get azpt -o jsonpath={.items[*].spec.machineId}` "
                        "prints them",
                    ),
                ],
                ...,
            ],
            Field(min_length=1, max_length=NAMED_MOST),
            Rule(
                "self.all(one, self.exists_one(other, one.lowerAscii() == other.lowerAscii()))",
                "machines.ids names a machine twice (ids are compared without case): name it once",
            ),
        ]
        | None
    ) = None
    """These machines of the policy, by ARM id, compared without case."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.all is None) == (self.ids is None):
            raise ValueError(SCOPE_ONE_OF)
        return self


class Override(ApiModel):
    """What does not hold for this run, in an emergency."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.windows || self.freezes",
            "override lifts nothing: set windows, freezes or both to true",
        ),
    )

    windows: bool = False
    """True: no windows, neither the schedule's nor those of a wave."""
    freezes: bool = False
    """True: no freezes, neither the policy's nor those of AzureSubscriptions."""
    reason: Annotated[str, Field(min_length=1, max_length=256)]
    """Why, for whoever reads it later."""


_SEEN_TO = "{0}.?acknowledgedFailures.orValue(0)"
"""Absent is none: azpatch makes a run without it."""

_ANOTHER = "of a PatchRun cannot change: make another PatchRun, and cancel this one"


def _frozen(field: str) -> Rule:
    same = f"self.{field} == oldSelf.{field}"
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})",
        f"{field} {_ANOTHER}",
        f".{field}",
    )


class PatchRunSpec(ApiModel):
    """Of which policy, and what people say to a run that is under way. What a person makes is a
    one-time run, and says more: what is done, to which machines, and when."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.policyRef == oldSelf.policyRef",
            f"policyRef {_ANOTHER}",
            ".policyRef",
        ),
        *map(_frozen, ("operation", "machines", "start", "notAfter", "override")),
        Rule(
            "self.operation == 'Install' || self.start == 'Window' && !has(self.override)",
            "an Assess run waits for no window: remove start and override",
            ".operation",
        ),
        Rule(
            "self.cancelled || !oldSelf.cancelled",
            "cancelled cannot be taken back: azpatch makes a run for the next window, and you may "
            "make one",
            ".cancelled",
        ),
        Rule(
            f"{_SEEN_TO.format('self')} >= {_SEEN_TO.format('oldSelf')}",
            "acknowledgedFailures cannot become less: give the number of failures that you have "
            "seen to",
            ".acknowledgedFailures",
        ),
        Rule(
            "self.approved || !oldSelf.approved",
            "approved cannot be taken back: set cancelled, and nothing more is started",
            ".approved",
        ),
        Rule(
            "self.approved == has(self.approvedBy)",
            "approved and approvedBy go together: give both, approvedBy with your own user name as "
            "`kubectl auth whoami` prints it",
            ".approvedBy",
        ),
        Rule(
            "!has(oldSelf.approvedBy) || has(self.approvedBy) && "
            "self.approvedBy == oldSelf.approvedBy",
            "approvedBy cannot change: it says who approved the run",
            ".approvedBy",
        ),
    )

    policy_ref: PolicyRef
    """The PatchPolicy that the run executes."""
    operation: RunOperation = RunOperation.INSTALL
    """Install: what is due, by the terms of the policy. Assess: each machine once, however new its
    last assessment is."""
    machines: RunScope | None = None
    """Which of the policy's machines. Absent: all."""
    start: RunStart = RunStart.WINDOW
    """Window: it begins in a window of the policy. Immediate: it does not wait for one; waves with
    windows of their own keep to them. The chart's admission policy lets only those make such a run
    who have the verb approve on patchruns."""
    not_after: Time | None = None
    """A one-time run that has not begun by then is Failed (Expired), so that whatever applies the
    manifest again does not patch again. Required on a run that a person makes."""
    override: Override | None = None
    """In an emergency: what does not hold for this run. The chart's admission policy lets only
    those make such a run who have the verb override on patchruns."""
    cancelled: bool = False
    """True: start nothing more. Azure cannot stop an install, so the run is Cancelling until those
    in flight have ended."""
    approved: bool = False
    """True: the run may begin, where its policy asks for an approval. The chart's admission policy
    lets only those set it who have the verb approve on patchruns."""
    approved_by: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Who approved it: the user name of whoever sets approved, and no other."""
    acknowledged_failures: Annotated[int, Field(ge=0, le=MEMBERS_LONGEST)] = 0
    """How many failures somebody has seen to, from the first that status.failures lists: they
    count no more, and a run that they had paused goes on."""


class Effective(ApiModel):
    """What the run goes by: the policy's terms as they were when it was admitted."""

    install: Install
    """What is installed, and how."""
    rollout: Rollout
    """How carefully."""
    patch_set: PatchSet | None = None
    """Where rollout.patchSet is Pinned: what its machines are given."""


class RunMembership(ApiModel):
    """Which machines are in an Install run stands on their PatchTargets, in status.run."""

    total: Count
    """How many there are."""
    recorded_time: Time
    """When all of them said so. Nothing starts before. Of an Assess run, when it began."""


class RunMachines(ApiModel):
    """The run's machines in numbers."""

    pending: Count = 0
    """Machines whose turn has not come."""
    running: Count = 0
    """Machines from the start of their install until they were assessed again."""
    succeeded: Count = 0
    """Machines that were installed on, and assessed after it."""
    failed: Count = 0
    """Machines on which it failed, that did not come back, or of which the result is not known."""
    skipped: Count = 0
    """Machines on which nothing was installed, or not everything; the PatchTarget says why."""


class WaveStatus(ApiModel):
    """One wave in numbers."""

    name: WaveName
    """The wave."""
    machines: Count = 0
    """Machines in it."""
    succeeded: Count = 0
    """Machines that were installed on, and assessed after it."""
    failed: Count = 0
    """Machines on which it failed, that did not come back, or of which the result is not known."""
    skipped: Count = 0
    """Machines on which nothing was installed, or not everything; the PatchTarget says why."""
    start_time: Time | None = None
    """When the first install of it could start."""
    end_time: Time | None = None
    """When the last of its machines was at its end."""


class RunFailure(ApiModel):
    """One machine on which it failed."""

    machine_id: ResourceId
    """The machine's ARM id."""
    wave: WaveName | None = None
    """The wave that it was in; absent in an Assess run."""
    reason: Annotated[str, Field(max_length=64)]
    """Why, in one word; docs/api.md lists them all."""
    message: ShortMessage = ""
    """What Azure said."""
    recovered: bool = False
    """Its second install succeeded. It counts no more."""


class PatchRunStatus(ApiModel):
    """What became of the run."""

    AS_DECLARED: ClassVar[frozenset[str]] = frozenset({"effective"})

    observed_generation: int | None = None
    """The generation that this status is about."""
    phase: RunPhase | None = None
    """AwaitingApproval: somebody must approve it. Waiting: for its window, for a soak, or for its
    machines to be recorded. Running: installs may start, or are in flight. Paused: too much failed,
    and a person must say how to go on."""
    conditions: Annotated[tuple[Condition, ...], ListMap("type"), Field(max_length=8)] = ()
    """Ready; Stalled only while true; at the end Complete or Failed."""
    policy_uid: Word | None = None
    """metadata.uid of the PatchPolicy that it began under: another may be made under its name."""
    effective: Effective | None = None
    """What the run goes by. Edits of the policy do not reach it."""
    membership: RunMembership | None = None
    """Its machines. Absent until all are recorded."""
    machines: RunMachines | None = None
    """The machines in numbers."""
    waves: Annotated[tuple[WaveStatus, ...], ListMap("name"), Field(max_length=WAVES_MOST)] = ()
    """The waves in numbers, in their order."""
    failures: Annotated[tuple[RunFailure, ...], Field(max_length=FAILURES_LISTED)] = ()
    """Machines on which it failed, in the order in which the run saw it, also one that is tried
    once more, and one that is gone since. acknowledgedFailures counts from the first."""
    failures_omitted: Count | None = None
    """How many more there are than failures lists."""
    failure_digests: Annotated[
        tuple[Annotated[str, Field(max_length=8)], ...], Field(max_length=DIGESTS_KEPT)
    ] = ()
    """Which these are, in their order: the first 8 hexadecimal digits of the SHA-256 of each
    machine's id in lower case."""
    approval_deadline: Time | None = None
    """When it is Cancelled if nobody has approved it: the end of the window that it was made for;
    of a one-time run notAfter, if that is sooner."""
    start_time: Time | None = None
    """When the first install could start."""
    expected_completion_time: Time | None = None
    """While it goes on by itself: the end of the window in which the last machine has its turn, if
    every install takes all of its maximumDuration. Absent where no end is in sight within five
    years, as with windows that have an endDate."""
    completion_time: Time | None = None
    """When it was over."""


class PatchRun(Resource):
    """One execution of a PatchPolicy: azpatch makes one when a window opens and machines are due,
    freezes the terms of the policy in it, and goes through the waves. It is there to be watched, to
    be cancelled, and to be told to go on after failures. A person makes one for a one-time update,
    or to have machines assessed now."""

    KIND: ClassVar[str] = "PatchRun"
    PLURAL: ClassVar[str] = "patchruns"
    SHORT_NAME: ClassVar[str] = "azpr"
    STATUS_DEFAULT: ClassVar[dict[str, int]] = {"observedGeneration": -1}
    VITAL: ClassVar[frozenset[str]] = frozenset(
        {"phase", "effective", "membership", "waves", "failures", "failureDigests"}
    )
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Policy", ".spec.policyRef.name"),
        Column("Phase", ".status.phase"),
        Column("Reason", condition_column("Ready", "reason")),
        Column("Machines", ".status.membership.total", type="integer"),
        Column("Succeeded", ".status.machines.succeeded", type="integer"),
        Column("Failed", ".status.machines.failed", type="integer"),
        Column("Skipped", ".status.machines.skipped", type="integer"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Operation", ".spec.operation", wide=True),
        Column("Approved-By", ".spec.approvedBy", wide=True),
        Column("Expected", ".status.expectedCompletionTime", wide=True),
        Column("Started", ".status.startTime", type="date", wide=True),
        Column("Completed", ".status.completionTime", type="date", wide=True),
        Column("Message", condition_column("Ready", "message"), wide=True),
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    kind: Literal["PatchRun"] = "PatchRun"
    spec: PatchRunSpec
    """Of which policy, and what people say to it."""
    status: PatchRunStatus = Field(default_factory=PatchRunStatus)
    """What became of it."""

    @property
    def one_time(self) -> bool:
        """A person made it, not a policy's reconciler."""
        return not any(
            one.kind == "PatchPolicy" and one.controller for one in self.metadata.owner_references
        )

    @property
    def installs(self) -> bool:
        """It is an Install run: of these a policy has one at a time."""
        return self.spec.operation is RunOperation.INSTALL

    @property
    def over(self) -> bool:
        """Nothing more happens in it."""
        return self.status.phase in OVER
