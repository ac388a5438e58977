"""Pages of a Resource Graph answer.

A token names where the next page begins and which query it belongs to. The query is run anew for
each page; only a query that is ordered gives the same sequence each time, so an unordered one is
served from another starting point on every page, as a client of Resource Graph has to expect.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

PAGE = 1000
"""Rows of a page at most, and unless `$top` asks for fewer (Resource Graph)."""

_ORDERED = re.compile(r"\|\s*(order|sort|top)\b", re.IGNORECASE)


class PageError(ValueError):
    """`$top`, `$skip` or `$skipToken` cannot be used; the message says why."""


@dataclass(frozen=True)
class Page:
    """Where a page begins, how long it may be, and the query it is of."""

    start: int
    size: int
    query_hash: str

    @classmethod
    def asked(cls, query: str, options: dict[str, Any]) -> Page:
        """The page that a request's `options` ask for. PageError if they make no sense."""
        digest = hashlib.sha256(query.encode()).hexdigest()[:16]
        size = _number(options, "$top", PAGE, 1)
        if size > PAGE:
            raise PageError(f"$top must be at most {PAGE}, not {size}.")
        token = options.get("$skipToken")
        if not token:
            return cls(_number(options, "$skip", 0, 0), size, digest)
        try:
            content = json.loads(base64.urlsafe_b64decode(token))
            start, of = int(content["start"]), content["query"]
        except (ValueError, KeyError, TypeError) as error:
            raise PageError("The $skipToken is not one that was given out.") from error
        if of != digest:
            raise PageError("The $skipToken belongs to another query.")
        return cls(start, size, digest)

    def cut(self, query: str, rows: list[Any]) -> list[Any]:
        """This page's rows of the whole result."""
        if len(rows) > self.size and not _ORDERED.search(query):
            turn = (self.start * 7919 // self.size) % len(rows)
            rows = rows[turn:] + rows[:turn]
        return rows[self.start : self.start + self.size]

    def next_token(self, total: int) -> str | None:
        """The token of the next page, None on the last."""
        end = self.start + self.size
        if end >= total:
            return None
        content = json.dumps({"start": end, "query": self.query_hash})
        return base64.urlsafe_b64encode(content.encode()).decode()


def _number(options: dict[str, Any], name: str, default: int, least: int) -> int:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PageError(f"{name} must be a whole number of at least {least}.")
    return value
