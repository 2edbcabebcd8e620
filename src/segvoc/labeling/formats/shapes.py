"""Annotations as shapes, which may overlap: polygons, rasterized like pycocotools, and masks in any encoding."""

import io
import math
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, UInt16
from PIL import Image

from segvoc.errors import UsageError
from segvoc.imaging.annotations import COORDINATE_LIMIT, coco_mask
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.parsed import AnnotatedImage, Annotation, checked_size
from segvoc.storage.files import base64_bytes

_Item = TypeVar("_Item")

_CORNERS_OF_ELLIPSE = 180


class Patch(NamedTuple):
    """Pixels of a rectangle inside an image."""

    top: int
    left: int
    inside: Bool[np.ndarray, "h w"]


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
    number: int | None = None
    """The number of its object, from 1; None: they are counted."""
    is_crowd: bool = False
    """Whether the shape is a crowd or stuff rather than a single object."""


@dataclass(frozen=True, kw_only=True)
class Shapes(Annotation):
    """The shapes of an image; where they overlap, later ones are in front."""

    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None
    """Height and width of the image according to the dataset [px]."""
    skipped: tuple[str, ...] = ()
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
        outside = outside if self.is_answered else UNLABELED
        return self._painted(size, outside, [shape.label for shape in self.shapes])

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        known: dict[tuple[int, int | str | None], int] = {}
        numbers = []
        for index, shape in enumerate(self.shapes):
            # a shape without a group is keyed by its index
            key = (-1 - index, None) if shape.group is None else (shape.label, shape.group)
            is_none = shape.label == UNLABELED or shape.is_crowd or (shape.group is None and shape.label in stuff)
            number = shape.number if shape.number is not None else len(known) + 1
            numbers.append(0 if is_none else known.setdefault(key, number))
        if len(known) >= UNLABELED:
            raise ValueError(f"it has more than {UNLABELED - 1} objects")
        return self._painted(size, 0, numbers)

    def _painted(self, size: tuple[int, int], outside: int, values: Sequence[int]) -> UInt16[np.ndarray, "H W"]:
        checked_size(size, self.size)
        drawn: Iterable[tuple[Patch, int]] = (
            (shape.patch(*size), value) for shape, value in zip(self.shapes, values, strict=True)
        )
        if self.larger_first:
            drawn = sorted(drawn, key=lambda pair: -int(pair[0].inside.sum()))
        painted = np.full(size, outside, np.uint16)
        for (top, left, inside), value in drawn:
            rows, columns = inside.shape
            painted[top : top + rows, left : left + columns][inside] = value
        return painted


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

    def points(self) -> Float64[np.ndarray, "V 2"]:
        """All corners; none of what drawing refuses."""
        with suppress(ValueError, OverflowError):
            return np.concatenate([_corners(flat) for flat in self.corners])
        return np.zeros((0, 2))

    def __call__(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        scale = np.array([1.0, 1.0] if self.relative is None else [width / self.relative, height / self.relative])
        polygons = [_corners(flat) * scale for flat in self.corners]
        if self.degrees:
            cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
            about = np.array(self.about) * scale
            # y points down, so this is clockwise
            polygons = [(points - about) @ np.array([[cos, sin], [-sin, cos]]) + about for points in polygons]
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


_MANY = 10_000
"""Corners after which those of a dataset in pixels aren't counted further."""


def in_pixels(images: Sequence[AnnotatedImage]) -> Sequence[AnnotatedImage]:
    """The images of a dataset; if most corners of it are within a pixel, they are fractions of the image's size.

    Fractions may be a little beyond 1. A `UsageError` that names the annotation file if other corners are in pixels.
    """
    drawn = [(image.labels, image.annotation) for image in images if isinstance(image.annotation, Shapes)]
    patches = [(file, shape.patch) for file, annotation in drawn for shape in annotation.shapes]
    within, total, largest = 0.0, 0, (0.0, Path())
    for file, patch in patches:
        if isinstance(patch, Polygons) and patch.relative is None:
            points = np.abs(patch.points())
            within, total = within + float(np.all(points <= 1.01, axis=1).sum()), total + len(points)
            largest = max(largest, (float(points.max(initial=0.0)), file))
        if total > _MANY and within < total / 10:
            break
    sides = [max(annotation.size) for _, annotation in drawn if annotation.size is not None]
    if within <= total / 2 or max(sides, default=3) <= 2:
        return images
    if largest[0] > 2:
        problem = f"most corners of its polygons are fractions of the image's size, but one is {largest[0]:g}"
        raise UsageError(f"{str(largest[1])!r} is damaged: {problem}; export it again with all of them in pixels")
    return [replace(image, annotation=_in_fractions(image.annotation)) for image in images]


def _in_fractions(annotation: Annotation) -> Annotation:
    if not isinstance(annotation, Shapes):
        return annotation
    shapes = [
        replace(shape, patch=replace(shape.patch, relative=1.0)) if isinstance(shape.patch, Polygons) else shape
        for shape in annotation.shapes
    ]
    return replace(annotation, shapes=tuple(shapes))


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
            content = base64_bytes(self.png)
        except ValueError as error:
            raise ValueError(f"a mask that isn't a base64 PNG ({error})") from None
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                if self.is_whole:
                    checked_size((height, width), (image.height, image.width))
                check_box(self.left, self.top, image.width, image.height, height, width)
                alpha = np.array(image.convert("RGBA").getchannel("A"))
                inside = alpha > 0 if alpha.min() < 255 else np.array(image.convert("L")) > 0
        except (OSError, SyntaxError, Image.DecompressionBombError):
            raise ValueError("a mask that isn't a base64 PNG") from None
        return Patch(self.top, self.left, inside)
