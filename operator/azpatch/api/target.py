"""PatchTarget: one machine under a policy, and everything known about it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from azpatch.api.common import (
    MACHINE_PATTERN,
    ApiModel,
    Condition,
    Confidence,
    Count,
    DetectedState,
    ImageClass,
    MachineKind,
    ObjectName,
    OperationName,
    OsType,
    Resource,
    ResourceId,
    ShortMessage,
    Support,
    Time,
    Word,
)
from azpatch.api.markers import Column, ListMap, Rule, condition_column
from azpatch.api.patch_set import SystemName

POLICY_LABEL = "azpatch.dev/policy"
SUBSCRIPTION_LABEL = "azpatch.dev/azuresubscription"
OPERATION_FINALIZER = "azpatch.dev/operation"
"""On a PatchTarget only while an operation is in flight, so that deleting never loses the lock."""


class PowerState(StrEnum):
    """Azure's power states of a virtual machine (`PowerState/running`), capitalised."""

    RUNNING = "Running"
    STARTING = "Starting"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    DEALLOCATING = "Deallocating"
    DEALLOCATED = "Deallocated"
    UNKNOWN = "Unknown"


class OperationKind(StrEnum):
    """The two guest patch operations."""

    ASSESS = "Assess"
    INSTALL = "Install"


class OperationState(StrEnum):
    """How much is known about an operation in flight."""

    INTENT = "Intent"
    STARTED = "Started"
    UNCONFIRMED = "Unconfirmed"


class Outcome(StrEnum):
    """What the end of an install means."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INCOMPLETE = "Incomplete"
    SUPERSEDED = "Superseded"
    NOT_BACK = "NotBack"
    UNKNOWN = "Unknown"
    SKIPPED = "Skipped"


class PatchTargetSpec(ApiModel):
    """Which machine, under which policy."""

    machine_id: Annotated[str, Field(min_length=1, max_length=300, pattern=MACHINE_PATTERN)]
    """The machine's ARM id."""
    policy: ObjectName
    """The name of the PatchPolicy in the same namespace."""


class MachineStatus(ApiModel):
    """The machine as Azure describes it."""

    ATOMIC: ClassVar[bool] = True

    kind: MachineKind | None = None
    """VirtualMachine, or ArcServer for an Azure Arc-enabled server."""
    vm_id: Word | None = None
    """Azure's vmId: another one means another machine under the same name."""
    time_created: Time | None = None
    """When the machine was created. Azure has no such time of an Azure Arc-enabled server."""
    seen_time: Time | None = None
    """Azure Arc-enabled servers: when azpatch saw it first. Rows of Azure Resource Graph from
    before do not count, because they may be about another server that had its name."""
    os_type: OsType | None = None
    """Linux or Windows."""
    location: Word | None = None
    """The Azure region."""
    power_state: PowerState | None = None
    """Whether it runs. Azure patches running machines only."""
    arc_status: Word | None = None
    """Azure Arc-enabled servers: Connected, Disconnected, Expired, Error or AwaitingConnection.
    Azure patches connected ones only."""
    zone: Word | None = None
    """The availability zone, if any."""
    availability_set: ResourceId | None = None
    """The ARM id of the availability set, if any."""


class ImageStatus(ApiModel):
    """What the machine was built from."""

    ATOMIC: ClassVar[bool] = True

    image_class: Annotated[ImageClass, Field(alias="class")]
    """The image class, which the support matrix goes by."""
    reference: ResourceId | None = None
    """The image reference of the machine's model."""
    evidence: ShortMessage | None = None
    """What the class was concluded from."""
    confidence: Confidence | None = None
    """High: Azure's own records say so. Medium: osProfile stands in for an image definition that
    is not at hand, or contradicts it. Low: nothing tells what the machine was built from."""


class DetectedStatus(ApiModel):
    """What Azure found out about its support for patching this machine. Azure keeps it for seven
    days after an assessment; azpatch remembers it for longer."""

    ATOMIC: ClassVar[bool] = True

    state: DetectedState
    """Azure's detectedVMGuestPatchSupportState."""
    time: Time
    """When Azure found it."""
    image_reference: ResourceId | None = None
    """The image reference at that time."""
    probes: Count = 0
    """How often an assessment was sent again to a machine found Unsupported."""
    next_probe_time: Time | None = None
    """When the next one is sent."""


class Verdict(ApiModel):
    """Whether one operation may be sent to this machine."""

    operation: OperationName
    """The operation."""
    verdict: Support
    """Supported: it may be sent. Unsupported: it is never sent. Unknown: it waits for evidence."""
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    """The rule that decided, in one word; docs/api.md lists them all."""
    message: ShortMessage | None = None
    """What is missing or can be done, where the policy uses the operation."""


