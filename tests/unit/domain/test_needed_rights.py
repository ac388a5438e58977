"""The Azure rights that grants need, compared with those that an identity has."""

from __future__ import annotations

import pytest
from domain_builders import SUBSCRIPTION, grant

from azpatch.api.subscription import Grant
from azpatch.domain.facts import Permissions
from azpatch.domain.rights import missing, scopes

EVERYWHERE = f"/subscriptions/{SUBSCRIPTION}"
VMS = "Microsoft.Compute/virtualMachines"
READ = Permissions(("Microsoft.Compute/*/read",), ())


def allows(*actions: str, but: tuple[str, ...] = ()) -> Permissions:
    return Permissions(actions, but)


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        pytest.param([], [EVERYWHERE], id="no grant: the subscription"),
        pytest.param([grant()], [EVERYWHERE], id="a grant for all of it: the subscription"),
        pytest.param(
            [grant(resourceGroups=["RG-B", "rg-a"]), grant("b", resourceGroups=["rg-b"])],
            [f"{EVERYWHERE}/resourcegroups/rg-a", f"{EVERYWHERE}/resourcegroups/rg-b"],
            id="every grant narrowed: those groups, each once",
        ),
        pytest.param(
            [grant(resourceGroups=["rg"]), grant("all")],
            [EVERYWHERE],
            id="one grant not narrowed: the subscription",
        ),
    ],
)
def test_where_rights_must_hold(grants: list[Grant], expected: list[str]) -> None:
    assert list(scopes(SUBSCRIPTION.upper(), grants)) == expected


@pytest.mark.parametrize(
    ("grants", "held", "lacking"),
    [
        pytest.param([grant()], [allows("*")], [], id="an owner lacks nothing"),
        pytest.param([], [READ], [], id="no grant needs reading alone"),
        pytest.param([grant(access="Read")], [READ], [], id="Read needs reading alone"),
        pytest.param(
            [grant(access="Assess")], [READ], [f"{VMS}/assessPatches/action"], id="Assess"
        ),
        pytest.param(
            [grant(access="Read"), grant("b", "Patch")],
            [READ],
            [f"{VMS}/assessPatches/action", f"{VMS}/installPatches/action"],
            id="the highest granted access decides",
        ),
        pytest.param(
            [grant()],
            [READ, allows("microsoft.compute/virtualmachines/*/ACTION")],
            [],
            id="roles add up, compared without case",
        ),
        pytest.param(
            [grant()],
            [allows("*", but=(f"{VMS}/installPatches/*",))],
            [f"{VMS}/installPatches/action"],
            id="notActions take away",
        ),
        pytest.param(
            [grant()],
            [allows("*", but=(f"{VMS}/installPatches/*",)), allows(f"{VMS}/installPatches/action")],
            [],
            id="notActions of one role do not take from another",
        ),
    ],
)
def test_what_is_missing(grants: list[Grant], held: list[Permissions], lacking: list[str]) -> None:
    found = missing(grants, {EVERYWHERE: tuple(held)})

    assert found == tuple((action, EVERYWHERE) for action in lacking)


def test_a_right_must_hold_in_every_scope() -> None:
    found = missing([grant(access="Assess")], {"/b": (allows("*"),), "/a": (READ,)})

    assert found == ((f"{VMS}/assessPatches/action", "/a"),)


HYBRID = "Microsoft.HybridCompute"


@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        pytest.param([allows("*")], [], id="an owner lacks nothing"),
        pytest.param(
            [READ, allows(f"{VMS}/*/action", f"{HYBRID}/*/read")],
            [
                f"{HYBRID}/machines/assessPatches/action",
                f"{HYBRID}/machines/installPatches/action",
            ],
            id="the operations",
        ),
        pytest.param(
            [READ, allows(f"{VMS}/*/action", f"{HYBRID}/machines/*")],
            [f"{HYBRID}/locations/updateCenterOperationResults/read"],
            id="what came of an operation",
        ),
    ],
)
def test_where_arc_enabled_servers_are_patched_their_rights_are_needed_too(
    held: list[Permissions], lacking: list[str]
) -> None:
    permissions = {EVERYWHERE: tuple(held)}

    found = missing([grant()], permissions, arc=True)

    assert found == tuple((action, EVERYWHERE) for action in lacking)
    assert missing([grant()], permissions) == ()
