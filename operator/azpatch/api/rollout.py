"""How carefully to install: how many machines at a time, in which waves, and when a run stops."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from azpatch.api.common import ApiModel, GoDuration, TagValues
from azpatch.api.durations import GO_PATTERN, format_go
from azpatch.api.markers import Form, ListMap, Rule
from azpatch.api.schedule import ITEM_NAME, WINDOWS_MOST

SPREAD_MOST = 5
"""Entries of rollout.spread: each is counted whenever a machine of one of its groups waits."""

TAG_NAME_LONGEST = 512
"""Characters, as Azure has it."""

PERCENT_PATTERN = "^([1-9][0-9]?|100)%$"


def _count_or_percent(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, str) and re.match(PERCENT_PATTERN, value):
        return value
    raise ValueError(f"{value!r} is neither a count from 1 nor a percentage such as 10%")


INT_OR_PERCENT = {
    "x-kubernetes-int-or-string": True,
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    # What a rule about it may cost is reckoned by it.
    "maxLength": 32,
}

CountOrPercent = Annotated[
    int | str,
    BeforeValidator(_count_or_percent),
    WithJsonSchema(INT_OR_PERCENT),
]
"""A count, or a percentage such as `10%`."""


def share_of(total: int, share: int | str) -> int:
    """How many of `total` a count or percentage is: rounded down, at least 1."""
    if isinstance(share, int):
        return share
    return max(1, total * int(share.removesuffix("%")) // 100)


def _share_rule(field: str) -> Rule:
    """A count or a percentage of machines that may be unavailable; `field`: its name."""
    return Rule(
        f"type(self) == int ? self >= 1 && self <= 100000 : self.matches(r'{PERCENT_PATTERN}')",
        f"{field} is neither a count nor a percentage: give a number from 1, "
        "or 1% to 100%; set spec.suspend to stop installs",
    )


class SpreadBy(StrEnum):
    """What makes machines a group."""

    AVAILABILITY_SET = "AvailabilitySet"
    ZONE = "Zone"
    TAG = "Tag"


KEY_WITHOUT_TAG = (
    "rollout.spread: key is the name of a tag, and by is not Tag: remove key, or set by to Tag"
)
TAG_WITHOUT_KEY = (
    "rollout.spread: by Tag needs the name of the tag whose values are the groups: give key"
)


class Spread(ApiModel):
    """How many machines of one group may be unavailable at a time, under whatever policies."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("self.by == 'Tag' || !has(self.key)", KEY_WITHOUT_TAG),
        Rule("self.by != 'Tag' || has(self.key)", TAG_WITHOUT_KEY),
    )

    by: SpreadBy
    """AvailabilitySet: machines of one availability set. Zone: machines of one subscription in one
    availability zone of a region. Tag: machines with the same value of a tag."""
    key: Annotated[str, Field(min_length=1, max_length=TAG_NAME_LONGEST)] | None = None
    """The name of the tag, compared without case; its values with it. With by Tag only."""
    max_unavailable: Annotated[CountOrPercent, _share_rule("rollout.spread: maxUnavailable")]
    """How many of a group: a count, or a percentage of the machines that azpatch sees in it,
    rounded down, at least 1."""

    @model_validator(mode="after")
    def _key_of_a_tag(self) -> Self:
        if self.by is not SpreadBy.TAG and self.key is not None:
            raise ValueError(KEY_WITHOUT_TAG)
        if self.by is SpreadBy.TAG and self.key is None:
            raise ValueError(TAG_WITHOUT_KEY)
        return self


DEFAULT_MAX_UNAVAILABLE = "10%"

DEFAULT_SPREAD = (Spread(by=SpreadBy.AVAILABILITY_SET, max_unavailable=1),)
"""Azure itself reboots one update domain of an availability set at a time: who made one expects as
much of others."""


def _failures_allowed(value: Any) -> int | str:
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return 0
    return _count_or_percent(value)


FailuresAllowed = Annotated[
    int | str,
    BeforeValidator(_failures_allowed),
    WithJsonSchema(INT_OR_PERCENT),
]
"""A count, which may be 0, or a percentage such as `10%`."""

DEFAULT_MAX_FAILED = 2
DEFAULT_MIN_SUCCEEDED = "80%"

