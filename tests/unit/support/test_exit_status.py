"""A pipeline can gate on the exit status."""

from __future__ import annotations

import pytest
from asking import ask
from printed_models import MANAGED_IMAGE, Model, plan, storage, vm, written

ALLOWED = vm("allowed", storageProfile=plan("canonical", "x", "y"))
DENIED = vm("denied", storageProfile=plan("redhat", "rhel-ha", "81_gen2"))
NOT_ASSESSED = vm("gallery")
ON_DEMAND = ("OnDemandAssessment", "OnDemandPatching")


@pytest.mark.parametrize(
    ("machines", "operations", "status"),
    [
        pytest.param([ALLOWED], [], 0, id="supported on demand, though not automatically"),
        pytest.param([NOT_ASSESSED], [], 4, id="patching waits for an assessment"),
        pytest.param([DENIED], [], 3, id="unsupported"),
        pytest.param([ALLOWED, NOT_ASSESSED], [], 4, id="the worst of all machines: unknown"),
        pytest.param([ALLOWED, NOT_ASSESSED, DENIED], [], 3, id="the worst of all: unsupported"),
        pytest.param([ALLOWED], ["AutomaticGuestPatching"], 3, id="asked about another operation"),
        pytest.param([NOT_ASSESSED], ["OnDemandAssessment"], 0, id="asked about one of the two"),
        pytest.param([NOT_ASSESSED], ["PeriodicAssessment", "ScheduledPatching"], 4, id="two more"),
    ],
)
def test_the_worst_verdict_on_what_is_asked_about(
    machines: list[Model], operations: list[str], status: int
) -> None:
    gates = [argument for name in operations for argument in ("--operation", name)]

    for output in ("table", "json", "yaml"):
        told = ask(
            *("--revision", "2025-02", "--vm-json", "-", "-o", output, *gates),
            stdin=written(machines),
        )
        assert told.status == status
        assert told.err == ""


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
@pytest.mark.parametrize("file", ["--vm-json", "--image-definition"])
def test_an_empty_list_does_not_open_the_gate(file: str, output: str) -> None:
    """As of a resource group whose name was mistyped."""
    told = ask("--revision", "2025-02", file, "-", "-o", output, stdin="[]")

    assert told.status == 4
    assert told.err == f"Note: nothing is in {file}, so nothing is known.\n"


def test_what_was_detected_opens_the_gate() -> None:
    arguments = ("--revision", "2025-02", "--vm-json", "-", "--detected", "Supported")
    images = [NOT_ASSESSED, vm("old", storageProfile=storage(id=MANAGED_IMAGE))]

    assert ask(*arguments, stdin=written(images)).status == 0


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_printing_the_matrix_asks_about_nothing(output: str) -> None:
    assert ask("--revision", "2025-02", "-o", output).status == 0
