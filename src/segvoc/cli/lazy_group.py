"""A group of commands that imports a command only when it is called, so that `--help` is fast."""

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click


class LazyGroup(click.Group):
    """A group of commands, each in a file of a package: "gate-maps" is the function `gate_maps` in `gate_maps.py`.

    A name that is a keyword of Python gets an underscore: "import" is `import_` in `import_.py`.

    Args:
        arguments: as for `click.Group`.
        lines: the commands, each with its line in the help.
        package: the package with their files.
        options: as for `click.Group`.
    """

    def __init__(self, *arguments: Any, lines: Mapping[str, str], package: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lines, self.package = lines, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in order."""
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name not in self.lines:
            return None
        name = cmd_name.replace("-", "_")
        name += "_" if iskeyword(name) else ""
        return getattr(import_module(f"{self.package}.{name}"), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))
