"""The fleet file: what the simulated Azure holds when it starts, and the truth about its guests.

Every field has a default, so that a file for a few machines is a few lines. Keys are camelCase as
in ARM; durations are Go's (`90s`, `2m`, `1h30m`), times ISO 8601. Reading, templates and defaults
that need the whole file are in `fleetfile`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic.alias_generators import to_camel

DEFAULT_TENANT_ID = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
DEFAULT_SUBSCRIPTION_ID = "5ab10000-0000-4000-8000-000000000001"
DEFAULT_CLIENT_ID = "c11e0000-0000-4000-8000-000000000001"
DEFAULT_LOCATION = "westeurope"
DEFAULT_GROUP = "rg-azsim"

_DURATION = re.compile(r"(?P<value>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", value):
        parts = _DURATION.finditer(value)
        return timedelta(seconds=sum(float(p["value"]) * _UNITS[p["unit"]] for p in parts))
    raise ValueError(f"expected a duration such as 90s, 2m or 1h30m, not {value!r}")


def duration_text(value: timedelta) -> str:
    """As a file has it: `1h30m`, `90ms`; to the millisecond."""
    milliseconds = round(value / timedelta(milliseconds=1))
    minutes, rest = divmod(milliseconds, 60_000)
    seconds, rest = divmod(rest, 1000)
    parts = ((minutes // 60, "h"), (minutes % 60, "m"), (seconds, "s"), (rest, "ms"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


Duration = Annotated[
    timedelta, BeforeValidator(_duration), PlainSerializer(duration_text, when_used="json")
]
Guid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Name = Annotated[str, Field(min_length=1, max_length=90, pattern=r"^[^/]+$")]


def guid(*parts: str) -> str:
    """A GUID that follows from names: the same file gives the same ids."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "azsim:" + ":".join(parts)))


class Model(BaseModel):
    """Unknown keys are errors: a misspelt failure would silently be no failure."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class OsType(StrEnum):
    """ARM's spelling of operating system types."""

    LINUX = "Linux"
    WINDOWS = "Windows"


class OsState(StrEnum):
    """What an image definition's `osState` says."""

    GENERALIZED = "Generalized"
    SPECIALIZED = "Specialized"


class RebootBehavior(StrEnum):
    """What a patch says about reboots before it is installed."""

    NEVER = "NeverReboots"
    ALWAYS = "AlwaysRequiresReboot"
    CAN = "CanRequestReboot"


class Detection(StrEnum):
    """What an assessment writes as `detectedVMGuestPatchSupportState`; Absent writes no value."""

    SUPPORTED = "Supported"
    UNSUPPORTED = "Unsupported"
    UNDETERMINED = "UnableToDetermine"
    UNKNOWN = "Unknown"
    ABSENT = "Absent"


# -- who ------------------------------------------------------------------------------------------


class Tenant(Model):
    """A directory."""

    id: Guid = DEFAULT_TENANT_ID
    display_name: str = "azsim"
    default_domain: str = "azsim.onmicrosoft.com"


class FederatedSubject(Model):
    """Whose workload-identity assertions sign in as a principal.

    `subject` is a Kubernetes service account, for one:
    `system:serviceaccount:azpatch-system:azpatch`.
    With `publicKey` (PEM) of the issuer the signature is verified, without it is not.
    """

    issuer: str
    subject: str
    public_key: str | None = None