class AzureError(ApiModel):
    """An error in Azure's own words."""

    code: Word
    """Azure's code."""
    message: ShortMessage = ""
    """Azure's message, its beginning."""


class AssessmentStatus(ApiModel):
    """The last assessment."""

    ATOMIC: ClassVar[bool] = True

    time: Time
    """When it ended."""
    start_time: Time | None = None
    """When it was started; rows of Azure Resource Graph from before do not count."""
    status: Word
    """Azure's status: Succeeded, Failed, …"""
    activity_id: Word | None = None
    """Azure's assessmentActivityId."""
    critical_and_security: Count | None = None
    """Missing patches that are critical or for security."""
    other: Count | None = None
    """Other missing patches."""
    selected: Count | None = None
    """Missing patches that the policy selects. Absent until Azure Resource Graph lists them."""
    ubuntu_pro_required: Count | None = None
    """Missing patches that need Ubuntu Pro; not among the selected."""
    reboot_pending: bool | None = None
    """Whether the machine waits for a reboot."""
    error: AzureError | None = None
    """What Azure reported, if it failed."""

    @property
    def began(self) -> datetime:
        """When it started, as far as it is known: when it ended, else."""
        return self.start_time or self.time


class Attempts(ApiModel):
    """What was tried, so that nothing is tried without end."""

    ATOMIC: ClassVar[bool] = True

    due_since: Time | None = None
    """Since when the machine has been due; absent while it is not."""
    window_start: Time | None = None
    """When the window began that installPosts counts in; with schedule.always 24 hours from when
    the machine became due."""
    install_posts: Count = 0
    """Installs sent in this window. At most two are."""
    selected_hash: Word | None = None
    """What was selected when an install installed nothing: it is not sent again for the same."""
    failed_assessments: Count = 0
    """Assessments that failed one after the other."""
    retry_after: Time | None = None
    """Nothing is sent before this."""


class Operation(ApiModel):
    """The operation in flight, written before it is sent: the machine's lock."""

    ATOMIC: ClassVar[bool] = True

    kind: OperationKind
    """Assess or Install."""
    intent_time: Time
    """When azpatch decided to send it."""
    attempt_id: Annotated[str, Field(min_length=1, max_length=64)]
    """Sent to Azure as x-ms-client-request-id."""
    previous_activity_id: Word | None = None
    """The last activity of this kind on the machine before, on an Azure Arc-enabled server of any:
    another one there means that the operation began."""
    previous_start_time: Time | None = None
    """When the last operation of this kind on the machine before began, as Azure showed it: what
    began no later is not this operation."""
    operation_id: Word | None = None
    """Azure's activity id of the operation, once it is known: from Azure's answer, or of an Azure
    Arc-enabled server from what is seen of the operation later."""
    deadline: Time
    """Without a result until then the outcome is Unknown."""
    state: OperationState
    """Intent: about to be sent. Started: Azure took it. Unconfirmed: the answer was lost."""
    error: AzureError | None = None
    """Why it is Unconfirmed: what Azure answered, or what became of the connection."""


class Installation(ApiModel):
    """The last install."""

    ATOMIC: ClassVar[bool] = True

    time: Time
    """When it ended."""
    start_time: Time | None = None
    """When it was started; rows of Azure Resource Graph from before do not count."""
    status: Word
    """Azure's status: Succeeded, Failed, CompletedWithWarnings, …"""
    outcome: Outcome
    """What that means."""
    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why the outcome is what it is, where that needs a word."""
    activity_id: Word | None = None
    """Azure's installationActivityId."""
    installed: Count = 0
    """Patches installed."""
    failed: Count = 0
    """Patches that failed."""
    pending: Count = 0
    """Patches that there was no time for."""
    not_selected: Count = 0
    """Missing patches that the policy does not select."""
    excluded: Count = 0
    """Missing patches that the policy excludes."""
    reboot_status: Word | None = None
    """Azure's rebootStatus: NotNeeded, Required, Started, Failed or Completed."""
    error: AzureError | None = None
    """What Azure reported, if it failed."""

    @property
    def began(self) -> datetime:
        """When it started, as far as it is known: when it ended, else."""
        return self.start_time or self.time


