"""What a PatchPolicy installs: Azure's install parameters, in Azure's words."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from azpatch.api.common import ApiModel, IsoDuration, Time
from azpatch.api.durations import ISO_PATTERN, format_go, format_iso
from azpatch.api.markers import Form, Rule

MAXIMUM_DURATION = timedelta(hours=3, minutes=55)
"""Azure refuses a longer `maximumDuration`."""


class Executor(StrEnum):
    """Who starts the installs."""

    OPERATOR = "Operator"


class RebootSetting(StrEnum):
    """Azure's rebootSetting."""

    IF_REQUIRED = "IfRequired"
    NEVER = "Never"
    ALWAYS = "Always"


class UndeterminedSupport(StrEnum):
    """What to do where Azure could not determine whether it can patch a machine."""

    WAIT = "Wait"
    TRY = "Try"


class LinuxClassification(StrEnum):
    """Azure's classifications of Linux packages."""

    CRITICAL = "Critical"
    SECURITY = "Security"
    OTHER = "Other"


class WindowsClassification(StrEnum):
    """Azure's classifications of Windows updates."""

    CRITICAL = "Critical"
    SECURITY = "Security"
    UPDATE_ROLL_UP = "UpdateRollUp"
    FEATURE_PACK = "FeaturePack"
    SERVICE_PACK = "ServicePack"
    DEFINITION = "Definition"
    TOOLS = "Tools"
    UPDATES = "Updates"


Mask = Annotated[str, Field(min_length=1, max_length=128)]
KB_PATTERN = "^[0-9]{6,8}$"
Kb = Annotated[
    str,
    Field(pattern=KB_PATTERN, max_length=16),
    Form(KB_PATTERN, "this is no KB number: give its 6 to 8 digits, without the letters KB"),
]


class LinuxSelection(ApiModel):
    """Which missing packages of a Linux machine to install: those whose classification is listed
    or whose name an include mask matches, without those that an exclude mask matches."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.classificationsToInclude) > 0 || "
            "has(self.packageNameMasksToInclude) && size(self.packageNameMasksToInclude) > 0",
            "install.linux selects nothing: give classificationsToInclude or "
            "packageNameMasksToInclude, or remove linux to skip Linux machines",
        ),
    )

    # Atomic like all lists here: were it a set, server-side apply would merge the default, which
    # nobody owns, into what a person gives.
    classifications_to_include: Annotated[tuple[LinuxClassification, ...], Field(max_length=3)] = (
        LinuxClassification.CRITICAL,
        LinuxClassification.SECURITY,
    )
    """Classifications of packages to install."""
    package_name_masks_to_include: Annotated[tuple[Mask, ...], Field(max_length=100)] = ()
    """Packages to install whatever their classification: a name or name=version, * for any
    text."""
    package_name_masks_to_exclude: Annotated[tuple[Mask, ...], Field(max_length=100)] = ()
    """Packages never to install: a name or name=version, * for any text."""


class WindowsSelection(ApiModel):
    """Which missing updates of a Windows machine to install: those whose classification or KB
    number is listed, without those that are excluded."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.classificationsToInclude) > 0 || "
            "has(self.kbNumbersToInclude) && size(self.kbNumbersToInclude) > 0",
            "install.windows selects nothing: give classificationsToInclude or "
            "kbNumbersToInclude, or remove windows to skip Windows machines",
        ),
    )

    classifications_to_include: Annotated[
        tuple[WindowsClassification, ...], Field(max_length=8)
    ] = (WindowsClassification.CRITICAL, WindowsClassification.SECURITY)
    """Classifications of updates to install."""
    kb_numbers_to_include: Annotated[tuple[Kb, ...], Field(max_length=100)] = ()
    """Updates to install whatever their classification: KB numbers without the letters KB."""
    kb_numbers_to_exclude: Annotated[tuple[Kb, ...], Field(max_length=100)] = ()
    """Updates never to install: KB numbers without the letters KB."""
    exclude_kbs_requiring_reboot: bool = False
    """Leave out the updates that need a reboot."""
    max_patch_publish_date: Time | None = None
    """Only updates that were published until this instant."""


class Install(ApiModel):
    """What to install, and how."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.linux) || has(self.windows)",
            "install selects nothing: give linux, windows or both ({} takes the critical and "
            "security patches)",
        ),
    )

    executor: Executor = Executor.OPERATOR
    """Who starts the installs. Operator: azpatch does, by Azure's installPatches."""
    linux: LinuxSelection | None = None
    """What to install on Linux machines. Absent: Linux machines are skipped, and counted so."""
    windows: WindowsSelection | None = None
    """What to install on Windows machines. Absent: Windows machines are skipped, and counted
    so."""
    reboot_setting: RebootSetting = RebootSetting.IF_REQUIRED
    """IfRequired: reboot when a patch, or one installed before, needs it. Never: do not reboot; a
    machine that needs one is then not compliant. Always: reboot after every install."""
    maximum_duration: Annotated[
        IsoDuration,
        Field(gt=timedelta(0), le=MAXIMUM_DURATION),
        Form(
            ISO_PATTERN,
            "install.maximumDuration is not an ISO 8601 duration in hours and minutes: give "
            "for example PT2H or PT1H30M",
        ),
        Rule(
            f"!self.matches(r'{ISO_PATTERN}') || "
            "duration(self.substring(2).lowerAscii()) "
            f"<= duration('{format_go(MAXIMUM_DURATION)}')",
            f"install.maximumDuration is longer than {format_iso(MAXIMUM_DURATION)}, the most "
            "that Azure takes: give that or less",
        ),
        Rule(
            f"!self.matches(r'{ISO_PATTERN}') || "
            "duration(self.substring(2).lowerAscii()) > duration('0m')",
            "install.maximumDuration is zero: give the time that an install may take, for "
            "example PT2H",
        ),
    ] = timedelta(hours=2)
    """How long an install may take on a machine, reboots included; ISO 8601, at most PT3H55M.
    The guest starts no patch that might not end in time and keeps 15 to 25 minutes for the
    reboot, so below PT30M it ordinarily installs nothing."""
    on_undetermined_support: UndeterminedSupport = UndeterminedSupport.WAIT
    """Where Azure could not determine whether it can patch a machine. Wait: leave the machine
    alone. Try: install all the same."""