class Permission(Model):
    """RBAC actions with `*` as wildcard, compared without case."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()


BUILT_IN_ROLES: Mapping[str, Permission] = {
    "Owner": Permission(actions=("*",)),
    "Contributor": Permission(
        actions=("*",),
        not_actions=(
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ),
    ),
    "Reader": Permission(actions=("*/read",)),
}
"""Roles that need no definition in the file."""


class RoleAssignment(Model):
    """Rights of one principal at one scope: a role by name, or actions listed here.

    `scope` is `/`, a subscription, a group or a resource id; `/` means everything.
    """

    scope: str = Field("/", pattern=r"^/")
    role: str | None = None
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.role is None) == (not self.actions):
            raise ValueError("give either role or actions")
        return self


class Principal(Model):
    """A service principal or managed identity. Absent assignments make it Owner of everything.

    `roleAssignments: []` is a principal that may do nothing.
    """

    name: str
    client_id: Guid = ""
    object_id: Guid = ""
    tenant_id: Guid = ""
    secret: str | None = None
    federated_subjects: tuple[FederatedSubject, ...] = ()
    managed_identity: bool = False
    role_assignments: tuple[RoleAssignment, ...] = (RoleAssignment(role="Owner"),)


# -- subscriptions and what is in them ------------------------------------------------------------


class FeatureState(StrEnum):
    """ARM's feature states that a file may start with."""

    NOT_SPECIFIED = "NotSpecified"
    NOT_REGISTERED = "NotRegistered"
    PENDING = "Pending"
    REGISTERING = "Registering"
    REGISTERED = "Registered"
    UNREGISTERING = "Unregistering"
    UNREGISTERED = "Unregistered"


class Feature(Model):
    """A preview feature of one provider namespace in one subscription.

    With approval ApprovalRequired a registration is Pending until `approvedAfter`, without one for
    ever; else it is Registering for `registeringTakes`, with `comes` false for ever.
    """

    name: Name
    namespace: Name = "Microsoft.Compute"
    display_name: str | None = None
    description: str = ""
    state: FeatureState = FeatureState.NOT_REGISTERED
    registering_takes: Duration = timedelta(minutes=15)
    approval: Literal["AutoApproval", "ApprovalRequired"] = "AutoApproval"
    approved_after: Duration | None = None
    comes: bool = True


class ResourceGroup(Model):
    """A resource group; groups that only machines name need not be listed."""

    name: Name
    location: str = DEFAULT_LOCATION
    managed_by: str | None = None
    tags: dict[str, str] = {}


class PurchasePlan(Model):
    """The marketplace plan that an image definition was made from."""

    name: str
    publisher: str
    product: str


class ImageDefinition(Model):
    """An image definition of a gallery, with the names of its versions.

    `deleted`: machines were built from it, and it is not there any more.
    """

    name: Name
    os_state: OsState = OsState.GENERALIZED
    os_type: OsType = OsType.LINUX
    hyper_v_generation: Literal["V1", "V2"] = "V2"
    architecture: Literal["x64", "Arm64"] = "x64"
    identifier: dict[Literal["publisher", "offer", "sku"], str] | None = None
    purchase_plan: PurchasePlan | None = None
    versions: tuple[Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")], ...] = ("1.0.0",)
    deleted: bool = False


class Gallery(Model):
    """An Azure Compute Gallery.

    `sharedWith`: the subscriptions and tenants, by id, that it is shared with directly, which see
    it as `/SharedGalleries/UNIQUENAME` (absent: made of the subscription's id and its name).
    `publicName`: everyone sees it as `/CommunityGalleries/PUBLICNAME`.
    """

    name: Name
    group: Name = DEFAULT_GROUP
    location: str = DEFAULT_LOCATION
    images: tuple[ImageDefinition, ...] = ()
    unique_name: Name | None = None
    shared_with: tuple[Guid, ...] = ()
    public_name: Name | None = None

    def seen_as(self, subscription_id: str) -> str:
        """Its unique name, given the subscription that it lies in."""
        return self.unique_name or f"{subscription_id}-{self.name.upper()}"


class Subscription(Model):
    """A subscription. `tenantId` is that of the directory that owns it, by default the first."""

    id: Guid = DEFAULT_SUBSCRIPTION_ID
    display_name: str = "azsim"
    tenant_id: Guid = ""
    state: Literal["Enabled", "Disabled", "Warned"] = "Enabled"
    features: tuple[Feature, ...] = ()
    resource_groups: tuple[ResourceGroup, ...] = ()
    galleries: tuple[Gallery, ...] = ()


# -- machines -------------------------------------------------------------------------------------


class Image(Model):
    """Where a machine's disk came from: exactly one kind; absent kinds make an unknown image.

    `gallery` is short for the id of a gallery of this file: `GALLERY/DEFINITION[/VERSION]`.
    `managedImage` is the name or id of a managed image, `attachedDisk` a disk without any image
    (Migrate, Backup, Site Recovery). `id` may be any text and may carry publisher, offer and sku.
    """

    publisher: str | None = None
    offer: str | None = None
    sku: str | None = None
    version: str | None = None
    exact_version: str | None = None
    id: str | None = None
    gallery: Annotated[str, Field(pattern=r"^[^/]+/[^/]+(/[^/]+)?$")] | None = None
    managed_image: str | None = None
    shared_gallery_image_id: str | None = None
    community_gallery_image_id: str | None = None
    attached_disk: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        sources = {
            "id": self.id,
            "gallery": self.gallery,
            "managedImage": self.managed_image,
            "sharedGalleryImageId": self.shared_gallery_image_id,
            "communityGalleryImageId": self.community_gallery_image_id,
            "attachedDisk": self.attached_disk or None,
        }
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"an image has one source, not {' and '.join(given)}")
        names = (self.publisher, self.offer, self.sku)
        if any(names) and not all(names):
            raise ValueError("a marketplace image needs publisher, offer and sku")
        return self


