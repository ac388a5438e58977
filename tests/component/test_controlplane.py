"""The control plane that the other tests stand on does what a cluster's does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest

from lab.audit import LOG_EVERYTHING
from lab.controlplane import SERVICE_ACCOUNT_ISSUER, ControlPlane
from lab.processes import PYTHONPATH

CONTROLLER_SECONDS = 30
"""Controllers work within a second; more is for a machine that is busy with other tests."""

PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager"}

STARTS_ONE = """
import sys, time
from pathlib import Path
from lab.controlplane import SERVICE_ACCOUNT_ISSUER, ControlPlane
with ControlPlane(folder=Path(sys.argv[1])) as controlplane:
    print(*controlplane.processes.values(), flush=True)
    time.sleep(600)
"""


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + CONTROLLER_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {CONTROLLER_SECONDS} s: {what}"
        time.sleep(0.1)


def config_map(namespace: str, name: str, owner: dict[str, str] | None = None) -> dict[str, object]:
    owners = [{"apiVersion": "v1", "kind": "ConfigMap", **owner}] if owner else []
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners},
    }


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def commands_with(text: object) -> list[str]:
    """The command line of every process that has this text in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(path.read_text().replace("\0", " "))
    return [line for line in found if str(text) in line]


def test_children_are_collected_when_their_owner_is_deleted(
    controlplane: ControlPlane, namespace: str
) -> None:
    admin, path = controlplane.admin, f"/api/v1/namespaces/{namespace}/configmaps"
    owner = admin.create(path, config_map(namespace, "owner"))["metadata"]
    reference = {"name": "owner", "uid": owner["uid"]}
    admin.create(path, config_map(namespace, "child", reference))
    admin.create(path, config_map(namespace, "stranger"))

    admin.delete(f"{path}/owner")

    eventually(lambda: not admin.exists(f"{path}/child"), "the child is gone")
    assert admin.exists(f"{path}/stranger")


def test_a_deleted_namespace_goes_with_what_is_in_it(controlplane: ControlPlane) -> None:
    admin, path = controlplane.admin, "/api/v1/namespaces/doomed"
    controlplane.kubectl("create", "namespace", "doomed")
    admin.create(f"{path}/configmaps", config_map("doomed", "content"))

    admin.delete(path)

    eventually(lambda: not admin.exists(path), "the namespace is gone")


def test_a_service_account_may_do_what_rbac_gives_it_and_no_more(
    controlplane: ControlPlane, namespace: str
) -> None:
    kubectl = controlplane.kubectl
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubectl("create", "role", "read", "--verb=get,list", "--resource=configmaps", "-n", namespace)
    grant = f"--serviceaccount={namespace}:reader"
    kubectl("create", "rolebinding", "read", "--role=read", grant, "-n", namespace)

    reader = controlplane.service_account_kubeconfig(namespace, "reader")

    allowed = kubectl("get", "configmaps", "-n", namespace, kubeconfig=reader)
    assert allowed.returncode == 0
    refused = kubectl("get", "secrets", "-n", namespace, kubeconfig=reader, check=False)
    assert f'User "system:serviceaccount:{namespace}:reader" cannot list' in refused.stderr


def test_a_service_account_has_tokens_for_others_that_the_public_key_verifies(
    controlplane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually(lambda: controlplane.admin.exists(path), "the ServiceAccount is there")

    token = controlplane.service_account_token_file(namespace, "default", ["api://elsewhere"])

    claims = jwt.decode(
        token.read_text(),
        controlplane.token_public_key,
        algorithms=["ES256"],
        audience="api://elsewhere",
    )
    assert claims["sub"] == f"system:serviceaccount:{namespace}:default"
    assert claims["iss"] == SERVICE_ACCOUNT_ISSUER


def test_every_namespace_has_the_certificate_of_the_api_server(
    controlplane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"
    eventually(lambda: controlplane.admin.exists(path), "kube-root-ca.crt is there")
    assert controlplane.admin.get(path)["data"]["ca.crt"] == controlplane.ca_file.read_text()


def test_the_audit_log_has_who_wrote_what_and_no_reads(
    controlplane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    controlplane.admin.create(path, config_map(namespace, "written"))
    controlplane.admin.get(f"{path}/written")

    def mine() -> list[tuple[str, str, str, int]]:
        return [
            (event.verb, event.resource, event.name, event.code)
            for event in controlplane.audit_events(verbs=None, user="admin")
            if event.namespace == namespace and event.resource == "configmaps"
        ]

    eventually(lambda: bool(mine()), "the write is in the log")
    assert mine() == [("create", "configmaps", "written", 201)]


def test_the_restricted_pod_security_level_is_enforced(controlplane: ControlPlane) -> None:
    kubectl = controlplane.kubectl
    kubectl("create", "namespace", "strict")
    kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    eventually(
        lambda: controlplane.admin.exists("/api/v1/namespaces/strict/serviceaccounts/default"),
        "the namespace has its ServiceAccount",
    )

    refused = kubectl("run", "lax", "--image=lax", "-n", "strict", check=False)

    assert 'violates PodSecurity "restricted:latest"' in refused.stderr


def test_helm_installs_on_it(controlplane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\n")
    (tmp_path / "templates" / "one.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-chart}\n"
    )
    controlplane.helm("install", "small", tmp_path, "-n", namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps/from-chart"
    assert controlplane.admin.exists(path)


def test_the_state_survives_a_crash_of_the_api_server(tmp_path: Path) -> None:
    with ControlPlane(folder=tmp_path, audit_policy=LOG_EVERYTHING) as controlplane:
        url = controlplane.url
        path = "/api/v1/namespaces/default/configmaps"
        controlplane.admin.create(path, config_map("default", "kept"))

        controlplane.kill_apiserver()
        assert not controlplane.admin.ready()
        controlplane.start_apiserver()

        assert controlplane.url == url
        assert controlplane.admin.exists(f"{path}/kept")
        verbs = {event.verb for event in controlplane.audit_events(verbs=None, user="admin")}
        assert {"create", "get"} <= verbs


def test_the_state_survives_a_crash_of_etcd(tmp_path: Path) -> None:
    with ControlPlane(folder=tmp_path) as controlplane:
        path = "/api/v1/namespaces/default/configmaps"
        controlplane.admin.create(path, config_map("default", "kept"))

        controlplane.kill_etcd()
        assert "etcd" not in controlplane.processes
        # The API server checks its etcd every so often only.
        eventually(lambda: not controlplane.admin.ready(), "the API server misses its etcd")
        controlplane.start_etcd()

        assert controlplane.admin.exists(f"{path}/kept")
        controlplane.admin.create(path, config_map("default", "new"))


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name
)
def test_nothing_stays_when_the_process_that_started_it_is_ended(
    end: signal.Signals, tmp_path: Path
) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )
    with starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == len(PROGRAMS)
        assert all(map(alive, pids))

        starter.send_signal(end)
        starter.wait(CONTROLLER_SECONDS)

    eventually(lambda: not any(map(alive, pids)), "every program has ended")
    eventually(lambda: not commands_with(tmp_path), "what supervised them has ended")


def test_its_data_is_removed_and_its_logs_stay(tmp_path: Path) -> None:
    with ControlPlane(folder=tmp_path) as controlplane:
        etcd = Path(f"/proc/{controlplane.processes['etcd']}/cmdline").read_text()
        data = Path(etcd.partition("--data-dir=")[2].partition("\0")[0])
        assert data.is_dir()
    assert not data.parent.exists()
    assert {path.stem for path in tmp_path.glob("*.log")} >= PROGRAMS
