"""Options of commands that read datasets in the formats of other programs, or prepared benchmarks."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from segvoc.errors import UsageError
from segvoc.formats.dataset import DATASET_NAMES, DatasetName

if TYPE_CHECKING:
    from segvoc.data.labeled_images import LabeledImages


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


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What a call says of a dataset."""

    path: str | None
    """Its folder or file; None if none is given."""
    format: DatasetName | None
    """Its format; None: find it out."""
    split: str | None

    def read(self, images: str | None, background: str | None) -> "LabeledImages | None":
        """The dataset; None if none is given.

        Args:
            images: the folder of its images, if they are elsewhere.
            background: the class that stands for "none of the others".

        Raises:
            UsageError: there is no such dataset, or only options of one are given.
        """
        if self.path is None:
            given = {"--dataset-format": self.format, "--split": self.split}
            if alone := [option for option, value in given.items() if value is not None]:
                raise UsageError(f"{alone[0]} is of a dataset; give it with --dataset, or leave it out")
            return None
        from segvoc.data.datasets.opening import read_dataset

        return read_dataset(self.path, self.format, images=images, split=self.split, background=background)

    def refuse_beside(self, options: dict[str, object]) -> None:
        """Check that nothing else says what the images are.

        Raises:
            UsageError: a dataset is given, and one of these options too.
        """
        if self.path is not None and (given := [option for option, value in options.items() if value]):
            raise UsageError(f"--dataset has labels and classes of its own; leave out {', '.join(given)}")


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as `dataset`."""

    @click.option(
        "--dataset",
        "dataset_path",
        metavar="PATH",
        help="A dataset in another tool's format, or a project.",
    )
    @click.option(
        "--dataset-format",
        type=click.Choice(DATASET_NAMES),
        metavar="NAME",
        help=f"Its format, where its files leave it open: {', '.join(DATASET_NAMES)}.",
    )
    @click.option("--split", metavar="NAME", help="Which split to use (train, val, ...), if it has several.")
    @wraps(command)
    def with_options(
        *arguments: Any,
        dataset_path: str | None,
        dataset_format: DatasetName | None,
        split: str | None,
        **rest: Any,
    ) -> Any:
        dataset = DatasetOptions(path=dataset_path, format=dataset_format, split=split)
        return command(*arguments, dataset=dataset, **rest)

    return with_options
