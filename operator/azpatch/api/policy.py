"""PatchPolicy: which machines to keep patched, with what, when and how carefully."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from azpatch.api.common import (
    ARC_MACHINE_PATTERN,
    GALLERY_IMAGE_PATTERN,
    VIRTUAL_MACHINE_PATTERN,
    ApiModel,
    Condition,
    Count,
    GoDuration,
    ImageClass,
    Message,
    ObjectName,
    OsType,
    Resource,
    ResourceGroupName,
    ResourceId,
    TagValues,
    Time,
    Word,
)
from azpatch.api.durations import GO_PATTERN, ISO_PATTERN, format_go
from azpatch.api.install import Install
from azpatch.api.markers import Column, Form, ListMap, Rule, condition_column
from azpatch.api.rollout import DEFAULT_MAX_UNAVAILABLE, DEFAULT_SPREAD, Approval, Rollout, Spread
from azpatch.api.schedule import Schedule

NAME_LENGTH = 46
"""What is named after a policy (`<name>-202612112100`) must fit in 63 characters."""

MAX_AGE_LONGEST = timedelta(days=7)
"""Azure Resource Graph keeps the result of an assessment for 7 days."""

MAX_AGE_SHORTEST = timedelta(minutes=5)
"""An assessment itself takes minutes, and Azure allows a machine two operations a minute."""

_SHORTEST, _LONGEST = format_go(MAX_AGE_SHORTEST), format_go(MAX_AGE_LONGEST)

PROBLEMS_LISTED = 20


class AssessmentMode(StrEnum):
    """Who has Azure look for missing patches."""

    OPERATOR = "Operator"
    NONE = "None"


class VirtualMachineTarget(ApiModel):
    """One virtual machine."""

    id: Annotated[
        str,
        Field(min_length=1, max_length=300, pattern=VIRTUAL_MACHINE_PATTERN),
        Form(
            VIRTUAL_MACHINE_PATTERN,
            "virtualMachine.id is not the id of a virtual machine: give /subscriptions/"
            "SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Compute/virtualMachines/NAME, "
            "as `az vm show --query id` prints it",
        ),
    ]
    """The machine's ARM id, /subscriptions/…/providers/Microsoft.Compute/virtualMachines/…,
    compared without case."""


class ArcMachineTarget(ApiModel):
    """One Azure Arc-enabled server."""

    id: Annotated[
        str,
        Field(min_length=1, max_length=300, pattern=ARC_MACHINE_PATTERN),
        Form(
            ARC_MACHINE_PATTERN,
            "arcMachine.id is not the id of an Azure Arc-enabled server: give /subscriptions/"
            "SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.HybridCompute/machines/NAME, "
            "as `az connectedmachine show --query id` prints it",
        ),
    ]
    """The server's ARM id, /subscriptions/…/providers/Microsoft.HybridCompute/machines/…,
    compared without case. Azure bills for patching such servers: nothing is sent to one before its
    AzureSubscription says arcBilling: Accepted."""


class GalleryImageTarget(ApiModel):
    """Every virtual machine that was built from one image of an Azure Compute Gallery."""

    id: Annotated[
        str,
        Field(min_length=1, max_length=420, pattern=GALLERY_IMAGE_PATTERN),
        Form(
            GALLERY_IMAGE_PATTERN,
            "galleryImage.id is not the id of a gallery image: give /subscriptions/SUBSCRIPTION/"
            "resourceGroups/GROUP/providers/Microsoft.Compute/galleries/GALLERY/images/IMAGE, "
            "or that and /versions/1.2.3 for one version",
        ),
    ]
    """The ARM id of an image definition, …/galleries/…/images/…, for the machines of all its
    versions; or of one version, …/versions/1.2.3. The gallery may be in another subscription
    than the machines."""

    @property
    def definition_id(self) -> str:
        """The id of the definition, without the version."""
        return re.split("/versions/", self.id, flags=re.IGNORECASE)[0]

    @property
    def version(self) -> str | None:
        """The version, such as `1.2.3`; None for every version of the definition."""
        parts = re.split("/versions/", self.id, flags=re.IGNORECASE)
        return parts[1] if len(parts) == 2 else None


class TagOperator(StrEnum):
    """How several tags of a selector go together, in Azure's words."""

    ANY = "Any"
    ALL = "All"


SELECTED_MOST = 50
"""Entries of each list of a selector: as many as Azure's dynamic scopes take."""

Location = Annotated[str, Field(min_length=1, max_length=64)]


