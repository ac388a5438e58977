"""The mistakes that docs/errors.md lists, each with what a person sees: read from tools/errors.

The page is made from them, and tests make each mistake on the real parts and compare the words, so
that the page cannot say anything that nobody sees.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "errors"

SUBSCRIPTION = "6f1c2a34-0000-4000-8000-000000000001"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-web/providers/Microsoft.Compute"

SAMPLES: Mapping[str, dict[str, Any]] = {
    "PatchPolicy": {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": "web"},
        "spec": {
            "target": {"virtualMachine": {"id": f"{GROUP}/virtualMachines/web-1"}},
            "install": {"linux": {}},
            "schedule": {"always": {}},
        },
    },
    "AzureSubscription": {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "AzureSubscription",
        "metadata": {"name": "prod"},
        "spec": {
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "72f988bf-0000-4000-8000-000000000001",
            "supportMatrix": "2023-05",
            "grants": [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Patch"}],
        },
    },
    "PatchRun": {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchRun",
        "metadata": {"name": "web-now"},
        "spec": {"policyRef": {"name": "web"}, "notAfter": "2026-12-12T02:00:00Z"},
    },
}
"""Manifests without a mistake; a refusal says what is changed in one of them."""

PLACEHOLDER = re.compile(r"<[A-Z][A-Z ]*>")
"""Stands in expected words for what is another each time."""


@dataclass(frozen=True)
class Case:
    """One mistake and the words that it gets."""

    name: str
    """What is wrong, as a heading; the test's id too."""
    says: str
    """Exactly what a person sees, but for placeholders."""
    do: str = ""
    """What to do, where the words do not say it all."""
    kind: str = "PatchPolicy"
    """The kind of the object that is refused or that shows it."""
    change: dict[str, Any] = field(default_factory=dict)
    """Of a refusal: a JSON merge patch of the kind's sample."""
    condition: str = "Ready"
    """Of what is shown in status: the condition; or, with a dot, the path of a field."""
    status: str = "False"
    reason: str = ""
    call: str = ""
    """Of an answer of Azure: what was asked."""
    answer: str = ""
    """Of an answer of Azure: what it was."""

    def shown_in(self, text: str) -> bool:
        """Whether `text` is what the case says."""
        lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
        parts = PLACEHOLDER.split(self.says)
        return re.fullmatch(".+?".join(map(re.escape, parts)), lines, re.DOTALL) is not None

    def manifest(self) -> dict[str, Any]:
        """The whole manifest with the mistake in it."""
        return dict(_merged(SAMPLES[self.kind], self.change))


@dataclass(frozen=True)
class Section:
    """A file of cases, and a part of the page."""

    name: str
    title: str
    text: str
    cases: tuple[Case, ...]


def sections() -> tuple[Section, ...]:
    """All of them, in the order of their files' names."""
    return tuple(map(_section, sorted(FOLDER.glob("*.yaml"))))


def section(name: str) -> Section:
    """The one with this name: its file's, without the number. StopIteration if there is none."""
    return next(each for each in sections() if each.name == name)


def _section(file: Path) -> Section:
    content = yaml.safe_load(file.read_text())
    cases = tuple(Case(**{**case, "says": case["says"].strip()}) for case in content.pop("cases"))
    return Section(name=file.stem.partition("-")[2], cases=cases, **content)


def _merged(body: Any, change: Any) -> Any:
    """RFC 7396: null takes a field away."""
    if not isinstance(change, dict):
        return change
    result = copy.deepcopy(body) if isinstance(body, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
