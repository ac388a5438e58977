"""A child ends with its starter, and says how it ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.child import Child, ChildFailed
from lab.processes import PYTHONPATH

SLEEPS = ["sleep", "600"]
IGNORES_SIGTERM = ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"]
HAS_A_CHILD = ["sh", "-c", "sleep 600 & echo $!; wait"]

SECONDS = 10.0
"""What takes milliseconds; more is for a machine that is busy."""

IN_A_THREAD = """
import sys, threading, time
from pathlib import Path
from lab.child import Child
children = []
starter = threading.Thread(
    target=lambda: children.append(Child("c", ["sleep", "600"], Path(sys.argv[1])))
)
starter.start()
starter.join()
time.sleep(0.5)
print(children[0].running)
children[0].stop()
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def started(log: Path) -> Iterator[list[Child]]:
    """Children that a test starts and that end with it."""
    children: list[Child] = []
    yield children
    for child in children:
        child.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def first_line(log: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while "\n" not in (text := log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text.splitlines()[0]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param(["true"], 0, id="success"),
        pytest.param(["sh", "-c", "exit 3"], 3, id="a status of its own"),
        pytest.param(["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL, id="a signal"),
        pytest.param(["/no/such/program"], 127, id="a program that is not there"),
    ],
)
def test_its_exit_status_is_known(command: list[str], status: int, log: Path) -> None:
    assert Child("c", command, log).wait(SECONDS) == status


def test_its_output_is_in_the_log(log: Path) -> None:
    Child("c", ["sh", "-c", "echo out; echo err >&2"], log).wait(SECONDS)
    assert log.read_text() == "out\nerr\n"


def test_stop_with_grace_lets_it_end_by_sigterm(log: Path) -> None:
    assert Child("c", SLEEPS, log).stop(grace=SECONDS) == 128 + signal.SIGTERM


def test_stop_kills_what_ignores_sigterm(log: Path) -> None:
    child = Child("c", IGNORES_SIGTERM, log)
    first_line(log)
    assert child.stop(grace=0.3) == 128 + signal.SIGKILL
    assert not alive(child.pid)


def test_stop_may_be_repeated(log: Path) -> None:
    child = Child("c", SLEEPS, log)
    assert child.stop() == child.stop()


def test_its_own_children_end_with_it(log: Path) -> None:
    child = Child("c", HAS_A_CHILD, log)
    grandchild = int(first_line(log))
    child.kill()
    deadline = time.monotonic() + SECONDS
    while alive(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_outlives_the_thread_that_started_it(log: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD, log],
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    assert done.stdout == "True\n"


def test_its_scratch_folder_is_removed(log: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    Child("c", ["touch", scratch / "file"], log, scratch=scratch).wait(SECONDS)
    assert not scratch.exists()


def test_one_that_ends_before_it_is_ready_is_an_error_with_the_end_of_its_log(
    log: Path, started: list[Child]
) -> None:
    started.append(Child("etcd", ["sh", "-c", "echo bad flag; exit 2"], log))
    with pytest.raises(ChildFailed, match=r"(?s)etcd ended with status 2.*bad flag"):
        started[0].wait_until(lambda: False, "socket", SECONDS)


def test_one_that_is_not_ready_in_time_is_an_error(log: Path, started: list[Child]) -> None:
    started.append(Child("etcd", SLEEPS, log))
    with pytest.raises(ChildFailed, match="etcd: no socket in 0 s"):
        started[0].wait_until(lambda: False, "socket", timeout=0.1)
