"""Microsoft Entra ID as far as clients of ARM need it: issues tokens and checks them.

Tokens are JWTs signed by a key that lives as long as the process. They name the principal (`oid`,
`appid`, `tid`) and its audience and expire by the real clock, which is the one that clients go by.
Secrets and federated assertions are checked against the principals of the fleet file:

- a client secret is compared;
- an assertion must be in its valid time, and its issuer, subject and audience must be those of a
  federated credential of the principal. Its signature is verified only where the credential
  carries the issuer's public key: a simulated Azure cannot reach the keys of a cluster's issuer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from azsim.http import ArmError, Principal, Request, Response

TOKEN_LIFETIME = 3599
"""Seconds that a token of the token endpoint lives, as Entra ID gives service principals."""

ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
"""What ARM accepts as a token's audience beside its own address."""

_KEY_ID = "azsim-1"


EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
"""The audience that Entra ID wants in a federated assertion unless told otherwise."""


@dataclass(frozen=True)
class FederatedCredential:
    """Whose assertions a principal accepts. Without `public_key` (PEM) nobody checks signatures."""

    issuer: str
    subject: str
    public_key: str | None = None
    audience: str = EXCHANGE_AUDIENCE

    def accepts(self, assertion: str, claims: Mapping[str, Any]) -> bool:
        """Whether an assertion with these (unverified) claims is one of this credential."""
        audiences = claims.get("aud", [])
        audiences = [audiences] if isinstance(audiences, str) else audiences
        return (
            claims.get("sub") == self.subject
            and claims.get("iss") == self.issuer
            and self.audience in audiences
            and self._signed(assertion)
        )

    def _signed(self, assertion: str) -> bool:
        if self.public_key is None:
            return True
        try:
            jwt.decode(
                assertion,
                self.public_key,
                algorithms=["RS256", "ES256"],
                options={"verify_aud": False},
            )
        except jwt.InvalidTokenError:
            return False
        return True


@dataclass(frozen=True)
class Identity:
    """A principal and how it can sign in."""

    principal: Principal
    secret: str | None = None
    federated: tuple[FederatedCredential, ...] = ()
    managed: bool = False
    """Whether the instance metadata service gives tokens for it."""


