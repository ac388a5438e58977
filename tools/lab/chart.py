"""The CRDs and the chart on a control plane, as a cluster's owner would install them.

No pod runs there: the Deployment waits for ever, and the operator is started as a process beside
it, with the rights of the chart's ServiceAccount (``lab.processes.Operator``).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.apiclient import ApiError
from lab.binaries import ROOT
from lab.controlplane import ControlPlane

CHART = ROOT / "charts" / "azpatch"
CRDS = ROOT / "crds"

RELEASE = "azpatch"
NAMESPACE = "azpatch-system"

LEASE = "azpatch"
"""What operators of one namespace contend for."""

FIELD_MANAGER = "lab"

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
"""Of the tokens that Entra ID accepts from a cluster, unless a federated credential says else."""

CRD_SECONDS = 30
"""A CRD is served within a second; more is for a machine that is busy."""


@dataclass(frozen=True)
class Installed:
    """The chart as installed."""

    namespace: str
    service_account: str
    """That of the chart's Deployment: whose token the operator runs with."""

    kubeconfig: Path
    """With a token of that ServiceAccount."""

    federated_token: Path
    """A file with a token of it that Entra ID would exchange: what workload identity mounts."""


def apply_crds(controlplane: ControlPlane) -> None:
    """The generated CRDs alone, served on return. For what needs no chart."""
    controlplane.kubectl("apply", "--server-side", "--filename", CRDS)
    _wait_until_served(controlplane)


def create_namespace(
    controlplane: ControlPlane, name: str, labels: Mapping[str, str] | None = None
) -> None:
    """Creates or relabels a namespace."""
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict(labels or {})},
    }
    path = f"/api/v1/namespaces/{name}?fieldManager={FIELD_MANAGER}&force=true"
    controlplane.admin.patch(path, body, "apply")


def create_restricted_namespace(controlplane: ControlPlane, name: str) -> None:
    """A namespace at the restricted Pod Security level: enforced, and warned about."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    create_namespace(controlplane, name, levels)


def install(
    controlplane: ControlPlane,
    values: Mapping[str, Any] | None = None,
    namespace: str = NAMESPACE,
) -> Installed:
    """Installs the chart, or upgrades it to other values, in a restricted namespace.

    Hooks are not run: they are pods. The Lease is free: no operator may run meanwhile.
    CommandFailed with helm's words if it refuses.
    """
    create_restricted_namespace(controlplane, namespace)
    controlplane.helm(
        "upgrade",
        RELEASE,
        CHART,
        "--install",
        "--no-hooks",
        # CRDs that apply_crds put there become the release's.
        "--take-ownership",
        f"--namespace={namespace}",
        "--values=-",
        input=yaml.safe_dump(dict(values or {})),
    )
    _wait_until_served(controlplane)
    free_lease(controlplane, namespace)
    account = _service_account(controlplane, namespace)
    kubeconfig = controlplane.service_account_kubeconfig(namespace, account)
    token = controlplane.service_account_token_file(namespace, account, [EXCHANGE_AUDIENCE])
    return Installed(namespace, account, kubeconfig, token)


def free_lease(controlplane: ControlPlane, namespace: str = NAMESPACE) -> None:
    """Makes the Lease nobody's, so that an operator that starts need not wait for it.

    To be called only while no operator runs: whoever holds the Lease may work for some seconds
    more, which is why an operator waits where it cannot know better.
    """
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": namespace},
        "spec": {"holderIdentity": ""},
    }
    path = f"{lease_path(namespace)}?fieldManager={FIELD_MANAGER}&force=true"
    controlplane.admin.patch(path, body, "apply")


def lease_path(namespace: str = NAMESPACE) -> str:
    """Where the API server has the operator's Lease."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}"


def uninstall(controlplane: ControlPlane, namespace: str = NAMESPACE) -> None:
    """``helm uninstall``; the CRDs stay, as the chart promises."""
    controlplane.helm("uninstall", RELEASE, "--no-hooks", f"--namespace={namespace}")


def template(controlplane: ControlPlane, values: Mapping[str, Any] | None = None) -> str:
    """The chart's manifests with these values, as YAML documents."""
    rendered = controlplane.helm(
        "template",
        RELEASE,
        CHART,
        f"--namespace={NAMESPACE}",
        "--values=-",
        input=yaml.safe_dump(dict(values or {})),
    )
    return rendered.stdout


def _wait_until_served(controlplane: ControlPlane) -> None:
    # `--all` fails on none: a chart without CRDs is a mistake that should not pass here.
    controlplane.kubectl(
        "wait", "crd", "--all", "--for=condition=Established", f"--timeout={CRD_SECONDS}s"
    )
    deadline = time.monotonic() + CRD_SECONDS
    while not _explained(controlplane):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the API server describes no PatchPolicy after {CRD_SECONDS} s")
        time.sleep(0.1)


def _explained(controlplane: ControlPlane) -> bool:
    """Whether the schemas are published, which `kubectl explain` and strict validation read."""
    try:
        described = controlplane.admin.get("/openapi/v3/apis/azpatch.dev/v1alpha1")
    except ApiError:
        return False
    schemas = described.get("components", {}).get("schemas", {})
    return all(
        any(name.endswith(f".{kind}") for name in schemas)
        for kind in ("AzureSubscription", "PatchPolicy", "PatchTarget")
    )


def _service_account(controlplane: ControlPlane, namespace: str) -> str:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    deployments = controlplane.admin.get(path)["items"]
    if len(deployments) != 1:
        raise ApiError(404, {"message": f"one Deployment expected, not {len(deployments)}"})
    account: str = deployments[0]["spec"]["template"]["spec"]["serviceAccountName"]
    return account
