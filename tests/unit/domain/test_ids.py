"""Azure resource ids: compared without case, taken apart as they are spelt."""

from __future__ import annotations

import pytest
from domain_builders import SUBSCRIPTION, VERSION, VM

from azpatch.domain.ids import key, parse, subscription_of


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(VM, id="as ARM says it"),
        pytest.param(VM.upper(), id="in another case"),
        pytest.param(f" {VM}/ ", id="with a slash and blanks at its end"),
    ],
)
def test_an_id_is_compared_without_case(spelling: str) -> None:
    assert key(spelling) == key(VM)
    assert subscription_of(spelling) == SUBSCRIPTION


def test_an_id_is_taken_apart_as_it_is_spelt() -> None:
    parts = parse(VERSION)
    assert parts is not None
    assert (parts.subscription, parts.resource_group) == (SUBSCRIPTION, "rg")
    assert parts.type == "microsoft.compute/galleries/images/versions"
    assert parts.names == ("g", "web", "1.4.0")
    assert parts.name == "1.4.0"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("web-1", id="a name"),
        pytest.param(f"/subscriptions/{SUBSCRIPTION}", id="a subscription"),
        pytest.param(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg", id="a group"),
        pytest.param(VM + "/extensions", id="a type without a name"),
        pytest.param(VM.replace("/rg/", "//"), id="an empty part"),
        pytest.param("/CommunityGalleries/g/Images/web/Versions/1/a/b", id="a community gallery"),
    ],
)
def test_what_is_no_resource_in_a_group_has_no_parts(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("text", ["", "/", "web-1", "/providers/Microsoft.Compute"])
def test_an_id_without_subscription_names_none(text: str) -> None:
    assert subscription_of(text) == ""
