"""What the readers of datasets share: images whose labels are drawn when they are read, and untrusted files."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
from jaxtyping import UInt16

from segvoc.data.labeled_images import LabeledImage, LabeledImages, distinct_names
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.result_paths import distinct_stems, equal_names
from segvoc.storage.files import base64_bytes, is_hidden, named_alike, read_json, safe_path
from segvoc.vocabulary import Vocabulary, as_word, folded


class Annotation:
    """The labels of an image in any form; picklable.

    Both methods raise a `ValueError` if the annotation is damaged or doesn't fit the image, and an `InputError` if a
    file is missing or damaged.
    """

    skipped: tuple[str, ...] = ()
    """Kinds of the annotations that aren't drawn: "polyline", "box", ..."""

    @property
    def table_digest(self) -> str:
        """Digest of the class table that its labels also depend on; empty without one."""
        return ""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """Draw the label map of an image of this height and width [px].

        `outside` is the label of pixels outside all shapes; ignored by maps, which define what is unlabeled.
        """
        raise NotImplementedError

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """Draw the object number of each pixel, from 1, 0 for none; None without objects.

        `stuff` are labels whose shapes are only objects if the dataset says so.
        """
        return None


@dataclass(frozen=True, kw_only=True)
class AnnotatedImage(LabeledImage):
    """An image of a dataset; `labels` is its annotation file."""

    fix: ClassVar[str] = "export it again"
    """How to repair a damaged annotation, for errors."""
    annotation: Annotation = field(default_factory=Annotation)
    problem: str | None = None
    """Why its files can't be used, and how to fix it."""
    outside: int = UNLABELED
    """The label of pixels outside all shapes."""
    embedded: str | None = None
    """The image file in base64, if it is embedded in the annotation file."""

    @property
    def identity(self) -> str:
        """See `LabeledImage.identity`."""
        return f"{super().identity} {self.annotation.table_digest}".rstrip()

    def exists(self) -> bool:
        """See `LabeledImage.exists`."""
        return self.embedded is not None or super().exists()

    def content(self) -> Path | bytes:
        """See `LabeledImage.content`."""
        if self.problem is not None:
            raise InputError(self.problem)
        if self.embedded is None:
            return self.image
        try:
            return base64_bytes(self.embedded)
        except ValueError:
            raise InputError(f"{str(self.labels)!r} is damaged: its image is not in base64; save it again") from None

    def stored_labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
        """See `LabeledImage.stored_labels`."""
        with self.naming_damage():
            return self.annotation.draw(size, self.outside)

    def stored_objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `LabeledImage.stored_objects`."""
        with self.naming_damage():
            return self.annotation.objects(size, stuff)

    @contextmanager
    def naming_damage(self) -> Iterator[None]:
        """Turn errors about the annotation into an `InputError`."""
        if self.problem is not None:
            raise InputError(self.problem)
        try:
            yield
        except (ValueError, OverflowError) as error:
            problem = f"the annotation of {self.stem!r} is damaged: {one_line(error)}; {self.fix}"
            raise InputError(f"{str(self.labels)!r}: {problem}") from None


def annotated(
    labels: Path, stem: str, image: Callable[[], Path], annotation: Callable[[], Annotation], name: str = ""
) -> AnnotatedImage:
    """Locate an image, and read its annotation from the file `labels`; a `ValueError` is raised when it is read.

    `name` is the image's in errors.
    """
    try:
        return AnnotatedImage(annotation=annotation(), image=image(), labels=labels, stem=stem)
    except ValueError as error:
        return broken(labels, stem, error, name)


def broken(path: Path, stem: str, error: ValueError, name: str = "") -> AnnotatedImage:
    """Create an unusable image, with the faulty file and the problem; a `UsageError` names both."""
    about = f"{str(path)!r}: {name}{': ' if name else ''}{error}; correct it there"
    return AnnotatedImage(
        image=path, labels=path, stem=stem, problem=str(error) if isinstance(error, UsageError) else about
    )


@dataclass(frozen=True, kw_only=True)
class ParsedDataset:
    """The result of a format's reader."""

    names: Sequence[str]
    """The class names in label order; classes with names that are equal but for case are merged."""
    images: Sequence[AnnotatedImage]
    background: str | None = None
    """The format's background class; ignored unless it is one of the names."""
    are_shapes: bool = True
    """Whether the labels are shapes, which don't cover the image, rather than maps."""
    left_out: str | None = None
    """How many annotations were left out, and why."""

    def labeled_images(self, name: str, background: str | None) -> LabeledImages:
        """The images by stem, in a set of this name; images that share a file become broken ones.

        `UsageError` if a class name is invalid, or the maps lack the background.
        """
        about, spelled = dict[str, Any](), dict[str, str]()
        given = [word for word in (background, self.background if self.background in self.names else None) if word]
        for word in map(as_word, (*given, *self.names)):
            spelled.setdefault(folded(word), word)
        own = [spelled[folded(as_word(word))] for word in self.names]  # "Cat" and "cat" are one class
        if background is None and self.background in own:
            background = self.background
        background = None if background is None else as_word(background)
        if background is not None and self.are_shapes:
            own += [background] if background not in own else []
            about["outside"] = own.index(background)
        try:
            vocabulary = Vocabulary(list(dict.fromkeys(own)))
        except UsageError as error:
            raise UsageError(f"the classes of {name!r} can't be used as words: {error}") from None
        if len(vocabulary) < len(own):
            about["new_labels"] = tuple(map(vocabulary.words.index, own))
        usable = [image for image in self.images if image.embedded is None and image.problem is None]
        files = Counter(image.image for image in usable if image.exists())
        ordered, images = sorted(self.images, key=lambda image: (image.stem, image.image)), []
        for image, stem in zip(ordered, distinct_names([image.stem for image in ordered]), strict=True):
            if files[image.image] > 1 and image.embedded is None and image.problem is None:
                twice = ValueError(f"it has {files[image.image]} entries of the image {str(image.image)!r}")
                image = broken(image.labels, stem, twice)
            images.append(replace(image, stem=stem, **about))
        return LabeledImages(
            name=name,
            vocabulary=vocabulary,
            images=tuple(images),
            background=background,
            are_shapes=self.are_shapes,
        )


