"""Registering the preview feature, where an AzureSubscription says `previewFeature.mode: Register`.

Registered once. What is sent is recorded on the AzureSubscription before, as an operation is on its
PatchTarget, because the operator can die between any two steps and an answer can be lost:

    Intent ─┬─> Requested ──> Registered ──> Complete       (Azure took it; it came; it is in use)
            ├─> Unconfirmed ─> Requested, or again          (the answer was lost)
            └─> NotTaken ────> again at retryTime           (Azure refused it for certain)

An Intent without an answer, and an Unconfirmed, took if the feature's state has moved on since; if
it is unchanged for `NOT_BEGUN_AFTER`, they did not, and only then it is sent again. When the
feature has come, Microsoft.Compute is re-registered, which makes Azure use it. Doing that twice
does what doing it once does, so one whose answer is lost is sent again, until one was answered.

A feature that is not registered any more after Azure took our registration is `Lost`: somebody
unregistered it, or Microsoft rejected it. azpatch does not register it again by itself, not even
once, because it cannot tell a mistake from a decision, and would fight whoever made it. A person
has three ways on: to register it by hand, to leave the mode Register and come back to it, which
begins anew, or to do without.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from azpatch.api.reasons import Reason
from azpatch.api.subscription import (
    FeatureRegistration,
    FeatureState,
    PreviewFeatureMode,
    RegistrationStep,
)
from azpatch.api.target import AzureError
from azpatch.domain.conditions import Status
from azpatch.domain.feature import by_hand
from azpatch.domain.words import at, quoted, sentences

TAKES_AT_MOST = timedelta(minutes=15)
"""What Azure documents for a registration that nobody has to approve."""

NOT_BEGUN_AFTER = timedelta(minutes=15)
"""A request that reached Azure changes the feature's state at once; as with an operation, what did
not show in this time did not begin."""

LOOK = timedelta(minutes=1)
"""Between two looks at a feature that is expected to change. Afterwards every refresh looks."""

QUOTED_HERE = 100
"""Characters of Azure's words in these messages, which say much beside them."""

UNREGISTERED = frozenset(
    {
        FeatureState.NOT_SPECIFIED,
        FeatureState.NOT_REGISTERED,
        FeatureState.UNREGISTERED,
        FeatureState.UNREGISTERING,
    }
)
UNANSWERED = frozenset({RegistrationStep.INTENT, RegistrationStep.UNCONFIRMED})
EXPECTED = UNANSWERED | {RegistrationStep.REQUESTED}
"""Steps in which the feature's state is about to change."""


class Send(StrEnum):
    """A request that is to be sent now."""

    FEATURE = "the registration of the feature"
    COMPUTE = "the re-registration of Microsoft.Compute"


@dataclass(frozen=True, slots=True)
class RegistrationFacts:
    """What the decision looks at."""

    mode: PreviewFeatureMode
    feature: str | None
    """The feature's name, as Azure spells it; None: not known."""
    state: FeatureState
    """As just read."""
    record: FeatureRegistration | None
    """What was recorded last."""
    granted: bool
    """Some grant gives access Configure to the whole subscription."""
    lacking: tuple[tuple[str, str], ...] = ()
    """(action, scope) of the rights that the identity is known to lack for it."""
    edited: bool = False
    """The AzureSubscription changed since its status was written: what Azure did not take is sent
    again without waiting."""


