"""Names of benchmarks on the command line."""

from collections.abc import Sequence

import click

from segvoc.errors import UsageError


class SeveralBenchmarks(click.Command):
    """A command whose --benchmark takes all the names that follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each name, as click expects it."""
        spread: list[str] = []
        within = False
        for argument in args:
            if within and not argument.startswith("-") and spread[-1] != "--benchmark":
                spread.append("--benchmark")
            elif argument.startswith("-"):
                within = argument.partition("=")[0] == "--benchmark"
            spread.append(argument)
        return super().parse_args(ctx, spread)


def refuse_twice(benchmarks: Sequence[str]) -> None:
    """Check that no benchmark is named twice.

    Raises:
        UsageError: one is.
    """
    if twice := [name for name in benchmarks if benchmarks.count(name) > 1]:
        raise UsageError(f"the benchmark {twice[0]!r} is given twice; name it once")
