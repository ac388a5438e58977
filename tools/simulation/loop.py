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
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast

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

RESOLUTION = 1e-9
"""Seconds: what is due so shortly after another is due with it."""

MANY, TOO_MANY = 100, 0.5
"""Of more than so many appointments, those that were called off are looked for when they are more
than that share (asyncio; in which order those of one time are kept depends on it)."""


class _Selector(selectors.BaseSelector):
    """Knows the files that asyncio opens for itself. Nothing ever comes from them."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class _Appointment(float):
    """A time, and what is due then. Between two of these a heap sees at once which is earlier;
    between two handles of asyncio it asks a method of Python's."""

    __slots__ = ("handle",)
    handle: Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `time` is seconds since the simulation's start.

    A turn calls what asyncio's would call, in its order, also where several appointments are of one
    time, and leaves out what only files, threads and debugging need.
    """

    def __init__(self) -> None:
        self._virtual = 0.0
        self._turns = 0
        self._appointments: list[_Appointment] = []
        """A heap."""
        self._called_off = 0
        """How many of them are."""
        self.on_error: Callable[[BaseException], None] = lambda _error: None
        super().__init__(_Selector())
        self._soon: deque[asyncio.Handle] = getattr(self, "_ready")  # noqa: B009

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual

    def _run_once(self) -> None:
        """One turn: what is due now, and nothing that is only asked for meanwhile."""
        appointments, soon = self._appointments, self._soon
        self._forget_called_off()
        self._turns += 1
        if self._turns > AT_ONCE:
            raise Livelock
        if not soon:
            self._wait()
        end = self._virtual + RESOLUTION
        while appointments and appointments[0] < end:
            handle = heappop(appointments).handle
            handle._scheduled = False
            soon.append(handle)
        for _ in range(len(soon)):
            handle = soon.popleft()
            if not handle._cancelled:
                handle._run()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What the world's own callbacks raise goes to `on_error`. Of what a process raises its
        operator must tell."""
        handle, error = context.get("handle"), context.get("exception")
        if handle is not None and error is not None and handle._context.get(PROCESS) is None:
            self.on_error(error)

    def _wait(self) -> None:
        """Until the next appointment."""
        if not self._appointments:
            raise Deadlock
        # The appointment itself, not a sum that rounding may leave short of it.
        when = float(self._appointments[0])
        if when > self._virtual:
            self._turns = 0
            self._virtual = when

    def _forget_called_off(self) -> None:
        appointments = self._appointments
        if len(appointments) > MANY and self._called_off / len(appointments) > TOO_MANY:
            for one in appointments:
                one.handle._scheduled = not one.handle._cancelled
            appointments[:] = [one for one in appointments if one.handle._scheduled]
            heapify(appointments)
            self._called_off = 0
        while appointments and appointments[0].handle._cancelled:
            self._called_off -= 1
            heappop(appointments).handle._scheduled = False

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Called by asyncio's handles."""
        if handle._scheduled:
            self._called_off += 1

    def call_soon(
        self, callback: Callback[*Ts], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, for the process of the context."""
        # An empty context is false.
        context = copy_context() if context is None else context
        process = context.get(PROCESS)
        if process is None:
            handle = asyncio.Handle(callback, args, self, context)
        else:
            handle = asyncio.Handle(process.step, (callback, args, context), self, context)
        self._soon.append(handle)
        return handle

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
        timer: Any
        if process is None:
            timer = asyncio.TimerHandle(when, callback, args, self, context)
        else:
            timer = asyncio.TimerHandle(
                when, process.step, (callback, args, context), self, context
            )
        timer._scheduled = True
        appointment = _Appointment(when)
        appointment.handle = timer
        heappush(self._appointments, appointment)
        return cast(asyncio.TimerHandle, timer)

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
