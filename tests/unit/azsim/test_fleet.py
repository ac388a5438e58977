"""The fleet file: short for a person, checked with errors that name the path."""

from __future__ import annotations

from datetime import timedelta

import pytest

from azsim.fleet import DEFAULT_SUBSCRIPTION_ID, Detection
from azsim.fleetfile import DEFAULT_SECRET, FleetError, parse

GALLERY = (
    "{name: sig, images: [{name: web, versions: [1.0.0]}, {name: gold, osState: Specialized}]}"
)


def test_an_empty_file_is_a_subscription_with_a_principal_who_owns_everything() -> None:
    fleet = parse("")

    assert [s.id for s in fleet.subscriptions] == [DEFAULT_SUBSCRIPTION_ID]
    assert fleet.principals[0].secret == DEFAULT_SECRET
    assert fleet.principals[0].role_assignments[0].role == "Owner"
    assert fleet.subscriptions[0].tenant_id == fleet.tenants[0].id


def test_a_machine_needs_no_more_than_a_name() -> None:
    machine = parse("machines: [{name: web}]").machines[0]

    assert machine.subscription == DEFAULT_SUBSCRIPTION_ID
    assert machine.power == "running"
    assert machine.agent.ready
    assert machine.guest.patchable
    assert machine.guest.detection is Detection.SUPPORTED
    assert machine.os_profile is True
    assert machine.vm_id


def test_a_count_makes_numbered_machines_with_ids_of_their_own() -> None:
    machines = parse("machines: [{name: 'web-{n}', count: 3}]").machines

    assert [machine.name for machine in machines] == ["web-1", "web-2", "web-3"]
    assert len({machine.vm_id for machine in machines}) == 3


def test_a_machine_with_arc_is_a_server_beside_a_virtual_machine_of_its_name() -> None:
    server, machine = parse("machines: [{name: dc, arc: {}}, {name: dc}]").machines

    assert server.arc is not None
    assert (server.arc.status, machine.arc) == ("Connected", None)
    assert server.vm_id != machine.vm_id


def test_templates_merge_from_left_to_right_and_the_machine_has_the_last_word() -> None:
    machine = parse(
        f"subscriptions: [{{galleries: [{GALLERY}]}}]"
        """
templates:
  base: {tags: {env: prod, team: web}, guest: {patchable: false, rebootPending: true}}
  slow: {guest: {durations: {perPatch: 10m}}, image: {attachedDisk: true}}
machines:
  - {name: web, template: [base, slow], tags: {env: test}, image: {gallery: sig/web}}
"""
    ).machines[0]

    assert machine.tags == {"env": "test", "team": "web"}
    assert not machine.guest.patchable
    assert machine.guest.reboot_pending
    assert machine.guest.durations.per_patch == timedelta(minutes=10)
    assert not machine.image.attached_disk


def test_missing_patches_may_be_sets_by_name() -> None:
    machine = parse(
        """
        patchSets: {kernel: [{name: linux, version: "6"}], tools: [{name: vim, version: "9"}]}
        machines: [{name: web, guest: {missing: [kernel, {name: curl, version: "8"}, tools]}}]
        """
    ).machines[0]

    assert [patch.name for patch in machine.guest.missing] == ["linux", "curl", "vim"]


@pytest.mark.parametrize(
    ("image", "has_profile"),
    [("sig/web", True), ("sig/web/1.0.0", True), ("sig/gold", False)],
)
def test_a_gallery_image_by_its_short_name_has_an_os_profile_as_azure_gives_it(
    image: str, has_profile: bool
) -> None:
    fleet = parse(
        f"subscriptions: [{{galleries: [{GALLERY}]}}]\n"
        f"machines: [{{name: web, image: {{gallery: {image}}}}}]"
    )
    machine = fleet.machines[0]

    assert machine.image.id is not None
    assert "/providers/Microsoft.Compute/galleries/sig/images/" in machine.image.id
    assert machine.os_profile is has_profile


