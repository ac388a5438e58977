"""What an install brought, as Resource Graph tells it: what can be asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from azpatch.api.patch_set import PACKAGE_LONGEST
from azpatch.domain.facts import InstallationResult, InstalledPatch
from azpatch.domain.selection import UBUNTU_PRO_VERSION

INSTALLED = "Installed"
"""The state of a package that an install brought."""


@dataclass(frozen=True, slots=True)
class Given:
    """What Resource Graph shows of one install that has ended."""

    packages: frozenset[str]
    """`name=version` of each package that it brought, and that can be asked for so."""
    listed: int
    """How many packages are listed as installed."""
    counted: int
    """How many the install itself counts."""

    @classmethod
    def by(cls, row: InstallationResult) -> Given | None:
        """None: by this row it has not ended."""
        if not row.status.ended:
            return None
        brought = [one for one in row.patches or () if one.state == INSTALLED]
        packages = {mask for one in brought if (mask := _mask(one)) is not None}
        return cls(frozenset(packages), len(brought), row.installed)


Reading = Mapping[str, Given]
"""By activity id of the install in lower case; without one, it is not shown (yet)."""


def _mask(package: InstalledPatch) -> str | None:
    """None: nothing asks for exactly this. The guest reads `*`, `?` and `[` as globs and splits at
    `=`; Ubuntu Pro's mark is no version."""
    name, version = package.name, package.version or ""
    mask = f"{name}={version}"
    if not name or not version or version.lower() == UBUNTU_PRO_VERSION.lower():
        return None
    odd = any(letter in "*?[" or not letter.isprintable() or letter.isspace() for letter in mask)
    return None if odd or mask.count("=") > 1 or len(mask) > PACKAGE_LONGEST else mask
