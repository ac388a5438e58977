"""The inventory is read on an interval and when asked for; vanished machines are asked about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random

import pytest
from fakes import (
    HOUR,
    IMAGE,
    MINUTE,
    SECOND,
    SUBSCRIPTION,
    VM,
    Azure,
    VirtualClock,
    machine,
    numbered,
    settle,
)

from azpatch.api.common import ImageClass
from azpatch.azure.port import AzureError, Denied, Retry, SignInFailed
from azpatch.domain.facts import ImageDefinition, Snapshot
from azpatch.domain.ids import key
from azpatch.domain.image import Image
from azpatch.reconcile.inventory import Changes, Inventory, SubscriptionInventory
from azpatch.reconcile.refresh import CONFIRMATIONS, Refresher

INTERVAL = 5 * MINUTE
SECOND_SUBSCRIPTION = SUBSCRIPTION.replace("1", "2")
SPECIALIZED = ImageDefinition(IMAGE, "Specialized")


class Reading:
    """A refresher over one identity's Azure."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.azure = Azure([])
        self.inventory = Inventory(self.clock)
        self.known: list[str] = []
        self.gated = True
        self.changes: list[tuple[str, Changes]] = []
        self.refresher = Refresher(
            self.inventory,
            self.clock,
            Random(1),
            INTERVAL,
            lambda _subscription: self.known,
            lambda _subscription: self.gated,
            lambda subscription, changes: self.changes.append((subscription, changes)),
        )

    def configure(self, subscription: str = SUBSCRIPTION, azure: Azure | None = None) -> None:
        self.inventory.configure(subscription, azure or self.azure, (f"/{subscription}",))
        self.refresher.force(subscription)

    @property
    def subscription(self) -> SubscriptionInventory:
        found = self.inventory.subscription(SUBSCRIPTION)
        assert found is not None
        return found

    def image(self) -> Image:
        """Of the machine that there is from the start."""
        found = self.inventory.machine(VM)
        assert found is not None
        return self.inventory.image(found)

    @property
    def rounds(self) -> int:
        return self.azure.asked("snapshot")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.refresher.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Silent(Azure):
    """Does not answer until it is told to."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__(journal)
        self.answers = asyncio.Event()

    async def snapshot(self, subscriptions: Iterable[str]) -> Snapshot:
        shown = await super().snapshot(subscriptions)
        await self.answers.wait()
        return shown


@pytest.fixture
def reading() -> Reading:
    reading = Reading()
    reading.azure.add(machine())
    return reading


class TestWhen:
    async def test_without_subscriptions_nothing_is_read(self, reading: Reading) -> None:
        async with reading.running():
            await reading.clock.advance(HOUR)
        assert reading.azure.reads == []

    async def test_a_new_subscription_is_read_at_once(self, reading: Reading) -> None:
        async with reading.running():
            reading.configure()
            await settle()
            assert reading.subscription.refreshed == timedelta(0)
            assert set(reading.subscription.machines) == {key(VM)}

    async def test_then_every_interval_less_up_to_a_tenth(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            for _ in range(20):
                before, rounds = reading.clock.now(), reading.rounds
                while reading.rounds == rounds:
                    await reading.clock.advance(SECOND)
                assert 0.9 * INTERVAL <= reading.clock.now() - before <= INTERVAL + SECOND

    async def test_subscriptions_of_one_identity_are_read_in_one_query(
        self, reading: Reading
    ) -> None:
        reading.configure()
        reading.configure(SECOND_SUBSCRIPTION)
        async with reading.running():
            pass
        assert [read for read in reading.azure.reads if read[0] == "snapshot"] == [("snapshot", 2)]

    async def test_identities_are_read_apart(self, reading: Reading) -> None:
        other = Azure([])
        reading.configure()
        reading.configure(SECOND_SUBSCRIPTION, other)
        async with reading.running():
            pass
        assert (reading.rounds, other.asked("snapshot")) == (1, 1)

    async def test_one_that_does_not_answer_delays_no_other(self, reading: Reading) -> None:
        silent = Silent([])
        reading.configure()
        reading.configure(SECOND_SUBSCRIPTION, silent)
        async with reading.running():
            await reading.clock.advance(3 * INTERVAL)
            assert (reading.rounds, silent.asked("snapshot")) == (4, 1)
            reading.refresher.force(SECOND_SUBSCRIPTION)
            silent.answers.set()
            await settle()
        assert silent.asked("snapshot") == 2

    @pytest.mark.parametrize(
        ("age", "read"),
        [
            pytest.param(MINUTE, 1, id="a minute old: the one at hand is used"),
            pytest.param(MINUTE + SECOND, 2, id="older than a minute: read anew"),
        ],
    )
    async def test_one_that_is_young_is_not_read_anew_when_asked_for(
        self, reading: Reading, age: timedelta, read: int
    ) -> None:
        reading.configure()
        async with reading.running():
            await reading.clock.advance(age)
            reading.refresher.ask(SUBSCRIPTION.upper())
            await settle()
        assert reading.rounds == read

    async def test_one_forced_meanwhile_is_read_once_more(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            reading.refresher.force(SUBSCRIPTION)
            await settle()
        assert reading.rounds == 2

    async def test_what_is_not_configured_is_not_asked_for(self, reading: Reading) -> None:
        async with reading.running():
            reading.refresher.ask(SUBSCRIPTION)
            reading.refresher.force(SUBSCRIPTION)
            await settle()
        assert reading.azure.reads == []


class TestNews:
    async def test_it_tells_what_changed(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            assert reading.changes == [(SUBSCRIPTION, Changes(frozenset({key(VM)}), True))]
            reading.azure.add(machine(power_state="Deallocated"))
            await reading.clock.advance(INTERVAL)
        assert reading.changes[-1] == (SUBSCRIPTION, Changes(frozenset({key(VM)})))

    async def test_rights_are_read_with_every_refresh(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            assert reading.subscription.features == ()
            assert set(reading.subscription.permissions or {}) == {f"/{SUBSCRIPTION}"}
            reading.azure.broken["permissions"] = Denied("AuthorizationFailed", "No.")
            reading.azure.broken["features"] = Denied("AuthorizationFailed", "No.")
            await reading.clock.advance(INTERVAL)
            assert reading.subscription.permissions is None
            assert isinstance(reading.subscription.rights_error, Denied)
            assert reading.subscription.features is None
            assert reading.changes[-1][1].subscription, "they changed"

    @pytest.mark.parametrize(
        "error", [Retry("HTTP503", "Later."), SignInFailed("invalid_client", "No token.")]
    )
    async def test_features_stay_known_while_azure_is_not_heard(
        self, reading: Reading, error: AzureError
    ) -> None:
        reading.configure()
        async with reading.running():
            reading.azure.broken["features"] = error
            await reading.clock.advance(INTERVAL)
            assert reading.subscription.features == ()

    async def test_no_machine_is_seen_before_azure_told_the_features(
        self, reading: Reading
    ) -> None:
        """Features that nobody was told would be taken for such as cannot be read, for which
        assessments are sent."""
        reading.azure.broken["features"] = Retry("HTTP503", "Later.", 20 * SECOND)
        reading.configure()
        async with reading.running():
            assert reading.inventory.machine(VM) is None
            assert reading.subscription.error == reading.azure.broken.pop("features")
            await reading.clock.advance(20 * SECOND)
            assert reading.inventory.machine(VM) is not None
            assert reading.subscription.error is None

    async def test_unless_they_decide_about_none(self, reading: Reading) -> None:
        reading.gated = False
        reading.azure.broken["features"] = Retry("HTTP503", "Later.")
        reading.configure()
        async with reading.running():
            assert reading.inventory.machine(VM) is not None


class TestImages:
    """A machine's image definition is read before the machine is seen."""

    async def test_a_machine_is_never_seen_before_its_image_was_asked_for(
        self, reading: Reading
    ) -> None:
        reading.azure.definitions[key(IMAGE)] = SPECIALIZED
        reading.configure()
        async with reading.running():
            assert reading.image().image_class is ImageClass.GALLERY_SPECIALIZED
            assert reading.changes == [(SUBSCRIPTION, Changes(frozenset({key(VM)}), True))]

    async def test_an_image_that_becomes_known_wakes_its_machines(self, reading: Reading) -> None:
        other = numbered(2)
        reading.azure.add(machine(id=other, image=None))
        reading.configure()
        async with reading.running():
            assert reading.image().image_class is ImageClass.GALLERY_GENERALIZED
            reading.azure.shown_definitions = {key(IMAGE): SPECIALIZED}
            await reading.clock.advance(INTERVAL)
            assert reading.changes[-1] == (SUBSCRIPTION, Changes(frozenset({key(VM)})))
            assert reading.image().image_class is ImageClass.GALLERY_SPECIALIZED

    async def test_also_those_of_another_identity(self, reading: Reading) -> None:
        """The image lies in the second subscription, its machine in the first."""
        second = Azure([])
        reading.configure()
        async with reading.running():
            second.shown_definitions = {key(IMAGE): SPECIALIZED}
            reading.configure(SECOND_SUBSCRIPTION, second)
            await settle()
            assert (SUBSCRIPTION, Changes(frozenset({key(VM)}))) in reading.changes
            assert reading.image().image_class is ImageClass.GALLERY_SPECIALIZED

    async def test_the_same_again_concludes_nothing_anew(self, reading: Reading) -> None:
        reading.azure.shown_definitions = {key(IMAGE): SPECIALIZED}
        reading.configure()
        async with reading.running():
            concluded = reading.image()
            assert reading.image() is concluded
            reading.azure.add(machine())
            await reading.clock.advance(INTERVAL)
            assert reading.rounds == 2
            assert reading.image() is concluded, "an equal model is the same model"
            reading.azure.add(machine(tags={"a": "b"}))
            await reading.clock.advance(INTERVAL)
            assert reading.image() is not concluded

    async def test_a_machine_that_resource_graph_lost_keeps_its_image(
        self, reading: Reading
    ) -> None:
        reading.azure.definitions[key(IMAGE)] = SPECIALIZED
        reading.configure()
        async with reading.running():
            reading.azure.hidden = {key(VM)}
            reading.azure.broken["machine"] = Retry("HTTP503", "Later.")
            await reading.clock.advance(INTERVAL)
            assert reading.image().image_class is ImageClass.GALLERY_SPECIALIZED


