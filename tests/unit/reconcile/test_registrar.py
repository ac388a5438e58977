"""The preview feature is registered once: recorded before, sent once, followed, and then left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from fakes import HOUR, MINUTE, SECOND, VM, Azure, World, machine

from azpatch.api.subscription import AzureSubscription, FeatureRegistration
from azpatch.azure.port import (
    AzureError,
    Denied,
    Gone,
    NeverSent,
    NotStarted,
    Retry,
    Throttled,
    Unconfirmed,
)
from azpatch.domain.facts import Feature, Permissions
from azpatch.kube.port import AZURE_SUBSCRIPTION, KubeError, Unavailable

NAME = "VMGuestPatchGalleryX"
GRANTS = [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Configure"}]
SENT_ONCE = ["feature", "compute"]
TAKES = 4 * MINUTE
QUARTER = 15 * MINUTE


class Features:
    """Microsoft.Features of one subscription, which registers in four minutes."""

    def __init__(self, azure: Azure, world: World) -> None:
        self._azure = azure
        self._world = world
        self.arrives: Callable[[str], bool] = lambda _what: True
        """Whether a request has its effect."""
        self.answers: Callable[[str], AzureError | None] = lambda _what: None
        """What the caller gets; an error other than Unconfirmed means that it had no effect."""
        self.takes: timedelta | None = TAKES
        self.first = "Registering"
        self.dead = False
        """The operator: nothing of what it still does gets out."""
        self.registered = 0
        """How often a registration began."""
        self._due: timedelta | None = None
        azure.register = self._asked
        self.show("NotRegistered")

    def show(self, state: str) -> None:
        self._azure.shown_features = (Feature(NAME, state),)

    @property
    def state(self) -> str:
        return self._azure.shown_features[0].state

    def _asked(self, what: str) -> AzureError | None:
        if not self.arrives(what):
            return Unconfirmed("HTTP503", "Nobody knows.")
        error = self.answers(what)
        if what == "feature" and (error is None or isinstance(error, Unconfirmed)):
            self.registered += 1
            self.show(self.first)
            if self.takes is not None:
                self._due = self._world.clock.elapsed() + self.takes
        return error

    def tick(self) -> None:
        if self._due is not None and self._world.clock.elapsed() >= self._due:
            self._due = None
            self.show("Registered")


@pytest.fixture
def world() -> World:
    world = World()
    world.azure.add(machine())
    declare(world)
    return world


@pytest.fixture
def features(world: World) -> Features:
    return Features(world.azure, world)


def declare(world: World, mode: str = "Register", **spec: object) -> None:
    world.subscription(**{"previewFeature": {"mode": mode}, "grants": GRANTS, **spec})


async def lives(world: World, features: Features, by: timedelta) -> None:
    """An operator runs for so long, or until it is dead."""
    async with world.operator_runs():
        await runs(world, features, by)


async def runs(world: World, features: Features, by: timedelta) -> None:
    for _ in range(by // MINUTE):
        if features.dead:
            return
        await world.passes(MINUTE)
        features.tick()


def subscription(world: World) -> AzureSubscription:
    (found,) = world.kube.all(AZURE_SUBSCRIPTION)
    return AzureSubscription.from_object(found)


def recorded(world: World) -> FeatureRegistration | None:
    feature = subscription(world).status.preview_feature
    return feature.registration if feature else None


def step(world: World) -> str | None:
    found = recorded(world)
    return found.step.value if found else None


def told(world: World) -> tuple[str, str]:
    """Status and reason of the condition."""
    conditions = subscription(world).status.conditions
    return next((c.status, c.reason) for c in conditions if c.type == "PreviewFeature")


def sent(world: World) -> list[str]:
    return [what for what, _ in world.azure.registrations]


class TestTheStory:
    async def test_the_matrix_stays_in_force_while_something_is_sent(
        self, world: World, features: Features
    ) -> None:
        in_force: list[str | None] = []

        def noted(_what: str) -> None:
            matrix = subscription(world).status.support_matrix
            in_force.append(matrix.revision if matrix else None)

        features.answers = noted
        await lives(world, features, QUARTER)
        assert in_force == ["2023-05"] * len(SENT_ONCE)

    async def test_it_is_recorded_sent_followed_and_compute_is_registered_anew(
        self, world: World, features: Features
    ) -> None:
        seen = []
        async with world.operator_runs():
            for _ in range(8):
                await runs(world, features, MINUTE)
                seen.append((step(world), *told(world)))
        assert list(dict.fromkeys(seen)) == [
            ("Requested", "False", "FeatureRegistering"),
            ("Complete", "True", "FeatureRegistered"),
        ]
        assert sent(world) == SENT_ONCE

    async def test_each_step_is_written_before_the_next_request(
        self, world: World, features: Features
    ) -> None:
        await lives(world, features, 10 * MINUTE)
        mine = [
            line
            for line in world.journal
            if line in {"POST feature", "POST compute"} or line.startswith("status AzureSub")
        ]
        named = [line.removeprefix("status AzureSubscription").strip() for line in mine]
        story = [line for line in dict.fromkeys(named) if line]
        assert story == [
            "Intent",
            "POST feature",
            "Requested",
            "Registered",
            "POST compute",
            "Complete",
        ]

    async def test_what_became_of_it_shows_at_once(self, world: World, features: Features) -> None:
        async with world.operator_runs():
            await world.passes(5 * SECOND)
            feature = subscription(world).status.preview_feature
        assert feature is not None
        assert (feature.name, feature.state) == (NAME, "Registering")

    async def test_the_request_carries_the_recorded_attempt(
        self, world: World, features: Features
    ) -> None:
        await lives(world, features, 2 * MINUTE)
        found = recorded(world)
        assert found is not None
        assert world.azure.registrations == [("feature", found.attempt_id)]

    async def test_the_machines_that_waited_go_on(self, world: World, features: Features) -> None:
        async with world.operator_runs():
            await runs(world, features, 3 * MINUTE)
            assert world.azure.posts == []
            assert "Register;" in _supported(world)
            await runs(world, features, 4 * MINUTE)
            assert [(kind, id_) for kind, id_, _ in world.azure.posts] == [("Assess", VM)]

    async def test_then_it_is_silent(self, world: World, features: Features) -> None:
        async with world.operator_runs():
            await runs(world, features, 10 * MINUTE)
            written = world.journal.count("status AzureSubscription Complete")
            reads = world.azure.asked("features")
            await runs(world, features, HOUR)
        assert world.journal.count("status AzureSubscription Complete") == written
        assert sent(world) == SENT_ONCE
        assert world.azure.asked("features") - reads <= 14, "the refresh looks, and nobody else"


def _supported(world: World) -> str:
    conditions = world.status().conditions
    return next(c.message for c in conditions if c.type == "Supported")


WRITES = 12
"""More than the AzureSubscription's story has."""


