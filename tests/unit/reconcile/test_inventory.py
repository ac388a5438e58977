"""What Azure has, as last read. Absence is not deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from fakes import (
    MINUTE,
    START,
    SUBSCRIPTION,
    VM,
    Azure,
    VirtualClock,
    assessment_row,
    machine,
    numbered,
)

from azpatch.api import MachineKind
from azpatch.domain.facts import (
    AssessmentResult,
    Machine,
    Snapshot,
)
from azpatch.domain.ids import key
from azpatch.reconcile.inventory import Changes, Inventory, SubscriptionInventory

LATER = START + MINUTE


def shown(
    machines: Iterable[Machine] = (), rows: dict[str, AssessmentResult] | None = None
) -> Snapshot:
    return Snapshot({key(m.id): m for m in machines}, {}, rows or {})


def many(count: int) -> list[Machine]:
    return [machine(id=numbered(number)) for number in range(count)]


SERVER = machine(
    id=f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers"
    "/Microsoft.HybridCompute/machines/dc-7",
    kind=MachineKind.ARC_SERVER,
)


@pytest.fixture
def inventory() -> SubscriptionInventory:
    return SubscriptionInventory(SUBSCRIPTION, Azure([]), ())


class TestWhatARefreshFinds:
    def test_the_first_one_is_news_of_all(self, inventory: SubscriptionInventory) -> None:
        found = inventory.take(shown([machine()]), (), START)

        assert found == Changes(frozenset({key(VM)}), subscription=True)
        assert inventory.refreshed == START

    def test_the_same_again_is_no_news(self, inventory: SubscriptionInventory) -> None:
        rows = {key(VM): assessment_row()}
        inventory.take(shown([machine()], rows), (), START)

        assert inventory.take(shown([machine()], rows), (), LATER) == Changes()

    def test_an_arc_enabled_server_is_a_machine_like_others(
        self, inventory: SubscriptionInventory
    ) -> None:
        rows = {key(SERVER.id): assessment_row()}
        inventory.take(shown([machine()]), (), START)

        found = inventory.take(shown([machine(), SERVER], rows), (), LATER)

        assert found == Changes(frozenset({key(SERVER.id)}))
        assert set(inventory.machines) == {key(VM), key(SERVER.id)}

    @pytest.mark.parametrize(("machines", "seen"), [([SERVER], False), ([machine(), SERVER], True)])
    def test_a_virtual_machine_shows_that_compute_is_registered(
        self, inventory: SubscriptionInventory, machines: list[Machine], seen: bool
    ) -> None:
        inventory.take(shown(machines), (), START)
        assert inventory.has_virtual_machines is seen

    @pytest.mark.parametrize(
        "snapshot",
        [
            pytest.param(shown([machine(power_state="Deallocated")]), id="its model"),
            pytest.param(shown([machine()], {key(VM): assessment_row()}), id="its row"),
        ],
    )
    def test_a_machine_that_changed_is_news(
        self, inventory: SubscriptionInventory, snapshot: Snapshot
    ) -> None:
        inventory.take(shown([machine()]), (), START)
        assert inventory.take(snapshot, (), LATER) == Changes(frozenset({key(VM)}))

    def test_other_subscriptions_are_not_its(self, inventory: SubscriptionInventory) -> None:
        there = VM.replace(SUBSCRIPTION, "22222222-2222-2222-2222-222222222222")
        inventory.take(shown([machine(id=there)], {key(there): assessment_row()}), (), START)
        assert (inventory.machines, inventory.assessments) == ({}, {})


class TestLostMachines:
    def test_they_stay_and_are_missing_until_arm_says_404(
        self, inventory: SubscriptionInventory
    ) -> None:
        inventory.take(shown([machine()], {key(VM): assessment_row()}), (), START)

        found = inventory.take(shown(), (), LATER)

        assert found.machines == {key(VM)}
        assert inventory.missing == {key(VM)}
        assert set(inventory.machines) == {key(VM)}
        assert inventory.gone == set()

        inventory.confirm_gone(key(VM))

        assert (inventory.machines, inventory.assessments) == ({}, {})
        assert (inventory.missing, inventory.gone) == (set(), {key(VM)})
        assert inventory.take(shown(), [VM], LATER).machines == frozenset(), "gone is not missing"

    def test_one_that_arm_shows_is_there(self, inventory: SubscriptionInventory) -> None:
        inventory.take(shown([machine()]), (), START)
        inventory.take(shown(), (), LATER)

        inventory.confirm_there(machine(power_state="Deallocated"))

        assert inventory.missing == set()
        assert inventory.machines[key(VM)].power_state == "Deallocated"

    def test_what_arm_does_not_tell_is_kept(self, inventory: SubscriptionInventory) -> None:
        """ARM's answer does not say who manages the resource group, and an AKS node stays one."""
        inventory.take(shown([machine(group_managed_by="/cluster")]), (), START)
        inventory.take(shown(), (), LATER)

        inventory.confirm_there(machine())

        assert inventory.machines[key(VM)].group_managed_by == "/cluster"

    def test_another_machine_under_the_name_inherits_nothing_but_its_group(
        self, inventory: SubscriptionInventory
    ) -> None:
        inventory.take(shown([machine(tags={"a": "b"})]), (), START)
        inventory.take(shown(), (), LATER)
        inventory.confirm_there(machine(vm_id="vm-2"))
        assert inventory.machines[key(VM)] == machine(vm_id="vm-2")

    def test_those_seen_before_this_process_began_are_missed_too(
        self, inventory: SubscriptionInventory
    ) -> None:
        inventory.take(shown(), [VM.upper()], START)
        assert inventory.missing == {key(VM)}

    def test_one_made_anew_under_the_name_is_there_again(
        self, inventory: SubscriptionInventory
    ) -> None:
        inventory.take(shown([machine()]), (), START)
        inventory.confirm_gone(key(VM))
        inventory.take(shown([machine(vm_id="vm-2")]), (), LATER)
        assert inventory.gone == set()
        assert inventory.machines[key(VM)].vm_id == "vm-2"

    @pytest.mark.parametrize(
        ("total", "lost", "shrunk"),
        [
            pytest.param(20, 0, 0, id="none"),
            pytest.param(20, 2, 0, id="a tenth is believed, once confirmed"),
            pytest.param(20, 3, 3, id="more than a tenth is held"),
            pytest.param(20, 20, 20, id="all: an empty answer is what a lost role gives"),
            pytest.param(1, 1, 1, id="the only one"),
        ],
    )
    def test_more_than_a_tenth_at_once_has_shrunk(
        self, inventory: SubscriptionInventory, total: int, lost: int, shrunk: int
    ) -> None:
        inventory.take(shown(many(total)), (), START)
        inventory.take(shown(many(total)[lost:]), (), LATER)

        assert inventory.shrunk == shrunk
        assert len(inventory.missing) == lost
        assert len(inventory.machines) == total

    def test_it_stays_shrunk_until_the_machines_are_spoken_of(
        self, inventory: SubscriptionInventory
    ) -> None:
        inventory.take(shown(many(20)), (), START)
        inventory.take(shown(many(10)), (), LATER)
        inventory.take(shown(many(10)), (), LATER)
        assert inventory.shrunk == 10
        inventory.take(shown(many(20)), (), LATER)
        assert (inventory.shrunk, inventory.missing) == (0, set())


