"""Which marketplace images Azure's guest patching serves: rules, and one exact list.

Both are data that a revision of the support matrix names. A fleet has few images, so the answers
are remembered by image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial

from pydantic import Field

from azpatch.api.common import OsType, Support
from azpatch.domain.data_files import Data, DatedData, shipped
from azpatch.domain.facts import ImageReference
from azpatch.domain.globs import Globs, compiled, matches

_IMAGES_REMEMBERED = 4096

Patterns = tuple[str, ...]


class Rule(Data):
    """Images of one publisher. An absent field is met by every image."""

    offer: Patterns = ()
    """Globs of the offer; one of them matches."""
    sku: Patterns = ()
    offer_not: Patterns = ()
    """Globs of offers that the rule does not allow, although it otherwise would."""
    sku_not: Patterns = ()


class MarketplaceRules(DatedData):
    """The rules for every operation except automatic guest patching."""

    rules: Mapping[OsType, Mapping[str, tuple[Rule, ...]]]
    """By operating system and publisher. Their order has no meaning: one that allows is enough."""


class AutomaticImages(DatedData):
    """The images that automatic guest patching serves."""

    images: Mapping[str, Mapping[str, tuple[str, ...]]] = Field(min_length=1)
    """SKUs by publisher and offer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rules say about an image."""

    support: Support
    """Unknown: no rule speaks of it."""
    rule: str | None
    """The rule that decided, as `publisher:offer:sku`, and what it excepts."""


_NO_RULE = Answer(Support.UNKNOWN, None)


def judge(revision: str, reference: ImageReference, os_type: OsType | None) -> Answer:
    """What the rules of a revision say about a marketplace image.

    A rule allows; or it would, but for an offer or SKU that it excepts, and then the image is
    denied if no other rule allows it; or none speaks of it. Where the operating system is not
    known, the rules for both count. KeyError if no such rules ship with azpatch.
    """
    publisher, offer, sku = _names(reference)
    return _judge(revision, os_type, publisher, offer, sku)


def patched_automatically(revision: str, reference: ImageReference) -> bool:
    """Whether the list of a revision has exactly this image. KeyError if there is no such list."""
    return _names(reference) in _listed(revision)


def _names(reference: ImageReference) -> tuple[str, str, str]:
    return (
        (reference.publisher or "").lower(),
        (reference.offer or "").lower(),
        (reference.sku or "").lower(),
    )


@lru_cache(maxsize=_IMAGES_REMEMBERED)
def _judge(revision: str, os_type: OsType | None, publisher: str, offer: str, sku: str) -> Answer:
    excepted: str | None = None
    for rule in _compiled(revision).get(publisher, ()):
        if os_type not in {None, rule.os_type}:
            continue
        if not (matches(rule.offer, offer) and matches(rule.sku, sku)):
            continue
        if not (matches(rule.offer_not, offer) or matches(rule.sku_not, sku)):
            return Answer(Support.SUPPORTED, rule.text)
        excepted = excepted or rule.text
    return _NO_RULE if excepted is None else Answer(Support.UNSUPPORTED, excepted)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule for one glob of the offer and one of the SKU, so that `text` can name them."""

    os_type: OsType
    offer: Globs
    sku: Globs
    offer_not: Globs
    sku_not: Globs
    text: str


@cache
def _compiled(revision: str) -> Mapping[str, tuple[_Compiled, ...]]:
    """By publisher, in lower case."""
    by_publisher: dict[str, list[_Compiled]] = {}
    for os_type, publishers in rules(revision).rules.items():
        for publisher, listed in publishers.items():
            found = by_publisher.setdefault(publisher.lower(), [])
            for rule in listed:
                found.extend(_alternatives(os_type, publisher, rule))
    return {publisher: tuple(found) for publisher, found in by_publisher.items()}


def _alternatives(os_type: OsType, publisher: str, rule: Rule) -> Iterator[_Compiled]:
    excepted = [f"offer {offer}" for offer in rule.offer_not]
    excepted += [f"SKU {sku}" for sku in rule.sku_not]
    but = f", except {', '.join(excepted)}" if excepted else ""
    make = partial(
        _Compiled, os_type, offer_not=compiled(rule.offer_not), sku_not=compiled(rule.sku_not)
    )
    for offer in rule.offer or ("*",):
        for sku in rule.sku or ("*",):
            yield make(compiled([offer]), compiled([sku]), text=f"{publisher}:{offer}:{sku}{but}")


@cache
def rules(revision: str) -> MarketplaceRules:
    """The rules of this revision. KeyError if none ship with azpatch."""
    return shipped(MarketplaceRules, "marketplace", revision)


@cache
def automatic_images(revision: str) -> AutomaticImages:
    """The exact list of this revision. KeyError if none ships with azpatch."""
    return shipped(AutomaticImages, "automatic", revision)


@cache
def _listed(revision: str) -> frozenset[tuple[str, str, str]]:
    return frozenset(
        (publisher.lower(), offer.lower(), sku.lower())
        for publisher, offers in automatic_images(revision).images.items()
        for offer, skus in offers.items()
        for sku in skus
    )