@pytest.mark.parametrize("point", range(WRITES))
@pytest.mark.parametrize("after", [MINUTE, HOUR], ids=["soon", "late"])
async def test_dying_before_any_step_registers_neither_twice_nor_never(
    world: World, features: Features, point: int, after: timedelta
) -> None:
    """A step is a write of the AzureSubscription or a request."""
    steps = 0

    def passes(line: str) -> bool:
        nonlocal steps
        if "AzureSubscription" not in line and "POST" not in line:
            return True
        features.dead = features.dead or steps == point
        steps += not features.dead
        return not features.dead

    def write(line: str) -> KubeError | None:
        return None if passes(line) else Unavailable("It never got out.")

    world.kube.refuse, features.arrives = write, lambda what: passes(f"POST {what}")
    await lives(world, features, 20 * MINUTE)

    world.kube.refuse, features.arrives, features.dead = (lambda _: None), (lambda _: True), False
    world.clock.jump(after)
    await lives(world, features, 40 * MINUTE)
    assert features.registered == 1
    assert (step(world), *told(world)) == ("Complete", "True", "FeatureRegistered")


class TestTheLease:
    async def test_without_it_nothing_is_sent(self, world: World, features: Features) -> None:
        world.leading = False
        await lives(world, features, 5 * MINUTE)
        assert sent(world) == []

    async def test_lost_between_the_record_and_the_request_nothing_is_sent(
        self, world: World, features: Features
    ) -> None:
        def lost(line: str) -> None:
            if line == "status AzureSubscription Intent":
                world.leading = False

        world.kube.refuse = lost
        await lives(world, features, 5 * MINUTE)
        assert (sent(world), step(world)) == ([], "Intent")

    async def test_who_leads_next_waits_for_what_may_have_been_sent_and_then_sends(
        self, world: World, features: Features
    ) -> None:
        await self.test_lost_between_the_record_and_the_request_nothing_is_sent(world, features)
        world.kube.refuse, world.leading = lambda _line: None, True
        async with world.operator_runs():
            await runs(world, features, 9 * MINUTE)
            assert (sent(world), told(world)) == ([], ("False", "RegistrationUnconfirmed"))
            await runs(world, features, 10 * MINUTE)
        assert sent(world) == SENT_ONCE


