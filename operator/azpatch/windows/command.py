"""The command `azpatch windows`: its options, and what of the files they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import click

from azpatch.console import STDIN, OneLine, Wrong, content, echo
from azpatch.domain.opening import NEEDS_A_PERSON, Shut, opening
from azpatch.domain.windows import (
    FREEZE_ZONE,
    Calendar,
    Frozen,
    UnknownTimeZoneError,
    calendar,
    freezes,
    instant,
)
from azpatch.windows.answers import answers, as_json, table
from azpatch.windows.reading import Manifests, Policy, manifests

COUNT = 10
MOST = 10_000

AHEAD = timedelta(days=20 * 366)
"""How far windows are looked for."""

YEARS = range(1970, 9000)


@click.command(cls=OneLine)
@click.option(
    "-f",
    "--filename",
    "files",
    metavar="FILE",
    multiple=True,
    help="A manifest with the PatchPolicy, and with AzureSubscriptions where their freezes are to "
    "count; may be repeated. - is stdin.",
)
@click.option(
    "--from",
    "since",
    metavar="DATE",
    help="From when on, such as 2026-12-24 or 2026-12-24T18:00: in the schedule's time zone, "
    "unless an offset is given. Absent: from now on.",
)
@click.option(
    "--count",
    type=click.IntRange(1, MOST),
    default=COUNT,
    show_default=True,
    help="How many windows.",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@click.argument("name", required=False)
def windows(
    files: tuple[str, ...], since: str | None, count: int, output: str, name: str | None
) -> None:
    """Print when the windows of a PatchPolicy open next, without a cluster and without Azure.

    NAME is the policy's, or NAMESPACE/NAME, and needed where the files have several. The window
    that is open at that time is the first. Freezes of the policy and of its AzureSubscriptions are
    shown with what they leave of a window.
    """
    if not files:
        raise Wrong("-f is needed: a file with a PatchPolicy.")
    if sum(file == STDIN for file in files) > 1:
        raise Wrong("Stdin can be given once.")
    found = manifests([content(file, "-f") for file in files])
    policy = _chosen(found.policies, name)
    shown = _calendar(policy, found)
    start = _start(since, shown.zone)
    install = policy.spec.install
    assert install is not None
    occurrences = list(islice(shown.occurrences(start, start + AHEAD), count))
    if output == "json":
        click.echo(as_json(answers(shown, occurrences, install.maximum_duration)), nl=False)
    elif occurrences:
        echo(table(shown, occurrences, install.maximum_duration))
    _note_absent(policy, found)
    _note(policy, shown, bool(occurrences), install.maximum_duration, start)


def _chosen(policies: Sequence[Policy], name: str | None) -> Policy:
    names = ", ".join(one.name for one in policies)
    if not policies:
        raise Wrong("There is no PatchPolicy in the files.")
    if name is None:
        if len(policies) > 1:
            raise Wrong(f"There are several PatchPolicies in the files: {names}. Name one.")
        return policies[0]
    chosen = [one for one in policies if one.is_called(name)]
    if not chosen:
        raise Wrong(f"There is no PatchPolicy {name} in the files, which have {names}.")
    if len(chosen) > 1:
        spaces = ", ".join(f"{one.namespace}/{one.name}" for one in chosen)
        raise Wrong(f"There are several PatchPolicies {name} in the files. Name one: {spaces}.")
    return chosen[0]


def _calendar(policy: Policy, found: Manifests) -> Calendar:
    if policy.schedule is None or policy.spec.install is None:
        raise Wrong(f"PatchPolicy {policy.name} does not install: it has no windows.")
    others: list[Frozen] = []
    where = ""
    try:
        for subscription in found.subscriptions:
            where = f"AzureSubscription {subscription.name}, spec.freezes"
            if policy.is_in(subscription):
                of = f"of AzureSubscription {subscription.name}"
                others += (
                    replace(one, name=f"{one.name} {of}")
                    for one in freezes(subscription.freezes, FREEZE_ZONE)
                )
        where = f"PatchPolicy {policy.name}, spec.schedule"
        return calendar(policy.schedule, others)
    except UnknownTimeZoneError as error:
        raise Wrong(f"{where}: {error}.") from None


def _start(since: str | None, zone: ZoneInfo) -> datetime:
    if since is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        at = None
    if at is None or at.year not in YEARS:
        raise Wrong(
            f"--from {since} is no date of these times. Give one such as 2026-12-24 or "
            "2026-12-24T18:00."
        )
    return instant(at, zone) if at.tzinfo is None else at.astimezone(UTC)


def _note_absent(policy: Policy, found: Manifests) -> None:
    """A freeze that is not there looks like none; only who gives some can forget others."""
    names = {one.name for one in found.subscriptions}
    selector = policy.spec.target.selector
    absent = set(selector.azure_subscriptions) - names if selector and names else set()
    if absent:
        listed = ", ".join(sorted(absent))
        click.echo(f"Note: not in the files, so their freezes are not shown: {listed}.", err=True)


def _note(policy: Policy, shown: Calendar, some: bool, needed: timedelta, start: datetime) -> None:
    """What the table does not say."""
    if not shown.windows:
        told = "installs at any time (schedule.always)"
        if shown.freezes:
            told += ", but in freezes"
        click.echo(f"Note: PatchPolicy {policy.name} {told}: it has no windows.", err=True)
        return
    found = opening(shown, needed, start)
    if isinstance(found, Shut) and (found.reason in NEEDS_A_PERSON or not some):
        click.echo(f"Note: {found.message}", err=True)