class SelectorTarget(ApiModel):
    """Machines by what they are, in the words of Azure's dynamic scopes. A machine must match every
    field that is given; absent or empty, a field matches all."""

    azure_subscriptions: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...],
        Field(min_length=1, max_length=SELECTED_MOST),
    ]
    """Names of AzureSubscriptions. Only machines in these subscriptions."""
    resource_groups: Annotated[tuple[ResourceGroupName, ...], Field(max_length=SELECTED_MOST)] = ()
    """Only machines in these resource groups, compared without case."""
    locations: Annotated[tuple[Location, ...], Field(max_length=SELECTED_MOST)] = ()
    """Only machines in these Azure regions: westeurope or West Europe."""
    os_types: Annotated[tuple[OsType, ...], Field(max_length=2)] = ()
    """Only machines with these operating systems. One of which it is not known is not meant."""
    tags: Annotated[dict[str, TagValues], Field(max_length=SELECTED_MOST)] = Field(
        default_factory=dict
    )
    """Only machines that carry these tags with one of the listed values. Names are compared without
    case, values with it."""
    tag_operator: TagOperator = TagOperator.ANY
    """Any: one of the tags is enough. All: a machine must carry every one."""
    image_classes: Annotated[tuple[ImageClass, ...], Field(max_length=len(ImageClass))] = ()
    """Only machines of these image classes. Azure Arc-enabled servers are NotApplicable."""


class Target(ApiModel):
    """What the policy is for. Exactly one of the fields."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.virtualMachine) || has(self.arcMachine) || has(self.galleryImage) || "
            "has(self.selector)",
            "target is empty: give virtualMachine or arcMachine for one machine, galleryImage "
            "for all machines built from one image, or selector for machines by what they are",
        ),
        Rule(
            "[has(self.virtualMachine), has(self.arcMachine), has(self.galleryImage), "
            "has(self.selector)].filter(given, given).size() < 2",
            "target has more than one of virtualMachine, arcMachine, galleryImage and selector: "
            "keep one, and make another PatchPolicy for each of the others",
        ),
    )

    virtual_machine: VirtualMachineTarget | None = None
    """One virtual machine."""
    arc_machine: ArcMachineTarget | None = None
    """One Azure Arc-enabled server."""
    gallery_image: GalleryImageTarget | None = None
    """Every virtual machine built from an image, in every subscription whose grants allow it."""
    selector: SelectorTarget | None = None
    """Every machine that matches, where grants allow it."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = (self.virtual_machine, self.arc_machine, self.gallery_image, self.selector)
        if sum(one is not None for one in given) != 1:
            raise ValueError("exactly one of virtualMachine, arcMachine, galleryImage and selector")
        return self

    @property
    def machine_id(self) -> str | None:
        """The ARM id of the one machine that is meant; None where many may be."""
        one = self.virtual_machine or self.arc_machine
        return one.id if one else None


class Assessment(ApiModel):
    """How azpatch learns which patches are missing."""

    mode: AssessmentMode = AssessmentMode.OPERATOR
    """Operator: azpatch has Azure assess a machine when its last assessment is older than
    maxAge. None: azpatch sends no assessments and reports what others' found."""
    max_age: Annotated[
        GoDuration,
        Form(
            GO_PATTERN,
            "assessment.maxAge is not a duration: give hours, minutes and seconds such as 24h "
            "or 1h30m",
        ),
        Rule(
            f"!self.matches(r'{GO_PATTERN}') || duration(self) >= duration('{_SHORTEST}')",
            f"assessment.maxAge is shorter than {_SHORTEST}: an assessment itself takes minutes, "
            "give at least that",
        ),
        Rule(
            f"!self.matches(r'{GO_PATTERN}') || duration(self) <= duration('{_LONGEST}')",
            f"assessment.maxAge is longer than {_LONGEST}: Azure keeps the result of an "
            "assessment for 7 days, give at most that",
        ),
    ] = timedelta(hours=24)
    """How old a machine's last assessment may get, in Go's notation; from 5m to 168h."""
    probe_unsupported: bool = False
    """Assess also where the support matrix says that Azure cannot, to let Azure decide: a machine
    that it then finds supported is patched like any other."""


HISTORY = 6
HISTORY_MOST = 50


class RunHistory(ApiModel):
    """How many runs that are over are kept."""

    succeeded: Annotated[int, Field(ge=0, le=HISTORY_MOST)] = HISTORY
    """Of those that succeeded."""
    failed: Annotated[int, Field(ge=0, le=HISTORY_MOST)] = HISTORY
    """Of the others."""


WINDOW_SHORTER_THAN_INSTALL = (
    "a window is shorter than install.maximumDuration, so that no install would fit in it: make "
    "the window's duration longer, or maximumDuration shorter"
)


