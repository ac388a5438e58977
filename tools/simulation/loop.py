"""An event loop in virtual time, on which processes can be killed and stopped at any await.

Time jumps to the next appointment, so that a simulated day costs what happens in it. Every callback
belongs to the process in whose context it was scheduled; those of a killed process are never
called again, which is what SIGKILL does: no `finally`, no `except`. Those of a stopped process wait
until it goes on, as after SIGSTOP.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple, Unpack

ResultT = TypeVar("ResultT")
Ts = TypeVarTuple("Ts")
Callback = Callable[[Unpack[Ts]], object]


class Process:
    """What is killed or stopped as one. Tasks of users and of the network belong to none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.steps = 0
        """Callbacks called so far: each is what lies between two awaits."""
        self.dies_at: int | None = None
        """The step before which it is killed."""
        self.on_death: Callable[[], None] = lambda: None
        self._held: deque[tuple[Callable[..., Any], tuple[Any, ...], Context]] = deque()

    def kill(self) -> None:
        """As by SIGKILL."""
        if self.alive:
            self.alive = False
            self._held.clear()
            self.on_death()

    def stop(self) -> None:
        """As by SIGSTOP."""
        self.stopped = True

    def go_on(self) -> None:
        """As by SIGCONT: what was due meanwhile is done now, in its order."""
        self.stopped = False
        loop = asyncio.get_running_loop()
        while self._held:
            callback, arguments, context = self._held.popleft()
            loop.call_soon(callback, *arguments, context=context)

    def step(
        self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Context
    ) -> None:
        """Calls one of its callbacks, if it may."""
        if not self.alive:
            return
        if self.stopped:
            self._held.append((callback, arguments, context))
            return
        self.steps += 1
        if self.dies_at is not None and self.steps >= self.dies_at:
            self.kill()
            return
        callback(*arguments)


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)


class Deadlock(Exception):
    """Nothing will ever happen again."""


class Livelock(Exception):
    """Callback follows callback, and time stands still."""


AT_ONCE = 20_000
"""Turns of the loop at one moment: far more than any moment of a simulation needs."""


class _Selector(selectors.BaseSelector):
    """Waits by moving the time."""

    def __init__(self) -> None:
        self.wait: Callable[[float | None], None] = lambda _timeout: None
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.wait(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `time` is seconds since the simulation's start."""

    def __init__(self) -> None:
        self._virtual = 0.0
        self._turns = 0
        waiter = _Selector()
        super().__init__(waiter)
        waiter.wait = self._wait

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual

    def _wait(self, timeout: float | None) -> None:
        if timeout is None:
            raise Deadlock
        self._turns += 1
        if self._turns > AT_ONCE:
            raise Livelock
        if timeout > 0:
            self._turns = 0
            scheduled: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009
            # The appointment itself, not a sum that rounding may leave short of it.
            self._virtual = max(self._virtual, scheduled[0].when())

    def call_soon(
        self, callback: Callback[*Ts], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, for the process of the context."""
        # An empty context is false.
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.step, callback, args, context, context=context)

    def call_at(
        self,
        when: float,
        callback: Callback[*Ts],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, for the process of the context."""
        # An empty context is false.
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.step, callback, args, context, context=context)

    def add_signal_handler(self, sig: int, callback: Callback[*Ts], *args: *Ts) -> None:
        """Simulated processes get no signals."""

    def remove_signal_handler(self, sig: int) -> bool:
        """See add_signal_handler."""
        return True


def run(main: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
    """Runs a simulation on a loop of its own. What is still waiting at its end is dropped without
    a word, as it is when a computer is switched off."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main())
    finally:
        _bury(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _bury(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio offers no other way
        coroutine = task.get_coro()
        if coroutine is not None:
            # Its `finally` may want to await something; nobody will answer. A group of tasks wraps
            # the end that it is brought.
            with contextlib.suppress(RuntimeError, BaseExceptionGroup):
                coroutine.close()
