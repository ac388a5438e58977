"""What a policy selects of the patches that a machine misses, and how it asks Azure for them.

Azure's guests apply the same rule when they install: (classification listed OR an include
matches) AND no exclude matches, then excludeKbsRequiringReboot and maxPatchPublishDate.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache

from azpatch.api.common import OsType
from azpatch.api.durations import format_iso
from azpatch.api.install import Install, LinuxSelection, WindowsSelection
from azpatch.domain.facts import MissingPatch

UBUNTU_PRO_VERSION = "UA_ESM_Required"
"""The version of a package whose fix only Ubuntu Pro has: nothing can install it without."""

_CRITICAL_AND_SECURITY = frozenset({"critical", "security"})
_NEVER_REBOOTS = "neverreboots"
_ARCHITECTURES = (".x86_64", ".noarch", ".i686")
"""The guest ignores these at the end of a package's name when it matches masks."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The missing patches that a policy selects."""

    patches: tuple[MissingPatch, ...]
    """Those that an install can bring."""
    ubuntu_pro: tuple[MissingPatch, ...]
    """Those that need Ubuntu Pro; not among `patches`."""

    @property
    def selected(self) -> int:
        """How many patches an install would bring."""
        return len(self.patches)

    @property
    def critical_and_security(self) -> int:
        """How many of them are critical or for security."""
        return sum(
            1
            for patch in self.patches
            if not _CRITICAL_AND_SECURITY.isdisjoint(_lower(patch.classifications))
        )

    @property
    def other(self) -> int:
        """How many of them are neither."""
        return self.selected - self.critical_and_security

    @property
    def hash(self) -> str:
        """The same for the same set of patches, in whatever order; 16 hex digits."""
        names = sorted(
            {f"{p.name}\0{p.version or ''}\0{_digits(p.kb or '')}" for p in self.patches}
        )
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def select(missing: Iterable[MissingPatch], install: Install, os_type: OsType) -> Selection | None:
    """What the policy selects of a machine's missing patches.

    None: it selects nothing for this operating system, and the machine is skipped.
    """
    match os_type:
        case OsType.LINUX if install.linux is not None:
            linux = install.linux
            chosen = [patch for patch in missing if _linux_selects(linux, patch)]
        case OsType.WINDOWS if install.windows is not None:
            windows = install.windows
            chosen = [patch for patch in missing if _windows_selects(windows, patch)]
        case _:
            return None
    return Selection(
        patches=tuple(patch for patch in chosen if not _needs_ubuntu_pro(patch)),
        ubuntu_pro=tuple(patch for patch in chosen if _needs_ubuntu_pro(patch)),
    )


def install_parameters(install: Install, os_type: OsType) -> dict[str, object] | None:
    """The body of installPatches. None: the policy selects nothing for this operating system.

    Durations go as the guest reads them (`PT#H#M`), KB numbers as digits.
    """
    body: dict[str, object] = {
        "maximumDuration": format_iso(install.maximum_duration),
        "rebootSetting": install.reboot_setting.value,
    }
    match os_type:
        case OsType.LINUX if install.linux is not None:
            return body | {"linuxParameters": _linux_parameters(install.linux)}
        case OsType.WINDOWS if install.windows is not None:
            return body | {"windowsParameters": _windows_parameters(install.windows)}
        case _:
            return None


def mask_matches(mask: str, name: str, version: str | None) -> bool:
    """Whether a mask, `name` or `name=version` with `*` for any text, means this package.

    With the case of letters, as on Linux. A mask with a version matches no unknown version.
    """
    name_mask, equals, version_mask = (part.strip() for part in mask.partition("="))
    if not any(_glob(name_mask).fullmatch(known) for known in _names(name)):
        return False
    return not equals or (
        version is not None and _glob(version_mask).fullmatch(version) is not None
    )


def _linux_selects(spec: LinuxSelection, patch: MissingPatch) -> bool:
    included = _classified(spec.classifications_to_include, patch) or _any_mask(
        spec.package_name_masks_to_include, patch
    )
    return included and not _any_mask(spec.package_name_masks_to_exclude, patch)


def _windows_selects(spec: WindowsSelection, patch: MissingPatch) -> bool:
    kb = _digits(patch.kb or "")
    included = _classified(spec.classifications_to_include, patch) or _has_kb(
        spec.kb_numbers_to_include, kb
    )
    if not included or _has_kb(spec.kb_numbers_to_exclude, kb):
        return False
    if spec.exclude_kbs_requiring_reboot and (patch.reboot_behavior or "").lower() != (
        _NEVER_REBOOTS
    ):
        # Azure installs only what is sure not to reboot: CanRequestReboot is left out too.
        return False
    latest = spec.max_patch_publish_date
    return latest is None or (patch.published is not None and patch.published <= latest)


def _linux_parameters(spec: LinuxSelection) -> dict[str, object]:
    return _without_empty(
        {
            "classificationsToInclude": [c.value for c in spec.classifications_to_include],
            "packageNameMasksToInclude": list(spec.package_name_masks_to_include),
            "packageNameMasksToExclude": list(spec.package_name_masks_to_exclude),
        }
    )


def _windows_parameters(spec: WindowsSelection) -> dict[str, object]:
    latest = spec.max_patch_publish_date
    date = None if latest is None else latest.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return _without_empty(
        {
            "classificationsToInclude": [c.value for c in spec.classifications_to_include],
            "kbNumbersToInclude": [_digits(kb) for kb in spec.kb_numbers_to_include],
            "kbNumbersToExclude": [_digits(kb) for kb in spec.kb_numbers_to_exclude],
            "excludeKbsRequiringReboot": spec.exclude_kbs_requiring_reboot or None,
            "maxPatchPublishDate": date,
        }
    )


def _without_empty(parameters: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if value not in (None, [])}


def _classified(listed: Iterable[str], patch: MissingPatch) -> bool:
    """Azure spells a classification in more than one case (`UpdateRollUp`, `UpdateRollup`)."""
    return not _lower(listed).isdisjoint(_lower(patch.classifications))


def _any_mask(masks: Sequence[str], patch: MissingPatch) -> bool:
    return any(mask_matches(mask, patch.name, patch.version) for mask in masks)


def _has_kb(listed: Iterable[str], kb: str) -> bool:
    return kb != "" and any(_digits(one) == kb for one in listed)


def _needs_ubuntu_pro(patch: MissingPatch) -> bool:
    return (patch.version or "").lower() == UBUNTU_PRO_VERSION.lower()


def _names(package: str) -> tuple[str, ...]:
    for architecture in _ARCHITECTURES:
        if package.endswith(architecture):
            return package, package.removesuffix(architecture)
    return (package,)


def _digits(kb: str) -> str:
    text = kb.strip()
    return text[2:].strip() if text[:2].lower() == "kb" else text


def _lower(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)


@lru_cache(maxsize=4096)
def _glob(mask: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in mask.split("*")), re.DOTALL)
