"""Images with label maps, for evaluation and training."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import InputError, UsageError, listed
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.label_maps import (
    MUCH_UNLABELED,
    UNLABELED,
    UNLABELED_NAME,
    LabelTable,
    label_table,
    read_label_map,
)
from segvoc.imaging.reading import read_image, upright_size
from segvoc.imaging.result_paths import image_paths
from segvoc.imaging.stretching import Stretch
from segvoc.runtime.suggestions import checked_call, did_you_mean
from segvoc.storage.files import named_alike, read_json
from segvoc.storage.resume import Stamp, stamp_of
from segvoc.vocabulary import Vocabulary
from segvoc.vocabulary.files import read_classes
from segvoc.vocabulary.names import folded

CLASS_LIST_FOLDER = Path(__file__).parent / "classes"
"""Folder of the class lists. Names are in label order, spelled as in the datasets."""


@cache
def read_class_list(name: str) -> Any:
    """Read a JSON file in `CLASS_LIST_FOLDER` by name without suffix; don't modify the result."""
    return read_json(CLASS_LIST_FOLDER / f"{name}.json")


@cache
def class_names(name: str) -> tuple[str, ...]:
    """The class names of a list, in label order."""
    content = read_class_list(name)
    return tuple(content["class_names"] if isinstance(content, dict) else content)


@cache
def image_stems(name: str) -> tuple[str, ...]:
    """The stems of images in a text file of `CLASS_LIST_FOLDER`, one per line."""
    return tuple((CLASS_LIST_FOLDER / f"{name}.txt").read_text(encoding="utf-8").split())


LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".PNG", ".TIF", ".TIFF")
"""Suffixes of label maps, in search order."""

_GENERIC_FOLDERS = frozenset("images image imgs img photos pictures jpegimages val train test".split())
"""Generic folder names, unsuitable as names of sets."""

SAMPLED_IMAGES, LEAST_SAMPLED = 300, 50
"""Most and fewest images to read when looking for absent classes and for pixels without a class."""

LISTED_WORDS = 5
"""Words of pixels without a label to list."""


class ImageAndLabels(NamedTuple):
    """An image in memory with its labels."""

    image: UInt8[np.ndarray, "H W 3"]
    """RGB in [0, 255]."""
    labels: UInt16[np.ndarray, "H W"]
    """The class index of each pixel, or 65535 (`UNLABELED`)."""


