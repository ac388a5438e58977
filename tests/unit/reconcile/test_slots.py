"""Slots of maxUnavailable: who may begin an install now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.rollout import SpreadBy
from azpatch.domain.spread import Group, Limits
from azpatch.kube.port import PATCH_POLICY
from azpatch.reconcile.holds import Holds
from azpatch.reconcile.queue import Key
from azpatch.reconcile.slots import Granted, Slots, first_come

POLICY = ("web", "linux")


@pytest.fixture
def slots() -> Slots:
    return Slots()


def test_a_slot_is_held_only_after_it_was_handed_out(slots: Slots) -> None:
    assert slots.ask(POLICY, "a"), "news to the policy"
    assert not slots.has(POLICY, "a")
    assert slots.hand_out(POLICY, 1, ()) == ("a",)
    assert slots.has(POLICY, "a")


def test_asking_again_is_no_news(slots: Slots) -> None:
    slots.ask(POLICY, "a")
    assert not slots.ask(POLICY, "a")
    slots.hand_out(POLICY, 1, ())
    assert not slots.ask(POLICY, "a")


def test_those_who_asked_first_come_first(slots: Slots) -> None:
    for name in ("c", "a", "b"):
        slots.ask(POLICY, name)
    assert slots.hand_out(POLICY, 2, ()) == ("c", "a")
    assert slots.hand_out(POLICY, 2, ()) == ()
    assert slots.give_back(POLICY, "c")
    assert slots.hand_out(POLICY, 2, ()) == ("b",)


@pytest.mark.parametrize(
    ("limit", "unavailable", "handed_out"),
    [
        pytest.param(2, {"x"}, 1, id="an unavailable machine takes up a slot"),
        pytest.param(1, {"x"}, 0, id="none is left"),
        pytest.param(1, {"x", "y"}, 0, id="more are unavailable than may be"),
        pytest.param(1, {"a"}, 0, id="one that is unavailable itself gets none"),
        pytest.param(0, set(), 0, id="a limit of none"),
    ],
)
def test_what_is_unavailable_counts(
    slots: Slots, limit: int, unavailable: set[str], handed_out: int
) -> None:
    slots.ask(POLICY, "a")
    assert len(slots.hand_out(POLICY, limit, unavailable)) == handed_out


def test_a_slot_and_the_intent_that_took_it_count_once(slots: Slots) -> None:
    slots.ask(POLICY, "a")
    slots.ask(POLICY, "b")
    slots.hand_out(POLICY, 1, ())
    assert slots.hand_out(POLICY, 2, {"a"}) == ("b",)


def test_only_a_slot_that_was_held_is_news_when_given_back(slots: Slots) -> None:
    assert not slots.give_back(POLICY, "a")
    slots.ask(POLICY, "a")
    assert not slots.give_back(POLICY, "a"), "it only asked"
    assert slots.hand_out(POLICY, 1, ()) == (), "and asks no more"


def test_policies_do_not_share_slots(slots: Slots) -> None:
    other = ("db", "linux")
    slots.ask(POLICY, "a")
    slots.ask(other, "a")
    assert slots.hand_out(POLICY, 1, ()) == ("a",)
    assert not slots.has(other, "a")
    assert slots.hand_out(other, 1, ()) == ("a",)


# --- groups ---------------------------------------------------------------------------------------

WEB = Group(SpreadBy.TAG, ("role", "web"))


def test_who_may_not_go_keeps_its_place_and_keeps_nobody_behind_it(slots: Slots) -> None:
    for name in ("a", "b", "c"):
        slots.ask(POLICY, name)
    chosen = slots.hand_out(POLICY, 2, (), lambda line, free: first_come(line[1:], free))
    assert chosen == ("b", "c")
    slots.give_back(POLICY, "b")
    slots.ask(POLICY, "d")
    assert slots.hand_out(POLICY, 2, ()) == ("a",)


def test_nobody_is_chosen_when_nothing_is_free(slots: Slots) -> None:
    def never(line: Sequence[str], free: int) -> Mapping[str, Limits]:
        raise AssertionError("looking at groups takes a look at every machine")

    slots.ask(POLICY, "a")
    assert slots.hand_out(POLICY, 1, {"x"}, never) == ()
    assert slots.hand_out(POLICY, 1, {"a"}, never) == ()


def test_the_slots_of_all_policies_are_told_with_the_limits_they_were_given_by(
    slots: Slots,
) -> None:
    other = ("db", "linux")
    slots.ask(POLICY, "a")
    slots.ask(other, "c")
    slots.hand_out(POLICY, 1, (), lambda line, free: {"a": {WEB: 2}})
    slots.hand_out(other, 1, ())
    assert list(slots.granted()) == [Granted(POLICY, "a", {WEB: 2}), Granted(other, "c", {})]


def test_a_policy_waits_for_the_machines_that_it_named_last(slots: Slots) -> None:
    slots.wait_for(POLICY, {"m1"}, ())
    slots.wait_for(POLICY, {"m2"}, {"m3"})
    assert [slots.awaited(machine) for machine in ("m1", "m2", "m3")] == [False, True, True]
    assert slots.let_go("m1", available=True) == ()


def test_who_waited_is_told_once(slots: Slots) -> None:
    other = ("db", "linux")
    slots.wait_for(POLICY, {"m1", "m2"}, ())
    slots.wait_for(other, {"m1"}, ())
    assert slots.let_go("m1", available=True) == (POLICY, other)
    assert not slots.awaited("m2"), "it looks anew, and says for whom it waits then"


def test_who_waits_until_a_machine_has_begun_does_not_wait_until_it_is_back(slots: Slots) -> None:
    other = ("db", "linux")
    slots.wait_for(POLICY, {"m1"}, ())
    slots.wait_for(other, (), {"m1"})
    assert slots.let_go("m1", available=False) == (other,)
    assert slots.let_go("m1", available=True) == (POLICY,)


def test_who_waits_for_nobody_is_not_told(slots: Slots) -> None:
    slots.wait_for(POLICY, {"m1"}, {"m1"})
    slots.wait_for(POLICY, (), ())
    assert slots.let_go("m1", available=True) == ()


NAMES = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), NAMES),
        st.tuples(st.just("give back"), NAMES),
        st.tuples(st.just("intent"), NAMES),
        st.tuples(st.just("back again"), NAMES),
        st.tuples(st.just("hand out"), st.just("")),
    ),
    max_size=80,
)


@given(limit=st.integers(0, 4), steps=STEPS)
def test_never_more_than_the_limit_whatever_the_order(
    limit: int, steps: list[tuple[str, str]]
) -> None:
    """Machines ask, give back, write intents with a slot only, and are available again."""
    slots, unavailable = Slots(), set[str]()
    for what, name in steps:
        match what:
            case "ask":
                if name not in unavailable:
                    slots.ask(POLICY, name)
            case "give back":
                slots.give_back(POLICY, name)
            case "intent":
                if slots.has(POLICY, name):
                    unavailable.add(name)
                    slots.give_back(POLICY, name)
            case "back again":
                unavailable.discard(name)
            case _:
                slots.hand_out(POLICY, limit, frozenset(unavailable))
        holding = {name for name in "abcdef" if slots.has(POLICY, name)}
        assert len(holding | unavailable) <= limit


@given(steps=STEPS)
def test_who_asks_gets_a_slot_once_all_others_gave_theirs_back(
    steps: list[tuple[str, str]],
) -> None:
    slots = Slots()
    for what, name in steps:
        if what == "ask":
            slots.ask(POLICY, name)
        elif what == "give back":
            slots.give_back(POLICY, name)
        else:
            slots.hand_out(POLICY, 2, ())
    for name in "abcdef":
        slots.give_back(POLICY, name)

    slots.ask(POLICY, "a")
    assert slots.hand_out(POLICY, 1, ()) == ("a",)


class TestHolds:
    KEY = Key(PATCH_POLICY.kind, *POLICY)

    def test_an_object_is_held_while_somebody_writes_an_intent_under_it(self) -> None:
        holds = Holds()
        other = Key(PATCH_POLICY.kind, "db", "linux")
        with holds.hold(self.KEY):
            with holds.hold(self.KEY, other):
                assert holds.held(other)
            assert holds.held(self.KEY)
            assert not holds.held(other)
        assert not holds.held(self.KEY)

    def test_a_hold_ends_with_an_error_too(self) -> None:
        holds = Holds()
        with pytest.raises(RuntimeError), holds.hold(self.KEY):
            raise RuntimeError
        assert not holds.held(self.KEY)

    async def test_one_lock_for_each_object(self) -> None:
        holds = Holds()
        lock = holds.lock(self.KEY)
        assert holds.lock(self.KEY) is lock
        assert holds.lock(Key(PATCH_POLICY.kind, "db", "linux")) is not lock
