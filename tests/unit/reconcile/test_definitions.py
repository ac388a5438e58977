"""Image definitions: each is read once, believed for a while, and asked for again with patience."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from fakes import (
    COMPUTE,
    HOUR,
    IMAGE,
    MINUTE,
    SECOND,
    SUBSCRIPTION,
    Azure,
    VirtualClock,
    machine,
    numbered,
)

from azpatch.azure.port import AzureError, Denied, Gone, OverBudget, Retry, SignInFailed
from azpatch.domain.facts import ImageDefinition, ImageReference, Machine, Unread
from azpatch.domain.ids import key
from azpatch.reconcile.definitions import (
    AT_A_TIME,
    BELIEVED,
    PATIENCE,
    REFUSED_AGAIN_AFTER,
    UNANSWERED_AGAIN_AFTER,
    ImageDefinitions,
)

ELSEWHERE = IMAGE.replace(SUBSCRIPTION, "99999999-9999-9999-9999-999999999999")
SHARED = "/SharedGalleries/11aa-OURS/Images/web"
SPECIALIZED = ImageDefinition(ELSEWHERE, "Specialized")
SECOND_SUBSCRIPTION = SUBSCRIPTION.replace("1", "2")
NO_RIGHT = Denied("AuthorizationFailed", "No.")
NOT_THERE = Gone("ResourceNotFound", "No.")


def built_from(image: str, number: int = 1, subscription: str = SUBSCRIPTION) -> Machine:
    id_ = numbered(number).replace(SUBSCRIPTION, subscription)
    return machine(id=id_, image=ImageReference(id=image))


def images(count: int) -> list[Machine]:
    """A machine from each of so many images."""
    return [built_from(f"{COMPUTE}/galleries/g/images/image-{n}", n) for n in range(count)]


class Reading:
    """One identity, its machines, and what is known of their images."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.azure = Azure([])
        self.definitions = ImageDefinitions(self.clock)
        self.machines = [built_from(f"{ELSEWHERE}/versions/1.4.0")]

    async def refresh(self, after: timedelta = timedelta(0)) -> frozenset[str]:
        self.clock.jump(after)
        shown = self.azure.shown_definitions
        return await self.definitions.refresh(self.azure, shown, self.machines, ())

    @property
    def asked(self) -> list[str]:
        """The definitions that ARM was asked for."""
        return [definition for definition, _, _ in self.azure.looked_up]

    @property
    def known(self) -> ImageDefinition | Unread | None:
        return self.definitions.known.get(key(ELSEWHERE))


@pytest.fixture
def reading() -> Reading:
    return Reading()


class TestWhatIsRead:
    async def test_one_that_resource_graph_shows_is_not_asked_for(self, reading: Reading) -> None:
        reading.machines = [built_from(IMAGE)]
        reading.azure.shown_definitions = {key(IMAGE): ImageDefinition(IMAGE, "Generalized")}

        assert await reading.refresh() == {key(IMAGE)}

        assert reading.asked == []
        assert reading.definitions.known == reading.azure.shown_definitions

    async def test_another_is_asked_for_once_for_all_its_machines(self, reading: Reading) -> None:
        reading.azure.definitions[key(ELSEWHERE)] = SPECIALIZED
        reading.machines = [
            built_from(f"{spelt}{version}", number)
            for number, (spelt, version) in enumerate(
                [(ELSEWHERE, ""), (ELSEWHERE.upper(), ""), (ELSEWHERE, "/versions/1.0.0")] * 10
            )
        ]

        assert await reading.refresh() == {key(ELSEWHERE)}

        assert reading.asked == [ELSEWHERE], "as it is spelt"
        assert reading.known is SPECIALIZED

    async def test_machines_of_no_gallery_ask_for_nothing(self, reading: Reading) -> None:
        managed = ImageReference(id=f"{COMPUTE}/images/golden")
        ubuntu = ImageReference(publisher="canonical", offer="ubuntu", sku="server")
        reading.machines = [machine(image=managed), machine(image=ubuntu), machine(image=None)]
        await reading.refresh()
        assert (reading.asked, reading.definitions.known) == ([], {})

    async def test_one_that_resource_graph_shows_no_more_is_asked_for(
        self, reading: Reading
    ) -> None:
        """A role that was lost looks like a deletion there, and ARM tells them apart."""
        reading.azure.shown_definitions = {key(ELSEWHERE): SPECIALIZED}
        await reading.refresh()
        reading.azure.shown_definitions = {}
        reading.azure.definitions[key(ELSEWHERE)] = NOT_THERE

        assert await reading.refresh() == {key(ELSEWHERE)}
        assert reading.known is Unread.GONE

    async def test_one_that_no_machine_was_built_from_is_forgotten(self, reading: Reading) -> None:
        reading.azure.definitions[key(ELSEWHERE)] = SPECIALIZED
        await reading.refresh()
        reading.machines = []

        assert await reading.refresh() == {key(ELSEWHERE)}
        assert reading.known is None