class TestFailure:
    @pytest.mark.parametrize(
        ("error", "again"),
        [
            pytest.param(Retry("HTTP503", "Later."), MINUTE, id="after a minute"),
            pytest.param(Retry("HTTP429", "Later.", 2 * MINUTE), 2 * MINUTE, id="as Azure says"),
            pytest.param(
                Retry("HTTP429", "Later.", HOUR), INTERVAL, id="at the next interval at the latest"
            ),
        ],
    )
    async def test_it_is_tried_again_soon(
        self, reading: Reading, error: AzureError, again: timedelta
    ) -> None:
        reading.azure.broken["snapshot"] = error
        reading.configure()
        async with reading.running():
            assert reading.subscription.error is error
            assert reading.subscription.refreshed is None
            await reading.clock.advance(again - SECOND)
            assert reading.rounds == 1
            await reading.clock.advance(SECOND)
            assert reading.rounds == 2

    async def test_what_was_read_before_stays(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            reading.azure.broken["snapshot"] = SignInFailed("AADSTS1", "No.")
            await reading.clock.advance(INTERVAL)
            assert set(reading.subscription.machines) == {key(VM)}
            assert reading.subscription.refreshed == timedelta(0)
            assert reading.subscription.missing == set()

    async def test_the_same_error_again_is_no_news_and_its_end_is(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            reading.azure.broken["snapshot"] = Retry("HTTP503", "Later.")
            await reading.clock.advance(INTERVAL)
            told = len(reading.changes)
            await reading.clock.advance(INTERVAL)
            assert len(reading.changes) == told
            reading.azure.broken.clear()
            await reading.clock.advance(MINUTE)
            assert reading.changes[told:] == [(SUBSCRIPTION, Changes(subscription=True))]
            assert reading.subscription.error is None


class TestVanishedMachines:
    async def test_one_of_which_arm_says_404_is_gone(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            del reading.azure.views[key(VM)]
            await reading.clock.advance(INTERVAL)
        assert reading.subscription.gone == {key(VM)}
        assert reading.changes[-1][1].machines == {key(VM)}
        assert reading.subscription.shrunk == 0

    async def test_one_that_arm_shows_stays(self, reading: Reading) -> None:
        reading.configure()
        async with reading.running():
            reading.azure.hidden.add(key(VM))
            await reading.clock.advance(INTERVAL)
        assert set(reading.subscription.machines) == {key(VM)}
        assert (reading.subscription.gone, reading.subscription.shrunk) == (set(), 0)

    async def test_a_role_that_was_lost_deletes_nothing(self, reading: Reading) -> None:
        """It gives an empty answer in Resource Graph, and 403 at ARM."""
        for number in range(2, 20):
            reading.azure.add(machine(id=numbered(number)))
        reading.configure()
        async with reading.running():
            for machine_key in list(reading.azure.views):
                reading.azure.views[machine_key] = Denied("AuthorizationFailed", "No.")
            await reading.clock.advance(INTERVAL)
            assert reading.subscription.shrunk == 19
            assert len(reading.subscription.machines) == 19
            assert reading.subscription.gone == set()
            for number in range(1, 20):
                reading.azure.add(machine(id=numbered(number)))
            await reading.clock.advance(INTERVAL)
            assert reading.subscription.shrunk == 0

    async def test_machines_known_from_patch_targets_are_asked_about_after_a_restart(
        self, reading: Reading
    ) -> None:
        reading.known = [numbered(2)]
        reading.configure()
        async with reading.running():
            pass
        assert reading.subscription.gone == {key(numbered(2))}

    async def test_each_refresh_asks_about_a_bounded_number_until_all_are_spoken_of(
        self, reading: Reading
    ) -> None:
        reading.known = [numbered(number) for number in range(2, CONFIRMATIONS + 12)]
        reading.configure()
        async with reading.running():
            assert reading.azure.asked("machine") == CONFIRMATIONS
            assert reading.subscription.shrunk > 0
            await reading.clock.advance(INTERVAL)
            assert reading.azure.asked("machine") == CONFIRMATIONS + 10
            assert len(reading.subscription.gone) == CONFIRMATIONS + 10
            assert reading.subscription.shrunk == 0
