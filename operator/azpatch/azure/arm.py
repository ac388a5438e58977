"""What azpatch asks of ARM beside Compute: features, permissions, any URL that ARM handed out; and
the two registrations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from azpatch.azure import limits, rows
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.errors import Call, asking
from azpatch.azure.port import Denied, Gone
from azpatch.azure.throttles import Throttles
from azpatch.azure.values import mapping, text
from azpatch.domain import ids
from azpatch.domain.facts import Feature, Permissions

FEATURES_API = "2021-07-01"
PROVIDERS_API = "2021-04-01"
AUTHORIZATION_API = "2022-04-01"
FEATURES = "/subscriptions/{}/providers/Microsoft.Features/providers/Microsoft.Compute/features"
REGISTRATIONS = (
    "/subscriptions/{}/providers/Microsoft.Features/featureProviders/Microsoft.Compute"
    "/subscriptionFeatureRegistrations"
)
REGISTER_FEATURE = FEATURES + "/{}/register"
REGISTER_COMPUTE = "/subscriptions/{}/providers/Microsoft.Compute/register"
CLIENT_REQUEST_ID = "x-ms-client-request-id"
PATIENCE = timedelta(minutes=1)
"""These few reads, which all machines of a subscription wait for, stand in line with those of
thousands of machines."""

PERMISSIONS = "{}/providers/Microsoft.Authorization/permissions"


class Arm:
    """Requests to ARM, and to nobody else: the token goes to no other host."""

    def __init__(
        self,
        client: AsyncARMPipelineClient[Any, Any],
        cloud: CloudSettings,
        throttles: Throttles,
    ) -> None:
        self._client = client
        self._cloud = cloud
        self._throttles = throttles

    async def features(self, subscription: str) -> tuple[Feature, ...]:
        """The features of Microsoft.Compute, with the display names of those that have one."""
        listed = await self._list(FEATURES.format(subscription), FEATURES_API)
        names = await self._display_names(subscription)
        return tuple(rows.feature(entry, names) for entry in listed)

    async def _display_names(self, subscription: str) -> dict[str, str]:
        """By lower-cased name. Only registration objects have them, and few subscriptions those."""
        try:
            listed = await self._list(REGISTRATIONS.format(subscription), FEATURES_API)
        except (Denied, Gone):
            return {}
        names: dict[str, str] = {}
        for entry in listed:
            properties = mapping(entry.get("properties"))
            name = str(entry.get("name") or properties.get("featureName") or "").rpartition("/")[2]
            if display := text(properties.get("displayName")):
                names[name.lower()] = display
        return names

    async def permissions(self, scope: str) -> tuple[Permissions, ...]:
        """What the caller may do at a scope."""
        path = PERMISSIONS.format(scope.rstrip("/"))
        return tuple(map(rows.permissions, await self._list(path, AUTHORIZATION_API)))

    async def register_feature(self, subscription: str, feature: str, attempt_id: str) -> None:
        """One POST that registers a feature of Microsoft.Compute."""
        path = REGISTER_FEATURE.format(subscription, feature)
        await self._post(path, FEATURES_API, attempt_id)

    async def register_compute(self, subscription: str, attempt_id: str) -> None:
        """One POST that registers Microsoft.Compute, anew where it is registered."""
        await self._post(REGISTER_COMPUTE.format(subscription), PROVIDERS_API, attempt_id)

    async def _post(self, path: str, api_version: str, attempt_id: str) -> None:
        """One POST without a body. It does not wait for its turn: who sends it holds the Lease and
        has looked at what it is about, both just now."""
        request = HttpRequest(
            "POST",
            self.url(path),
            params={"api-version": api_version},
            headers={CLIENT_REQUEST_ID: attempt_id},
        )
        costs = limits.write(ids.subscription_of(path))
        with self._throttles.writing(f"POST {path.lower()}", costs):
            async with asking(Call.MUTATE):
                await answered(self._client, request, retry_total=0)

    async def _list(self, path: str, api_version: str) -> list[Mapping[str, Any]]:
        """All entries of a list, its pages followed."""
        costs = limits.read(ids.subscription_of(path))
        async with self._throttles.reading(path, costs, PATIENCE):
            return await self._pages(path, api_version)

    async def _pages(self, path: str, api_version: str) -> list[Mapping[str, Any]]:
        request = HttpRequest("GET", self.url(path), params={"api-version": api_version})
        found: list[Mapping[str, Any]] = []
        while True:
            page = mapping((await self.get(request))[1])
            listed = page.get("value")
            found += [mapping(entry) for entry in listed] if isinstance(listed, list) else []
            following = text(page.get("nextLink"))
            if following is None:
                return found
            request = HttpRequest("GET", following)

    async def get(self, request: HttpRequest) -> tuple[int, object]:
        """Status and JSON of one GET; Gone, without sending anything, if it leads elsewhere."""
        self.require_own(request.url)
        async with asking(Call.READ):
            response = await answered(self._client, request)
            return response.status_code, response.json() if response.content else None

    def require_own(self, url: str) -> None:
        """Gone for a URL that leads elsewhere, where no token goes."""
        if not self._cloud.serves(url):
            raise Gone("ForeignUrl", "The URL is not on this cloud's ARM host; not followed.")

    def url(self, path: str) -> str:
        """Where a resource id, or what follows it, is served."""
        return f"{self._cloud.base_url}{quote(path)}"


async def answered(
    client: AsyncARMPipelineClient[Any, Any], request: HttpRequest, **options: Any
) -> Any:
    """The answer as it came; HttpResponseError if it is none of success."""
    response = await client.send_request(request, **options)
    if response.status_code >= 300:
        raise HttpResponseError(response=response)
    return response
