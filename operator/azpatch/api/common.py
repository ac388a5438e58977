"""What the kinds share: the base models, bounded types, conditions and Azure's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from azpatch.api.durations import (
    format_go,
    format_iso,
    parse_go,
    parse_iso,
)
from azpatch.api.markers import Column, Rule, add_rules

GROUP = "azpatch.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


_NOT_KEPT: frozenset[str] = frozenset()


class ApiModel(BaseModel):
    """Base of everything inside a resource: camelCase outside, snake_case inside, immutable.

    Reading ignores fields that this version does not know. `RULES` are CEL rules about the whole
    object.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    ATOMIC: ClassVar[bool] = False
    """Written as a whole by one writer: Kubernetes then keeps no record of who owns which field,
    which for a status of many small fields takes as much room as the status itself."""
    AS_DECLARED: ClassVar[frozenset[str]] = frozenset()
    """Of a status: fields, by Python names, that repeat what somebody declared. An empty list there
    says something: absent, it would be read as its default."""

    def model_post_init(self, context: Any, /) -> None:
        """Nobody asks which fields were given, and the sets of their names are more than half of
        what an object takes in memory."""
        object.__setattr__(self, "__pydantic_fields_set__", _NOT_KEPT)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        add_rules(schema, cls.RULES)
        if cls.ATOMIC:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def replace(self, **changes: Any) -> Self:
        """A validated copy with `changes`, by Python names. None takes an optional field away."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **changes})

    def to_object(self) -> dict[str, Any]:
        """JSON in the API's names; an absent value is absent, an empty list stays."""
        return self.model_dump(mode="json", exclude_none=True)


class UnreadableObjectError(Exception):
    """A resource whose spec, or record of an operation, this version cannot understand.

    Acting on the part that can be read would be acting on something else than was declared.
    """

    def __init__(self, kind: str, namespace: str | None, name: str, problems: str) -> None:
        self.kind, self.namespace, self.name, self.problems = kind, namespace, name, problems
        super().__init__(f"{kind} {f'{namespace}/' if namespace else ''}{name}: {problems}")


class OwnerReference(ApiModel):
    """The object that this one belongs to, and is garbage collected with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(ApiModel):
    """The part of Kubernetes' ObjectMeta that azpatch reads or writes."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Resource(ApiModel):
    """Base of the kinds. The class variables are what the CRD says outside its schema."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SHORT_NAME: ClassVar[str]
    NAMESPACED: ClassVar[bool] = True
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    SELECTABLE: ClassVar[tuple[str, ...]] = ()
    STATUS_DEFAULT: ClassVar[Mapping[str, Any] | None] = None
    VITAL: ClassVar[frozenset[str]] = frozenset()
    """Status fields without which acting is unsafe: unreadable ones fail the whole object."""

    api_version: str = API_VERSION
    kind: str
    metadata: Metadata

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> Self:
        """Read what the API server sent.

        Leniently: unknown fields are ignored, and a status field in a form of a newer version
        is as good as absent, unless it is VITAL. Raises UnreadableObjectError otherwise.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            unreadable = {_status_field(problem["loc"]) for problem in error.errors()}
            if None in unreadable or unreadable & cls.VITAL:
                raise _unreadable(cls.KIND, body, error) from error
        status = {name: value for name, value in body["status"].items() if name not in unreadable}
        return cls.model_validate({**body, "status": status})

    def to_object(self) -> dict[str, Any]:
        """The object as to create or apply it; empty parts of metadata and status are absent."""
        body = super().to_object()
        body["metadata"] = {key: value for key, value in body["metadata"].items() if value}
        body["status"] = self.status_object()
        return body if body["status"] else {k: v for k, v in body.items() if k != "status"}

    def status_object(self) -> dict[str, Any]:
        """The status as JSON; absent values and empty lists are absent."""
        status: ApiModel = getattr(self, "status")  # noqa: B009 - each kind declares its own type
        return status_json(status)


def status_json(status: ApiModel) -> dict[str, Any]:
    """A status as the API server stores it: no nulls, and no empty lists but those that somebody
    declared."""
    declared = {to_camel(name) for name in status.AS_DECLARED}
    return {
        name: value if name in declared else _without_empty_lists(value)
        for name, value in status.to_object().items()
        if value != []
    }


def _without_empty_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty_lists(item) for key, item in value.items() if item != []}
    if isinstance(value, list):
        return [_without_empty_lists(item) for item in value]
    return value


def _status_field(location: tuple[int | str, ...]) -> str | None:
    match location:
        case ("status", str(name), *_):
            return name
    return None


def _unreadable(
    kind: str, body: Mapping[str, Any], error: ValidationError
) -> UnreadableObjectError:
    metadata = body.get("metadata", {})
    problems = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    )
    return UnreadableObjectError(
        kind, metadata.get("namespace"), metadata.get("name", ""), problems
    )


# --- scalars ------------------------------------------------------------------------------------


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _cut(text: object, length: int) -> object:
    if isinstance(text, str) and len(text) > length:
        return text[: length - 1] + "…"
    return text


Time = Annotated[AwareDatetime, PlainSerializer(_rfc3339, when_used="json")]
"""An instant, RFC 3339 in UTC."""


def cut_to(length: int) -> BeforeValidator:
    """Cuts text where the schema would refuse it: a long message must not lose a status."""
    return BeforeValidator(lambda text: _cut(text, length))


Message = Annotated[str, cut_to(1024), Field(max_length=1024)]
"""Prose for a person."""

ShortMessage = Annotated[str, cut_to(192), Field(max_length=192)]
"""Prose of which a PatchTarget holds several."""

Word = Annotated[str, cut_to(128), Field(max_length=128)]
"""A name or code that Azure gave, kept as it came."""

