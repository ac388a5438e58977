"""What `azpatch support` prints: tables for people, JSON and YAML for programs.

`width` is the terminal's, in characters; None where the output goes elsewhere: then nothing is cut
or wrapped, so that other programs find whole lines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent, wrap
from typing import Any

import yaml
from pydantic import TypeAdapter

from azpatch.api.common import OperationName, Support
from azpatch.console import columns
from azpatch.domain.arc import unless_accepted
from azpatch.domain.ids import is_arc_server
from azpatch.domain.matrix import Matrix
from azpatch.support.answers import Answer, Source

SHORT = {
    OperationName.ON_DEMAND_ASSESSMENT: "ASSESS",
    OperationName.ON_DEMAND_PATCHING: "PATCH",
    OperationName.PERIODIC_ASSESSMENT: "PERIODIC",
    OperationName.SCHEDULED_PATCHING: "SCHED",
    OperationName.AUTOMATIC_GUEST_PATCHING: "AUTO",
}
"""The operations, at the head of a column."""

MARK = {Support.SUPPORTED: "yes", Support.UNSUPPORTED: "no", Support.UNKNOWN: "?"}

_MESSAGES = 3
"""Of one reason, in the table of many machines: where each names its image there are hundreds."""

_LEAST_NAME = 12
_WIDEST_TEXT = 100

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where PyYAML was built with it: ten times as fast."""


# --- for programs ---------------------------------------------------------------------------------


def as_json(answers: Sequence[Answer] | Answer) -> str:
    """Indented, so that a person can read it too."""
    return f"{_ANSWERS.dump_json(answers, indent=2).decode()}\n"


def as_yaml(answers: Sequence[Answer] | Answer) -> str:
    """The same as YAML. What is said of many machines is put into YAML once: it takes long."""
    if isinstance(answers, Answer):
        return _yaml(answers.model_dump(mode="json"))
    written: dict[tuple[int, ...], str] = {}
    items: list[str] = []
    for one in answers:
        said = tuple(map(id, one.operations.values()))
        if said not in written:
            written[said] = _indented(one.model_dump(mode="json", include={"operations"}))
        head = _indented(one.model_dump(mode="json", exclude={"operations"}))
        items.append(f"- {head[2:]}{written[said]}")
    return "".join(items) or "[]\n"


def _indented(content: object) -> str:
    return indent(_yaml(content), "  ")


def matrix_json(matrix: Matrix) -> str:
    """The matrix in the form of the data that ships, of which there is a JSON schema."""
    return f"{json.dumps(_matrix(matrix), indent=2, ensure_ascii=False)}\n"


def matrix_yaml(matrix: Matrix) -> str:
    """The same as YAML: what a matrix of one's own can begin with."""
    return _yaml(_matrix(matrix))


def _matrix(matrix: Matrix) -> dict[str, Any]:
    return matrix.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def _yaml(content: object) -> str:
    text: str = yaml.dump(
        content, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=_WIDEST_TEXT
    )
    return text


_ANSWERS: TypeAdapter[Sequence[Answer] | Answer] = TypeAdapter(list[Answer] | Answer)


# --- the matrix -----------------------------------------------------------------------------------


def matrix_table(matrix: Matrix, width: int | None) -> Iterator[str]:
    """The matrix as its document has it: a row for each image class, with what is supported and
    what is not."""
    yield f"Support matrix {matrix.revision}: {matrix.product}"
    yield from _text(f'"{matrix.source.title}", {matrix.source.date}', width, "  ")
    yield f"  {matrix.source.document}"
    yield ""
    rows = [("IMAGE CLASS", "SUPPORTED", "UNSUPPORTED")]
    for image_class in matrix.image_classes:
        sides = [
            [str(name) for name in OperationName if matrix.support(image_class, name) is side]
            for side in (Support.SUPPORTED, Support.UNSUPPORTED)
        ]
        supported, unsupported = (side or ["None"] for side in sides)
        for line in range(max(len(supported), len(unsupported))):
            first = str(image_class) if line == 0 else ""
            rows.append((first, _at(supported, line), _at(unsupported, line)))
    yield from columns(rows)
    yield ""
    if (feature := matrix.preview_feature) is not None:
        classes = " and ".join(c for c in matrix.image_classes if matrix.needs_feature(c))
        yield from _text(
            f'{classes} need the preview feature "{feature.display_name}" of {feature.namespace} '
            "in the machine's subscription.",
            width,
        )
    if matrix.preview:
        classes = " and ".join(c for c in matrix.image_classes if c in matrix.preview)
        yield from _text(f"The document calls the support of {classes} a preview.", width)
    if matrix.custom_image_systems is not None:
        names = "; ".join(system.name for system in matrix.custom_image_systems)
        yield from _text(f"Custom images may be made from: {names}.", width)
    yield from _text(
        f"Marketplace images go by the rules of {matrix.marketplace_rules} (ask with --publisher, "
        f"--offer and --sku), automatic guest patching by the list of "
        f"{matrix.automatic_guest_patching}.",
        width,
    )


def _at(values: Sequence[str], index: int) -> str:
    return values[index] if index < len(values) else ""


