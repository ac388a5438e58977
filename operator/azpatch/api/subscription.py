"""AzureSubscription: a subscription that the cluster may touch, and who may do what in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from azpatch.api.common import (
    UUID_PATTERN,
    ApiModel,
    Condition,
    Count,
    Guid,
    NamespaceName,
    ObjectName,
    Resource,
    ResourceGroupName,
    TagValues,
    Time,
)
from azpatch.api.markers import Column, Form, ListMap, Rule, condition_column
from azpatch.api.revisions import REVISIONS
from azpatch.api.schedule import Freezes
from azpatch.api.selector import LabelSelector
from azpatch.api.target import AzureError

MATRIX_LENGTH = 32768
"""Characters of a matrix of one's own; those that ship have a tenth of it."""

NAME_LENGTH = 63
"""An AzureSubscription's name is a label value on its PatchTargets."""


class IdentityType(StrEnum):
    """How azpatch signs in."""

    WORKLOAD_IDENTITY = "WorkloadIdentity"
    MANAGED_IDENTITY = "ManagedIdentity"
    CLIENT_SECRET = "ClientSecret"


def _shipped(revision: str) -> str:
    if revision not in REVISIONS:
        raise ValueError(f"no revision {revision} ships with azpatch: {', '.join(REVISIONS)} do")
    return revision


SupportMatrix = Annotated[
    str, AfterValidator(_shipped), Field(json_schema_extra={"enum": list(REVISIONS)})
]
"""A revision of the support matrix that ships with azpatch."""


class PreviewFeatureMode(StrEnum):
    """What azpatch does about the preview feature for gallery images."""

    CHECK = "Check"
    REGISTER = "Register"
    IGNORE = "Ignore"


class ArcBilling(StrEnum):
    """What the platform team says to the price of patching Azure Arc-enabled servers."""

    ACCEPTED = "Accepted"


class FeatureState(StrEnum):
    """Azure's states of a preview feature, and Undetermined where it cannot be found or read."""

    NOT_SPECIFIED = "NotSpecified"
    NOT_REGISTERED = "NotRegistered"
    PENDING = "Pending"
    REGISTERING = "Registering"
    REGISTERED = "Registered"
    UNREGISTERING = "Unregistering"
    UNREGISTERED = "Unregistered"
    UNDETERMINED = "Undetermined"


class RegistrationStep(StrEnum):
    """How far azpatch's registration of the preview feature is. See `domain.registration`."""

    INTENT = "Intent"
    REQUESTED = "Requested"
    UNCONFIRMED = "Unconfirmed"
    NOT_TAKEN = "NotTaken"
    REGISTERED = "Registered"
    COMPLETE = "Complete"
    LOST = "Lost"


class AccessLevel(StrEnum):
    """What a grant allows. Ordered: each level includes those before it."""

    READ = "Read"
    ASSESS = "Assess"
    PATCH = "Patch"
    CONFIGURE = "Configure"

    @property
    def rank(self) -> int:
        """0 for the lowest level."""
        return tuple(AccessLevel).index(self)

    def __lt__(self, other: object) -> bool:
        return self.rank < other.rank if isinstance(other, AccessLevel) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.rank <= other.rank if isinstance(other, AccessLevel) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.rank > other.rank if isinstance(other, AccessLevel) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.rank >= other.rank if isinstance(other, AccessLevel) else NotImplemented


def _guid_rule(field: str, source: str) -> Form:
    return Form(
        f"^{UUID_PATTERN}$",
        f"{field} is not a GUID: give it as `{source}` prints it",
    )


class ConfigMapRef(ApiModel):
    """A ConfigMap in the operator's namespace. Its key matrix.yaml holds a support matrix."""

    name: ObjectName
    """The ConfigMap's name."""


class SecretRef(ApiModel):
    """A Secret in the operator's namespace. Its key AZURE_CLIENT_SECRET holds the secret."""

    name: ObjectName
    """The Secret's name."""