@dataclass(frozen=True, kw_only=True)
class LabeledImage:
    """The files of an image and its label map."""

    image: Path
    labels: Path
    stem: str
    """Path of both below their folders, without suffix ("sub/photo")."""
    new_labels: tuple[int, ...] | None = None
    """Maps stored labels to labels, 65535 for unlabeled; None: unchanged."""
    table: LabelTable | None = None
    """The meaning of the values in its label map; None: they are the labels, and unlabeled."""
    stretch: Stretch | None = None
    """Black and white values of a gray image with more than 8 bits; None: see `read_image`."""

    def read(self, classes: int, colors: Colors = "srgb") -> ImageAndLabels:
        """Read the image and its labels, which must be below the number of classes; `InputError` if either is unfit."""
        image = read_image(self.content(), self.stretch, colors)
        return ImageAndLabels(image, self.read_labels(image.shape[:2], classes))

    def content(self) -> Path | bytes:
        """The image's path, or its content if embedded in another file; an `InputError` if that is damaged."""
        return self.image

    @property
    def identity(self) -> str:
        """Its stem and read options: everything besides the files that scores depend on."""
        changes = [repr(value) for value in (self.new_labels, self.stretch) if value is not None]
        changes += [] if self.table is None else [self.table.digest]
        return " ".join((self.stem, *changes))

    def exists(self) -> bool:
        """Whether the image exists, without reading it."""
        return os.path.exists(self.image)

    def stamp(self) -> tuple[Stamp, Stamp]:
        """Stamps of the image and its labels, to detect changes."""
        return stamp_of(self.image), stamp_of(self.labels)

    def size(self) -> tuple[int, int]:
        """Height and width of the upright image [px], from its header; `InputError` if it can't be read."""
        content = self.content()
        return upright_size(self.image, content if isinstance(content, bytes) else None)

    def read_labels(self, size: tuple[int, int], classes: int) -> UInt16[np.ndarray, "H W"]:
        """Read only the labels, for an image of this height and width [px]; `InputError` if they don't fit."""
        labels = self.stored_labels(size)
        if labels.shape != size:
            (height, width), (rows, columns) = size, labels.shape
            raise InputError(
                f"{str(self.labels)!r} is {columns} x {rows} pixels, but its image {str(self.image)!r} is "
                f"{width} x {height} (upright); export both at the same size"
            )
        stored = classes if self.new_labels is None else len(self.new_labels)
        unknown = labels[(labels >= stored) & (labels != UNLABELED)]
        if unknown.size:
            raise InputError(
                f"{str(self.labels)!r} contains the label {unknown[0]}, but there are {stored} classes (0 to "
                f"{stored - 1}; 255, or 65535 in 16 bits, is unlabeled); add its class or relabel it"
            )
        return labels if self.new_labels is None else label_table(dict(enumerate(self.new_labels)))[labels]

    def stored_labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
        """Read the labels as stored; labels that are shapes are drawn at this height and width [px]."""
        return read_label_map(self.labels, self.table)

    def read_objects(self, size: tuple[int, int], stuff: Set[int] = frozenset()) -> UInt16[np.ndarray, "H W"] | None:
        """Read each pixel's object number, 0 for none; None if the dataset has no objects.

        Labels of `stuff` aren't objects unless the dataset says so. `InputError` if a file is missing or damaged.
        """
        if self.new_labels is not None:
            stuff = {stored for stored, label in enumerate(self.new_labels) if label in stuff}
        return self.stored_objects(size, stuff)

    def stored_objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """Like `read_objects`, but `stuff` are stored labels."""
        return None


