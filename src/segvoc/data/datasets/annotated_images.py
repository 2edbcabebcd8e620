"""Images of a dataset, whose labels are drawn from its annotations when they are read."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.vocabulary import Vocabulary


class Annotation:
    """The labels of an image in any form; picklable.

    Both methods raise a `ValueError` if the annotation is damaged or doesn't fit the image, and an `InputError` if a
    file is missing or damaged.
    """

    skipped: tuple[str, ...] = ()
    """Kinds of the annotations that aren't drawn: "polyline", "box", ..."""

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

    annotation: Annotation = field(default_factory=Annotation)
    problem: str | None = None
    """Why its files can't be used, and how to fix it."""
    outside: int = UNLABELED
    """The label of pixels outside all shapes."""
    embedded: str | None = None
    """The image file in base64, if it is embedded in the annotation file."""

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
            return base64.b64decode(self.embedded, validate=True)
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
            problem = f"the annotation of {self.stem!r} is damaged: {one_line(error)}; export it again"
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
class FoundDataset:
    """The result of a format's reader."""

    names: Sequence[str]
    """The class names in label order; classes with equal names are merged."""
    images: Sequence[AnnotatedImage]
    background: str | None = None
    """The format's background class; ignored unless it is one of the names."""
    has_outside: bool = True
    """Whether the labels are shapes, which don't cover the image, rather than maps."""

    def labeled_images(self, name: str, background: str | None) -> LabeledImages:
        """The images by stem, in a set of this name; images that share a file become broken ones.

        `UsageError` if a class name is invalid, or the maps lack the background.
        """
        own = [name.strip() for name in self.names]
        if background is None and self.background in own:
            background = self.background
        about: dict[str, Any] = {}
        if background is not None and self.has_outside:
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
        stems: Counter[str] = Counter()
        images = []
        for image in sorted(self.images, key=lambda image: (image.stem, image.image)):
            stems[image.stem] += 1
            stem = image.stem if stems[image.stem] == 1 else f"{image.stem}-{stems[image.stem]}"
            if files[image.image] > 1 and image.embedded is None and image.problem is None:
                twice = ValueError(f"it has {files[image.image]} entries of the image {str(image.image)!r}")
                image = broken(image.labels, stem, twice)
            images.append(replace(image, stem=stem, **about))
        return LabeledImages(name=name, vocabulary=vocabulary, images=tuple(images), background=background)


def checked_size(size: tuple[int, int], stated: tuple[int, ...] | None) -> None:
    """Raise a `ValueError` if an image's size differs from its annotation's."""
    if stated is not None and stated[:2] != size:
        raise ValueError(f"it is for {stated[1]} x {stated[0]} pixels, the image has {size[1]} x {size[0]}")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Names of images by their paths in a dataset: without suffix unless names would clash."""
    short = [path.with_suffix("").as_posix() for path in paths]
    count = Counter(short)
    return [stem if count[stem] == 1 else path.as_posix() for stem, path in zip(short, paths, strict=True)]
