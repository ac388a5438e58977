"""The command `azpatch support`: its options, what goes together, and its exit status."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from typing import TypeVar

import click

from azpatch.api.common import DetectedState, OperationName, OsType, Support
from azpatch.api.revisions import REVISIONS
from azpatch.api.subscription import FeatureState
from azpatch.console import STDIN, OneLine, Wrong, content, echo, width
from azpatch.domain.matrix import Matrix, revision
from azpatch.support import printing
from azpatch.support.answers import Answer
from azpatch.support.judging import Circumstances, Judge, of_definition, of_plan, used
from azpatch.support.reading import Definitions, Machines, Named, definitions, machines

GATED = (OperationName.ON_DEMAND_ASSESSMENT, OperationName.ON_DEMAND_PATCHING)
"""What the exit status is about unless `--operation` says otherwise: what azpatch itself sends."""


class ExitStatus(IntEnum):
    """The worst verdict on the operations that were asked about. 1 is left to crashes."""

    SUPPORTED = 0
    WRONG = 2
    """Nothing was answered: the options or a file are wrong."""
    UNSUPPORTED = 3
    UNKNOWN = 4


E = TypeVar("E", bound=StrEnum)


class Word(click.Choice[str]):
    """One of some words, in any case, shown as they are spelt."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__([str(word) for word in words], case_sensitive=False)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What stands for one of them in the help."""
        return "|".join(self.choices)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """What is wrong."""
        return f"{value!r} is none of {', '.join(self.choices)}."


@click.command(cls=OneLine)
@click.option(
    "--revision",
    "name",
    type=Word(REVISIONS),
    help="Revision of the support matrix. Required, as in an AzureSubscription.",
)
@click.option("--publisher", help="A marketplace image, with --offer and --sku.")
@click.option("--offer")
@click.option("--sku")
@click.option(
    "--os",
    "os_type",
    type=Word(OsType),
    help="Its operating system. Absent: the rules for both count.",
)
@click.option(
    "--vm-json",
    metavar="FILE",
    help="A machine as `az vm show -o json` or `az connectedmachine show` prints it, or a list as "
    "`az vm list` does. - is stdin.",
)
@click.option(
    "--image-definition",
    metavar="FILE",
    help="The gallery images of those machines, as `az sig image-definition show` or `list` prints "
    "them. Without --vm-json: machines that will be made from them. - is stdin.",
)
@click.option(
    "--detected",
    metavar="STATE",
    type=Word(DetectedState),
    help="What Azure found by an assessment (detectedVMGuestPatchSupportState): "
    f"{', '.join(DetectedState)}. Absent: there was none.",
)
@click.option(
    "--feature",
    metavar="STATE",
    type=Word(FeatureState),
    help="State of the preview feature in the machine's subscription, for a revision that needs "
    f"it: {', '.join(FeatureState)}. Absent: not known.",
)
@click.option(
    "--operation",
    "asked",
    metavar="NAME",
    type=Word(OperationName),
    multiple=True,
    help=f"What the exit status is about: {', '.join(OperationName)}; may be repeated. Absent: "
    f"{' and '.join(GATED)}.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
)
def support(
    name: str | None,
    publisher: str | None,
    offer: str | None,
    sku: str | None,
    os_type: str | None,
    vm_json: str | None,
    image_definition: str | None,
    detected: str | None,
    feature: str | None,
    asked: tuple[str, ...],
    output: str,
) -> None:
    """Say what Azure can patch, and why, without a cluster and without Azure.

    About a marketplace image, machines, or gallery images; about nothing, it prints the support
    matrix.

    Exit status: 0 if all that was asked about is Supported, 3 if something is Unsupported, else 4
    if something is Unknown, or nothing is in the file; 2 if the options or a file are wrong.
    """
    if name is None:
        raise Wrong(f"--revision is needed, one of {', '.join(REVISIONS)}.")
    matrix = revision(name)
    plan = _plan(publisher, offer, sku)
    _together(plan is not None, os_type, vm_json, image_definition)
    if plan is None and vm_json is None and image_definition is None:
        given = {"--detected": detected, "--feature": feature, "--operation": asked}
        _no_machine([option for option, value in given.items() if value])
        _print_matrix(matrix, output)
        return
    with _no_collecting():
        images = _definitions(image_definition)
        about = _about(plan, _member(OsType, os_type), vm_json, images)
        around = Circumstances.of(
            matrix, _member(FeatureState, feature), _member(DetectedState, detected)
        )
        judge = Judge(around, {} if images is None else images.by_key)
        answers = [judge.answer(one) for one in about.machines]
        if not answers:
            file = "--vm-json" if vm_json is not None else "--image-definition"
            click.echo(f"Note: nothing is in {file}, so nothing is known.", err=True)
        _print(answers, about.listed, matrix, output)
    sys.exit(status(answers, [OperationName(one) for one in asked] or GATED))


