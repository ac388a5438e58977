"""The control plane that `make controlplane` leaves running."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.binaries import binaries
from lab.processes import PYTHONPATH

Lab = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """``python -m lab COMMAND`` with a folder of its own."""

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lab", command],
            env=os.environ | {"PYTHONPATH": PYTHONPATH, "AZPATCH_LAB": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )

    yield run
    run("stop")


def test_it_stays_until_it_is_stopped(lab: Lab, tmp_path: Path) -> None:
    printed = lab("start").stdout
    variable, _, kubeconfig = printed.strip().removeprefix("export ").partition("=")
    assert variable == "KUBECONFIG"

    get = [str(binaries()["kubectl"]), "get", "namespaces", "--kubeconfig", kubeconfig]
    assert "kube-system" in subprocess.run(get, capture_output=True, text=True, check=True).stdout
    assert lab("start").stdout == printed

    assert "stopped" in lab("stop").stderr
    assert subprocess.run(get, capture_output=True, check=False).returncode != 0
    assert "no control plane is running" in lab("stop").stderr


def test_the_process_id_of_one_that_was_lost_is_not_trusted(lab: Lab, tmp_path: Path) -> None:
    left = tmp_path / "controlplane" / "pid"
    left.parent.mkdir()
    left.write_text(str(os.getpid()))
    assert "no control plane is running" in lab("stop").stderr
