"""No secret is shown: a search of everything that anybody can read for everything that is secret.

What is secret is told by azsim: every token it gave, every signature, client secret and assertion
(`GET /azsim/issued`). It is looked for as it is, in the parts of a token, and in the forms in which
it travels: quoted for a URL, in JSON, in base64, alone or in the middle of something.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from judging.invariants import Violations

SHORTEST = 12
"""Characters that a secret must have to be looked for: a shorter one stands in a text by chance."""

CHUNK = 64
"""Characters of a part of a secret that give it away. A token that was cut is a token that leaked;
its beginning, the same header in all of them, says nothing."""

CONTEXT = 30
"""Characters before a find that are told, to find its place. Not the find itself."""


@dataclass(frozen=True)
class Secret:
    """One of azsim's."""

    kind: str
    """`tokens`, `signatures`, `clientSecrets` or `assertions`."""
    text: str


def secrets_of(issued: Iterable[Mapping[str, Iterable[str]]]) -> list[Secret]:
    """What several answers of `/azsim/issued` hold, each once.

    ValueError for one that is too short to be looked for: give the principal a longer secret.
    """
    found = {
        Secret(kind, text) for each in issued for kind, texts in each.items() for text in texts
    }
    for secret in found:
        if len(secret.text) < SHORTEST:
            raise ValueError(f"one of {secret.kind} has fewer than {SHORTEST} characters")
    return sorted(found, key=lambda secret: (secret.kind, secret.text))


def leaks(shown: Mapping[str, str], secrets: Iterable[Secret]) -> Violations:
    """Where a secret stands in `shown`, which is text by where it is from."""
    wanted = {
        needle: f"one of {secret.kind}, {form}"
        for secret in secrets
        for form, needle in needles(secret)
    }
    return [
        f"{place}: {what}, after {_before(text, text.index(needle))!r}"
        for place, text in shown.items()
        for needle, what in wanted.items()
        if needle in text
    ]


def needles(secret: Secret) -> Iterator[tuple[str, str]]:
    """The forms in which a secret may stand somewhere: what it is called, and the text."""
    for part in _telling(secret):
        forms = {
            "as it is": part,
            "quoted for a URL": quote(part, safe=""),
            "quoted for a form": quote_plus(part),
            "in JSON": json.dumps(part)[1:-1],
            **{f"in base64 ({at})": text for at, text in enumerate(_base64(part))},
        }
        seen: set[str] = set()
        for form, text in forms.items():
            if text not in seen:
                seen.add(text)
                yield form, text


def _telling(secret: Secret) -> list[str]:
    """The whole of a short secret; of a long one beginning, middle and end of each of its parts, so
    that one that was cut is found too. The first part of a token is its header, which is no secret.
    """
    parts = secret.text.split(".")[1:] if secret.text.count(".") == 2 else [secret.text]
    return [
        part[start : start + CHUNK]
        for part in parts
        for start in sorted({0, max(0, len(part) - CHUNK) // 2, max(0, len(part) - CHUNK)})
    ]


def _base64(text: str) -> Iterator[str]:
    """The characters that a text has in base64 whatever stands around it: by the place in a group
    of three bytes at which it begins, in both alphabets."""
    raw = text.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        # The first characters hold bits of what is before, the last ones of what follows.
        first = 0 if offset == 0 else offset + 1
        whole = (offset + len(raw)) // 3 * 4
        inner = encoded[first:whole]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _before(text: str, at: int) -> str:
    return text[max(0, at - CONTEXT) : at]
