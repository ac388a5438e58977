"""Trouble on the way to the API server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from azpatch.kube.port import KubeError
from simulation.kube import KubeFate

READS = frozenset({"get", "list"})


@dataclass
class KubeTrouble:
    """What happens to the next `count` requests that it is about."""

    count: int
    refused: KubeError | None = None
    answer_lost: bool = False
    delay: float = 0.0
    """Seconds, half of them on the way back."""

    def about(self, verb: str) -> bool:
        """Conflicts and lost answers matter to writes."""
        return self.count > 0 and not (self.answer_lost and verb in READS)


FAIR = KubeFate()


def fate(troubles: Iterable[KubeTrouble], verb: str) -> KubeFate:
    """What becomes of one request."""
    for trouble in troubles:
        if trouble.about(verb):
            trouble.count -= 1
            half = trouble.delay / 2
            return KubeFate(
                0.002 + half,
                0.002 + half,
                refused=trouble.refused,
                answer_lost=trouble.answer_lost,
            )
    return FAIR
