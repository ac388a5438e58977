"""A real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager.

No kubelet and no scheduler, so no pod ever runs; everything else is as in a cluster: admission
(CEL, ValidatingAdmissionPolicy, Pod Security), RBAC, garbage collection, namespace deletion,
service-account tokens. Ready in some three seconds, about 400 MB.

The garbage collector learns of a new kind of resource within 30 seconds of its CRD (a period that
is fixed in Kubernetes); until then children of that kind stay.
"""

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.apiclient import ApiClient
from lab.audit import LOG_WRITES, WRITE_VERBS, AuditEvent, read_audit_log
from lab.binaries import binaries
from lab.child import Child, ChildFailed
from lab.command import CommandFailed, run
from lab.folders import free_port, run_folder

READY_SECONDS = 60.0
"""A tenth of it is usual; the rest is for a machine that is busy with other tests."""

START_ATTEMPTS = 5
"""Each with a new port, because another process can take a free one before the server does."""

TOKEN_SECONDS = 24 * 3600
"""Longer than any test, so that none depends on a renewal that only a kubelet performs."""

ETCD_DATA = "etcd-data"
"""Not a program of the control plane: what holds etcd's folder while etcd restarts."""

SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"


class ControlPlane:
    """One control plane, running from ``with`` (or ``start``) to the end of it (or ``stop``).

    Attributes:
        folder: logs (``etcd.log``, ``kube-apiserver.log``, ``kube-controller-manager.log``),
            ``audit.log`` and what else the control plane keeps; it stays after the end.
        kubeconfig: of the administrator (``system:masters``).
        url: ``https://127.0.0.1:PORT``, the same across ``restart_apiserver``.
        ca_file: PEM, signs the server's certificate.
        admin_token: the administrator's bearer token.
        admin: a small client of the administrator.
        token_public_key: PEM; verifies the tokens of ServiceAccounts, as a cluster's issuer URL
            would for Entra ID. For a fleet file's ``federatedSubjects``.
    """

    def __init__(
        self,
        folder: Path | None = None,
        audit_policy: Mapping[str, Any] = LOG_WRITES,
        apiserver_flags: Collection[str] = (),
    ) -> None:
        self.folder = folder or run_folder("controlplane")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self.folder / "kubeconfig"
        self.ca_file = self.folder / "ca.pem"
        self.audit_log = self.folder / "audit.log"
        self.admin_token = secrets.token_hex(16)
        self.token_public_key = ""
        self._controllers_token = secrets.token_hex(16)
        self._audit_policy = audit_policy
        self._apiserver_flags = tuple(apiserver_flags)
        self._binaries: dict[str, Path] = {}
        self._children: dict[str, Child] = {}
        self._port = 0
        self._etcd_socket = ""
        self._etcd_folder = Path()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when the API server is ready and the controllers work. ChildFailed if not."""
        self._binaries = binaries()
        try:
            self._write_credentials()
            self._start_etcd()
            self._start_apiserver_on_free_port()
            self._start_controllers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process at once; nothing of the cluster's state remains."""
        for name in ("kube-controller-manager", "kube-apiserver", "etcd", ETCD_DATA):
            self._kill(name)

    def kill_apiserver(self) -> None:
        """As a crash. Watches break; etcd keeps the state."""
        self._kill("kube-apiserver")

    def start_apiserver(self) -> None:
        """After ``kill_apiserver``: on the same port, ready on return."""
        self._spawn_apiserver()
        self._wait_for("kube-apiserver", self.admin.ready, "/readyz")

    def restart_apiserver(self) -> None:
        self.kill_apiserver()
        self.start_apiserver()

    def kill_etcd(self) -> None:
        """As a crash; its data stays. The API server lives on and answers with errors."""
        self._kill("etcd")

    def start_etcd(self) -> None:
        """After ``kill_etcd``: with the data that it had; the API server is ready on return."""
        self._spawn_etcd()
        self._wait_for("kube-apiserver", self.admin.ready, "/readyz")

    def restart_etcd(self) -> None:
        self.kill_etcd()
        self.start_etcd()

    @property
    def processes(self) -> Mapping[str, int]:
        """Process ids of what runs, by program name."""
        return {
            name: child.pid
            for name, child in self._children.items()
            if child.running and name != ETCD_DATA
        }

    # -- use ----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def admin(self) -> ApiClient:
        return ApiClient(self.url, self.ca_file, self.admin_token)

    def kubectl(
        self,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as the administrator, or by ``kubeconfig``; output is captured.

        CommandFailed with what it printed if it fails and ``check``.
        """
        return self._run("kubectl", arguments, input, check, kubeconfig)

    def helm(
        self,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs helm likewise, with configuration and caches of its own."""
        return self._run("helm", arguments, input, check, kubeconfig)

    def audit_events(
        self, verbs: Collection[str] | None = WRITE_VERBS, user: str | None = None
    ) -> list[AuditEvent]:
        """The requests so far, of these verbs and this user (None: of all), oldest first.

        The default audit policy logs writes only. The server logs a request when it has answered,
        so the last one may appear a moment after its answer.
        """
        return read_audit_log(self.audit_log, verbs, user)

    def service_account_token(
        self, namespace: str, name: str, audiences: Collection[str] = ()
    ) -> str:
        """A token of a ServiceAccount that exists, by TokenRequest, as a kubelet obtains it.

        Without ``audiences`` it is for the API server. Its issuer is ``SERVICE_ACCOUNT_ISSUER``.
        """
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS, "audiences": list(audiences)},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token: str = self.admin.create(path, request)["status"]["token"]
        return token

    def service_account_token_file(
        self, namespace: str, name: str, audiences: Collection[str] = ()
    ) -> Path:
        """Such a token in a file, as a projected volume has it."""
        token = self.service_account_token(namespace, name, audiences)
        return self._write_private(f"token-{namespace}-{name}", token)

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with such a token; what uses it has that ServiceAccount's rights only."""
        path = self.folder / f"kubeconfig-{namespace}-{name}"
        self._write_kubeconfig(path, name, self.service_account_token(namespace, name), namespace)
        return path

    # -- start, step by step ------------------------------------------------------------------

    def _write_credentials(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        server = authority.issue_cert("127.0.0.1", "localhost")
        server.private_key_pem.write_to_path(str(self.folder / "apiserver.key"))
        server.cert_chain_pems[0].write_to_path(str(self.folder / "apiserver.pem"))
        signer = ec.generate_private_key(ec.SECP256R1())
        self.token_public_key = (
            signer.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )
        pem = signer.private_bytes(
            serialization.Encoding.PEM,
            # The only form of an EC key that Kubernetes reads.
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        self._write_private("service-account.key", pem.decode())
        self._write_private(
            "tokens.csv",
            f'{self.admin_token},admin,admin,"system:masters"\n'
            f"{self._controllers_token},system:kube-controller-manager,controllers\n",
        )
        self._write_private("audit-policy.yaml", yaml.safe_dump(dict(self._audit_policy)))

    def _start_etcd(self) -> None:
        # Unix sockets need no port; a path in a socket address is short, so not in self.folder.
        self._etcd_folder = Path(tempfile.mkdtemp(prefix="azpatch-etcd-"))
        self._etcd_socket = f"unix://{self._etcd_folder}/client"
        # The data outlives etcd, and ends with whoever started all this.
        self._children[ETCD_DATA] = Child(
            ETCD_DATA,
            ["sleep", "infinity"],
            self.folder / f"{ETCD_DATA}.log",
            scratch=self._etcd_folder,
        )
        self._spawn_etcd()

    def _spawn_etcd(self) -> None:
        scratch = self._etcd_folder
        for socket in ("client", "peers"):
            # One that was killed leaves them.
            (scratch / socket).unlink(missing_ok=True)
        peers = f"unix://{scratch}/peers"
        etcd = self._spawn(
            "etcd",
            [
                f"--data-dir={scratch}/data",
                f"--listen-client-urls={self._etcd_socket}",
                f"--advertise-client-urls={self._etcd_socket}",
                f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
        )
        etcd.wait_until((scratch / "client").exists, "client socket", READY_SECONDS)

    def _start_apiserver_on_free_port(self) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            self._port = free_port()
            try:
                self.start_apiserver()
            except ChildFailed:
                if attempt == START_ATTEMPTS or not self._port_was_taken():
                    raise
            else:
                break
        self._write_kubeconfig(self.kubeconfig, "admin", self.admin_token, "default")

    def _port_was_taken(self) -> bool:
        log = self.folder / "kube-apiserver.log"
        return f"127.0.0.1:{self._port}: bind: address already in use" in log.read_text()

    def _spawn_apiserver(self) -> None:
        self._spawn(
            "kube-apiserver",
            [
                f"--etcd-servers={self._etcd_socket}",
                "--bind-address=127.0.0.1",
                # Else it looks for a default route, which an offline machine does not have.
                "--advertise-address=127.0.0.1",
                f"--secure-port={self._port}",
                f"--tls-cert-file={self.folder}/apiserver.pem",
                f"--tls-private-key-file={self.folder}/apiserver.key",
                f"--token-auth-file={self.folder}/tokens.csv",
                "--authorization-mode=RBAC",
                f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
                f"--service-account-key-file={self.folder}/service-account.key",
                f"--service-account-signing-key-file={self.folder}/service-account.key",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--endpoint-reconciler-type=none",
                f"--audit-log-path={self.audit_log}",
                f"--audit-policy-file={self.folder}/audit-policy.yaml",
                # 10,000 machines converge within one file of it.
                "--audit-log-maxsize=1000",
                *self._apiserver_flags,
            ],
        )

    def _start_controllers(self) -> None:
        kubeconfig = self.folder / "kubeconfig-controllers"
        self._write_kubeconfig(kubeconfig, "controllers", self._controllers_token, "kube-system")
        self._spawn(
            "kube-controller-manager",
            [
                f"--kubeconfig={kubeconfig}",
                "--leader-elect=false",
                "--secure-port=0",
                # The default, 20 a second, makes the first start take five seconds longer.
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                f"--service-account-private-key-file={self.folder}/service-account.key",
                f"--root-ca-file={self.ca_file}",
                # As a cluster has it: without, every controller has the rights of the whole.
                "--use-service-account-credentials=true",
            ],
        )
        made_by_a_controller = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait_for(
            "kube-controller-manager",
            lambda: self.admin.exists(made_by_a_controller),
            "default ServiceAccount",
        )

    # -- helpers ------------------------------------------------------------------------------

    def _spawn(self, program: str, arguments: Collection[str]) -> Child:
        child = Child(
            program,
            [self._binaries[program], *arguments],
            self.folder / f"{program}.log",
            # The server and its clients are on loopback; a proxy of the environment is for others.
            env=os.environ | {"NO_PROXY": "*", "no_proxy": "*"},
            cwd=self.folder,
        )
        self._children[program] = child
        return child

    def _wait_for(self, program: str, ready: Callable[[], bool], what: str) -> None:
        self._children[program].wait_until(ready, what, READY_SECONDS)

    def _kill(self, program: str) -> None:
        child = self._children.pop(program, None)
        if child is not None:
            child.kill()

    def _run(
        self,
        program: str,
        arguments: Collection[str | Path],
        input: str | None,
        check: bool,
        kubeconfig: Path | None,
    ) -> subprocess.CompletedProcess[str]:
        config = kubeconfig or self.kubeconfig
        done = run([self._binaries[program], *arguments], config, self.folder / "home", input)
        if check and done.returncode:
            raise CommandFailed(program, done)
        return done

    def _write_private(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(content)
        return path

    def _write_kubeconfig(self, path: Path, user: str, token: str, namespace: str) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": user,
            "clusters": [
                {
                    "name": "lab",
                    "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)},
                }
            ],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [
                {
                    "name": user,
                    "context": {"cluster": "lab", "user": user, "namespace": namespace},
                }
            ],
        }
        self._write_private(path.name, json.dumps(config, indent=1))
