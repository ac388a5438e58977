"""Reading is lenient where that is safe, writing has no nulls, values keep their meaning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from azpatch.api.common import Condition, UnreadableObjectError
from azpatch.api.install import LinuxClassification
from azpatch.api.policy import GalleryImageTarget, PatchPolicy
from azpatch.api.rollout import Rollout, Spread, SpreadBy, share_of
from azpatch.api.subscription import AccessLevel, AzureSubscription
from azpatch.api.target import Attempts, PatchTarget, PatchTargetStatus

GROUP = (
    "/subscriptions/6f1c2a34-0000-4000-8000-000000000001/resourceGroups/rg/providers"
    "/Microsoft.Compute"
)
MACHINE = f"{GROUP}/virtualMachines/web-1"
IMAGE = f"{GROUP}/galleries/golden/images/web"

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def policy(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": "web", "namespace": "web", "managedFields": [{"manager": "x"}]},
        "spec": {"target": {"virtualMachine": {"id": MACHINE}}, **spec},
    }


def target(**status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchTarget",
        "metadata": {"name": "web-1-5d0c7a91be", "namespace": "web"},
        "spec": {"machineId": MACHINE, "policy": "web"},
        "status": status,
    }


OPERATION = {
    "kind": "Install",
    "intentTime": "2026-11-23T12:00:00Z",
    "attemptId": "a",
    "deadline": "2026-11-23T15:30:00Z",
    "state": "Intent",
}


class TestReading:
    def test_absent_values_have_the_defaults_of_the_design(self) -> None:
        spec = PatchPolicy.from_object(policy(install={"linux": {}})).spec
        assert spec.suspend is False
        assert spec.assessment.mode == "Operator"
        assert spec.assessment.max_age == timedelta(hours=24)
        assert spec.install is not None
        assert spec.install.executor == "Operator"
        assert spec.install.maximum_duration == timedelta(hours=2)
        assert spec.install.reboot_setting == "IfRequired"
        assert spec.install.on_undetermined_support == "Wait"
        assert spec.install.linux is not None
        assert spec.install.linux.classifications_to_include == (
            LinuxClassification.CRITICAL,
            LinuxClassification.SECURITY,
        )
        assert spec.max_unavailable == "10%"
        assert spec.spread == (Spread(by=SpreadBy.AVAILABILITY_SET, max_unavailable=1),)

    def test_an_unknown_field_is_ignored(self) -> None:
        read = PatchPolicy.from_object(policy(freezes=[{"name": "year-end"}]))
        assert read.spec == PatchPolicy.from_object(policy()).spec

    def test_a_spec_that_cannot_be_understood_is_an_error_that_says_where(self) -> None:
        body = policy(install={"linux": {}, "executor": "MaintenanceConfiguration"})
        with pytest.raises(UnreadableObjectError) as unreadable:
            PatchPolicy.from_object(body)
        assert str(unreadable.value) == (
            "PatchPolicy web/web: spec.install.executor: Input should be 'Operator'"
        )

    def test_a_status_field_that_cannot_be_understood_is_as_good_as_absent(self) -> None:
        body = target(
            image={"class": "Confidential"},
            machine={"vmId": "a", "powerState": "Running"},
            conditions=[{"type": "Ready", "status": "Perhaps"}],
        )
        status = PatchTarget.from_object(body).status
        assert status.image is None
        assert status.conditions == ()
        assert status.machine is not None
        assert status.machine.power_state == "Running"

    @pytest.mark.parametrize(
        "status",
        [
            {"operation": {**OPERATION, "state": "Paused"}},
            {"operation": {**OPERATION, "kind": "Hotpatch"}},
            {"attempts": {"installPosts": "many"}},
            {"governs": "perhaps"},
        ],
        ids=["operation's state", "operation's kind", "attempts", "governs"],
    )
    def test_a_lock_that_cannot_be_understood_is_never_taken_for_none(
        self, status: dict[str, Any]
    ) -> None:
        with pytest.raises(UnreadableObjectError, match="web-1-5d0c7a91be: status"):
            PatchTarget.from_object(target(**status))

    def test_an_object_without_metadata_of_ours_is_read(self) -> None:
        subscription = AzureSubscription.from_object(
            {
                "apiVersion": "azpatch.dev/v1alpha1",
                "kind": "AzureSubscription",
                "metadata": {"name": "prod"},
                "spec": {
                    "subscriptionId": "6f1c2a34-0000-4000-8000-000000000001",
                    "tenantId": "72f988bf-0000-4000-8000-000000000001",
                    "supportMatrix": "2023-05",
                    "grants": [{"name": "all", "namespaces": {"selector": {}}, "access": "Assess"}],
                },
                "status": {"observedGeneration": -1},
            }
        )
        grant = subscription.spec.grants[0]
        assert grant.namespaces.selector is not None
        assert grant.access is AccessLevel.ASSESS
        assert subscription.spec.identity is None
        assert subscription.status.observed_generation == -1


class TestWriting:
    def test_a_fresh_target_has_no_status_and_no_empty_metadata(self) -> None:
        body = target()
        assert PatchTarget.from_object(body).to_object() == {
            key: value for key, value in body.items() if key != "status"
        }

    def test_an_empty_list_in_a_spec_is_not_the_default(self) -> None:
        masks = {"classificationsToInclude": [], "packageNameMasksToInclude": ["openssl"]}
        written = PatchPolicy.from_object(policy(install={"linux": masks})).to_object()
        assert written["spec"]["install"]["linux"]["classificationsToInclude"] == []

    def test_an_empty_selector_stays(self) -> None:
        """Else every namespace would become none, or the other way round."""
        written = PatchPolicy.from_object(policy(schedule={"always": {}})).to_object()
        assert written["spec"]["schedule"]["always"] == {}

    def test_a_status_has_no_nulls_and_no_empty_lists(self) -> None:
        status = {"governs": True, "image": {"class": "Unknown"}, "verdicts": [], "machine": None}
        assert PatchTarget.from_object(target(**status)).status_object() == {
            "governs": True,
            "image": {"class": "Unknown"},
        }

    @pytest.mark.parametrize(
        "time",
        [NOON, NOON.astimezone(tz=None), NOON + timedelta(microseconds=1)],
        ids=["UTC", "local", "fraction"],
    )
    def test_a_time_is_the_same_instant_after_a_round_trip(self, time: datetime) -> None:
        written = Attempts(retry_after=time).to_object()
        assert written["retryAfter"].endswith("Z")
        assert Attempts.model_validate(written).retry_after == time

    def test_a_message_that_is_too_long_is_cut_and_the_status_is_written(self) -> None:
        ready = Condition(
            type="Ready",
            status="False",
            reason="VMStopped",
            message="x" * 5000,
            last_transition_time=NOON,
        )
        assert len(ready.message) == 1024
        kept = PatchTargetStatus(conditions=(ready,)).conditions[0].message
        assert len(kept) == 320
        assert kept.endswith("…")

    def test_replace_takes_a_field_away_and_checks_the_others(self) -> None:
        attempts = Attempts(install_posts=1, retry_after=NOON)
        assert attempts.replace(retry_after=None) == Attempts(install_posts=1)
        with pytest.raises(ValueError, match="greater than or equal to 0"):
            attempts.replace(install_posts=-1)


class TestValues:
    @pytest.mark.parametrize(
        ("image_id", "definition", "version"),
        [
            (IMAGE, IMAGE, None),
            (f"{IMAGE}/versions/1.4.0", IMAGE, "1.4.0"),
            (f"{IMAGE}/VERSIONS/1.4.0".upper(), IMAGE.upper(), "1.4.0"),
        ],
        ids=["definition", "version", "upper case"],
    )
    def test_an_image_is_a_definition_and_perhaps_a_version(
        self, image_id: str, definition: str, version: str | None
    ) -> None:
        image = GalleryImageTarget(id=image_id)
        assert (image.definition_id, image.version) == (definition, version)

    @pytest.mark.parametrize(
        ("total", "share", "expected"),
        [(120, "10%", 12), (19, "10%", 1), (5, "10%", 1), (0, "10%", 1), (7, "100%", 7), (7, 3, 3)],
    )
    def test_a_share_is_rounded_down_and_at_least_one(
        self, total: int, share: int | str, expected: int
    ) -> None:
        assert share_of(total, share) == expected

    @pytest.mark.parametrize("share", [0, -1, "0%", "101%", "10", True, None])
    def test_a_share_that_means_nothing_is_refused(self, share: Any) -> None:
        with pytest.raises(ValueError, match="maxUnavailable"):
            Rollout.model_validate({"maxUnavailable": share})

    def test_an_empty_list_of_groups_is_not_the_default(self) -> None:
        spec = PatchPolicy.from_object(policy(install={"linux": {}}, rollout={"spread": []})).spec
        assert spec.spread == ()

    @pytest.mark.parametrize("entry", [{"by": "Tag"}, {"by": "Zone", "key": "role"}])
    def test_a_tag_has_a_key_and_nothing_else_has(self, entry: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="key"):
            Spread.model_validate({**entry, "maxUnavailable": 1})

    def test_access_levels_are_ordered(self) -> None:
        assert sorted(AccessLevel) == ["Read", "Assess", "Patch", "Configure"]
        assert max(AccessLevel.READ, AccessLevel.PATCH) is AccessLevel.PATCH
        assert AccessLevel.ASSESS >= AccessLevel.ASSESS > AccessLevel.READ
        assert AccessLevel.READ < AccessLevel.ASSESS <= AccessLevel.PATCH