@dataclass(frozen=True, slots=True)
class Told:
    """The condition PreviewFeature."""

    status: Status
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be done."""

    record: FeatureRegistration | None
    """What is to be recorded, before anything is sent."""
    send: Send | None = None
    told: Told | None = None
    """None: what the feature gate says."""
    wake: datetime | None = None
    """When to look again, beside each refresh."""


def next_step(facts: RegistrationFacts, now: datetime) -> Next:
    """What to do about the registration, and what to say of it."""
    record = facts.record
    if facts.mode is not PreviewFeatureMode.REGISTER or not _of_this(record, facts):
        record = _unless_settled(record, now)
        if record is not None or facts.mode is not PreviewFeatureMode.REGISTER:
            # Of another feature, or of a mode that was left: what may still come is awaited first.
            return Next(record, wake=record.intent_time + NOT_BEGUN_AFTER if record else None)
    if facts.feature is None or facts.state is FeatureState.UNDETERMINED:
        return Next(record)
    if record is not None:
        record = _seen(record, facts.state, now)
    if record is None or record.step is RegistrationStep.NOT_TAKEN:
        return _before(facts.feature, facts, record, now)
    if record.step is RegistrationStep.REGISTERED:
        return _compute(facts, record, now)
    return _told_of(facts, record, now)


def intended(facts: RegistrationFacts, attempt_id: str, now: datetime) -> FeatureRegistration:
    """The record that is written before the request to register is sent."""
    assert facts.feature is not None
    return FeatureRegistration(
        feature=facts.feature,
        step=RegistrationStep.INTENT,
        attempt_id=attempt_id,
        intent_time=_whole(now),
        previous_state=facts.state,
    )


def put_off(step: Next, facts: RegistrationFacts, now: datetime) -> Next:
    """The step, while Azure does not show the features: nothing is sent on what was read before."""
    message = (
        f"The preview feature {facts.feature} was {facts.state}. Azure does not show its features "
        "now. They are read again in a minute, and azpatch goes on then."
    )
    told = step.told or Told("Unknown", Reason.AZURE_UNREACHABLE, message)
    return Next(step.record, told=told, wake=now + LOOK)


def requested(record: FeatureRegistration) -> FeatureRegistration:
    """Azure took the registration."""
    return record.replace(step=RegistrationStep.REQUESTED)


def unconfirmed(record: FeatureRegistration, error: AzureError | None) -> FeatureRegistration:
    """Whether Azure took the registration is not known."""
    return record.replace(step=RegistrationStep.UNCONFIRMED, error=error)


def not_taken(
    record: FeatureRegistration, error: AzureError | None, again: datetime
) -> FeatureRegistration:
    """Azure did not take the registration for certain."""
    return record.replace(step=RegistrationStep.NOT_TAKEN, error=error, retry_time=_whole(again))


def compute_not_taken(
    record: FeatureRegistration, error: AzureError | None, again: datetime
) -> FeatureRegistration:
    """Azure did not take the re-registration of Microsoft.Compute, or did not say so."""
    return record.replace(error=error, retry_time=_whole(again))


def completed(record: FeatureRegistration, now: datetime) -> FeatureRegistration:
    """Azure took the re-registration of Microsoft.Compute."""
    return record.replace(
        step=RegistrationStep.COMPLETE, completion_time=_whole(now), error=None, retry_time=None
    )


# --- what is recorded ---------------------------------------------------------------------------


def _of_this(record: FeatureRegistration | None, facts: RegistrationFacts) -> bool:
    """The record is of the feature that is meant now, as far as that is known."""
    if record is None or facts.feature is None:
        return True
    return record.feature.lower() == facts.feature.lower()


def _unless_settled(
    record: FeatureRegistration | None, now: datetime
) -> FeatureRegistration | None:
    """A record is needed as long as its request may still show in the feature's state."""
    if record is None or record.step not in EXPECTED:
        return None
    return record if now < record.intent_time + NOT_BEGUN_AFTER else None


def _seen(
    record: FeatureRegistration, state: FeatureState, now: datetime
) -> FeatureRegistration | None:
    """The record, after a look at the feature. None: nothing of ours is there."""
    if state is FeatureState.REGISTERED:
        if record.step in EXPECTED:
            return record.replace(
                step=RegistrationStep.REGISTERED, registered_time=_whole(now), error=None
            )
        if record.step is RegistrationStep.NOT_TAKEN:
            return None
        if record.step is RegistrationStep.LOST:
            # By a person, and so is what comes after it.
            return record.replace(step=RegistrationStep.COMPLETE)
        return record
    if state not in UNREGISTERED:
        if record.step in UNANSWERED:
            return record.replace(step=RegistrationStep.REQUESTED, error=None)
        return None if record.step is RegistrationStep.NOT_TAKEN else record
    if record.step in {RegistrationStep.REGISTERED, RegistrationStep.COMPLETE}:
        return record.replace(step=RegistrationStep.LOST, error=None, retry_time=None)
    if record.step in EXPECTED:
        if state is not record.previous_state:
            return record.replace(step=RegistrationStep.LOST, error=None)
        if now >= record.intent_time + NOT_BEGUN_AFTER:
            if record.step in UNANSWERED:
                return None
            return record.replace(step=RegistrationStep.LOST, error=None)
    return record