@contextmanager
def _no_collecting() -> Iterator[None]:
    """All that a long list is made into lives until it is printed: to look for garbage in it again
    and again is a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def status(answers: Sequence[Answer], asked: Iterable[OperationName]) -> ExitStatus:
    """The worst verdict on these operations. Of no machine nothing is known: a group whose name was
    mistyped must not pass."""
    if not answers:
        return ExitStatus.UNKNOWN
    found = {one.operations[operation].verdict for operation in asked for one in answers}
    if Support.UNSUPPORTED in found:
        return ExitStatus.UNSUPPORTED
    return ExitStatus.UNKNOWN if Support.UNKNOWN in found else ExitStatus.SUPPORTED


# --- what goes together ---------------------------------------------------------------------------


def _plan(publisher: str | None, offer: str | None, sku: str | None) -> tuple[str, str, str] | None:
    given = {"--publisher": publisher, "--offer": offer, "--sku": sku}
    missing = [option for option, value in given.items() if not value]
    if len(missing) == len(given) and set(given.values()) == {None}:
        return None
    if missing:
        raise Wrong(f"A marketplace image needs {' and '.join(missing)} too.")
    return str(publisher), str(offer), str(sku)


def _together(
    plan: bool, os_type: str | None, vm_json: str | None, image_definition: str | None
) -> None:
    file = "--vm-json" if vm_json is not None else "--image-definition"
    files = vm_json is not None or image_definition is not None
    if plan and files:
        raise Wrong(f"--publisher and {file} are about different images. Give one of them.")
    if os_type is not None and not plan:
        raise Wrong(
            f"--os goes with --publisher, --offer and --sku; {file} says its own. Leave it out."
            if files
            else "--os goes with --publisher, --offer and --sku. Give them too."
        )
    if vm_json == STDIN and image_definition == STDIN:
        raise Wrong("Stdin can be one of --vm-json and --image-definition. Give a file for one.")


def _no_machine(given: Sequence[str]) -> None:
    if given:
        raise Wrong(
            f"{' and '.join(given)} must be about something. Give --vm-json, --image-definition, "
            "or --publisher, --offer and --sku."
        )


def _definitions(image_definition: str | None) -> Definitions | None:
    if image_definition is None:
        return None
    return definitions(*content(image_definition, "--image-definition"))


def _about(
    plan: tuple[str, str, str] | None,
    os_type: OsType | None,
    vm_json: str | None,
    images: Definitions | None,
) -> Machines:
    if plan is not None:
        return Machines((of_plan(*plan, os_type),), listed=False)
    if vm_json is not None:
        about = machines(*content(vm_json, "--vm-json"))
        if images is not None:
            _note_unused(about.machines, images)
        return about
    assert images is not None
    made = tuple(of_definition(name, definition) for name, definition in images.definitions)
    return Machines(made, images.listed)


def _note_unused(about: Sequence[Named], images: Definitions) -> None:
    """No mistake in a script over many groups; on one machine it mostly is."""
    if images.definitions and not {used(one) for one in about} & images.by_key.keys():
        names = ", ".join(name for name, _ in images.definitions)
        click.echo(f"Note: no machine was built from {names} of --image-definition.", err=True)


def _member(kind: type[E], value: str | None) -> E | None:
    return None if value is None else kind(value)


# --- output ---------------------------------------------------------------------------------------


def _print_matrix(matrix: Matrix, output: str) -> None:
    if output == "table":
        echo(printing.matrix_table(matrix, width()))
        return
    write = printing.matrix_json if output == "json" else printing.matrix_yaml
    click.echo(write(matrix), nl=False)


def _print(answers: Sequence[Answer], listed: bool, matrix: Matrix, output: str) -> None:
    if output == "table":
        lines = (
            printing.fleet(answers, matrix, width())
            if listed
            else printing.card(answers[0], matrix, width())
        )
        echo(lines)
        return
    write = printing.as_json if output == "json" else printing.as_yaml
    click.echo(write(answers if listed else answers[0]), nl=False)
