"""Images whose labels are drawn from a dataset's annotations when they are read.

Most annotations are overlapping shapes: polygons, always rasterized like pycocotools, and masks in the encoding of
their format. Annotations that can't be drawn are counted.
"""

import base64
import binascii
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, UInt16
from PIL import Image

from segvoc.data.labeled_images import ImageAndLabels, LabeledImage, LabeledImages
from segvoc.data.preparation.conversions import COORDINATE_LIMIT, coco_mask
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.vocabulary import Vocabulary

_Item = TypeVar("_Item")

_CORNERS_OF_ELLIPSE = 180


@runtime_checkable
class Annotation(Protocol):
    """The labels of an image in any form; picklable."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """Draw the label map of an image of this height and width [px].

        Args:
            size: image size.
            outside: the label of pixels outside all shapes; ignored by maps, which define what is unlabeled.

        Raises:
            ValueError: the annotation is damaged or doesn't fit the image; the message says why.
            InputError: a file is missing or damaged.
        """
        ...

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """Draw the object number of each pixel, from 1, 0 for none; None without objects.

        `stuff` are labels whose shapes are only objects if the dataset says so. Raises the same errors as `draw`.
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
    """An image of a dataset; `labels` is its annotation file."""

    annotation: Annotation
    """Its labels."""
    outside: int = UNLABELED
    """The label of pixels outside all shapes."""
    embedded: str | None = None
    """The image file in base64, if it is embedded in the annotation file."""
    skipped: tuple[str, ...] = ()
    """Kinds of the annotations that aren't drawn: "polyline", "box", ..."""

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

    def stored_objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `LabeledImage.stored_objects`."""
        try:
            return self.annotation.objects(size, stuff)
        except (ValueError, OverflowError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{str(self.labels)!r}: the annotation of {self.stem!r} is damaged: {one_line(error)}; export it again"
        )


def annotated(
    labels: Path,
    stem: str,
    image: Callable[[], Path],
    annotation: Callable[[], "Annotation"],
    name: str | None = None,
) -> AnnotatedImage:
    """Create an image with its annotation; a `ValueError` from either is raised when the image is read.

    Args:
        labels: the file with the annotation.
        stem: the name of the image.
        image: locates the image.
        annotation: reads the annotation.
        name: name of the image in errors; None: omitted.
    """
    try:
        found = annotation()
        skipped = found.skipped if isinstance(found, Shapes) else ()
        return AnnotatedImage(image=image(), labels=labels, stem=stem, annotation=found, skipped=skipped)
    except ValueError as error:
        return broken(labels, stem, str(error) if name is None else f"{name}: {error}")


def broken(path: Path, stem: str, problem: str) -> AnnotatedImage:
    """Create an unusable image, with the faulty file and the problem."""
    annotation = Broken(problem=f"{str(path)!r}: {problem}; correct it there")
    return AnnotatedImage(image=path, labels=path, stem=stem, annotation=annotation)


@dataclass(frozen=True, kw_only=True)
class FoundDataset:
    """The result of a format's reader."""

    names: Sequence[str]
    """The class names in label order; classes with equal names are merged."""
    images: Sequence[AnnotatedImage]
    background: str | None = None
    """The format's background class, if any."""
    has_outside: bool = True
    """Whether the labels are shapes, which don't cover the image, rather than maps."""

    def labeled_images(self, name: str, background: str | None) -> LabeledImages:
        """The images by stem; images that share a file become broken ones.

        Args:
            name: name of the dataset.
            background: the class that stands for "none of the others"; None: the format's.

        Raises:
            UsageError: a class name is invalid, or the maps lack the background.
        """
        own = [name.strip() for name in self.names]
        background = self.background if background is None else background
        about: dict[str, Any] = {}
        if background is not None and self.has_outside:
            own += [background] if background not in own else []
            about["outside"] = own.index(background)
        try:
            vocabulary = Vocabulary(dict.fromkeys(own))
        except UsageError as error:
            raise UsageError(f"the classes of {name!r} can't be used as words: {error}") from None
        if len(vocabulary) < len(own):
            about["new_labels"] = tuple(map(vocabulary.words.index, own))
        files = Counter(image.image for image in self.images if image.embedded is None and image.exists())
        stems: Counter[str] = Counter()
        images = []
        for image in sorted(self.images, key=lambda image: (image.stem, image.image)):
            stems[image.stem] += 1
            stem = image.stem if stems[image.stem] == 1 else f"{image.stem}-{stems[image.stem]}"
            if files[image.image] > 1 and not isinstance(image.annotation, Broken) and image.embedded is None:
                problem = f"it has {files[image.image]} entries of the image {str(image.image)!r}"
                image = broken(image.labels, stem, problem)
            images.append(replace(image, stem=stem, **about))
        return LabeledImages(name=name, vocabulary=vocabulary, images=tuple(images), background=background)


