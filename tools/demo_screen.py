"""What the demo shows: a live table in a terminal, a line for every change elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo_cluster import Seen, View
from demo_story import SAMPLES, Sample

WIDTH = 110
"""Of tables that do not go to a terminal."""

WIDE = 100
"""From here on the live table has room to say what each machine is."""

GOOD, BAD, BUSY, QUIET = "green", "red", "yellow", "dim"


class Screen(Protocol):
    """Shows the cluster as it changes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, view: View, elapsed: timedelta) -> None:
        """`elapsed`: Azure's time since the policies were applied."""
        ...


def console() -> Console:
    """For a terminal as wide as it is; else wide enough for the tables."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def screen(to: Console) -> Screen:
    """The one that suits where the output goes."""
    return _LiveScreen(to) if to.is_terminal else Lines(to)


class _LiveScreen:
    """A table that is drawn anew."""

    def __init__(self, to: Console) -> None:
        # Once it ends, the last table makes room for the final one.
        self._live = Live(console=to, transient=True, auto_refresh=False)
        self._console = to

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: View, elapsed: timedelta) -> None:
        self._live.update(_progress(view, elapsed, self._console.width), refresh=True)


class Lines:
    """A line when something new happens to a machine."""

    def __init__(self, to: Console, known: View | None = None) -> None:
        """`known`: what needs no telling."""
        self._console = to
        self._told = {_where(m): doing(m).plain for m in known.machines} if known else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, view: View, elapsed: timedelta) -> None:
        policies = Counter(machine.name for machine in view.machines)
        for machine in view.machines:
            now = doing(machine)
            if now.plain != self._told.get(_where(machine)):
                self._told[_where(machine)] = now.plain
                several = policies[machine.name] > 1
                under = f" ({machine.namespace}/{machine.policy})" if several else ""
                self._tell(machine.name + under, now, elapsed)
        for gone in sorted(self._told.keys() - {_where(machine) for machine in view.machines}):
            del self._told[gone]
            namespace, policy, name = gone
            left = Text(f"is no longer under {namespace}/{policy}", style=QUIET)
            self._tell(name, left, elapsed)

    def _tell(self, name: str, now: Text, elapsed: timedelta) -> None:
        self._console.print(Text.assemble((f"+{hours(elapsed)}  ", QUIET), f"{name:<12} ", now))


def doing(seen: Seen) -> Text:
    """What happens to a machine, in a few words; reasons are those that kubectl shows."""
    ready, supported = seen.condition("Ready"), seen.condition("Supported")
    compliant = seen.condition("Compliant")
    if seen.operation == "Assess":
        return Text(_ASSESSED.get(seen.just_installed, "is assessed"), style=BUSY)
    if seen.operation == "Install":
        return Text(f"installs {_patches(seen.selected or 0)}", style=BUSY)
    if supported.status == "False":
        return Text(f"refused: {supported.reason}", style=BAD)
    if compliant.status == "True":
        return Text("compliant", style=GOOD)
    if compliant.status == "False" and compliant.reason != "PatchesMissing":
        return Text(f"{_patches(seen.selected or 0)} missing: {compliant.reason}", style=BAD)
    if ready.reason in _LEFT_ALONE:
        return Text(f"left alone: {ready.reason}", style=QUIET)
    if ready.reason:
        return Text(f"waits: {ready.reason}", style=QUIET)
    return Text("is looked at", style=QUIET)


_ASSESSED = {
    "": "is assessed",
    "Succeeded": "is assessed, after its install",
    "Failed": "is assessed, after an install that failed",
}
"""By the outcome of the install that the assessment is about."""


_LEFT_ALONE = frozenset(
    {"AssessOnly", "GovernedElsewhere", "MachineGone", "OSNotSelected", "Suspended"}
)
"""Reasons that do not pass by themselves and are no refusal either."""


_WAIT_FOR_THEIR_TIME = frozenset({"Frozen", "RunPaused", "WaitingForWave", "WaitingForWindow"})
"""Of a machine that misses patches, these say why they are not installed."""


def hours(elapsed: timedelta) -> str:
    """Hours and minutes."""
    minutes = int(elapsed.total_seconds() // 60)
    return f"{minutes // 60}:{minutes % 60:02}"


def _progress(view: View, elapsed: timedelta, width: int) -> Table:
    table = _table(f"Azure's clock: +{hours(elapsed)} h", "Policy", "Machine")
    if width >= WIDE:
        table.add_column("What it is")
    table.add_column("Missing", justify="right")
    table.add_column("Now")
    for sample, machine in _samples(view):
        selected = "" if machine is None or machine.selected is None else str(machine.selected)
        about = [sample.about] if width >= WIDE else []
        table.add_row(sample.of, sample.machine, *about, selected, _now(machine))
    return table


def summary(view: View, posts: Counter[tuple[str, str]], unexpected: Iterable[str]) -> Table:
    """Every sample machine at the end; `unexpected` are the lines of `demo_story.missing`."""
    table = _table("The end, and the operations that Azure took", "Policy", "Machine")
    # The one column that wraps where the terminal is narrow.
    table.add_column("Now")
    table.add_column("Assess", justify="right", no_wrap=True)
    table.add_column("Install", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    wrong = {line.partition(":")[0] for line in unexpected}
    for sample, machine in _samples(view):
        table.add_row(
            sample.of,
            sample.machine,
            _now(machine),
            *(str(posts[sample.machine, kind]) for kind in ("Assess", "Install")),
            Text("✗", style=BAD) if sample.name in wrong else Text("✓", style=GOOD),
        )
    return table


def _table(title: str, *names: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=title,
        title_justify="left",
    )
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _samples(view: View) -> Iterator[tuple[Sample, Seen | None]]:
    seen = {_where(machine): machine for machine in view.machines}
    for sample in SAMPLES:
        yield sample, seen.get((sample.namespace, sample.policy, sample.machine))


def _now(machine: Seen | None) -> Text:
    return doing(machine) if machine else Text("not found yet", style=QUIET)


def origins(view: View) -> Iterable[Text]:
    """Each image class and the evidence for it, with the machines of which that is so."""
    found: dict[tuple[str, str], list[str]] = {}
    for _, machine in _samples(view):
        if machine is not None and machine.image_class:
            found.setdefault((machine.image_class, machine.evidence), []).append(machine.name)
    for (image_class, evidence), names in found.items():
        yield Text.assemble((f"{image_class}: ", "bold"), f"{', '.join(names)}. {evidence}")


def explanations(view: View) -> Iterable[Text]:
    """What azpatch itself says about all that is not compliant: the messages of the status."""
    about = {sample.machine: sample.about for sample in SAMPLES}
    for machine in view.machines:
        supported, compliant = machine.condition("Supported"), machine.condition("Compliant")
        said = compliant if supported.status == "True" else supported
        if compliant.status != "True":
            name = f"{machine.name} ({about.get(machine.name, 'not of the demo')}): "
            azure = f" Azure said: {machine.error}" if machine.error else ""
            ready = machine.condition("Ready")
            waits = f" {ready.message}" if ready.reason in _WAIT_FOR_THEIR_TIME else ""
            yield Text.assemble((name, "bold"), said.message, waits, azure)
    for run in view.runs:
        if run.phase != "Succeeded":
            name = f"PatchRun {run.name} ({run.phase}): "
            yield Text.assemble((name, "bold"), run.condition("Ready").message)
    for subscription in view.subscriptions:
        feature = subscription.condition("PreviewFeature")
        if feature.reason and feature.status != "True":
            name = f"AzureSubscription {subscription.name}: "
            yield Text.assemble((name, "bold"), feature.message)


def _where(seen: Seen) -> tuple[str, str, str]:
    return seen.namespace, seen.policy, seen.name


def _patches(count: int) -> str:
    return f"{count} {'patch' if count == 1 else 'patches'}"