Count = Annotated[int, Field(ge=0)]

NamespaceName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
]

TEXT = 128
"""Longest text whose form a rule checks: far more than any that is right, so that a wrong one is
refused by the rule, which says what to write, and not for its length."""

GoDuration = Annotated[
    timedelta,
    BeforeValidator(lambda value: parse_go(value) if isinstance(value, str) else value),
    PlainSerializer(format_go, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 2, "maxLength": TEXT}),
]

IsoDuration = Annotated[
    timedelta,
    BeforeValidator(lambda value: parse_iso(value) if isinstance(value, str) else value),
    PlainSerializer(format_iso, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": TEXT}),
]

UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
# A segment becomes part of a URL: nothing that would end it, and no dot at its end, which Azure
# forbids and which would make "..".
_SEGMENT = r"[^/?#%\s]{{0,{most}}}[^/?#%\s.]"
_GROUP = "/subscriptions/" + UUID_PATTERN + "/resourceGroups/" + _SEGMENT.format(most=89)
_COMPUTE = _GROUP + r"/providers/Microsoft\.Compute"
_VIRTUAL_MACHINES = "/virtualMachines/" + _SEGMENT.format(most=63)
_ARC_MACHINES = "/machines/" + _SEGMENT.format(most=53)

VIRTUAL_MACHINE_PATTERN = "(?i)^" + _COMPUTE + _VIRTUAL_MACHINES + "$"
"""A virtual machine's ARM id. ARM ids compare without case. Not an instance of a scale set."""

ARC_MACHINE_PATTERN = (
    "(?i)^" + _GROUP + r"/providers/Microsoft\.HybridCompute" + _ARC_MACHINES + "$"
)
"""The ARM id of an Azure Arc-enabled server, whose name Azure keeps to 54 characters."""

MACHINE_PATTERN = (
    "(?i)^"
    + _GROUP
    + r"/providers/Microsoft\.("
    + f"Compute{_VIRTUAL_MACHINES}|HybridCompute{_ARC_MACHINES})$"
)
"""Either of the two."""

GALLERY_IMAGE_PATTERN = (
    "(?i)^"
    + _COMPUTE
    + "/galleries/"
    + _SEGMENT.format(most=79)
    + "/images/"
    + _SEGMENT.format(most=79)
    + r"(/versions/[0-9]{1,10}\.[0-9]{1,10}\.[0-9]{1,10})?$"
)
"""The ARM id of an image definition in a gallery, or of one of its versions."""

Guid = Annotated[str, Field(max_length=TEXT, pattern=f"^{UUID_PATTERN}$")]
"""The field says by a Form what its GUID is and where to find it."""

ResourceGroupName = Annotated[str, Field(min_length=1, max_length=90)]

TagValues = Annotated[
    tuple[Annotated[str, Field(max_length=256)], ...], Field(min_length=1, max_length=50)
]
"""Values that one of Azure's tags may have."""

ResourceId = Annotated[str, cut_to(420), Field(max_length=420)]
"""An ARM id as Azure reported it; the longest, of an image version, has about 400 characters."""

# --- conditions ---------------------------------------------------------------------------------


class ConditionType(StrEnum):
    """The types of condition that azpatch sets."""

    READY = "Ready"
    SUPPORTED = "Supported"
    COMPLIANT = "Compliant"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    ACCESS_VERIFIED = "AccessVerified"
    PREVIEW_FEATURE = "PreviewFeature"
    COMPLETE = "Complete"
    FAILED = "Failed"


class Condition(ApiModel):
    """One observation about the object, as in Kubernetes' API conventions."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """What is observed; at most one condition of each type."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Z][A-Za-z0-9]*$")]
    """Why, in one word for programs. docs/api.md lists them all."""
    message: Message = ""
    """Why, for a person: what happened, what the operator does next, what you can do."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the object that this was said about."""
    last_transition_time: Time
    """When `status` last changed."""


# --- vocabulary -----------------------------------------------------------------------------------


class OsType(StrEnum):
    """Azure's osType."""

    LINUX = "Linux"
    WINDOWS = "Windows"


class MachineKind(StrEnum):
    """What a machine is to Azure."""

    VIRTUAL_MACHINE = "VirtualMachine"
    ARC_SERVER = "ArcServer"
    """Azure Arc-enabled: `Microsoft.HybridCompute/machines`, a server that Azure does not run."""


class ImageClass(StrEnum):
    """What a machine was built from, as far as patching is concerned."""

    MARKETPLACE = "Marketplace"
    GALLERY_GENERALIZED = "GalleryGeneralized"
    GALLERY_SPECIALIZED = "GallerySpecialized"
    NON_GALLERY = "NonGallery"
    NOT_APPLICABLE = "NotApplicable"
    UNKNOWN = "Unknown"


class Confidence(StrEnum):
    """How sure an image class is."""

    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"


class OperationName(StrEnum):
    """The operations of the support matrix."""

    ON_DEMAND_ASSESSMENT = "OnDemandAssessment"
    ON_DEMAND_PATCHING = "OnDemandPatching"
    PERIODIC_ASSESSMENT = "PeriodicAssessment"
    SCHEDULED_PATCHING = "ScheduledPatching"
    AUTOMATIC_GUEST_PATCHING = "AutomaticGuestPatching"


class DetectedState(StrEnum):
    """Azure's detectedVMGuestPatchSupportState."""

    UNKNOWN = "Unknown"
    SUPPORTED = "Supported"
    UNSUPPORTED = "Unsupported"
    UNABLE_TO_DETERMINE = "UnableToDetermine"


class Support(StrEnum):
    """The answer of a verdict. One that waits for evidence is Unknown."""

    SUPPORTED = "Supported"
    UNSUPPORTED = "Unsupported"
    UNKNOWN = "Unknown"