def skipped_line(images: Iterable[AnnotatedImage]) -> str | None:
    """A line that counts the annotations not drawn, by kind; None if all are drawn."""
    count = Counter(kind for image in images for kind in image.skipped)
    kinds = ", ".join(f"{number} {kind}" for kind, number in count.most_common())
    return f"skipped annotations without an area ({kinds}): {count.total()}" if count else None


def checked_size(size: tuple[int, int], stated: tuple[int, int] | None) -> None:
    """Raise a `ValueError` if an image's size differs from its annotation's."""
    if stated is not None and stated != size:
        raise ValueError(f"it is for {stated[1]} x {stated[0]} pixels, the image has {size[1]} x {size[0]}")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Names of images by their paths in a dataset: without suffix unless names would clash."""
    short = [path.with_suffix("").as_posix() for path in paths]
    count = Counter(short)
    return [stem if count[stem] == 1 else path.as_posix() for stem, path in zip(short, paths, strict=True)]


# ---- shapes


class Patch(NamedTuple):
    """Pixels of a rectangle inside an image."""

    top: int
    left: int
    inside: Bool[np.ndarray, "h w"]
    """Mask of the selected pixels."""


class NoArea(ValueError):
    """A shape without an area (point, line, ...); the message is its kind."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A shape with a label."""

    label: int
    """The index of its class; 65535 where pixels are unlabeled."""
    patch: Callable[[int, int], Patch]
    """Maps height and width [px] to the shape's pixels, or raises a `ValueError` if it is damaged or doesn't fit.
    Picklable."""
    group: int | str | None = None
    """Group id shared by the shapes of an object; None: the shape is an object by itself."""
    is_crowd: bool = False
    """Whether the shape is a crowd or stuff rather than a single object."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """The shapes of an image; where they overlap, later ones are in front."""

    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None
    """Height and width of the image according to the dataset [px]."""
    skipped: tuple[str, ...] = ()
    """Kinds of the shapes that aren't drawn."""
    larger_first: bool = False
    """Whether smaller shapes are in front, for formats without an order."""
    is_answered: bool = True
    """Whether the image was annotated, so that pixels outside all shapes are known."""

    @classmethod
    def of(cls, items: Iterable[_Item], shape: Callable[[_Item], Shape], **about: Any) -> "Shapes":
        """Collect the shapes of an image's entries; `shape` raises `NoArea` for entries that aren't drawn."""
        found, skipped = [], []
        for item in items:
            try:
                found.append(shape(item))
            except NoArea as kind:
                skipped.append(str(kind))
        return cls(shapes=tuple(found), skipped=tuple(skipped), **about)

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        labels = np.full(size, outside if self.is_answered else UNLABELED, np.uint16)
        for shape, (top, left, inside) in self._patches(size):
            rows, columns = inside.shape
            labels[top : top + rows, left : left + columns][inside] = shape.label
        return labels

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        numbers = np.zeros(size, np.uint16)
        known: dict[tuple[int, int | str | None], int] = {}
        for index, (shape, (top, left, inside)) in enumerate(self._patches(size)):
            # a shape without a group is keyed by its index
            key = (-1 - index, None) if shape.group is None else (shape.label, shape.group)
            is_none = shape.label == UNLABELED or shape.is_crowd or (shape.group is None and shape.label in stuff)
            number = 0 if is_none else known.setdefault(key, len(known) + 1)
            if number >= UNLABELED:
                raise ValueError(f"it has more than {UNLABELED - 1} objects")
            rows, columns = inside.shape
            numbers[top : top + rows, left : left + columns][inside] = number
        return numbers

    def _patches(self, size: tuple[int, int]) -> Iterable[tuple[Shape, Patch]]:
        checked_size(size, self.size)
        drawn = ((shape, shape.patch(*size)) for shape in self.shapes)
        return sorted(drawn, key=lambda one: -int(one[1].inside.sum())) if self.larger_first else drawn


