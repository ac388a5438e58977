"""Generated fleets: realistic, repeatable, quick to read."""

from __future__ import annotations

from collections import defaultdict

import pytest

from azsim.fleet import MachineSpec, OsState
from azsim.fleetfile import parse
from azsim.generate import KINDS, generate, render


def image_class(machine: MachineSpec) -> str:
    image = machine.image
    if image.attached_disk or "/images/old-web" in (image.id or ""):
        return "non-gallery"
    if image.id or image.shared_gallery_image_id or image.community_gallery_image_id:
        return "generalized" if machine.os_profile else "specialized"
    return "marketplace" if image.publisher else "unknown"


def test_the_text_is_the_fleet() -> None:
    assert parse(render(100, 3)) == generate(100, 3)


def test_the_seed_decides() -> None:
    assert render(100, 3) == render(100, 3)
    assert render(100, 3) != render(100, 4)


@pytest.mark.parametrize("machines", [0, 1, 5, 5000])
def test_as_many_machines_as_asked(machines: int) -> None:
    assert len(generate(machines, 1).machines) == machines


def test_each_image_class_has_guests_that_patching_works_on_and_guests_that_it_does_not() -> None:
    truths = defaultdict(set)
    for machine in generate(2 * len(KINDS), 1).machines:
        truths[image_class(machine)].add(machine.guest.patchable)

    both = {True, False}
    assert truths == {
        "marketplace": both,
        "generalized": both,
        "specialized": both,
        "non-gallery": both,
        "unknown": both,
    }


def test_galleries_hold_images_of_both_states() -> None:
    galleries = generate(1, 1).subscriptions[0].galleries

    assert {image.os_state for image in galleries[0].images} == set(OsState)


def test_a_large_fleet_has_every_kind_of_trouble() -> None:
    machines = generate(3000, 1).machines
    failures = [machine.guest.failures for machine in machines]

    assert {machine.power.value for machine in machines} == {"running", "stopped", "deallocated"}
    assert any(not machine.agent.ready for machine in machines)
    for name in (
        "assess_fails",
        "failing_patches",
        "internal_error",
        "reboot_does_not_come_back",
        "agent_lost",
        "exceeds_window",
        "no_result",
    ):
        assert any(getattr(each, name) for each in failures), name


def test_ten_thousand_machines_are_read() -> None:
    assert len(parse(render(10_000, 1)).machines) == 10_000