class TestRows:
    """Resource Graph's replicas may answer with an older row after a newer one."""

    OLD = assessment_row(last_modified=START - MINUTE, critical_and_security=9)
    NEW = assessment_row(last_modified=START)

    @pytest.mark.parametrize("way", ["a refresh", "a look-up"])
    @pytest.mark.parametrize(
        ("known", "seen", "taken"),
        [
            pytest.param(None, OLD, True, id="the first"),
            pytest.param(OLD, NEW, True, id="a newer"),
            pytest.param(NEW, OLD, False, id="an older never replaces a newer"),
            pytest.param(NEW, NEW, False, id="the same is no news"),
            pytest.param(NEW, replace(NEW, other=7), True, id="as old, and different"),
            pytest.param(NEW, replace(NEW, last_modified=None), False, id="without a time"),
        ],
    )
    def test_which_row_counts(
        self,
        inventory: SubscriptionInventory,
        way: str,
        known: AssessmentResult | None,
        seen: AssessmentResult,
        taken: bool,
    ) -> None:
        inventory.take(shown([machine()], {key(VM): known} if known else {}), (), START)

        if way == "a refresh":
            news = bool(inventory.take(shown([machine()], {key(VM): seen}), (), LATER).machines)
        else:
            news = inventory.take_row(key(VM), seen)

        assert news is taken
        assert inventory.assessments[key(VM)] == (seen if taken else known)

    def test_a_row_that_is_no_longer_shown_is_kept(self, inventory: SubscriptionInventory) -> None:
        inventory.take(shown([machine()], {key(VM): self.NEW}), (), START)
        inventory.take(shown([machine()]), (), LATER)
        assert inventory.assessments[key(VM)] == self.NEW


class TestAllSubscriptions:
    def test_a_subscription_is_configured_by_its_id_without_case(self) -> None:
        all_of_them, azure = Inventory(VirtualClock()), Azure([])
        assert all_of_them.configure(SUBSCRIPTION.upper(), azure, ("/a",))
        assert not all_of_them.configure(SUBSCRIPTION, azure, ("/a",))
        assert all_of_them.configure(SUBSCRIPTION, azure, ("/b",)), "other scopes are news"
        found = all_of_them.of(VM.upper())
        assert found is not None
        assert found is all_of_them.subscription(SUBSCRIPTION)
        assert found.scopes == ("/b",)

    def test_another_client_goes_on_from_what_is_known(self) -> None:
        """A rotated secret changes nothing; what a lesser identity does not see is missing, not
        deleted."""
        all_of_them = Inventory(VirtualClock())
        all_of_them.configure(SUBSCRIPTION, Azure([]), ())
        first = all_of_them.of(VM)
        assert first is not None
        first.take(shown([machine()]), (), START)
        assert all_of_them.machine(VM.upper()) == machine()

        assert all_of_them.configure(SUBSCRIPTION, Azure([]), ())

        assert all_of_them.machine(VM) == machine()

    def test_what_is_not_configured_is_not_known(self) -> None:
        all_of_them = Inventory(VirtualClock())
        assert all_of_them.of(VM) is None
        assert all_of_them.machine(VM) is None
        assert all_of_them.row(VM) is None
        assert not all_of_them.is_gone(VM)