class Identity(ApiModel):
    """The identity that azpatch uses in this subscription."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'ClientSecret' || has(self.secretRef)",
            "identity.type ClientSecret needs identity.secretRef: name the Secret in the "
            "operator's namespace whose key AZURE_CLIENT_SECRET holds the client secret",
        ),
        Rule(
            "self.type == 'ClientSecret' || !has(self.secretRef)",
            "identity.secretRef is for type ClientSecret only: remove it, or set identity.type "
            "to ClientSecret",
        ),
        Rule(
            "self.type != 'ClientSecret' || has(self.clientId)",
            "identity.type ClientSecret needs identity.clientId: the application (client) id "
            "that the secret belongs to",
        ),
    )

    type: IdentityType = IdentityType.WORKLOAD_IDENTITY
    """WorkloadIdentity: the token of the operator's ServiceAccount, exchanged for one of Azure.
    ManagedIdentity: the identity of the node. ClientSecret: an application with a secret."""
    client_id: (
        Annotated[Guid, _guid_rule("identity.clientId", "az ad sp show --query appId")] | None
    ) = None
    """The application (client) id. Required for ClientSecret; absent otherwise means the pod's
    own for WorkloadIdentity and the system-assigned one for ManagedIdentity."""
    secret_ref: SecretRef | None = None
    """Where the client secret is. ClientSecret only."""


class PreviewFeature(ApiModel):
    """The preview feature that matrix revision 2023-05 requires for gallery images."""

    mode: PreviewFeatureMode = PreviewFeatureMode.CHECK
    """Check: machines from gallery images wait until the feature is registered in the
    subscription. Register: they wait, and azpatch registers it, once; that needs a grant with
    access Configure for the whole subscription. Ignore: they are treated as if it were."""
    name: (
        Annotated[str, Field(min_length=1, max_length=128, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
        | None
    ) = None
    """The feature's name within Microsoft.Compute. Absent: azpatch looks for it by its display
    name, and reports the candidates in status where several match."""


class NamespaceMatch(ApiModel):
    """Namespaces, by name or by label. A namespace that either of the two matches is meant."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.names) && size(self.names) > 0 || has(self.selector)",
            "namespaces matches nothing: give names, or a selector ({} is every namespace)",
        ),
    )

    names: Annotated[tuple[NamespaceName, ...], Field(max_length=100)] = ()
    """Names of namespaces."""
    selector: LabelSelector | None = None
    """Labels of the Namespace objects. Empty ({}) is every namespace; absent is none."""