def test_json_is_read_as_well() -> None:
    assert parse('{"machines": [{"name": "web"}]}').machines[0].name == "web"


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        pytest.param("machines: [{name: a}, {}]", "machines[1].name", "required", id="no name"),
        pytest.param(
            "machines: [{name: a, powr: x}]", "machines[0](a).powr", "permitted", id="key"
        ),
        pytest.param(
            "machines: [{name: a, guest: {missing: [{name: x, classification: Bad}]}}]",
            "machines[0](a).guest.missing[0].classification",
            "Critical",
            id="classification",
        ),
        pytest.param(
            "machines: [{name: a, guest: {durations: {assess: 2}}}]",
            "machines[0](a).guest.durations.assess",
            "duration such as 90s",
            id="duration",
        ),
        pytest.param(
            "machines: [{name: a, image: {gallery: sig/web}}]",
            "machines[0](a)",
            "0 galleries 'sig'",
            id="gallery",
        ),
        pytest.param(
            "machines: [{name: a, image: {id: x, attachedDisk: true}}]",
            "machines[0](a).image",
            "one source",
            id="two images",
        ),
        pytest.param(
            "machines: [{name: a, template: b}]", "machines[0].template", "'b'", id="template"
        ),
        pytest.param(
            "machines: [{name: a, guest: {missing: [b]}}]",
            "machines[0].guest.missing[0]",
            "'b'",
            id="patch set",
        ),
        pytest.param(
            "patchSets: {b: [{nam: x}]}", "patchSets.b[0].name", "required", id="in a patch set"
        ),
        pytest.param("machines: [{name: a, count: 2}]", "machines[0](a)", "{n}", id="count"),
        pytest.param("machines: [{name: a}, {name: A}]", "machines", "2 times", id="twice"),
        pytest.param(
            "machines: [{name: a, arc: {}, zone: '1', power: stopped}]",
            "machines[0](a)",
            "an Arc-enabled server has no zone and no power",
            id="a server with a virtual machine's fields",
        ),
        pytest.param(
            "machines: [{name: a, arc: {}, guest: {detected: Supported}}]",
            "machines[0](a)",
            "no guest.detected",
            id="a server with detected support",
        ),
        pytest.param(
            "machines: [{name: a, arc: {status: Asleep}}]",
            "machines[0](a).arc.status",
            "'Connected', 'Disconnected', 'Expired' or 'Error'",
            id="status",
        ),
        pytest.param(
            "machines: [{name: a, subscription: x}]", "machines[0](a)", "'x'", id="subscription"
        ),
        pytest.param(
            "principals: [{name: p, roleAssignments: [{role: Boss}]}]",
            "principals[0](p).roleAssignments[0].role",
            "'Boss' is not in Contributor, Owner, Reader",
            id="role",
        ),
        pytest.param(
            "principals: [{name: p, roleAssignments: [{scope: /}]}]",
            "principals[0].roleAssignments[0]",
            "either role or actions",
            id="no rights",
        ),
        pytest.param(
            "machines: [{name: off}]",
            "machines[0].name",
            "in quotes",
            id="a name that YAML negates",
        ),
        pytest.param(
            "patchSets: {b: [{name: a, version: yes}]}",
            "patchSets.b[0].version",
            "off, on, yes, no",
            id="a version that YAML affirms",
        ),
        pytest.param("machines: {a: 1}", "machines", "list", id="not a list"),
        pytest.param("- a", "(file)", "mapping", id="not a mapping"),
        pytest.param("a: [", "(file)", "YAML", id="not YAML"),
    ],
)
def test_an_error_names_the_path_and_what_is_wrong(text: str, path: str, word: str) -> None:
    with pytest.raises(FleetError) as refused:
        parse(text)

    assert refused.value.problems[0][0] == path
    assert word in refused.value.problems[0][1]


def test_all_errors_of_a_file_come_at_once() -> None:
    with pytest.raises(FleetError) as refused:
        parse("machines: [{name: a, x: 1}, {name: b, y: 1}]")

    assert len(refused.value.problems) == 2