class PatchPolicySpec(ApiModel):
    """What to keep patched, with what, when and how carefully."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.install) || has(self.schedule)",
            "install needs a schedule: give schedule.windows, or schedule: {always: {}} to install "
            "whenever a machine is due",
        ),
        Rule(
            "has(self.install) || !has(self.schedule)",
            "schedule says when to install, but there is no install: add install, or remove "
            "schedule to assess only",
        ),
        Rule(
            "has(self.install) || !has(self.rollout)",
            "rollout says how to install, but there is no install: add install, or remove "
            "rollout to assess only",
        ),
        Rule(
            "!has(self.install) || self.assessment.mode != 'None'",
            "assessment.mode None leaves install without evidence, because an assessment tells "
            "what is missing before it and what is left after it: set assessment.mode to "
            "Operator, or remove install",
        ),
        Rule(
            "!has(self.install) || !has(self.schedule) || !has(self.schedule.windows) || "
            f"!self.install.maximumDuration.matches(r'{ISO_PATTERN}') || "
            f"self.schedule.windows.all(one, !one.duration.matches(r'{GO_PATTERN}') || "
            "duration(one.duration) >= "
            "duration(self.install.maximumDuration.substring(2).lowerAscii()))",
            WINDOW_SHORTER_THAN_INSTALL,
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.waves) || !has(self.schedule) || "
            "has(self.schedule.windows) || self.rollout.waves.size() == 0",
            "rollout.waves needs schedule.windows: with schedule.always each machine is installed "
            "on when it is due, and there is no run to have waves",
        ),
        Rule(
            "!has(self.rollout) || self.rollout.approval.mode == 'None' || !has(self.schedule) || "
            "has(self.schedule.windows)",
            "rollout.approval needs schedule.windows: with schedule.always each machine is "
            "installed on when it is due, and there is no run to approve",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.waves) || !has(self.schedule) || "
            "!has(self.schedule.windows) || self.rollout.waves.all(wave, !has(wave.windows) || "
            "wave.windows.all(name, self.schedule.windows.exists(one, one.name == name)))",
            "a wave of rollout.waves names a window that schedule.windows does not have: give the "
            "name of one of them, or remove windows from the wave",
        ),
    )

    suspend: bool = False
    """True: start nothing new. What runs goes on, and its result is still read."""
    target: Target
    """Which machines."""
    assessment: Assessment = Field(default_factory=Assessment)
    """How azpatch learns which patches are missing."""
    install: Install | None = None
    """What to install, and how. Absent: assess only."""
    schedule: Schedule | None = None
    """When installs may start. Required with install."""
    rollout: Rollout | None = None
    """How carefully to install. Absent: at most 10% of the machines at a time, and of an
    availability set one."""
    run_history: RunHistory | None = None
    """How many PatchRuns that are over are kept. Absent: 6 that succeeded, 6 others."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """As the rule says, for `azpatch windows`, which reads what no API server has seen."""
        windows = self.schedule.windows if self.schedule else ()
        if self.install and any(one.duration < self.install.maximum_duration for one in windows):
            raise ValueError(WINDOW_SHORTER_THAN_INSTALL)
        return self

    @property
    def max_unavailable(self) -> int | str:
        """rollout.maxUnavailable, or its default where there is no rollout."""
        return self.rollout.max_unavailable if self.rollout else DEFAULT_MAX_UNAVAILABLE

    @property
    def approval(self) -> Approval:
        """rollout.approval, or its default where there is no rollout."""
        return self.rollout.approval if self.rollout else Approval()

    @property
    def runs(self) -> bool:
        """Whether it installs by PatchRuns: with schedule.always there is no window to make one
        at."""
        return (
            self.install is not None and self.schedule is not None and bool(self.schedule.windows)
        )

    @property
    def spread(self) -> tuple[Spread, ...]:
        """rollout.spread, or its default where there is no rollout."""
        return self.rollout.spread if self.rollout else DEFAULT_SPREAD


class PolicyMachines(ApiModel):
    """The policy's machines in numbers."""

    matched: Count = 0
    """Machines that the target means and that grants allow."""
    governed: Count = 0
    """Of these, the machines that this policy acts on; another policy has the others."""
    supported: Count = 0
    """Governed machines that Azure can patch (or assess, without install)."""
    unsupported: Count = 0
    """Governed machines that Azure cannot patch (or assess, without install)."""
    unknown: Count = 0
    """Governed machines of which this is not known yet."""
    skipped: Count = 0
    """Governed machines of an operating system for which install selects nothing."""
    compliant: Count = 0
    """Governed machines on which nothing that the policy selects is missing."""
    non_compliant: Count = 0
    """Governed machines that miss something, or wait for a reboot."""
    in_progress: Count = 0
    """Machines with an operation in flight."""
    failed: Count = 0
    """Machines whose last install failed, did not come back, or has no known result."""
    overdue: Count = 0
    """Machines that have been due for two whole windows of those of their wave (with
    schedule.always: for 48 hours)."""
    conflicts: Count = 0
    """Matched machines that another policy governs."""


