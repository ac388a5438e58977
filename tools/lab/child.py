"""A process that ends with the process that started it, whatever ends that one."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SUPERVISOR = Path(__file__).with_name("supervise.py")

POLL_SECONDS = 0.05
"""Short beside the second or two that a control plane needs to come up."""

TAIL_LINES = 15
"""Of a log, in an error: enough for the reason, few enough to read."""


class ChildFailed(RuntimeError):
    """A process ended when it should not have, or was not ready in time. Names its log."""


class Child:
    """One running process, its output appended to a log.

    ``command`` starts at once. ``scratch`` is a directory to remove when the process ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        options = ["--scratch", scratch] if scratch else []
        words = [sys.executable, "-I", "-S", SUPERVISOR, *options, "--", *command]
        self._control, theirs = socket.socketpair()
        with theirs, log.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [str(word) for word in words],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
            )
        with self._control.makefile("rb") as answers:
            line = answers.readline()
        if not line:
            self.stop()
            raise ChildFailed(f"{name} did not start; its log is {log}")
        self.pid = int(line)

    @property
    def returncode(self) -> int | None:
        """None while it runs; else its exit status, or 128 + the signal that ended it."""
        return self._supervisor.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself; nothing if it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, grace: float = 0.0) -> int:
        """Ends it: SIGTERM and up to ``grace`` seconds, then SIGKILL to it and its children.

        Returns the exit status as ``returncode`` does. Repeating it does nothing.
        """
        if grace:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._supervisor.wait(grace)
        self._control.close()
        return self._supervisor.wait()

    def kill(self) -> int:
        """SIGKILL, as a crash would end it."""
        self.signal(signal.SIGKILL)
        return self.stop()

    def wait(self, timeout: float) -> int:
        """Waits for it to end by itself. TimeoutExpired after ``timeout`` seconds."""
        code = self._supervisor.wait(timeout)
        self._control.close()
        return code

    def wait_until(self, ready: Callable[[], bool], what: str, timeout: float) -> None:
        """Polls ``ready``. ChildFailed with the log's end if it ends first, or takes too long."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise ChildFailed(f"{self.name} ended with status {self.returncode}{self._tail()}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name}: no {what} in {timeout:.0f} s{self._tail()}")
            time.sleep(POLL_SECONDS)

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"; its log is {self.log} and ends:", *lines])
