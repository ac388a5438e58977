"""``make demo``, as a newcomer runs it, at twice its pace."""

import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from rich.console import Console

from demo import FOLDER, MANIFESTS, NAMESPACES, TRY, secrets_shown
from demo_cluster import Condition, Seen, View, posts
from demo_screen import WIDTH, Lines, doing, summary
from demo_story import RUNS, SAMPLES, SUBSCRIPTIONS, missing
from lab import chart
from lab.binaries import ROOT
from lab.controlplane import ControlPlane

PACE = "60"
END_SECONDS = 240.0
"""Forty are usual."""


@dataclass(frozen=True)
class Demo:
    """A demo that has ended."""

    status: int
    output: str
    folder: Path


@pytest.fixture(scope="module")
def demo() -> Demo:
    """One run for all tests here."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "demo.py"],
        env=os.environ | {"DEMO_EXIT": "1", "DEMO_PACE": PACE},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    found = re.search(r"^Logs: (.+)$", output, re.MULTILINE)
    return Demo(done.returncode, output, Path(found[1] if found else ""))


def test_every_sample_machine_comes_to_its_expected_end(demo: Demo) -> None:
    assert demo.status == 0, demo.output
    table = demo.output.partition("The end, and the operations that Azure took")[2]
    marks = re.findall(r"^ *(\S+/\S+) +(\S+) .*([✓✗])", table, re.MULTILINE)
    assert marks == [(sample.of, sample.machine, "✓") for sample in SAMPLES]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(r"db-1 +installs 5 patches", id="the gallery VM is patched"),
        pytest.param(r"db-1 +compliant", id="and compliant"),
        pytest.param(r"report-1 +installs 2 patches", id="the specialized one is patched"),
        pytest.param(r"web-4 +is assessed, after an install that failed", id="a failure is told"),
        pytest.param(r"legacy-1 +refused: ImageNotSupported", id="a refusal has its reason"),
    ],
)
def test_progress_is_told_on_the_way(demo: Demo, line: str) -> None:
    assert re.search(rf"^\+\d+:\d\d  {line}$", demo.output, re.MULTILINE), demo.output


def test_the_end_names_the_subscription_without_the_preview_feature(demo: Demo) -> None:
    assert re.search(r"AzureSubscription billing: The preview feature \S+ is", demo.output)


def test_the_words_that_the_readme_quotes_are_its_words(demo: Demo) -> None:
    [quoted] = re.findall(
        r"Below the table.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    shown = " ".join(demo.output.split())
    sentences = re.split(r"(?<=\.) ", " ".join(quoted.split()))
    assert len(sentences) > 5
    assert [one for one in sentences if one not in shown] == []


def test_a_refused_machine_was_never_sent_anything(demo: Demo) -> None:
    sent = posts(demo.folder / "azsim-journal.jsonl")
    assert {machine for machine, _ in sent} == {
        sample.machine for sample in SAMPLES if sample.assessed
    }


def test_nothing_of_it_runs_on(demo: Demo) -> None:
    kubeconfig = (demo.folder / "kubeconfig").read_text()
    port = re.search(r"https://127\.0\.0\.1:(\d+)", kubeconfig)
    assert port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port[1]))) != 0


@pytest.fixture
def applied(crds: ControlPlane) -> Iterator[ControlPlane]:
    """The demo's manifests on a control plane without an operator."""
    for name in NAMESPACES:
        chart.create_namespace(crds, name)
    files = [argument for name in MANIFESTS for argument in ("--filename", FOLDER / name)]
    crds.kubectl("apply", "--server-side", *files)
    yield crds
    crds.kubectl("delete", *files)
    crds.kubectl("delete", "namespace", *NAMESPACES, "--wait=false")


TOKEN = f"{'h' * 40}.{'p' * 90}.{'s' * 80}"

RUN: dict[str, Any] = {
    "apiVersion": "azpatch.dev/v1alpha1",
    "kind": "PatchRun",
    "metadata": {"name": "search-run", "namespace": "ops"},
    "spec": {"policyRef": {"name": "search"}},
}


def test_what_it_offers_to_try_is_accepted(applied: ControlPlane) -> None:
    applied.kubectl("apply", "--server-side", "--filename=-", input=yaml.safe_dump(RUN))
    name = RUN["metadata"]["name"]
    text = TRY.format(kubeconfig="", path="", journal="", run=name).replace("\\\n", "")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("  kubectl")]
    for _kubectl, verb, *rest in commands:
        dry_run = ["--dry-run=server"] if verb == "patch" else []
        applied.kubectl(verb, *rest, *dry_run)
    assert {command[1] for command in commands} == {"get", "describe", "explain", "patch"}


