"""Wrong operators, by what they do with runs that people make; see `mutations`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from azpatch.domain import lifting, one_time, run, run_entry
from azpatch.reconcile import install_run
from azpatch.reconcile import run as runs
from azpatch.reconcile.install_run import InstallRuns
from azpatch.reconcile.run import RunReconciler
from azpatch.reconcile.terms import Terms

Patches = Iterator[AbstractContextManager[Any]]


def not_after_ignored() -> Patches:
    """A run begins however late it is."""
    admission = one_time.admission

    def patient(of: Any, asked: Any, now: Any) -> Any:
        late = of.spec.not_after is not None and now >= of.spec.not_after
        in_time = of.spec.replace(not_after=now + timedelta(hours=1)) if late else of.spec
        return admission(of.replace(spec=in_time), asked, now)

    yield patch.object(runs, "admission", patient)
    yield patch.object(run, "_too_late", lambda of, now: None)


def immediate_in_a_freeze() -> Patches:
    """Who waits for no window waits for no freeze either."""
    truly = lifting.lifted

    def all_at_once(spec: Any) -> Any:
        found = truly(spec)
        return replace(found, freezes=found.freezes or found.windows)

    for module in (runs, run_entry):
        yield patch.object(module, "lifted", all_at_once)


def a_persons_run_unapproved() -> Patches:
    """What a person made needs nobody's approval."""
    needs = run_entry.needs_approval

    def trusting(of: Any, approval: Any) -> bool:
        return not of.one_time and needs(of, approval)

    for module in (run_entry, install_run):
        yield patch.object(module, "needs_approval", trusting)


ALONE: ContextVar[Any] = ContextVar("alone", default=None)
"""The run that is reconciled."""


def two_let_in() -> Patches:
    """A run begins beside another of its policy."""
    asked, reconcile, of = RunReconciler._asked, InstallRuns.reconcile, Terms.run

    def unaware(self: Any, *of_what: Any) -> Any:
        found = asked(self, *of_what)
        return None if found is None else replace(found, other=None)

    async def alone(self: Any, stored: Any, known: Any) -> Any:
        token = ALONE.set(known)
        try:
            return await reconcile(self, stored, known)
        finally:
            ALONE.reset(token)

    yield patch.object(RunReconciler, "_asked", unaware)
    yield patch.object(InstallRuns, "reconcile", alone)
    yield patch.object(Terms, "run", lambda self, policy: ALONE.get() or of(self, policy))


ONE_TIME: dict[str, tuple[Callable[[], Patches], int, int, str]] = {
    "one-time: notAfter ignored": (not_after_ignored, 46, 1, "2 notAfter"),
    "one-time: Immediate in a freeze": (immediate_in_a_freeze, 34, 1, "2, 7 declared"),
    "one-time: unapproved": (a_persons_run_unapproved, 445, 1, "2, 7 declared"),
    "one-time: two let in": (two_let_in, 22, 1, "run"),
}
"""How to make each, the first seed of those that catch it, their number, and the invariant."""
