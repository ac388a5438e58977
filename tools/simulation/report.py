"""What many seeds came to: failures with their stories, and which trouble struck where."""

from __future__ import annotations

from collections import Counter

from simulation.injections import KINDS
from simulation.run import Outcome
from simulation.steps import Step


class Report:
    """Adds up outcomes."""

    def __init__(self) -> None:
        self.seeds = 0
        self.failures: list[int] = []
        self._cells: Counter[tuple[str, str]] = Counter()
        self._operations: Counter[str] = Counter()
        self._machines = 0
        self._hours = 0.0
        self._seconds = 0.0
        self._one_time = 0
        self._months = 0
        self._windows = 0
        self._overdue = 0

    def add(self, outcome: Outcome) -> None:
        """One more seed."""
        self.seeds += 1
        self._cells.update(outcome.cells)
        self._operations.update(outcome.operations)
        self._machines += outcome.machines
        self._hours += outcome.hours
        self._seconds += outcome.seconds
        self._one_time += outcome.one_time
        self._months += outcome.months
        self._windows += outcome.windows
        self._overdue += outcome.overdue
        if outcome.violation is not None:
            self.failures.append(outcome.seed)

    def failure(self, outcome: Outcome) -> str:
        """What a person needs to understand it, and to see it again."""
        return (
            f"\nseed {outcome.seed}: {outcome.violation}\n\n{outcome.story}\n\n"
            f"again: make simulate SEEDS=1 FIRST_SEED={outcome.seed}\n"
        )

    def empty_cells(self) -> list[tuple[str, str]]:
        """Combinations of trouble and step that never happened."""
        return [(kind, step) for kind in KINDS for step in Step if not self._cells[kind, step]]

    def table(self) -> str:
        """How often each trouble struck, by the step that its machine was in."""
        width = max(map(len, KINDS))
        lines = [" " * width + "".join(f"{step:>16}" for step in Step)]
        for kind in KINDS:
            counts = "".join(f"{self._cells[kind, step] or '-':>16}" for step in Step)
            lines.append(f"{kind:<{width}}{counts}")
        return "\n".join(lines)

    def summary(self) -> str:
        """One paragraph."""
        return (
            f"{self.seeds} seeds, {self._machines} machines, {self._hours / 24:.0f} simulated days,"
            f" {self._operations['Assess']} assessments and {self._operations['Install']} installs"
            f" of the operator, {self._one_time} runs that people made, "
            f"{self._months} worlds of weeks, in whose windows machines were due "
            f"{self._windows} times, {self._overdue} times a machine was overdue, "
            f"{sum(self._cells.values())} troubles, "
            f"{self._seconds / max(self.seeds, 1):.2f} s of processor time a seed\n"
            + (
                f"{len(self.failures)} seeds failed: {', '.join(map(str, self.failures))}"
                if self.failures
                else "no seed failed"
            )
        )
