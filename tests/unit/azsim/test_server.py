"""azsim as a server: TLS on the loopback interface, the metadata service, the command line."""

import asyncio
import json
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from simulated import Azure

from azsim.__main__ import main
from azsim.fleetfile import parse
from azsim.server import Addresses, serving
from lab.processes import AzSim, Clock

FLEET = """
principals:
  - {name: owner, secret: open sesame}
  - {name: node, managedIdentity: true}
machines: [{name: 'm-{n}', count: 400}]
"""


@dataclass
class Served:
    azure: Azure
    at: Addresses
    client: aiohttp.ClientSession

    async def get(self, path: str, *, base: str | None = None) -> tuple[int, Any]:
        async with self.client.get((base or self.at.arm) + path) as answer:
            return answer.status, await answer.json()

    async def query(self, kql: str) -> Any:
        async with self.client.post(
            f"{self.at.arm}/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01",
            json={"query": kql},
            headers={"authorization": f"Bearer {await self._token()}"},
        ) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["data"]

    async def _token(self) -> str:
        owner = self.azure.cloud.fleet.principals[0]
        async with self.client.post(
            f"{self.at.arm}/{owner.tenant_id}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": owner.client_id,
                "client_secret": "open sesame",
                "scope": f"{self.at.arm}/.default",
            },
        ) as answer:
            token: str = (await answer.json())["access_token"]
            return token


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    azure = Azure(FLEET)
    async with serving(azure.cloud, ca_file=tmp_path / "ca.pem") as addresses:
        tls = ssl.create_default_context(cafile=str(addresses.ca_file))
        # What Python 3.13 checks by default.
        tls.verify_flags |= ssl.VERIFY_X509_STRICT
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as client:
            yield Served(azure, addresses, client)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_certificate_holds_for_both_names_of_this_machine(
    served: Served, host: str
) -> None:
    base = served.at.arm.replace("localhost", host)
    status, endpoints = await served.get("/metadata/endpoints?api-version=2022-09-01", base=base)

    assert status == 200
    assert endpoints["resourceManager"] == base


async def test_who_does_not_trust_the_ca_does_not_get_in(served: Served) -> None:
    async with aiohttp.ClientSession() as stranger:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stranger.get(f"{served.at.arm}/azsim/healthz")


async def test_the_metadata_service_is_on_a_port_of_its_own(served: Served) -> None:
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://arm"

    assert (await served.get(path))[0] == 404
    assert (await served.get(path, base=served.at.imds))[0] == 400
    assert (await served.get("/azsim/healthz", base=served.at.imds))[0] == 404


async def test_others_are_answered_while_a_long_query_runs(served: Served) -> None:
    everything = "resources | extend k = 1 | project k"
    query = asyncio.create_task(
        served.query(
            f"{everything} | join kind=inner ({everything}) on k | project k"
            f" | join kind=inner ({everything}) on k | summarize n = count()"
        )
    )
    answered = 0
    while not query.done():
        status, _ = await served.get("/azsim/healthz")
        assert status == 200
        answered += 1

    assert await query == [{"n": 400**3}]
    # Were the query in the way, the first of these would have waited for it and been the last.
    assert answered >= 20


async def test_the_journal_is_read_from_where_one_left_off(served: Served) -> None:
    await served.query("resources | take 1")
    _, first = await served.get("/azsim/journal")
    await served.query("resources | take 2")
    _, more = await served.get(f"/azsim/journal?after={first['entries'][-1]['number']}")

    assert [entry["path"].split("/")[-1] for entry in first["entries"]] == ["token", "resources"]
    assert [entry["body"] for entry in more["entries"]] == [None, {"query": "resources | take 2"}]
    assert more["entries"][1]["principal"] == "owner"
    assert (await served.get("/azsim/journal?after=x"))[0] == 400


# -- the command line -----------------------------------------------------------------------------


