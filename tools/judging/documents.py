"""The support matrix as its files say it, read anew.

The operator reads the same files with code of its own; this is a second reader, as short as the
question needs, so that a mistake there is not a mistake here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Literal

import yaml

from lab.binaries import ROOT

DATA = ROOT / "operator" / "azpatch" / "domain" / "data"
"""Where the files ship."""

Rules = Literal["allowed", "denied", "no rule"]
"""What the marketplace rules say about an image."""

ASSESSMENT, PATCHING = "OnDemandAssessment", "OnDemandPatching"
ALL_THAT_SERVE = frozenset({ASSESSMENT, PATCHING, "PeriodicAssessment", "ScheduledPatching"})
"""The operations that ever serve a custom image."""

CUSTOM = ("GalleryGeneralized", "GallerySpecialized", "NonGallery")


@dataclass(frozen=True)
class Document:
    """One revision."""

    raw: Mapping[str, Any]

    def serves(self, image_class: str, operation: str) -> bool:
        """Whether it says that the operation is supported on machines from such images."""
        found = self.raw["imageClasses"].get(image_class)
        return found is not None and operation in found["supported"]

    def needs_feature(self, image_class: str) -> bool:
        """Whether such machines need the preview feature."""
        feature = self.raw.get("previewFeature") or {}
        return image_class in feature.get("imageClasses", ())

    @property
    def serves_all_alike(self) -> bool:
        """Whether it makes no difference which custom image a machine was built from."""
        return not self.raw.get("previewFeature") and all(
            self.serves(image_class, operation)
            for image_class in CUSTOM
            for operation in ALL_THAT_SERVE
        )

    def excludes_system(self, os_name: str | None, os_version: str | None) -> bool:
        """Whether it lists systems, and not the one that the agent reports."""
        systems = self.raw.get("customImageSystems")
        if systems is None or os_name is None:
            return False
        named = [system for system in systems if _like(os_name, system["osNames"])]
        if named and os_version is None:
            return False
        return not any(_like(os_version or "", system["osVersions"]) for system in named)

    def says_of(self, image: tuple[str, str, str], os_type: str) -> Rules:
        """What the marketplace rules that go with it say about publisher, offer and SKU."""
        publisher, offer, sku = image
        rules = _shipped("marketplace", self.raw["marketplaceRules"])["rules"][os_type]
        mine = [listed for name, listed in rules.items() if name.lower() == publisher.lower()]
        said: Rules = "no rule"
        for rule in (rule for listed in mine for rule in listed):
            if not (_meets(offer, rule, "offer") and _meets(sku, rule, "sku")):
                continue
            if not (_like(offer, rule.get("offerNot", ())) or _like(sku, rule.get("skuNot", ()))):
                return "allowed"
            said = "denied"
        return said


@cache
def revision(name: str) -> Document:
    """One that ships with azpatch."""
    return Document(_shipped("matrix", name))


def read(text: str) -> Document:
    """An organisation's own."""
    return Document(yaml.safe_load(text))


@cache
def _shipped(kind: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((DATA / f"{kind}-{name}.yaml").read_text())
    return found


def _meets(value: str, rule: Mapping[str, Any], field: str) -> bool:
    return field not in rule or _like(value, rule[field])


def _like(value: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(value.lower(), glob.lower()) for glob in globs)
