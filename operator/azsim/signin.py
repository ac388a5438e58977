"""Microsoft Entra ID as far as clients of ARM need it: metadata, token endpoints, token checks.

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
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from azsim.http import ArmError, Params, Principal, Request, Response, Router

if TYPE_CHECKING:
    from azsim.cloud import Cloud

TOKEN_LIFETIME = 3599
"""Seconds that a token of the token endpoint lives, as Entra ID gives service principals."""

ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
"""What ARM accepts as a token's audience beside its own address."""

_KEY_ID = "azsim-1"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


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
        # A new key per process: a token of an earlier run is refused, as it should be.
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._checked: dict[str, dict[str, Any]] = {}

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


def routes(router: Router) -> None:
    """Sign-in's routes; none needs a token."""
    router.add_open("GET", "/metadata/endpoints", endpoints)
    for version in ("", "/v2.0"):
        router.add_open("GET", f"/{{tenant}}{version}/.well-known/openid-configuration", openid)
        router.add_open("GET", f"/{{tenant}}/discovery{version}/keys", keys)
        router.add_open("POST", f"/{{tenant}}/oauth2{version}/token", token)
    router.add_open("GET", "/common/discovery/instance", instance_discovery)
    router.add_open("GET", "/metadata/identity/oauth2/token", managed_identity)


def endpoints(cloud: Cloud, request: Request, params: Params) -> Response:
    """What this cloud is called and where its parts are.

    One object for api-version 2022-09-01, as clouds with one instance answer; a list of clouds for
    2019-05-01, which is how the public cloud's clients read it.
    """
    base = request.base_url
    version = request.param("api-version")
    if version not in ("2022-09-01", "2019-05-01"):
        raise ArmError(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{version}' is invalid. The supported versions are "
            "'2022-09-01,2019-05-01'.",
        )
    metadata: dict[str, Any] = {
        "name": "azsim",
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base, *ARM_AUDIENCES],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": base,
        "graph": base,
        "graphAudience": base,
        "media": base,
        "batch": base,
        "suffixes": {
            "storage": "core.azsim.invalid",
            "keyVaultDns": "vault.azsim.invalid",
            "sqlServerHostname": "database.azsim.invalid",
            "acrLoginServer": "azurecr.azsim.invalid",
        },
    }
    return Response(200, metadata if version == "2022-09-01" else [metadata])


def openid(cloud: Cloud, request: Request, params: Params) -> Response:
    """The OpenID configuration of a tenant, or of `organizations` and `common`."""
    tenant, base = params["tenant"], request.base_url
    if tenant.lower() in ("organizations", "common"):
        issuer = f"{base}/{{tenantid}}/v2.0"
    elif tenant.lower() in cloud.signin.tenants:
        issuer = f"{base}/{tenant}/v2.0"
    else:
        return SignInError(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.").response(
            cloud.new_guid()
        )
    version = "/v2.0" if "/v2.0/" in request.path else ""
    return Response(
        200,
        {
            "issuer": issuer,
            "authorization_endpoint": f"{base}/{tenant}/oauth2{version}/authorize",
            "token_endpoint": f"{base}/{tenant}/oauth2{version}/token",
            "device_authorization_endpoint": f"{base}/{tenant}/oauth2{version}/devicecode",
            "jwks_uri": f"{base}/{tenant}/discovery{version}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        },
    )


def keys(cloud: Cloud, request: Request, params: Params) -> Response:
    """The key that signs tokens."""
    return Response(200, cloud.signin.keys())


def instance_discovery(cloud: Cloud, request: Request, params: Params) -> Response:
    """Confirms that this host is an authority, so that clients need not ask the public one."""
    host = request.headers.get("host", "localhost")
    return Response(
        200,
        {
            "tenant_discovery_endpoint": f"{request.base_url}/common/v2.0/"
            ".well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        },
    )


def token(cloud: Cloud, request: Request, params: Params) -> Response:
    """The token endpoint: client credentials by secret or by federated assertion."""
    form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        principal = _by_grant(cloud.signin, params["tenant"], form)
        audience = _audience(form)
    except SignInError as error:
        return error.response(cloud.new_guid())
    issued = cloud.signin.issue(principal, audience, f"{request.base_url}/{params['tenant']}/")
    return Response(
        200,
        {
            "token_type": "Bearer",
            "expires_in": cloud.signin.lifetime,
            "ext_expires_in": cloud.signin.lifetime,
            "access_token": issued["access_token"],
        },
    )


def _by_grant(signin: SignIn, tenant: str, form: Mapping[str, str]) -> Principal:
    if form.get("grant_type") != "client_credentials":
        raise SignInError(
            400,
            "unsupported_grant_type",
            70003,
            f"The app requested an unsupported grant type '{form.get('grant_type', '')}'.",
        )
    app_id = form.get("client_id", "")
    if "client_assertion" in form:
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise SignInError(400, "invalid_request", 90014, "client_assertion_type is missing.")
        return signin.by_assertion(tenant, app_id, form["client_assertion"])
    if "client_secret" in form:
        return signin.by_secret(tenant, app_id, form["client_secret"])
    raise SignInError(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or "
        "'client_secret'.",
    )


def _audience(form: Mapping[str, str]) -> str:
    """What a v2.0 scope or a v1 resource asks for: `https://host//.default` has the slash in it."""
    if "resource" in form:
        return form["resource"]
    for scope in form.get("scope", "").split():
        if scope.endswith("/.default"):
            return scope.removesuffix("/.default")
    raise SignInError(
        400,
        "invalid_scope",
        1002012,
        f"The provided value for scope '{form.get('scope', '')}' is not valid. Client credential "
        "flows must have a scope value with /.default suffixed to the resource identifier.",
    )


def managed_identity(cloud: Cloud, request: Request, params: Params) -> Response:
    """The instance metadata service's token endpoint for managed identities."""
    if request.headers.get("metadata", "").lower() != "true":
        return _metadata_refusal("invalid_request", "Required metadata header not specified")
    resource = request.param("resource")
    if not resource:
        return _metadata_refusal("invalid_request", "Required audience parameter not specified")
    principal = cloud.signin.managed(request.param("client_id"))
    if principal is None:
        return _metadata_refusal("invalid_request", "Identity not found")
    issued = cloud.signin.issue(principal, resource, f"azsim/{principal.tenant_id}/")
    claims = issued["claims"]
    return Response(
        200,
        {
            "access_token": issued["access_token"],
            "client_id": principal.app_id,
            "expires_in": str(cloud.signin.lifetime),
            "expires_on": str(claims["exp"]),
            "ext_expires_in": str(cloud.signin.lifetime),
            "not_before": str(claims["nbf"]),
            "resource": resource,
            "token_type": "Bearer",
        },
    )


def _metadata_refusal(error: str, description: str) -> Response:
    return Response(400, {"error": error, "error_description": description})
