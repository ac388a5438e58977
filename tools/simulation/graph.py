"""Answers azpatch's own queries of Resource Graph straight from azsim's rows.

DuckDB answers any KQL, and takes milliseconds for each; a simulated day has thousands of queries,
of a few shapes. This engine reads those shapes, line by line, and refuses every other. Quotas,
pages and what a principal may see stay azsim's own. `tests/simulation/test_graph.py` proves that
both engines give the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from azsim.resourcegraph import ResourceGraph
from azsim.resourcegraph.engine import QueryError, Result, Visible
from azsim.resourcegraph.tables import TABLES, Row, Rows

Table = Iterable[Row]
Step = Callable[[Table], Table]
Value = Callable[[Row], Any]


class DirectGraph(ResourceGraph):
    """azsim's Resource Graph on the engine of this module."""

    def __init__(self) -> None:
        super().__init__()
        self._direct = DirectEngine()

    @property
    def engine(self) -> Any:
        """In place of DuckDB."""
        return self._direct


class DirectEngine:
    """Takes the place of `azsim.resourcegraph.engine.Engine`."""

    def __init__(self) -> None:
        self._rows: dict[int, Rows] = {}

    def replace(self, changed: Mapping[int, Rows]) -> None:
        """Put the rows of these owners in place of what they had; no rows removes them."""
        for owner, rows in changed.items():
            if rows:
                self._rows[owner] = rows
            else:
                self._rows.pop(owner, None)

    def prepare(self, kql: str, visible: Visible, now: datetime) -> Callable[[], Result]:
        """What runs a query, as of now. It raises QueryError for one that is not of azpatch's
        shapes."""
        table, *lines = kql.strip().split("\n")
        seen = [
            row
            for rows in self._rows.values()
            for row in rows.get(table, ())
            if _visible(row, visible)
        ]

        def run() -> Result:
            if table not in TABLES:
                raise QueryError(f"Table '{table}' is not one that azpatch reads.")
            found: Table = seen
            for line in lines:
                found = _step(line.removeprefix("| ").strip())(found)
            found = list(found)
            names = list(found[0]) if found else []
            # The kind says how DuckDB's values become JSON's: these are JSON's already.
            return Result([(name, "VARCHAR") for name in names], [tuple(r.values()) for r in found])

        return run


def _visible(row: Row, visible: Visible) -> bool:
    if row["subscriptionId"].lower() not in visible.subscriptions:
        return False
    for scope in visible.scopes.get(row["type"], ()):
        parts = scope.strip("/").split("/")
        if scope == "" or (len(parts) == 2 and row["subscriptionId"].lower() == parts[1]):
            return True
        if f"{row['id'].lower()}/".startswith(f"{scope}/"):
            return True
    return False


# --- the lines of a query -------------------------------------------------------------------------

_TYPE = re.compile(r"where type =~ '(?P<type>[^']+)'")
_TYPES = re.compile(r"where type in~ \((?P<listed>[^)]*)\)")
_IN = re.compile(r"where (?P<value>tolower\(id\)|\w+) in \((?P<listed>.*)\)", re.DOTALL)
_NOT_EMPTY = re.compile(r"where isnotempty\((?P<column>\w+)\)")
_EXTEND = re.compile(r"extend (?P<name>\w+) = (?P<value>.+)")
_NEWEST = re.compile(r"summarize arg_max\((?P<by>\w+), \*\) by (?P<group>\w+)")
_PROJECT = re.compile(r"project (?P<columns>.+)")
_LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'")


def _step(line: str) -> Step:
    """What one line of a query does. Raises QueryError."""
    if found := _IN.fullmatch(line):
        value = _value(found["value"])
        listed = {text.replace("\\'", "'").replace("\\\\", "\\") for text in _literals(found)}
        return lambda rows: (row for row in rows if value(row) in listed)
    return _fixed_step(line)


def _literals(found: re.Match[str]) -> list[str]:
    return _LITERAL.findall(found["listed"])


@lru_cache
def _fixed_step(line: str) -> Step:
    if found := _TYPE.fullmatch(line):
        kind = found["type"]
        return lambda rows: (row for row in rows if row["type"] == kind)
    if found := _TYPES.fullmatch(line):
        kinds = set(_literals(found))
        return lambda rows: (row for row in rows if row["type"] in kinds)
    if found := _NOT_EMPTY.fullmatch(line):
        column = found["column"]
        return lambda rows: (row for row in rows if row.get(column))
    if found := _EXTEND.fullmatch(line):
        name, value = found["name"], _value(found["value"])
        return lambda rows: ({**row, name: value(row)} for row in rows)
    if found := _NEWEST.fullmatch(line):
        return _newest(found["by"], found["group"])
    if line == "order by id asc":
        return lambda rows: sorted(rows, key=lambda row: str(row["id"]))
    if found := _PROJECT.fullmatch(line):
        return _project(found["columns"])
    raise QueryError(f"azpatch has no such line: {line}")


def _newest(by: str, group: str) -> Step:
    def newest(rows: Table) -> Table:
        best: dict[Any, Row] = {}
        for row in rows:
            known = best.get(row[group])
            if known is None or row[by] > known[by]:
                best[row[group]] = row
        return best.values()

    return newest


def _project(columns: str) -> Step:
    parts = [part.partition(" = ") for part in columns.split(", ")]
    values = {name: _value(source or name) for name, _, source in parts}
    return lambda rows: ({name: value(row) for name, value in values.items()} for row in rows)


# --- the values of a row --------------------------------------------------------------------------

_SPLIT = re.compile(r"tostring\(split\(tolower\(id\), '(?P<at>[^']+)'\)\[0\]\)")
_STRING = re.compile(r"tostring\((?P<path>[\w.]+)\)")
_TIME = re.compile(r"todatetime\((?P<path>[\w.]+)\)")
_PATH = re.compile(r"[\w.]+")


def _value(text: str) -> Value:
    if text == "tolower(id)":
        return lambda row: str(row["id"]).lower()
    if found := _SPLIT.fullmatch(text):
        at = found["at"]
        return lambda row: str(row["id"]).lower().split(at)[0]
    if found := _STRING.fullmatch(text):
        path = _path(found["path"])
        return lambda row: _text(path(row))
    if found := _TIME.fullmatch(text):
        path = _path(found["path"])
        return lambda row: datetime.fromisoformat(path(row))
    if _PATH.fullmatch(text):
        return _path(text)
    raise QueryError(f"azpatch has no such value: {text}")


def _path(text: str) -> Value:
    first, *rest = text.split(".")
    strings = {"id", "name", "type", "location", "managedBy"}

    def value(row: Row) -> Any:
        found = row.get(first, "" if first in strings else None)
        for step in rest:
            found = found.get(step) if isinstance(found, dict) else None
        return found

    return value


def _text(value: Any) -> str:
    """KQL's `tostring`: no null strings, truth in lower case."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
