"""Which machines a selector means, in the words of Azure's dynamic scopes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from azpatch.api.policy import SelectorTarget, TagOperator
from azpatch.domain.facts import Machine
from azpatch.domain.ids import parse
from azpatch.domain.image import Image

Selects = Callable[[Machine, Image], bool]


def selects(selector: SelectorTarget) -> Selects:
    """Whether a machine, which was built from this, matches every field that is given. Which
    subscription it is in has been looked at. Made once, it is asked of ten thousand machines."""
    groups, locations = _lower(selector.resource_groups), set(map(region_of, selector.locations))
    classes, systems = frozenset(selector.image_classes), frozenset(selector.os_types)
    tagged = carries(selector.tags, selector.tag_operator)

    def matches(machine: Machine, image: Image) -> bool:
        return (
            (not locations or region_of(machine.location) in locations)
            and (not classes or image.image_class in classes)
            and (not systems or image.os_type in systems)
            and (not groups or _group(machine) in groups)
            and (not selector.tags or tagged(machine.tags))
        )

    return matches


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _group(machine: Machine) -> str | None:
    parts = parse(machine.id)
    return parts.resource_group.lower() if parts else None


def region_of(location: str) -> str:
    """The form in which two locations are compared: `West Europe` is `westeurope`."""
    return location.replace(" ", "").lower()


def carries(
    tags: Mapping[str, Collection[str]], operator: TagOperator = TagOperator.ANY
) -> Callable[[Mapping[str, str]], bool]:
    """Whether a machine with some tags has one of these, or all, with one of the listed values."""
    wanted = {name.lower(): frozenset(values) for name, values in tags.items()}
    enough = all if operator is TagOperator.ALL else any

    def has(tags: Mapping[str, str]) -> bool:
        own = {name.lower(): value for name, value in tags.items()}
        return enough(own.get(name) in values for name, values in wanted.items())

    return has
