"""What an AzureSubscription's status says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from domain_builders import NOW, READABLE, SUBSCRIPTION, grant, subscription

from azpatch.api.common import Condition
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AzureSubscription, FeatureState
from azpatch.domain.facts import Permissions
from azpatch.domain.feature import FeatureGate, Gate
from azpatch.domain.subscription import (
    SubscriptionFacts,
    Trouble,
    duplicate,
    duplicate_of,
    seniority,
    status,
)

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
