"""Microsoft's SDKs work against azsim over TLS: sign-in, Compute and Resource Graph."""

import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity import CredentialUnavailableError
from azure.identity.aio import (
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.resourcegraph.aio import ResourceGraphClient
from azure.mgmt.resourcegraph.models import QueryRequest, QueryRequestOptions

from azsim.clock import PacedClock
from azsim.cloud import Cloud
from azsim.edge import build_router
from azsim.fleet import Fleet
from azsim.fleetfile import parse
from azsim.journal import Journal
from azsim.server import Addresses, serving

SUBSCRIPTION = "5ab10000-0000-4000-8000-0000000000aa"
OWNER = "c11e0000-0000-4000-8000-0000000000a1"
NOBODY = "c11e0000-0000-4000-8000-0000000000a2"
MANAGED = "c11e0000-0000-4000-8000-0000000000a3"
ISSUER = "https://cluster.example/issuer"
SUBJECT = "system:serviceaccount:azpatch:azpatch"

FLEET = f"""
subscriptions:
  - id: {SUBSCRIPTION}
    galleries: [{{name: golden, images: [{{name: web}}]}}]
principals:
  - name: owner
    clientId: {OWNER}
    secret: open sesame
    federatedSubjects: [{{issuer: "{ISSUER}", subject: "{SUBJECT}"}}]
    roleAssignments: [{{scope: /, role: Owner}}]
  - {{name: nobody, clientId: {NOBODY}, secret: knock knock, roleAssignments: []}}
  - name: managed
    clientId: {MANAGED}
    managedIdentity: true
    roleAssignments: [{{scope: /, role: Reader}}]
machines:
  - name: web-{{n}}
    count: 1203
    group: rg-web
    image: {{gallery: golden/web}}
    guest:
      missing: [{{name: curl, version: "8.5", classification: Security}}]
"""

PACE = 1200
"""Twenty simulated minutes a second: an operation of two minutes is over at the first look."""


@dataclass
class Azure:
    """A running azsim and clients of it."""

    fleet: Fleet
    cloud: Cloud
    addresses: Addresses

    @property
    def tenant(self) -> str:
        return self.fleet.tenants[0].id

    @property
    def identity_options(self) -> dict[str, Any]:
        return {
            "authority": self.addresses.arm,
            "disable_instance_discovery": True,
            "connection_verify": str(self.addresses.ca_file),
            "retry_total": 0,
        }

    @property
    def client_options(self) -> dict[str, Any]:
        return {
            "base_url": self.addresses.arm,
            "credential_scopes": [f"{self.addresses.arm}/.default"],
            "connection_verify": str(self.addresses.ca_file),
            "retry_total": 0,
        }

    def secret(self, client_id: str = OWNER, secret: str = "open sesame") -> ClientSecretCredential:
        return ClientSecretCredential(self.tenant, client_id, secret, **self.identity_options)

    def compute(self, credential: AsyncTokenCredential) -> ComputeManagementClient:
        return ComputeManagementClient(
            credential, SUBSCRIPTION, polling_interval=0.2, **self.client_options
        )

    def graph(self, credential: AsyncTokenCredential) -> ResourceGraphClient:
        return ResourceGraphClient(credential, **self.client_options)


@pytest.fixture
async def azure(tmp_path: Path) -> AsyncIterator[Azure]:
    fleet = parse(FLEET)
    clock = PacedClock(pace=PACE)
    cloud = Cloud(fleet, clock, random.Random(7), Journal(), build_router())
    async with serving(cloud, ca_file=tmp_path / "ca.pem") as addresses:
        yield Azure(fleet, cloud, addresses)


def assertion(tmp_path: Path, **claims: Any) -> str:
    """A file with a service account's token, as the kubelet projects it."""
    now = int(time.time())
    content = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": ["api://AzureADTokenExchange"],
        "iat": now,
        "exp": now + 600,
        **claims,
    }
    path = tmp_path / "token"
    path.write_text(jwt.encode(content, "the key of a cluster that nobody here knows", "HS256"))
    return str(path)


async def test_a_client_secret_signs_in_and_lists_machines(azure: Azure) -> None:
    async with azure.secret() as credential, azure.compute(credential) as compute:
        names = {vm.name async for vm in compute.virtual_machines.list("rg-web")}

    assert names == {f"web-{n}" for n in range(1, 1204)}


async def test_a_wrong_secret_is_refused_with_entra_ids_code(azure: Azure) -> None:
    async with azure.secret(secret="guess") as credential:
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
            await credential.get_token(f"{azure.addresses.arm}/.default")