class TestHowLongAnAnswerHolds:
    @pytest.mark.parametrize(
        ("answer", "known", "holds"),
        [
            pytest.param(SPECIALIZED, SPECIALIZED, BELIEVED, id="a definition"),
            pytest.param(NO_RIGHT, Unread.REFUSED, REFUSED_AGAIN_AFTER, id="403"),
            pytest.param(NOT_THERE, Unread.GONE, REFUSED_AGAIN_AFTER, id="404"),
            pytest.param(
                Retry("TooManyRequests", "Later.", HOUR),
                Unread.UNANSWERED,
                UNANSWERED_AGAIN_AFTER,
                id="429",
            ),
            pytest.param(
                Retry("HTTP503", "Later."), Unread.UNANSWERED, UNANSWERED_AGAIN_AFTER, id="503"
            ),
            pytest.param(
                SignInFailed("HTTP401", "Who?"), Unread.UNANSWERED, UNANSWERED_AGAIN_AFTER, id="401"
            ),
            pytest.param(
                OverBudget("OverBudget", "Later.", HOUR),
                Unread.UNANSWERED,
                timedelta(0),
                id="not asked",
            ),
        ],
    )
    async def test_until_then_nobody_asks_again(
        self,
        reading: Reading,
        answer: ImageDefinition | AzureError,
        known: ImageDefinition | Unread,
        holds: timedelta,
    ) -> None:
        reading.azure.definitions[key(ELSEWHERE)] = answer

        await reading.refresh()
        assert (len(reading.asked), reading.known) == (1, known)
        if holds:
            assert await reading.refresh(holds - SECOND) == frozenset()
            assert len(reading.asked) == 1
        assert await reading.refresh(SECOND) == frozenset(), "the same again is no news"
        assert (len(reading.asked), reading.known) == (2, known)

    async def test_a_right_that_was_given_shows(self, reading: Reading) -> None:
        await reading.refresh()
        reading.azure.definitions[key(ELSEWHERE)] = SPECIALIZED
        assert await reading.refresh(REFUSED_AGAIN_AFTER) == {key(ELSEWHERE)}
        assert reading.known is SPECIALIZED

    @pytest.mark.parametrize(
        ("before", "known"),
        [
            pytest.param(SPECIALIZED, SPECIALIZED, id="a definition"),
            pytest.param(NO_RIGHT, Unread.REFUSED, id="403"),
        ],
    )
    async def test_what_was_known_stays_while_azure_does_not_answer(
        self,
        reading: Reading,
        before: ImageDefinition | AzureError,
        known: ImageDefinition | Unread,
    ) -> None:
        reading.azure.definitions[key(ELSEWHERE)] = before
        await reading.refresh()
        reading.azure.definitions[key(ELSEWHERE)] = Retry("HTTP503", "Later.")
        assert await reading.refresh(BELIEVED) == frozenset()
        assert reading.known == known
        reading.azure.definitions[key(ELSEWHERE)] = NOT_THERE
        assert await reading.refresh(UNANSWERED_AGAIN_AFTER) == {key(ELSEWHERE)}
        assert reading.known is Unread.GONE

    async def test_one_that_is_never_answered_for_is_asked_for_later_and_later(
        self, reading: Reading
    ) -> None:
        reading.azure.definitions[key(ELSEWHERE)] = Retry("InvalidParameter", "No.")
        asked_at = []
        for minute in range(0, 241, 5):
            before = len(reading.asked)
            await reading.refresh(5 * MINUTE if minute else timedelta(0))
            if len(reading.asked) > before:
                asked_at.append(minute)
        assert asked_at == [0, 5, 15, 35, 75, 135, 195]

    async def test_an_answer_ends_the_patience(self, reading: Reading) -> None:
        reading.azure.definitions[key(ELSEWHERE)] = Retry("HTTP503", "Later.")
        await reading.refresh()
        await reading.refresh(UNANSWERED_AGAIN_AFTER)
        reading.azure.definitions[key(ELSEWHERE)] = SPECIALIZED
        await reading.refresh(2 * UNANSWERED_AGAIN_AFTER)
        reading.azure.definitions[key(ELSEWHERE)] = Retry("HTTP503", "Later.")
        await reading.refresh(BELIEVED)
        asked = len(reading.asked)
        await reading.refresh(UNANSWERED_AGAIN_AFTER)
        assert len(reading.asked) == asked + 1


