"""The control plane that ``make controlplane`` leaves running, and its end."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from lab.binaries import binaries
from lab.child import POLL_SECONDS, ChildFailed
from lab.controlplane import READY_SECONDS, ControlPlane
from lab.folders import lab_folder


def start() -> None:
    """Starts one unless it runs, and prints how to use it. It stays when this process ends."""
    if _pid() is None:
        binaries()
        _spawn()
    print(f"export KUBECONFIG={_folder() / 'kubeconfig'}")
    print(f"kubectl is {binaries()['kubectl']}; logs are in {_folder()}", file=sys.stderr)
    print("`make controlplane-stop` ends it", file=sys.stderr)


def stop() -> None:
    """Ends the one that ``start`` left. Nothing to do is fine."""
    pid = _pid()
    if pid is None:
        print("no control plane is running", file=sys.stderr)
        return
    os.kill(pid, signal.SIGTERM)
    while _pid() is not None:
        time.sleep(POLL_SECONDS)
    print("stopped", file=sys.stderr)


def hold() -> None:
    """Runs one until SIGTERM or SIGINT."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with _pid_file().open("a") as file:
        # Held while it runs: a process id alone may be another process's by now.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        with ControlPlane(folder=_folder()):
            file.write(str(os.getpid()))
            file.flush()
            told.wait()


def _spawn() -> None:
    _folder().mkdir(parents=True, exist_ok=True)
    log = _folder() / "lab.log"
    with log.open("ab") as output:
        holder = subprocess.Popen(
            [sys.executable, "-m", "lab", "hold"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    # Not by _pid: its look at the lock could be in the way of the holder's own.
    while not _pid_file().exists() or _pid_file().read_text() != str(holder.pid):
        if holder.poll() is not None or time.monotonic() > deadline:
            raise ChildFailed(f"the control plane did not start; {log} says why")
        time.sleep(POLL_SECONDS)


def _folder() -> Path:
    return lab_folder() / "controlplane"


def _pid_file() -> Path:
    return _folder() / "pid"


def _pid() -> int | None:
    """Of the holder whose control plane is ready; None if there is none."""
    try:
        with _pid_file().open() as file:
            if _unheld(file):
                return None
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def _unheld(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