class Patch(Model):
    """An update that a guest lacks: `version` for a Linux package, `kbId` for Windows."""

    name: str
    version: str | None = None
    kb_id: str | None = None
    classification: Literal[
        "Critical",
        "Security",
        "Other",
        "UpdateRollUp",
        "FeaturePack",
        "ServicePack",
        "Definition",
        "Tools",
        "Updates",
    ] = "Security"
    reboot_behavior: RebootBehavior = RebootBehavior.NEVER
    published_date: AwareDatetime | None = None
    msrc_severity: str | None = None


class Durations(Model):
    """How long things take inside a guest."""

    assess: Duration = timedelta(minutes=2)
    prepare: Duration = timedelta(minutes=1)
    per_patch: Duration = timedelta(minutes=1)
    reboot: Duration = timedelta(minutes=3)
    boot: Duration = timedelta(minutes=1)


class Failures(Model):
    """What goes wrong in a guest; `times` bounds how often, per kind of operation (absent: always).

    assessFails: an assessment ends Failed. failingPatches: masks (`*`) of names or KBs that do not
    install. internalError: an install fails as a whole. rebootDoesNotComeBack: the machine never
    answers again after a reboot, until it is deallocated and started. agentLost: the agent goes
    silent in the middle of an install. exceedsWindow: patches take so long that the window ends
    first. noResult: an install never ends; assessNoResult: an assessment never does.
    """

    assess_fails: bool = False
    failing_patches: tuple[str, ...] = ()
    internal_error: bool = False
    reboot_does_not_come_back: bool = False
    agent_lost: bool = False
    exceeds_window: bool = False
    no_result: bool = False
    assess_no_result: bool = False
    times: Annotated[int, Field(ge=1)] | None = None


class Agent(Model):
    """The VM agent. Ready says whether it reports while the machine runs."""

    ready: bool = True
    version: str = "2.12.0.4"


class GuestSpec(Model):
    """The truth about a guest, whatever its image or any support matrix says.

    `os` and `osVersion`: what the VM agent reports, in lower case; absent, it reports nothing.
    `patchable`: whether guest patching works on it. `detected`: what an assessment concludes;
    absent, it follows from `patchable`. `missing`: patches, or names of `patchSets` of the file.
    `assessedAgo`: an assessment of that age is already there when the simulation starts.
    """

    os: str | None = None
    os_version: str | None = None
    patch_service: Literal["APT", "YUM", "Zypper", "WU", "WU_WSUS"] | None = None
    patchable: bool = True
    detected: Detection | None = None
    missing: tuple[Patch, ...] = ()
    reboot_pending: bool = False
    assessed_ago: Duration | None = None
    durations: Durations = Durations()
    failures: Failures = Failures()

    @property
    def detection(self) -> Detection:
        """What an assessment of this guest concludes about support."""
        if self.detected is not None:
            return self.detected
        return Detection.SUPPORTED if self.patchable else Detection.UNSUPPORTED


