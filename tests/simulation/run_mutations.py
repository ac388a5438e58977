"""Wrong operators, by what they do with runs and waves; see `mutations`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from azpatch.api.rollout import share_of
from azpatch.api.run import RunPhase
from azpatch.api.target import Outcome
from azpatch.domain import policy as domain_policy
from azpatch.domain import run, run_entry, run_need
from azpatch.domain.run_gate import WaveProgress
from azpatch.reconcile import decision, install_run, policy, terms
from azpatch.reconcile.terms import Terms
from simulation.fleets import START

Patches = Iterator[AbstractContextManager[Any]]


def failures_ignored() -> Patches:
    """A wave passes its gate whatever it came to, as long as there is somebody in it."""
    gate = run.gate

    def lax(wave: Any, rollout: Any, failures: Any) -> Any:
        return None if wave.members else gate(wave, rollout, failures)

    yield patch.object(run, "gate", lax)


def empty_wave_passes() -> Patches:
    """A wave of nobody vouches for those after it."""
    through = run._through

    def past(waves: Any, *rest: Any) -> Any:
        return through([wave for wave in waves if wave.members], *rest)

    yield patch.object(run, "_through", past)


def soak_from_the_start() -> Patches:
    """Soak is counted from when the wave began."""
    truly = WaveProgress.last_success

    def begun(self: Any) -> Any:
        return self.start or truly.fget(self)

    yield patch.object(WaveProgress, "last_success", property(begun))


def share_rounded_up() -> Patches:
    """A percentage of the run's machines is rounded up."""

    def generous(total: int, share: Any) -> int:
        if isinstance(share, int):
            return share
        return max(1, -(-total * int(share.removesuffix("%")) // 100))

    yield patch.object(run, "share_of", generous)


def unknown_forgotten() -> Patches:
    """A machine whose install has no known result takes up no slot."""
    unavailable = policy.unavailable

    def forgetful(status: Any) -> bool:
        installation = status.installation
        unknown = installation is not None and installation.outcome is Outcome.UNKNOWN
        return not (unknown and status.operation is None) and unavailable(status)

    yield patch.object(policy, "unavailable", forgetful)


def latest_terms() -> Patches:
    """A run goes by the policy as it is now."""

    def latest(self: Terms, stored: Any, opened: Any) -> Any:
        return stored.parsed

    yield patch.object(Terms, "declared", latest)


def not_recorded() -> Patches:
    """A machine that says it is in the run is installed on at once."""
    opened = run_entry.open_run

    def hasty(of: Any, **more: Any) -> Any:
        found = opened(of, **more)
        if found is None or found.recorded:
            return found
        begun = {wave.name: START for wave in run.waves_of(found.effective.rollout)}
        return replace(found, recorded=START, begun=begun)

    for module in (terms, install_run):
        yield patch.object(module, "open_run", hasty)


def cancelled_goes_on() -> Patches:
    """Nobody asks whether a run is cancelled."""
    opened, abort = run_entry.open_run, run._abort

    def blind(of: Any, **more: Any) -> Any:
        return opened(of.replace(spec=of.spec.replace(cancelled=False)), **more)

    def deaf(of: Any, *rest: Any) -> Any:
        return abort(of.replace(spec=of.spec.replace(cancelled=False)), *rest)

    for module in (terms, install_run):
        yield patch.object(module, "open_run", blind)
    yield patch.object(run, "_abort", deaf)


def paused_goes_on() -> Patches:
    """A run says that it is paused, and goes on."""
    opened = run_entry.open_run

    def blind(of: Any, **more: Any) -> Any:
        going = of.status.phase is RunPhase.PAUSED
        status = of.status.replace(phase=RunPhase.RUNNING) if going else of.status
        return opened(of.replace(status=status), **more)

    def unpaused(of: Any, effective: Any, targets: Any) -> int:
        members = run.members_of(of, targets)
        return share_of(len(members), effective.rollout.max_unavailable)

    for module in (terms, install_run):
        yield patch.object(module, "open_run", blind)
    yield patch.object(policy, "run_slots", unpaused)


def failures_not_counted() -> Patches:
    """A run is never paused, however many fail."""
    yield patch.object(run, "pause_of", lambda rollout, machines, failures: None)


def failures_forgotten() -> Patches:
    """What failed counts as long as its machine is there, and failed."""
    truly = run.failures_of

    def now(of: Any, members: Any) -> Any:
        return truly(of.replace(status=of.status.replace(failures=())), members)

    yield patch.object(run, "failures_of", now)


def approval_forgotten() -> Patches:
    """Nobody asks whether a run is approved."""
    for module in (run_entry, install_run):
        yield patch.object(module, "needs_approval", lambda of, approval: False)


def approval_by_the_runs_terms() -> Patches:
    """Whether an approval is needed is read from the run: what its policy asks for since does not
    count."""
    needs = run_entry.needs_approval

    def frozen(of: Any, approval: Any) -> bool:
        return needs(of, False)

    for module in (run_entry, install_run):
        yield patch.object(module, "needs_approval", frozen)


def gone_runs_forgotten() -> Patches:
    """There was a run for a window as long as it is there."""
    for module in (run_need, domain_policy):
        yield patch.object(module, "last_scheduled", lambda policy, scheduled: None)


def latest_patch_set() -> Patches:
    """What the policy selects now in the place of what the run has pinned."""
    yield patch.object(decision, "pins_of", lambda part, machine: None)


RUNS: dict[str, tuple[Callable[[], Patches], int, int, str]] = {
    "runs: failures ignored": (failures_ignored, 24, 1, "4 waves"),
    "runs: an empty wave passes": (empty_wave_passes, 215, 2, "4 waves"),
    "runs: soak from the wave's start": (soak_from_the_start, 92, 2, "4 waves"),
    "runs: a share rounded up": (share_rounded_up, 145, 2, "3 maxUnavailable"),
    "runs: unknown machines forgotten": (unknown_forgotten, 38, 2, "3 maxUnavailable"),
    "runs: the latest terms": (latest_terms, 185, 2, "run"),
    "runs: not recorded": (not_recorded, 23, 2, "2, 7 declared"),
    "runs: cancelled, and goes on": (cancelled_goes_on, 78, 2, "2, 7 declared"),
    "runs: paused, and goes on": (paused_goes_on, 92, 2, "3 maxFailed"),
    "runs: failures not counted": (failures_not_counted, 145, 2, "3 maxFailed"),
    "runs: failures forgotten with their machines": (failures_forgotten, 4, 1, "run"),
    "runs: approval forgotten": (approval_forgotten, 16, 2, "2, 7 declared"),
    "runs: approval by the run's terms": (approval_by_the_runs_terms, 279, 1, "2, 7 declared"),
    "runs: those that are gone forgotten": (gone_runs_forgotten, 50956, 1, "run"),
    "runs: the latest patch set": (latest_patch_set, 124, 2, "4 waves"),
}
"""How to make each, the first seed of those that catch it, their number, and the invariant."""
