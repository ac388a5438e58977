"""What a nursery forks is a process like any other, and ends with who started it."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.child import ChildFailed
from lab.nursery import Forked, Nursery
from lab.processes import python_env

PROGRAM = """
import os, sys, time

def main(arguments):
    print(os.getpid(), os.environ.get("WORD"), "PATH" in os.environ, flush=True)
    if arguments[0] == "sleep":
        time.sleep(600)
    sys.exit(int(arguments[1]))
"""

SECONDS = 30.0
"""What takes milliseconds; more is for a machine that is busy."""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    (tmp_path / "program.py").write_text(PROGRAM)
    env = python_env()
    nursery = Nursery("program", tmp_path, env | {"PYTHONPATH": f"{env['PYTHONPATH']}:{tmp_path}"})
    yield nursery
    nursery.stop()


def start(nursery: Nursery, folder: Path, *arguments: str) -> Forked:
    return nursery.start("one", arguments, folder / "one.log", {"WORD": "said"})


def told(process: Forked) -> list[str]:
    process.wait_until(lambda: process.log.exists() and process.log.read_text() != "", "log", 30)
    return process.log.read_text().split()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_it_has_its_own_id_environment_and_log(nursery: Nursery, tmp_path: Path) -> None:
    process = start(nursery, tmp_path, "sleep")
    assert told(process) == [str(process.pid), "said", "False"]
    assert process.running
    assert process.returncode is None
    assert process.kill() == 128 + signal.SIGKILL


def test_it_tells_its_exit_status(nursery: Nursery, tmp_path: Path) -> None:
    process = start(nursery, tmp_path, "exit", "3")
    assert process.wait(SECONDS) == 3
    assert process.returncode == 3
    assert not process.running
    assert process.stop() == 3, "repeating it does nothing"


def test_sigterm_ends_it(nursery: Nursery, tmp_path: Path) -> None:
    process = start(nursery, tmp_path, "sleep")
    told(process)
    assert process.stop(SECONDS) == 128 + signal.SIGTERM


def test_who_waits_too_long_is_told(nursery: Nursery, tmp_path: Path) -> None:
    process = start(nursery, tmp_path, "sleep")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()


def test_they_end_with_the_nursery(nursery: Nursery, tmp_path: Path) -> None:
    process = start(nursery, tmp_path, "sleep")
    told(process)
    nursery.stop()
    assert process.wait(SECONDS) == 128 + signal.SIGKILL
    end = time.monotonic() + SECONDS
    while alive(process.pid):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.01)


def test_a_module_that_cannot_be_imported_is_told_with_the_reason(tmp_path: Path) -> None:
    nursery = Nursery("nowhere", tmp_path, python_env())
    with pytest.raises(ChildFailed, match="No module named 'nowhere'"):
        start(nursery, tmp_path, "sleep")
    nursery.stop()
