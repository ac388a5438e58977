"""Runs KQL over the rows: DuckDB holds them, duckdb-kql translates.

The rows of each machine are replaced when they change, never the whole table, so a query costs its
own evaluation only. A query sees views that hold its subscriptions and what its principal may read.
Anything that the dialect refuses is a `QueryError`; nothing here knows HTTP.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import duckdb
import duckdb_kql
from duckdb_kql import ir
from duckdb_kql.lower import lower

from azsim.resourcegraph.tables import COLUMNS, TABLES, Rows

FIXED = 0
"""The owner of rows that belong to no machine."""

_PARSER = threading.Lock()
"""The parser keeps what it learns in tables that all threads share."""

_READS_CLOCK = re.compile(r"\b(now|ago)\b", re.IGNORECASE)

_CHUNK = 5000
"""Rows handed to DuckDB at a time; a list of them is one parameter."""


class QueryError(Exception):
    """A query that the dialect refuses. `line` counts from 1, `column` from 0, where known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Result:
    """What a query gave: (name, DuckDB's type) of each column, and the rows as DuckDB gave them.

    Of many rows a page is sent, so only what is asked for is turned into JSON's values.
    """

    described: list[tuple[str, str]]
    rows: list[tuple[Any, ...]]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(name, Resource Graph's type) of each column."""
        return [(name, _type(kind)) for name, kind in self.described]

    def values(self, rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
        """Rows as Resource Graph prints them."""
        readers = [_reader(kind) for _, kind in self.described]
        return [[read(value) for read, value in zip(readers, row, strict=True)] for row in rows]


@dataclass(frozen=True)
class Visible:
    """What a query may see: per row type, the scopes (ids, lower-case; "" is everything)."""

    subscriptions: tuple[str, ...]
    scopes: Mapping[str, tuple[str, ...]]


class Engine:
    """The tables of one simulated cloud. Writes come from one thread, queries from any."""

    def __init__(self) -> None:
        # Queries are strangers' text: they reach no file and no other database.
        self._con = duckdb.connect(
            ":memory:",
            config={"enable_external_access": "false", "autoinstall_known_extensions": "false"},
        )
        self._con.execute("SET TimeZone='UTC'")
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        for table in TABLES:
            self._con.execute(f"CREATE TABLE rows_{table} (owner BIGINT, {columns})")

    def replace(self, changed: Mapping[int, Rows]) -> None:
        """Put the rows of these owners in place of what they had; no rows removes them."""
        owners = list(changed)
        self._con.execute("BEGIN")
        try:
            for table in TABLES:
                self._con.execute(
                    f"DELETE FROM rows_{table} WHERE owner IN (SELECT unnest($owners))",
                    {"owners": owners},
                )
                self._insert(
                    table,
                    [
                        json.dumps({"owner": owner, **row})
                        for owner, rows in changed.items()
                        for row in rows.get(table, ())
                    ],
                )
            self._con.execute("COMMIT")
        except BaseException:
            self._con.execute("ROLLBACK")
            raise

    def _insert(self, table: str, rows: list[str]) -> None:
        for start in range(0, len(rows), _CHUNK):
            self._con.execute(
                f"INSERT INTO rows_{table} SELECT {_INSERTED} "
                "FROM (SELECT unnest($rows::VARCHAR[])::JSON AS j)",
                {"rows": rows[start : start + _CHUNK]},
            )

    def prepare(self, kql: str, visible: Visible, now: datetime) -> Callable[[], Result]:
        """What runs a query as it would run at `now`, in whatever thread calls it, once.

        It raises QueryError if the dialect refuses the query. `prepare` itself belongs to the
        thread that writes: DuckDB's connections are not shared, their cursors are made from one.
        """
        cursor = self._con.cursor()
        return lambda: _run(cursor, kql, visible, now)


def _run(cursor: duckdb.DuckDBPyConnection, kql: str, visible: Visible, now: datetime) -> Result:
    try:
        with _PARSER:
            sql, parameters = _translate(kql, now if _READS_CLOCK.search(kql) else None)
        cursor.execute("SET TimeZone='UTC'")
        for table in TABLES:
            cursor.execute(_view(table, visible))
        cursor.execute(sql, parameters or None)
        described = cursor.description or []
        return Result([(column[0], str(column[1])) for column in described], cursor.fetchall())
    except duckdb.Error as error:
        raise QueryError(str(error).splitlines()[0]) from error
    finally:
        cursor.close()


_INSERTED = "(j->>'owner')::BIGINT, " + ", ".join(
    # Kusto has no null string, and JSON's null is a value where SQL's is none.
    f"coalesce(j->>'{name}', '')" if kind == "VARCHAR" else f"nullif(j->'{name}', 'null')"
    for name, kind in COLUMNS.items()
)


@lru_cache(maxsize=256)
def _translate(kql: str, now: datetime | None) -> tuple[str, dict[str, Any]]:
    """SQL and its parameters. QueryError if the dialect refuses the query.

    Clients ask the same queries again and again, and translating costs more than small answers.
    """
    if kql.lstrip().startswith("."):
        raise QueryError("Control commands are not supported.", 1, 0)
    try:
        _check_tables(lower(kql))
        translated = duckdb_kql.to_sql(kql, schema=_schema(kql), allow_write=False, query_now=now)
    except duckdb_kql.KqlSyntaxError as error:
        span = error.diagnostics[0].span if error.diagnostics else None
        # The parser lists every token that it would have taken; nobody reads that.
        raise _error_at(str(error).split(" expecting {")[0], span) from error
    except duckdb_kql.KqlUnsupportedError as error:
        raise _error_at(str(error), error.span) from error
    except duckdb_kql.KqlError as error:
        raise QueryError(str(error)) from error
    return str(translated), dict(translated.parameters or {})


def _check_tables(query: object) -> None:
    """QueryError if a query reads anything but Resource Graph's tables and its own `let`s."""
    names = set(TABLES)
    read: list[ir.TableRef] = []
    left = [query]
    while left:
        node = left.pop()
        if isinstance(node, (list, tuple)):
            left.extend(node)
        elif dataclasses.is_dataclass(node) and not isinstance(node, type):
            if isinstance(node, ir.Query):
                names.update(name.lower() for name, _ in node.lets)
            elif isinstance(node, ir.CommandSource):
                raise QueryError("Control commands are not supported.")
            elif isinstance(node, ir.TableRef):
                read.append(node)
            left.extend(getattr(node, part.name) for part in dataclasses.fields(node))
    for table in read:
        if table.database or table.cluster or table.name.lower() not in names:
            raise QueryError(f"Table '{table.qualified}' is not one of Resource Graph's.")


def _error_at(message: str, span: duckdb_kql.SourceSpan | None) -> QueryError:
    return QueryError(message, span.line if span else None, span.column if span else None)


def _schema(kql: str) -> dict[str, list[str]]:
    """The tables, also as this query spells them: their names compare without case."""
    words = set(re.findall(r"\w+", kql))
    return {name: list(COLUMNS) for name in {*words, *TABLES} if name.lower() in TABLES}


def _view(table: str, visible: Visible) -> str:
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    subscriptions = _in('lower("subscriptionId")', visible.subscriptions)
    condition = f"{subscriptions} AND ({_readable(visible)})"
    return (
        f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT {columns} FROM rows_{table} "
        f"WHERE {condition}"
    )


def _readable(visible: Visible) -> str:
    """Which rows the scopes show. Types with the same scopes share a clause."""
    by_scopes: dict[tuple[str, ...], list[str]] = {}
    for kind, scopes in visible.scopes.items():
        if scopes:
            by_scopes.setdefault(scopes, []).append(kind)
    clauses = []
    for scopes, kinds in by_scopes.items():
        clause = _in('"type"', kinds)
        if "" not in scopes:
            clause += " AND (" + " OR ".join(map(_within, scopes)) + ")"
        clauses.append(f"({clause})")
    return " OR ".join(clauses) or "false"


def _within(scope: str) -> str:
    parts = scope.strip("/").split("/")
    if len(parts) == 2:
        return f'lower("subscriptionId") = {_quoted(parts[1])}'
    return f"starts_with(lower(\"id\") || '/', {_quoted(scope + '/')})"


def _in(expression: str, values: Iterable[str]) -> str:
    listed = ", ".join(map(_quoted, values))
    return f"{expression} IN ({listed})" if listed else "false"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- values as Resource Graph prints them ---------------------------------------------------------


def _type(kind: str) -> str:
    if kind == "BOOLEAN":
        return "boolean"
    if kind in ("BIGINT", "INTEGER", "HUGEINT", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER"):
        return "integer"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        return "number"
    if kind == "JSON" or kind.endswith("]") or kind.startswith(("STRUCT", "MAP")):
        return "object"
    return "string"


def _reader(kind: str) -> Any:
    """How a value of a DuckDB type becomes one of JSON."""
    if kind == "JSON":
        return lambda value: None if value is None else json.loads(value)
    if kind == "JSON[]":
        return lambda value: None if value is None else [json.loads(item) for item in value]
    if kind in ("VARCHAR", "BIGINT", "BOOLEAN", "INTEGER", "DOUBLE"):
        return lambda value: value
    return _printed


def _printed(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace(".000000", "").split("+")[0] + "Z"
    if isinstance(value, timedelta):
        return _timespan(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list):
        return [_printed(item) for item in value]
    if isinstance(value, dict):
        return {key: _printed(item) for key, item in value.items()}
    return value


def _timespan(value: timedelta) -> str:
    """Kusto's `[-][d.]hh:mm:ss[.fffffff]`."""
    sign, rest = ("-", -value) if value < timedelta(0) else ("", value)
    hours, seconds = divmod(rest.seconds, 3600)
    text = f"{hours:02}:{seconds // 60:02}:{seconds % 60:02}"
    if rest.days:
        text = f"{rest.days}.{text}"
    return sign + text + (f".{rest.microseconds:06}0" if rest.microseconds else "")
