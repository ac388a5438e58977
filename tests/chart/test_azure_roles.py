"""The Azure custom roles: files that `az` takes, each as narrow as its name."""

import json
import re
from typing import Any

import pytest

from azpatch.api.subscription import AccessLevel, Grant, NamespaceMatch
from azpatch.domain.facts import Permissions
from azpatch.domain.rights import missing, missing_to_register
from lab.binaries import ROOT

ROLES = ROOT / "docs" / "azure-roles"
INSTALL = (ROOT / "docs" / "install.md").read_text()

REGISTRAR = "feature-registrar.json"

FILES = sorted(path.name for path in ROLES.iterdir())


def _role(name: str) -> dict[str, Any]:
    role: dict[str, Any] = json.loads((ROLES / name).read_text())
    return role


@pytest.mark.parametrize("name", FILES)
def test_a_role_is_what_az_takes(name: str) -> None:
    role = _role(name)
    assert role.keys() == {
        "Name", "IsCustom", "Description", "Actions", "NotActions", "DataActions",
        "NotDataActions", "AssignableScopes",
    }  # fmt: skip
    assert role["IsCustom"] is True
    assert role["AssignableScopes"] == ["/subscriptions/SUBSCRIPTION_ID"]
    assert len(role["Actions"]) == len(set(role["Actions"]))
    for action in role["Actions"]:
        assert re.fullmatch(r"Microsoft\.[A-Za-z]+(/([A-Za-z]+|\*))+", action)


@pytest.mark.parametrize("name", FILES)
def test_install_md_says_what_a_role_is_for(name: str) -> None:
    assert f"| [{name}](azure-roles/{name}) | {_role(name)['Name']} |" in INSTALL


def test_install_md_puts_the_subscription_where_the_files_leave_it_open() -> None:
    assert 'sed "s/SUBSCRIPTION_ID/$SUBSCRIPTION_ID/"' in INSTALL


def test_the_reader_only_reads() -> None:
    assert all(action.endswith("/read") for action in _role("reader.json")["Actions"])


@pytest.mark.parametrize(
    ("name", "last"),
    [("assessor.json", "assessPatches/action"), ("patcher.json", "installPatches/action")],
)
def test_a_role_for_an_operation_starts_that_operation_and_no_other(name: str, last: str) -> None:
    assert all(action.endswith(last) for action in _role(name)["Actions"])


def test_no_action_is_in_two_roles() -> None:
    actions = [action for name in FILES for action in _role(name)["Actions"]]
    assert len(actions) == len(set(actions))


@pytest.mark.parametrize(
    ("access", "names"),
    [
        pytest.param(AccessLevel.READ, ["reader.json"], id="Read"),
        pytest.param(AccessLevel.ASSESS, ["reader.json", "assessor.json"], id="Assess"),
        pytest.param(
            AccessLevel.PATCH, ["reader.json", "assessor.json", "patcher.json"], id="Patch"
        ),
        pytest.param(
            AccessLevel.CONFIGURE, ["reader.json", "assessor.json", "patcher.json"], id="Configure"
        ),
    ],
)
def test_with_the_roles_for_an_access_the_operator_misses_no_right(
    access: AccessLevel, names: list[str]
) -> None:
    actions = [action for name in names for action in _role(name)["Actions"]]
    grant = Grant(name="web", namespaces=NamespaceMatch(names=("web",)), access=access)
    held = {"/subscriptions/1": (Permissions(tuple(actions), not_actions=()),)}
    assert missing([grant], held, arc=True) == ()


def test_with_the_registrar_it_may_register_the_preview_feature() -> None:
    held = {"/subscriptions/1": (Permissions(tuple(_role(REGISTRAR)["Actions"]), ()),)}
    assert missing_to_register("1", held) == ()
    nothing = {"/subscriptions/1": (Permissions((), ()),)}
    needed = [action for action, _ in missing_to_register("1", nothing)]
    assert needed == _role(REGISTRAR)["Actions"]
