"""Structured logs: one JSON object a line on stderr, ours and the libraries'.

A line says `event`, `level`, `timestamp` (real time) and what else was given: a decision is
`log.info("decision", policy=…, machine=…, reason=…)`. Nothing secret is ever given to a log; the
redaction here is the last line of defence, knowingly independent of the adapters' own.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[redacted]"

_SIGNED_QUERY = re.compile(
    r"([?&])[^\s\"'<>]*?\b(?:sig|s|h|t|c|p)=[A-Za-z0-9%+/_.~-]{16,}[^\s\"'<>]*"
)
"""A query with a signature: `sig=…` of storage, `t=…&c=…&s=…&h=…` of ARM's operation URLs. All of
the query goes."""

_TOKENS = re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*")
"""JSON Web Tokens, wherever they stand."""

_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")

_NAMED = re.compile(
    r"""(?ix) \b(client[_-]?secret|client_assertion|access_token|refresh_token|id_token|password
        |AZURE_CLIENT_SECRET|sig) (["']?\s*[:=]\s*["']?) [^\s&"',}]+"""
)
"""`name=value` and `"name": "value"` of what is secret by its name."""

_SECRET_NAMES = re.compile(r"(?i)secret$|token$|password$|^authorization$|assertion$|^poll_url$")
"""Keys of a line whose value is never shown."""

_LIBRARIES = {
    # One line for each event it handles, otherwise.
    "kopf": logging.WARNING,
    # Every request with its URL at INFO.
    "azure": logging.WARNING,
    # Each failed attempt, with the whole answer; the operator's own line says it once, redacted.
    "azure.identity": logging.ERROR,
    "aiohttp": logging.WARNING,
    "kubernetes": logging.WARNING,
    "asyncio": logging.WARNING,
    "msal": logging.WARNING,
}


def redact(text: str) -> str:
    """The text without signed queries, tokens and secrets."""
    text = _SIGNED_QUERY.sub(rf"\1{HIDDEN}", text)
    text = _TOKENS.sub(HIDDEN, text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _NAMED.sub(rf"\1\2{HIDDEN}", text)


def redaction(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The structlog processor: every text of the line, however deep."""
    return {
        key: HIDDEN if _SECRET_NAMES.search(key) and value is not None else _redacted(value)
        for key, value in line.items()
    }


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return redaction(None, "", value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value))


def configure(level: str, stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging, once, for the whole process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redaction,
                _in_reading_order,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_number(level))
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(least, _number(level)))


def _in_reading_order(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """When, how bad and what first; the rest as given."""
    first = {key: line.pop(key) for key in ("timestamp", "level", "event") if key in line}
    return {**first, **line}


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