class Grant(ApiModel):
    """What some namespaces may do with some machines of this subscription."""

    name: Annotated[
        str, Field(min_length=1, max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ]
    """Unique in the list; conditions name it."""
    namespaces: NamespaceMatch
    """Whose policies this grant serves."""
    access: AccessLevel
    """Read: classify and report. Assess: also have Azure look for missing patches. Patch: also
    install them. Configure: also change settings in Azure, of which this version has one: it
    registers the preview feature, where the grant has neither resourceGroups nor tags. Of several
    grants that match, the highest counts."""
    resource_groups: Annotated[tuple[ResourceGroupName, ...], Field(max_length=100)] = ()
    """Only machines in these resource groups, compared without case. Absent or empty: all."""
    tags: Annotated[dict[str, TagValues], Field(max_length=20)] = Field(default_factory=dict)
    """Only machines that carry every one of these tags with one of its listed values."""


class AzureSubscriptionSpec(ApiModel):
    """The subscription, how to reach it, and who may do what in it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.supportMatrix) != has(self.supportMatrixRef)",
            "it takes exactly one support matrix: name a revision in supportMatrix, or a ConfigMap "
            "with one of your own in supportMatrixRef",
        ),
    )

    subscription_id: Annotated[
        Guid,
        _guid_rule("subscriptionId", "az account show --query id"),
        Rule(
            "self == oldSelf",
            "subscriptionId cannot change, because policies act on what it names: create "
            "another AzureSubscription, then delete this one",
        ),
    ]
    """The subscription's id. Immutable. A second AzureSubscription for the same id is Stalled."""
    tenant_id: Annotated[Guid, _guid_rule("tenantId", "az account show --query tenantId")]
    """The Microsoft Entra tenant that the identity signs in to."""
    identity: Identity | None = None
    """How azpatch signs in. Absent: the operator's own workload identity."""
    support_matrix: SupportMatrix | None = None
    """The revision of the support matrix that decides which machines azpatch touches, by the
    month of the Azure documentation it follows; docs/support-matrix.md has them all. There is no
    default, because another revision means other machines."""
    support_matrix_ref: ConfigMapRef | None = None
    """In place of supportMatrix: a ConfigMap in the operator's namespace with a matrix of your own,
    in the form of those that ship with azpatch. While it is broken the last good one stays in
    force."""
    preview_feature: PreviewFeature = Field(default_factory=PreviewFeature)
    """What to do about the preview feature for gallery images."""
    arc_billing: ArcBilling | None = None
    """Accepted: azpatch may assess and patch the subscription's Azure Arc-enabled servers, for
    which Azure charges by the server and day. Absent: nothing is sent to them; a policy for one
    waits, and its condition Ready says what it would cost."""
    grants: Annotated[tuple[Grant, ...], ListMap("name"), Field(max_length=50)] = ()
    """Who may do what. None: nobody may use this subscription."""
    freezes: Freezes = ()
    """Times in which nothing is installed on the subscription's machines, whatever policies say."""


class FeatureRegistration(ApiModel):
    """azpatch's registration of the preview feature: written before the request is sent, so that
    no other operator sends it again."""

    feature: Annotated[str, Field(max_length=128)]
    """The feature's name within Microsoft.Compute."""
    step: RegistrationStep
    """Intent: about to be requested. Requested: Azure took the request. Unconfirmed: its answer was
    lost. NotTaken: Azure did not take it, and is asked again at retryTime. Registered: the feature
    is, and Microsoft.Compute is re-registered next. Complete: that is done too. Lost: somebody
    unregistered the feature, or Azure rejected it; azpatch does not ask again."""
    attempt_id: Annotated[Guid, Field(max_length=36)]
    """Sent to Azure as x-ms-client-request-id."""
    intent_time: Time
    """When it was decided, just before the request."""
    previous_state: FeatureState
    """The feature's state before."""
    registered_time: Time | None = None
    """When the feature was first seen Registered."""
    completion_time: Time | None = None
    """When Azure took the re-registration of Microsoft.Compute."""
    retry_time: Time | None = None
    """When what Azure did not take is sent again."""
    error: AzureError | None = None
    """Why Azure did not take the last request, or what came in place of an answer."""


class PreviewFeatureStatus(ApiModel):
    """The preview feature as Azure reports it."""

    name: Annotated[str, Field(max_length=128)] | None = None
    """Its name within Microsoft.Compute, once known."""
    state: FeatureState
    """Azure's state, or Undetermined where it was not found, is ambiguous, or may not be read."""
    candidates: Annotated[
        tuple[Annotated[str, Field(max_length=128)], ...], Field(max_length=20)
    ] = ()
    """Features that might be it. Put the right one in spec.previewFeature.name."""
    registration: FeatureRegistration | None = None
    """What azpatch did about it. Mode Register only."""


class SubscriptionMachines(ApiModel):
    """How many machines of which kind the subscription has."""

    total: Count = 0
    """Virtual machines and Azure Arc-enabled servers in the subscription."""
    by_image_class: Annotated[dict[str, Count], Field(max_length=20)] = Field(default_factory=dict)
    """By what they were built from. Azure Arc-enabled servers are NotApplicable."""
    by_detected_state: Annotated[dict[str, Count], Field(max_length=20)] = Field(
        default_factory=dict
    )
    """By what Azure found out about their support for patching."""


class SupportMatrixStatus(ApiModel):
    """The support matrix in force."""

    revision: Annotated[str, Field(max_length=63)]
    """Its revision."""
    text: Annotated[str, Field(max_length=MATRIX_LENGTH)] | None = None
    """One that was read from a ConfigMap, so that it stays in force while the ConfigMap is
    broken. Absent for a revision that ships with azpatch."""


class AzureSubscriptionStatus(ApiModel):
    """What azpatch found in the subscription."""

    observed_generation: int | None = None
    """The generation that this status is about."""
    conditions: Annotated[tuple[Condition, ...], ListMap("type"), Field(max_length=8)] = ()
    """Ready; AccessVerified; PreviewFeature; Reconciling and Stalled only while true."""
    support_matrix: SupportMatrixStatus | None = None
    """The support matrix in force."""
    preview_feature: PreviewFeatureStatus | None = None
    """The preview feature for gallery images."""
    machines: SubscriptionMachines | None = None
    """The inventory in numbers."""


class AzureSubscription(Resource):
    """An Azure subscription that this cluster may touch: the identity to use there, the support
    matrix to go by, and who may do what in it. What no grant allows is not touched."""

    KIND: ClassVar[str] = "AzureSubscription"
    PLURAL: ClassVar[str] = "azuresubscriptions"
    SHORT_NAME: ClassVar[str] = "azsub"
    NAMESPACED: ClassVar[bool] = False
    STATUS_DEFAULT: ClassVar[dict[str, int]] = {"observedGeneration": -1}
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Subscription", ".spec.subscriptionId"),
        Column("Ready", condition_column("Ready")),
        Column("Reason", condition_column("Ready", "reason")),
        Column("Matrix", ".status.supportMatrix.revision"),
        Column("Feature", ".status.previewFeature.state"),
        Column("Machines", ".status.machines.total", type="integer"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Tenant", ".spec.tenantId", wide=True),
        Column("Access", condition_column("AccessVerified"), wide=True),
        Column("Message", condition_column("Ready", "message"), wide=True),
    )
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"size(self.metadata.name) <= {NAME_LENGTH}",
            f"metadata.name has more than {NAME_LENGTH} characters: it becomes a label of the "
            "subscription's PatchTargets, choose a shorter one",
            ".metadata.name",
        ),
    )

    kind: Literal["AzureSubscription"] = "AzureSubscription"
    spec: AzureSubscriptionSpec
    """What the platform team declares."""
    status: AzureSubscriptionStatus = Field(default_factory=AzureSubscriptionStatus)
    """What azpatch found."""
