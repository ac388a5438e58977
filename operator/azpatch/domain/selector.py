"""Which machines a selector means, in the words of Azure's dynamic scopes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from azpatch.api.common import Confidence
from azpatch.api.policy import SelectorTarget, TagOperator
from azpatch.domain.facts import Machine
from azpatch.domain.ids import parse
from azpatch.domain.image import Image


def selects(selector: SelectorTarget, machine: Machine, image: Image) -> bool:
    """Whether the machine, which was built from this, matches every field that is given. Which
    subscription it is in has been looked at."""
    return (
        _in_group(selector.resource_groups, machine)
        and _in_location(selector.locations, machine)
        and (not selector.image_classes or image.image_class in selector.image_classes)
        and (not selector.os_types or image.os_type in selector.os_types)
        and _tagged(selector, machine.tags)
    )


def may_select(selector: SelectorTarget, machine: Machine, image: Image) -> bool:
    """Of a machine that it does not match: whether it may, as long as its image definition has not
    been read, or its operating system is not known. After a restart that is so for a moment."""
    sure = selector.replace(image_classes=(), os_types=())
    if not selects(sure, machine, image):
        return False
    classes = not selector.image_classes or image.image_class in selector.image_classes
    if not classes:
        return image.confidence is not Confidence.HIGH
    return bool(selector.os_types) and image.os_type is None


def _in_group(groups: Collection[str], machine: Machine) -> bool:
    if not groups:
        return True
    parts = parse(machine.id)
    return parts is not None and parts.resource_group.lower() in {one.lower() for one in groups}


def _in_location(locations: Collection[str], machine: Machine) -> bool:
    return not locations or _region(machine.location) in set(map(_region, locations))


def _region(location: str) -> str:
    """Azure has two spellings: `West Europe` is `westeurope`."""
    return location.replace(" ", "").lower()


def _tagged(selector: SelectorTarget, tags: Mapping[str, str]) -> bool:
    if not selector.tags:
        return True
    own = {name.lower(): value for name, value in tags.items()}
    found = (own.get(name.lower()) in values for name, values in selector.tags.items())
    return all(found) if selector.tag_operator is TagOperator.ALL else any(found)
