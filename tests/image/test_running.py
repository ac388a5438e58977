"""The chart's pod, run by podman from the image: its command, environment and rights, on a real
control plane, until a kubelet would end it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import chart
from lab.controlplane import ControlPlane
from lab.folders import free_port
from lab.image import Container, Image

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a kubelet mounts token, CA and namespace."""

START_SECONDS = 60
"""What the chart's startup probe allows, halved."""


@dataclass(frozen=True)
class Pod:
    """The chart's one container, running."""

    container: Container
    grace: int
    """terminationGracePeriodSeconds"""

    port: int
    log: Path

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.answer("/readyz")[0] != 200:
            assert self.container.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane of this module's own: the operator acts on all of it."""
    with ControlPlane() as running:
        yield running


@pytest.fixture
def pod(image: Image, cluster: ControlPlane, tmp_path: Path) -> Iterator[Pod]:
    installed = chart.install(cluster)
    template = _pod_template(cluster)
    (container,) = template["spec"]["containers"]
    port = free_port()
    # The image's own network would be apart from the control plane's loopback address.
    env = _environment(container) | {"AZPATCH_LISTEN": f"127.0.0.1:{port}"} | _in_cluster(cluster)
    account = _service_account(cluster, installed, tmp_path / "account")
    options = [f"--volume={account}:{ACCOUNT}:ro", *(f"--env={key}={env[key]}" for key in env)]
    log = tmp_path / "operator.log"
    with image.running(*container["command"], options=options, log=log) as running:
        yield Pod(running, template["spec"]["terminationGracePeriodSeconds"], port, log)


def test_it_becomes_ready_with_the_rights_of_its_account_and_ends_on_sigterm(pod: Pod) -> None:
    pod.wait_until_ready()
    assert pod.answer("/healthz") == (200, "ok\n")
    status, metrics = pod.answer("/metrics")
    assert status == 200
    assert "azpatch_" in metrics

    began = time.monotonic()
    assert pod.container.stop(pod.grace) == 0
    assert time.monotonic() - began < pod.grace
    lines = [json.loads(line) for line in pod.log.read_text().splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []


def _pod_template(cluster: ControlPlane) -> dict[str, Any]:
    (deployment,) = (
        item
        for item in yaml.safe_load_all(chart.template(cluster))
        if item and item["kind"] == "Deployment"
    )
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def _environment(container: dict[str, Any]) -> dict[str, str]:
    """The container's variables; the one by the downward API is the namespace."""
    return {item["name"]: item.get("value", chart.NAMESPACE) for item in container["env"]}


def _in_cluster(cluster: ControlPlane) -> dict[str, str]:
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


def _service_account(cluster: ControlPlane, installed: chart.Installed, folder: Path) -> Path:
    """What a kubelet would mount, readable to the container's user."""
    folder.mkdir()
    token = cluster.service_account_token(installed.namespace, installed.service_account)
    contents = {
        "token": token, "ca.crt": cluster.ca_file.read_text(), "namespace": installed.namespace
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder
