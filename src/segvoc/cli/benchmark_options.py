"""Options that name benchmarks and their folder."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from segvoc.errors import UsageError

DATASETS = "DETECTRON2_DATASETS"
"""Environment variable with the folder of the benchmarks: that of detectron2, and so of the papers' own code."""


def data_option(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --data to a command, which gets what is given as `data`, and the folder from `data_root`.

    Args:
        help: what the folder is for; the default is added.
    """
    return click.option("--data", metavar="ROOT", help=f"{help} [default: ${DATASETS}]")


def data_root(given: str | None, needed: str) -> str:
    """The folder of the benchmarks: the given one, else that of the environment.

    Args:
        given: the value of --data.
        needed: begins the error if there is neither: who needs the folder, and that --data names it.

    Raises:
        UsageError: there is neither.
    """
    root = os.environ.get(DATASETS) if given is None else given
    if root:
        return root
    raise UsageError(f"{needed}, or set {DATASETS}")


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
