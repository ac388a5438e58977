"""Who gets a token, what it says, and when ARM takes it."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from simulated import HOST, Azure

from azsim.clock import ManualClock
from azsim.http import ArmError, Principal, Request, Response
from azsim.signin import FederatedCredential, Identity, SignIn, SignInError

TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
OTHER_TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e22"
SUBSCRIPTION = "5ab10000-0000-4000-8000-0000000000aa"
FOREIGN = "5ab10000-0000-4000-8000-0000000000bb"
CLIENT = "c11e0000-0000-4000-8000-0000000000a1"
MANAGED = "c11e0000-0000-4000-8000-0000000000a3"
OBJECT = "0b1e0000-0000-4000-8000-0000000000a1"
ISSUER, SUBJECT = "https://cluster.example", "system:serviceaccount:azpatch:azpatch"
ARM = f"https://{HOST}"

FLEET = f"""
tenants: [{{id: {TENANT}}}, {{id: {OTHER_TENANT}}}]
subscriptions:
  - {{id: {SUBSCRIPTION}}}
  - {{id: {FOREIGN}, tenantId: {OTHER_TENANT}}}
principals:
  - {{name: owner, clientId: {CLIENT}, objectId: {OBJECT}, secret: open sesame}}
  - {{name: node, clientId: {MANAGED}, managedIdentity: true}}
