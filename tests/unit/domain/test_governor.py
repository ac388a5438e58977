"""One governor per machine, sticky."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from domain_builders import DEFINITION, NOW, VM
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.policy import Target
from azpatch.domain.governor import Claim, governor, specificity

DAY = timedelta(days=1)
MACHINE, IMAGE, SELECTOR = 2, 1, 0


def claim(name: str, **changes: object) -> Claim:
    """`namespace/policy`, for the machine itself."""
    namespace, policy = name.split("/")
    known = Claim(namespace, policy, MACHINE, NOW, governs=False, busy=False)
    return replace(known, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claims", "winner"),
    [
        pytest.param([claim("web/a")], "web/a", id="the only one"),
        pytest.param(
            [claim("web/a", specificity=IMAGE), claim("web/b")],
            "web/b",
            id="inside a namespace the more specific target wins",
        ),
        pytest.param(
            [claim("web/b"), claim("web/a")], "web/a", id="inside a namespace then the name"
        ),
        pytest.param(
            [claim("web/a", specificity=IMAGE, governs=True), claim("web/b")],
            "web/b",
            id="inside a namespace the incumbent gives way to the more specific",
        ),
        pytest.param(
            [claim("web/a", specificity=IMAGE, governs=True), claim("app/b")],
            "web/a",
            id="between namespaces the incumbent keeps it, however specific the other",
        ),
        pytest.param(
            [claim("web/a", governs=True), claim("app/b", policy_created=NOW - DAY)],
            "web/a",
            id="between namespaces the incumbent keeps it, however old the other",
        ),
        pytest.param(
            [claim("app/a"), claim("web/b", policy_created=NOW - DAY)],
            "web/b",
            id="at first sight the older policy",
        ),
        pytest.param(
            [claim("web/a"), claim("app/b")], "app/b", id="equally old: by namespace, then name"
        ),
        pytest.param(
            [
                claim("web/old", specificity=IMAGE, policy_created=NOW - DAY),
                claim("web/new"),
                claim("app/a"),
            ],
            "web/new",
            id="the older policy brings its namespace, there the more specific wins",
        ),
        pytest.param(
            [claim("web/a", specificity=IMAGE, governs=True, busy=True), claim("web/b")],
            "web/a",
            id="it does not change while an operation is in flight",
        ),
        pytest.param(
            [claim("web/a", governs=True), claim("app/b", busy=True)],
            "app/b",
            id="whose operation is in flight has the machine, whatever else is recorded",
        ),
    ],
)
def test_who_governs(claims: list[Claim], winner: str) -> None:
    assert "/".join(governor(claims).identity) == winner
    assert "/".join(governor(claims[::-1]).identity) == winner


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param({"virtualMachine": {"id": VM}}, MACHINE, id="a machine"),
        pytest.param({"galleryImage": {"id": DEFINITION}}, IMAGE, id="an image"),
        pytest.param({"selector": {"azureSubscriptions": ["prod"]}}, SELECTOR, id="a selector"),
    ],
)
def test_a_machine_is_more_specific_than_an_image_and_that_than_a_selector(
    target: object, expected: int
) -> None:
    assert specificity(Target.model_validate(target)) == expected


CLAIMS = st.lists(
    st.builds(
        Claim,
        namespace=st.sampled_from(["app", "db", "web"]),
        policy=st.sampled_from(["a", "b", "c"]),
        specificity=st.sampled_from([SELECTOR, IMAGE, MACHINE]),
        policy_created=st.sampled_from([NOW, NOW - DAY]),
        governs=st.booleans(),
        busy=st.booleans(),
    ),
    min_size=1,
    unique_by=lambda claim: claim.identity,
)


@given(CLAIMS, st.randoms(use_true_random=False))
def test_the_same_governor_in_whatever_order_the_claims_arrive(
    claims: list[Claim], random: Random
) -> None:
    shuffled = list(claims)
    random.shuffle(shuffled)

    assert governor(shuffled) == governor(claims)


@given(CLAIMS)
def test_who_was_chosen_is_chosen_again(claims: list[Claim]) -> None:
    chosen = governor(claims)
    recorded = [replace(c, governs=c == chosen) for c in claims]

    assert governor(recorded).identity == chosen.identity


@given(CLAIMS, CLAIMS)
def test_it_is_sticky_while_an_operation_is_in_flight(
    claims: list[Claim], newcomers: list[Claim]
) -> None:
    chosen = replace(governor(claims), governs=True, busy=True)
    others = [
        replace(c, governs=False, busy=False)
        for c in (*claims, *newcomers)
        if c.identity != chosen.identity
    ]

    assert governor([*others, chosen]) == chosen