def checked_size(size: tuple[int, int], stated: tuple[int, ...] | None) -> None:
    """Raise a `ValueError` if an image's size differs from its annotation's."""
    if stated is not None and stated[:2] != size:
        raise ValueError(f"it is for {stated[1]} x {stated[0]} pixels, the image has {size[1]} x {size[0]}")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Names of images by their paths in a dataset: without suffix unless names would clash."""
    short = [path.with_suffix("").as_posix() for path in paths]
    return distinct_stems(short, [path.as_posix() for path in paths], equal_names)


# ---- locating files, and checked access to their untrusted values

_Set = TypeVar("_Set")


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """The location of a dataset, as given by the caller."""

    path: Path
    """Its folder, or its annotation file for all images."""
    images: Path | None = None
    """The folder of the images, if they are elsewhere."""
    split: str | None = None

    @property
    def folder(self) -> Path:
        """The dataset's folder, or the folder of its file."""
        return self.path.parent if self.path.is_file() else self.path

    def image(self, name: str, folders: Sequence[Path], others: Sequence[str] = ()) -> Path:
        """Find an image by its path in the dataset, or by `others`, below candidate folders, the likeliest first.

        If given, only `images` is searched, also for the end of the path. The folders are searched for the end of URLs
        and of paths from another machine. Returns the first and longest match, or the first candidate; `ValueError` if
        the name points outside the folders, and no end of it matches.
        """
        folders, ends = folders if self.images is None else [self.images], path_ends(name)
        if self.images is None:
            with suppress(ValueError):  # a backslash may be one of Windows
                ends = [safe_path(name), *(ends if "\\" in name else ())]
        places = [folder / end for end in (*(ends or [Path()]), *others) for folder in folders]
        in_any_case = partial(named_alike, any_case=True)
        for match in (lambda place: place if place.is_file() else None, named_alike, in_any_case):
            if (found := next(filter(None, map(match, places)), None)) is not None:
                return found
        safe_path(name)  # raises the error that it points outside
        return places[0]


def path_ends(name: str) -> list[Path]:
    """The relative ends of any path or URL, without parts that lead out of a folder: "a/b.jpg", "b.jpg"."""
    if re.match(r"[a-zA-Z][\w+.-]*://", name):
        name = unquote(urlsplit(name).path)
    parts = [part for part in re.split(r"[/\\]+", re.sub("^[a-zA-Z]:", "", name)) if part not in ("", ".", "..")]
    with suppress(ValueError):  # not a file name
        return [safe_path("/".join(parts[first:])) for first in range(len(parts))]
    return []


def inner_path(name: str) -> Path:
    """The longest relative end of a path or URL; "image" if it isn't a file name."""
    return next(iter(path_ends(name)), Path("image"))


