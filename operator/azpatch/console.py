"""What the commands that ask without a cluster have in common: files, mistakes, tables."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

STDIN = "-"


class Wrong(click.ClickException):
    """What was asked cannot be answered: one line that says why, and what to do."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """The line, on stderr."""
        click.echo(f"Error: {' '.join(self.message.split())}", err=True, file=file)


class OneLine(click.Command):
    """A command that says in one line what is wrong with its options."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """As click's."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            message = error.format_message().rstrip(".")
            raise Wrong(f"{message}. See azpatch {self.name} --help.") from None


def content(file: str, option: str) -> tuple[bytes, str]:
    """The content of a file, and its name for a person. Raises Wrong."""
    if file == STDIN:
        return sys.stdin.buffer.read(), f"{option} from stdin"
    try:
        return Path(file).read_bytes(), f"{option} {file}"
    except OSError as error:
        raise Wrong(f"{option} {file} cannot be read: {error.strerror or error}.") from None


def echo(lines: Iterable[str]) -> None:
    """Prints a table."""
    click.echo("\n".join(map(printable, lines)))


def width() -> int | None:
    """The terminal's; COLUMNS gives one to a pipe too."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return shutil.get_terminal_size().columns if known else None


def printable(line: str) -> str:
    """Without what would move the cursor: the text of a file is anybody's."""
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else "?" for character in line)


def columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
