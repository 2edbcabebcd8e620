"""Images whose labels are in a dataset's own form, from which they are drawn when they are read."""

import base64
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt16

from segvoc.data.labeled_images import ImageAndLabels, LabeledImage
from segvoc.errors import InputError, one_line
from segvoc.imaging.label_maps import UNLABELED


@runtime_checkable
class Annotation(Protocol):
    """The labels of an image, in whatever form; can be sent to other processes."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """The label map of an image of this height and width [px].

        Args:
            size: that of the image.
            outside: the label of pixels that are in no shape; maps, which say themselves what is unlabeled, ignore it.

        Raises:
            ValueError: it is damaged, or doesn't fit the image; the message says what is wrong.
            InputError: a file is missing or damaged.
        """
        ...

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """The number of each pixel's object, from 1, and 0 for none; None if there are none.

        `stuff` are labels whose shapes are objects only where the dataset says so. Errors are those of `draw`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The annotation of an image whose files can't be used."""

    problem: str
    """What is wrong, and how to fix it."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        raise InputError(self.problem)

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        raise InputError(self.problem)


@dataclass(frozen=True, kw_only=True)
class AnnotatedImage(LabeledImage):
    """An image of a dataset; `labels` is the file that has its annotation."""

    annotation: Annotation
    """Its labels."""
    outside: int = UNLABELED
    """The label of pixels that are in no shape."""
    embedded: str | None = None
    """The content of the image's file, in base64, if it is in the file of the annotation."""

    def exists(self) -> bool:
        """See `LabeledImage.exists`."""
        return self.embedded is not None or super().exists()

    def content(self) -> Path | bytes:
        """See `LabeledImage.content`."""
        if self.embedded is None:
            return self.image
        try:
            return base64.b64decode(self.embedded, validate=True)
        except ValueError:
            raise InputError(f"{str(self.labels)!r} is damaged: its image is not in base64; save it again") from None

    def read(self, classes: int) -> ImageAndLabels:
        """See `LabeledImage.read`."""
        if isinstance(self.annotation, Broken):
            raise InputError(self.annotation.problem)
        return super().read(classes)

    def stored_labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
        """See `LabeledImage.stored_labels`."""
        try:
            return self.annotation.draw(size, self.outside)
        except (ValueError, OverflowError) as error:
            raise self._damaged(error) from None

    def read_objects(self, size: tuple[int, int], stuff: Set[int] = frozenset()) -> UInt16[np.ndarray, "H W"] | None:
        """See `LabeledImage.read_objects`."""
        try:
            return self.annotation.objects(size, stuff)
        except (ValueError, OverflowError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{str(self.labels)!r}: the annotation of {self.stem!r} is damaged: {one_line(error)}; export it again"
        )


def broken(path: Path, stem: str, problem: str) -> AnnotatedImage:
    """An image that can't be used, with the file that is the reason and what is wrong there."""
    annotation = Broken(problem=f"{str(path)!r}: {problem}; correct it there")
    return AnnotatedImage(image=path, labels=path, stem=stem, annotation=annotation)


@dataclass(frozen=True, kw_only=True)
class FoundDataset:
    """What the reader of a format has found."""

    names: Sequence[str]
    """The names of the classes, in the order of their labels."""
    images: Sequence[AnnotatedImage]
    background: str | None = None
    """The class that the format itself calls the background, if it has one."""
    has_outside: bool = True
    """Whether the labels are shapes, outside of which is something else, and not maps."""


def checked_size(size: tuple[int, int], stated: tuple[int, int] | None) -> None:
    """Raise a `ValueError` if an image hasn't the height and width for which its annotation was made."""
    if stated is not None and stated != size:
        raise ValueError(f"it is for {stated[1]} x {stated[0]} pixels, the image has {size[1]} x {size[0]}")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Names of images by their paths in a dataset: without suffix, but where two would have the same name."""
    short = [path.with_suffix("").as_posix() for path in paths]
    count = Counter(short)
    return [stem if count[stem] == 1 else path.as_posix() for stem, path in zip(short, paths, strict=True)]
