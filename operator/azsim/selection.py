"""The body of installPatches: what ARM accepts, and which patches it selects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from azsim.fleet import OsType, Patch, RebootBehavior
from azsim.http import ArmError

LONGEST_INSTALL = timedelta(hours=3, minutes=55)
"""Azure refuses more (Update Manager, "deploy updates": 235 minutes)."""

REBOOT_SETTINGS = ("IfRequired", "Never", "Always")
LINUX_CLASSIFICATIONS = ("Critical", "Security", "Other")
WINDOWS_CLASSIFICATIONS = (
    "Critical",
    "Security",
    "UpdateRollUp",
    "FeaturePack",
    "ServicePack",
    "Definition",
    "Tools",
    "Updates",
)

_ISO_DURATION = re.compile(
    r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_GUEST_DURATION = re.compile(r"PT(\d+H)?(\d+M)?(\d+S)?")


@dataclass(frozen=True)
class Selection:
    """Missing patches by what an install means to do with them."""

    selected: tuple[Patch, ...]
    excluded: tuple[Patch, ...]
    not_selected: tuple[Patch, ...]


@dataclass(frozen=True)
class InstallRequest:
    """A valid body. `classifications` and masks are in lower case, KBs without their letters."""

    maximum_duration: timedelta
    duration_text: str
    reboot_setting: str
    classifications: frozenset[str] = frozenset()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_kbs: frozenset[str] = frozenset()
    exclude_kbs: frozenset[str] = frozenset()
    exclude_requiring_reboot: bool = False
    published_until: datetime | None = None
    maintenance_run_id: str = ""

    @property
    def readable_by_linux(self) -> bool:
        """The Linux extension reads `PT#H#M#S` only, though ARM takes every ISO 8601 duration."""
        return _GUEST_DURATION.fullmatch(self.duration_text) is not None

    def select(self, patches: Iterable[Patch]) -> Selection:
        """Sort patches by what happens to them: excluding outweighs including."""
        selected, excluded, others = [], [], []
        for patch in patches:
            if self._excludes(patch):
                excluded.append(patch)
            elif self._includes(patch) and not self._too_new(patch):
                selected.append(patch)
            else:
                others.append(patch)
        return Selection(tuple(selected), tuple(excluded), tuple(others))

    def _includes(self, patch: Patch) -> bool:
        return (
            patch.classification.lower() in self.classifications
            or _kb(patch.kb_id) in self.include_kbs
            or matches_any(self.include, patch)
        )

    def _excludes(self, patch: Patch) -> bool:
        if self.exclude_requiring_reboot and patch.reboot_behavior is not RebootBehavior.NEVER:
            return True
        return _kb(patch.kb_id) in self.exclude_kbs or matches_any(self.exclude, patch)

    def _too_new(self, patch: Patch) -> bool:
        if self.published_until is None or patch.published_date is None:
            return False
        return patch.published_date > self.published_until


def matches_any(masks: Iterable[str], patch: Patch) -> bool:
    """Whether a mask names the patch: by name, `name=version` or KB, `*` for anything."""
    names = [patch.name.lower()]
    if patch.version is not None:
        names.append(f"{patch.name}={patch.version}".lower())
    if patch.kb_id is not None:
        names += [_kb(patch.kb_id), f"kb{_kb(patch.kb_id)}"]
    return any(_mask(mask).fullmatch(name) for mask in masks for name in names)


@lru_cache(maxsize=4096)
def _mask(mask: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, mask.lower().split("*"))))


def _kb(kb_id: str | None) -> str:
    return (kb_id or "").lower().removeprefix("kb") or "(none)"


def parse_install(body: Any, os_type: OsType) -> InstallRequest:
    """The request in a body of installPatches. ArmError 400 for what ARM refuses."""
    if not isinstance(body, dict) or not body:
        raise _invalid("Required parameter 'installPatchesInput' is missing (null).")
    section_name = "linuxParameters" if os_type is OsType.LINUX else "windowsParameters"
    section = body.get(section_name)
    if not isinstance(section, dict):
        raise _invalid(f"Required parameter '{section_name}' is missing (null).")
    duration_text = str(body.get("maximumDuration") or "PT3H55M")
    linux = os_type is OsType.LINUX
    masks = "packageNameMasksTo" if linux else "patchNameMasksTo"
    request = InstallRequest(
        maximum_duration=_maximum_duration(duration_text),
        duration_text=duration_text,
        reboot_setting=_reboot_setting(body.get("rebootSetting")),
        classifications=_classifications(
            section, LINUX_CLASSIFICATIONS if linux else WINDOWS_CLASSIFICATIONS
        ),
        include=_masks(section, f"{masks}Include"),
        exclude=_masks(section, f"{masks}Exclude"),
        include_kbs=frozenset() if linux else _kbs(section, "kbNumbersToInclude"),
        exclude_kbs=frozenset() if linux else _kbs(section, "kbNumbersToExclude"),
        exclude_requiring_reboot=not linux and section.get("excludeKbsRequiringReboot") is True,
        published_until=None if linux else _date(section, "maxPatchPublishDate"),
        maintenance_run_id=str(section.get("maintenanceRunId") or ""),
    )
    if not (request.classifications or request.include or request.include_kbs):
        raise _invalid(
            "At least one classification or one patch to include must be specified "
            f"in '{section_name}'."
        )
    return request


def _invalid(message: str) -> ArmError:
    return ArmError(400, "InvalidParameter", message)


def _maximum_duration(text: str) -> timedelta:
    match = _ISO_DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise _invalid(f"The value '{text}' of parameter 'maximumDuration' is invalid.")
    parts = {unit: float(value) for unit, value in match.groupdict(default="0").items()}
    duration = timedelta(days=parts["d"], hours=parts["h"], minutes=parts["m"], seconds=parts["s"])
    if not timedelta(0) < duration <= LONGEST_INSTALL:
        raise _invalid(
            f"The value '{text}' of parameter 'maximumDuration' is out of range. "
            "It must be greater than zero and at most PT3H55M."
        )
    return duration


def _reboot_setting(value: Any) -> str:
    if value is None:
        raise _invalid("Required parameter 'rebootSetting' is missing (null).")
    for setting in REBOOT_SETTINGS:
        if setting.lower() == str(value).lower():
            return setting
    raise _invalid(f"The value '{value}' of parameter 'rebootSetting' is invalid.")


def _classifications(section: Mapping[str, Any], known: tuple[str, ...]) -> frozenset[str]:
    given = frozenset(value.lower() for value in _strings(section, "classificationsToInclude"))
    unknown = given - {name.lower() for name in known}
    if unknown:
        raise _invalid(
            f"The value '{sorted(unknown)[0]}' of parameter 'classificationsToInclude' is invalid. "
            f"Allowed values are: {', '.join(known)}."
        )
    return given


def _masks(section: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(_strings(section, name))


def _kbs(section: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(_kb(value) for value in _strings(section, name))


def _strings(section: Mapping[str, Any], name: str) -> list[str]:
    values = section.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _invalid(f"The value of parameter '{name}' is invalid: a list of text is expected.")
    return values


def _date(section: Mapping[str, Any], name: str) -> datetime | None:
    value = section.get(name)
    if value is None:
        return None
    try:
        date = datetime.fromisoformat(str(value))
    except ValueError:
        raise _invalid(f"The value '{value}' of parameter '{name}' is invalid.") from None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
