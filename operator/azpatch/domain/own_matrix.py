"""An organisation's own support matrix, in a ConfigMap, and which matrix is in force.

What was read from the ConfigMap stands in the AzureSubscription's status, and that is what counts:
while the ConfigMap is broken or gone the last good matrix stays in force, whoever leads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import yaml
from pydantic import ValidationError

from azpatch.api.reasons import Reason
from azpatch.api.subscription import MATRIX_LENGTH, AzureSubscription, SupportMatrixStatus
from azpatch.domain.matrix import REVISIONS, Matrix, read, revision

MATRIX_KEY = "matrix.yaml"
"""The ConfigMap's key that holds the matrix, in the form of those that ship with azpatch."""

_PROBLEM_LENGTH = 160
"""Of what is wrong: the whole message is read in a terminal."""


@dataclass(frozen=True, slots=True)
class MatrixTrouble:
    """Why the matrix that spec asks for is not the one in force."""

    reason: Reason
    message: str


def in_force(subscription: AzureSubscription) -> Matrix | None:
    """The matrix by which the subscription's machines are judged. None: there is none yet, and
    nothing may be sent."""
    if subscription.spec.support_matrix is not None:
        return revision(subscription.spec.support_matrix)
    kept = subscription.status.support_matrix
    if kept is None:
        return None
    if kept.text is None:
        return revision(kept.revision) if kept.revision in REVISIONS else None
    parsed = _parsed(kept.text)
    return parsed if isinstance(parsed, Matrix) else None


def chosen(
    subscription: AzureSubscription, data: Mapping[str, str] | None
) -> tuple[SupportMatrixStatus | None, MatrixTrouble | None]:
    """What to put in force, for the status, and what is wrong with what spec asks for.

    `data` is the ConfigMap's that spec.supportMatrixRef names; None: it is not there.
    """
    kept = subscription.status.support_matrix
    reference = subscription.spec.support_matrix_ref
    if subscription.spec.support_matrix is not None:
        return SupportMatrixStatus(revision=subscription.spec.support_matrix), None
    name = "" if reference is None else reference.name
    if data is None or MATRIX_KEY not in data:
        what = f"There is no ConfigMap {name} with key {MATRIX_KEY} in the operator's namespace."
        return kept, _trouble(subscription, Reason.SUPPORT_MATRIX_NOT_FOUND, what, "create it")
    text = data[MATRIX_KEY]
    parsed = "it is too long" if len(text) > MATRIX_LENGTH else _parsed(text)
    if isinstance(parsed, Matrix):
        return SupportMatrixStatus(revision=parsed.revision, text=text), None
    what = f"Key {MATRIX_KEY} of ConfigMap {name} is not a support matrix: {parsed}."
    return kept, _trouble(subscription, Reason.SUPPORT_MATRIX_INVALID, what, "correct it")


def _trouble(
    subscription: AzureSubscription, reason: Reason, what: str, remedy: str
) -> MatrixTrouble:
    held = in_force(subscription)
    until = (
        "None was in force before, so nothing is sent."
        if held is None
        else f"Revision {held.revision}, read before, stays in force."
    )
    return MatrixTrouble(reason, f"{what} {until} It is read every few minutes; {remedy}.")


@lru_cache(maxsize=64)
def _parsed(text: str) -> Matrix | str:
    """The matrix, or what is wrong with its text. The same text gives the same object."""
    try:
        matrix = read(text)
    except ValidationError as error:
        return _cut(_first(error))
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "it is not YAML"
        mark = getattr(error, "problem_mark", None)
        return _cut(f"line {mark.line + 1}: {problem}" if mark else problem)
    except RecursionError:
        return "it is nested too deeply"
    if matrix.revision in REVISIONS:
        return f"revision {matrix.revision} is the name of one that ships with azpatch"
    return matrix


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else first["msg"]


def _cut(problem: str) -> str:
    line = " ".join(problem.split()).rstrip(".")
    return line if len(line) <= _PROBLEM_LENGTH else f"{line[: _PROBLEM_LENGTH - 1]}…"
