"""Where the lab keeps logs, and how it finds free ports."""

import os
import re
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

from lab.binaries import ROOT

KEPT_RUNS = 20
"""Run folders kept when a new one is made: a day of work, some 100 MB."""


def lab_folder() -> Path:
    """``.lab`` of the checkout, ignored by Git; ``AZPATCH_LAB`` moves it."""
    return Path(os.environ.get("AZPATCH_LAB") or ROOT / ".lab")


def run_folder(name: str) -> Path:
    """A new folder for one run's logs, named by time, ``name`` and process id.

    Folders of processes that have ended are removed, all but the newest ``KEPT_RUNS``.
    """
    runs = lab_folder() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    ended = sorted(path for path in runs.iterdir() if not _in_use(path))
    for path in ended[:-KEPT_RUNS]:
        shutil.rmtree(path, ignore_errors=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    folder = runs / f"{stamp}-{name}-{os.getpid()}"
    folder.mkdir()
    return folder


def free_port() -> int:
    """A loopback TCP port that was free a moment ago; another process may still take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _in_use(path: Path) -> bool:
    owner = re.search(r"-(\d+)$", path.name)
    if owner is None:
        return False
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
