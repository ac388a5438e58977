"""azsim and the operator as processes, started as their users start them."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.binaries import ROOT
from lab.chart import Installed
from lab.child import Child
from lab.folders import free_port
from lab.nursery import Nursery

STOP_SECONDS = 30.0
"""A pod's default grace period: what SIGTERM must suffice within."""

AZSIM_READY_SECONDS = 60.0
"""A fleet of 10,000 machines on a busy machine; a small one is up in two."""

OPERATOR_READY_SECONDS = 60.0
"""It imports for two seconds and lists for one; more is for a machine that is busy."""

PAGE_SECONDS = 10.0
"""An operator that needs longer for a health page fails a kubelet's probe too."""

OPERATOR_ENV = {
    "AZURE_TENANT_ID": "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID": "AZURE_CLIENT_ID",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZPATCH_ARM_ENDPOINT": "AZSIM_ARM_ENDPOINT",
    "AZPATCH_AUTHORITY_HOST": "AZURE_AUTHORITY_HOST",
    "AZPATCH_CA_FILE": "AZSIM_CA_FILE",
    "AZPATCH_CLOCK_ORIGIN": "AZSIM_CLOCK_ORIGIN",
    "AZPATCH_PACE": "AZSIM_PACE",
}
"""The operator's variables, and azsim's that they are taken from. Not the client secret: the
operator's own identity is workload identity."""

PYTHONPATH = os.pathsep.join(str(ROOT / folder) for folder in ("operator", "tools"))


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is not asked of a proxy."""


def rfc3339(instant: datetime) -> str:
    """As ``--clock-origin`` wants it; ``instant`` has a time zone."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Clock:
    """The clock that azsim and the operator share.

    Simulated time = origin + (real time - origin) * pace: the same at ``origin``, then ``pace``
    simulated seconds in each real one.
    """

    def __init__(self, pace: float = 1.0, origin: datetime | None = None) -> None:
        self.pace = pace
        self.origin = origin or datetime.now(UTC)

    @property
    def flags(self) -> list[str]:
        return ["--pace", f"{self.pace:g}", "--clock-origin", rfc3339(self.origin)]

    def now(self) -> datetime:
        """Simulated time."""
        return self.at(datetime.now(UTC))

    def at(self, real: datetime) -> datetime:
        """Simulated time at a moment of real time."""
        return self.origin + (real - self.origin) * self.pace


class _Process:
    """A Python module that runs until told to end. Its log is ``folder/NAME.log``."""

    name: str
    child: Child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        return self.child.log

    @property
    def running(self) -> bool:
        return self.child.running

    def stop(self, grace: float = STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds. Returns the exit status."""
        return self.child.stop(grace)

    def kill(self) -> int:
        """SIGKILL, as a lost node ends it."""
        return self.child.kill()


class AzSim(_Process):
    """``azsim serve`` for one fleet file; serving when the constructor returns.

    Attributes:
        env: what a client needs (AZURE_TENANT_ID, the ARM endpoint, the CA file, …).
        env_file: the same as ``KEY=value`` lines.
        journal: JSON lines of every request and of everything that happened in every guest.
        clock: its clock.
    """

    name = "azsim"

    def __init__(
        self,
        fleet: Path,
        folder: Path,
        clock: Clock | None = None,
        seed: int = 0,
        port: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or Clock()
        self.env_file = folder / "azsim.env"
        self.journal = folder / "azsim-journal.jsonl"
        self.env_file.unlink(missing_ok=True)
        self.child = _module(
            self.name,
            [
                *("azsim", "serve", "--fleet", str(fleet)),
                *("--port", str(port), "--seed", str(seed)),
                *self.clock.flags,
                *("--env-file", str(self.env_file), "--journal", str(self.journal)),
                *arguments,
            ],
            folder,
            {},
        )
        try:
            self.child.wait_until(self.env_file.exists, "env file", AZSIM_READY_SECONDS)
        except BaseException:
            self.child.kill()
            raise
        self.env = read_env_file(self.env_file)
        self._issued: dict[str, list[str]] = {}

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request to its own pages (``/azsim/…``), or to Azure's that need no token. The answer's
        JSON; HTTPError if it refuses."""
        request = urllib.request.Request(
            self.env["AZSIM_ARM_ENDPOINT"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=self.env["AZSIM_CA_FILE"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=PAGE_SECONDS) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def issued(self) -> dict[str, list[str]]:
        """Every secret that it has given out or been shown, by kind; once it is stopped, until
        then."""
        if self.running:
            self._issued = self.ask("GET", "/azsim/issued")
        return self._issued

    def stop(self, grace: float = STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds. Returns the exit status."""
        self.issued()
        return super().stop(grace)


class Operator(_Process):
    """``azpatch run`` beside the cluster, as the chart's pod would run: its ServiceAccount's rights
    in Kubernetes, workload identity with that ServiceAccount's token in Azure.

    Of the developer's environment it has only what Python needs. Its log is structured: one JSON
    object a line.

    Attributes:
        url: of ``/healthz``, ``/readyz`` and ``/metrics``.
        env: the settings and Azure variables that it was given.
    """

    name = "operator"

    def __init__(
        self,
        installed: Installed,
        azure: Mapping[str, str],
        folder: Path,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        """``azure`` is ``AzSim.env``, the clock included; ``env`` adds to what follows from it.

        ``arguments`` are flags of ``azpatch run``. ``nursery`` is one of ``operator_nursery``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.env = {
            "KUBECONFIG": str(installed.kubeconfig),
            "AZPATCH_NAMESPACE": installed.namespace,
            "AZPATCH_LISTEN": f"127.0.0.1:{port}",
            "AZURE_FEDERATED_TOKEN_FILE": str(installed.federated_token),
            **{ours: azure[theirs] for ours, theirs in OPERATOR_ENV.items() if theirs in azure},
            **(env or {}),
        }
        if nursery is None:
            self.child = _module(self.name, ["azpatch", "run", *arguments], folder, self.env)
        else:
            log = folder / f"{self.name}.log"
            self.child = nursery.start(self.name, ["run", *arguments], log, python_env() | self.env)

    def wait_until_ready(self, timeout: float = OPERATOR_READY_SECONDS) -> None:
        """Until ``/readyz`` says so. ChildFailed with the log's end if it ends or takes longer."""
        self.child.wait_until(lambda: self.status("/readyz") == 200, "/readyz", timeout)

    def status(self, page: str) -> int:
        """The HTTP status of ``/healthz`` or ``/readyz``; 0 while nothing listens."""
        try:
            with _direct.open(self.url + page, timeout=PAGE_SECONDS) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def metrics(self) -> str:
        """``/metrics``, as Prometheus reads it."""
        with _direct.open(self.url + "/metrics", timeout=PAGE_SECONDS) as answer:
            content: bytes = answer.read()
            return content.decode()


def read_env_file(path: Path) -> dict[str, str]:
    """``KEY=value`` lines; empty lines and comments are skipped."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key: value for key, _, value in pairs}


def operator_nursery(folder: Path) -> Nursery:
    """Where operators are forked from, for a test that starts very many."""
    return Nursery("azpatch.__main__", folder, python_env(), ["azpatch.operate"])


def python_env() -> dict[str, str]:
    """What Python needs to run a module of this checkout, and no more of the developer's."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    python = {"PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **python, "NO_PROXY": "*", "no_proxy": "*"}


def _module(name: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> Child:
    return Child(
        name,
        [sys.executable, "-m", *arguments],
        folder / f"{name}.log",
        env={**python_env(), **env},
        cwd=folder,
    )