class RunState(StrEnum):
    """How far a machine is in a run."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class RunEntry(ApiModel):
    """The machine's part in a run."""

    ATOMIC: ClassVar[bool] = True

    name: ObjectName
    """The PatchRun, in the same namespace."""
    uid: Word
    """Its metadata.uid: a person may delete one and make another under its name."""
    wave: Annotated[str, Field(min_length=1, max_length=63)]
    """Its wave there."""
    state: RunState
    """Pending: its turn has not come. Running: from its install until it was assessed again.
    Succeeded: both went well. Failed: it failed, did not come back, or has no known result.
    Skipped: nothing was installed, or not everything."""
    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why it is Failed or Skipped. On one that is Running: its first install failed, and it is
    tried once more."""
    system: SystemName | None = None
    """Of a Linux machine in a run whose patchSet is Pinned: its distribution and version before
    the run installs on it, by which it is known what it is given."""

    @property
    def under_way(self) -> bool:
        """Something may still be done for the run."""
        return self.state in (RunState.PENDING, RunState.RUNNING)


MESSAGE_LENGTH = 320
"""Shorter than elsewhere: a PatchTarget is at most 8 KiB as stored, and there are many."""


def _cut_messages(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(
        condition
        if len(condition.message) <= MESSAGE_LENGTH
        else condition.replace(message=condition.message[: MESSAGE_LENGTH - 1] + "…")
        for condition in conditions
    )


class PatchTargetStatus(ApiModel):
    """Everything known about the machine."""

    machine: MachineStatus | None = None
    """The machine as Azure describes it."""
    image: ImageStatus | None = None
    """What it was built from."""
    detected: DetectedStatus | None = None
    """What Azure found out about its support. Absent: nothing that still counts."""
    governs: bool | None = None
    """Whether the policy acts on this machine. False: another policy does."""
    verdicts: Annotated[tuple[Verdict, ...], Field(max_length=5)] = ()
    """Which operations may be sent to it, and why."""
    assessment: AssessmentStatus | None = None
    """The last assessment."""
    attempts: Attempts | None = None
    """What was tried in this window."""
    operation: Operation | None = None
    """The operation in flight; absent when there is none."""
    foreign_operation_since: Time | None = None
    """Since when somebody else's operation is seen at work on the machine. It takes up a slot of
    maxUnavailable until a look shows that it has ended, or an install would have."""
    installation: Installation | None = None
    """The last install."""
    run: RunEntry | None = None
    """The machine's part in the PatchRun that is under way, or in the last."""
    conditions: Annotated[
        tuple[Condition, ...],
        ListMap("type"),
        Field(max_length=8),
        AfterValidator(_cut_messages),
    ] = ()
    """Ready; Supported; Compliant."""


class PatchTarget(Resource):
    """One machine under a PatchPolicy, and everything known about it. azpatch makes, writes and
    removes PatchTargets; they are there to be read."""

    KIND: ClassVar[str] = "PatchTarget"
    PLURAL: ClassVar[str] = "patchtargets"
    SHORT_NAME: ClassVar[str] = "azpt"
    SELECTABLE: ClassVar[tuple[str, ...]] = (
        ".spec.policy",
        ".status.run.name",
        ".status.run.state",
    )
    VITAL: ClassVar[frozenset[str]] = frozenset(
        {"operation", "attempts", "governs", "run", "foreignOperationSince"}
    )
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Policy", ".spec.policy"),
        Column("OS", ".status.machine.osType"),
        Column("Image", ".status.image.class"),
        Column("Ready", condition_column("Ready")),
        Column("Reason", condition_column("Ready", "reason")),
        Column("Supported", condition_column("Supported")),
        Column("Compliant", condition_column("Compliant")),
        Column("Missing", ".status.assessment.selected", type="integer"),
        Column("Operation", ".status.operation.kind"),
        Column("Run", ".status.run.state"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Kind", ".status.machine.kind", wide=True),
        Column("Wave", ".status.run.wave", wide=True),
        Column("Power", ".status.machine.powerState", wide=True),
        Column("Confidence", ".status.image.confidence", wide=True),
        Column("Arc", ".status.machine.arcStatus", wide=True),
        Column("Detected", ".status.detected.state", wide=True),
        Column("Assessed", ".status.assessment.time", type="date", wide=True),
        Column("Installed", ".status.installation.time", type="date", wide=True),
        Column("Outcome", ".status.installation.outcome", wide=True),
        Column("Message", condition_column("Ready", "message"), wide=True),
    )

    kind: Literal["PatchTarget"] = "PatchTarget"
    spec: Annotated[
        PatchTargetSpec,
        Rule(
            "self == oldSelf",
            "spec of a PatchTarget cannot change: azpatch makes one for each machine of a "
            "policy, edit the PatchPolicy instead",
        ),
    ]
    """Which machine, under which policy."""
    status: PatchTargetStatus = Field(default_factory=PatchTargetStatus)
    """Everything known about it."""