class TestWhatAzureAnswers:
    @pytest.mark.parametrize(
        ("error", "again"),
        [
            pytest.param(Denied("AuthorizationFailed", "No."), HOUR, id="403"),
            pytest.param(Gone("FeatureNotFound", "No."), HOUR, id="404"),
            pytest.param(NotStarted("Odd", "No."), HOUR, id="400"),
            pytest.param(Throttled("Many", "No.", 7 * MINUTE), 7 * MINUTE, id="429"),
            pytest.param(NeverSent("Down", "No."), MINUTE, id="not sent"),
        ],
    )
    async def test_what_it_did_not_take_is_told_and_sent_again(
        self, world: World, features: Features, error: AzureError, again: timedelta
    ) -> None:
        features.answers = lambda what: error if what == "feature" else None
        async with world.operator_runs():
            await world.passes(30 * SECOND)
            assert (step(world), *told(world)) == ("NotTaken", "False", "RegistrationRefused")
            assert error.code in _message(world)
            await world.passes(again - 31 * SECOND)
            assert sent(world) == ["feature"]
            features.answers = lambda _what: None
            await runs(world, features, 10 * MINUTE)
        assert sent(world) == ["feature", *SENT_ONCE]
        assert told(world) == ("True", "FeatureRegistered")

    async def test_an_edit_sends_what_was_refused_at_once(
        self, world: World, features: Features
    ) -> None:
        features.answers = lambda what: Denied("AuthorizationFailed", "No.")
        async with world.operator_runs():
            await world.passes(MINUTE)
            declare(world, tenantId="33333333-3333-3333-3333-333333333333")
            await world.passes(SECOND / 2)
            assert (sent(world), told(world)) == (
                ["feature", "feature"],
                ("False", "RegistrationRefused"),
            )
            await runs(world, features, 30 * MINUTE)
        assert sent(world) == ["feature", "feature"]

    @pytest.mark.parametrize("taken", [True, False])
    async def test_a_lost_answer_is_never_followed_by_a_second_registration(
        self, world: World, features: Features, taken: bool
    ) -> None:
        features.answers = lambda what: (
            Unconfirmed("HTTP503", "Later.") if what == "feature" else None
        )
        features.arrives = lambda _what: taken
        async with world.operator_runs():
            await world.passes(30 * SECOND)
            assert sent(world) == ["feature"]
            await runs(world, features, 8 * MINUTE)
            if taken:
                assert sent(world) == SENT_ONCE
                return
            assert (step(world), sent(world)) == ("Unconfirmed", ["feature"])
            features.answers, features.arrives = (lambda _: None), (lambda _: True)
            await runs(world, features, 15 * MINUTE)
        assert sent(world) == ["feature", *SENT_ONCE]
        assert features.registered == 1

    async def test_a_compute_that_does_not_answer_is_registered_again(
        self, world: World, features: Features
    ) -> None:
        answers = iter([Unconfirmed("HTTP503", "Later."), Denied("AuthorizationFailed", "No.")])
        features.answers = lambda what: next(answers, None) if what == "compute" else None
        async with world.operator_runs():
            await runs(world, features, 10 * MINUTE)
            assert sent(world) == ["feature", "compute", "compute"]
            assert told(world) == ("False", "RegistrationRefused")
            await runs(world, features, HOUR)
        assert sent(world) == ["feature", "compute", "compute", "compute"]
        assert told(world) == ("True", "FeatureRegistered")


class TestHowLongItTakes:
    async def test_after_a_quarter_of_an_hour_it_is_overdue_and_still_awaited(
        self, world: World, features: Features
    ) -> None:
        features.takes = 2 * HOUR
        async with world.operator_runs():
            await runs(world, features, 14 * MINUTE)
            assert told(world) == ("False", "FeatureRegistering")
            await runs(world, features, 2 * MINUTE)
            assert told(world) == ("False", "RegistrationOverdue")
            await runs(world, features, 2 * HOUR)
        assert told(world) == ("True", "FeatureRegistered")
        assert sent(world) == SENT_ONCE

    async def test_one_that_waits_for_approval_says_so_and_goes_on_once_approved(
        self, world: World, features: Features
    ) -> None:
        features.first, features.takes = "Pending", 30 * HOUR
        async with world.operator_runs():
            await runs(world, features, HOUR)
            assert told(world) == ("False", "ApprovalPending")
            await runs(world, features, 30 * HOUR)
        assert told(world) == ("True", "FeatureRegistered")
        assert sent(world) == SENT_ONCE

    async def test_it_is_read_every_minute_while_it_is_expected_and_not_afterwards(
        self, world: World, features: Features
    ) -> None:
        features.takes = None
        async with world.operator_runs():
            await runs(world, features, QUARTER)
            assert 15 <= world.azure.asked("features") <= 24
            before = world.azure.asked("features")
            await runs(world, features, HOUR)
            assert world.azure.asked("features") - before <= 14


