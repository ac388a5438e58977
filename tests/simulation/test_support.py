"""What Azure is asked for, by image class, detected state and revision, through the whole operator.

Once the operator as it is, and once each with one thing wrong that the same judgement must find.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support_mutations import MUTATIONS

from lab.folders import ROOT

PROGRAM = Path(__file__).with_name("support_product.py")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, in a process of its own: it takes the place of the loop and of the logs."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={"PYTHONHASHSEED": "0", "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'tools'}"},
        text=True,
        capture_output=True,
        timeout=280,
        check=False,
    )


def test_azure_is_asked_for_what_is_supported_and_for_nothing_else() -> None:
    ended = run()
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_verdict_is_found(name: str) -> None:
    ended = run(name)
    assert ended.returncode == 1, ended.stderr
    assert MUTATIONS[name].shows in ended.stdout
