"""Takes out of a text what must not reach a log, a status or an event."""

from __future__ import annotations

import re

LONGEST_MESSAGE = 1024
"""Characters kept of a message: it ends in a condition, whose message is at most 32 KiB together
with what else the status holds."""

HIDDEN = "[redacted]"

_RULES = (
    # A URL's query: the signature of a polling URL is in it.
    (re.compile(r"(\bhttps?://[^\s?'\"<>]+)\?[^\s'\"<>]*", re.IGNORECASE), rf"\1?{HIDDEN}"),
    # User information in a URL.
    (re.compile(r"(\bhttps?://)[^\s/@'\"<>]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    # What differs in every answer: an error that stays the same must read the same in a status.
    (
        re.compile(
            r"""[,;.]?\s*\b(?:time\s?stamp|correlation\s?id|trace\s?id|request\s?id|activity\s?id)
                ["']?\s*[=:]\s*(["']?)[\w:.+-]+(?:\s\d\d:\d\d:\d\d[\w:.+-]*)?\1""",
            re.IGNORECASE | re.VERBOSE,
        ),
        "",
    ),
    # A JSON Web Token, whoever carries it.
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"(\bBearer\s+)[^\s,'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # name=value or "name": "value" of everything that is secret by its name.
    (
        re.compile(
            r"""(\b(?:client_secret|client_assertion|access_token|refresh_token|password|sig)
                 ["']?\s*[=:]\s*["']?)[^\s&,"'}]+""",
            re.IGNORECASE | re.VERBOSE,
        ),
        rf"\1{HIDDEN}",
    ),
)


def redacted(text: str) -> str:
    """The text without tokens, secrets and the queries of URLs, at most LONGEST_MESSAGE long."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
