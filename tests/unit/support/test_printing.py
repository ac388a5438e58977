"""Tables for people, in wide and narrow terminals and in pipes; JSON and YAML for programs."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from asking import ask, ask_json
from printed_models import arc, instance_view, plan, vm, written

from azpatch.api.common import OperationName
from azpatch.domain.arc import unless_accepted
from azpatch.domain.matrix import REVISIONS, read, revision
from azpatch.support import printing
from azpatch.support.answers import Answer

ROOT = Path(__file__).parents[3]

FLEET = [
    vm("web-with-quite-a-long-name-1"),
    vm("web-2", instanceView=instance_view("ubuntu", "24.04")),
    vm("db: 1", storageProfile=plan("canonical", "x", "y"), tags={}),
    vm("- ämter", storageProfile=plan("nobody", "knows", "it")),
    arc("dc-7"),
]


def fleet() -> list[Answer]:
    told = ask_json("--revision", "2025-02", "--vm-json", "-", stdin=written(FLEET))
    return [Answer.model_validate(answer) for answer in told]


MATRIX = revision("2025-02")


@pytest.mark.parametrize("width", [60, 72, 80, 132, 300, None])
def test_a_table_fits_the_terminal_and_loses_nothing_in_a_pipe(width: int | None) -> None:
    answers = fleet()

    lines = list(printing.fleet(answers, MATRIX, width))
    lines += printing.card(answers[0], MATRIX, width)
    lines += printing.matrix_table(MATRIX, width)

    if width is None:
        said = [found for one in answers for found in one.operations.values()]
        text = "\n".join(lines)
        assert all(found.message in text for found in said if found.verdict != "Supported")
        assert FLEET[0]["name"] in text
    else:
        # What cannot be broken runs over: ids, documents, and the columns of a table.
        prose = [line for line in lines if "/" not in line and "  " not in line.strip()]
        assert max(map(len, prose)) <= width
    assert all(line == line.rstrip() for line in lines)


def test_the_columns_of_many_machines_fit_eighty_characters() -> None:
    lines = list(printing.fleet(fleet(), MATRIX, 80))
    head = next(number for number, line in enumerate(lines) if line.startswith("NAME"))
    rows = lines[head : lines.index("", head)]

    assert len(rows) == 1 + len(FLEET)
    assert max(map(len, rows)) <= 80
    assert rows[1].startswith("web-with-qui… ")


def test_a_message_of_each_image_is_shown_a_few_times_only() -> None:
    machines = [vm(f"m-{n}", storageProfile=plan("canonical", f"o-{n}", "s")) for n in range(50)]

    told = ask("--revision", "2025-02", "--vm-json", "-", stdin=written(machines))

    assert told.out.count("does not have canonical:o-") == 3
    assert "… and 47 more of the kind: -o json has all" in told.out
    assert "Unsupported  ImageNotSupported  (50 of 50)" in told.out


def test_what_servers_of_azure_arc_cost_is_said_once_for_all() -> None:
    told = ask(
        *("--revision", "2025-02", "--vm-json", "-"), stdin=written([vm(), arc("a"), arc("b")])
    )

    assert told.out.count("spec.arcBilling: Accepted") == 1
    assert unless_accepted(2) in told.out


def test_a_name_cannot_move_the_cursor() -> None:
    odd = vm("\x1b[2Jgone\n\rweb", id=vm()["id"])

    for machines in (odd, [odd]):
        told = ask("--revision", "2025-02", "--vm-json", "-", stdin=written(machines))
        assert "?[2Jgone??web" in told.out
        assert told.out.replace("\n", "").isprintable()


# --- for programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("machines", [FLEET, FLEET[:1], [], FLEET[0], FLEET[3]], ids=str)
def test_yaml_says_what_json_says(machines: object) -> None:
    arguments = ("--revision", "2025-02", "--vm-json", "-")

    told = ask(*arguments, "-o", "yaml", stdin=written(machines))

    assert yaml.safe_load(told.out) == ask_json(*arguments, stdin=written(machines))


@pytest.mark.parametrize("machines", [FLEET, [], FLEET[0]], ids=["fleet", "none", "one"])
@pytest.mark.parametrize("name", REVISIONS)
def test_the_answers_have_the_documented_shape(name: str, machines: object) -> None:
    schema = json.loads((ROOT / "docs" / "support-command.schema.json").read_text())

    told = ask_json("--revision", name, "--vm-json", "-", stdin=written(machines))

    jsonschema.validate(told, schema)
    for answer in told if isinstance(told, list) else [told]:
        assert list(answer["operations"]) == list(OperationName)
        assert all(found["message"] for found in answer["operations"].values())


@pytest.mark.parametrize("name", REVISIONS)
def test_the_matrix_is_printed_in_the_form_of_its_data(name: str) -> None:
    """So that one's own can begin with it."""
    printed = ask("--revision", name, "-o", "yaml")

    assert read(printed.out) == revision(name)
    assert yaml.safe_load(printed.out) == ask_json("--revision", name)
    assert ask("--revision", name, "-o", "yaml") == printed
