"""Options of commands that read labeled images: folders, datasets in other tools' formats, prepared benchmarks."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from segvoc.cli.options import Decorator, bundle_options
from segvoc.cli.output import echo, is_first_process
from segvoc.errors import UsageError
from segvoc.labeling.formats.table import readers

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
    """The labeled images that a call names: folders with label maps, or datasets of other tools (see `_OPTIONS`)."""

    images: str | None
    labels: str | None
    classes: str | None
    paths: tuple[str, ...]
    formats: tuple[str, ...]
    """The format of all datasets, or one for each; empty: detect them."""
    splits: tuple[str, ...]
    """The split of all datasets, or one for each ("": no split)."""
    rename: tuple[str, ...]
    drop: tuple[str, ...]
    stretch: str | None
    background: str | None
    """See `segvoc.read_dataset`."""

    @property
    def named(self) -> bool:
        """Whether any images are named."""
        return bool(self.paths or self.images or self.labels or self.classes)

    def given(self) -> dict[str, object]:
        """The values of the options that are given, by the option's name."""
        return {f"--{_NAMES.get(name, name)}": value for name, value in vars(self).items() if value}

    def read(
        self, *, owner: str | None = None, skip: str | None = None, beside: Mapping[str, object] = MappingProxyType({})
    ) -> "LabeledImages":
        """Read the images, and say what to know of their labels (`LabeledImages.remarks`).

        `UsageError`: options are missing or exclude each other, or the images can't be read.

        For folders, `owner` is the object that the classes are parts of, and `skip` a folder of results inside
        `images`; datasets exclude the options `beside`.
        """
        given = self.given()
        if self.paths:
            given |= {option: value for option, value in beside.items() if value}
            if wrong := [option for option in ("--labels", "--classes", *beside) if option in given]:
                raise UsageError(f"--dataset includes labels and classes; leave out {', '.join(wrong)}")
            images = self._datasets()
        else:
            if alone := [option for option in ("--dataset-format", "--split", "--rename", "--drop") if option in given]:
                raise UsageError(f"{alone[0]} needs --dataset; add it, or leave {alone[0]} out")
            if missing := [option for option in FOLDERS if option not in given]:
                verb = "is" if len(missing) == 1 else "are"
                raise UsageError(f"{', '.join(missing)} {verb} missing; give all of {', '.join(FOLDERS)}, or --dataset")
            from segvoc.data.labeled_images import LabeledImages

            folders = (str(self.images), str(self.labels), str(self.classes))
            images = LabeledImages.from_folders(*folders, background=self.background, owner=owner, skip=skip)
        images = images if self.stretch is None else images.stretched(self.stretch)
        for line in images.remarks() if is_first_process() else ():
            echo(f"segvoc: {line}", err=True)
        return images

    def _datasets(self) -> "LabeledImages":
        from segvoc.data.labeled_images import LabeledImages
        from segvoc.labeling.formats.opening import read_dataset

        rename = dict[str, str]()
        for entry in self.rename:
            before, _, after = (piece.strip() for piece in entry.partition("="))
            if not (before and after):
                raise UsageError(f"--rename {entry.partition('=')[0]!r} isn't OLD=NEW; write --rename sofa=couch")
            rename[before] = after
        drop = [word.strip() for words in self.drop for word in words.split(",") if word.strip()]
        formats, splits = self._for_each("--dataset-format", self.formats), self._for_each("--split", self.splits)
        sets = [
            read_dataset(path, format, images=self.images, split=split or None, background=self.background)
            for path, format, split in zip(self.paths, formats, splits, strict=True)
        ]
        return LabeledImages.joined(sets, rename=rename, drop=drop) if len(sets) > 1 or rename or drop else sets[0]

    def record(self) -> dict[str, object]:
        """The given options, for a report: a string for a single value, otherwise a list."""
        return {
            option.removeprefix("--").removeprefix("dataset-"): value[0]
            if isinstance(value, tuple) and len(value) == 1
            else value
            for option, value in self.given().items()
        }

    def _for_each(self, option: str, values: Sequence[str]) -> Sequence[str | None]:
        if len(values) < 2:
            return [*(values or (None,))] * len(self.paths)
        if len(values) != len(self.paths):
            raise UsageError(
                f"{option} is given {len(values)} times for {len(self.paths)} datasets; give it once, or for each"
            )
        return values


FOLDERS = ("--images", "--labels", "--classes")
"""Options of images with label maps, given together."""

_NAMES = {"paths": "dataset", "formats": "dataset-format", "splits": "split"}
"""Options whose fields have other names."""


_OPTIONS: Mapping[str, Decorator] = {
    "images": click.option("--images", metavar="FOLDER", help="Folder of your images, including sub-folders."),
    "labels": click.option(
        "--labels",
        metavar="FOLDER",
        help="Their label maps, sub/photo.png for sub/photo.jpg: PNG or TIFF; 255 or 65535 is ignored.",
    ),
    "classes": click.option("--classes", metavar="FILE", help="The class names in label order: one per line, or JSON."),
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
        type=click.Choice(list(readers())),
        metavar="NAME",
        help=f"Its format, if its files are ambiguous: {', '.join(readers())}.",
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
    "background": click.option(
        "--background",
        metavar="NAME",
        help="The class of pixels outside of all shapes (COCO, YOLO, ...); of label maps, the class that means "
        "'none of the others'.",
    ),
}

dataset_options = bundle_options(_OPTIONS, "dataset", lambda given: DatasetOptions(**given))
"""Adds the options to a command, which gets them as `dataset`."""
