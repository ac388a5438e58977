"""What an AzureSubscription's status says, decided from what was read of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from azpatch.api.common import ConditionType, ImageClass
from azpatch.api.reasons import Reason
from azpatch.api.subscription import (
    AccessLevel,
    AzureSubscription,
    AzureSubscriptionStatus,
    FeatureRegistration,
    PreviewFeatureMode,
    PreviewFeatureStatus,
    SubscriptionMachines,
    SupportMatrixStatus,
)
from azpatch.domain import arc
from azpatch.domain.conditions import Finding, Status, merge
from azpatch.domain.facts import Permissions
from azpatch.domain.feature import FeatureGate, Gate
from azpatch.domain.grants import for_whole_subscription
from azpatch.domain.own_matrix import MatrixTrouble
from azpatch.domain.registration import Next, RegistrationFacts, next_step
from azpatch.domain.rights import missing, missing_to_register
from azpatch.domain.windows import FREEZE_ZONE, UnknownTimeZoneError, freezes

_LISTED = 3
"""How many missing rights a message names; the rest is counted."""


_CANDIDATES_LISTED = 20


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a subscription from being read: a reason, and a sentence with the remedy."""

    reason: Reason
    message: str
    stalled: bool
    """Only a person can change it."""


@dataclass(frozen=True, slots=True)
class SubscriptionFacts:
    """What a decision about an AzureSubscription looks at."""

    trouble: Trouble | None
    read: bool
    """The inventory has been read at least once."""
    shrunk: int
    """Machines that vanished at once and are not confirmed to be gone."""
    permissions: Mapping[str, tuple[Permissions, ...]] | None
    denied: bool
    """The identity may not even read its permissions."""
    gate: FeatureGate | None
    """None: the matrix revision has none."""
    image_classes: Collection[str]
    """One entry a machine."""
    detected: Collection[str]
    """One entry a machine that has an assessment row."""
    matrix: SupportMatrixStatus | None = None
    """The support matrix to put in force; None: there is none."""
    matrix_trouble: MatrixTrouble | None = None


def duplicate_of(
    mine: AzureSubscription, others: Iterable[AzureSubscription]
) -> AzureSubscription | None:
    """The AzureSubscription that has this one's subscriptionId by an older right."""
    same = [
        other
        for other in others
        if other.spec.subscription_id.lower() == mine.spec.subscription_id.lower()
    ]
    first = min(same, key=seniority, default=mine)
    return None if first.metadata.name == mine.metadata.name else first


def seniority(subscription: AzureSubscription) -> tuple[str, str]:
    """Sorts the older one first, then by name."""
    created = subscription.metadata.creation_timestamp
    return (created.isoformat() if created else "", subscription.metadata.name)


def duplicate(first: AzureSubscription) -> Trouble:
    """The second AzureSubscription for one subscription."""
    return Trouble(
        Reason.DUPLICATE_SUBSCRIPTION,
        f"AzureSubscription {first.metadata.name} has this subscriptionId already, and is the one "
        "that counts. Delete one of the two.",
        stalled=True,
    )


def registration_facts(
    subscription: AzureSubscription, facts: SubscriptionFacts, record: FeatureRegistration | None
) -> RegistrationFacts | None:
    """What the registration of the preview feature is decided by. None: there is nothing to go by,
    and what was recorded stays."""
    if facts.gate is None or facts.trouble is not None or not facts.read:
        return None
    spec, seen = subscription.spec, subscription.status.observed_generation
    return RegistrationFacts(
        mode=spec.preview_feature.mode,
        feature=facts.gate.name,
        state=facts.gate.state,
        record=record,
        granted=for_whole_subscription(spec.grants, AccessLevel.CONFIGURE),
        lacking=missing_to_register(spec.subscription_id, facts.permissions),
        edited=seen != (subscription.metadata.generation or 0),
    )


def registration(
    subscription: AzureSubscription,
    facts: SubscriptionFacts,
    record: FeatureRegistration | None,
    now: datetime,
) -> Next:
    """What to do about the registration of the preview feature."""
    found = registration_facts(subscription, facts, record)
    return Next(record) if found is None else next_step(found, now)


def status(
    subscription: AzureSubscription, facts: SubscriptionFacts, step: Next, now: datetime
) -> AzureSubscriptionStatus:
    """The whole status. Without a reading, what was known of machines stays; and all of it does
    when the generation was decided before, by an operator that has been restarted since.

    `step` is what `registration` said.
    """
    generation = subscription.metadata.generation or 0
    decided = subscription.status.observed_generation == generation
    if decided and facts.trouble is None and not facts.read:
        return subscription.status
    findings = [*_ready(subscription, facts), _access(subscription, facts)]
    if facts.gate is not None:
        findings.append(_feature(subscription, facts, facts.gate, step))
    before = subscription.status
    known = facts.read and facts.trouble is None
    return AzureSubscriptionStatus(
        observed_generation=generation,
        conditions=merge(before.conditions, findings, generation, now),
        support_matrix=facts.matrix,
        preview_feature=_preview_feature(facts, step) if facts.read else before.preview_feature,
        machines=_machines(facts) if known else before.machines,
    )


def _preview_feature(facts: SubscriptionFacts, step: Next) -> PreviewFeatureStatus | None:
    gate = facts.gate
    if gate is None:
        return None
    return PreviewFeatureStatus(
        name=gate.name,
        state=gate.state,
        candidates=gate.candidates[:_CANDIDATES_LISTED],
        registration=step.record,
    )


