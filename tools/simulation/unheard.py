"""What the operator and its libraries say, and nobody hears here: logs and metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import structlog
from prometheus_client import Counter, Gauge, Histogram

SAID = ((Counter, "inc"), (Gauge, "set"), (Gauge, "inc"), (Gauge, "dec"), (Histogram, "observe"))
"""How the operator tells its metrics something."""


def quiet() -> None:
    """Logs of a hundred thousand steps cost more than the steps."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


@contextmanager
def unmeasured() -> Iterator[None]:
    """Nobody scrapes the metrics of a simulation, and keeping them costs a thirtieth of it."""
    with ExitStack() as patches:
        for kind in (Counter, Gauge, Histogram):
            patches.enter_context(patch.object(kind, "labels", _whichever))
        for kind, verb in SAID:
            patches.enter_context(patch.object(kind, verb, _nothing))
        yield


def _whichever(metric: Any, *_labels: object) -> Any:
    return metric


def _nothing(_metric: Any, *_arguments: object) -> None:
    """Nothing is kept."""
