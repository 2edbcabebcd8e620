"""A group of commands that imports a command only when it is called, so that `--help` is fast."""

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from keyword import iskeyword
from typing import Any

import click

from segvoc.errors import UsageError, did_you_mean


class LazyGroup(click.Group):
    """A group of commands, each in a file of a package: "gate-maps" is the function `gate_maps` in `gate_maps.py`.

    A name that Python or the library of commands has already gets an underscore: "click" is `click_` in `click_.py`.

    Other distributions add commands by an entry-point group: the name of an entry point is that of its command.

    Args:
        arguments: as for `click.Group`.
        lines: the commands, each with its line in the help.
        package: the package with their files.
        added: the entry-point group, if any.
        known: for commands that a known distribution adds: its name, the extra that brings it and the line in the help.
        meant: the command that is meant by a name that other tools use.
        options: as for `click.Group`.
    """

    def __init__(
        self,
        *arguments: Any,
        lines: Mapping[str, str],
        package: str,
        added: str | None = None,
        known: Mapping[str, tuple[str, str, str]] | None = None,
        meant: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.package, self._own, self._added, self._known = package, lines, added, known or {}
        self._meant = meant or {}

    @cached_property
    def _entries(self) -> Mapping[str, EntryPoint]:
        """What other distributions add, which isn't imported yet."""
        entries = () if self._added is None else entry_points(group=self._added)
        return {entry.name: entry for entry in entries if entry.name not in self._own}

    @cached_property
    def lines(self) -> Mapping[str, str]:
        """The commands that are installed, each with its line in the help."""
        added = {
            name: self._known[name][2] if name in self._known else f"({entry.value})"
            for name, entry in self._entries.items()
        }
        return dict(sorted({**self._own, **added}.items()))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in order."""
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name in self._entries:
            return self._entries[cmd_name].load()
        if cmd_name not in self._own:
            return None
        name = cmd_name.replace("-", "_")
        name += "_" if iskeyword(name) or name == "click" else ""
        return getattr(import_module(f"{self.package}.{name}"), name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a call; an unknown name is answered with the one that was probably meant."""
        (name, *_) = args
        if name in self._known and name not in self.lines:
            distribution, extra, _ = self._known[name]
            raise UsageError(f"segvoc {name} needs {distribution}: pip install 'segvoc[{extra}]'")
        if name not in self.lines and not name.startswith("-") and not ctx.resilient_parsing:
            meant = f" (did you mean {self._meant[name]}?)" if name in self._meant else None
            ctx.fail(f"No such command {name!r}{meant or did_you_mean(name, {**self.lines, **self._known})}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))
