"""The option --data, the folder of the benchmarks, and its default."""

import os
from collections.abc import Callable
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
