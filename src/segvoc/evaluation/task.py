"""What to evaluate and how: labeled images, their classes, the scoring rules, the settings, and an image's score."""

import itertools
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16

from segvoc.data.benchmarks import Benchmark, BenchmarkParts, Manifest, PartRecord, find_benchmark, prepared
from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.metrics import Confusion
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.storage.resume import Stamp

PART_BACKGROUND = "background"
"""The word for "none of the parts", with which parts compete where networks predict a background (Pred-All)."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How images are segmented and scored.

    Defaults follow the published protocol on a benchmark (`segvoc.evaluation.protocol`), and
    `Segmenter.segment` on other images.
    """

    options: LabelKeywords = field(default_factory=LabelKeywords)
    """`LabelOptions` that override the protocol's: {"window": "single"}."""
    limit: int | None = None
    """Number of images to evaluate, from the first; None: all of them."""
    substring_guide: bool | None = None
    """For parts with the object given (Oracle-Obj): candidates are all parts whose name contains the object's, as in
    published evaluations, instead of only the parts of that object. None: as published."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit={self.limit} leaves no image; it must be at least 1")
        LabelOptions(**self.options)


class GroundTruth(NamedTuple):
    """An image in memory with its true labels."""

    source: "EvaluationImage"
    image: UInt8[np.ndarray, "H W 3"]
    records: list[UInt16[np.ndarray, "H W"]]
    stamp: list[Stamp]
    """File stamps from before reading."""
    objects: UInt16[np.ndarray, "H W"] | None = None
    """The true object of each pixel, 0 for none; None unless objects are scored."""

    def combined(self) -> UInt16[np.ndarray, "H W"]:
        """The labels of all records in one map, later records over earlier ones."""
        labels = self.records[0].copy()
        for record in self.records[1:]:
            labels = np.where(record != UNLABELED, record, labels)
        return labels


@dataclass(frozen=True, kw_only=True)
class EvaluationImage:
    """An image with its records: one label map, or for parts one per object."""

    stem: str
    records: tuple[LabeledImage, ...]
    """All of the same image file."""
    objects: tuple[int | None, ...] = (None,)
    """For each record, the index of its object; None if no part of that object is a class."""

    def read(self, classes: int, colors: Colors = "srgb", stuff: Set[int] | None = None) -> GroundTruth:
        """Read the image and all its label maps; with `stuff`, the labels that aren't objects, also its objects.

        `InputError` also if a label is not below `classes`, or the dataset has no objects.
        """
        stamp = self.stamp()
        first = self.records[0].read(classes, colors)
        others = [record.read_labels(first.labels.shape, classes) for record in self.records[1:]]
        objects = None if stuff is None else self.records[0].read_objects(first.labels.shape, stuff)
        if stuff is not None and objects is None:
            raise InputError(f"{self.stem!r}: the dataset has no objects; leave out objects, or give one that has them")
        return GroundTruth(self, first.image, [first.labels, *others], stamp, objects)

    @property
    def present_objects(self) -> list[int]:
        """The distinct objects of its records, ascending."""
        return sorted({owner for owner in self.objects if owner is not None})

    def stamp(self) -> list[Stamp]:
        """The stamps of the image and of each label map, to detect replaced files."""
        stamps = [record.stamp() for record in self.records]
        return [stamps[0][0], *(labels for _, labels in stamps)]


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """Labeled images and their scoring rules.

    Create a task with `of_images` from your own images, or `of_benchmark` from a prepared benchmark.
    """

    name: str
    """For file names."""
    title: str
    """For people."""
    images: LabeledImages
    """The images; their vocabulary prompts the network."""
    classes: tuple[str, ...]
    """Names of the scored classes."""
    collapse_from: int | None = None
    """Predictions of this or a later class count as this class."""
    parts: BenchmarkParts | None = None
    """Which object each class is a part of, for a part benchmark."""
    benchmark: Benchmark | None = None
    """The benchmark, whose published protocol and scores apply."""
    source: Mapping[str, object] = field(default_factory=dict)
    """Facts about the data, for the report."""

    @classmethod
    def of_images(cls, images: LabeledImages) -> "EvaluationTask":
        """Create a task from labeled images, scored in all their classes."""
        return cls(name=images.name, title=images.name, images=images, classes=images.vocabulary.words)

    @classmethod
    def of_benchmark(cls, benchmark: Benchmark | str, root: str | os.PathLike[str]) -> "EvaluationTask":
        """Create a task from a benchmark, or its name ("a-150"), prepared by `segvoc prepare` in the folder `root`.

        Raises: UsageError: the name is unknown, or the benchmark is not prepared there.
        """
        if isinstance(benchmark, str):
            benchmark = find_benchmark(benchmark)
        images = prepared(benchmark, Path(root))
        manifest = Manifest.read(Path(root), benchmark.name)
        source: dict[str, object] = {"root": os.fspath(root), "citation": benchmark.citation, "note": benchmark.note}
        if manifest is not None:
            missing = len(manifest.missing) + len(manifest.failed)
            source |= {"sha256": manifest.sha256, "left_out": len(manifest.left_out), "missing": missing}
        return cls(
            name=benchmark.name,
            title=benchmark.title,
            images=images,
            classes=benchmark.scored_classes,
            collapse_from=benchmark.collapse_from,
            parts=benchmark.parts,
            benchmark=benchmark,
            source=source,
        )

    def select_images(self, limit: int | None) -> list[EvaluationImage]:
        """The first `limit` images; None: all."""
        parts = [record for record in self.images.images if isinstance(record, PartRecord)]
        if not parts:
            return [EvaluationImage(stem=image.stem, records=(image,)) for image in self.images.images[:limit]]
        groups = (tuple(group) for _, group in itertools.groupby(parts, key=lambda record: record.image))
        answering = set() if self.parts is None else set(self.parts.object_of)
        return [
            EvaluationImage(
                # "photo/3" is a record of "photo"
                stem=records[0].stem.rpartition("/")[0] or records[0].stem,
                records=records,
                objects=tuple(record.object if record.object in answering else None for record in records),
            )
            for records in itertools.islice(groups, limit)
        ]

    def scored(self, labels: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """Map a predicted label map to the scored classes."""
        if self.parts is not None:
            # `PART_BACKGROUND` is the last word
            return np.where(labels == len(self.classes), np.uint16(UNLABELED), labels)
        if self.collapse_from is None:
            return labels
        collapsed = (labels >= self.collapse_from) & (labels != UNLABELED)
        return np.where(collapsed, np.uint16(self.collapse_from), labels)

    def published_for(self, preset: str) -> list[dict[str, Any]]:
        """The scores reported for a network in papers, as plain values."""
        if (benchmark := self.benchmark) is None:
            return []
        return [row.score_on(benchmark.name) for row in benchmark.published if row.preset == preset]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageScore:
    """An image's contribution to the scores."""

    stem: str
    seconds: float
    """Network time [s]."""
    kept_classes: int
    """Number of classes that class selection kept in any view of the image."""
    confusion: Confusion
    """Of all records of the image."""
    oracle: Confusion | None = None
    """For parts: the same with the object given (Oracle-Obj)."""
    objects: Mapping[str, Any] | None = None
    """What it adds to the scores of objects (`compared_objects`), if they are scored."""

    def to_json(self) -> dict[str, Any]:
        """The score as plain values."""
        return {**vars(self), "confusion": _packed(self.confusion), "oracle": _packed(self.oracle)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "ImageScore":
        """Restore a score from the values of `to_json`."""
        return cls(**{**entry, "confusion": _unpacked(entry["confusion"]), "oracle": _unpacked(entry["oracle"])})


def _packed(confusion: Confusion | None) -> dict[str, Any] | None:
    if confusion is None:
        return None
    arrays = {name: value.tolist() for name, value in vars(confusion).items() if isinstance(value, np.ndarray)}
    return {"classes": confusion.classes, **arrays, "outside": list(confusion.outside.items())}


def _unpacked(entry: Mapping[str, Any] | None) -> Any:
    if entry is None:
        return None
    arrays = {name: np.array(entry[name], np.int64) for name in ("truth", "prediction", "pixels")}
    return Confusion(classes=entry["classes"], **arrays, outside={word: pixels for word, pixels in entry["outside"]})
