"""What later waves of a run are given where `rollout.patchSet` is Pinned."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from azpatch.api.common import ApiModel, Time
from azpatch.api.rollout import WaveName

SYSTEM_BYTES_MOST = 16 * 1024
"""Of the packages of one distribution and version, as JSON: some 400 of them. Azure documents no
bound for an install's body; a run that pins more is no patch day any more, but an upgrade."""

PATCH_SET_BYTES_MOST = 32 * 1024
"""Of all of them together. With the failures that it lists and its terms a PatchRun stays below
64 KiB."""

SYSTEM_OVERHEAD = 32
"""Bytes of a distribution and version beside its name and packages, as JSON."""

PACKAGE_OVERHEAD = 3
"""Bytes of a package beside its text, as JSON: two quotes and a comma."""

PACKAGE_LONGEST = 512
PACKAGES_MOST = SYSTEM_BYTES_MOST // (len("a=1") + PACKAGE_OVERHEAD)
SYSTEMS_MOST = PATCH_SET_BYTES_MOST // SYSTEM_OVERHEAD
"""How many fit, were each as short as can be."""

SYSTEM_LONGEST = 128

SystemName = Annotated[str, Field(min_length=1, max_length=SYSTEM_LONGEST)]
"""Distribution and version of a Linux machine in lower case, as its agent reports them: `ubuntu
22.04`."""


class PinnedSystem(ApiModel):
    """What the machines of one distribution and version were given."""

    name: SystemName
    """The distribution and version, as machines report them: `ubuntu 22.04`."""
    packages: Annotated[
        tuple[Annotated[str, Field(min_length=3, max_length=PACKAGE_LONGEST)], ...],
        Field(max_length=PACKAGES_MOST),
    ] = ()
    """What was installed on them in the first wave: name=version of each package."""


class LinuxPatchSet(ApiModel):
    """What the Linux machines of the first wave were given."""

    wave: WaveName
    """The wave."""
    recorded_time: Time
    """When it was read from Azure Resource Graph."""
    systems: Annotated[tuple[PinnedSystem, ...], Field(max_length=SYSTEMS_MOST)] = ()
    """By distribution and version. Machines of any other are not installed on in this run: nothing
    vouches for them."""


class PatchSet(ApiModel):
    """What the machines of a run are given."""

    ATOMIC: ClassVar[bool] = True

    max_patch_publish_date: Time | None = None
    """What Windows machines of all waves are given was published until this instant: that of the
    policy, else when the run's terms were written down. Absent without install.windows."""
    linux: LinuxPatchSet | None = None
    """What Linux machines of later waves are given. Absent until the first wave has passed its gate
    and what it was given has been read."""
