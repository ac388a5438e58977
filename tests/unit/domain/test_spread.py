"""rollout.spread: which groups a machine is in, and who may go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from domain_builders import COMPUTE, SUBSCRIPTION, VM, arc_server, machine
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.rollout import Spread, SpreadBy
from azpatch.api.target import MachineStatus
from azpatch.domain.spread import (
    Asking,
    Choice,
    Group,
    Kind,
    Place,
    Taken,
    choose,
    held_by,
    limits,
    machines_of,
    place_of,
    shares_of,
)

SET = f"{COMPUTE}/availabilitySets/web"


def entry(by: str, share: int | str = 1, key: str | None = None) -> Spread:
    fields = {"by": by, "maxUnavailable": share, **({"key": key} if key else {})}
    return Spread.model_validate(fields)


BY_SET: Kind = (SpreadBy.AVAILABILITY_SET, "")
BY_ZONE: Kind = (SpreadBy.ZONE, "")
BY_ROLE: Kind = (SpreadBy.TAG, "role")


def group(kind: Kind, **facts: Any) -> Group | None:
    return place_of(VM, machine(**facts), None).group(kind)


def test_what_a_policy_says_is_by_kind_of_group() -> None:
    entries = [entry("AvailabilitySet", 1), entry("Zone", "50%"), entry("Tag", 2, "Role")]
    assert shares_of(entries) == {BY_SET: 1, BY_ZONE: "50%", BY_ROLE: 2}


@pytest.mark.parametrize("kind", [BY_SET, BY_ZONE, BY_ROLE], ids=lambda kind: kind[0])
def test_a_group_is_of_its_kind(kind: Kind) -> None:
    found = group(kind, availability_set=SET, zones=("1",), tags={"Role": "db"})
    assert found is not None
    assert found.kind == kind


class TestGroups:
    def test_an_availability_set_whatever_case_its_id_is_in(self) -> None:
        assert group(BY_SET, availability_set=SET) == group(BY_SET, availability_set=SET.upper())
        assert group(BY_SET, availability_set=SET) != group(BY_SET, availability_set=f"{SET}-2")

    def test_a_zone_of_a_region_however_it_is_spelt(self) -> None:
        here = group(BY_ZONE, zones=("1",), location="westeurope")
        assert here == Group(SpreadBy.ZONE, (SUBSCRIPTION, "westeurope", "1"))
        assert group(BY_ZONE, zones=("1",), location="West Europe") == here
        assert group(BY_ZONE, zones=("2",), location="westeurope") != here
        assert group(BY_ZONE, zones=("1",), location="northeurope") != here

    def test_zone_1_is_another_in_another_subscription(self) -> None:
        found = machine(zones=("1",))
        elsewhere = VM.replace(SUBSCRIPTION, "another")
        assert place_of(VM, found, None).zone != place_of(elsewhere, found, None).zone

    @pytest.mark.parametrize(
        ("tags", "same"),
        [
            pytest.param({"Role": "db"}, True, id="names without case"),
            pytest.param({"role": "DB"}, False, id="values with case"),
            pytest.param({"role": "web"}, False, id="another value"),
        ],
    )
    def test_a_value_of_a_tag(self, tags: Mapping[str, str], same: bool) -> None:
        assert (group(BY_ROLE, tags=tags) == group(BY_ROLE, tags={"ROLE": "db"})) is same

    @pytest.mark.parametrize("kind", [BY_SET, BY_ZONE, BY_ROLE], ids=lambda kind: kind[0])
    def test_a_machine_without_a_value_is_in_no_group(self, kind: Kind) -> None:
        assert group(kind, tags={"role": "", "other": "x"}) is None
        assert place_of(VM, machine(), None).unknown == frozenset()

    def test_an_arc_enabled_server_may_have_a_tag(self) -> None:
        server = arc_server(tags={"role": "db"})
        assert place_of(server.id, server, None).groups([BY_SET, BY_ZONE, BY_ROLE]) == [
            Group(SpreadBy.TAG, ("role", "db"))
        ]


class TestWhatIsNotKnown:
    """After a restart not every subscription has been read when the first hands out slots."""

    RECORDED = MachineStatus(availability_set=SET, location="westeurope", zone="1")

    def test_the_patch_target_tells_all_but_the_tags(self) -> None:
        known = place_of(VM, machine(availability_set=SET, zones=("1",)), None)
        recorded = place_of(VM, None, self.RECORDED)
        assert recorded.availability_set == known.availability_set
        assert recorded.zone == known.zone
        assert recorded.unknown == {SpreadBy.TAG}

    def test_it_may_be_in_any_group_of_a_tag_while_its_tags_are_not_known(self) -> None:
        of_db = Group(SpreadBy.TAG, ("role", "db"))
        another = Group(SpreadBy.AVAILABILITY_SET, ("another",))
        recorded = place_of(VM, None, self.RECORDED)
        found = machines_of([of_db, another], [("/a", recorded)])
        assert found == {of_db: {"/a"}, another: set()}

    def test_and_in_any_group_while_nothing_is(self) -> None:
        groups = [
            Group(SpreadBy.AVAILABILITY_SET, ("another",)),
            Group(SpreadBy.ZONE, ("sub", "westeurope", "1")),
        ]
        found = machines_of(groups, [("/a", place_of(VM, None, None))])
        assert found == {group: {"/a"} for group in groups}

    def test_of_whom_the_groups_are_not_known_waits_until_they_are(self) -> None:
        line = [Asking("a", "a", place_of(VM, None, self.RECORDED))]
        assert choose(line, 1, [BY_ROLE], {}, {}) == Choice()
        assert choose(line, 1, [], {}, {}).chosen == {"a": {}}


class TestLimits:
    WEB = Group(SpreadBy.TAG, ("role", "web"))

    @pytest.mark.parametrize(
        ("share", "limit"),
        [
            pytest.param(3, 3, id="a count as it is"),
            pytest.param("50%", 2, id="a share, rounded down"),
            pytest.param("10%", 1, id="at least 1"),
        ],
    )
    def test_a_share_is_of_the_machines_that_are_known_to_be_in_the_group(
        self, share: int | str, limit: int
    ) -> None:
        roles = ["web"] * 5 + ["db"] * 20
        known = [(str(number), Place(tags={"role": role})) for number, role in enumerate(roles)]
        assert limits([self.WEB], {BY_ROLE: share}, known) == {self.WEB: limit}

    def test_nobody_is_counted_for_a_count(self) -> None:
        def machines() -> Any:
            raise AssertionError("there may be tens of thousands")
            yield

        assert limits([self.WEB], {BY_ROLE: 1}, machines()) == {self.WEB: 1}

    def test_of_groups_that_the_policy_does_not_speak_of_it_has_no_limit(self) -> None:
        assert limits([self.WEB], {BY_ZONE: 1}, ()) == {}


def asks(name: str, *, role: str = "", zone: str = "") -> Asking:
    tags = {"role": role} if role else {}
    return Asking(name, f"/{name}", Place(zone=("s", "r", zone) if zone else None, tags=tags))


WEB, ZONE_1 = Group(SpreadBy.TAG, ("role", "web")), Group(SpreadBy.ZONE, ("s", "r", "1"))
ONE_EACH = {WEB: 1, ZONE_1: 1}


class TestChoose:
    KINDS = (BY_ROLE, BY_ZONE)

    def choose(
        self,
        *line: Asking,
        free: int = 9,
        taken: Mapping[Group, Taken] | None = None,
        allowed: Mapping[Group, int] = ONE_EACH,
    ) -> Choice:
        nothing = {WEB: Taken(), ZONE_1: Taken()}
        return choose(line, free, self.KINDS, allowed, {**nothing, **(taken or {})})

    def goes(self, *line: Asking, **facts: Any) -> list[str]:
        return [*self.choose(*line, **facts).chosen]

    def test_who_is_in_no_group_goes_in_turn(self) -> None:
        assert self.choose(asks("a"), asks("b"), asks("c"), free=2) == Choice({"a": {}, "b": {}})

    def test_of_one_group_as_many_go_as_it_allows(self) -> None:
        line = [asks(name, role="web") for name in "abc"]
        assert self.choose(*line, allowed={WEB: 2}).chosen == {"a": {WEB: 2}, "b": {WEB: 2}}

    def test_who_is_passed_over_keeps_nobody_behind_it_from_going(self) -> None:
        line = (asks("a", role="web"), asks("b", role="web"), asks("c"))
        assert self.goes(*line, free=2) == ["a", "c"]

    def test_one_full_group_of_several_is_enough(self) -> None:
        found = self.choose(asks("a", role="web", zone="1"), taken={ZONE_1: Taken({"/x"})})
        assert found == Choice(until_available=frozenset({"/x"}))

    def test_who_is_passed_over_takes_no_place_in_its_other_groups(self) -> None:
        line = (asks("a", role="web", zone="1"), asks("b", role="web"))
        assert self.goes(*line, taken={ZONE_1: Taken({"/x"})}) == ["b"]

    def test_it_waits_for_the_machines_that_fill_the_group_the_chosen_too(self) -> None:
        line = [asks(name, role="web") for name in "ab"]
        taken = {WEB: Taken({"/x"}), ZONE_1: Taken({"/y"})}
        found = self.choose(*line, taken=taken, allowed={WEB: 2})
        assert found == Choice({"a": {WEB: 2}}, frozenset({"/x", "/a"}))

    def test_a_machine_counts_once(self) -> None:
        """It has the slot of another policy still."""
        taken = {WEB: Taken({"/a"}, {"/a": 1})}
        assert self.goes(asks("a", role="web"), taken=taken) == ["a"]

    def test_nobody_goes_when_more_are_unavailable_than_the_group_allows(self) -> None:
        assert self.goes(asks("a", role="web"), taken={WEB: Taken({"/x", "/y"})}) == []

    @pytest.mark.parametrize(
        ("promised", "choice"),
        [
            pytest.param({"/x": 1}, Choice(until_begun=frozenset({"/x"})), id="not yet"),
            pytest.param({"/x": 2}, Choice({"a": {WEB: 2}}), id="which allows as many"),
            pytest.param({}, Choice({"a": {WEB: 2}}), id="it has"),
        ],
    )
    def test_what_a_stricter_policy_promised_a_machine_holds_until_it_has_begun(
        self, promised: Mapping[str, int], choice: Choice
    ) -> None:
        taken = {WEB: Taken({"/x"}, promised)}
        assert self.choose(asks("a", role="web"), taken=taken, allowed={WEB: 2}) == choice

    def test_also_against_a_policy_that_does_not_speak_of_the_group(self) -> None:
        taken = {WEB: Taken({"/x"}, {"/x": 1})}
        found = self.choose(asks("a", role="web"), taken=taken, allowed={})
        assert found == Choice(until_begun=frozenset({"/x"}))
        assert self.goes(asks("a", role="web"), taken={WEB: Taken({"/x"})}, allowed={}) == ["a"]


class TestHeldBy:
    """Failed machines that nobody sees to."""

    @pytest.mark.parametrize(
        ("waiting", "holding"),
        [
            pytest.param([asks("a", role="web")], {"/x"}, id="all wait for one group"),
            pytest.param([asks("a", role="web", zone="1")], {"/x"}, id="one full group is enough"),
            pytest.param([asks("a", role="web"), asks("b", zone="1")], set(), id="one may go"),
            pytest.param([asks("a", role="web"), asks("b")], set(), id="one is in no group"),
            pytest.param([], set(), id="nobody waits"),
        ],
    )
    def test_they_hold_the_group_of_all_who_wait(
        self, waiting: list[Asking], holding: set[str]
    ) -> None:
        places = [one.place for one in waiting]
        failed: dict[Group, set[str]] = {WEB: {"/x"}, ZONE_1: set()}
        assert held_by(places, TestChoose.KINDS, ONE_EACH, failed) == holding


MACHINES = st.lists(
    st.tuples(st.sampled_from(["", "web", "db"]), st.sampled_from(["", "1", "2"])), max_size=12
)


@given(
    machines=MACHINES,
    out=st.sets(st.integers(0, 11)),
    free=st.integers(1, 12),
    of_role=st.integers(1, 3),
    of_zone=st.integers(1, 3),
)
def test_no_group_gets_more_than_its_limit_and_nobody_waits_without_need(
    machines: list[tuple[str, str]], out: set[int], free: int, of_role: int, of_zone: int
) -> None:
    entries = (entry("Tag", of_role, "role"), entry("Zone", of_zone))
    everybody = [asks(f"{n}", role=role, zone=zone) for n, (role, zone) in enumerate(machines)]
    line = [one for n, one in enumerate(everybody) if n not in out]
    shares = shares_of(entries)
    groups = {group for one in everybody for group in one.place.groups(shares)}
    allowed = limits(groups, shares, ())
    are_out = [(one.machine, one.place) for one in everybody if one not in line]
    taken = {group: Taken(machines) for group, machines in machines_of(groups, are_out).items()}
    found = choose(line, free, shares, allowed, taken)
    going = [(one.machine, one.place) for one in line if one.name in found.chosen]
    unavailable = machines_of(groups, [*are_out, *going])

    assert len(found.chosen) <= free
    for one in line:
        mine = one.place.groups(shares)
        if one.name in found.chosen:
            assert all(len(unavailable[group]) <= allowed[group] for group in mine)
        elif len(found.chosen) < free:
            assert any(len(unavailable[group]) >= allowed[group] for group in mine)
            assert found.until_available