@dataclass(frozen=True, kw_only=True)
class LabeledImages:
    """A set of labeled images with the names of their classes."""

    name: str
    """Name of the set, for reports."""
    vocabulary: Vocabulary
    """The class names; the index of a name is its label."""
    images: tuple[LabeledImage, ...]
    """The images, sorted by stem."""
    background: str | None = None
    """The class that stands for "none of the others", if there is one."""
    are_shapes: bool = False
    """Whether labels are shapes, which needn't cover an image: pixels outside are the background's, or unlabeled."""
    object_maps: "LabeledImages | None" = None
    """For classes that are parts: label maps of the objects, which also cover pixels that belong to no part (the rest
    of the dog). Images and maps are matched by stem."""

    def __post_init__(self) -> None:
        if self.background is not None and self.background not in self.vocabulary.words:
            raise UsageError(f"the background {self.background!r} is not one of the classes; use the name of a class")

    @classmethod
    @checked_call
    def from_folders(
        cls,
        images: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        classes: str | os.PathLike[str] | Sequence[str],
        *,
        background: str | None = None,
        owner: str | None = None,
        skip: str | os.PathLike[str] | None = None,
    ) -> "LabeledImages":
        """Pair the images in a folder with the label maps of the same names.

        Args:
            images: folder of the images, including sub-folders; hidden files are skipped.
            labels: folder of the label maps: `sub/photo.png` (or .tif) for `sub/photo.jpg`. In 8-bit maps 255 is
                unlabeled, in 16-bit maps 65535. Images without a label map are included, and reading them raises an
                `InputError`.
            classes: the class names in label order, or their file (`segvoc.vocabulary.files.read_classes`), with the
                values or colors in the maps; classes of a file that are called "void", "ignore", ... are unlabeled.
            background: the class that stands for "none of the others".
            owner: the object that all classes except the background are parts of: "door" means "car's door".
            skip: a folder inside `images` to leave out, such as a results folder.

        Raises:
            UsageError: a folder is missing or empty, no image has a label map, two images share a label map, or the
                class names can't be read.
        """
        vocabulary, table = _stored_classes(classes)
        if owner is not None:
            if not (whole := owner.strip()):
                raise UsageError(f"the object {owner!r} has no name; give the object that the classes are parts of")
            vocabulary = Vocabulary(word if word == background else f"{whole}'s {word}" for word in vocabulary.words)
        for folder in (images, labels):
            if not os.path.isdir(folder):
                raise UsageError(f"the folder {os.fspath(folder)!r} does not exist; check the path")
        paths, seen, pairs = image_paths([images], skip), dict[str, Path](), list[LabeledImage]()
        for image in paths:
            if image.problem is not None:
                raise UsageError(image.problem)
            if (other := seen.setdefault(image.stem, image.path)) is not image.path:
                raise UsageError(f"{str(other)!r} and {str(image.path)!r} would share a label map; rename one of them")
            # a.png, or a.jpg.png, for a.jpg
            stems = (image.stem, f"{image.stem}{image.path.suffix}")
            candidates = [Path(labels) / f"{stem}{suffix}" for stem in stems for suffix in LABEL_SUFFIXES]
            existing = next(filter(None, map(named_alike, candidates)), candidates[0])
            pairs.append(LabeledImage(image=image.path, labels=existing, stem=image.stem, table=table))
        if not any(os.path.exists(pair.labels) for pair in pairs):
            raise UsageError(
                f"no image in {os.fspath(images)!r} has a label map in {os.fspath(labels)!r}; "
                f"{str(pairs[0].image)!r} needs {str(pairs[0].labels)!r}"
            )
        named = Path(images).resolve()
        while named.name.lower() in _GENERIC_FOLDERS and named.parent.name:
            named = named.parent
        return cls(name=named.name, vocabulary=vocabulary, images=tuple(pairs), background=background)

    @classmethod
    def joined(
        cls, sets: Sequence["LabeledImages"], *, rename: Mapping[str, str] | None = None, drop: str | Iterable[str] = ()
    ) -> "LabeledImages":
        """Join several sets, and their object maps, merging classes of the same name.

        Args:
            sets: at least one.
            rename: new names of classes, also of those of object maps: {"sofa": "couch"}.
            drop: classes whose pixels become unlabeled, also in object maps; a list or set of names.

        Raises:
            UsageError: a renamed or dropped class is unknown, no class is left, there are several backgrounds, or only
                some of the sets have object maps.
        """
        rename, drop = dict(rename or {}), list(Vocabulary(drop).words if isinstance(drop, str) else drop)
        maps = [one.object_maps for one in sets if one.object_maps is not None]
        if 0 < len(maps) < len(sets):
            without = next(one.name for one in sets if one.object_maps is None)
            raise UsageError(f"{without!r} has no object maps, but {maps[0].name!r} has; join sets that all have some")
        known = list(dict.fromkeys(word for one in (*sets, *maps) for word in one.vocabulary.words))
        rename = {word: new for name, new in rename.items() for word in _spelled_like(name, known)}
        drop = frozenset(word for name in drop for word in _spelled_like(name, known))
        if unknown := [word for word in (*rename, *sorted(drop)) if word not in known]:
            raise UsageError(
                f"no class is called {unknown[0]!r}{did_you_mean(unknown[0], known)}; rename or drop others"
            )
        prefixes = [f"{name}/" for name in distinct_names([one.name for one in sets])] if len(sets) > 1 else [""]
        object_maps = cls._merged(maps, prefixes, rename, drop) if maps else None
        return replace(cls._merged(sets, prefixes, rename, drop), object_maps=object_maps)

    @classmethod
    def _merged(
        cls, sets: Sequence["LabeledImages"], prefixes: Sequence[str], rename: Mapping[str, str], drop: frozenset[str]
    ) -> "LabeledImages":
        """The images of all sets, whose stems get the sets' prefixes, without their object maps."""
        known = dict.fromkeys(word for one in sets for word in one.vocabulary.words)
        spelled = dict[str, str]()
        renamed = {word: rename.get(word, word) for word in known}
        for word in (renamed[word] for word in known if word not in drop):
            spelled.setdefault(folded(word), word)
        words = list(spelled.values())
        rename = {word: spelled.get(folded(new), new) for word, new in renamed.items()}
        found = dict.fromkeys(one.background for one in sets if one.background not in (None, *drop))
        backgrounds = list(dict.fromkeys(rename.get(str(word), str(word)) for word in found))
        if len(backgrounds) > 1:
            raise UsageError(
                f"the backgrounds {backgrounds[0]!r} and {backgrounds[1]!r} differ; "
                f"rename one: --rename {backgrounds[1]}={backgrounds[0]}"
            )
        label_of = {word: label for label, word in enumerate(words)}
        images = []
        for one, prefix in zip(sets, prefixes, strict=True):
            table = [UNLABELED if word in drop else label_of[rename.get(word, word)] for word in one.vocabulary.words]
            # one tuple for all images with the same labels so far
            new_labels: dict[tuple[int, ...] | None, tuple[int, ...]] = {None: tuple(table)}
            for image in one.images:
                if (before := image.new_labels) is not None and before not in new_labels:
                    new_labels[before] = tuple(UNLABELED if label == UNLABELED else table[label] for label in before)
                images.append(replace(image, stem=f"{prefix}{image.stem}", new_labels=new_labels[before]))
        return cls(
            name="+".join(dict.fromkeys(one.name for one in sets)),
            vocabulary=Vocabulary(words),
            images=tuple(sorted(images, key=lambda image: image.stem)),
            background=backgrounds[0] if backgrounds else None,
            are_shapes=any(one.are_shapes for one in sets),
        )

    def stretched(self, stretch: str) -> "LabeledImages":
        """Return the set with other black and white values for grays of more than 8 bits: "0,4095" or "2%,98%".

        Raises:
            UsageError: the stretch is invalid.
        """
        values = Stretch.parsed(stretch)
        return replace(self, images=tuple(replace(image, stretch=values) for image in self.images))

    def remarks(self) -> list[str]:
        """What to know of the labels before they are used, in lines: classes and pixels that have no labels.

        The background may have no pixels. Large sets are sampled (`SAMPLED_IMAGES` images), until all classes are
        found in `LEAST_SAMPLED`. Unreadable images are skipped.
        """
        left = {label for label, word in enumerate(self.vocabulary.words) if word != self.background}
        chosen = self.images[:: max(1, -(-len(self) // SAMPLED_IMAGES))]
        unlabeled = pixels = 0
        for number, image in enumerate(chosen):
            if not left and number >= LEAST_SAMPLED:
                break
            with suppress(InputError):
                labels = image.read_labels(image.size(), len(self.vocabulary))
                left -= set(np.unique(labels).tolist())
                unlabeled, pixels = unlabeled + int(np.count_nonzero(labels == UNLABELED)), pixels + labels.size
        if not pixels:
            return []
        names = [word for label, word in enumerate(self.vocabulary.words) if label in left]
        looked_at = "" if len(chosen) == len(self) else f" (in {len(chosen)} of {len(self)} images)"
        absent = absence_line(names, len(self.vocabulary), unlabeled, pixels, looked_at)
        much = unlabeled_remark(unlabeled / pixels, are_shapes=self.are_shapes)
        return [line for line in (absent, much) if line is not None]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def only(self, indices: Iterable[int]) -> "LabeledImages":
        """Select the images at these positions."""
        return replace(self, images=tuple(self.images[index] for index in indices))

    def read(self, index: int) -> ImageAndLabels:
        """Read the image and the labels at a position, or raise an `InputError`."""
        return self.images[index].read(len(self.vocabulary))

    def __getitem__(self, index: int) -> ImageAndLabels:
        """Read the image and the labels at a position, as `read` does; a set can be iterated over."""
        return self.read(index)

    def read_objects(self, index: int, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"] | None:
        """Read the object number of each pixel of an image, 0 for none; None if the dataset has no objects.

        Shapes of stuff (sky, wall, ...) aren't objects unless the dataset says so. `size` is the image's height and
        width [px]. Raises an `InputError` like `read`.
        """
        return self.images[index].read_objects(size, surfaces_among(self.vocabulary.words, self.background))


def _stored_classes(classes: str | os.PathLike[str] | Sequence[str]) -> tuple[Vocabulary, LabelTable | None]:
    """The classes, and the meaning of the values in maps; None: they are the labels."""
    if not isinstance(classes, str | os.PathLike):
        return Vocabulary(classes), None
    rows = read_classes(classes)
    is_plain = all(row.color is None and row.value in (None, at) and not row.is_void for at, row in enumerate(rows))
    table = None if is_plain else LabelTable.of_rows(rows)
    return Vocabulary([row.name for row in rows] if table is None else table.names), table


def _spelled_like(name: str, known: Sequence[str]) -> list[str]:
    """The known names that are this one, or, without any, those that are it but for case; itself, if there is none."""
    return [name] if name in known else [word for word in known if folded(word) == folded(name)] or [name]


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, those that are taken with the next free number: "val", "val-3", "val-2" for "val", "val", "val-2"."""
    taken, found, numbers = set(names), dict[str, None](), dict[str, int]()
    for name in names:
        free = name
        while free in found or (free != name and free in taken):
            numbers[name] = numbers.get(name, 1) + 1
            free = f"{name}-{numbers[name]}"
        found[free] = None
    return list(found)


def absence_line(names: Sequence[str], classes: int, unlabeled: int, pixels: int, where: str = "") -> str | None:
    """A line about the classes (of so many) without a labeled pixel, where images were read; None if there are none."""
    if not names:
        return None
    why = ""
    if unlabeled and classes - len(names) < 2:
        why = f"; {unlabeled / pixels:.0%} of the pixels are unlabeled (255 in 8-bit maps): is that value a class?"
    return f"no pixel is labeled{where}: {listed(names, 10)}{why}"


def unlabeled_remark(share: float, *, are_shapes: bool) -> str | None:
    """What it means that a share of the pixels has no label, in one line; None up to a third (`MUCH_UNLABELED`)."""
    if share <= MUCH_UNLABELED:
        return None
    means = "they count neither in learning nor in scores, and in new images they get one of your words"
    fix = (
        "--background NAME makes them a class" if are_shapes else "if they show none of your classes, label them as one"
    )
    return f"{share:.0%} of the pixels {'are' if are_shapes else 'have'} {row_title(are_shapes)}: {means}; {fix}"


def row_title(are_shapes: bool) -> str:
    """What tables call the pixels without a label."""
    return "outside of all shapes" if are_shapes else "no label"


def unlabeled_row(shares: Mapping[str, float], *, are_shapes: bool) -> str | None:
    """The pixels without a label and the words that they get, in one line; None up to a third (`MUCH_UNLABELED`).

    `shares` are of all pixels, by word.
    """
    if (share := sum(shares.values())) <= MUCH_UNLABELED:
        return None
    largest = sorted(shares.items(), key=lambda one: -one[1])
    words = listed([f"{word} {of_all:.1%}" for word, of_all in largest], LISTED_WORDS)
    title = row_title(are_shapes)
    if list(shares) == [UNLABELED_NAME]:
        return f"{title}: {share:.1%} of the pixels, left unlabeled"
    return f"{title}, not scored: {share:.1%} of the pixels, labeled {words}"
