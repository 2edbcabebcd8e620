"""Options of commands that read datasets in other tools' formats, or prepared benchmarks."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import click

from segvoc.cli.options import Decorator, gathered
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.labeling.formats.dataset import DATASET_NAMES, DatasetName

if TYPE_CHECKING:
    from segvoc.data.labeled_images import LabeledImages


DATASETS = "DETECTRON2_DATASETS"
"""Environment variable with the folder of the benchmarks, as in detectron2 and thus the papers' code."""


def data_option(help: str) -> Decorator:
    """Add --data to a command, which gets its value as `data`; `data_root` resolves the folder."""
    return click.option("--data", metavar="ROOT", help=f"{help} [default: ${DATASETS}]")


def data_root(given: str | None, needed: str) -> str:
    """The folder of the benchmarks: --data, else the environment variable; `needed` begins the error without either."""
    root = os.environ.get(DATASETS) if given is None else given
    if root:
        return root
    raise UsageError(f"{needed}, or set {DATASETS}")


class SeveralBenchmarks(click.Command):
    """A command whose --benchmark takes several names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each name, as click expects."""
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
    """Raise `UsageError` if a benchmark is given twice."""
    if twice := [name for name in benchmarks if benchmarks.count(name) > 1]:
        raise UsageError(f"the benchmark {twice[0]!r} is given twice; name it once")


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """The dataset options of a call."""

    paths: tuple[str, ...]
    """Folders or files of the datasets; empty if none is given."""
    formats: tuple[DatasetName, ...]
    """The format of all, or one for each; empty: detect them."""
    splits: tuple[str, ...]
    """The split of all, or one for each ("": no split)."""
    rename: tuple[str, ...]
    """New names of classes, "sofa=couch"."""
    drop: tuple[str, ...]
    """Classes whose pixels become unlabeled, comma-separated."""
    stretch: str | None
    """Values of 16-bit images to map to black and white."""

    def read(self, images: str | None, background: str | None) -> "LabeledImages | None":
        """Read the images of the datasets, in the folder `images` if they are elsewhere; None if none is given."""
        if not self.paths:
            options = ("--dataset-format", "--split", "--rename", "--drop")
            values = (self.formats, self.splits, self.rename, self.drop)
            if alone := [option for option, value in zip(options, values, strict=True) if value]:
                raise UsageError(f"{alone[0]} needs --dataset; add it, or leave {alone[0]} out")
            return None
        from segvoc.data.datasets.opening import read_dataset
        from segvoc.data.labeled_images import LabeledImages

        rename = dict[str, str]()
        for entry in self.rename:
            before, _, after = (piece.strip() for piece in entry.partition("="))
            if not (before and after):
                raise UsageError(f"--rename {entry.partition('=')[0]!r} isn't OLD=NEW; write --rename sofa=couch")
            rename[before] = after
        drop = [word.strip() for words in self.drop for word in words.split(",") if word.strip()]
        formats, splits = self._for_each("--dataset-format", self.formats), self._for_each("--split", self.splits)
        found = [
            read_dataset(path, format, images=images, split=split or None, background=background)
            for path, format, split in zip(self.paths, formats, splits, strict=True)
        ]
        whole = found[0]
        if len(found) > 1 or rename or drop:
            whole = LabeledImages.joined(found, rename=rename, drop=drop)
        return self.stretched(whole)

    def stretched(self, images: "LabeledImages") -> "LabeledImages":
        """Apply --stretch to the images."""
        return images if self.stretch is None else images.stretched(self.stretch)

    def record(self) -> dict[str, object]:
        """The given options, for a report: a string for a single value, otherwise a list."""
        names = {"paths": "dataset", "formats": "format", "splits": "split"}
        given = {names.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        return {
            name: value[0] if isinstance(value, tuple) and len(value) == 1 else value
            for name, value in given.items()
            if value
        }

    def _for_each(self, option: str, values: Sequence[str]) -> Sequence[str | None]:
        if len(values) < 2:
            return [*(values or (None,))] * len(self.paths)
        if len(values) != len(self.paths):
            raise UsageError(
                f"{option} is given {len(values)} times for {len(self.paths)} datasets; give it once, or for each"
            )
        return values

    def refuse_beside(self, options: dict[str, object]) -> None:
        """Raise `UsageError` if --dataset is combined with one of these options."""
        if self.paths and (given := [option for option, value in options.items() if value]):
            raise UsageError(f"--dataset includes labels and classes; leave out {', '.join(given)}")


def warn_of_absent_classes(images: "LabeledImages") -> None:
    """Print a line with the classes that occur in no image, before learning starts."""
    if (line := images.absent_classes()) is not None:
        echo(f"segvoc: {line}", err=True)


_OPTIONS: Mapping[str, Decorator] = {
    "paths": click.option(
        "--dataset",
        "paths",
        multiple=True,
        metavar="PATH",
        help="A dataset in another tool's format, or a project; repeatable: classes are merged by name.",
    ),
    "formats": click.option(
        "--dataset-format",
        "formats",
        multiple=True,
        type=click.Choice(DATASET_NAMES),
        metavar="NAME",
        help=f"Its format, if its files are ambiguous: {', '.join(DATASET_NAMES)}.",
    ),
    "splits": click.option(
        "--split",
        "splits",
        multiple=True,
        metavar="NAME",
        help="The split to use (train, val, ...), if it has several; with several datasets, once for all or for each.",
    ),
    "rename": click.option(
        "--rename", multiple=True, metavar="OLD=NEW", help="Rename a class of the datasets; repeatable."
    ),
    "drop": click.option(
        "--drop", multiple=True, metavar="WORDS", help="Classes of the datasets that become unlabeled."
    ),
    "stretch": click.option(
        "--stretch", metavar="B,W", help="Values of 16-bit images to map to black and white, such as 0,4095."
    ),
}

dataset_options = gathered(_OPTIONS, "dataset", lambda given: DatasetOptions(**given))
"""Adds the options to a command, which gets them as `dataset`."""
