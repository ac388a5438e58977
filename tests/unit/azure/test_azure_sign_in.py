"""How each kind of identity signs in, and what its failure looks like. And the clouds."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from azpatch.azure.cloud import AZURE_PUBLIC, AZURE_US_GOVERNMENT, CLOUDS, CloudSettings
from azpatch.azure.credentials import SignIn
from azpatch.azure.errors import AuthorityUnreachable, Call, TokenUnavailable, translated
from azpatch.azure.port import Credentials, NeverSent, Retry

SIMULATED = CloudSettings("https://localhost:8443", "https://localhost:8443")


async def token(sign_in: SignIn, cloud: CloudSettings) -> str:
    async with sign_in:
        return (await sign_in.get_token_info(cloud.scope)).token


def form(request: Any) -> dict[str, str]:
    content = request.content
    text = content.decode() if isinstance(content, bytes) else content
    if isinstance(text, dict):
        return {name: str(value) for name, value in text.items()}
    return {name: value[0] for name, value in parse_qs(text).items()}


@pytest.mark.parametrize(
    ("cloud", "url"),
    [
        pytest.param(
            AZURE_US_GOVERNMENT,
            "https://login.microsoftonline.us/tenant/oauth2/v2.0/token",
            id="sovereign",
        ),
        pytest.param(SIMULATED, "https://localhost:8443/tenant/oauth2/v2.0/token", id="simulated"),
    ],
)
async def test_a_client_secret_is_exchanged_at_the_clouds_authority(
    cloud: CloudSettings, url: str, authority: Any
) -> None:
    credentials = Credentials("ClientSecret", "tenant", "client", "secret")
    assert (await token(SignIn(credentials, cloud, transport=authority), cloud)).startswith("eyJ")
    (post,) = authority.sent
    assert post.url == url
    assert form(post)["client_secret"] == "secret"
    assert form(post)["scope"] == cloud.scope


async def test_workload_identity_takes_what_is_absent_from_the_pods_environment(
    authority: Any, tmp_path: Path
) -> None:
    assertion = tmp_path / "token"
    assertion.write_text("projected")
    environment = {
        "AZURE_TENANT_ID": "tenant-of-the-pod",
        "AZURE_CLIENT_ID": "client-of-the-pod",
        "AZURE_FEDERATED_TOKEN_FILE": str(assertion),
    }
    sign_in = SignIn(
        Credentials("WorkloadIdentity", ""), SIMULATED, environment=environment, transport=authority
    )
    await token(sign_in, SIMULATED)
    (post,) = authority.sent
    assert urlsplit(post.url).path == "/tenant-of-the-pod/oauth2/v2.0/token"
    assert form(post)["client_id"] == "client-of-the-pod"
    assert form(post)["client_assertion"] == "projected"


async def test_managed_identity_asks_imds_even_in_a_pod_with_workload_identity(
    authority: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.answers(
        answer(
            200,
            {
                "access_token": "eyJ",
                "expires_in": "86399",
                "expires_on": "4102444800",
                "not_before": "1763805600",
                "resource": "https://management.azure.com",
                "token_type": "Bearer",
            },
        )
    )
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:8053")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client-of-the-pod")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/nowhere")
    credentials = Credentials("ManagedIdentity", "tenant", "client")
    sign_in = SignIn(credentials, AZURE_PUBLIC, transport=authority)
    await token(sign_in, AZURE_PUBLIC)
    (get,) = authority.sent
    parts = urlsplit(get.url)
    assert (parts.netloc, parts.path) == ("127.0.0.1:8053", "/metadata/identity/oauth2/token")
    assert parse_qs(parts.query)["client_id"] == ["client"]
    assert parse_qs(parts.query)["resource"] == ["https://management.azure.com"]


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        pytest.param(Credentials("Password", "t"), "no such type", id="unknown type"),
        pytest.param(Credentials("ClientSecret", "t", "c"), "secret missing", id="no secret"),
        pytest.param(Credentials("WorkloadIdentity", "t"), "client_id", id="no environment"),
    ],
)
async def test_an_identity_that_cannot_sign_in_says_why_when_it_is_first_used(
    credentials: Credentials, said: str, authority: Any
) -> None:
    sign_in = SignIn(credentials, AZURE_PUBLIC, environment={}, transport=authority)
    with pytest.raises(TokenUnavailable, match=said):
        await token(sign_in, AZURE_PUBLIC)
    assert authority.sent == []


@pytest.mark.parametrize("what", ["refused", "lost", "silent"])
async def test_an_authority_that_does_not_answer_is_not_the_identitys_fault(
    what: str, authority: Any, connection_error: Any
) -> None:
    authority.answers(*[connection_error(what)] * 3)
    credentials = Credentials("ClientSecret", "tenant", "client", "secret")
    with pytest.raises(AuthorityUnreachable) as caught:
        await token(SignIn(credentials, AZURE_PUBLIC, transport=authority), AZURE_PUBLIC)
    assert type(translated(caught.value, Call.READ)) is Retry
    assert type(translated(caught.value, Call.MUTATE)) is NeverSent


_TROUBLE = {"error": "temporarily_unavailable", "error_description": "AADSTS90033: Not now."}
_PAGE = b"<html><body>Sign in to the network</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        pytest.param(429, _TROUBLE, "AADSTS90033: Not now.", id="too many requests"),
        pytest.param(500, _TROUBLE, "AADSTS90033: Not now.", id="an error of its own"),
        pytest.param(200, _PAGE, "is not JSON", id="a page in the place of a token"),
        pytest.param(400, _PAGE, "is not JSON", id="a page in the place of an error"),
        pytest.param(200, b'{"access_tok', "is not JSON", id="half an answer"),
    ],
)
async def test_an_authority_in_trouble_is_not_the_identitys_fault(
    status: int, body: object, said: str, authority: Any, answer: Any
) -> None:
    authority.answers(answer(status, body))
    credentials = Credentials("ClientSecret", "tenant", "client", "secret")
    with pytest.raises(AuthorityUnreachable) as caught:
        await token(SignIn(credentials, AZURE_PUBLIC, transport=authority), AZURE_PUBLIC)
    error = translated(caught.value, Call.READ)
    assert type(error) is Retry
    assert said in str(error)
    assert "network" not in str(error)


def test_credentials_do_not_show_their_secret() -> None:
    assert "hush" not in repr(Credentials("ClientSecret", "tenant", "client", "hush"))


@pytest.mark.parametrize(
    ("cloud", "discovery"),
    [*((cloud, True) for cloud in CLOUDS.values()), (SIMULATED, False)],
    ids=[*CLOUDS, "simulated"],
)
def test_only_an_authority_that_azure_knows_is_looked_up_there(
    cloud: CloudSettings, discovery: bool
) -> None:
    assert cloud.instance_discovery is discovery


@pytest.mark.parametrize(
    ("cloud", "scope"),
    [
        (AZURE_PUBLIC, "https://management.azure.com/.default"),
        (AZURE_US_GOVERNMENT, "https://management.core.usgovcloudapi.net/.default"),
        (SIMULATED, "https://localhost:8443/.default"),
        (CloudSettings("https://arm/", "https://login"), "https://arm/.default"),
    ],
)
def test_tokens_are_asked_for_arm(cloud: CloudSettings, scope: str) -> None:
    assert cloud.scope == scope


@pytest.mark.parametrize(
    ("url", "served"),
    [
        ("https://localhost:8443/subscriptions/s?x=1", True),
        ("https://LOCALHOST:8443/", True),
        ("https://localhost/", False),
        ("http://localhost:8443/", False),
        ("https://localhost:8443@evil.example/", False),
        ("https://me@localhost:8443/", False),
        ("https://localhost:nonsense/", False),
        ("/subscriptions", False),
        ("", False),
    ],
)
def test_a_url_is_followed_only_at_arm(url: str, served: bool) -> None:
    assert SIMULATED.serves(url) is served


@pytest.mark.parametrize("url", ["http://localhost", "localhost", "https://", "https://u@host"])
def test_an_endpoint_is_an_https_url(url: str) -> None:
    with pytest.raises(ValueError, match="must be https"):
        CloudSettings(url, "https://login")
