"""What a role assignment gives, and where."""

import pytest

from azsim.rights import Assignment, Rights, within

SUB = "/subscriptions/5AB10000-0000-4000-8000-000000000001"
RG = f"{SUB}/resourceGroups/rg-web"
VM = f"{RG}/providers/Microsoft.Compute/virtualMachines/web-1"
READ = "Microsoft.Compute/virtualMachines/read"
ASSESS = "Microsoft.Compute/virtualMachines/assessPatches/action"
WHO = "0b1e0000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("actions", "action", "given"),
    [
        pytest.param(("*",), ASSESS, True, id="a star is everything"),
        pytest.param(("*/read",), READ, True, id="a star spans slashes"),
        pytest.param(("*/read",), ASSESS, False, id="reading is not acting"),
        pytest.param((READ.upper(),), READ, True, id="case does not matter"),
        pytest.param((READ,), READ + "/more", False, id="the whole action has to match"),
        pytest.param(
            ("Microsoft.Compute/virtualMachines/*/action",), ASSESS, True, id="a star inside"
        ),
        pytest.param((), READ, False, id="no action, nothing"),
    ],
)
def test_an_action_matches_a_pattern(actions: tuple[str, ...], action: str, given: bool) -> None:
    assert Assignment("/", actions).gives(action) is given


def test_not_actions_take_from_their_own_role_only() -> None:
    narrowed = Assignment(SUB, ("*",), ("Microsoft.Compute/virtualMachines/*/action",))
    other = Assignment(RG, (ASSESS,))

    assert not Rights({WHO: [narrowed]}).allowed(WHO, ASSESS, VM)
    assert Rights({WHO: [narrowed, other]}).allowed(WHO, ASSESS, VM)


@pytest.mark.parametrize(
    ("scope", "ancestor", "inside"),
    [
        pytest.param(VM, "/", True, id="everything is below the root"),
        pytest.param(VM, SUB.lower(), True, id="case does not matter"),
        pytest.param(VM, VM, True, id="a scope contains itself"),
        pytest.param(SUB, RG, False, id="a group does not reach its subscription"),
        pytest.param(RG + "-2", RG, False, id="a name that begins alike is another name"),
        pytest.param(RG, RG + "/", True, id="a closing slash is none"),
    ],
)
def test_a_scope_lies_within_another(scope: str, ancestor: str, inside: bool) -> None:
    assert within(scope, ancestor) is inside


def test_who_has_no_assignment_may_nothing() -> None:
    rights = Rights({})

    assert not rights.allowed(WHO, READ, VM)
    assert rights.scopes_giving(WHO, READ) == []
    assert not rights.touches(WHO, SUB)


def test_a_role_inside_a_subscription_shows_the_subscription() -> None:
    rights = Rights({WHO: [Assignment(VM, (READ,))]})

    assert rights.touches(WHO, SUB)
    assert not rights.allowed(WHO, READ, SUB)


def test_the_scopes_that_give_an_action_do_not_contain_each_other() -> None:
    rights = Rights(
        {WHO: [Assignment(RG, ("*",)), Assignment(VM, (READ,)), Assignment(SUB, ("*/write",))]}
    )

    assert rights.scopes_giving(WHO, READ) == [RG.lower()]


def test_the_root_is_the_only_scope_where_it_gives_the_action() -> None:
    rights = Rights({WHO: [Assignment("/", ("*",)), Assignment(VM, (READ,))]})

    assert rights.scopes_giving(WHO, READ) == [""]