class TestSomebodyElse:
    async def test_what_a_person_unregisters_is_reported_and_left_so(
        self, world: World, features: Features
    ) -> None:
        async with world.operator_runs():
            await runs(world, features, 10 * MINUTE)
            features.show("Unregistered")
            await runs(world, features, 6 * MINUTE)
            assert (step(world), *told(world)) == ("Lost", "False", "RegistrationLost")
            await runs(world, features, 24 * HOUR)
        assert sent(world) == SENT_ONCE

    async def test_nor_does_an_operator_that_starts_anew_fight_them(
        self, world: World, features: Features
    ) -> None:
        await lives(world, features, 10 * MINUTE)
        features.show("Unregistered")
        await lives(world, features, HOUR)
        assert (step(world), sent(world)) == ("Lost", SENT_ONCE)

    async def test_leaving_the_mode_and_coming_back_begins_anew(
        self, world: World, features: Features
    ) -> None:
        async with world.operator_runs():
            await runs(world, features, 10 * MINUTE)
            features.show("Unregistered")
            await runs(world, features, 6 * MINUTE)
            declare(world, "Check")
            await runs(world, features, MINUTE)
            assert (step(world), told(world)) == (None, ("False", "PreviewFeatureNotRegistered"))
            declare(world)
            await runs(world, features, 10 * MINUTE)
        assert sent(world) == SENT_ONCE * 2
        assert told(world) == ("True", "FeatureRegistered")

    async def test_what_somebody_registered_since_the_last_refresh_is_not_registered_again(
        self, world: World, features: Features
    ) -> None:
        declare(world, "Check")
        async with world.operator_runs():
            await runs(world, features, 2 * MINUTE)
            features.show("Registering")
            declare(world)
            await runs(world, features, 2 * MINUTE)
        assert sent(world) == []
        assert told(world) == ("False", "FeatureRegistering")


class TestWhoMay:
    @pytest.mark.parametrize(
        "grant",
        [
            pytest.param({"access": "Patch"}, id="access Patch"),
            pytest.param({"resourceGroups": ["rg"]}, id="a resource group"),
        ],
    )
    async def test_without_a_grant_it_waits_until_there_is_one(
        self, world: World, features: Features, grant: dict[str, object]
    ) -> None:
        declare(world, grants=[{**GRANTS[0], **grant}])
        async with world.operator_runs():
            await runs(world, features, 10 * MINUTE)
            assert (sent(world), told(world)) == ([], ("False", "RegistrationNotGranted"))
            declare(world)
            await runs(world, features, 10 * MINUTE)
        assert sent(world) == SENT_ONCE

    async def test_without_the_right_it_waits_until_it_has_it(
        self, world: World, features: Features
    ) -> None:
        world.azure.held = (Permissions(("*/read", "*Patches/action"), ()),)
        async with world.operator_runs():
            await runs(world, features, HOUR)
            assert (sent(world), told(world)) == ([], ("False", "RegistrationRefused"))
            world.azure.held = (Permissions(("*",), ()),)
            await runs(world, features, 15 * MINUTE)
        assert sent(world) == SENT_ONCE

    async def test_who_takes_it_back_at_the_last_moment_is_heard(
        self, world: World, features: Features
    ) -> None:
        features.show("Registering")
        async with world.operator_runs():
            await runs(world, features, MINUTE)
            # The watch is broken, so that only a last look can tell.
            world.kube.watch = lambda _kind, _raw, _gone: None
            declare(world, "Check")
            features.show("NotRegistered")
            await runs(world, features, 10 * MINUTE)
        assert sent(world) == []
        assert told(world) == ("False", "PreviewFeatureNotRegistered")

    async def test_while_azure_cannot_be_read_nothing_is_sent(
        self, world: World, features: Features
    ) -> None:
        declare(world, "Check")
        async with world.operator_runs():
            await runs(world, features, 2 * MINUTE)
            world.azure.broken["features"] = Retry("HTTP503", "Later.")
            declare(world)
            await runs(world, features, 5 * MINUTE)
            assert (sent(world), told(world)) == ([], ("Unknown", "AzureUnreachable"))
            del world.azure.broken["features"]
            await runs(world, features, 10 * MINUTE)
        assert sent(world) == SENT_ONCE

    async def test_what_is_being_deleted_registers_nothing(
        self, world: World, features: Features
    ) -> None:
        (found,) = world.kube.all(AZURE_SUBSCRIPTION)
        kept = {**found["metadata"], "finalizers": ["somebody/else"]}
        kept["deletionTimestamp"] = "2026-11-23T12:00:00Z"
        world.kube.put(AZURE_SUBSCRIPTION, {**found, "metadata": kept})
        await lives(world, features, 5 * MINUTE)
        assert sent(world) == []
        assert world.azure.asked("features") <= 8, "nor is it looked at all the time"


def _message(world: World) -> str:
    conditions = subscription(world).status.conditions
    return next(c.message for c in conditions if c.type == "PreviewFeature")
