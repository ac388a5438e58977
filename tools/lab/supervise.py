"""Runs one command and ends it when the process that asked for it is gone.

Usage: ``python -I -S supervise.py [--scratch DIR] -- COMMAND [ARGUMENT...]``

File descriptor 0 is a socket whose other end only the starter holds, so the kernel closes it when
the starter ends, SIGKILL included; then the command and all of its process group are killed. The
other way round the kernel kills the command when this supervisor ends (PR_SET_PDEATHSIG: safe
here, where there is one thread only; it is bound to the thread that forks, which is why the
starter, which may have many, does not use it itself). DIR is removed at the end.

The first line written to the socket is the command's process id. The exit status is the command's,
or 128 + the signal that ended it.

It imports little, because each process of the lab has one of these beside it.
"""

import contextlib
import os
import select
import shutil
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""

CONTROL = 0
POLL_SECONDS = 2.0
"""How often the parent is looked at, for the case that a fork of the starter holds the socket."""


def main(arguments: list[str]) -> int:
    separator = arguments.index("--")
    options, command = arguments[:separator], arguments[separator + 1 :]
    scratch = options[1] if options[:1] == ["--scratch"] else None
    starter = os.getppid()
    wakeup = wake_on_child_exit()
    pid = start(command)
    try:
        os.write(CONTROL, f"{pid}\n".encode())
        return wait(pid, starter, wakeup)
    finally:
        kill_group(pid)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def wake_on_child_exit() -> int:
    """A file descriptor that becomes readable when the child or a termination signal arrives."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return readable


def start(command: list[str]) -> int:
    """Returns once the command runs in place of our fork: from then on signals reach it."""
    supervisor = os.getpid()
    started, closed_by_exec = os.pipe()
    pid = os.fork()
    if pid:
        os.close(closed_by_exec)
        os.read(started, 1)
        os.close(started)
        return pid
    try:
        # A session of its own: Ctrl-C in a terminal is for the starter, which then ends us.
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end_with_parent()
        if os.getppid() != supervisor:
            os._exit(1)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.execvp(command[0], command)
    except BaseException as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127)


def end_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 (only the child needs it)

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait(pid: int, starter: int, wakeup: int) -> int:
    """Until the command ends (its exit status) or the starter does (128 + SIGKILL)."""
    while True:
        readable, _, _ = select.select([CONTROL, wakeup], [], [], POLL_SECONDS)
        if wakeup in readable:
            os.read(wakeup, 4096)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        starter_is_gone = os.getppid() != starter
        if starter_is_gone or (CONTROL in readable and not os.read(CONTROL, 1)):
            return 128 + signal.SIGKILL


def kill_group(pid: int) -> None:
    """Kills what the command left in its process group, and reaps the command."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
