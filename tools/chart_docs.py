"""The table of values in the chart's README, from the comments in values.yaml.

``python tools/chart_docs.py`` writes charts/azpatch/README.md anew.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[1] / "charts" / "azpatch"

BEGIN = "<!-- values: made from values.yaml by tools/chart_docs.py -->"
END = "<!-- end of values -->"

MARK = "# -- "
"""Begins the documentation of the value on the next line, as helm-docs has it."""


@dataclass(frozen=True)
class Value:
    """One documented value: its dotted name, its default as YAML reads it, what it is."""

    name: str
    default: Any
    text: str


def values(path: Path) -> Sequence[Value]:
    """The documented values in the order of the file."""
    defaults = yaml.safe_load(path.read_text())
    found = []
    parents: list[tuple[int, str]] = []
    text = ""
    for line in path.read_text().splitlines():
        if line.strip().startswith(MARK):
            text = line.strip().removeprefix(MARK)
        elif key := re.match(r"^( *)([A-Za-z]+):", line):
            indent = len(key[1])
            parents = [parent for parent in parents if parent[0] < indent] + [(indent, key[2])]
            if text:
                names = [name for _, name in parents]
                found.append(Value(".".join(names), _at(defaults, names), text))
                text = ""
    return found


def readme(chart: Path) -> str:
    """The README as it should be: its own text with the table of today."""
    text = (chart / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [
        f"| `{value.name}` | `{json.dumps(value.default)}` | {value.text} |"
        for value in values(chart / "values.yaml")
    ]
    table = "\n".join(["| value | default | what it is |", "|---|---|---|", *rows])
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    (CHART / "README.md").write_text(readme(CHART))


def _at(values: Any, names: Sequence[str]) -> Any:
    for name in names:
        values = values[name]
    return values


if __name__ == "__main__":
    main()
