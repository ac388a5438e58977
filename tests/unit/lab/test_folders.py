"""Folders of logs do not fill the disk."""

import os
from pathlib import Path

import pytest

from lab.folders import KEPT_RUNS, run_folder

NO_PROCESS = 2**22 + 1
"""Above the largest process id that Linux gives."""


def test_old_runs_go_and_the_newest_and_those_in_use_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZPATCH_LAB", str(tmp_path))
    runs = tmp_path / "runs"
    in_use = runs / f"20000101T000000.000000-test-{os.getpid()}"
    ended = [
        runs / f"20010101T0000{number:02}.000000-test-{NO_PROCESS}"
        for number in range(KEPT_RUNS + 3)
    ]
    for folder in (in_use, *ended):
        folder.mkdir(parents=True)

    new = run_folder("test")

    assert set(runs.iterdir()) == {new, in_use, *ended[3:]}


def test_two_runs_of_one_process_have_two_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZPATCH_LAB", str(tmp_path))
    assert run_folder("test") != run_folder("test")
