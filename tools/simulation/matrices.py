"""Which support matrix a simulated subscription goes by; an organisation's own, and broken ones."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import yaml

from judging.documents import CUSTOM, DATA

REVISIONS = ("2023-05", "2023-09", "2023-11", "2025-02")
WITH_FEATURE = "2023-05"
"""The one that asks for the preview feature, and that tells image classes apart."""

KEY = "matrix.yaml"
"""Of a ConfigMap."""

BROKEN = (
    "revision: [",
    "revision: ours",
    "",
    "imageClasses: {GalleryGeneralized: {supported: [Everything]}}",
    (DATA / "matrix-2025-02.yaml").read_text(),
)
"""Texts that are no matrix. The last has the name of one that ships."""


def drawn(random: Random, subscription: int) -> dict[str, Any]:
    """The fields of an AzureSubscription's spec: mostly a revision that ships."""
    if random.random() < 0.2:
        return {"supportMatrixRef": {"name": f"matrix-{subscription}"}}
    return {"supportMatrix": random.choice((WITH_FEATURE, *REVISIONS))}


def without(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec that names none."""
    names = ("supportMatrix", "supportMatrixRef")
    return {field: value for field, value in spec.items() if field not in names}


def own(random: Random) -> str:
    """An organisation's matrix: a shipped one, of which one class of images is served by less."""
    raw = yaml.safe_load((DATA / f"matrix-{random.choice(REVISIONS)}.yaml").read_text())
    classes = {name: _copy(listed) for name, listed in raw["imageClasses"].items()}
    less = classes[random.choice([name for name in CUSTOM if classes[name]["supported"]])]
    served = len(less["supported"])
    for operation in random.sample(less["supported"], random.randint(1, served)):
        less["supported"].remove(operation)
        less["unsupported"].append(operation)
    revision = f"ours-{random.randint(1, 99)}"
    text: str = yaml.safe_dump({**raw, "revision": revision, "imageClasses": classes})
    return text


def _copy(listed: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {side: list(operations) for side, operations in listed.items()}
