"""What a one-time run lifts of the schedule and of freezes."""

from __future__ import annotations

from dataclasses import dataclass

from azpatch.api.rollout import Wave
from azpatch.api.run import PatchRunSpec, RunStart


@dataclass(frozen=True, slots=True)
class Lifted:
    """What does not hold for a run."""

    windows: bool = False
    """The windows of the schedule."""
    own_windows: bool = False
    """Also those that a wave names."""
    freezes: bool = False
    """Those of the policy and of AzureSubscriptions."""

    def all_windows(self, wave: Wave | None) -> bool:
        """A machine of this wave waits for no window."""
        return self.own_windows or (self.windows and (wave is None or wave.windows is None))


NOTHING = Lifted()
"""Of a run that azpatch made."""


def lifted(spec: PatchRunSpec) -> Lifted:
    """By what it says. Who may say so, the API server saw to."""
    override = spec.override
    no_windows = override is not None and override.windows
    return Lifted(
        windows=no_windows or spec.start is RunStart.IMMEDIATE,
        own_windows=no_windows,
        freezes=override is not None and override.freezes,
    )
