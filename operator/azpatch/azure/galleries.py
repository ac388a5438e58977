"""Azure Compute Galleries: one image definition as ARM shows it.

A definition of one's own is a resource. What others share, directly or with everyone, has no
resource id: it is looked up by its name among what a subscription sees in a location.
"""

from __future__ import annotations

from collections.abc import Mapping

from azure.core.rest import HttpRequest

from azpatch.azure import limits, rows
from azpatch.azure.arm import PATIENCE, Arm
from azpatch.azure.errors import NOT_JSON, UNREADABLE
from azpatch.azure.port import Denied, Gone, Retry, SignInFailed
from azpatch.azure.throttles import Throttles
from azpatch.azure.values import mapping
from azpatch.domain import ids
from azpatch.domain.facts import ImageDefinition
from azpatch.domain.image import gallery_image

GALLERIES_API = "2026-03-03"
"""The version that the SDK asks for all three kinds. A test keeps them equal."""

SHARED_WITH = "/subscriptions/{}/providers/Microsoft.Compute/locations/{}{}"
"""Where a subscription sees what is shared: its id, a location, `/SharedGalleries/…`."""

OTHER_TENANT = "InvalidAuthenticationTokenTenant"
"""ARM's 401 where a subscription belongs to another tenant than the token."""


class Galleries:
    """Reads image definitions for one identity."""

    def __init__(self, arm: Arm, throttles: Throttles) -> None:
        self._arm = arm
        self._throttles = throttles

    async def definition(
        self, definition_id: str, subscription: str, location: str
    ) -> ImageDefinition:
        """See AzureClient. Gone, and no GET, for what cannot be a definition's id."""
        image = gallery_image(definition_id)
        if image is None:
            raise Gone("InvalidResourceId", "This is not the id of a gallery image definition.")
        path = image.spelt
        if image.shared:
            path = SHARED_WITH.format(subscription, location, path)
        request = HttpRequest("GET", self._arm.url(path), params={"api-version": GALLERIES_API})
        name = f"{ids.subscription_of(path)} {image.definition}"
        costs = limits.read(ids.subscription_of(path))
        try:
            async with self._throttles.reading(name, costs, PATIENCE):
                _, body = await self._arm.get(request)
        except SignInFailed as error:
            if error.code == OTHER_TENANT:
                raise Denied(error.code, error.message) from None
            raise
        if not isinstance(body, Mapping):
            raise Retry(UNREADABLE, NOT_JSON)
        properties = mapping(body.get("properties"))
        return rows.image_definition({**properties, "id": image.spelt})