class PowerState(StrEnum):
    """The part of `PowerState/…` after the slash."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"


class ArcStatus(StrEnum):
    """ARM's `status` of an Arc-enabled server: whether Azure hears its agent, and for how long not.

    Disconnected comes after a quarter of an hour of silence, Expired after 45 days of it. Error is
    what an agent reports that cannot work.
    """

    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    EXPIRED = "Expired"
    ERROR = "Error"


class ArcServer(Model):
    """What makes a machine an Azure Arc-enabled server; `arc: {}` is a connected one."""

    status: ArcStatus = ArcStatus.CONNECTED
    agent_version: str = "1.49.02952.2030"


VM_ONLY = (
    "zone",
    "size",
    "image",
    "os_profile",
    "license_type",
    "scale_set",
    "availability_set",
    "power",
    "agent",
)
"""Fields of a machine that an Arc-enabled server has not."""


class MachineSpec(Model):
    """A machine of `machines`, or `count` of them whose name holds `{n}` (1, 2, …).

    `subscription` is an id or displayName (absent: the file's first), `scaleSet` and
    `availabilitySet` a name or an id. `osProfile` absent: as Azure does it, a machine from a
    specialized image or an attached disk has none.

    With `arc` it is an Azure Arc-enabled server, without it a virtual machine. A server has no
    zone, size, image, osProfile, licenseType, scaleSet, availabilitySet, power and agent, and an
    assessment of it detects nothing about support.
    """

    name: Name
    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    subscription: str | None = None
    group: Name = DEFAULT_GROUP
    location: str = DEFAULT_LOCATION
    zone: str | None = None
    tags: dict[str, str] = {}
    os_type: OsType = OsType.LINUX
    size: str = "Standard_D2s_v5"
    image: Image = Image(
        publisher="canonical", offer="ubuntu-24_04-lts", sku="server", version="latest"
    )
    os_profile: bool | None = None
    license_type: str | None = None
    scale_set: str | None = None
    availability_set: str | None = None
    power: Literal[PowerState.RUNNING, PowerState.STOPPED, PowerState.DEALLOCATED] = (
        PowerState.RUNNING
    )
    agent: Agent = Agent()
    arc: ArcServer | None = None
    vm_id: Guid | None = None
    created: AwareDatetime | None = None
    guest: GuestSpec = GuestSpec()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.count > 1 and "{n}" not in self.name:
            raise ValueError(f"count: {self.count} needs a name with {{n}} in it")
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.arc is None:
            return self
        given = [to_camel(name) for name in VM_ONLY if name in self.model_fields_set]
        if self.guest.detected is not None:
            given.append("guest.detected")
        if given:
            raise ValueError(f"an Arc-enabled server has no {' and no '.join(given)}")
        return self


class ResourceGraphSettings(Model):
    """How far Resource Graph runs behind: `lag` at most, but `tailLag` for a share of the rows."""

    lag: Duration = timedelta(seconds=20)
    tail_lag: Duration = timedelta(minutes=2)
    tail_share: Annotated[float, Field(ge=0, le=1)] = 0.05


class Fleet(Model):
    """A whole fleet file, with templates applied, counts expanded and defaults filled in."""

    tenants: tuple[Tenant, ...] = (Tenant(),)
    roles: dict[str, Permission] = {}
    principals: tuple[Principal, ...] = ()
    subscriptions: tuple[Subscription, ...] = (Subscription(),)
    machines: tuple[MachineSpec, ...] = ()
    resource_graph: ResourceGraphSettings = ResourceGraphSettings()
