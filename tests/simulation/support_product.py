"""Image classes by detected states by revisions: every combination as a machine of one simulated
Azure, the whole operator above it, and what Azure was asked for.

What is expected follows from the documents and from what each machine is (`judging.support`), with
none of the operator's code.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from random import Random
from typing import Any
from unittest.mock import patch

from support_mutations import MUTATIONS

from azpatch.kube.port import Object
from judging import documents
from judging.azure_journal import Journal, Kind, parse
from judging.support import Case, Circumstances, Found, Gate, allowing, support_kept
from simulation import fleets, images
from simulation.fleets import START
from simulation.images import KINDS, Built
from simulation.loop import run as run_virtual
from simulation.unheard import quiet
from simulation.world import World

LONG_ENOUGH = timedelta(minutes=35)
"""For every machine to be assessed, installed on and assessed again, within Azure's budgets, and to
be decided once more without any news."""

INVENTORY = timedelta(minutes=20)
BEFORE = "30h"
"""The age of an assessment that was there before: it is believed, and too old to do without one."""


@dataclass(frozen=True)
class Place:
    """A subscription: its revision, and what there is of the preview feature."""

    revision: str
    gate: Gate = "open"
    features: Sequence[dict[str, Any]] = (fleets.CLOSED,)
    mode: str = "Check"


PLACES = {
    1: Place("2023-05", "open", [fleets.FEATURE]),
    2: Place("2023-05", "closed"),
    3: Place("2023-05", "unknown", [fleets.NAMELESS, fleets.ANOTHER]),
    4: Place("2023-05", "open", mode="Ignore"),
    5: Place("2023-09"),
    6: Place("2023-11"),
    7: Place("2025-02"),
}
"""By number of the subscription. Later revisions ask for no feature."""

GUESTS: dict[Found, dict[str, Any]] = {
    "Supported": {},
    "Unsupported": {"patchable": False},
    "UnableToDetermine": {"detected": "UnableToDetermine"},
    "silence": {"detected": "Unknown"},
}
"""What an assessment detects, as the fleet file has it."""

LISTED = {
    "Linux": {"os": "ubuntu", "osVersion": "22.04"},
    "Windows": {"os": "Windows Server 2022 Datacenter", "osVersion": "10.0.20348.1"},
}
NOT_LISTED = {
    "Linux": {"os": "flatcar", "osVersion": "4081.2.0"},
    "Windows": {"os": "Windows 11 Pro", "osVersion": "10.0.22631.1"},
}
SYSTEMS = {"listed": LISTED, "not listed": NOT_LISTED, "not reported": {"Linux": {}, "Windows": {}}}
"""Systems that agents report, by whether revision 2025-02 lists them for custom images."""


@dataclass(frozen=True)
class Row:
    """One machine under one policy."""

    number: int
    kind: str
    detects: Found
    place: int
    before: bool
    """An assessment of yesterday is there already."""
    asked: bool
    """The policy probes, and tries where Azure could not determine support."""
    system: str

    @property
    def built(self) -> Built:
        """Its kind."""
        return KINDS[self.kind]

    @property
    def machine(self) -> dict[str, Any]:
        """As the fleet file has it."""
        built = self.built
        missing = [
            {
                **fleets.patch(Random(self.number), self.number, windows=built.windows),
                "classification": "Security",
                "rebootBehavior": "NeverReboots",
            }
        ]
        before = {"assessedAgo": BEFORE} if self.before else {}
        return {
            "name": f"vm-{self.number}",
            "subscription": images.subscription_id(self.place),
            "group": fleets.GROUP,
            "osType": built.truth.os_type,
            "image": dict(built.image),
            **built.fields,
            "guest": {
                "missing": missing,
                "durations": {"assess": "20s", "prepare": "10s", "perPatch": "20s"},
                **before,
                **SYSTEMS[self.system][built.truth.os_type],
                **GUESTS[self.detects],
            },
        }

    @property
    def id(self) -> str:
        """Of the machine, a key."""
        return fleets.id_of(self.machine).lower()

    @property
    def policy(self) -> Object:
        """A policy for it alone."""
        target = {"virtualMachine": {"id": fleets.id_of(self.machine)}}
        made = fleets.policy(Random(0), f"p-{self.number}", fleets.NAMESPACES[0], target)
        made["spec"]["assessment"] = {"maxAge": "24h", "probeUnsupported": self.asked}
        made["spec"]["install"].update(
            rebootSetting="IfRequired", onUndeterminedSupport="Try" if self.asked else "Wait"
        )
        return made

    @property
    def case(self) -> Case:
        """For the checkers."""
        place = PLACES[self.place]
        return Case(
            self.id,
            fleets.truth_of(self.machine, self.built),
            Circumstances(
                documents.revision(place.revision), place.gate, probe=self.asked, tried=self.asked
            ),
            assessed_before=self.before,
        )

    @property
    def expected(self) -> tuple[bool, bool]:
        """Whether it is to be assessed, and installed on."""
        case = self.case
        found: Found = self.detects if self.before else "nothing"
        assess = found in allowing("Assess", case.truth, case.around)
        known = assess or self.before
        return assess, known and self.detects in allowing("Install", case.truth, case.around)

    def told(self, sent: tuple[bool, bool]) -> str:
        """A line of the table."""
        place = PLACES[self.place]
        words = (
            f"{place.revision} {place.gate}",
            self.kind,
            self.built.truth.image_class,
            self.detects + (", before" if self.before else ""),
            self.system,
            "probe, Try" if self.asked else "",
            _told(self.expected),
            _told(sent),
        )
        return "".join(f"{word:<{width}}" for word, width in zip(words, WIDTHS, strict=True))


HEADINGS = ("matrix", "built from", "class", "detected", "system", "policy", "expected", "sent")
WIDTHS = (18, 12, 20, 26, 14, 12, 16, 16)


def _told(sent: tuple[bool, bool]) -> str:
    return (
        " ".join(word for word, done in zip(("assess", "install"), sent, strict=True) if done)
        or "-"
    )


HISTORIES = ((False, False), (True, True), (False, True), (True, False))
"""(assessed before, policy that asks), taken in turns."""

TWICE = (1, 2)
"""Places whose answers depend most on the history."""


def rows() -> list[Row]:
    """The product of kinds, detected states and places, each with some history and system."""
    made: list[Row] = []
    for turn, (place, kind, detects) in enumerate(product(PLACES, KINDS, GUESTS)):
        turns = 2 if place in TWICE else 1
        systems = SYSTEMS if PLACES[place].revision == "2025-02" else ("not listed",)
        for number, system in product(range(turns), systems):
            before, asked = HISTORIES[(turn + turn // 4 + number) % 4]
            made.append(Row(len(made) + 1, kind, detects, place, before, asked, system))
    return made


def fleet(chosen: Sequence[Row]) -> fleets.Fleet:
    """All of them."""
    places = sorted({1, *(row.place for row in chosen)})
    return fleets.Fleet(
        azure={
            "principals": [fleets.operator(places)],
            "subscriptions": [
                *(fleets.subscription(number, PLACES[number].features) for number in places),
                fleets.vault(),
            ],
            "machines": [row.machine for row in chosen],
            "resourceGraph": {"lag": "20s", "tailShare": 0},
        },
        subscriptions=[_declared(number) for number in places],
        policies=[row.policy for row in chosen],
    )


def _declared(number: int) -> Object:
    place, made = PLACES[number], fleets.declared(Random(0), number)
    spec = {
        **made["spec"],
        "supportMatrix": place.revision,
        "previewFeature": {"mode": place.mode},
    }
    return {**made, "spec": {k: v for k, v in spec.items() if k != "supportMatrixRef"}}


def journal(chosen: Sequence[Row]) -> Journal:
    """What Azure received from the operator, and what happened in its machines."""
    quiet()

    async def live() -> Journal:
        world = World(1, fleet(chosen), INVENTORY)
        with patch("time.time", lambda: START.timestamp() + world.loop.time()):
            world.start_operator()
            await asyncio.sleep(LONG_ENOUGH.total_seconds())
        for process in world.living():
            process.process.kill()
        return Journal(parse(entry.to_json()) for entry in world.journal.entries)

    return run_virtual(live)


def differences(chosen: Sequence[Row], seen: Journal) -> Iterator[str]:
    """The rows of which something else was sent than is expected, a line each."""
    sent: dict[str, set[Kind]] = {}
    for request in seen.requests([fleets.OPERATOR]):
        if request.patches is not None:
            machine, kind = request.patches
            sent.setdefault(machine, set()).add(kind)
    for row in chosen:
        done = sent.get(row.id, set())
        if ("Assess" in done, "Install" in done) != row.expected:
            yield row.told(("Assess" in done, "Install" in done))


def forbidden(chosen: Sequence[Row], seen: Journal) -> list[str]:
    """What the checker of what may be sent finds."""
    return support_kept(seen, [row.case for row in chosen], [fleets.OPERATOR])


def main(name: str | None = None) -> int:
    """Prints the rows that are wrong, and what the checker finds; 0 if all is right. `name`: of a
    wrong operator."""
    chosen = rows()
    with ExitStack() as stack:
        if name is not None:
            mutation = MUTATIONS[name]
            chosen = [row for row in chosen if row.kind in mutation.kinds]
            for patched in mutation.make():
                stack.enter_context(patched)
        seen = journal(chosen)
    wrong, broken = list(differences(chosen, seen)), forbidden(chosen, seen)
    print("".join(f"{word:<{width}}" for word, width in zip(HEADINGS, WIDTHS, strict=True)))
    print(*wrong, sep="\n")
    print(f"{len(wrong)} of {len(chosen)} rows are wrong")
    print(*broken, sep="\n")
    return 1 if wrong or broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
