"""What is evaluated, and how: labelled pictures, their classes and rules, and the settings of a call."""

import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
from jaxtyping import UInt8, UInt16

from segvoc.data.benchmarks import Benchmark, PartRecords, Parts, prepared
from segvoc.data.labelled_images import FolderRules, LabelledImage, LabelledImages
from segvoc.data.preparation.manifests import Manifest
from segvoc.data.published_scores import PublishedScore
from segvoc.errors import UsageError
from segvoc.evaluation.metrics.parts import substitutes
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.inference.window_names import Window
from segvoc.layers.class_selection import KeepClasses

_PLAIN_FOLDERS = frozenset(
    ("images", "image", "imgs", "img", "photos", "pictures", "jpegimages", "val", "train", "test")
)
"""Names of folders that say nothing of what is in them."""

NO_PART = "background"
"""What a network is asked for beside the parts of a benchmark, if it knows "none of them"."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How pictures are labelled and scored.

    window, keep_classes, threshold: see `Segmenter.segment`. limit: evaluate the first so many pictures. boundary: the
    boundary F-score too. substring_guide: for parts with the object given, let every part answer whose name contains
    the object's, as published, not the object's own alone. random_substitution: for each record of parts that is left
    out since its object has none, score the random other one once more that the published evaluations put there.
    """

    window: Window = "auto"
    keep_classes: KeepClasses | None = None
    threshold: float | None = None
    limit: int | None = None
    boundary: bool = False
    substring_guide: bool = False
    random_substitution: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit={self.limit} leaves no picture; give a number from 1")


