"""`azpatch support` as a program: its own process, real files and pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from printed_models import vm, written

from azpatch.__main__ import COMMANDS, main
from lab.processes import python_env

SLOW = ("aiohttp", "azure", "kopf", "kubernetes", "msal", "prometheus_client", "structlog")

ENTRY = "import sys; from azpatch.__main__ import main; sys.exit(main(prog_name='azpatch'))"
"""What an installed `azpatch` runs."""


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", ENTRY, "support", *map(str, arguments)],
        env=python_env(),
        input=stdin,
        capture_output=True,
        check=False,
    )


def test_it_answers_about_a_file_and_about_stdin(tmp_path: Path) -> None:
    file = tmp_path / "vms.json"
    file.write_bytes(written([vm("a"), vm("b")]))

    by_file = run("--revision", "2025-02", "--vm-json", file, "-o", "json")
    by_pipe = run("--revision", "2025-02", "--vm-json", "-", "-o", "json", stdin=file.read_bytes())

    assert [answer["name"] for answer in json.loads(by_file.stdout)] == ["a", "b"]
    assert (by_file.returncode, by_file.stderr) == (4, b"")
    assert by_pipe.stdout == by_file.stdout


def test_it_says_what_is_wrong_in_one_line() -> None:
    done = run("--revision", "2025-02", "--vm-json", "-", stdin=b"{")

    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"Error: --vm-json from stdin is not JSON: ")
    assert done.stderr.count(b"\n") == 1


def test_it_starts_without_the_operators_libraries() -> None:
    """They take seconds to import."""
    code = (
        "import sys\n"
        "from azpatch.__main__ import main\n"
        "main(['support', '--revision', '2025-02', '--vm-json', '-'], standalone_mode=False)\n"
    )
    check = f"assert not set({SLOW}) & set(sys.modules), sorted(set({SLOW}) & set(sys.modules))"

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code.replace('main([', 'run = lambda: main([', 1)}"
            f"try:\n    run()\nexcept SystemExit:\n    pass\n{check}",
        ],
        env=python_env(),
        input=written(vm()),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_had_and_has_a_line_in_the_help(name: str) -> None:
    command = main.get_command(
        main.make_context("azpatch", ["--help"], resilient_parsing=True), name
    )

    assert command is not None
    assert command.name == name
    assert command.get_short_help_str()
