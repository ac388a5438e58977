"""What the benchmark prints: a ratio and, beside it, the raw figures it was made from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    A ratio compares two measurements of this run and carries over to other machines; what is raw
    is of this machine at this moment.
    """

    what: str
    ratio: str
    """A quotient of two measurements of this run, or a count; "" where there is neither."""
    raw: str
    """Indicative."""


def times(measured: float, beside: float) -> str:
    """How many times as much as what it is compared with."""
    return f"{measured / beside:.2f} x" if beside else "?"


def show(console: Console, title: str, figures: list[Figure]) -> None:
    """A table of them."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("measured", ratio=6)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("raw, indicative", ratio=5)
    for figure in figures:
        table.add_row(figure.what, figure.ratio, figure.raw)
    console.print()
    console.print(table)


def listed(counted: Counter[str]) -> str:
    """Counts by what was counted."""
    return ", ".join(f"{number:,} {what}" for what, number in counted.most_common()) or "none"


def refused(counted: Counter[int]) -> str:
    """Counts by HTTP status, to follow other words."""
    return "".join(f"; {number:,} refused with {code}" for code, number in counted.items())