def test_the_readme_shows_what_it_shows() -> None:
    table = re.findall(r"^ (\S+/\S+) +(\S+) .*✓$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == [(sample.of, sample.machine) for sample in SAMPLES]


def test_an_empty_cluster_is_not_the_expected_end() -> None:
    lines = missing(View(), Counter())
    assert len(lines) == len(SAMPLES) + len(RUNS) + len(SUBSCRIPTIONS)
    assert "shop/db/db-1: there is no PatchTarget" in lines


def test_an_install_too_many_is_not_the_expected_end() -> None:
    sample = SAMPLES[0]
    view = View(
        machines=(
            Seen(
                sample.namespace,
                sample.machine,
                policy=sample.policy,
                conditions={
                    "Supported": Condition(*sample.supported),
                    "Compliant": Condition(sample.compliant, "Compliant"),
                },
            ),
        )
    )
    sent = Counter({(sample.machine, "Assess"): 2, (sample.machine, "Install"): 2})
    assert [line for line in missing(view, sent) if line.startswith(sample.name)] == [
        f"{sample.name}: Azure took 2 installs, not 1"
    ]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(Seen("n", "m"), "is looked at", id="nothing known"),
        pytest.param(Seen("n", "m", operation="Assess"), "is assessed", id="assessment"),
        pytest.param(
            Seen("n", "m", operation="Install", selected=1), "installs 1 patch", id="install"
        ),
        pytest.param(
            Seen(
                "n",
                "m",
                selected=4,
                conditions={
                    "Ready": Condition("True", "WaitingForSlot"),
                    "Compliant": Condition("False", "PatchesMissing"),
                },
            ),
            "waits: WaitingForSlot",
            id="waiting",
        ),
        pytest.param(
            Seen("n", "m", conditions={"Ready": Condition("False", "GovernedElsewhere")}),
            "left alone: GovernedElsewhere",
            id="another policy's",
        ),
    ],
)
def test_a_machine_is_described_in_a_few_words(seen: Seen, words: str) -> None:
    assert doing(seen).plain == words


def test_a_line_names_the_policy_of_a_machine_that_is_under_several() -> None:
    file = io.StringIO()
    to = Console(file=file, width=WIDTH)
    two = (Seen("shop", "m", policy="one"), Seen("shop", "m", policy="two"))
    lines = Lines(to)
    lines.show(View(machines=(*two, Seen("shop", "k", policy="one"))), timedelta())
    lines.show(View(machines=two[:1]), timedelta())

    assert file.getvalue().splitlines() == [
        "+0:00  m (shop/one) is looked at",
        "+0:00  m (shop/two) is looked at",
        "+0:00  k            is looked at",
        "+0:00  k            is no longer under shop/one",
        "+0:00  m            is no longer under shop/two",
    ]


@pytest.mark.parametrize(
    ("issued", "log", "told"),
    [
        pytest.param([TOKEN], "signed in", [], id="nothing"),
        pytest.param(
            [TOKEN], f"signed in: {TOKEN}", ["operator.log: one of tokens"] * 2, id="a token"
        ),
        pytest.param([], "", ["nobody signed in"], id="nothing to look for"),
    ],
)
def test_a_secret_that_is_shown_is_not_the_expected_end(
    issued: list[str], log: str, told: list[str], tmp_path: Path
) -> None:
    operator_log, audit_log = tmp_path / "operator.log", tmp_path / "audit.log"
    operator_log.write_text(log)
    audit_log.touch()
    stage = Mock(operator=Mock(log=operator_log), controlplane=Mock(audit_log=audit_log))
    stage.azsim.issued.return_value = {"tokens": issued}
    stage.controlplane.kubectl.return_value.stdout = "items: []"
    stage.operator.metrics.return_value = "azpatch_leader 1.0"

    found = secrets_shown(stage)

    assert len(found) == len(told)
    assert all(line.startswith(words) for line, words in zip(found, told, strict=True))


@pytest.mark.parametrize("width", [80, WIDTH])
def test_the_final_table_hides_nothing_in_a_narrow_terminal(width: int) -> None:
    refused = {"Supported": Condition("False", "PreviewFeatureNotRegistered")}
    view = View(
        machines=tuple(
            Seen(s.namespace, s.machine, policy=s.policy, conditions=refused) for s in SAMPLES
        )
    )
    file = io.StringIO()
    to = Console(file=file, width=width)
    to.print(summary(view, Counter(), []))
    shown = file.getvalue()

    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for word in ("Assess", "Install", "PreviewFeatureNotRegistered", *(s.of for s in SAMPLES)):
        assert word in shown


def test_ctrl_c_ends_it_with_a_goodbye_and_without_an_error() -> None:
    demo = subprocess.Popen(
        [sys.executable, ROOT / "tools" / "demo.py"],
        env={name: value for name, value in os.environ.items() if name != "DEMO_EXIT"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout
        first = demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=END_SECONDS)
    finally:
        demo.kill()
    assert first.startswith("control plane")
    assert "Goodbye" in rest
    assert "Traceback" not in rest
    assert demo.returncode == 0
