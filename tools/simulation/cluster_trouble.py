"""What goes wrong on the way to the API server, and to the operator's processes."""

from __future__ import annotations

from datetime import timedelta

from azpatch.kube.port import Conflict, Unavailable
from simulation.maker import MINUTE, Maker
from simulation.trouble import KubeTrouble


class ClusterTrouble(Maker):
    """Requests that fail, watches that break, processes that die or are stopped."""

    def kube_refuses(self, machine: str) -> None:
        """The API server cannot answer, or somebody writes first."""
        error = self.random.choice((Unavailable("etcd is away"), Conflict("it was modified")))
        trouble = KubeTrouble(refused=error, count=self.random.randint(1, 6))
        self.world.kube_trouble.append(trouble)

    def kube_answer_lost(self, machine: str) -> None:
        """A write is carried out, and its answer lost."""
        count = self.random.randint(1, 3)
        self.world.kube_trouble.append(KubeTrouble(answer_lost=True, count=count))

    def kube_away(self, machine: str) -> None:
        """The API server is away for a while."""
        trouble = KubeTrouble(refused=Unavailable("connection refused"), count=10**9)
        self.world.kube_trouble.append(trouble)

        def back() -> None:
            trouble.count = 0

        self.later(timedelta(seconds=5), 10 * MINUTE, back)

    def kube_slow(self, machine: str) -> None:
        """Requests to the API server take seconds."""
        self.world.kube_trouble.append(KubeTrouble(delay=self.random.uniform(1, 40), count=4))

    def watch_cut(self, machine: str) -> None:
        """The watches break, and are back later."""
        seconds = self.random.choice((1, 30, 300, 1200))
        for process in self.world.living():
            process.watch.cut(timedelta(seconds=seconds))

    # --- the operator -----------------------------------------------------------------------------

    def crash(self, machine: str) -> None:
        """The leader dies some steps from now; another is started."""
        for process in self.world.living():
            process.process.dies_at = process.process.steps + self.random.randint(1, 60)
        self.world.restart_later(self.random.choice((0.5, 20, 300)))

    def two_leaders(self, machine: str) -> None:
        """The leader is stopped; while it is, another takes over; then it goes on."""
        stopped = self.world.living()
        for process in stopped:
            process.process.stop()
        self.world.start_operator()

        def go_on() -> None:
            for process in stopped:
                if process.process.alive:
                    process.process.go_on()

        self.later(timedelta(seconds=2), timedelta(seconds=240), go_on)

    def clock_jump(self, machine: str) -> None:
        """The operator's wall clock jumps, and is put right later."""
        jump = timedelta(seconds=self.random.choice((-3600, -600, -45, 45, 600, 3600)))
        for process in self.world.living():
            process.clock.wrong_by += jump
            self.world.clock_errors.add(process.clock.wrong_by)

        def right() -> None:
            for process in self.world.living():
                process.clock.wrong_by = timedelta(0)

        self.later(MINUTE, 120 * MINUTE, right)
