"""Policies at Azure's bucket for guest patching: the real scheduler, with no word of what is left,
so that it lets five through at once and then one every 0.3 s."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from fakes import MINUTE, SECOND, World, machine, numbered

from azpatch.azure.throttles import Throttles

LARGE, SMALL = 100, 4
AT_ONCE = 3
"""That have had their turn and are not sent yet, when somebody comes who goes before them."""


@pytest.fixture
def world() -> World:
    world = World()
    world.azure.throttles = Throttles(world.clock)
    for number in range(LARGE + SMALL):
        team = "large" if number < LARGE else "small"
        world.azure.add(machine(id=numbered(number), vm_id=f"vm-{number}", tags={"team": team}))
    of_team(world, "large")
    return world


NIGHT = {"windows": [{"name": "night", "daily": {}, "startTime": "01:00", "duration": "4h"}]}
"""It is noon."""


def of_team(world: World, team: str, **spec: Any) -> None:
    """A policy for the team's machines."""
    name = "web-linux" if team == "large" else team
    world.policy(
        name,
        target={"selector": {"azureSubscriptions": ["prod"], "tags": {"team": [team]}}},
        rollout={"maxUnavailable": "100%"},
        **spec,
    )


def sent(world: World) -> list[str]:
    """Operation and team of each, in order."""
    small = {numbered(number) for number in range(LARGE, LARGE + SMALL)}
    return [
        f"{kind} {'small' if machine_id in small else 'large'}"
        for kind, machine_id, _ in world.azure.posts
    ]


async def test_a_small_policy_does_not_wait_for_a_large_one(world: World) -> None:
    async with world.operator_runs():
        await world.passes(5 * SECOND)
        before = len(sent(world))
        of_team(world, "small")
        await world.passes(MINUTE)
    after = sent(world)[before:]
    assert len(sent(world)) == LARGE + SMALL
    last = max(place for place, one in enumerate(after) if one == "Assess small")
    assert last <= 2 * SMALL + AT_ONCE, after
    assert after.count("Assess large") > 4 * SMALL, "many were before it in the line"


async def test_installs_overtake_assessments(world: World) -> None:
    of_team(world, "large", schedule=NIGHT)
    for number in range(LARGE, LARGE + SMALL):
        world.due(numbered(number))
    sent_before: Counter[str] = Counter()

    def post(machine_id: str) -> None:
        """Assessments that are sent while an install has a place in the line."""
        if world.azure.posts[-1][0] == "Assess":
            line = world.azure.in_line.items()
            sent_before.update(one for one, (_, _, yields) in line if not yields)

    world.azure.post = post
    async with world.operator_runs():
        await world.passes(5 * SECOND)
        of_team(world, "small")
        await world.passes(18 * SECOND)
    assert sent(world).count("Install small") == SMALL
    assert len(sent(world)) < LARGE - SMALL, "many were before them in the line"
    assert max(sent_before.values(), default=0) <= AT_ONCE
