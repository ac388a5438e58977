"""What a run costs the API server: writes of each PatchTarget, and of what counts them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from bench_report import Figure


@dataclass
class RunWrites:
    """The operator's writes from when a PatchRun is created."""

    pace: float = 1.0
    """Azure's seconds in one of those that the writes are told in."""
    targets: Counter[str] = field(default_factory=Counter)
    """Of each PatchTarget, its finalizer's included."""
    summaries: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    """When each policy's and run's status was written, by kind and name."""

    def only(self, names: Collection[str]) -> None:
        """Forgets other PatchTargets' writes."""
        self.targets = Counter({name: self.targets[name] for name in names})

    def figures(self, where: str, machines: int) -> list[Figure]:
        """Two rows."""
        total = sum(self.targets.values())
        counts = sorted(Counter(self.targets.values()).items())
        apart = self.apart
        return [
            Figure(
                f"{where}: writes of a PatchTarget in a run, the most that one had; goal 16",
                f"{max(self.targets.values(), default=0)}",
                f"on average {total / machines:.1f}; "
                + ", ".join(f"{number:,} machines with {count}" for count, number in counts),
            ),
            Figure(
                f"{where}: least time between two writes of a policy's or run's status; goal 5 s",
                "",
                "?"
                if apart is None
                else f"{apart.total_seconds():.1f} s of Azure's time; "
                f"{sum(map(len, self.summaries.values()))} writes of {len(self.summaries)} objects",
            ),
        ]

    @property
    def apart(self) -> timedelta | None:
        """The least time between two writes of one object's status; None: none had two."""
        gaps = [
            (later - earlier) * self.pace
            for times in self.summaries.values()
            for earlier, later in pairwise(times)
        ]
        return min(gaps, default=None)
