"""Install, upgrade, uninstall, install again: definitions follow the chart, objects stay."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from azpatch.api import crd
from lab import chart
from lab.binaries import ROOT
from lab.controlplane import ControlPlane

DEFINITION = "crd/azuresubscriptions.azpatch.dev"

SUBSCRIPTION = {
    "apiVersion": "azpatch.dev/v1alpha1",
    "kind": "AzureSubscription",
    "metadata": {"name": "prod"},
    "spec": {
        "subscriptionId": "6f1c0000-0000-4000-8000-000000000001",
        "tenantId": "72f90000-0000-4000-8000-000000000002",
        "supportMatrix": "2023-05",
    },
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane of this module's own: the definitions are cluster-wide."""
    with ControlPlane() as running:
        yield running


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """The chart of a release before this one, in which no kind had a short name."""
    older = tmp_path / "azpatch"
    shutil.copytree(chart.CHART, older)
    for path in (older / "templates" / "crds").glob("*.yaml"):
        text, count = re.subn(r"^    shortNames:\n(    - .*\n)+", "", path.read_text(), flags=re.M)
        assert count == 1
        path.write_text(text)
    return older


def test_definitions_are_upgraded_with_the_chart_and_outlive_it(
    cluster: ControlPlane, older_chart: Path
) -> None:
    chart.create_restricted_namespace(cluster, chart.NAMESPACE)
    cluster.helm(*_helm("install"), older_chart)
    assert _short_names(cluster) == ""

    cluster.helm(*_helm("upgrade"), chart.CHART)
    assert _short_names(cluster) == '["azsub"]'

    cluster.kubectl("apply", "--server-side", "--filename=-", input=yaml.safe_dump(SUBSCRIPTION))
    chart.uninstall(cluster)
    kept = cluster.kubectl("get", "azuresubscriptions,crd", "--output=name").stdout.split()
    assert "azuresubscription.azpatch.dev/prod" in kept
    assert len(kept) == 1 + len(crd.KINDS)
    namespaced = "deployments,serviceaccounts,roles,rolebindings,services,poddisruptionbudgets"
    left = cluster.kubectl(
        "get", namespaced, f"--namespace={chart.NAMESPACE}", "--selector=app.kubernetes.io/name"
    )
    assert left.stdout == ""
    cluster_wide = cluster.kubectl(
        "get",
        "clusterroles,clusterrolebindings,validatingadmissionpolicies,"
        "validatingadmissionpolicybindings",
        "--selector=app.kubernetes.io/name=azpatch",
    )
    assert cluster_wide.stdout == ""

    cluster.helm(*_helm("install"), chart.CHART)
    assert cluster.kubectl("get", "azsub", "prod", "--output=name").stdout


@pytest.mark.timeout(900)
def test_the_commands_of_install_md_leave_nothing(cluster: ControlPlane) -> None:
    """Those of the section on uninstalling, as they stand there; in a cluster without a policy."""
    chart.install(cluster)
    cluster.kubectl("apply", "--server-side", "--filename=-", input=yaml.safe_dump(SUBSCRIPTION))
    for program, *arguments in _uninstallation():
        run = {"kubectl": cluster.kubectl, "helm": cluster.helm}[program]
        run(*arguments)
    left = cluster.kubectl(
        "get", "crd,clusterroles,deployments", "--all-namespaces", "--output=name"
    ).stdout
    assert "azpatch" not in left
    leases = cluster.kubectl("get", "leases", f"--namespace={chart.NAMESPACE}", "--output=name")
    assert leases.stdout == ""


def _uninstallation() -> list[list[str]]:
    """The commands to the cluster in docs/install.md, "Uninstall"."""
    section = (ROOT / "docs" / "install.md").read_text().partition("\n## Uninstall\n")[2]
    block = section.partition("```sh\n")[2].partition("```")[0]
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    found = [words for words in commands if words and words[0] in ("kubectl", "helm")]
    assert len(found) == 6
    return found


def _helm(command: str) -> list[str]:
    return [command, chart.RELEASE, f"--namespace={chart.NAMESPACE}"]


def _short_names(cluster: ControlPlane) -> str:
    return cluster.kubectl("get", DEFINITION, "--output=jsonpath={.spec.names.shortNames}").stdout
