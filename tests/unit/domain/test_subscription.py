"""What an AzureSubscription's status says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from domain_builders import NOW, READABLE, SUBSCRIPTION, grant, subscription

from azpatch.api.common import Condition
from azpatch.api.reasons import Reason
from azpatch.api.subscription import (
    AzureSubscription,
    AzureSubscriptionStatus,
    FeatureRegistration,
    FeatureState,
    RegistrationStep,
)
from azpatch.domain.facts import Permissions
from azpatch.domain.feature import FeatureGate, Gate
from azpatch.domain.registration import Send
from azpatch.domain.rights import REGISTER_COMPUTE, REGISTER_FEATURE
from azpatch.domain.subscription import (
    SubscriptionFacts,
    Trouble,
    duplicate,
    duplicate_of,
    registration,
    seniority,
)
from azpatch.domain.subscription import status as status_of

EVERYTHING = {f"/subscriptions/{SUBSCRIPTION}": (Permissions(("*",), ()),)}
FACTS = SubscriptionFacts(
    trouble=None,
    read=True,
    shrunk=0,
    permissions=EVERYTHING,
    denied=False,
    gate=None,
    image_classes=("GalleryGeneralized", "Marketplace", "GalleryGeneralized"),
    detected=("Supported",),
)
PROD = subscription(grants=[grant().to_object()])


def status(
    found: AzureSubscription, facts: SubscriptionFacts, now: datetime
) -> AzureSubscriptionStatus:
    return status_of(found, facts, registration(found, facts, None, now), now)


def conditions(found: AzureSubscription = PROD, **facts: Any) -> dict[str, Condition]:
    conditions = {c.type: c for c in status(found, replace(FACTS, **facts), NOW).conditions}
    assert all(len(c.message) <= READABLE for c in conditions.values())
    return conditions


def gate(what: Gate, reason: Reason = Reason.FEATURE_REGISTERED) -> FeatureGate:
    return FeatureGate(what, "name", FeatureState.REGISTERED, (), reason, "Because.")


def test_read_and_allowed_it_is_ready() -> None:
    found = status(PROD, FACTS, NOW)

    assert found.observed_generation == 2
    assert {c.type: (c.status, c.reason) for c in found.conditions} == {
        "Ready": ("True", "UpToDate"),
        "AccessVerified": ("True", "AccessVerified"),
    }
    assert found.machines is not None
    assert found.machines.to_object() == {
        "total": 3,
        "byImageClass": {"GalleryGeneralized": 2, "Marketplace": 1},
        "byDetectedState": {"Supported": 1},
    }


@pytest.mark.parametrize(("stalled", "kind"), [(True, "Stalled"), (False, "Reconciling")])
def test_trouble_is_stalled_where_only_a_person_can_change_it(stalled: bool, kind: str) -> None:
    found = conditions(trouble=Trouble(Reason.IDENTITY_FAILED, "No.", stalled))
    assert found["Ready"].status == "False"
    assert found["Ready"].reason == found[kind].reason == "IdentityFailed"
    assert {"Stalled", "Reconciling"} & set(found) == {kind}


def test_until_the_first_inventory_it_is_reconciling() -> None:
    found = conditions(read=False, permissions=None)
    assert (found["Ready"].status, found["Ready"].reason) == ("False", "InventoryPending")
    assert found["Reconciling"].status == "True"
    assert found["AccessVerified"].status == "Unknown"


def test_a_restart_says_nothing_new_until_something_was_read() -> None:
    before = status(PROD, FACTS, NOW)
    known = PROD.replace(status=before)
    assert status(known, replace(FACTS, read=False, permissions=None), NOW) == before
    edited = known.replace(metadata=known.metadata.replace(generation=3))
    changed = status(edited, replace(FACTS, read=False, permissions=None), NOW)
    assert changed.observed_generation == 3


def test_without_a_reading_what_was_known_of_machines_stays() -> None:
    known = PROD.replace(status=status(PROD, FACTS, NOW))
    lost = replace(
        FACTS, trouble=Trouble(Reason.AZURE_UNREACHABLE, "No.", stalled=False), image_classes=()
    )
    assert status(known, lost, NOW).machines == known.status.machines


def test_machines_that_vanished_at_once_are_told() -> None:
    found = conditions(shrunk=40)
    assert (found["Ready"].status, found["Ready"].reason) == ("False", "InventoryShrunk")
    assert "40 machines" in found["Ready"].message


class TestAccessVerified:
    def test_a_missing_right_is_named_with_its_scope(self) -> None:
        read = {f"/subscriptions/{SUBSCRIPTION}": (Permissions(("*/read",), ()),)}
        found = conditions(permissions=read)["AccessVerified"]
        assert (found.status, found.reason) == ("False", "AccessMissing")
        assert "assessPatches/action at /subscriptions/" in found.message

    def test_many_missing_rights_are_counted(self) -> None:
        nothing = {f"/subscriptions/{SUBSCRIPTION}": ()}
        assert "and 5 more" in conditions(permissions=nothing)["AccessVerified"].message

    def test_an_identity_that_may_not_read_its_permissions_has_no_role(self) -> None:
        found = conditions(permissions=None, denied=True)["AccessVerified"]
        assert (found.status, found.reason) == ("False", "AccessMissing")

    def test_permissions_that_could_not_be_read_are_unknown(self) -> None:
        found = conditions(permissions=None)["AccessVerified"]
        assert (found.status, found.reason) == ("Unknown", "AzureUnreachable")

    def test_without_an_identity_it_is_unknown_for_the_same_reason(self) -> None:
        trouble = Trouble(Reason.SECRET_NOT_FOUND, "No.", stalled=True)
        found = conditions(trouble=trouble, read=False)["AccessVerified"]
        assert (found.status, found.reason) == ("Unknown", "SecretNotFound")


class TestPreviewFeature:
    @pytest.mark.parametrize(
        ("what", "expected"),
        [(Gate.PASSED, "True"), (Gate.CLOSED, "False"), (Gate.UNDETERMINED, "Unknown")],
    )
    def test_the_gate_is_told(self, what: Gate, expected: str) -> None:
        assert conditions(gate=gate(what))["PreviewFeature"].status == expected

    def test_a_matrix_without_one_has_no_condition(self) -> None:
        assert "PreviewFeature" not in conditions()


class TestRegistration:
    """That it is asked for, and with which facts; what then is decided is in test_registration."""

    CLOSED = FeatureGate(
        Gate.CLOSED, "X", FeatureState.NOT_REGISTERED, (), Reason.PREVIEW_FEATURE_NOT_REGISTERED, ""
    )
    CONFIGURE = (grant(access="Configure").to_object(),)
    RECORD = FeatureRegistration(
        feature="X",
        step=RegistrationStep.COMPLETE,
        attempt_id="00000000-0000-4000-8000-000000000001",
        intent_time=NOW,
        previous_state=FeatureState.NOT_REGISTERED,
    )

    def register(self, **changes: Any) -> AzureSubscription:
        spec = {"grants": self.CONFIGURE, "previewFeature": {"mode": "Register"}}
        return subscription(**{**spec, **changes})

    def sent(self, found: AzureSubscription, **facts: Any) -> Send | None:
        known = replace(FACTS, **{"gate": self.CLOSED, **facts})
        return registration(found, known, None, NOW).send

    def test_in_mode_register_with_access_configure_it_is_sent(self) -> None:
        assert self.sent(self.register()) is Send.FEATURE

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"previewFeature": {"mode": "Check"}}, id="mode Check"),
            pytest.param({"previewFeature": {"mode": "Ignore"}}, id="mode Ignore"),
            pytest.param({"grants": ()}, id="no grant"),
            pytest.param({"grants": [grant().to_object()]}, id="access Patch"),
            pytest.param(
                {"grants": [grant(access="Configure", resourceGroups=["rg"]).to_object()]},
                id="Configure for a resource group",
            ),
            pytest.param(
                {"grants": [grant(access="Configure", tags={"env": ["prod"]}).to_object()]},
                id="Configure for tagged machines",
            ),
        ],
    )
    def test_it_is_not_sent_where_nothing_allows_it(self, changes: dict[str, Any]) -> None:
        assert self.sent(self.register(**changes)) is None

    @pytest.mark.parametrize(
        "facts",
        [
            pytest.param({"gate": None}, id="a matrix without a preview feature"),
            pytest.param({"read": False}, id="nothing was read yet"),
            pytest.param(
                {"trouble": Trouble(Reason.AZURE_UNREACHABLE, "No.", stalled=False)}, id="trouble"
            ),
        ],
    )
    def test_it_is_not_sent_on_facts_that_are_not_there(self, facts: dict[str, Any]) -> None:
        assert self.sent(self.register(), **facts) is None

    def test_what_is_recorded_outlives_trouble(self) -> None:
        trouble = Trouble(Reason.AZURE_UNREACHABLE, "No.", stalled=False)
        facts = replace(FACTS, gate=self.CLOSED, trouble=trouble)
        step = registration(self.register(), facts, self.RECORD, NOW)
        shown = status_of(self.register(), facts, step, NOW).preview_feature
        assert shown is not None
        assert shown.registration == self.RECORD

    def test_the_rights_to_register_belong_to_those_that_are_verified(self) -> None:
        some = {f"/subscriptions/{SUBSCRIPTION}": (Permissions(("*/read", "*/action"), ()),)}
        lacking = {
            f"/subscriptions/{SUBSCRIPTION}": (
                Permissions(("*/read", "*Patches/action", REGISTER_COMPUTE), ()),
            )
        }
        for held, expected in ((some, "True"), (lacking, "False")):
            found = conditions(self.register(), permissions=held, gate=self.CLOSED)
            assert found["AccessVerified"].status == expected
        assert f"lacks {REGISTER_FEATURE} at /subscriptions/" in found["AccessVerified"].message
        others = conditions(PROD, permissions=lacking, gate=self.CLOSED)
        assert others["AccessVerified"].status == "True"


class TestDuplicates:
    OLD = subscription("old", created="2025-01-01T00:00:00Z", subscriptionId=SUBSCRIPTION.upper())
    OTHER = subscription("other", subscriptionId="33333333-3333-3333-3333-333333333333")

    def test_the_second_for_one_subscription_is_stalled(self) -> None:
        first = duplicate_of(PROD, [PROD, self.OLD, self.OTHER])
        assert first == self.OLD
        trouble = duplicate(self.OLD)
        assert (trouble.reason, trouble.stalled) == (Reason.DUPLICATE_SUBSCRIPTION, True)
        assert "old" in trouble.message

    def test_the_first_counts(self) -> None:
        assert duplicate_of(self.OLD, [PROD, self.OLD]) is None
        assert duplicate_of(PROD, [PROD, self.OTHER]) is None

    def test_equally_old_the_name_decides(self) -> None:
        a, b = subscription("a"), subscription("b")
        assert sorted([b, a], key=seniority) == [a, b]
        assert duplicate_of(b, [b, a]) == a


def test_what_arc_enabled_servers_would_cost_is_said_until_it_is_accepted() -> None:
    servers = ("NotApplicable", "Marketplace", "NotApplicable")
    accepted = subscription(grants=[grant().to_object()], arcBilling="Accepted")
    cost = "up to US$ 10 a month for 2 servers"
    assert cost in conditions(image_classes=servers)["Ready"].message
    assert cost not in conditions()["Ready"].message
    assert cost not in conditions(accepted, image_classes=servers)["Ready"].message


def test_a_freeze_in_a_time_zone_that_nobody_knows_needs_a_person() -> None:
    freeze = {"name": "peak", "start": "2026-12-18T00:00:00", "end": "2027-01-04T00:00:00"}
    wrong = subscription(freezes=[{**freeze, "timeZone": "Europe/Belin"}])

    found = conditions(wrong)

    assert (found["Ready"].status, found["Stalled"].reason) == ("False", "TimeZoneUnknown")
    assert found["Ready"].message == (
        "In spec.freezes: timeZone Europe/Belin is not in the IANA time zone database: give a name "
        "such as Europe/Berlin, spelt as there. Until then nothing is installed in this "
        "subscription; assessments go on."
    )
    assert "Stalled" not in conditions(subscription(freezes=[freeze]))