# --- before Azure has taken it ------------------------------------------------------------------


def _before(
    feature: str, facts: RegistrationFacts, record: FeatureRegistration | None, now: datetime
) -> Next:
    """Nothing of ours is on its way."""
    state = facts.state
    if state is FeatureState.REGISTERED:
        return Next(None)
    if state is FeatureState.PENDING:
        return Next(None, told=_pending(feature, "Somebody asked for it, not azpatch."))
    if state is FeatureState.REGISTERING:
        message = (
            f"The preview feature {feature} is Registering; somebody asked for it, not azpatch. "
            f"{_GO_ON}"
        )
        return Next(None, told=Told("False", Reason.FEATURE_REGISTERING, message))
    if not facts.granted:
        return Next(None, told=_not_granted(f"The preview feature {feature} is {state}."))
    if facts.lacking:
        return Next(None, told=_lacking(f"The preview feature {feature} is {state}.", facts))
    if record is not None and not facts.edited:
        assert record.retry_time is not None
        if now < record.retry_time:
            return Next(record, told=_not_taken(feature, record), wake=record.retry_time)
    if state is FeatureState.UNREGISTERING:
        message = (
            f"The preview feature {feature} is being unregistered by somebody. azpatch registers "
            "it when that has ended; to prevent it, set spec.previewFeature.mode to Check."
        )
        return Next(None, told=Told("False", Reason.PREVIEW_FEATURE_NOT_REGISTERED, message))
    return Next(None, send=Send.FEATURE)


# --- after it -----------------------------------------------------------------------------------

_GO_ON = (
    "It is read again at every refresh, and gallery machines go on as soon as it is Registered."
)
_IGNORE = "If it does not matter, set spec.previewFeature.mode to Ignore."


def _told_of(facts: RegistrationFacts, record: FeatureRegistration, now: datetime) -> Next:
    """Something was sent, and nothing is to be sent now."""
    feature, state = record.feature, facts.state
    asked = f"azpatch asked for it at {at(record.intent_time)}."
    overdue = record.intent_time + TAKES_AT_MOST
    look = min(now + LOOK, overdue) if now < overdue else None
    match record.step:
        case RegistrationStep.INTENT | RegistrationStep.UNCONFIRMED:
            error = record.error
            words = f" {quoted(error.code, error.message, QUOTED_HERE)}" if error else ""
            message = (
                f"The preview feature {feature} is {state}. {asked} Whether Azure took the request "
                f"is not known{words}. The feature is looked at every minute; if it is unchanged "
                f"at {at(record.intent_time + NOT_BEGUN_AFTER)}, azpatch asks again."
            )
            return Next(record, told=Told("False", Reason.REGISTRATION_UNCONFIRMED, message),
                        wake=look)  # fmt: skip
        case RegistrationStep.LOST if state in UNREGISTERED:
            message = (
                f"The preview feature {feature} is {state}, although Azure took azpatch's "
                f"registration of {at(record.intent_time)}: somebody unregistered it, or Microsoft "
                "rejected it. azpatch leaves it so. To have it again, register it by hand "
                f"({by_hand(feature)}), or set spec.previewFeature.mode to Check and then to "
                "Register."
            )
            return Next(record, told=Told("False", Reason.REGISTRATION_LOST, message))
        case RegistrationStep.COMPLETE if state is FeatureState.REGISTERED:
            done = record.completion_time
            message = sentences(
                f"The preview feature {feature} is registered. {asked}",
                f"Microsoft.Compute was re-registered at {at(done)}." if done else "",
            )
            return Next(record, told=Told("True", Reason.FEATURE_REGISTERED, message))
    if state is FeatureState.PENDING:
        return Next(record, told=_pending(feature, asked))
    if record.step is RegistrationStep.REQUESTED and look is None:
        message = (
            f"The preview feature {feature} is still {state}. {asked} Azure documents 15 minutes. "
            f"{_GO_ON} Nothing is asked for twice: if it does not come, ask Azure's support. "
            f"{_IGNORE}"
        )
        return Next(record, told=Told("False", Reason.REGISTRATION_OVERDUE, message))
    if record.step is RegistrationStep.REQUESTED:
        message = (
            f"The preview feature {feature} is {state}. {asked} It is looked at every minute; "
            "Azure takes up to 15 minutes. Then Microsoft.Compute is re-registered, and gallery "
            "machines go on."
        )
        return Next(record, told=Told("False", Reason.FEATURE_REGISTERING, message), wake=look)
    message = (
        f"The preview feature {feature} is {state} once more; somebody asked for it, not azpatch. "
        f"{_GO_ON}"
    )
    return Next(record, told=Told("False", Reason.FEATURE_REGISTERING, message))