class TrueLabels(NamedTuple):
    """A picture in memory; for each of its records a label map, and which object it is of (see `Picture`).

    stamp: sizes and times of the files that were read.
    """

    image: UInt8[np.ndarray, "H W 3"]
    records: list[UInt16[np.ndarray, "H W"]]
    objects: tuple[int | None, ...]
    stamp: list[int]

    def together(self) -> UInt16[np.ndarray, "H W"]:
        """The labels of all records, the later ones on top."""
        labels = self.records[0].copy()
        for record in self.records[1:]:
            labels = np.where(record != UNLABELLED, record, labels)
        return labels


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One photograph with its records: one, or for parts one for each object.

    objects: of the records; None where the object has no parts that could answer for it.
    """

    stem: str
    records: tuple[LabelledImage, ...]
    objects: tuple[int | None, ...] = (None,)

    def read(self, classes: int) -> TrueLabels:
        """Read the photograph and all its label maps.

        Raises:
            InputError: one of them is missing or damaged, sizes differ, or a label has no class.
        """
        stamp = self.stamp()
        first = self.records[0].read(classes)
        size = first.image.shape[0], first.image.shape[1]
        others = [record.read_labels(size, classes) for record in self.records[1:]]
        return TrueLabels(first.image, [first.labels, *others], self.objects, stamp)

    def stamp(self) -> list[int]:
        """Sizes and times of the files, which change where one is replaced; -1 for one that is missing."""
        stamp = []
        for path in (self.records[0].image, *(record.labels for record in self.records)):
            try:
                status = os.stat(path)
            except OSError:
                stamp += [-1, -1]
            else:
                stamp += [status.st_size, status.st_mtime_ns]
        return stamp


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labelled pictures, and the rules by which predictions on them are scored.

    name: for files. title: for people. images: the pictures; their vocabulary are the words that the network is asked.
    classes: the names of what is scored. collapse_from: predictions from this class on count as this one. parts: for a
    set of parts. without_part: stems of its records that are left out. published: what papers report on it. source:
    what is known of the data, for the report.
    """

    name: str
    title: str
    images: LabelledImages
    classes: tuple[str, ...]
    collapse_from: int | None = None
    parts: Parts | None = None
    without_part: tuple[str, ...] = ()
    published: tuple[PublishedScore, ...] = ()
    source: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of_folders(
        cls,
        images: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        classes: str | os.PathLike[str],
        **rules: Unpack[FolderRules],
    ) -> "Task":
        """Pictures of your own: see `LabelledImages.from_folders`.

        Raises:
            UsageError: a folder or the classes' file is missing, or they don't fit together.
        """
        found = cls.of_images(LabelledImages.from_folders(images, labels, classes, **rules))
        folder = Path(images).resolve()
        while folder.name.lower() in _PLAIN_FOLDERS and folder.parent.name:
            folder = folder.parent
        source = {"images": os.fspath(images), "labels": os.fspath(labels), "classes": os.fspath(classes)}
        return replace(found, name=folder.name, title=folder.name, source=source)

    @classmethod
    def of_images(cls, images: LabelledImages) -> "Task":
        """Labelled images as they are: every class is scored."""
        return cls(name=images.name, title=images.name, images=images, classes=images.vocabulary.words)

    @classmethod
    def of_benchmark(cls, benchmark: Benchmark, root: str | os.PathLike[str]) -> "Task":
        """A benchmark that `segvoc prepare` has made ready below a folder.

        Raises:
            UsageError: it has not, or not wholly.
        """
        images = prepared(benchmark, Path(root))
        manifest = Manifest.read(Path(root), benchmark.name)
        source: dict[str, object] = {"root": os.fspath(root), "citation": benchmark.citation, "note": benchmark.note}
        if manifest is not None:
            source |= {
                "sha256": manifest.sha256,
                "left_out": len(manifest.left_out),
                "missing": len(manifest.missing) + len(manifest.failed),
            }
        return cls(
            name=benchmark.name,
            title=benchmark.title,
            images=images,
            classes=benchmark.scored_classes,
            collapse_from=benchmark.collapse_from,
            parts=benchmark.parts,
            without_part=() if benchmark.parts is None or manifest is None else tuple(manifest.left_out),
            published=benchmark.published,
            source=source,
        )

    def pictures(self, limit: int | None, *, random_substitution: bool = False) -> list[Picture]:
        """The first `limit` photographs, each once; for `random_substitution` see `Settings`."""
        if not isinstance(self.images, PartRecords):
            return [Picture(stem=record.stem, records=(record,)) for record in self.images.images[:limit]]
        records = zip(self.images.images, self.images.objects, strict=True)
        groups = (tuple(group) for _, group in itertools.groupby(records, key=lambda record: record[0].image))
        if random_substitution:
            again = Counter(self._substitutes())
            groups = (tuple(pair for pair in group for _ in range(1 + again[pair[0].stem])) for group in groups)
        answering = set() if self.parts is None else set(self.parts.object_of)
        return [
            Picture(
                # "photo/3" is the third record of "photo"
                stem=group[0][0].stem.rpartition("/")[0] or group[0][0].stem,
                records=tuple(record for record, _ in group),
                objects=tuple(owner if owner in answering else None for _, owner in group),
            )
            for group in itertools.islice(groups, limit)
        ]

    def _substitutes(self) -> list[str]:
        """Stems of the records that are scored once more."""
        own = [picture.stem for picture in self.images.images]
        left_out = set(self.without_part)
        stems = sorted([*own, *left_out], key=_place)
        return [stems[index] for index in substitutes([stem in left_out for stem in stems])]

    def asked_background(self, has_background: bool) -> str | None:
        """The background that a network is asked for.

        Parts compete with "none of them" where a network knows it (Pred-All), which no class of theirs stands for.
        """
        if self.parts is not None and has_background:
            return NO_PART
        return self.images.background

    def scored(self, labels: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """A prediction in the classes that are scored."""
        if self.parts is not None:
            return np.where(labels == len(self.classes), np.uint16(UNLABELLED), labels)  # `NO_PART` is the last word
        if self.collapse_from is None:
            return labels
        collapsed = (labels >= self.collapse_from) & (labels != UNLABELLED)
        return np.where(collapsed, np.uint16(self.collapse_from), labels)

    def published_for(self, preset: str) -> Sequence[PublishedScore]:
        """What papers report of a network."""
        return [score for score in self.published if score.preset == preset]


def _place(stem: str) -> tuple[str, int]:
    """Where a record of parts stands: by its picture, then its number."""
    picture, _, number = stem.rpartition("/")
    return picture, int(number) if number.isdecimal() else 0