# --- one machine ----------------------------------------------------------------------------------


def card(answer: Answer, matrix: Matrix, width: int | None) -> Iterator[str]:
    """All about one machine or image."""
    yield answer.name
    facts = (
        ("id", answer.id),
        ("os", answer.os or "not known"),
        ("image class", answer.image_class),
        ("confidence", answer.confidence),
        ("image", answer.image_reference if answer.image_reference != answer.name else None),
    )
    yield from columns([("", name, value) for name, value in facts if value])
    yield from _text(answer.evidence, width, "  evidence     ", "               ")
    yield ""
    yield f"By support matrix {matrix.revision}:"
    longest = max(map(len, OperationName))
    for (verdict, reason, message), names in _alike(answer).items():
        yield ""
        for name in names:
            yield f"{name.ljust(longest)}  {verdict}  {reason}"
        yield from _text(message, width, "    ")
    yield ""
    yield from _sources([answer], width)


Said = tuple[Support, str, str]
"""A verdict, its reason and its message."""


def _alike(answer: Answer) -> dict[Said, list[OperationName]]:
    """The operations of which the same is said."""
    alike: dict[Said, list[OperationName]] = {}
    for name, found in answer.operations.items():
        alike.setdefault((found.verdict, found.reason, found.message), []).append(name)
    return alike


def _sources(answers: Iterable[Answer], width: int | None) -> Iterator[str]:
    yield "Sources"
    found = (found.source for one in answers for found in one.operations.values())
    for cited in dict.fromkeys(_cited(source) for source in dict.fromkeys(found)):
        yield from _text(cited, width, "  ", "    ")


def _cited(source: Source) -> str:
    what = f"{source.kind} {source.revision}" if source.revision else str(source.kind)
    if source.document is None:
        return f"{what}: {source.title}"
    return f'{what}: "{source.title}", {source.document}, {source.date}'


# --- many machines --------------------------------------------------------------------------------


def fleet(answers: Sequence[Answer], matrix: Matrix, width: int | None) -> Iterator[str]:
    """A line for each machine, then each thing that is said of some of them, once."""
    machines = "machine" if len(answers) == 1 else "machines"
    yield f"{len(answers)} {machines} by support matrix {matrix.revision}"
    if not answers:
        return
    yield ""
    head = ("NAME", "OS", "IMAGE CLASS", *SHORT.values())
    rows = [
        (
            one.name,
            one.os or "-",
            one.image_class,
            *(MARK[one.operations[operation].verdict] for operation in SHORT),
        )
        for one in answers
    ]
    yield from columns(_fitting([head, *rows], width))
    yield ""
    yield from _text("yes: Supported, no: Unsupported, ?: Unknown until there is evidence.", width)
    if servers := sum(map(_is_supported_server, answers)):
        yield from _text(unless_accepted(servers), width)
    for (names, verdict, reason), messages in _said(answers).items():
        yield ""
        number = messages.total()
        yield f"{verdict}  {reason}  ({number} of {len(answers)})"
        every = len(names) == len(OperationName)
        yield from _text("every operation" if every else ", ".join(names), width, "  ")
        for message, _ in messages.most_common(_MESSAGES):
            yield from _text(message, width, "  - ", "    ")
        if len(messages) > _MESSAGES:
            yield f"  - … and {len(messages) - _MESSAGES} more of the kind: -o json has all"
    yield ""
    yield from _sources(answers, width)


def _is_supported_server(answer: Answer) -> bool:
    """Whether it is an Azure Arc-enabled server, and something Supported would cost."""
    verdicts = {found.verdict for found in answer.operations.values()}
    return answer.id is not None and is_arc_server(answer.id) and Support.SUPPORTED in verdicts


def _fitting(rows: Sequence[tuple[str, ...]], width: int | None) -> Sequence[tuple[str, ...]]:
    """With names cut to what a terminal has room for."""
    if width is None:
        return rows
    others = sum(2 + max(len(row[i]) for row in rows) for i in range(1, len(rows[0])))
    room = max(width - others, _LEAST_NAME)
    return [(_cut(row[0], room), *row[1:]) for row in rows]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _said(
    answers: Iterable[Answer],
) -> dict[tuple[tuple[OperationName, ...], Support, str], Counter[str]]:
    """Operations, verdict and reason → the messages, and of how many machines each is said; of what
    is not Supported only, the most frequent first."""
    found: dict[tuple[tuple[OperationName, ...], Support, str], Counter[str]] = {}
    for one in answers:
        for (verdict, reason, message), names in _alike(one).items():
            if verdict is not Support.SUPPORTED:
                found.setdefault((tuple(names), verdict, reason), Counter())[message] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1].total()))


# --- lines ----------------------------------------------------------------------------------------


def _text(text: str, width: int | None, first: str = "", then: str | None = None) -> Iterator[str]:
    if width is None:
        yield first + text
        return
    yield from wrap(
        text,
        max(min(width, _WIDEST_TEXT), 40),
        initial_indent=first,
        subsequent_indent=first if then is None else then,
        break_long_words=False,
        break_on_hyphens=False,
    )