def chosen_set(source: DatasetSource, sets: Mapping[str, _Set], kind: str) -> _Set:
    """Choose the requested set, or the only one; `kind` describes the sets in errors: "files in annotations/"."""
    names = ", ".join(sorted(sets))
    if source.split is not None:
        if source.split not in sets:
            raise UsageError(f"{str(source.path)!r} has no set {source.split!r}; its {kind} are {names}")
        return sets[source.split]
    if len(sets) > 1:
        raise UsageError(f"{str(source.path)!r} has several {kind}: {names}; choose one with --split")
    return next(iter(sets.values()))


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with these suffixes below a folder, sorted by path; hidden files and folders are skipped."""

    def refuse(error: OSError) -> None:
        raise error

    paths = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        paths += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(path for path in paths if path.suffix.lower() in suffixes)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn read errors and `ValueError`s about a file's content into `UsageError`s, which pass through."""
    try:
        yield
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{str(path)!r} can't be read: {error.strerror}; check the path") from None
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is damaged: {one_line(error)}; export the dataset again") from None


def json_content(path: Path) -> Any:
    """Read a JSON file, or raise a `UsageError`."""
    with naming_damage(path):
        try:
            return read_json(path)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({one_line(error)})") from None


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file, or raise a `UsageError`."""
    with naming_damage(path):
        try:
            # not `splitlines`, which also splits at characters that names may contain
            return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        except UnicodeError:
            raise ValueError("it is not UTF-8 text") from None


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise ValueError("it has a DOCTYPE, which is not allowed (it may define entities)")


def read_xml(path: Path) -> ElementTree.Element:
    """Read the root of an XML file without DOCTYPE, or raise a `UsageError`."""
    with naming_damage(path):
        try:
            return ElementTree.parse(path, ElementTree.XMLParser(target=_WithoutDoctype())).getroot()
        except (ElementTree.ParseError, LookupError) as error:
            raise ValueError(str(error)) from None


class Entry:
    """An entry of a file with checked values; errors refer to it by name ("annotation 7")."""

    def __init__(self, content: object, name: str) -> None:
        if not isinstance(content, Mapping):
            raise ValueError(f"{name} is {_kind(content)}, not an object")
        self.content, self.name = content, name

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def text(self, key: str) -> str:
        """A text that isn't blank."""
        return self._value(key, "a text", lambda value: isinstance(value, str) and bool(value.strip()))

    def flag(self, key: str, default: bool = False) -> bool:
        """Yes or no: true or false, 1 or 0, as a value or as text; the default if it is missing."""
        value = self.content.get(key)
        if value is None or value == "":
            return default
        flag = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower().removesuffix(".0"))
        if flag is None:
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not true or false")
        return flag

    def whole(self, key: str) -> int:
        """An integer."""
        value = self._value(key, "a whole number", lambda value: isinstance(value, int | float) and value % 1 == 0)
        return int(value)

    def identity(self, key: str) -> int | str:
        """An id: a number or a text."""
        return self._value(key, "an id", lambda value: isinstance(value, int | str))

    def number(self, key: str) -> float:
        """A finite number."""
        return finite(self._value(key), f"{key!r} of {self.name}")

    def items(self, key: str) -> Sequence[Any]:
        """A list."""
        return self._value(key, "a list", lambda value: isinstance(value, list))

    def entry(self, key: str) -> "Entry":
        """A nested entry."""
        return Entry(self._value(key), f"{key!r} of {self.name}")

    def entries(self, key: str, name: str) -> list["Entry"]:
        """A list of entries, each named with its position."""
        return [Entry(content, f"{name} {number}") for number, content in enumerate(self.items(key))]

    def size(self, height: str = "height", width: str = "width") -> tuple[int, int] | None:
        """The height and width of an image [px]; None if either is missing."""
        return (self.whole(height), self.whole(width)) if height in self and width in self else None

    def _value(self, key: str, kind: str = "", fits: Callable[[Any], bool] | None = None) -> Any:
        if (value := self.content.get(key)) is None:
            raise ValueError(f"{self.name} has no {key!r}")
        if fits is not None and (isinstance(value, bool) or not fits(value)):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not {kind}")
        return value


def finite(value: object, name: str) -> float:
    """Convert a value to a finite number, or raise `ValueError`."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {_kind(value)}, not a finite number")
    return number


def points_of(listed: Sequence[Any], name: str) -> list[float]:
    """The coordinates of points, alternating x and y, or raise `ValueError`."""
    if not all(isinstance(point, list) and len(point) == 2 for point in listed):
        raise ValueError(f"a point of {name} isn't x and y")
    return [finite(value, f"a coordinate of {name}") for point in listed for value in point]


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
