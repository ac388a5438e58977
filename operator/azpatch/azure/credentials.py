"""Signing in: azure-identity for each kind of identity, behind one credential."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from azure.core import exceptions as core
from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.identity.aio import (
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from azpatch.azure.cloud import CloudSettings
from azpatch.azure.errors import (
    NOT_JSON,
    AuthorityUnreachable,
    AuthorityUntrusted,
    TokenUnavailable,
    untrusted,
)
from azpatch.azure.port import Credentials
from azpatch.azure.redaction import redacted
from azpatch.azure.transport import PooledTransport, Transport

SIGN_IN_TIMEOUT_SECONDS = 20
"""Real time for one token. Far below the minute in which an intent may be acted on, so that a slow
sign-in cannot push a POST beyond it; azure-identity alone would try managed identity for 75 s."""

TOO_MANY_REQUESTS = 429

SIGN_IN_RETRIES = 2
"""Repeats within that time; the work queue repeats the rest, with its own backoff."""


class Inner(Protocol):
    """What is used of azure-identity's three credentials."""

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo: ...


class SignIn:
    """A credential that signs in when it is first asked. Whatever goes wrong is TokenUnavailable.

    The secret is read from `credentials`, the assertion from its file at each sign-in, so that a
    rotated projected token is picked up.
    """

    def __init__(
        self,
        credentials: Credentials,
        cloud: CloudSettings,
        *,
        environment: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._credentials = credentials
        self._cloud = cloud
        self._environment = os.environ if environment is None else environment
        # A proxy never leads to a link-local address, so IMDS is reached without the environment's.
        self._transport = transport or PooledTransport(
            cloud, use_env_settings=credentials.type != "ManagedIdentity"
        )
        self._inner: Inner | None = None

    @property
    def principal(self) -> tuple[str, str]:
        """Tenant and client id in lower case: who signs in, whichever way it is written down."""
        known, environment = self._credentials, self._environment
        client_id = known.client_id
        if client_id is None and known.type == "WorkloadIdentity":
            client_id = environment.get("AZURE_CLIENT_ID")
        return known.tenant_id.lower(), (client_id or "").lower()

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """A token, from azure-identity's cache while it is fresh."""
        try:
            async with asyncio.timeout(SIGN_IN_TIMEOUT_SECONDS):
                if self._inner is None:
                    self._inner = self._make()
                return await self._inner.get_token_info(*scopes, options=options)
        except TimeoutError:
            raise AuthorityUnreachable(
                f"{self._credentials.type} sign-in: no answer within {SIGN_IN_TIMEOUT_SECONDS} s"
            ) from None
        except Exception as error:
            words = NOT_JSON if _unreadable(error) else redacted(str(error))
            raise _kind(error)(f"{self._credentials.type} sign-in: {words}") from None

    async def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """The same token in azure-core's older shape, which some clients still ask for."""
        info = await self.get_token_info(*scopes)
        return AccessToken(info.token, info.expires_on)

    def forget(self) -> None:
        """ARM refused the token: the next is asked of the authority, not taken from the cache."""
        self._inner = None

    async def close(self) -> None:
        """Ends the connections to the authority."""
        await self._transport.close()

    async def __aenter__(self) -> SignIn:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def _make(self) -> Inner:
        try:
            make = _MAKERS[self._credentials.type]
        except KeyError:
            raise ValueError("no such type of identity") from None
        return make(self)

    def _workload_identity(self) -> Inner:
        """The federated token that Kubernetes projects into the pod, exchanged at the authority."""
        environment = self._environment
        return WorkloadIdentityCredential(
            tenant_id=self._credentials.tenant_id or environment.get("AZURE_TENANT_ID"),
            client_id=self._credentials.client_id or environment.get("AZURE_CLIENT_ID"),
            token_file_path=environment.get("AZURE_FEDERATED_TOKEN_FILE"),
            **self._at_authority(),
        )

    def _client_secret(self) -> Inner:
        if not self._credentials.client_id or not self._credentials.client_secret:
            raise ValueError("client id or client secret missing")
        return ClientSecretCredential(
            self._credentials.tenant_id,
            self._credentials.client_id,
            self._credentials.client_secret,
            **self._at_authority(),
        )

    def _managed_identity(self) -> Inner:
        """The node's identity, from IMDS.

        IMDS is at its well-known address, or where AZURE_POD_IDENTITY_AUTHORITY_HOST says (read
        from the process's environment by azure-identity). In a pod with workload identity the SDK
        would quietly take that one instead of what the resource asks for: excluded.
        """
        return ManagedIdentityCredential(
            client_id=self._credentials.client_id,
            transport=self._transport,
            retry_total=SIGN_IN_RETRIES,
            _exclude_workload_identity_credential=True,
        )

    def _at_authority(self) -> dict[str, Any]:
        return {
            "authority": self._cloud.authority_host,
            "disable_instance_discovery": not self._cloud.instance_discovery,
            "transport": self._transport,
            "retry_total": SIGN_IN_RETRIES,
        }


_MAKERS: Mapping[str, Callable[[SignIn], Inner]] = {
    "WorkloadIdentity": SignIn._workload_identity,
    "ManagedIdentity": SignIn._managed_identity,
    "ClientSecret": SignIn._client_secret,
}
"""By `Credentials.type`."""


_NEITHER = "Unexpected response from"
"""Begins azure-identity's words for a good answer that holds neither a token nor an error."""


def _kind(error: Exception) -> type[TokenUnavailable]:
    """An authority that nobody vouches for has answered, and a person must see to it."""
    if untrusted(error):
        return AuthorityUntrusted
    passing = _nobody_answered(error) or _unreadable(error)
    return AuthorityUnreachable if passing else TokenUnavailable


def _unreadable(error: Exception) -> bool:
    """An answer that is no authority's, as a proxy gives it."""
    if isinstance(error, core.DecodeError) or str(error).startswith(_NEITHER):
        return True
    response = error.response if isinstance(error, core.HttpResponseError) else None
    if response is None:
        return False
    try:
        json.loads(response.text())
    except ValueError:
        return True
    return False


def _nobody_answered(error: Exception) -> bool:
    """No connection, a broken one, or an authority in trouble: not the identity's fault."""
    if isinstance(error, (core.ServiceRequestError, core.ServiceResponseError)):
        return True
    status = error.status_code if isinstance(error, core.HttpResponseError) else None
    return status is not None and (status >= 500 or status == TOO_MANY_REQUESTS)
