"""A group of commands that imports one when it is called, so that `--help` is quick."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group of the commands in a package's files; "gate-maps" stands in `gate_maps.py`, as the function `gate_maps`.

    lines: every command and its line in the help. package: where the files are.
    """

    def __init__(self, *arguments: Any, lines: Mapping[str, str], package: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lines, self.package = lines, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of a name; None if there is none."""
        if cmd_name not in self.lines:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(import_module(f"{self.package}.{name}"), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))