class Problem(ApiModel):
    """One machine that needs attention."""

    machine_id: ResourceId
    """The machine's ARM id."""
    reason: Annotated[str, Field(max_length=64)]
    """Why, in one word; docs/api.md lists them all."""
    message: Message = ""
    """Why, for a person."""


class NextWindow(ApiModel):
    """A stretch of time in which installs may start."""

    ATOMIC: ClassVar[bool] = True

    start: Time
    """When it begins: a window opens, or a freeze in it ends."""
    end: Time
    """When it ends, or a freeze begins."""


class PolicyRun(ApiModel):
    """A PatchRun of the policy."""

    ATOMIC: ClassVar[bool] = True

    name: ObjectName
    """Its name."""
    phase: Word
    """Where it is."""


class PatchPolicyStatus(ApiModel):
    """What became of the policy."""

    observed_generation: int | None = None
    """The generation that this status is about."""
    conditions: Annotated[tuple[Condition, ...], ListMap("type"), Field(max_length=8)] = ()
    """Ready; Supported; Compliant; Reconciling and Stalled only while true."""
    machines: PolicyMachines | None = None
    """The machines in numbers."""
    problems: Annotated[tuple[Problem, ...], Field(max_length=PROBLEMS_LISTED)] = ()
    """Machines that need attention, the worst first."""
    problems_omitted: Count | None = None
    """How many more there are than problems lists."""
    oldest_assessment_time: Time | None = None
    """When the machine that was not assessed for longest was assessed."""
    next_window: NextWindow | None = None
    """When installs may start: the window that is open now, or else the next, without what freezes
    take of it. Absent with schedule.always, and where there is none."""
    current_run: PolicyRun | None = None
    """The PatchRun that is under way."""
    last_run: PolicyRun | None = None
    """The last that is over."""
    last_schedule_time: Time | None = None
    """When the window began that the last PatchRun was made for."""


class PatchPolicy(Resource):
    """Keeps machines patched: one virtual machine, one Azure Arc-enabled server, every machine
    built from a gallery image, or a selection. azpatch assesses them, installs what is missing as
    the policy says, and reports here."""

    KIND: ClassVar[str] = "PatchPolicy"
    PLURAL: ClassVar[str] = "patchpolicies"
    SHORT_NAME: ClassVar[str] = "azpp"
    STATUS_DEFAULT: ClassVar[dict[str, int]] = {"observedGeneration": -1}
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Ready", condition_column("Ready")),
        Column("Reason", condition_column("Ready", "reason")),
        Column("Machines", ".status.machines.governed", type="integer"),
        Column("Compliant", ".status.machines.compliant", type="integer"),
        Column("In-Progress", ".status.machines.inProgress", type="integer"),
        Column("Failed", ".status.machines.failed", type="integer"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Suspended", ".spec.suspend", type="boolean", wide=True),
        Column("Supported", ".status.machines.supported", type="integer", wide=True),
        Column("Unsupported", ".status.machines.unsupported", type="integer", wide=True),
        Column("Conflicts", ".status.machines.conflicts", type="integer", wide=True),
        Column("Next-Window", ".status.nextWindow.start", wide=True),
        Column("Oldest-Assessment", ".status.oldestAssessmentTime", type="date", wide=True),
        Column("Message", condition_column("Ready", "message"), wide=True),
    )
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"size(self.metadata.name) <= {NAME_LENGTH}",
            f"metadata.name has more than {NAME_LENGTH} characters: what azpatch names after "
            "the policy would not fit, choose a shorter one",
            ".metadata.name",
        ),
    )

    kind: Literal["PatchPolicy"] = "PatchPolicy"
    spec: PatchPolicySpec
    """What the team declares."""
    status: PatchPolicyStatus = Field(default_factory=PatchPolicyStatus)
    """What became of it."""

    def under(self, install: Install, rollout: Rollout) -> PatchPolicy:
        """With these terms in the place of its own. Whether the schedule fits them is not asked:
        they are older than it, and where nothing fits any more, that is told like any such
        schedule."""
        spec = PatchPolicySpec.model_construct(
            **{**_fields(self.spec), "install": install, "rollout": rollout}
        )
        return PatchPolicy.model_construct(**{**_fields(self), "spec": spec})


def _fields(model: ApiModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}
