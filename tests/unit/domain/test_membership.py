"""Which machines a policy means, and which PatchTargets come, stay and go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from domain_builders import (
    DEFINITION,
    SERVER,
    SUBSCRIPTION,
    VERSION,
    VM,
    arc_server,
    assess_only,
    grant,
    machine,
    patch_policy,
    subscription,
)
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.common import OsType
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AccessLevel
from azpatch.domain.facts import ImageReference, Machine
from azpatch.domain.grants import Namespace
from azpatch.domain.ids import key
from azpatch.domain.image import Image, classify
from azpatch.domain.membership import Membership, Scope, lowest_access, membership, usable

WEB = Namespace("web", {})
ONE = patch_policy()
OF_IMAGE = patch_policy(target={"galleryImage": {"id": DEFINITION}})
OTHER = VM.replace("web-1", "web-2")


def scope(*machines: Machine, gone: tuple[str, ...] = (), **changes: object) -> Scope:
    known = Scope(
        "prod",
        [grant()],
        read=True,
        machines={key(m.id): m for m in machines},
        gone=frozenset(key(id_) for id_ in gone),
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def built_from(found: Machine) -> Image:
    return classify(found, {})


def of(
    policy: PatchPolicy,
    found: Scope | None,
    present: tuple[str, ...] = (),
    *,
    awaited: bool = False,
) -> Membership:
    scopes = {SUBSCRIPTION: found} if found else {}
    here = frozenset(key(id_) for id_ in present)
    return membership(policy, WEB, scopes, here, built_from, lambda found: awaited)


def test_an_arc_enabled_server_is_one_machine() -> None:
    policy = patch_policy(target={"arcMachine": {"id": SERVER.upper()}})

    found = of(policy, scope(arc_server(), machine()))

    assert [m.machine_id for m in found.members.values()] == [SERVER]
    assert of(policy, scope(machine())).trouble is not None, "it is not there, or not granted"


class TestOneMachine:
    def test_a_granted_machine_is_a_member(self) -> None:
        found = of(ONE, scope(machine(id=VM.upper())))

        assert [m.machine_id for m in found.members.values()] == [VM.upper()]
        assert [m.azure_subscription for m in found.members.values()] == ["prod"]
        assert (found.kept, found.trouble) == (frozenset(), None)

    @pytest.mark.parametrize(
        ("around", "reason", "stalled", "stays"),
        [
            pytest.param(
                None, Reason.AZURE_SUBSCRIPTION_MISSING, False, True, id="no AzureSubscription"
            ),
            pytest.param(
                scope(), Reason.NOT_GRANTED, True, True, id="not in the inventory and not gone"
            ),
            pytest.param(
                scope(gone=(VM,)), Reason.NOT_GRANTED, True, False, id="gone, says ARM itself"
            ),
            pytest.param(
                scope(machine(), grants=[]), Reason.NOT_GRANTED, True, False, id="not granted"
            ),
            pytest.param(
                scope(machine(), grants=[grant(resourceGroups=["other"])]),
                Reason.NOT_GRANTED,
                True,
                False,
                id="granted, but not this machine",
            ),
        ],
    )
    def test_why_not_and_whether_its_patch_target_stays(
        self, around: Scope | None, reason: Reason, stalled: bool, stays: bool
    ) -> None:
        found = of(ONE, around, present=(VM,))

        assert not found.members
        assert found.trouble is not None
        assert (found.trouble.reason, found.trouble.stalled) == (reason, stalled)
        assert found.kept == (frozenset({key(VM)}) if stays else frozenset())

    def test_until_the_inventory_was_read_it_waits(self) -> None:
        trouble = of(ONE, scope(read=False)).trouble

        assert trouble is not None
        assert (trouble.reason, trouble.stalled) == (Reason.AZURE_SUBSCRIPTION_NOT_READY, False)

    def test_what_a_restarted_operator_has_not_read_yet_stays_as_it_is(self) -> None:
        assert of(ONE, scope(read=False), present=(VM,)) == Membership(
            {}, frozenset({key(VM)}), None
        )

    def test_does_not_exist_and_may_not_see_it_are_one_message(self) -> None:
        absent = of(ONE, scope()).trouble
        hidden = of(ONE, scope(machine(), grants=[])).trouble
        gone = of(ONE, scope(gone=(VM,))).trouble

        assert absent == hidden == gone
        assert absent is not None
        assert VM in absent.message
        assert "namespace web" in absent.message
        assert SUBSCRIPTION in absent.message
        assert "spec.grants" in absent.message


class TestAnImage:
    def test_every_machine_built_from_it_that_grants_allow_is_a_member(self) -> None:
        inventory = scope(
            machine(),
            machine(id=OTHER, image=ImageReference(id=VERSION)),
            machine(id=VM + "3", image=ImageReference(id=DEFINITION + "2")),
            machine(id=VM.replace("/rg/", "/other/")),
            grants=[grant(resourceGroups=["rg"])],
        )

        assert set(of(OF_IMAGE, inventory).members) == {key(VM), key(OTHER)}

    def test_machines_of_every_subscription_are_members_whose_grants_name_the_namespace(
        self,
    ) -> None:
        there = machine(id=VM.replace(SUBSCRIPTION, "s2"))
        hidden = machine(id=VM.replace(SUBSCRIPTION, "s3"))
        scopes = {
            SUBSCRIPTION: scope(machine()),
            "s2": scope(there, name="second"),
            "s3": scope(hidden, grants=[]),
        }

        found = membership(OF_IMAGE, WEB, scopes, frozenset(), built_from, lambda found: False)

        assert {m.azure_subscription for m in found.members.values()} == {"prod", "second"}

    @pytest.mark.parametrize(
        ("around", "stays"),
        [
            pytest.param(scope(), True, id="no longer in the inventory: absence is not deletion"),
            pytest.param(scope(read=False), True, id="the inventory was not read yet"),
            pytest.param(None, True, id="its AzureSubscription is not configured any more"),
            pytest.param(scope(gone=(VM,)), False, id="gone, says ARM itself"),
            pytest.param(
                scope(machine(image=ImageReference(id=DEFINITION + "2"))),
                False,
                id="built from another image now",
            ),
            pytest.param(scope(machine(), grants=[]), False, id="not granted any more"),
        ],
    )
    def test_which_patch_targets_stay(self, around: Scope | None, stays: bool) -> None:
        found = of(OF_IMAGE, around, present=(VM,))

        assert not found.members
        assert found.kept == (frozenset({key(VM)}) if stays else frozenset())

    @pytest.mark.parametrize(
        ("around", "reason", "stalled"),
        [
            pytest.param(scope(), Reason.NO_MACHINES, True, id="no such machine"),
            pytest.param(None, Reason.NO_MACHINES, True, id="no AzureSubscription at all"),
            pytest.param(
                scope(read=False),
                Reason.AZURE_SUBSCRIPTION_NOT_READY,
                False,
                id="the inventory was not read yet",
            ),
        ],
    )
    def test_without_machines_it_says_why(
        self, around: Scope | None, reason: Reason, stalled: bool
    ) -> None:
        trouble = of(OF_IMAGE, around).trouble

        assert trouble is not None
        assert (trouble.reason, trouble.stalled) == (reason, stalled)


def selecting(*names: str, **fields: object) -> PatchPolicy:
    """A policy whose generation was decided before."""
    target = {"selector": {"azureSubscriptions": list(names), **fields}}
    return patch_policy(target=target, status={"observedGeneration": 3})


def edited(policy: PatchPolicy) -> PatchPolicy:
    return policy.replace(metadata=policy.metadata.replace(generation=4))


LINUX_IN_PROD = selecting("prod", osTypes=["Linux"])
FROM_IMAGE = selecting("prod", imageClasses=["GalleryGeneralized"])
"""VM is taken for it by its osProfile: nobody has read the definition."""
SPECIALIZED = replace(machine(), computer_name=None)


class TestASelector:
    def test_every_machine_that_matches_and_that_grants_allow_is_a_member(self) -> None:
        inventory = scope(
            machine(),
            machine(id=OTHER, os_type=OsType.WINDOWS),
            machine(id=VM.replace("/rg/", "/other/")),
            arc_server(),
            grants=[grant(resourceGroups=["rg"])],
        )

        assert set(of(LINUX_IN_PROD, inventory).members) == {key(VM), key(SERVER)}

    def test_only_subscriptions_that_it_names_count(self) -> None:
        there = machine(id=VM.replace(SUBSCRIPTION, "s2"))
        scopes = {SUBSCRIPTION: scope(machine()), "s2": scope(there, name="second")}

        def members(*names: str) -> set[str]:
            found = membership(
                selecting(*names), WEB, scopes, frozenset(), built_from, lambda found: False
            )
            assert found.trouble is None
            return {one.azure_subscription for one in found.members.values()}

        assert members("second") == {"second"}
        assert members("second", "prod") == {"second", "prod"}

    def test_a_name_that_nobody_has_is_told_and_the_others_are_looked_after(self) -> None:
        found = of(selecting("prod", "stagingg"), scope(machine()))

        assert set(found.members) == {key(VM)}
        assert found.trouble is not None
        assert (found.trouble.reason, found.trouble.stalled) == (
            Reason.AZURE_SUBSCRIPTION_MISSING,
            False,
        )
        assert "names stagingg, and no AzureSubscription" in found.trouble.message

    def test_without_machines_it_says_why(self) -> None:
        trouble = of(selecting("prod", osTypes=["Windows"]), scope(machine())).trouble

        assert trouble is not None
        assert (trouble.reason, trouble.stalled) == (Reason.NO_MACHINES, True)
        assert trouble.message.startswith(
            "No machine that target.selector matches that namespace web may patch."
        )

    @pytest.mark.parametrize(
        ("policy", "around", "stays"),
        [
            pytest.param(LINUX_IN_PROD, scope(), True, id="no longer in the inventory"),
            pytest.param(LINUX_IN_PROD, None, True, id="its subscription is not configured"),
            pytest.param(
                LINUX_IN_PROD, scope(machine(os_type=OsType.WINDOWS)), False, id="it does not match"
            ),
            pytest.param(
                selecting("second"), scope(machine()), False, id="its subscription is not named"
            ),
        ],
    )
    def test_which_patch_targets_stay(
        self, policy: PatchPolicy, around: Scope | None, stays: bool
    ) -> None:
        found = of(policy, around, present=(VM,))

        assert not found.members
        assert found.kept == (frozenset({key(VM)}) if stays else frozenset())

    @pytest.mark.parametrize(
        ("policy", "around", "awaited", "stays"),
        [
            pytest.param(FROM_IMAGE, scope(SPECIALIZED), True, True, id="until it is read"),
            pytest.param(FROM_IMAGE, scope(SPECIALIZED), False, False, id="it is read, or refused"),
            pytest.param(
                FROM_IMAGE, scope(SPECIALIZED, grants=[]), True, False, id="it is not granted"
            ),
            pytest.param(
                edited(FROM_IMAGE), scope(SPECIALIZED), True, False, id="the policy was edited"
            ),
            pytest.param(
                selecting("prod", locations=["northeurope"]),
                scope(SPECIALIZED),
                True,
                False,
                id="the image does not matter",
            ),
        ],
    )
    def test_who_was_under_it_stays_until_its_image_definition_is_read(
        self, policy: PatchPolicy, around: Scope, awaited: bool, stays: bool
    ) -> None:
        found = of(policy, around, present=(VM,), awaited=awaited)

        assert not found.members
        assert found.kept == (frozenset({key(VM)}) if stays else frozenset())
        assert found.trouble is not None
        assert (found.trouble.reason is Reason.INVENTORY_PENDING) is stays


NUMBERS = st.frozensets(st.integers(0, 5))


@given(shown=NUMBERS, gone=NUMBERS, present=NUMBERS, of_image=st.booleans())
def test_absence_is_not_deletion(
    shown: frozenset[int], gone: frozenset[int], present: frozenset[int], of_image: bool
) -> None:
    """A PatchTarget goes only if its machine was seen, or if ARM itself says that it is gone."""
    ids = [VM.replace("web-1", f"web-{number}") for number in range(6)]
    inventory = scope(
        *(machine(id=ids[number]) for number in shown - gone),
        gone=tuple(ids[number] for number in gone),
    )
    policy = OF_IMAGE if of_image else patch_policy(target={"virtualMachine": {"id": ids[0]}})
    here = present if of_image else present & {0}

    found = of(policy, inventory, present=tuple(ids[number] for number in here))

    staying = found.members.keys() | found.kept
    unknown = {key(ids[number]) for number in here - shown - gone}
    assert unknown <= staying
    assert not staying & {key(ids[number]) for number in gone}
    assert not found.members.keys() & found.kept


class TestSeveralAzureSubscriptions:
    def test_of_two_for_one_subscription_the_senior_counts(self) -> None:
        first = subscription("a", subscriptionId=SUBSCRIPTION)
        second = subscription("b", subscriptionId=SUBSCRIPTION.upper())

        assert usable([first, second]) == {SUBSCRIPTION: first}

    def test_one_that_is_being_deleted_counts_no_more_and_keeps_its_place(self) -> None:
        leaving = subscription("a", metadata={"deletionTimestamp": "2026-11-23T00:00:00Z"})

        assert usable([leaving, subscription("b")]) == {}


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        pytest.param(patch_policy(), AccessLevel.PATCH, id="install"),
        pytest.param(assess_only(), AccessLevel.ASSESS, id="assess only"),
        pytest.param(assess_only(assessment={"mode": "None"}), AccessLevel.READ, id="report only"),
    ],
)
def test_the_access_that_a_policy_needs(policy: PatchPolicy, level: AccessLevel) -> None:
    assert lowest_access(policy) is level
