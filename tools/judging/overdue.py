"""Invariant 6, the second half: which machines a policy must report as overdue.

A policy, the run that it is at and PatchTargets are taken as the API server gives them; windows are
counted by the calendar that goes by days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from judging import runs
from judging.calendar_by_day import duration, opened

Raw = Mapping[str, Any]

MISSED = 2
"""Whole windows."""

TO_BEGIN = timedelta(minutes=5)
"""A window that is not longer than maximumDuration by so much is of no use, and not counted."""

ALWAYS = timedelta(hours=48)
"""In place of windows, where there are none."""


def overdue(policy: Raw, run: Raw | None, targets: Iterable[Raw], now: datetime) -> Collection[str]:
    """Keys of the machines. `targets`: of the policy; `run`: the one that it is at."""
    if "install" not in policy["spec"]:
        return set()
    return {
        target["spec"]["machineId"].lower()
        for target in targets
        if _is_overdue(policy, run, target.get("status") or {}, now)
    }


def _is_overdue(policy: Raw, run: Raw | None, status: Raw, now: datetime) -> bool:
    said = (status.get("attempts") or {}).get("dueSince")
    if said is None or status.get("governs") is False:
        return False
    due, schedule = datetime.fromisoformat(said), policy["spec"]["schedule"]
    if "windows" not in schedule:
        return now - due >= ALWAYS
    needed = duration(policy["spec"]["install"]["maximumDuration"]) + TO_BEGIN
    own = _own_windows(policy, run, (status.get("run") or {}).get("wave"))
    long = [window for window in schedule["windows"] if duration(window["duration"]) >= needed]
    mine = [window for window in long if own is None or window["name"] in own]
    missed = opened({**schedule, "windows": mine}, due, now)
    return sum(opens >= due and closes <= now for opens, closes, _ in missed) >= MISSED


def _own_windows(policy: Raw, run: Raw | None, name: str | None) -> Collection[str] | None:
    """Of the wave of that name: as the run has it, or else the policy. None: it has none that the
    schedule has too, or there is no such wave."""
    there = [*(runs.waves_of(run) if run else ()), *_waves(policy)]
    wave = next((one for one in there if one["name"] == name), {})
    known = {window["name"] for window in policy["spec"]["schedule"]["windows"]}
    return set(wave.get("windows", ())) & known or None


def _waves(policy: Raw) -> Collection[Raw]:
    waves: Collection[Raw] = policy["spec"].get("rollout", {}).get("waves", ())
    return waves
