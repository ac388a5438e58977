"""Wrong verdicts, each by one thing that a careless change could bring, and where each shows.

They are made from outside, by patching the product's parts, as in `mutations`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from azpatch.api.common import ImageClass, Support
from azpatch.domain import detection, image, marketplace, observe, verdict, verdict_table
from azpatch.domain.detection import Sign
from azpatch.domain.facts import ImageDefinition
from azpatch.domain.feature import Gate
from azpatch.domain.matrix import Matrix
from azpatch.domain.verdict_table import Answer
from azpatch.reconcile import decision

Patches = Iterator[AbstractContextManager[Any]]


def verdict_ignored() -> Patches:
    """Every cell of the decision table says: send."""
    always = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: Answer.SEND)))
    yield patch.object(verdict, "TABLE", always)


def gate_ignored() -> Patches:
    """The preview feature counts as registered."""
    gate_of = decision.gate_of

    def passed(subscription: Any, inventory: Any) -> Any:
        found = gate_of(subscription, inventory)
        return found and replace(found, gate=Gate.PASSED)

    yield patch.object(decision, "gate_of", passed)


def gate_closed_by_doubt() -> Patches:
    """A feature that is not found counts as not registered."""
    gate_of = decision.gate_of

    def closed(subscription: Any, inventory: Any) -> Any:
        found = gate_of(subscription, inventory)
        doubt = found is not None and found.gate is Gate.UNDETERMINED
        return replace(found, gate=Gate.CLOSED) if doubt else found

    yield patch.object(decision, "gate_of", closed)


def workload_ignored() -> Patches:
    """Members of scale sets, nodes and Windows client are machines like others."""
    yield patch.object(observe, "excluded", lambda machine: None)


def exceptions_ignored() -> Patches:
    """An image that a marketplace rule excepts is one of which no rule speaks."""
    judge = marketplace.judge

    def lenient(*arguments: Any) -> Any:
        found = judge(*arguments)
        denied = found.support is Support.UNSUPPORTED
        return replace(found, support=Support.UNKNOWN) if denied else found

    yield patch.object(marketplace, "judge", lenient)


def list_ignored() -> Patches:
    """Custom images may be made from any operating system."""
    yield patch.object(Matrix, "lists", lambda self, name, version: None)


def doubt_ignored() -> Patches:
    """What Azure could not determine counts as an assessment that succeeded."""
    sign = detection._sign

    def sure(row: Any) -> Sign:
        found = sign(row)
        return Sign.SUCCEEDED if found is Sign.UNDETERMINED else found

    yield patch.object(detection, "_sign", sure)


def detection_ignored() -> Patches:
    """That Azure found a machine supported does not count."""
    sign = detection._sign

    def unimpressed(row: Any) -> Sign:
        found = sign(row)
        return Sign.NONE if found is Sign.SUPPORTED else found

    yield patch.object(detection, "_sign", unimpressed)


def probing_unasked() -> Patches:
    """Whatever the matrix refuses is assessed, to let Azure judge it."""
    table = {
        row: {
            operation: {
                sign: Answer.PROBE if answer is Answer.IF_ASKED else answer
                for sign, answer in cell.items()
            }
            for operation, cell in cells.items()
        }
        for row, cells in verdict_table.TABLE.items()
    }
    yield patch.object(verdict, "TABLE", table)


def unreadable_is_unknown() -> Patches:
    """A definition that cannot be read leaves the class open."""
    judged = image._of_gallery

    def open_(image_id: Any, gallery: Any, definition: Any, computer_name: Any) -> Any:
        found = judged(image_id, gallery, definition, computer_name)
        if isinstance(definition, ImageDefinition):
            return found
        return replace(found, image_class=ImageClass.UNKNOWN)

    yield patch.object(image, "_of_gallery", open_)


@dataclass(frozen=True)
class Mutation:
    """How to make it, on which kinds of machine, and what the table must show."""

    make: Callable[[], Patches]
    kinds: tuple[str, ...]
    shows: str


MUTATIONS = {
    "the verdict ignored": Mutation(verdict_ignored, ("managed", "excepted", "web"), "forbidden"),
    "the gate ignored": Mutation(gate_ignored, ("web", "sealed"), "forbidden"),
    "the gate closed by doubt": Mutation(gate_closed_by_doubt, ("web", "db"), "2023-05 unknown"),
    "the workload ignored": Mutation(workload_ignored, ("node", "client"), "forbidden"),
    "exceptions ignored": Mutation(exceptions_ignored, ("excepted",), "forbidden"),
    "the list ignored": Mutation(list_ignored, ("migrated", "managed"), "forbidden"),
    "doubt ignored": Mutation(doubt_ignored, ("web", "unruled"), "forbidden"),
    "detection ignored": Mutation(detection_ignored, ("excepted", "nothing"), "Marketplace"),
    "probing unasked": Mutation(probing_unasked, ("managed", "migrated"), "forbidden"),
    "unreadable is unknown": Mutation(unreadable_is_unknown, ("sealed", "lost"), "forbidden"),
}