def test_serve_writes_what_a_client_needs_and_ends_on_sigterm(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    with AzSim(fleet, tmp_path / "run", Clock(pace=60)) as azsim:
        env = azsim.env
        tls = ssl.create_default_context(cafile=env["AZSIM_CA_FILE"])
        with urllib.request.urlopen(f"{env['AZSIM_ARM_ENDPOINT']}/azsim/healthz", context=tls) as a:
            health = json.load(a)
        code = azsim.stop()

    assert health["status"] == "ok"
    assert code == 0
    assert env["AZURE_CLIENT_SECRET"] == "open sesame"
    assert env["AZURE_AUTHORITY_HOST"] == env["AZSIM_ARM_ENDPOINT"]
    assert env["AZURE_POD_IDENTITY_AUTHORITY_HOST"].startswith("http://127.0.0.1:")
    assert env["AZSIM_PACE"] == "60"
    assert "listening on 127.0.0.1 only" in azsim.log.read_text()
    assert azsim.env_file.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_fleet_is_refused_with_the_path_in_it(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("machines: [{name: a}, {name: b, osType: BeOS}]")
    done = CliRunner().invoke(main, ["serve", "--fleet", str(fleet)])

    assert done.exit_code == 1
    assert "machines[1](b).osType: " in done.output


@pytest.mark.parametrize(
    ("fleet", "complaint"),
    [
        pytest.param("machines: [{}]", "machines[0].name: ", id="no fleet file"),
        pytest.param(None, "No such file", id="no file"),
    ],
)
def test_the_env_file_of_an_earlier_start_does_not_outlive_one_that_fails(
    tmp_path: Path, fleet: str | None, complaint: str
) -> None:
    file, env_file = tmp_path / "fleet.yaml", tmp_path / "azsim.env"
    env_file.write_text("AZSIM_ARM_ENDPOINT=https://localhost:1\n")
    if fleet is not None:
        file.write_text(fleet)
    done = CliRunner().invoke(main, ["serve", "--fleet", str(file), "--env-file", str(env_file)])

    assert done.exit_code == 1
    assert complaint in done.output
    assert not env_file.exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param(["--pace", "0"], "0.0 is not in the range", id="time stands still"),
        pytest.param(["--clock-origin", "noon"], "is not a time", id="no time"),
        pytest.param(["--clock-origin", "2026-11-23T12:00:00"], "no offset", id="no offset"),
        pytest.param(["--port", "70000"], "70000 is not in the range", id="no port"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    tmp_path: Path, options: list[str], complaint: str
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("{}")
    done = CliRunner().invoke(main, ["serve", "--fleet", str(fleet), *options])

    assert done.exit_code == 2
    assert complaint in done.output


def test_a_port_that_is_taken_is_said_plainly(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("{}")
    with AzSim(fleet, tmp_path / "run") as azsim:
        port = azsim.env["AZSIM_ARM_ENDPOINT"].rsplit(":", 1)[1]
        done = CliRunner().invoke(main, ["serve", "--fleet", str(fleet), "--port", port])

    assert done.exit_code == 1
    assert "cannot listen on 127.0.0.1" in done.output


def test_a_generated_fleet_can_be_served(tmp_path: Path) -> None:
    printed = CliRunner().invoke(main, ["fleet", "--machines", "30", "--seed", "4"])
    fleet = tmp_path / "fleet"
    fleet.write_text(printed.output)
    with AzSim(fleet, tmp_path / "run") as azsim:
        assert "30 machines" in azsim.log.read_text()


def test_the_fleet_files_of_the_documentation_are_some() -> None:
    page = Path(__file__).parents[3] / "docs" / "azsim.md"
    examples = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    machines, images, servers = (parse(example).machines for example in examples)

    assert [machine.name for machine in machines][:2] == ["web-1", "web-2"]
    assert len(machines) == 7
    assert [image.os_profile for image in images] == [True, True, False, False]
    assert [server.arc and server.arc.status for server in servers] == ["Connected", "Disconnected"]