def _machines(facts: SubscriptionFacts) -> SubscriptionMachines:
    classes = Counter(facts.image_classes)
    return SubscriptionMachines(
        total=classes.total(),
        by_image_class=dict(sorted(classes.items())),
        by_detected_state=dict(sorted(Counter(facts.detected).items())),
    )


def _ready(subscription: AzureSubscription, facts: SubscriptionFacts) -> list[Finding]:
    if facts.trouble is not None:
        trouble = facts.trouble
        kind = ConditionType.STALLED if trouble.stalled else ConditionType.RECONCILING
        return [
            Finding(ConditionType.READY, "False", trouble.reason, trouble.message),
            Finding(kind, "True", trouble.reason, trouble.message),
        ]
    if facts.matrix_trouble is not None:
        matrix = facts.matrix_trouble
        return [
            Finding(ConditionType.READY, "False", matrix.reason, matrix.message),
            Finding(ConditionType.STALLED, "True", matrix.reason, matrix.message),
        ]
    if (wrong := _freezes(subscription)) is not None:
        return [
            Finding(ConditionType.READY, "False", Reason.TIME_ZONE_UNKNOWN, wrong),
            Finding(ConditionType.STALLED, "True", Reason.TIME_ZONE_UNKNOWN, wrong),
        ]
    if not facts.read:
        message = "The first inventory is being read; policies start when it is there."
        return [
            Finding(ConditionType.READY, "False", Reason.INVENTORY_PENDING, message),
            Finding(ConditionType.RECONCILING, "True", Reason.INVENTORY_PENDING, message),
        ]
    if facts.shrunk:
        message = (
            f"{facts.shrunk} machines vanished from Resource Graph at once. They are kept until "
            "Azure Resource Manager says of each that it is deleted, which is asked at every "
            "refresh. If a role was removed, restore it."
        )
        return [Finding(ConditionType.READY, "False", Reason.INVENTORY_SHRUNK, message)]
    message = "It is read every few minutes."
    servers = Counter(facts.image_classes)[ImageClass.NOT_APPLICABLE]
    if servers and subscription.spec.arc_billing is None:
        message += f" {arc.to_be_accepted(servers)}"
    return [Finding(ConditionType.READY, "True", Reason.UP_TO_DATE, message)]


def _freezes(subscription: AzureSubscription) -> str | None:
    """What is wrong with its freezes; None: nothing is."""
    try:
        freezes(subscription.spec.freezes, FREEZE_ZONE)
    except UnknownTimeZoneError as error:
        return (
            f"In spec.freezes: {error}. Until then nothing is installed in this subscription; "
            "assessments go on."
        )
    return None


def _access(subscription: AzureSubscription, facts: SubscriptionFacts) -> Finding:
    if facts.trouble is not None and not facts.read:
        return Finding(
            ConditionType.ACCESS_VERIFIED, "Unknown", facts.trouble.reason, facts.trouble.message
        )
    if facts.denied:
        return Finding(
            ConditionType.ACCESS_VERIFIED,
            "False",
            Reason.ACCESS_MISSING,
            "The identity has no role on the subscription. Give it the custom roles of "
            "docs/install.md; what it cannot see looks as if it did not exist.",
        )
    if facts.permissions is None:
        return Finding(
            ConditionType.ACCESS_VERIFIED,
            "Unknown",
            Reason.AZURE_UNREACHABLE,
            "The identity's permissions could not be read; they are read again at every refresh.",
        )
    spec = subscription.spec
    lacking = missing(spec.grants, facts.permissions, arc=spec.arc_billing is not None)
    if spec.preview_feature.mode is PreviewFeatureMode.REGISTER and for_whole_subscription(
        spec.grants, AccessLevel.CONFIGURE
    ):
        lacking += missing_to_register(spec.subscription_id, facts.permissions)
    if not lacking:
        return Finding(
            ConditionType.ACCESS_VERIFIED,
            "True",
            Reason.ACCESS_VERIFIED,
            "The identity has the Azure rights that the grants need.",
        )
    named = "; ".join(f"{action} at {scope}" for action, scope in lacking[:_LISTED])
    more = f" and {len(lacking) - _LISTED} more" if len(lacking) > _LISTED else ""
    return Finding(
        ConditionType.ACCESS_VERIFIED,
        "False",
        Reason.ACCESS_MISSING,
        f"The identity lacks {named}{more}. Give it the custom roles of docs/install.md; what it "
        "cannot see looks as if it did not exist.",
    )


_FEATURE_STATUS: Mapping[Gate, Status] = {
    Gate.PASSED: "True",
    Gate.CLOSED: "False",
    Gate.UNDETERMINED: "Unknown",
}


def _feature(
    subscription: AzureSubscription, facts: SubscriptionFacts, gate: FeatureGate, step: Next
) -> Finding:
    if not facts.read:
        return Finding(
            ConditionType.PREVIEW_FEATURE,
            "Unknown",
            Reason.AZURE_UNREACHABLE,
            "The features have not been read yet; see Ready.",
        )
    if step.told is not None:
        told = step.told
        return Finding(ConditionType.PREVIEW_FEATURE, told.status, told.reason, told.message)
    ignored = subscription.spec.preview_feature.mode is PreviewFeatureMode.IGNORE
    status_ = "True" if ignored else _FEATURE_STATUS[gate.gate]
    return Finding(ConditionType.PREVIEW_FEATURE, status_, gate.reason, gate.message)