class Slow(Azure):
    """Each answer takes a while; how many are on their way at a time is written down."""

    def __init__(self, clock: VirtualClock, takes: timedelta) -> None:
        super().__init__([])
        self.clock = clock
        self.takes = takes
        self.on_the_way = self.most = 0

    async def image_definition(
        self, definition_id: str, subscription: str, location: str
    ) -> ImageDefinition:
        self.on_the_way += 1
        self.most = max(self.most, self.on_the_way)
        await self.clock.sleep(self.takes)
        self.on_the_way -= 1
        return await super().image_definition(definition_id, subscription, location)


class TestManyImages:
    async def test_a_few_are_read_at_a_time(self, reading: Reading) -> None:
        reading.azure = slow = Slow(reading.clock, SECOND)
        reading.machines = images(3 * AT_A_TIME)
        task = asyncio.create_task(reading.refresh())
        await reading.clock.advance(3 * SECOND)
        assert task.done()
        assert (len(reading.asked), slow.most) == (3 * AT_A_TIME, AT_A_TIME)

    async def test_machines_do_not_wait_for_ever(self, reading: Reading) -> None:
        """The rest is read at the next refresh, those first that were never asked for."""
        reading.azure = Slow(reading.clock, PATIENCE)
        reading.machines = images(2 * AT_A_TIME)

        task = asyncio.create_task(reading.refresh())
        await reading.clock.advance(PATIENCE)
        assert task.done()
        first = set(reading.asked)
        unread = [k for k, d in reading.definitions.known.items() if d is Unread.UNANSWERED]
        assert (len(first), len(unread)) == (AT_A_TIME, AT_A_TIME)

        task = asyncio.create_task(reading.refresh())
        await reading.clock.advance(PATIENCE)
        assert task.done()
        assert len(set(reading.asked)) == 2 * AT_A_TIME


class TestSharedGalleries:
    async def test_a_shared_image_is_asked_for_where_its_machine_is(self, reading: Reading) -> None:
        reading.machines = [built_from(f"{SHARED}/Versions/2.0.0")]
        await reading.refresh()
        assert reading.azure.looked_up == [(SHARED, SUBSCRIPTION, "westeurope")]

    async def test_each_subscription_is_asked_until_one_sees_it(self, reading: Reading) -> None:
        """It may be shared with one of them only."""
        found = ImageDefinition(SHARED, "Specialized")
        reading.machines = [
            built_from(SHARED, 1),
            built_from(SHARED, 2, SECOND_SUBSCRIPTION),
            built_from(SHARED, 3, SECOND_SUBSCRIPTION),
            built_from(SHARED, 4, SUBSCRIPTION.replace("1", "3")),
        ]
        reading.azure.definitions = {
            f"{key(SHARED)} {SUBSCRIPTION}": NOT_THERE,
            f"{key(SHARED)} {SECOND_SUBSCRIPTION}": found,
        }

        await reading.refresh()

        asked = [subscription for _, subscription, _ in reading.azure.looked_up]
        assert asked == [SUBSCRIPTION, SECOND_SUBSCRIPTION]
        assert reading.definitions.known == {key(SHARED): found}

    @pytest.mark.parametrize(
        ("one", "other", "known"),
        [
            (NOT_THERE, NOT_THERE, Unread.GONE),
            (NOT_THERE, NO_RIGHT, Unread.REFUSED),
            (NO_RIGHT, NOT_THERE, Unread.REFUSED),
        ],
    )
    async def test_it_is_gone_only_if_all_could_look(
        self, reading: Reading, one: AzureError, other: AzureError, known: Unread
    ) -> None:
        reading.machines = [built_from(SHARED, 1), built_from(SHARED, 2, SECOND_SUBSCRIPTION)]
        reading.azure.definitions = {
            f"{key(SHARED)} {SUBSCRIPTION}": one,
            f"{key(SHARED)} {SECOND_SUBSCRIPTION}": other,
        }
        await reading.refresh()
        assert reading.definitions.known == {key(SHARED): known}


