"""Fills in what the commands print that a page of prose shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
from click.testing import CliRunner

from azpatch.__main__ import main

ROOT = Path(__file__).resolve().parents[1]

_BLOCK = re.compile(r"```console\n\$ azpatch (?P<command>.*)\n(?:.*\n)*?```")


def filled(page: str) -> str:
    """The page with what each `$ azpatch …` of its console blocks prints. Files of the examples
    are named as a person in the checkout types them."""
    return _BLOCK.sub(_run, (ROOT / page).read_text())


def _run(block: re.Match[str]) -> str:
    command = block["command"]
    words = [
        str(ROOT / one) if one.startswith("examples/") else one for one in shlex.split(command)
    ]
    result = CliRunner().invoke(main, words, prog_name="azpatch", env={"COLUMNS": None})
    if result.exit_code or result.stderr:
        raise click.ClickException(f"azpatch {command}: {result.output}")
    return f"```console\n$ azpatch {command}\n{result.stdout.rstrip()}\n```"
