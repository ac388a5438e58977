"""What is done about a preview feature that is to be registered, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from domain_builders import HOUR, NOW, READABLE

from azpatch.api.reasons import Reason
from azpatch.api.subscription import (
    FeatureRegistration,
    FeatureState,
    PreviewFeatureMode,
    RegistrationStep,
)
from azpatch.api.target import AzureError
from azpatch.domain.registration import (
    LOOK,
    NOT_BEGUN_AFTER,
    Next,
    RegistrationFacts,
    Send,
    completed,
    compute_not_taken,
    intended,
    next_step,
    not_taken,
    put_off,
    requested,
    unconfirmed,
)

MINUTE = timedelta(minutes=1)
ATTEMPT = "00000000-0000-4000-8000-000000000001"
REFUSAL = AzureError(code="AuthorizationFailed", message="The client has no right. " * 20)

NOT_REGISTERED, PENDING, REGISTERING, REGISTERED, UNREGISTERING, UNREGISTERED, UNDETERMINED = (
    FeatureState.NOT_REGISTERED,
    FeatureState.PENDING,
    FeatureState.REGISTERING,
    FeatureState.REGISTERED,
    FeatureState.UNREGISTERING,
    FeatureState.UNREGISTERED,
    FeatureState.UNDETERMINED,
)
INTENT, REQUESTED, UNCONFIRMED, NOT_TAKEN, CAME, COMPLETE, LOST = (
    RegistrationStep.INTENT,
    RegistrationStep.REQUESTED,
    RegistrationStep.UNCONFIRMED,
    RegistrationStep.NOT_TAKEN,
    RegistrationStep.REGISTERED,
    RegistrationStep.COMPLETE,
    RegistrationStep.LOST,
)

NOTHING = RegistrationFacts(
    mode=PreviewFeatureMode.REGISTER,
    feature="VMGuestPatchGalleryX",
    state=NOT_REGISTERED,
    record=None,
    granted=True,
)


def record(step: RegistrationStep, before: timedelta = MINUTE) -> FeatureRegistration:
    """A registration that was asked for some time ago."""
    began = intended(NOTHING, ATTEMPT, NOW - before)
    match step:
        case RegistrationStep.INTENT:
            return began
        case RegistrationStep.UNCONFIRMED:
            return unconfirmed(began, AzureError(code="HTTP503", message="Later."))
        case RegistrationStep.NOT_TAKEN:
            return not_taken(began, REFUSAL, began.intent_time + HOUR)
    taken = requested(began).replace(step=step)
    return completed(taken, NOW) if step is COMPLETE else taken


def decided(**changes: object) -> Next:
    """What is decided on these facts; whatever is said can be read in a terminal."""
    found = next_step(replace(NOTHING, **changes), NOW)  # type: ignore[arg-type]
    assert found.told is None or len(found.told.message) <= READABLE
    return found


@dataclass(frozen=True)
class Row:
    """Facts; what is sent, the step that is recorded, and the reason that is told.

    Without a reason the gate's own is told.
    """

    name: str
    step: RegistrationStep | None
    before: timedelta
    state: FeatureState
    send: Send | None
    then: RegistrationStep | None
    reason: Reason | None


QUARTER = NOT_BEGUN_AFTER
TABLE = [
    # Nothing was asked for yet.
    Row("it is asked for", None, MINUTE, NOT_REGISTERED, Send.FEATURE, None, None),
    Row("also one that never was", None, MINUTE, FeatureState.NOT_SPECIFIED, Send.FEATURE, None,
        None),
    Row("also one that was before", None, MINUTE, UNREGISTERED, Send.FEATURE, None, None),
    Row("not while it is unregistered", None, MINUTE, UNREGISTERING, None, None,
        Reason.PREVIEW_FEATURE_NOT_REGISTERED),
    Row("somebody asked for it", None, MINUTE, REGISTERING, None, None,
        Reason.FEATURE_REGISTERING),
    Row("somebody waits for approval", None, MINUTE, PENDING, None, None, Reason.APPROVAL_PENDING),
    Row("it is there", None, MINUTE, REGISTERED, None, None, None),
    Row("nobody knows which it is", None, MINUTE, UNDETERMINED, None, None, None),
    # The operator died, or the answer was lost.
    Row("perhaps asked", INTENT, MINUTE, NOT_REGISTERED, None, INTENT,
        Reason.REGISTRATION_UNCONFIRMED),
    Row("answer lost", UNCONFIRMED, MINUTE, NOT_REGISTERED, None, UNCONFIRMED,
        Reason.REGISTRATION_UNCONFIRMED),
    Row("it was asked", INTENT, MINUTE, REGISTERING, None, REQUESTED, Reason.FEATURE_REGISTERING),
    Row("answer lost, taken", UNCONFIRMED, MINUTE, PENDING, None, REQUESTED,
        Reason.APPROVAL_PENDING),
    Row("asked and come", INTENT, MINUTE, REGISTERED, Send.COMPUTE, CAME,
        Reason.FEATURE_REGISTERING),
    Row("not asked after all", INTENT, QUARTER, NOT_REGISTERED, Send.FEATURE, None, None),
    Row("not taken after all", UNCONFIRMED, QUARTER, NOT_REGISTERED, Send.FEATURE, None, None),
    Row("asked, and unregistered since", INTENT, MINUTE, UNREGISTERED, None, LOST,
        Reason.REGISTRATION_LOST),
    Row("unreadable meanwhile", INTENT, QUARTER, UNDETERMINED, None, INTENT, None),
    # Azure took it.
    Row("not to be seen yet", REQUESTED, MINUTE, NOT_REGISTERED, None, REQUESTED,
        Reason.FEATURE_REGISTERING),
    Row("on its way", REQUESTED, MINUTE, REGISTERING, None, REQUESTED,
        Reason.FEATURE_REGISTERING),
    Row("overdue", REQUESTED, QUARTER, REGISTERING, None, REQUESTED, Reason.REGISTRATION_OVERDUE),
    Row("overdue for days", REQUESTED, 300 * HOUR, REGISTERING, None, REQUESTED,
        Reason.REGISTRATION_OVERDUE),
    Row("to be approved", REQUESTED, MINUTE, PENDING, None, REQUESTED, Reason.APPROVAL_PENDING),
    Row("to be approved for days", REQUESTED, 300 * HOUR, PENDING, None, REQUESTED,
        Reason.APPROVAL_PENDING),
    Row("came", REQUESTED, MINUTE, REGISTERED, Send.COMPUTE, CAME, Reason.FEATURE_REGISTERING),
    Row("came late", REQUESTED, 300 * HOUR, REGISTERED, Send.COMPUTE, CAME,
        Reason.FEATURE_REGISTERING),
    Row("rejected", REQUESTED, QUARTER, NOT_REGISTERED, None, LOST, Reason.REGISTRATION_LOST),
    Row("taken back on its way", REQUESTED, MINUTE, UNREGISTERING, None, LOST,
        Reason.REGISTRATION_LOST),
    # It came, and Microsoft.Compute is re-registered.
    Row("it is used next", CAME, MINUTE, REGISTERED, Send.COMPUTE, CAME,
        Reason.FEATURE_REGISTERING),
    Row("taken back before it was used", CAME, MINUTE, UNREGISTERED, None, LOST,
        Reason.REGISTRATION_LOST),
    Row("done", COMPLETE, MINUTE, REGISTERED, None, COMPLETE, Reason.FEATURE_REGISTERED),
    Row("unreadable", COMPLETE, MINUTE, UNDETERMINED, None, COMPLETE, None),
    # It went.
    Row("being taken back", COMPLETE, HOUR, UNREGISTERING, None, LOST, Reason.REGISTRATION_LOST),
    Row("taken back", COMPLETE, HOUR, UNREGISTERED, None, LOST, Reason.REGISTRATION_LOST),
    Row("left so", LOST, 300 * HOUR, UNREGISTERED, None, LOST, Reason.REGISTRATION_LOST),
    Row("somebody asks for it again", LOST, HOUR, REGISTERING, None, LOST,
        Reason.FEATURE_REGISTERING),
    Row("there again", LOST, HOUR, REGISTERED, None, COMPLETE, Reason.FEATURE_REGISTERED),
    # Azure refused it.
    Row("refused", NOT_TAKEN, MINUTE, NOT_REGISTERED, None, NOT_TAKEN,
        Reason.REGISTRATION_REFUSED),
    Row("refused an hour ago", NOT_TAKEN, HOUR, NOT_REGISTERED, Send.FEATURE, None, None),
    Row("refused, and asked for by somebody", NOT_TAKEN, MINUTE, REGISTERING, None, None,
        Reason.FEATURE_REGISTERING),
    Row("refused, and registered by somebody", NOT_TAKEN, MINUTE, REGISTERED, None, None, None),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_is_done_and_said(row: Row) -> None:
    known = record(row.step, row.before) if row.step else None
    found = decided(record=known, state=row.state)

    assert found.send is row.send
    assert (found.record.step if found.record else None) is row.then
    assert (found.told.reason if found.told else None) is row.reason


def test_only_a_registered_feature_makes_the_condition_true() -> None:
    said = {
        (row.state, told.status)
        for row in TABLE
        if (told := decided(record=record(row.step) if row.step else None, state=row.state).told)
    }
    assert {state for state, status in said if status == "True"} == {REGISTERED}


@pytest.mark.parametrize("step", RegistrationStep)
@pytest.mark.parametrize("state", FeatureState)
@pytest.mark.parametrize("before", [timedelta(0), QUARTER, HOUR, 300 * HOUR])
def test_it_is_sent_again_only_if_it_did_not_begin(
    step: RegistrationStep, state: FeatureState, before: timedelta
) -> None:
    found = decided(record=record(step, before), state=state)

    if found.send is Send.FEATURE:
        assert state in {FeatureState.NOT_SPECIFIED, NOT_REGISTERED, UNREGISTERED}
        assert (step in {INTENT, UNCONFIRMED} and before >= QUARTER) or (
            step is NOT_TAKEN and before >= HOUR
        )


class TestWhen:
    @pytest.mark.parametrize("step", [INTENT, UNCONFIRMED, REQUESTED])
    def test_it_is_looked_at_every_minute_for_a_quarter_of_an_hour(
        self, step: RegistrationStep
    ) -> None:
        assert decided(record=record(step)).wake == NOW + LOOK
        late = record(step, QUARTER - MINUTE / 2)
        assert decided(record=late, state=NOT_REGISTERED).wake == NOW + MINUTE / 2

    @pytest.mark.parametrize("state", [REGISTERING, PENDING, REGISTERED])
    def test_afterwards_the_refresh_looks(self, state: FeatureState) -> None:
        step = COMPLETE if state is REGISTERED else REQUESTED
        assert decided(record=record(step, QUARTER), state=state).wake is None

    def test_what_was_refused_is_sent_again_when_its_time_has_come(self) -> None:
        assert decided(record=record(NOT_TAKEN)).wake == NOW - MINUTE + HOUR

    def test_or_when_the_azure_subscription_changes(self) -> None:
        assert decided(record=record(NOT_TAKEN), edited=True).send is Send.FEATURE


class TestWhoMay:
    LACKING = (("Microsoft.Features/providers/features/register/action", "/subscriptions/1"),)

    @pytest.mark.parametrize("step", [None, NOT_TAKEN, CAME])
    def test_without_a_grant_nothing_is_sent_and_the_remedy_is_named(
        self, step: RegistrationStep | None
    ) -> None:
        state = REGISTERED if step is CAME else NOT_REGISTERED
        found = decided(record=record(step, HOUR) if step else None, state=state, granted=False)
        assert found.send is None
        assert found.told is not None
        assert found.told.reason is Reason.REGISTRATION_NOT_GRANTED
        assert "access Configure" in found.told.message
        assert "spec.grants" in found.told.message

    @pytest.mark.parametrize("step", [None, NOT_TAKEN, CAME])
    def test_without_the_right_nothing_is_sent_and_it_is_named(
        self, step: RegistrationStep | None
    ) -> None:
        state = REGISTERED if step is CAME else NOT_REGISTERED
        known = record(step, HOUR) if step else None
        found = decided(record=known, state=state, lacking=self.LACKING)
        assert found.send is None
        assert found.told is not None
        assert found.told.reason is Reason.REGISTRATION_REFUSED
        assert self.LACKING[0][0] in found.told.message
        assert "Feature Registrar" in found.told.message

    @pytest.mark.parametrize("mode", [PreviewFeatureMode.CHECK, PreviewFeatureMode.IGNORE])
    @pytest.mark.parametrize("step", [None, *RegistrationStep])
    def test_in_another_mode_nothing_is_sent_and_the_gate_speaks(
        self, mode: PreviewFeatureMode, step: RegistrationStep | None
    ) -> None:
        found = decided(mode=mode, record=record(step) if step else None)
        assert (found.send, found.told) == (None, None)


class TestWhatIsForgotten:
    """So that a person can ask for it anew, and nobody asks twice by it."""

    @pytest.mark.parametrize("step", [NOT_TAKEN, CAME, COMPLETE, LOST])
    def test_leaving_the_mode_forgets_what_is_settled(self, step: RegistrationStep) -> None:
        assert decided(mode=PreviewFeatureMode.CHECK, record=record(step)).record is None

    @pytest.mark.parametrize("step", [INTENT, UNCONFIRMED, REQUESTED])
    def test_what_may_still_show_is_kept_for_a_quarter_of_an_hour(
        self, step: RegistrationStep
    ) -> None:
        young, old = record(step), record(step, QUARTER)
        kept = decided(mode=PreviewFeatureMode.CHECK, record=young)
        assert (kept.record, kept.wake) == (young, young.intent_time + QUARTER)
        assert decided(mode=PreviewFeatureMode.CHECK, record=old).record is None

    def test_then_a_lost_one_is_asked_for_anew(self) -> None:
        left = decided(mode=PreviewFeatureMode.CHECK, record=record(LOST), state=UNREGISTERED)
        assert decided(record=left.record, state=UNREGISTERED).send is Send.FEATURE

    def test_another_feature_is_asked_for_once_nothing_can_come_of_the_first(self) -> None:
        other = "VMGuestPatchGalleryY"
        assert decided(feature=other, record=record(REQUESTED)).send is None
        assert decided(feature=other, record=record(REQUESTED, QUARTER)).send is Send.FEATURE
        assert decided(feature=other, record=record(NOT_TAKEN)).send is Send.FEATURE

    def test_a_feature_is_the_same_however_it_is_spelt(self) -> None:
        known = record(REQUESTED)
        found = decided(feature="vmguestpatchgalleryx", record=known, state=REGISTERING)
        assert found.record == known


def test_while_azure_shows_no_features_it_is_put_off() -> None:
    step = put_off(decided(), NOTHING, NOW)
    assert (step.send, step.record, step.wake) == (None, None, NOW + LOOK)
    assert step.told is not None
    assert (step.told.status, step.told.reason) == ("Unknown", Reason.AZURE_UNREACHABLE)


class TestCompute:
    def test_a_refusal_waits_and_says_what_to_do(self) -> None:
        known = compute_not_taken(record(CAME), REFUSAL, NOW + HOUR)
        found = decided(record=known, state=REGISTERED)
        assert (found.send, found.wake) == (None, NOW + HOUR)
        assert found.told is not None
        assert (found.told.status, found.told.reason) == ("False", Reason.REGISTRATION_REFUSED)
        assert "az provider register" in found.told.message

    def test_after_the_wait_it_is_sent_again(self) -> None:
        known = compute_not_taken(record(CAME), None, NOW)
        assert decided(record=known, state=REGISTERED).send is Send.COMPUTE

    def test_that_it_is_done_clears_what_went_wrong(self) -> None:
        done = completed(compute_not_taken(record(CAME), REFUSAL, NOW), NOW)
        assert (done.step, done.error, done.retry_time) == (COMPLETE, None, None)
        found = decided(record=done, state=REGISTERED)
        assert found.told is not None
        assert "re-registered at 2026-11-23 12:00 UTC" in found.told.message


def test_what_is_recorded_before_the_request_has_all_that_tells_later_whether_it_began() -> None:
    found = intended(replace(NOTHING, state=UNREGISTERED), ATTEMPT, NOW)
    assert found.to_object() == {
        "feature": "VMGuestPatchGalleryX",
        "step": "Intent",
        "attemptId": ATTEMPT,
        "intentTime": "2026-11-23T12:00:00Z",
        "previousState": "Unregistered",
    }