class SignIn:
    """Issues tokens to the identities of one fleet and checks them."""

    def __init__(
        self,
        identities: Iterable[Identity],
        tenants: Iterable[str],
        *,
        subscription_tenants: Mapping[str, str],
        wall_clock: Callable[[], float] = time.time,
        lifetime: int = TOKEN_LIFETIME,
    ) -> None:
        self.identities = list(identities)
        self.tenants = {tenant.lower(): tenant for tenant in tenants}
        self._subscription_tenants = {
            subscription.lower(): tenant for subscription, tenant in subscription_tenants.items()
        }
        self._wall_clock = wall_clock
        self.lifetime = lifetime
        self._key = _signing_key()
        self._checked: dict[str, dict[str, Any]] = {}
        self.tokens: list[str] = []
        """Every token issued so far."""
        self.assertions: dict[str, None] = {}
        """Every federated assertion shown so far."""

    # Issuing

    def issue(self, principal: Principal, audience: str, issuer: str) -> dict[str, Any]:
        """A token and its claims: `{"access_token", "claims"}`."""
        now = int(self._wall_clock())
        claims = {
            "aud": audience,
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime,
            "appid": principal.app_id,
            "idtyp": "app",
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": principal.tenant_id,
            "ver": "1.0",
        }
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KEY_ID})
        self.tokens.append(token)
        return {"access_token": token, "claims": claims}

    def by_secret(self, tenant: str, app_id: str, secret: str) -> Principal:
        """The principal whose secret this is. Raises SignInError."""
        identity = self._identity(tenant, app_id)
        if identity.secret is None or identity.secret != secret:
            raise SignInError(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is "
                "the client secret value, not the client secret ID, for a secret added to app "
                f"'{app_id}'.",
            )
        return identity.principal

    def by_assertion(self, tenant: str, app_id: str, assertion: str) -> Principal:
        """The principal that a federated assertion stands for. Raises SignInError."""
        identity = self._identity(tenant, app_id)
        self.assertions[assertion] = None
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError as error:
            raise SignInError(
                401, "invalid_client", 50027, f"JWT token is invalid or malformed: {error}."
            ) from error
        self._check_time(claims)
        if any(credential.accepts(assertion, claims) for credential in identity.federated):
            return identity.principal
        raise SignInError(
            401,
            "invalid_client",
            700213,
            "No matching federated identity record found for presented assertion. "
            f"Assertion Issuer: '{claims.get('iss')}'. Assertion Subject: '{claims.get('sub')}'. "
            f"Assertion Audience: '{claims.get('aud')}'.",
        )

    def managed(self, client_id: str | None) -> Principal | None:
        """The managed identity with this client id; without one, the only one there is."""
        managed = [identity for identity in self.identities if identity.managed]
        if client_id is None:
            return managed[0].principal if len(managed) == 1 else None
        for identity in managed:
            if identity.principal.app_id.lower() == client_id.lower():
                return identity.principal
        return None

    def _identity(self, tenant: str, app_id: str) -> Identity:
        if tenant.lower() not in self.tenants:
            raise SignInError(
                400,
                "invalid_request",
                90002,
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID "
                "and are signing into the correct cloud.",
            )
        for identity in self.identities:
            principal = identity.principal
            if (principal.tenant_id.lower(), principal.app_id.lower()) == (
                tenant.lower(),
                app_id.lower(),
            ):
                return identity
        raise SignInError(
            400,
            "unauthorized_client",
            700016,
            f"Application with identifier '{app_id}' was not found in the directory '{tenant}'.",
        )

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now = self._wall_clock()
        if not claims.get("nbf", 0) - 300 <= now < claims.get("exp", 0):
            raise SignInError(
                401,
                "invalid_client",
                700024,
                "Client assertion is not within its valid time range.",
            )

    # Checking

    def authenticate(self, request: Request) -> Principal:
        """Who calls, by the bearer token. ArmError 401 with WWW-Authenticate without a good one."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._refused(
                request,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        claims = self._claims(request, token.strip())
        if claims["exp"] <= self._wall_clock():
            expiry = datetime.fromtimestamp(claims["exp"], UTC).strftime("%m/%d/%Y %H:%M:%S")
            raise self._refused(
                request,
                "ExpiredAuthenticationToken",
                f"The access token expiry UTC time '{expiry}' is earlier than current UTC time.",
            )
        own = request.base_url.lower()
        if claims["aud"].rstrip("/").lower() not in (*ARM_AUDIENCES, own):
            raise self._refused(
                request,
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource "
                f"'{claims['aud']}'. It should exactly match with one of the allowed audiences "
                f"'{own}/', '{ARM_AUDIENCES[1]}/', '{ARM_AUDIENCES[0]}/'.",
            )
        self._check_tenant(request, claims)
        return Principal(claims["oid"], claims["appid"], claims["tid"])

    def _claims(self, request: Request, token: str) -> dict[str, Any]:
        """The claims of a token with our signature, whatever its time and audience."""
        if token in self._checked:
            return self._checked[token]
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_aud": False,
                    "verify_iat": False,
                    "require": ["exp", "aud", "oid", "appid", "tid"],
                },
            )
        except jwt.InvalidTokenError as error:
            raise self._refused(
                request, "InvalidAuthenticationToken", "The access token is invalid."
            ) from error
        if len(self._checked) >= 1000:
            self._checked.clear()
        self._checked[token] = claims
        return claims

    def _check_tenant(self, request: Request, claims: Mapping[str, Any]) -> None:
        segments = request.path.split("/")
        if len(segments) < 3 or segments[1].lower() != "subscriptions":
            return
        tenant = self._subscription_tenants.get(segments[2].lower())
        if tenant is not None and tenant.lower() != claims["tid"].lower():
            raise self._refused(
                request,
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer '{claims['iss']}'. It must match the "
                f"tenant '{tenant}' associated with this subscription.",
            )

    def _refused(self, request: Request, code: str, message: str) -> ArmError:
        tenant = next(iter(self.tenants.values()), "common")
        segments = request.path.split("/")
        if len(segments) > 2 and segments[1].lower() == "subscriptions":
            tenant = self._subscription_tenants.get(segments[2].lower(), tenant)
        challenge = (
            f'Bearer authorization_uri="{request.base_url}/{tenant}", '
            f'error="invalid_token", error_description="{message}"'
        )
        return ArmError(401, code, message, headers={"www-authenticate": challenge})

    # Metadata

    def keys(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "use": "sig", "kid": _KEY_ID}]}


@cache
def _signing_key() -> rsa.RSAPrivateKey:
    """A new key per process: a token of an earlier run is refused, as it should be.

    Making one takes a tenth of a second, and a simulation makes many clouds.
    """
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class SignInError(Exception):
    """A refusal of the token endpoint: an OAuth error code and Entra ID's AADSTS number."""

    def __init__(self, status: int, error: str, number: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.number = number
        self.description = description

    def response(self, request_id: str) -> Response:
        """The refusal as the token endpoint words it."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return Response(
            self.status,
            {
                "error": self.error,
                "error_description": f"AADSTS{self.number}: {self.description} "
                f"Trace ID: {request_id} Correlation ID: {request_id} Timestamp: {now}",
                "error_codes": [self.number],
                "timestamp": now,
                "trace_id": request_id,
                "correlation_id": request_id,
            },
        )
