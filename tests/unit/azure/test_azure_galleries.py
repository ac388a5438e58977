"""One image definition at ARM: one's own, a shared gallery's, a community gallery's."""

import re
from typing import Any

import pytest
from azure.mgmt.compute.operations import _operations as sdk

from azpatch.api import OsType
from azpatch.azure import port
from azpatch.azure.galleries import GALLERIES_API
from azpatch.domain.facts import ImageDefinition

SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
OWNER = "6f1c0000-0000-4000-8000-000000000002"
OWN = f"/subscriptions/{OWNER}/resourceGroups/RG/providers/Microsoft.Compute/galleries/g/images/Web"
SHARED = f"/SharedGalleries/{OWNER}-G/Images/Web"
COMMUNITY = "/CommunityGalleries/ours-22bb/Images/Web"
PROPERTIES = {"osState": "specialized", "osType": "windows", "hyperVGeneration": "V2"}
LOCATION = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope"


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        pytest.param(OWN, OWN, id="a resource, in its own subscription"),
        pytest.param(SHARED, f"{LOCATION}{SHARED}", id="shared: as a subscription sees it"),
        pytest.param(COMMUNITY, f"{LOCATION}{COMMUNITY}", id="a community gallery's: likewise"),
    ],
)
async def test_a_definition_is_one_get(
    client: port.AzureClient, wire: Any, answer: Any, definition: str, path: str
) -> None:
    wire.answers(answer(200, {"name": "Web", "properties": PROPERTIES}))

    found = await client.image_definition(definition, SUBSCRIPTION, "westeurope")

    assert found == ImageDefinition(definition, "Specialized", OsType.WINDOWS)
    (sent,) = wire.sent
    url = f"https://management.azure.com{path}?api-version={GALLERIES_API}"
    assert (sent.method, sent.url) == ("GET", url)


@pytest.mark.parametrize("kind", ["gallery", "shared_gallery", "community_gallery"])
def test_the_version_is_the_sdks(kind: str) -> None:
    assert sdk.__file__ is not None
    with open(sdk.__file__, encoding="utf-8") as source:
        built = source.read().partition(f"def build_{kind}_images_get_request(")[2]
    version = re.search(r'"api-version", "(?P<version>[\d-]+)"', built)
    assert version is not None
    assert version["version"] == GALLERIES_API


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AuthorizationFailed", port.Denied),
        (404, "SubscriptionNotFound", port.Denied),
        (401, "InvalidAuthenticationTokenTenant", port.Denied),
        (401, "ExpiredAuthenticationToken", port.SignInFailed),
        (404, "ResourceNotFound", port.Gone),
        (400, "InvalidParameter", port.Retry),
        (429, "TooManyRequests", port.Retry),
        (500, "InternalError", port.Retry),
    ],
)
async def test_why_it_cannot_be_read(
    client: port.AzureClient,
    wire: Any,
    answer: Any,
    status: int,
    code: str,
    error: type[port.AzureError],
) -> None:
    wire.answers(answer(status, {"error": {"code": code, "message": "No."}}))
    with pytest.raises(error) as raised:
        await client.image_definition(OWN, SUBSCRIPTION, "westeurope")
    assert (type(raised.value), raised.value.code) == (error, code)


@pytest.mark.parametrize("body", [pytest.param([], id="a list"), pytest.param("x", id="a text")])
async def test_an_answer_that_is_no_definition_is_none(
    client: port.AzureClient, wire: Any, answer: Any, body: object
) -> None:
    wire.answers(answer(200, body))
    with pytest.raises(port.Retry):
        await client.image_definition(OWN, SUBSCRIPTION, "westeurope")


async def test_what_is_no_definitions_id_is_not_asked_for(
    client: port.AzureClient, wire: Any
) -> None:
    with pytest.raises(port.Gone):
        await client.image_definition("/subscriptions/x", SUBSCRIPTION, "westeurope")
    assert wire.sent == []
