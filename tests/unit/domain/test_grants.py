"""Secure by default: what no grant allows is not touched."""

from __future__ import annotations

from typing import Any

import pytest
from domain_builders import grant, machine

from azpatch.api.subscription import AccessLevel
from azpatch.domain.grants import Namespace, access, any_access

WEB = Namespace("web", {"team": "web", "tier": "front"})


def matching(**selector: Any) -> dict[str, Any]:
    return {"selector": selector}


def expression(operator: str, *values: str, key: str = "tier") -> dict[str, Any]:
    return matching(matchExpressions=[{"key": key, "operator": operator, "values": values}])


def test_no_grant_no_access() -> None:
    assert access([], WEB, machine()) is None
    assert not any_access([], WEB)


@pytest.mark.parametrize(
    ("namespaces", "meant"),
    [
        pytest.param({"names": ["web"]}, True, id="named"),
        pytest.param({"names": ["db"]}, False, id="another is named"),
        pytest.param(matching(), True, id="{} is every namespace"),
        pytest.param(matching(matchLabels={"team": "web"}), True, id="a label it has"),
        pytest.param(matching(matchLabels={"team": "db"}), False, id="a label with another value"),
        pytest.param(
            matching(matchLabels={"team": "web", "env": "prod"}), False, id="all labels must hold"
        ),
        pytest.param(
            {"names": ["db"], **matching(matchLabels={"team": "web"})},
            True,
            id="names or selector",
        ),
        pytest.param(expression("In", "front", "back"), True, id="In"),
        pytest.param(expression("In", "back"), False, id="In other values"),
        pytest.param(expression("In", "x", key="none"), False, id="In, of a label it lacks"),
        pytest.param(expression("NotIn", "front"), False, id="NotIn"),
        pytest.param(expression("NotIn", "back"), True, id="NotIn other values"),
        pytest.param(expression("NotIn", "x", key="none"), True, id="NotIn, of a label it lacks"),
        pytest.param(expression("Exists"), True, id="Exists"),
        pytest.param(expression("Exists", key="none"), False, id="Exists, of a label it lacks"),
        pytest.param(expression("DoesNotExist", key="none"), True, id="DoesNotExist"),
        pytest.param(expression("DoesNotExist"), False, id="DoesNotExist, of a label it has"),
    ],
)
def test_which_namespaces_a_grant_means(namespaces: dict[str, Any], meant: bool) -> None:
    grants = [grant(namespaces=namespaces)]

    assert any_access(grants, WEB) is meant
    assert access(grants, WEB, machine()) is (AccessLevel.PATCH if meant else None)


@pytest.mark.parametrize(
    ("narrowing", "covered"),
    [
        pytest.param({}, True, id="not narrowed: every machine"),
        pytest.param({"resourceGroups": ["RG"]}, True, id="its group, compared without case"),
        pytest.param({"resourceGroups": ["other"]}, False, id="another group"),
        pytest.param({"tags": {"ENV": ["prod", "test"]}}, True, id="a tag's name without case"),
        pytest.param({"tags": {"env": ["Prod"]}}, False, id="a tag's value with case"),
        pytest.param({"tags": {"env": ["prod"], "ring": ["0"]}}, False, id="all tags must hold"),
        pytest.param(
            {"resourceGroups": ["rg"], "tags": {"env": ["dev"]}}, False, id="group and tags"
        ),
    ],
)
def test_which_machines_a_grant_covers(narrowing: dict[str, Any], covered: bool) -> None:
    found = access([grant(**narrowing)], WEB, machine(tags={"env": "prod"}))

    assert found is (AccessLevel.PATCH if covered else None)


@pytest.mark.parametrize("order", [1, -1], ids=["low first", "high first"])
def test_of_several_matching_grants_the_highest_access_counts(order: int) -> None:
    grants = [
        grant("read", "Read"),
        grant("assess", "Assess"),
        grant("patch", "Patch", resourceGroups=["other"]),
    ]

    assert access(grants[::order], WEB, machine()) is AccessLevel.ASSESS


def test_what_is_no_id_of_a_machine_is_covered_by_nothing() -> None:
    assert access([grant()], WEB, machine(id="web-1")) is None
