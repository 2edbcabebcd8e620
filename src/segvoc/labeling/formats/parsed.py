"""What readers of datasets get and give: a source, and images whose labels are drawn when they are read."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import UInt16

from segvoc.data.labeled_images import LabeledImage, LabeledImages, distinct_names
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.result_paths import distinct_stems, equal_names
from segvoc.labeling.formats.untrusted_files import path_ends
from segvoc.storage.files import base64_bytes, named_alike, safe_path
from segvoc.vocabulary import Vocabulary
from segvoc.vocabulary.names import as_word, folded


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
    frame: tuple[str, int] | None = None
    """The name of the video whose frame it is, and the number of the frame, from 0; None for any other image."""

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
            name=name, vocabulary=vocabulary, images=tuple(images), background=background, are_shapes=self.are_shapes
        )


def checked_size(size: tuple[int, int], stated: tuple[int, ...] | None) -> None:
    """Raise a `ValueError` if an image's size differs from its annotation's."""
    if stated is not None and stated[:2] != size:
        raise ValueError(f"it is for {stated[1]} x {stated[0]} pixels, the image has {size[1]} x {size[0]}")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Names of images by their paths in a dataset: without suffix unless names would clash."""
    short = [path.with_suffix("").as_posix() for path in paths]
    return distinct_stems(short, [path.as_posix() for path in paths], equal_names)


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

    def chosen(self, sets: Mapping[str, _Set], kind: str) -> _Set:
        """Choose the requested set, or the only one; `kind` describes them in errors: "files in annotations/"."""
        names = ", ".join(sorted(sets))
        if self.split is not None:
            if self.split not in sets:
                raise UsageError(f"{str(self.path)!r} has no set {self.split!r}; its {kind} are {names}")
            return sets[self.split]
        if len(sets) > 1:
            raise UsageError(f"{str(self.path)!r} has several {kind}: {names}; choose one with --split")
        return next(iter(sets.values()))
