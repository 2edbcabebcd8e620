"""Pictures with label maps: what evaluation reads and training learns from."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import UInt8, UInt16

from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELLED, read_label_map
from segvoc.imaging.reading import read_image
from segvoc.imaging.result_paths import InputImage, image_paths
from segvoc.vocabulary import Vocabulary

LABEL_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of label maps, in the order in which they are looked for."""


class Sample(NamedTuple):
    """One labelled picture in memory; a label is the index of its class, or 65535 (`UNLABELLED`)."""

    image: UInt8[np.ndarray, "H W 3"]
    labels: UInt16[np.ndarray, "H W"]


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """A picture and its label map, not read yet; `stem` names both below their folders ("sub/photo")."""

    image: Path
    labels: Path
    stem: str

    def read(self, classes: int) -> Sample:
        """Read both, and check that they belong together.

        Args:
            classes: how many there are; a label is below it, or unlabelled.

        Raises:
            InputError: one of them is missing or damaged, their sizes differ, or a label has no class.
        """
        image = read_image(self.image)
        return Sample(image, self.read_labels(image.shape[:2], classes))

    def read_labels(self, size: tuple[int, int], classes: int) -> UInt16[np.ndarray, "H W"]:
        """Read the labels alone, and check that they belong to a picture of this height and width [px].

        Raises:
            InputError: see `read`.
        """
        labels = read_label_map(self.labels)
        if labels.shape != size:
            (height, width), (rows, columns) = size, labels.shape
            raise InputError(
                f"{str(self.labels)!r} is {columns} x {rows} pixels, and its picture {str(self.image)!r} "
                f"{width} x {height} (upright); export both at one size"
            )
        strange = labels[(labels >= classes) & (labels != UNLABELLED)]
        if strange.size:
            raise InputError(
                f"{str(self.labels)!r} has the label {strange[0]}, and there are {classes} classes (0 to "
                f"{classes - 1}; 255, or 65535 in 16 bits, is unlabelled); add its class or relabel it"
            )
        return labels


class FolderRules(TypedDict, total=False):
    """What the classes of a folder are: see `LabelledImages.from_folders`."""

    background: str | None
    owner: str | None
    skip: str | os.PathLike[str] | None


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """A set of labelled pictures and the names of their classes.

    vocabulary: the classes; the index of a name is its label. images: by stem. background: the class that stands for
    "none of the others", if one does. name: of the set, for reports.
    """

    name: str
    vocabulary: Vocabulary
    images: tuple[LabelledImage, ...]
    background: str | None = None

    def __post_init__(self) -> None:
        if self.background is not None and self.background not in self.vocabulary.words:
            raise UsageError(f"the background {self.background!r} is none of the classes; name it as they do")

    @classmethod
    def from_folders(
        cls,
        images: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        classes: str | os.PathLike[str],
        *,
        background: str | None = None,
        owner: str | None = None,
        skip: str | os.PathLike[str] | None = None,
    ) -> "LabelledImages":
        """Pair each picture of a folder with the label map of its name.

        Args:
            images: the folder of the pictures, sub-folders included; hidden files are passed over.
            labels: the folder of the label maps: `sub/photo.jpg` has `sub/photo.png` (or .tif). A label map is an 8-bit
                PNG with 255 as unlabelled, or a 16-bit one with 65535. A picture without one is among `images` all the
                same: reading it says so.
            classes: a JSON file with the list of the names; the position of a name is its label.
            background: the name of the class that stands for "none of the others".
            owner: the object that all classes are parts of, but the background: "door" then is "car's door".
            skip: a folder that is passed over inside `images`: the results, which are pictures too.

        Raises:
            UsageError: a folder is missing or empty, no picture has a label map, two pictures share a name, or the
                names can't be read.
        """
        vocabulary = read_classes(classes)
        if owner is not None:
            vocabulary = _parts_of(owner, vocabulary, background)
        for folder in (images, labels):
            if not os.path.isdir(folder):
                raise UsageError(f"the folder {os.fspath(folder)!r} does not exist; check the path")
        found = [_paired(picture.path, picture.stem, Path(labels)) for picture in _pictures(images, skip)]
        if not any(pair.labels.exists() for pair in found):
            raise UsageError(
                f"no picture of {os.fspath(images)!r} has a label map in {os.fspath(labels)!r}; "
                f"{str(found[0].image)!r} would need {str(found[0].labels)!r}"
            )
        return cls(name=Path(images).resolve().name, vocabulary=vocabulary, images=tuple(found), background=background)

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.images)

    def only(self, indices: Iterable[int]) -> "LabelledImages":
        """The set with the pictures at these positions alone."""
        return replace(self, images=tuple(self.images[index] for index in indices))

    def read(self, index: int) -> Sample:
        """The picture and the labels at a position.

        Raises:
            InputError: see `LabelledImage.read`.
        """
        return self.images[index].read(len(self.vocabulary))


def _parts_of(owner: str, vocabulary: Vocabulary, background: str | None) -> Vocabulary:
    if not owner.strip():
        raise UsageError(f"the object {owner!r} has no name; write whose parts the classes are")
    return Vocabulary(word if word == background else f"{owner.strip()}'s {word}" for word in vocabulary.words)


def _pictures(folder: str | os.PathLike[str], skip: str | os.PathLike[str] | None) -> Sequence[InputImage]:
    pictures = image_paths([folder], skip)
    for picture in pictures:
        if picture.problem is not None:
            raise UsageError(picture.problem)
    seen: dict[str, Path] = {}
    for picture in pictures:
        if (other := seen.setdefault(picture.stem, picture.path)) is not picture.path:
            raise UsageError(f"{str(other)!r} and {str(picture.path)!r} would share one label map; rename one")
    return pictures


def _paired(image: Path, stem: str, labels: Path) -> LabelledImage:
    candidates = [labels / f"{stem}{suffix}" for suffix in LABEL_SUFFIXES]
    existing = next((path for path in candidates if path.exists()), candidates[0])
    return LabelledImage(image=image, labels=existing, stem=stem)


def read_classes(path: str | os.PathLike[str]) -> Vocabulary:
    """The names of the classes out of a JSON list.

    Raises:
        UsageError: the file can't be read or is no list of names; or the names are no vocabulary (one is empty, or
            there twice).
    """
    name = os.fspath(path)
    try:
        names = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"the classes' file {name!r} can't be read: {error.strerror}; check the path") from None
    except ValueError as error:
        raise UsageError(f"the classes' file {name!r} is no JSON ({error}); write a list of names") from None
    if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
        raise UsageError(f'the classes\' file {name!r} is no list of names; write ["cat", "sofa", ...] in label order')
    return Vocabulary(names)
