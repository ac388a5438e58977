"""Which machine of a run goes in which wave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.rollout import Rollout, Wave
from azpatch.domain.waves import ALL, Candidate, assign, waves_of, windows_of_waves

CANARY, REST = Wave(name="canary", machines="5%"), Wave(name="rest", machines="100%")


def machines(count: int, **tags: str) -> list[Candidate]:
    return [Candidate(f"machine-{number}", tags, ready=True) for number in range(count)]


def sizes(
    waves: Sequence[Wave], candidates: Sequence[Candidate], taken: Mapping[str, str] | None = None
) -> list[int]:
    counts = Counter(assign(waves, candidates, taken or {}).values())
    return [counts[wave.name] for wave in waves]


@pytest.mark.parametrize(
    ("shares", "count", "expected"),
    [
        pytest.param(["100%"], 7, [7], id="one wave of all"),
        pytest.param(["5%", "100%"], 100, [5, 95], id="a share"),
        pytest.param(["5%", "100%"], 101, [6, 95], id="rounded up"),
        pytest.param(["10%", "50%", "100%"], 100, [10, 40, 50], id="cumulative"),
        pytest.param([3, "100%"], 10, [3, 7], id="a count"),
        pytest.param([3, 5, "100%"], 10, [3, 2, 5], id="counts are cumulative too"),
        pytest.param([3, "100%"], 2, [2, 0], id="a count of more than there are"),
        pytest.param(["1%", "100%"], 1, [1, 0], id="of one machine the canary is it"),
        pytest.param(["1%", "2%", "100%"], 5, [1, 1, 3], id="one machine at least in each"),
        pytest.param(["1%", "2%", "100%"], 2, [1, 1, 0], id="as long as there are some"),
        pytest.param(["5%", "100%"], 0, [0, 0], id="nobody"),
    ],
)
def test_shares_are_cumulative_and_rounded_up(
    shares: list[int | str], count: int, expected: list[int]
) -> None:
    waves = [Wave(name=f"w{number}", machines=share) for number, share in enumerate(shares)]

    assert sizes(waves, machines(count)) == expected


def test_a_rollout_without_waves_has_one() -> None:
    assert waves_of(Rollout()) == (ALL,)
    assert waves_of(Rollout(waves=(CANARY, REST))) == (CANARY, REST)


def test_a_wave_by_tags_takes_all_that_carry_one_and_are_in_none_before() -> None:
    ring = Wave(name="ring", tags={"Ring": ("0", "1"), "early": ("yes",)})
    waves = [Wave(name="canary", machines=1), ring, REST]
    tagged = [
        Candidate("a", {"ring": "0"}, ready=True),
        Candidate("b", {"RING": "1"}, ready=True),
        Candidate("c", {"early": "yes"}, ready=True),
        Candidate("d", {"early": "YES"}, ready=True),
        Candidate("e", {}, ready=True),
    ]

    found = assign(waves, tagged, {})

    (canary,) = (key for key, wave in found.items() if wave == "canary")
    assert {key for key, wave in found.items() if wave == "ring"} == {"a", "b", "c"} - {canary}


def test_who_went_by_tags_counts_for_the_shares_after() -> None:
    waves = [Wave(name="ring", tags={"ring": ("0",)}), Wave(name="half", machines="50%"), REST]
    candidates = [
        Candidate(f"m{number}", {"ring": "0"} if number < 3 else {}, ready=True)
        for number in range(10)
    ]

    assert sizes(waves, candidates) == [3, 2, 5]


def test_tags_that_nobody_carries_leave_the_wave_empty() -> None:
    waves = [CANARY, Wave(name="ring", tags={"ring": ("0",)}), REST]

    assert sizes(waves, machines(20)) == [1, 0, 19]


def test_the_canaries_are_the_same_each_time() -> None:
    ordered = machines(100)
    shuffled = Random(1).sample(ordered, len(ordered))

    assert assign([CANARY, REST], ordered, {}) == assign([CANARY, REST], shuffled, {})


def test_who_is_off_goes_last() -> None:
    off = [Candidate(f"off-{number}", {}, ready=False) for number in range(50)]

    found = assign([Wave(name="canary", machines="50%"), REST], [*off, *machines(50)], {})

    assert {key for key, wave in found.items() if wave == "rest"} == {one.key for one in off}


def test_which_waves_have_windows_of_their_own() -> None:
    ones = Rollout(waves=(Wave(name="canary", machines=1, windows=("night",)), REST))
    runs = Rollout(
        waves=(
            Wave(name="canary", machines=1),
            Wave(name="rest", machines="100%", windows=("weekend",)),
        )
    )

    assert windows_of_waves(None) == {}
    assert windows_of_waves(ones) == {"canary": ("night",)}
    assert windows_of_waves(ones, runs) == {"rest": ("weekend",)}, "the last one's count"


def test_what_is_recorded_stays() -> None:
    before = {"machine-3": "rest", "machine-4": "canary"}

    found = assign([Wave(name="canary", machines=3), REST], machines(10), before)

    assert before.items() <= found.items()
    assert Counter(found.values()) == {"canary": 3, "rest": 7}


@pytest.mark.parametrize("recorded", range(11))
def test_an_assignment_that_was_recorded_in_part_comes_to_the_same(recorded: int) -> None:
    """An operator died while its machines said one after the other that they are in the run."""
    waves = [Wave(name="canary", machines="20%"), Wave(name="half", machines="50%"), REST]
    whole = assign(waves, machines(10), {})
    some = dict(list(whole.items())[:recorded])

    assert assign(waves, machines(10), some) == whole


KEYS = st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=30)
SHARES = st.one_of(st.integers(1, 40), st.integers(1, 100).map(lambda share: f"{share}%"))
WAVES = st.lists(st.one_of(SHARES, st.sampled_from([{"ring": ("0",)}, {"ring": ("1", "2")}])))


@given(KEYS, WAVES.filter(lambda waves: len(waves) < 10), st.randoms(use_true_random=False))
def test_every_machine_is_in_exactly_one_wave(
    keys: list[str], declared: list[int | str | dict[str, tuple[str, ...]]], random: Random
) -> None:
    waves = [
        Wave(name=f"w{number}", tags=one)
        if isinstance(one, dict)
        else Wave(name=f"w{number}", machines=one)
        for number, one in enumerate(declared)
    ] + [REST]
    names = [wave.name for wave in waves]
    candidates = [
        Candidate(key, {"ring": random.choice("012x")}, ready=random.random() < 0.8) for key in keys
    ]
    taken = {key: random.choice(names) for key in keys if random.random() < 0.3}

    found = assign(waves, candidates, taken)

    assert found.keys() == set(keys)
    assert set(found.values()) <= set(names)
    assert taken.items() <= found.items()