class TestSeveralIdentities:
    """What one may read, all know; what one may not, others ask for themselves."""

    def two(self, reading: Reading) -> tuple[Azure, Azure]:
        return reading.azure, Azure([])

    async def test_one_that_can_read_it_reads_it_for_all(self, reading: Reading) -> None:
        first, second = self.two(reading)
        first.definitions[key(ELSEWHERE)] = SPECIALIZED
        for client, other in ((first, second), (second, first)):
            await reading.definitions.refresh(client, {}, reading.machines, {other})
        assert (len(first.looked_up), len(second.looked_up)) == (1, 0)
        assert reading.known is SPECIALIZED

    async def test_what_resource_graph_shows_one_nobody_asks_for(self, reading: Reading) -> None:
        first, second = self.two(reading)
        shown = {key(ELSEWHERE): SPECIALIZED}
        await reading.definitions.refresh(first, shown, [], {second})
        await reading.definitions.refresh(second, {}, reading.machines, {first})
        assert second.looked_up == []
        assert reading.known is SPECIALIZED

    async def test_a_refusal_is_of_one_only(self, reading: Reading) -> None:
        first, second = self.two(reading)
        second.definitions[key(ELSEWHERE)] = SPECIALIZED
        await reading.definitions.refresh(first, {}, reading.machines, {second})
        assert reading.known is Unread.REFUSED
        await reading.definitions.refresh(second, {}, reading.machines, {first})
        assert reading.known is SPECIALIZED
        await reading.definitions.refresh(first, {}, reading.machines, {second})
        assert reading.known is SPECIALIZED

    @pytest.mark.parametrize("who", [0, 1])
    async def test_404_tells_more_than_403(self, reading: Reading, who: int) -> None:
        both = self.two(reading)
        both[who].definitions[key(ELSEWHERE)] = NOT_THERE
        for client, other in (both, both[::-1]):
            await reading.definitions.refresh(client, {}, reading.machines, {other})
        assert reading.known is Unread.GONE

    async def test_what_one_has_read_holds_until_it_asks_again_itself(
        self, reading: Reading
    ) -> None:
        """The gallery is shared with the one identity, and to the other it does not exist."""
        first, second = self.two(reading)
        first.definitions[key(ELSEWHERE)] = SPECIALIZED
        second.definitions[key(ELSEWHERE)] = NOT_THERE
        await reading.definitions.refresh(first, {}, reading.machines, {second})
        reading.clock.jump(BELIEVED)
        assert not await reading.definitions.refresh(second, {}, reading.machines, {first})
        assert len(second.looked_up) == 1
        assert reading.known is SPECIALIZED

        first.definitions[key(ELSEWHERE)] = NOT_THERE
        await reading.definitions.refresh(first, {}, reading.machines, {second})
        assert reading.known is Unread.GONE

    async def test_a_secret_that_was_replaced_changes_nothing(self, reading: Reading) -> None:
        """What the old identity read is kept until the new one has read it for itself."""
        old, new = self.two(reading)
        other = Azure([])
        old.definitions[key(ELSEWHERE)] = SPECIALIZED
        await reading.definitions.refresh(old, {}, reading.machines, {other})

        assert not await reading.definitions.refresh(other, {}, [], {new})
        assert reading.known is SPECIALIZED, "the new one has not read yet"

        await reading.definitions.refresh(new, {}, reading.machines, {other})
        assert len(new.looked_up) == 1
        assert reading.known is Unread.REFUSED, "the new one may less"
