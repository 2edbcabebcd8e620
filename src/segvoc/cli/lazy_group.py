"""A group of commands that imports a command only when it is called, so that `--help` is fast."""

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from segvoc.errors import did_you_mean


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a call; an unknown name is answered with the one that was probably meant."""
        (name, *_) = args
        if name not in self.lines and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}{did_you_mean(name, self.lines)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))