async def test_a_service_accounts_token_signs_in(azure: Azure, tmp_path: Path) -> None:
    async with (
        WorkloadIdentityCredential(
            tenant_id=azure.tenant,
            client_id=OWNER,
            token_file_path=assertion(tmp_path),
            **azure.identity_options,
        ) as credential,
        azure.compute(credential) as compute,
    ):
        machine = await compute.virtual_machines.get("RG-WEB", "WEB-1")

    assert machine.name == "web-1"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"sub": "system:serviceaccount:other:pod"}, "AADSTS700213", id="subject"),
        pytest.param({"iss": "https://elsewhere.example"}, "AADSTS700213", id="issuer"),
        pytest.param({"aud": ["api://other"]}, "AADSTS700213", id="audience"),
        pytest.param({"exp": 1}, "AADSTS700024", id="expired"),
    ],
)
async def test_another_service_accounts_token_does_not(
    azure: Azure, tmp_path: Path, claims: Mapping[str, Any], code: str
) -> None:
    async with WorkloadIdentityCredential(
        tenant_id=azure.tenant,
        client_id=OWNER,
        token_file_path=assertion(tmp_path, **claims),
        **azure.identity_options,
    ) as credential:
        with pytest.raises(ClientAuthenticationError, match=code):
            await credential.get_token(f"{azure.addresses.arm}/.default")


async def test_a_managed_identity_gets_its_token_from_the_metadata_service(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.addresses.imds)
    async with (
        ManagedIdentityCredential(client_id=MANAGED) as credential,
        azure.compute(credential) as compute,
    ):
        machine = await compute.virtual_machines.get("rg-web", "web-1")

    assert machine.name == "web-1"


async def test_an_identity_that_is_not_the_nodes_gets_none(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.addresses.imds)
    async with ManagedIdentityCredential(client_id=OWNER) as credential:
        with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
            await credential.get_token(f"{azure.addresses.arm}/.default")


async def test_an_assessment_is_followed_to_its_result(azure: Azure) -> None:
    async with azure.secret() as credential, azure.compute(credential) as compute:
        poller = await compute.virtual_machines.begin_assess_patches("rg-web", "web-1")
        result = await poller.result()
        machine = await compute.virtual_machines.get("rg-web", "web-1", expand="instanceView")

    assert result.status == "Succeeded"
    assert [patch.name for patch in result.available_patches or []] == ["curl"]
    assert machine.properties is not None
    view = machine.properties.instance_view
    assert view is not None
    assert view.patch_status is not None
    summary = view.patch_status.available_patch_summary
    assert summary is not None
    assert summary.assessment_activity_id == result.assessment_activity_id


async def test_one_post_without_polling_hands_over_the_operations_url(azure: Azure) -> None:
    seen: dict[str, str] = {}

    def look(response: Any) -> None:
        seen.update({k.lower(): v for k, v in response.http_response.headers.items()})

    body = {
        "maximumDuration": "PT2H",
        "rebootSetting": "IfRequired",
        "linuxParameters": {"classificationsToInclude": ["Security"]},
    }
    async with azure.secret() as credential, azure.compute(credential) as compute:
        await compute.virtual_machines.begin_install_patches(
            "rg-web", "web-2", body, polling=False, raw_response_hook=look
        )

    posts = [entry for entry in azure.cloud.journal.requests() if "installPatches" in entry.path]
    assert [(entry.method, entry.status, entry.principal) for entry in posts] == [
        ("POST", 202, "owner")
    ]
    assert seen["azure-asyncoperation"].startswith(azure.addresses.arm)
    assert seen["location"] == seen["azure-asyncoperation"] + "&monitor=true"
    assert "retry-after" not in seen
    assert "VMGuestPatchOperationResource" in seen["x-ms-ratelimit-remaining-resource"]


async def test_resource_graph_is_read_page_by_page(azure: Azure) -> None:
    query = "resources | where type =~ 'microsoft.compute/virtualmachines' | project id, name"
    found, token, pages = [], None, 0
    async with azure.secret() as credential, azure.graph(credential) as graph:
        while token or not pages:
            answer = await graph.resources(
                QueryRequest(
                    query=f"{query} | order by id asc",
                    options=QueryRequestOptions(
                        result_format="objectArray", **({"skip_token": token} if token else {})
                    ),
                )
            )
            assert answer.total_records == 1203
            found += [row["name"] for row in answer.data]
            token, pages = answer.skip_token, pages + 1

    assert pages == 2
    assert sorted(found) == sorted(f"web-{n}" for n in range(1, 1204))


async def test_a_bad_query_is_refused_with_the_place(azure: Azure) -> None:
    async with azure.secret() as credential, azure.graph(credential) as graph:
        with pytest.raises(HttpResponseError) as refused:
            await graph.resources(QueryRequest(query="resources | where"))

    assert refused.value.status_code == 400
    assert refused.value.error is not None
    assert refused.value.error.code == "BadRequest"
    assert "InvalidQuery" in str(refused.value)


async def test_without_rights_arm_refuses_and_resource_graph_is_empty(azure: Azure) -> None:
    async with azure.secret(NOBODY, "knock knock") as credential:
        async with azure.compute(credential) as compute:
            with pytest.raises(HttpResponseError) as refused:
                await compute.virtual_machines.get("rg-web", "web-1")
        async with azure.graph(credential) as graph:
            answer = await graph.resources(
                QueryRequest(query="resources", subscriptions=[SUBSCRIPTION])
            )

    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.code == "AuthorizationFailed"
    assert (answer.total_records, answer.data) == (0, [])


async def test_a_machine_that_is_not_there_is_not_found(azure: Azure) -> None:
    async with azure.secret() as credential, azure.compute(credential) as compute:
        with pytest.raises(ResourceNotFoundError):
            await compute.virtual_machines.get("rg-web", "nowhere")