"""


@pytest.fixture
def azure() -> Azure:
    return Azure(FLEET)


def send(azure: Azure, method: str, path: str, **more: Any) -> Response:
    """A request without a token."""
    headers = {"host": HOST, **more.pop("headers", {})}
    return azure.cloud.answer(Request(method, path, headers=headers, **more))


def ask(azure: Azure, tenant: str = TENANT, **form: str) -> Response:
    """A POST to the token endpoint; the form is a good one but for what is given."""
    good = {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "client_secret": "open sesame",
        "scope": f"{ARM}/.default",
    }
    return send(azure, "POST", f"/{tenant}/oauth2/v2.0/token", body=urlencode(good | form).encode())


def test_a_token_names_the_principal_and_its_audience(azure: Azure) -> None:
    answer = ask(azure).json()
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})

    assert (claims["oid"], claims["appid"], claims["tid"]) == (OBJECT, CLIENT, TENANT)
    assert claims["aud"] == ARM
    assert claims["exp"] - claims["iat"] == answer["expires_in"] == 3599


def test_a_token_is_signed_by_the_published_key(azure: Azure) -> None:
    token = ask(azure).json()["access_token"]
    published = send(azure, "GET", "/common/discovery/v2.0/keys").json()
    key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]

    assert jwt.decode(token, key, audience=ARM)["oid"] == OBJECT


def test_the_slash_of_an_audience_survives_the_scope(azure: Azure) -> None:
    token = ask(azure, scope="https://management.azure.com//.default").json()["access_token"]

    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == "https://management.azure.com/"


@pytest.mark.parametrize(
    ("form", "status", "error", "number"),
    [
        pytest.param({"client_secret": "x"}, 401, "invalid_client", 7000215, id="wrong secret"),
        pytest.param({"client_id": "x"}, 400, "unauthorized_client", 700016, id="unknown client"),
        pytest.param(
            {"client_id": MANAGED}, 401, "invalid_client", 7000215, id="a client without a secret"
        ),
        pytest.param(
            {"grant_type": "password"}, 400, "unsupported_grant_type", 70003, id="other grant"
        ),
        pytest.param({"scope": ARM}, 400, "invalid_scope", 1002012, id="a scope of its own"),
        pytest.param(
            {"tenant": OTHER_TENANT}, 400, "unauthorized_client", 700016, id="another tenant"
        ),
        pytest.param({"tenant": "nobodys"}, 400, "invalid_request", 90002, id="no tenant"),
    ],
)
def test_a_refusal_has_entra_ids_number(
    azure: Azure, form: dict[str, str], status: int, error: str, number: int
) -> None:
    answer = ask(azure, **form)

    assert answer.status == status
    assert answer.json()["error"] == error
    assert answer.json()["error_codes"] == [number]
    assert f"AADSTS{number}" in answer.json()["error_description"]


def test_a_secret_is_in_no_journal(azure: Azure) -> None:
    ask(azure)

    assert [entry.body for entry in azure.journal.requests()] == [None]
    assert "open sesame" not in str(azure.journal.entries)


# -- assertions -----------------------------------------------------------------------------------


def federated(public_key: str | None = None) -> SignIn:
    identity = Identity(
        Principal(OBJECT, CLIENT, TENANT),
        federated=(FederatedCredential(ISSUER, SUBJECT, public_key),),
    )
    return SignIn([identity], [TENANT], subscription_tenants={})


def assertion(key: Any = "x" * 32, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": "api://AzureADTokenExchange",
        "nbf": now,
        "exp": now + 600,
    }
    return jwt.encode(good | claims, key, algorithm)


def test_an_assertion_of_the_subject_stands_for_the_principal() -> None:
    assert federated().by_assertion(TENANT, CLIENT, assertion()).object_id == OBJECT


@pytest.mark.parametrize(
    ("claims", "number"),
    [
        pytest.param({"sub": SUBJECT + "2"}, 700213, id="another subject"),
        pytest.param({"iss": ISSUER + "/"}, 700213, id="another issuer"),
        pytest.param({"aud": ["api://other"]}, 700213, id="another audience"),
        pytest.param({"exp": 1}, 700024, id="expired"),
        pytest.param({"nbf": 2**33, "exp": 2**34}, 700024, id="not yet valid"),
    ],
)
def test_an_assertion_of_someone_else_does_not(claims: Mapping[str, Any], number: int) -> None:
    with pytest.raises(SignInError) as refused:
        federated().by_assertion(TENANT, CLIENT, assertion(**claims))

    assert refused.value.number == number


def test_with_the_issuers_key_the_signature_counts() -> None:
    key, another = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signin = federated(pem.decode())

    assert signin.by_assertion(TENANT, CLIENT, assertion(key, "ES256"))
    with pytest.raises(SignInError, match="No matching federated identity"):
        signin.by_assertion(TENANT, CLIENT, assertion(another, "ES256"))


def test_what_is_no_token_is_no_assertion() -> None:
    with pytest.raises(SignInError) as refused:
        federated().by_assertion(TENANT, CLIENT, "not.a.token")

    assert refused.value.number == 50027


# -- ARM's check ----------------------------------------------------------------------------------


def bearer(token: str, path: str = f"/subscriptions/{SUBSCRIPTION}") -> Request:
    return Request("GET", path, headers={"host": HOST, "authorization": f"Bearer {token}"})


def test_a_token_expires_by_the_real_clock() -> None:
    clock = [1_800_000_000.0]
    who = Principal(OBJECT, CLIENT, TENANT)
    signin = SignIn([], [TENANT], subscription_tenants={}, wall_clock=lambda: clock[0])
    token = signin.issue(who, ARM, "https://issuer/")["access_token"]

    clock[0] += signin.lifetime - 1
    assert signin.authenticate(bearer(token)) == who
    clock[0] += 1
    with pytest.raises(ArmError) as refused:
        signin.authenticate(bearer(token))
    assert (refused.value.status, refused.value.code) == (401, "ExpiredAuthenticationToken")


def test_a_request_without_a_token_is_challenged(azure: Azure) -> None:
    answer = send(
        azure, "GET", f"/subscriptions/{SUBSCRIPTION}", query={"api-version": "2022-12-01"}
    )

    assert answer.status == 401
    assert answer.json()["error"]["code"] == "AuthenticationFailed"
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer authorization_uri="{ARM}/{TENANT}"')


@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        pytest.param(ARM, True, id="azsim's own address"),
        pytest.param(f"{ARM}/", True, id="with a slash"),
        pytest.param("https://management.azure.com/", True, id="the public cloud's"),
        pytest.param("https://management.core.windows.net", True, id="its older name"),
        pytest.param("https://vault.azure.net", False, id="another service"),
    ],
)
def test_a_token_counts_for_its_audience_only(azure: Azure, audience: str, accepted: bool) -> None:
    token = ask(azure, scope=f"{audience}/.default").json()["access_token"]
    answer = azure.call("GET", "/subscriptions", headers={"authorization": f"Bearer {token}"})

    assert answer.status == (200 if accepted else 401)
    if not accepted:
        assert answer.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"


def test_a_token_that_azsim_did_not_sign_is_refused(azure: Azure) -> None:
    claims = {"aud": ARM, "oid": OBJECT, "appid": CLIENT, "tid": TENANT, "exp": 2**33}
    forged = jwt.encode(claims, "x" * 32, "HS256")
    answer = azure.call("GET", "/subscriptions", headers={"authorization": f"Bearer {forged}"})

    assert (answer.status, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_a_token_of_another_tenant_opens_no_subscription(azure: Azure) -> None:
    answer = azure.call("GET", f"/subscriptions/{FOREIGN}")

    assert answer.status == 401
    assert answer.json()["error"]["code"] == "InvalidAuthenticationTokenTenant"
    assert OTHER_TENANT in answer.json()["error"]["message"]


# -- metadata -------------------------------------------------------------------------------------


def test_the_endpoints_are_one_object_or_a_list_by_version(azure: Azure) -> None:
    def endpoints(version: str) -> Any:
        return send(azure, "GET", "/metadata/endpoints", query={"api-version": version}).json()

    one = endpoints("2022-09-01")
    assert one["resourceManager"] == ARM
    assert one["authentication"]["loginEndpoint"] == ARM
    assert one["authentication"]["identityProvider"] == "AAD"
    assert endpoints("2019-05-01") == [one]
    assert endpoints("2001-01-01")["error"]["code"] == "InvalidApiVersionParameter"


@pytest.mark.parametrize(
    ("tenant", "issuer"),
    [
        (TENANT, f"{ARM}/{TENANT}/v2.0"),
        ("organizations", f"{ARM}/{{tenantid}}/v2.0"),
        ("common", f"{ARM}/{{tenantid}}/v2.0"),
    ],
)
def test_the_openid_configuration_names_the_token_endpoint(
    azure: Azure, tenant: str, issuer: str
) -> None:
    found = send(azure, "GET", f"/{tenant}/v2.0/.well-known/openid-configuration").json()

    assert found["issuer"] == issuer
    assert found["token_endpoint"] == f"{ARM}/{tenant}/oauth2/v2.0/token"


def test_there_is_no_openid_configuration_of_a_tenant_that_is_not_there(azure: Azure) -> None:
    answer = send(azure, "GET", "/nobodys/v2.0/.well-known/openid-configuration")

    assert (answer.status, answer.json()["error_codes"]) == (400, [90002])


def test_instance_discovery_confirms_this_host(azure: Azure) -> None:
    found = send(azure, "GET", "/common/discovery/instance").json()

    assert found["metadata"][0]["aliases"] == [HOST]


# -- managed identity -----------------------------------------------------------------------------

IMDS = "/metadata/identity/oauth2/token"


@pytest.mark.parametrize(
    ("client_id", "found"),
    [
        pytest.param(MANAGED, True, id="by its client id"),
        pytest.param(None, True, id="the only one"),
        pytest.param(CLIENT, False, id="one that is not managed"),
    ],
)
def test_the_metadata_service_knows_managed_identities(
    azure: Azure, client_id: str | None, found: bool
) -> None:
    query = {"resource": ARM, **({"client_id": client_id} if client_id else {})}
    answer = send(azure, "GET", IMDS, query=query, headers={"metadata": "true"})

    assert answer.status == (200 if found else 400)
    if found:
        assert answer.json()["client_id"] == MANAGED
        assert int(answer.json()["expires_on"]) > time.time()
    else:
        assert answer.json()["error_description"] == "Identity not found"


def test_the_metadata_service_wants_its_header(azure: Azure) -> None:
    assert send(azure, "GET", IMDS, query={"resource": ARM}).status == 400


def test_simulated_time_does_not_touch_tokens(azure: Azure) -> None:
    token = ask(azure).json()["access_token"]
    assert isinstance(azure.clock, ManualClock)
    azure.wait(days=30)

    answer = azure.call("GET", "/subscriptions", headers={"authorization": f"Bearer {token}"})
    assert answer.status == 200
