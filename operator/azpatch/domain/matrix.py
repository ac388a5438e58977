"""The support matrix: image class by operation, in dated revisions that ship as data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Annotated, Self

from pydantic import Field, PlainSerializer, model_validator

from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.revisions import REVISIONS
from azpatch.domain.data_files import Data, DatedData, names, parse, shipped
from azpatch.domain.globs import Globs, compiled, matches

__all__ = ["CUSTOM_IMAGES", "REVISIONS", "Matrix", "NeededFeature", "read", "revision"]

CUSTOM_IMAGES = (
    ImageClass.GALLERY_GENERALIZED,
    ImageClass.GALLERY_SPECIALIZED,
    ImageClass.NON_GALLERY,
)
"""The classes that a matrix decides. Marketplace images have rules of their own."""

_ALL_BUT_AUTOMATIC = frozenset(OperationName) - {OperationName.AUTOMATIC_GUEST_PATCHING}


# A set has another order in each process; what is printed has that of the vocabulary.
OperationSet = Annotated[
    frozenset[OperationName],
    PlainSerializer(lambda members: [name for name in OperationName if name in members]),
]
ImageClassSet = Annotated[
    frozenset[ImageClass],
    PlainSerializer(lambda members: [name for name in ImageClass if name in members]),
]


class NeededFeature(Data):
    """A preview feature that machines of some image classes need in their own subscription."""

    namespace: str = Field(min_length=1)
    display_name: str = Field(min_length=1)
    image_classes: ImageClassSet


class Operations(Data):
    """What is supported for one image class: every operation stands on one side."""

    supported: OperationSet
    unsupported: OperationSet

    @model_validator(mode="after")
    def _each_operation_once(self) -> Self:
        twice = self.supported & self.unsupported
        missing = frozenset(OperationName) - self.supported - self.unsupported
        if twice or missing:
            raise ValueError(
                f"every operation stands on one side: twice {sorted(twice)}, "
                f"missing {sorted(missing)}"
            )
        return self

    @model_validator(mode="after")
    def _never_automatic(self) -> Self:
        if OperationName.AUTOMATIC_GUEST_PATCHING in self.supported:
            raise ValueError(
                "AutomaticGuestPatching serves marketplace images of an exact list only: it "
                "stands under unsupported"
            )
        return self


class ListedSystem(Data):
    """An operating system that custom images may be made from."""

    name: str = Field(min_length=1)
    """As the document has it."""
    os_names: tuple[str, ...] = Field(min_length=1)
    """Globs of what a VM agent reports as osName."""
    os_versions: tuple[str, ...] = Field(min_length=1)
    """Globs of what it reports as osVersion."""


class Matrix(DatedData):
    """One revision."""

    product: str = Field(min_length=1)
    """What the source calls the product."""
    marketplace_rules: str
    """The rules about marketplace images that go with it."""
    automatic_guest_patching: str
    """The exact list of images for automatic guest patching that goes with it."""
    preview_feature: NeededFeature | None = None
    preview: ImageClassSet = frozenset()
    """Image classes whose support the source calls a preview."""
    image_classes: Mapping[ImageClass, Operations]
    """A custom image class that the source does not decide is absent."""
    custom_image_systems: tuple[ListedSystem, ...] | None = None
    """The systems that custom images may be made from; None: the source does not say."""

    @model_validator(mode="after")
    def _only_custom_images(self) -> Self:
        others = sorted(set(self.image_classes) - set(CUSTOM_IMAGES))
        if others:
            raise ValueError(f"a matrix decides custom images only, not {others}")
        return self

    @model_validator(mode="after")
    def _rules_that_ship(self) -> Self:
        for kind, name in (
            ("marketplace", self.marketplace_rules),
            ("automatic", self.automatic_guest_patching),
        ):
            if name not in names(kind):
                raise ValueError(f"there is no {kind}-{name}.yaml: there are {names(kind)}")
        return self

    def support(self, image_class: ImageClass, operation: OperationName) -> Support:
        """What the document says; Unknown where it does not decide the image class."""
        operations = self.image_classes.get(image_class)
        if operations is None:
            return Support.UNKNOWN
        return Support.SUPPORTED if operation in operations.supported else Support.UNSUPPORTED

    def needs_feature(self, image_class: ImageClass) -> bool:
        """Whether machines of this class depend on the preview feature."""
        feature = self.preview_feature
        return feature is not None and image_class in feature.image_classes

    @property
    def serves_every_custom_image(self) -> bool:
        """Whether custom images of all classes are served alike, by all that ever serves them. Then
        it makes no difference which of them a machine was built from."""
        decided = [self.image_classes.get(image_class) for image_class in CUSTOM_IMAGES]
        return self.preview_feature is None and all(
            operations is not None and operations.supported == _ALL_BUT_AUTOMATIC
            for operations in decided
        )

    def lists(self, os_name: str | None, os_version: str | None) -> bool | None:
        """Whether custom images may be made from this operating system, as a VM agent reports it.

        None where that is not known: the agent has not reported it, or the source has no list.
        """
        if self.custom_image_systems is None or os_name is None:
            return None
        versions = [version for name, version in self._systems if matches(name, os_name)]
        if versions and os_version is None:
            return None
        return any(matches(version, os_version or "") for version in versions)

    @cached_property
    def _systems(self) -> tuple[tuple[Globs, Globs], ...]:
        """Names and versions of each listed system."""
        return tuple(
            (compiled(system.os_names), compiled(system.os_versions))
            for system in self.custom_image_systems or ()
        )


@cache
def revision(name: str) -> Matrix:
    """The revision of this name. KeyError if none ships with azpatch."""
    return shipped(Matrix, "matrix", name)


def read(text: str) -> Matrix:
    """A matrix from YAML that others wrote; raises what `data_files.parse` does."""
    return parse(Matrix, text)
