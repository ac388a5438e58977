"""Fixtures on real parts, shared by every test. See ``tools/lab``."""

import secrets
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import structlog

from lab import chart
from lab.controlplane import ControlPlane
from lab.folders import lab_folder, run_folder


class Kubectl(Protocol):
    """``ControlPlane.kubectl``: arguments in, the finished process out."""

    def __call__(
        self,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]: ...


def pytest_configure() -> None:
    """A shell that runs the tests in the background has them ignore Ctrl-C, and whom they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # With rich about, a traceback in colours and with its locals takes longer than the test.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], console])


def pytest_report_header() -> str:
    return f"logs of what the tests start: {lab_folder() / 'runs'}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed says where the logs of its control plane and its processes are."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        used = [item.funcargs.get(name) for name in ("controlplane", "logs")]
        folders = [thing.folder if isinstance(thing, ControlPlane) else thing for thing in used]
        if any(folders):
            report.sections.append(("logs", "\n".join(str(path) for path in folders if path)))
    return report


@pytest.fixture(scope="session")
def controlplane() -> Iterator[ControlPlane]:
    """One control plane for all tests of a session (with xdist: of each worker).

    A test keeps to a namespace of its own and to cluster-wide names that no other uses. One that
    breaks the control plane starts another: ``ControlPlane()``.
    """
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
def crds(controlplane: ControlPlane) -> ControlPlane:
    """The control plane with azpatch's CRDs on it."""
    chart.apply_crds(controlplane)
    return controlplane


@pytest.fixture(scope="session")
def installed(controlplane: ControlPlane) -> chart.Installed:
    """The chart on the control plane, with the kubeconfig of its ServiceAccount."""
    return chart.install(controlplane)


@pytest.fixture
def namespace(controlplane: ControlPlane) -> Iterator[str]:
    """A fresh namespace, deleted after the test (in the background)."""
    name = f"test-{secrets.token_hex(4)}"
    chart.create_namespace(controlplane, name)
    yield name
    controlplane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(controlplane: ControlPlane) -> Kubectl:
    """kubectl as the administrator."""
    return controlplane.kubectl


@pytest.fixture
def logs() -> Path:
    """A folder for the logs of what a test starts; it stays, and a failure names it."""
    return run_folder("test")
