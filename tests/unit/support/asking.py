"""`azpatch support`, asked in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from azpatch.__main__ import main


@dataclass(frozen=True)
class Told:
    """What a call printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ask(*arguments: str | Path, stdin: str | bytes | None = None) -> Told:
    # A pipe has no width, unless somebody gave one to whoever runs the tests.
    runner = CliRunner(env={"COLUMNS": None})
    result = runner.invoke(main, ["support", *map(str, arguments)], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Told(result.exit_code, result.stdout, result.stderr)


def ask_json(*arguments: str | Path, stdin: str | bytes | None = None) -> Any:
    return ask(*arguments, "-o", "json", stdin=stdin).json
