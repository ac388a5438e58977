"""A whole wave, every machine assessed, installed on and assessed again, against the bound that
Azure's own token bucket sets: on the real parts at a stated pace, and in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from azsim.journal import Entry, RequestEntry
from bench_report import Figure, times
from bench_virtual import calm_fleet, run
from simulation.world import World

OPERATIONS = 3
"""Of each machine: assessed, installed, assessed again. None of them is spared."""

BURST, PER_MINUTE = 600, 200
"""Azure's bucket for guest patching, of one subscription and region, as Microsoft publishes it."""

TOO_MANY = 429
ENDINGS = ("/assesspatches", "/installpatches")


def bound(machines: int, operations: int = OPERATIONS) -> timedelta:
    """From the first POST to the last one, with a full bucket at the first: no client is faster.
    `operations`: of each machine."""
    return timedelta(minutes=max(0, machines * operations - BURST) / PER_MINUTE)


def patience(machines: int) -> timedelta:
    """Azure's time that a wave is given: far more than it needs."""
    return 2 * bound(machines) + timedelta(hours=2)


@dataclass
class Wave:
    """What azsim's journal tells of one."""

    machines: int
    first: datetime | None = None
    last: datetime | None = None
    """Of the POSTs that Azure took."""
    posts: int = 0
    refused: int = 0
    """For lack of budget, of all requests."""
    requests: int = 0

    def read(self, at: datetime, method: str, path: str, status: int) -> None:
        """Takes in one request."""
        self.requests += 1
        self.refused += status == TOO_MANY
        if method == "POST" and path.lower().endswith(ENDINGS) and status < 300:
            self.posts += 1
            self.first = self.first or at
            self.last = at

    @property
    def complete(self) -> bool:
        """As many operations as a wave has were taken."""
        return self.posts >= self.machines * OPERATIONS

    @property
    def span(self) -> timedelta:
        """From the first POST to the last."""
        return self.last - self.first if self.first and self.last else timedelta(0)

    def figures(self, where: str, costs: str) -> list[Figure]:
        """`costs` says what it took to measure."""
        least = bound(self.machines)
        done = "" if self.complete else f"NOT COMPLETE, {self.posts:,} POSTs; "
        return [
            Figure(
                f"{where}: from the first POST to the last, to the token bucket's own bound",
                times(self.span.total_seconds(), least.total_seconds()),
                f"{done}{minutes(self.span)} to {minutes(least)} of Azure's time; {costs}",
            ),
            Figure(
                f"{where}: requests refused for lack of budget (429)",
                f"{self.refused}",
                f"of {self.requests:,}; {self.posts / self.machines:.2f} operations a machine",
            ),
        ]


def minutes(span: timedelta) -> str:
    """As the tables tell it."""
    return f"{span.total_seconds() / 60:.1f} min"


def simulated(machines: int) -> list[Figure]:
    """In virtual time."""
    wave = Wave(machines)

    def watch(world: World) -> None:
        def read(entry: Entry) -> None:
            if isinstance(entry, RequestEntry):
                wave.read(entry.time, entry.method, entry.path, entry.status)
            if wave.complete:
                world.ended.set()

        world.journal.listeners.append(read)

    spent = run(calm_fleet(machines), watch, patience(machines))
    where = f"{machines:,} machines in virtual time"
    return wave.figures(where, f"{spent:.0f} s of processor, {spent / machines * 1000:.0f} ms each")