WAVES_MOST = 10
WAVE_TAGS_MOST = 50
SOAK_LONGEST = timedelta(days=30)

WaveName = Annotated[str, Field(min_length=1, max_length=63, pattern=ITEM_NAME)]

WAVE_ONE_OF = (
    "a wave takes machines by share or by tags: give exactly one of machines (such as 5% or 3) and "
    "tags"
)


class Wave(ApiModel):
    """An ordered share of a run's machines."""

    RULES: ClassVar[tuple[Rule, ...]] = (Rule("has(self.machines) != has(self.tags)", WAVE_ONE_OF),)

    name: WaveName
    """Unique in the list; PatchTargets and conditions name it."""
    machines: (
        Annotated[
            CountOrPercent,
            Rule(
                "type(self) == int ? self >= 1 && self <= 100000 : "
                f"string(self).matches(r'{PERCENT_PATTERN}')",
                "machines of a wave is neither a count nor a percentage: give a number from 1, or "
                "1% to 100%",
            ),
        ]
        | None
    ) = None
    """How many of the run's machines this wave and those before it take together: a count, or a
    percentage, rounded up. Which ones, a hash of their ids decides: the same ones each time."""
    tags: Annotated[dict[str, TagValues], Field(min_length=1, max_length=WAVE_TAGS_MOST)] | None = (
        None
    )
    """In place of machines: all that carry one of these tags with one of the listed values, and
    are in no wave before. Names are compared without case, values with it."""
    soak: (
        Annotated[
            GoDuration,
            Form(GO_PATTERN, "soak of a wave is not a duration: give one such as 24h or 30m"),
            Rule(
                f"!self.matches(r'{GO_PATTERN}') || "
                f"duration(self) <= duration('{format_go(SOAK_LONGEST)}')",
                f"soak of a wave is longer than {format_go(SOAK_LONGEST)}: give at most that",
            ),
        ]
        | None
    ) = None
    """How long the next wave waits after the last success in this one."""
    windows: (
        Annotated[tuple[WaveName, ...], Field(min_length=1, max_length=WINDOWS_MOST)] | None
    ) = None
    """Names of windows of the schedule, in which alone this wave installs. Absent: in all."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.machines is None) == (self.tags is None):
            raise ValueError(WAVE_ONE_OF)
        return self


def _waves_named_once(waves: tuple[Wave, ...]) -> tuple[Wave, ...]:
    names = [one.name for one in waves]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two waves are called {twice}: give each a name of its own")
    return waves


_IS_PERCENT = (
    "has(self[{0}].machines) && type(self[{0}].machines) == string && "
    f"string(self[{{0}}].machines).matches(r'{PERCENT_PATTERN}')"
)
_PERCENT = "int(string(self[{0}].machines).replace('%', ''))"

WAVES_RULES = (
    Rule(
        "self.size() == 0 || has(self[self.size() - 1].machines) && "
        "string(self[self.size() - 1].machines) == '100%'",
        "the last wave of rollout.waves leaves machines out: give it machines: 100%",
    ),
    Rule(
        "self.size() == 0 || !has(self[self.size() - 1].soak)",
        "the last wave of rollout.waves has a soak, and nothing comes after it: remove soak",
    ),
    Rule(
        f"{list(range(1, WAVES_MOST))}.all(next, next >= self.size() || "
        f"!({_IS_PERCENT.format('next')}) || !({_IS_PERCENT.format('next - 1')}) || "
        f"{_PERCENT.format('next - 1')} <= {_PERCENT.format('next')})",
        "shares of rollout.waves are cumulative, and one is smaller than the one before it: give "
        "each wave the share that it and those before it take together",
    ),
)


class ApprovalMode(StrEnum):
    """Whether somebody must approve a run."""

    NONE = "None"
    REQUIRED = "Required"


LEAD_LONGEST = timedelta(days=30)


class PatchSetMode(StrEnum):
    """What the waves of a run after the first are given."""

    LATEST = "Latest"
    PINNED = "Pinned"


NOTHING_TO_PIN_FOR = (
    "rollout.patchSet Pinned gives later waves what the first was given, and there are no two "
    "waves: give rollout.waves at least two, or remove patchSet"
)


class Approval(ApiModel):
    """Whether somebody must approve a run before it begins."""

    mode: ApprovalMode = ApprovalMode.NONE
    """Required: nothing is installed in a PatchRun before somebody who has the verb approve on
    patchruns has set its spec.approved."""
    lead_time: Annotated[
        GoDuration,
        Form(
            GO_PATTERN,
            "rollout.approval.leadTime is not a duration: give hours and minutes such as 72h",
        ),
        Rule(
            f"!self.matches(r'{GO_PATTERN}') || "
            f"duration(self) <= duration('{format_go(LEAD_LONGEST)}')",
            f"rollout.approval.leadTime is longer than {format_go(LEAD_LONGEST)}: give at most "
            "that",
        ),
    ] = timedelta(hours=72)
    """How long before its window a run is made, with its machines, for somebody to look at it."""


class Rollout(ApiModel):
    """How carefully to install."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.patchSet) || self.patchSet != 'Pinned' || "
            "has(self.waves) && self.waves.size() > 1",
            NOTHING_TO_PIN_FOR,
        ),
    )

    max_unavailable: Annotated[CountOrPercent, _share_rule("rollout.maxUnavailable")] = (
        DEFAULT_MAX_UNAVAILABLE
    )
    """How many machines may be unavailable at a time: a count, or a percentage of the policy's
    supported machines, or of its run's, rounded down, at least 1. A machine counts from the start
    of its install until it was assessed again; one whose install failed counts until then too."""
    max_failed: Annotated[
        FailuresAllowed,
        Rule(
            "type(self) == int ? self >= 0 && self <= 100000 : "
            f"string(self).matches(r'{PERCENT_PATTERN}')",
            "rollout.maxFailed is neither a count nor a percentage: give a number from 0, or 1% "
            "to 100%",
        ),
    ] = DEFAULT_MAX_FAILED
    """How many machines of a run may fail: a count, or a percentage of the run's machines, rounded
    down. Beyond it the run is paused."""
    min_succeeded: Annotated[
        CountOrPercent,
        Rule(
            "type(self) == int ? self >= 1 && self <= 100000 : "
            f"string(self).matches(r'{PERCENT_PATTERN}')",
            "rollout.minSucceeded is neither a count nor a percentage: give a number from 1, or 1% "
            "to 100%",
        ),
    ] = DEFAULT_MIN_SUCCEEDED
    """How many machines of a wave must have succeeded before the next begins: a count, or a
    percentage of the wave's machines, rounded up. One at least must have."""
    waves: Annotated[
        tuple[Wave, ...],
        Field(max_length=WAVES_MOST),
        AfterValidator(_waves_named_once),
        ListMap("name"),
        *WAVES_RULES,
    ] = ()
    """Who goes first: the waves of a run, in their order. Each begins when the one before it has
    passed its gate: all of its machines are at an end, minSucceeded of them succeeded, each came
    back, and soak has gone by. Absent: one wave with all machines."""
    patch_set: PatchSetMode = PatchSetMode.LATEST
    """What waves after the first are given. Latest: what the policy selects when their turn comes.
    Pinned: what the first was given, so that it vouches for it: of Linux packages the versions,
    for each distribution and version that the first wave has; of Windows updates those that were
    published when the run began, unless install.windows.maxPatchPublishDate says so. Needs two
    waves. Not pinned are packages that come along as a dependency; a version that the machine's
    repositories do not have any more is not installed."""
    approval: Approval = Field(default_factory=Approval)
    """Whether somebody must approve a run before it begins."""
    spread: Annotated[
        tuple[Spread, ...],
        Field(max_length=SPREAD_MOST),
        Rule(
            "self.all(one, self.exists_one(other, one.by == other.by && (!has(one.key) || "
            "!has(other.key) || one.key.lowerAscii() == other.key.lowerAscii())))",
            "rollout.spread has two entries for the same groups (by, and key without case): keep "
            "one of them",
        ),
    ] = DEFAULT_SPREAD
    """Groups of machines of which only so many may be unavailable at a time, beside
    maxUnavailable. A group's machines count under whatever policies of the cluster they are; what
    this list says holds for this policy's installs. An empty list: no groups."""

    @model_validator(mode="after")
    def _pinned_for_somebody(self) -> Self:
        if self.patch_set is PatchSetMode.PINNED and len(self.waves) < 2:
            raise ValueError(NOTHING_TO_PIN_FOR)
        return self