def _compute(facts: RegistrationFacts, record: FeatureRegistration, now: datetime) -> Next:
    """The feature has come; Azure uses it when Microsoft.Compute is re-registered."""
    feature = record.feature
    came = f"The preview feature {feature} is registered."
    if facts.state is not FeatureState.REGISTERED:
        return _told_of(facts, record, now)
    if not facts.granted:
        return Next(record, told=_not_granted(f"{came} Microsoft.Compute is not re-registered."))
    if facts.lacking:
        return Next(record, told=_lacking(f"{came} Microsoft.Compute is not re-registered.", facts))
    again = record.retry_time
    if again is None or now >= again or facts.edited:
        message = f"{came} Microsoft.Compute is re-registered now, which makes Azure use it."
        return Next(record, Send.COMPUTE, Told("False", Reason.FEATURE_REGISTERING, message))
    words = (
        f" {quoted(record.error.code, record.error.message, QUOTED_HERE)}" if record.error else ""
    )
    message = (
        f"{came} Azure did not take the re-registration of Microsoft.Compute{words}, which makes "
        f"it use the feature. It is sent again at {at(again)}, or when the AzureSubscription "
        f"changes. {_ROLE} By hand: {_COMPUTE_BY_HAND}."
    )
    return Next(record, told=Told("False", Reason.REGISTRATION_REFUSED, message), wake=again)


# --- words --------------------------------------------------------------------------------------

_COMPUTE_BY_HAND = "az provider register -n Microsoft.Compute"
_ROLE = "Give the identity the role azpatch Feature Registrar of docs/install.md."


def _not_granted(what: str) -> Told:
    return Told(
        "False",
        Reason.REGISTRATION_NOT_GRANTED,
        f"{what} spec.previewFeature.mode is Register, and no grant allows it: it needs one with "
        "access Configure and without resourceGroups and tags in spec.grants. Or register it by "
        "hand, with spec.previewFeature.mode Check.",
    )


def _lacking(what: str, facts: RegistrationFacts) -> Told:
    named = " and ".join(action for action, _ in facts.lacking)
    return Told(
        "False",
        Reason.REGISTRATION_REFUSED,
        f"{what} The identity lacks {named} at {facts.lacking[0][1]}. {_ROLE} Its rights are read "
        "at every refresh, and azpatch goes on as soon as it has them.",
    )


def _not_taken(feature: str, record: FeatureRegistration) -> Told:
    assert record.retry_time is not None
    words = (
        f" {quoted(record.error.code, record.error.message, QUOTED_HERE)}" if record.error else ""
    )
    return Told(
        "False",
        Reason.REGISTRATION_REFUSED,
        f"Azure did not take the registration of the preview feature {feature}{words}. It is sent "
        f"again at {at(record.retry_time)}, or when the AzureSubscription changes. {_ROLE} Or "
        f"register it by hand: {by_hand(feature)}.",
    )


def _pending(feature: str, asked: str) -> Told:
    return Told(
        "False",
        Reason.APPROVAL_PENDING,
        f"The preview feature {feature} is Pending: Microsoft has to approve it. {asked} azpatch "
        "does not ask again. Ask Microsoft to approve it for this subscription. It is read again "
        f"at every refresh, and gallery machines go on as soon as it is Registered. {_IGNORE}",
    )


def _whole(time: datetime) -> datetime:
    """Whole seconds: these times are for people."""
    return time.replace(microsecond=0)