@dataclass(frozen=True)
class Polygons:
    """Rasterizes polygons like pycocotools: the pixels whose centers are inside."""

    corners: Sequence[Any]
    """x and y of each polygon's corners, alternating [px], or as fractions if `relative`; checked when drawn."""
    relative: float | None = None
    """The coordinate of the right and bottom edges, if coordinates are fractions of the image's size."""
    degrees: float = 0.0
    """Clockwise rotation in the image."""
    about: tuple[float, float] = (0.0, 0.0)
    """x and y of the rotation center, in the same unit as the corners."""

    def __call__(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        scale = np.array([1.0, 1.0] if self.relative is None else [width / self.relative, height / self.relative])
        polygons = [_corners(flat) * scale for flat in self.corners]
        if self.degrees:
            cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
            about = np.array(self.about) * scale
            # y points down, so this is clockwise
            polygons = [(points - about) @ np.array([[cos, sin], [-sin, cos]]) + about for points in polygons]
        if not polygons:
            raise ValueError("a shape without a polygon")
        points = np.concatenate(polygons)
        # written so that NaN fails as well; pycocotools would crash
        if not (np.abs(points) <= COORDINATE_LIMIT).all():
            raise ValueError("a corner of a polygon lies far outside its image")
        left, top = np.maximum(np.floor(points.min(axis=0)).astype(int), 0).tolist()
        right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, (width, height)).tolist()
        if left >= right or top >= bottom:
            return Patch(0, 0, np.zeros((0, 0), bool))
        # pycocotools rounds to fifths of a pixel towards zero: round before subtracting the corner of the box
        fifths = [np.trunc(5 * points + 0.5) - [5 * left, 5 * top] for points in polygons]
        moved = [((points - (points < 0)) / 5).ravel().tolist() for points in fifths]
        return Patch(top, left, coco_mask(moved, bottom - top, right - left))


def _corners(flat: Any) -> Float64[np.ndarray, "V 2"]:
    """The corners of a polygon from alternating x and y, of any type."""
    if not isinstance(flat, Sequence) or len(flat) < 6 or len(flat) % 2:
        raise ValueError("a polygon that isn't a list of 3 corners or more, with x and y of each")
    try:
        return np.array(flat, np.float64).reshape(-1, 2)
    except TypeError:
        raise ValueError("a polygon with a corner that isn't a number") from None


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
    """The corners of a rectangle."""
    return (left, top, right, top, right, bottom, left, bottom)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> tuple[float, ...]:
    """The corners of a polygon along an ellipse."""
    angles = np.linspace(0, 2 * math.pi, _CORNERS_OF_ELLIPSE, endpoint=False)
    return tuple(np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1).ravel().tolist())


def check_box(left: int, top: int, columns: int, rows: int, height: int, width: int) -> None:
    """Check that the box of a mask is inside an image of this size."""
    if min(left, top) < 0 or min(columns, rows) < 1 or left + columns > width or top + rows > height:
        raise ValueError(f"a mask of {columns} x {rows} pixels at ({left}, {top}) is not inside its image")


@dataclass(frozen=True)
class PngMask:
    """Decodes a mask from a base64 PNG."""

    png: str
    left: int = 0
    top: int = 0
    is_whole: bool = False
    """Whether it has the size of the image."""

    def __call__(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        try:
            with Image.open(io.BytesIO(base64.b64decode(self.png, validate=True)), formats=["PNG"]) as image:
                if self.is_whole:
                    checked_size((height, width), (image.height, image.width))
                check_box(self.left, self.top, image.width, image.height, height, width)
                alpha = np.array(image.convert("RGBA").getchannel("A"))
                inside = alpha > 0 if alpha.min() < 255 else np.array(image.convert("L")) > 0
        except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError):
            raise ValueError("a mask that isn't a base64 PNG") from None
        return Patch(self.top, self.left, inside)
