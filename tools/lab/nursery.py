"""Processes of one Python module, forked from one that has it imported already.

Importing is most of what a start costs: two seconds of computing, against a twentieth for a fork.
For tests that start a program a hundred times. What is forked is a process like any other, with its
own id, environment and log, and ends with who started it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.child import Child, ChildFailed
from lab.supervise import end_with_parent, wake_on_child_exit

READY_SECONDS = 120.0
"""For the one import; a busy machine takes a minute."""

REQUEST_LIMIT = 1 << 20
"""Bytes of a request: arguments and environment."""


class Nursery:
    """Forks `main(arguments)` of a module, from construction to `stop`."""

    def __init__(
        self, module: str, folder: Path, env: Mapping[str, str], imports: Sequence[str] = ()
    ) -> None:
        """`env` is what Python itself needs; each process is given its own, whole. `imports` are
        modules that the module itself imports only when it is called."""
        # A path in a socket address is short, so not in `folder`.
        scratch = Path(tempfile.mkdtemp(prefix="azpatch-nursery-"))
        self._address = str(scratch / "socket")
        self._child = Child(
            "nursery",
            [sys.executable, "-m", "lab.nursery", self._address, module, *imports],
            folder / "nursery.log",
            env=env,
            cwd=folder,
            scratch=scratch,
        )

    def start(
        self, name: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> Forked:
        """A new process; waits for the import if that is not done yet."""
        self._child.wait_until(Path(self._address).exists, "socket", READY_SECONDS)
        return Forked(name, self._address, arguments, log, env)

    def stop(self) -> None:
        """Ends all of them."""
        self._child.stop()


class Forked(Child):
    """One of them."""

    def __init__(
        self,
        name: str,
        address: str,
        arguments: Sequence[str],
        log: Path,
        env: Mapping[str, str],
    ) -> None:
        self.name = name
        self.log = log
        self._code: int | None = None
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(address)
        request = {"arguments": list(arguments), "env": dict(env), "log": str(log)}
        self._control.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._control.makefile("rb")
        line = self._answers.readline()
        if not line:
            raise ChildFailed(f"{name} did not start; its log is {log}")
        self.pid = int(line)

    @property
    def returncode(self) -> int | None:
        """As a Child's."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._ended(0)
        return self._code

    def stop(self, grace: float = 0.0) -> int:
        """As a Child's."""
        if grace:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(grace)
        self.signal(signal.SIGKILL)
        return self.wait(READY_SECONDS)

    def wait(self, timeout: float) -> int:
        """As a Child's."""
        code = self._ended(timeout)
        self._answers.close()
        self._control.close()
        return code

    def _ended(self, timeout: float) -> int:
        if self._code is None:
            if not select.select([self._control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.name, timeout)
            line = self._answers.readline()
            # None, if what would have told it was killed.
            self._code = int(line) if line else 128 + signal.SIGKILL
        return self._code


# -- the process that forks -----------------------------------------------------------------------


def tend(run: Callable[[list[str]], object], address: str) -> None:
    """Forks for whoever connects, and tells each how its process ended, for ever."""
    # What was imported is not looked through, and so not copied, in each of them.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    os.rename(f"{address}.new", address)
    ended = wake_on_child_exit()
    clients: dict[int, socket.socket] = {}
    while True:
        waiting: list[socket.socket | int] = [listener, ended, *clients.values()]
        readable, _, _ = select.select(waiting, [], [])
        if ended in readable:
            os.read(ended, 4096)
            _tell(clients)
        for pid, client in list(clients.items()):
            if client in readable and client.fileno() >= 0:
                # It says nothing more: it is gone.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                client.close()
                clients[pid] = socket.socket()
        if listener in readable:
            client, _ = listener.accept()
            pid = _fork(run, client, (listener, *clients.values()))
            clients[pid] = client
            client.sendall(f"{pid}\n".encode())


def _tell(clients: dict[int, socket.socket]) -> None:
    while clients:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        with clients.pop(pid) as client, contextlib.suppress(OSError):
            client.sendall(f"{code if code >= 0 else 128 - code}\n".encode())


def _fork(
    run: Callable[[list[str]], object], client: socket.socket, others: Sequence[socket.socket]
) -> int:
    request = b""
    while not request.endswith(b"\n") and len(request) < REQUEST_LIMIT:
        request += client.recv(65536)
    told = json.loads(request)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _become(told, (client, *others))
        run(told["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(told: Mapping[str, object], sockets: Sequence[socket.socket]) -> None:
    """A process of its own."""
    os.setsid()
    end_with_parent()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for one in sockets:
        one.close()
    log = os.open(str(told["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    env = told["env"]
    assert isinstance(env, dict)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()


if __name__ == "__main__":
    program, *_ = [importlib.import_module(name) for name in sys.argv[2:]]
    tend(program.main, sys.argv[1])
