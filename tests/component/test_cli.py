"""The command line, as its users meet it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from azpatch.__main__ import main
from lab import chart
from lab.audit import read_audit_log
from lab.binaries import ROOT
from lab.controlplane import ControlPlane
from lab.processes import Operator

PATIENCE = 30.0
"""Seconds; three resyncs take three. The rest is for a machine that is busy."""


def cli(*arguments: str, **env: str | None) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, env={"AZPATCH_NAMESPACE": "azpatch", **env})
    return result.exit_code, result.output


def test_crds_prints_what_the_repository_has() -> None:
    status, output = cli("crds")
    assert status == 0
    printed = {crd["metadata"]["name"]: crd for crd in yaml.safe_load_all(output)}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")}
    assert printed == files


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["--pace", "60"], 2, "not a loopback address", id="own time on real Azure"),
        pytest.param(["--workers", "0"], 2, "--workers", id="no workers"),
        pytest.param(["--kubeconfig", "/no/such/file"], 1, "/no/such/file", id="no cluster"),
    ],
)
def test_run_refuses_in_words(arguments: list[str], status: int, words: str) -> None:
    assert cli("run", *arguments)[0] == status
    assert words in cli("run", *arguments)[1]


def test_run_asks_for_a_namespace_outside_of_a_pod() -> None:
    status, output = cli("run", AZPATCH_NAMESPACE=None)
    assert status == 2
    assert "--namespace" in output


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_operator_runs_with_the_charts_own_rights_and_ends_on_sigterm(logs: Path) -> None:
    with ControlPlane() as controlplane:
        installed = chart.install(controlplane)
        arguments = ["--resync-interval=1s"]
        with Operator(installed, {}, logs, arguments) as operator:
            operator.wait_until_ready()
            deadline = time.monotonic() + PATIENCE
            while "azpatch_resyncs_total 3.0" not in operator.metrics():
                assert time.monotonic() < deadline, "the third resync"
                time.sleep(0.1)
            assert operator.status("/healthz") == 200
            started = time.monotonic()
            assert operator.stop() == 0
            assert time.monotonic() - started < 5, "nothing was waited for in vain"
        log = lines(operator.log)
        assert {line["level"] for line in log} == {"info"}
        assert log[-1]["event"] == "stopped"
        user = f"system:serviceaccount:{installed.namespace}:{installed.service_account}"
        assert read_audit_log(controlplane.audit_log, None, user) == [], "silent"
