"""What a client asks before it can talk to ARM: cloud metadata, OpenID configuration, tokens.

Also the instance metadata service's token endpoint, which is where managed identities sign in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from azsim.http import ArmError, Params, Principal, Request, Response, Router
from azsim.signin import ARM_AUDIENCES, SignIn, SignInError

if TYPE_CHECKING:
    from azsim.cloud import Cloud

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def routes(router: Router) -> None:
    """None of them needs a token."""
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
