"""A summary's status is written now and then."""

from __future__ import annotations

from fakes import SECOND, World

from azpatch.reconcile.sparing import APART, Sparing


async def test_what_was_written_a_moment_ago_waits() -> None:
    world = World()
    sparing = Sparing(world.clock)
    assert sparing.wait("policy") is None

    sparing.wrote("policy")
    assert sparing.wait("policy") == APART
    assert sparing.wait("another") is None

    await world.passes(2 * SECOND)
    assert sparing.wait("policy") == APART - 2 * SECOND
    await world.passes(APART)
    assert sparing.wait("policy") is None
