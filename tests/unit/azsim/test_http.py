"""Routes and scopes, as ARM reads paths."""

import pytest

from azsim.http import ArmError, Request, Response, Router, resource_not_found, scope_of

SUB = "/subscriptions/s1"
RG = f"{SUB}/resourceGroups/rg"
VMS = f"{RG}/providers/Microsoft.Compute/virtualMachines"


def answer(*_: object) -> Response:
    return Response(204)


@pytest.fixture
def router() -> Router:
    router = Router()
    vm = "/subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.Compute/virtualMachines/{vm}"
    router.add("GET", vm, answer)
    router.add("POST", f"{vm}/assessPatches", answer)
    router.add_open("GET", "/{tenant}/v2.0/keys", answer)
    return router


def test_literal_segments_match_without_case_and_values_keep_theirs(router: Router) -> None:
    found = router.match("get", f"{VMS.upper()}/Web-1")

    assert found is not None
    assert found.params == {"sub": "S1", "rg": "RG", "vm": "Web-1"}


def test_a_first_segment_that_is_no_literal_is_a_placeholder(router: Router) -> None:
    found = router.match("GET", "/subscriptions/v2.0/keys")

    assert found is not None
    assert found.params == {"tenant": "subscriptions"}


def test_a_closing_slash_makes_no_difference(router: Router) -> None:
    assert router.match("GET", f"{VMS}/web-1/") is not None


@pytest.mark.parametrize("path", [VMS, f"{VMS}/web-1/unheardOf", "/"])
def test_a_path_that_nothing_serves_is_no_match(router: Router, path: str) -> None:
    assert router.match("GET", path) is None


def test_another_method_is_refused_as_such(router: Router) -> None:
    with pytest.raises(ArmError) as refused:
        router.match("DELETE", f"{VMS}/web-1")

    assert refused.value.status == 405


def test_two_handlers_for_one_route_are_a_mistake(router: Router) -> None:
    with pytest.raises(ValueError, match="two routes"):
        router.add_open("GET", "/{other}/v2.0/keys", answer)


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        pytest.param(f"{VMS}/web-1", f"{VMS}/web-1", id="a resource"),
        pytest.param(f"{VMS}/web-1/assessPatches", f"{VMS}/web-1", id="an action on it"),
        pytest.param(VMS, RG, id="a list in a group"),
        pytest.param(
            f"{SUB}/providers/Microsoft.Compute/virtualMachines", SUB, id="a list in a subscription"
        ),
        pytest.param(RG, RG, id="a group"),
        pytest.param(f"{SUB}/resourceGroups", SUB, id="the groups"),
        pytest.param(
            f"{SUB}/providers/Microsoft.Features/providers/Microsoft.Compute/features",
            SUB,
            id="a provider's features",
        ),
        pytest.param(
            f"{VMS}/web-1/providers/Microsoft.Authorization/permissions",
            f"{VMS}/web-1",
            id="what extends a resource",
        ),
        pytest.param(
            f"{RG}/providers/Microsoft.Compute/galleries/g/images/i/versions",
            f"{RG}/providers/Microsoft.Compute/galleries/g/images/i",
            id="a list in a child resource",
        ),
    ],
)
def test_the_scope_of_a_path_is_where_rights_are_looked_for(path: str, scope: str) -> None:
    assert scope_of(path) == scope


def test_query_parameters_compare_without_case() -> None:
    assert Request("GET", "/", query={"API-Version": "2026-04-01"}).param("api-version")


def test_a_body_that_is_not_json_is_refused() -> None:
    with pytest.raises(ArmError) as refused:
        Request("POST", "/", body=b"{").json()

    assert (refused.value.status, refused.value.code) == (400, "InvalidRequestContent")


def test_a_missing_resource_is_named_with_its_type_and_group() -> None:
    error = resource_not_found(f"{RG}/providers/Microsoft.Compute/galleries/g/images/i")

    assert error.status == 404
    assert "'Microsoft.Compute/galleries/images/g/i' under resource group 'rg'" in error.message
