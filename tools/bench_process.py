"""What a process costs: its processor time and memory, how fast it answers, its own counters."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.child import Child, ChildFailed
from lab.processes import Operator

PROBE_SECONDS = 0.1
"""Between two looks at /readyz: far more often than a kubelet, at a cost that does not show."""

POLL_SECONDS = 0.1
"""Between two looks at whether what is measured has ended."""

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([^ ]+)$")


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of all threads."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[float, float]:
    """Resident MiB, now and at its highest."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    now, highest = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, highest


def samples(page: str, name: str, label: str = "") -> dict[str, float]:
    """The values of one metric by one of its labels ("" without it), from a Prometheus page."""
    found: dict[str, float] = {}
    for line in page.splitlines():
        parsed = _SAMPLE.match(line)
        if parsed and parsed[1] == name:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', parsed[2] or ""))
            value = labels.get(label, "")
            found[value] = found.get(value, 0.0) + float(parsed[3])
    return found


def wait_until(child: Child, done: Callable[[], bool], what: str, seconds: float) -> None:
    """Polls, seldom enough not to disturb. ChildFailed if the process ends first, or is late."""
    deadline = time.monotonic() + seconds
    while not done():
        if not child.running:
            raise ChildFailed(f"{child.name} ended; its log is {child.log}")
        if time.monotonic() > deadline:
            raise ChildFailed(f"no {what} in {seconds:.0f} s; the log is {child.log}")
        time.sleep(POLL_SECONDS)


class Probe:
    """Asks the operator's /readyz again and again: it is answered by the loop that reconciles, so
    that an answer's delay shows how long the loop is held up."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []
        """One for each answer."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def share(self, quantile: float) -> float:
        """Seconds within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)] if ordered else 0.0

    def _run(self) -> None:
        while not self._stop.wait(PROBE_SECONDS):
            began = time.monotonic()
            self._operator.status("/readyz")
            self.seconds.append(time.monotonic() - began)
