"""The command line.

A command's module is imported when the command is asked for: the operator's libraries take seconds,
which `azpatch support` and `azpatch windows` have no need of.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from azpatch import __version__

COMMANDS: Mapping[str, str] = {
    "crds": "azpatch.operate:crds",
    "run": "azpatch.operate:run",
    "support": "azpatch.support.command:support",
    "windows": "azpatch.windows.command:windows",
}
"""Command → where it is."""


class Commands(click.Group):
    """The commands of COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Keeps the operating systems of Azure machines patched, as Kubernetes resources declare."""


if __name__ == "__main__":
    main(prog_name="azpatch")
