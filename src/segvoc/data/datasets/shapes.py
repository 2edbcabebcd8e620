"""Shapes of annotations, and how they are drawn: polygons by pycocotools, whatever program they come from.

What only one format has is in its reader.
"""

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from segvoc.data.datasets.annotated_images import AnnotatedImage, checked_size
from segvoc.data.preparation.conversions import COORDINATE_LIMIT, coco_mask
from segvoc.imaging.label_maps import UNLABELED

_Item = TypeVar("_Item")

_CORNERS_OF_ELLIPSE = 180


class Patch(NamedTuple):
    """Pixels of a rectangle of an image, all of which is inside."""

    top: int
    left: int
    inside: Bool[np.ndarray, "h w"]
    """Which of them are meant."""


NOTHING = Patch(0, 0, np.zeros((0, 0), bool))
"""A shape that lies outside."""


class NoArea(ValueError):
    """A shape is a point, a line or the like, which no pixel is inside of."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A shape with a label."""

    label: int
    """The index of its class; 65535 where pixels are unlabeled."""
    group: int | str | None = None
    """What the shapes of an object have in common; None: it is an object by itself."""
    is_crowd: bool = False
    """Whether it is no object, but several, or a part of none."""

    def patch(self, height: int, width: int) -> Patch:
        """Its pixels in an image of this size [px]; a `ValueError` if it is damaged, or doesn't fit the image."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """The shapes of an image; where they overlap, later ones are in front."""

    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None
    """Height and width of the image as the dataset says [px]."""
    without_area: int = 0
    """Number of those that were skipped because they have no area."""

    @classmethod
    def of(cls, items: Iterable[_Item], shape: Callable[[_Item], Shape], size: tuple[int, int] | None) -> "Shapes":
        """The shapes of what a dataset lists of an image; `shape` raises `NoArea` for what is skipped."""
        found, without_area = [], 0
        for item in items:
            try:
                found.append(shape(item))
            except NoArea:
                without_area += 1
        return cls(shapes=tuple(found), size=size, without_area=without_area)

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        checked_size(size, self.size)
        labels = np.full(size, outside, np.uint16)
        for shape in self.shapes:
            top, left, inside = shape.patch(*size)
            rows, columns = inside.shape
            labels[top : top + rows, left : left + columns][inside] = shape.label
        return labels

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        checked_size(size, self.size)
        numbers = np.zeros(size, np.uint16)
        known: dict[tuple[int, int | str | None], int] = {}
        for index, shape in enumerate(self.shapes):
            # a shape without a group is found by its place, which no label is
            key = (-1 - index, None) if shape.group is None else (shape.label, shape.group)
            is_none = shape.label == UNLABELED or shape.is_crowd or (shape.group is None and shape.label in stuff)
            number = 0 if is_none else known.setdefault(key, len(known) + 1)
            if number >= UNLABELED:
                raise ValueError(f"it has more than {UNLABELED - 1} objects")
            top, left, inside = shape.patch(*size)
            rows, columns = inside.shape
            numbers[top : top + rows, left : left + columns][inside] = number
        return numbers


def without_area(images: Iterable[AnnotatedImage]) -> int:
    """Number of shapes that were skipped because they have no area: points, lines, boxes without a mask."""
    return sum(image.annotation.without_area for image in images if isinstance(image.annotation, Shapes))


@dataclass(frozen=True, kw_only=True)
class Polygons(Shape):
    """Polygons, drawn as pycocotools does: the pixels whose centers are inside."""

    corners: Sequence[Any]
    """x and y of each polygon's corners in turns [px], or as fractions if `relative`; checked when they are drawn."""
    relative: float | None = None
    """The coordinate of the right and bottom edges, if coordinates are fractions of the image's size."""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        polygons = []
        for flat in self.corners:
            points = _corners(flat)
            if self.relative is not None:
                points *= [width / self.relative, height / self.relative]
            # written so that NaN fails as well; pycocotools would crash
            if not (np.abs(points) <= COORDINATE_LIMIT).all():
                raise ValueError("a corner of a polygon lies far outside its image")
            polygons.append(points)
        if not polygons:
            raise ValueError("a shape without a polygon")
        box = _box_around(polygons, height, width)
        if box is None:
            return NOTHING
        left, top, right, bottom = box
        moved = [_moved(points, left, top).ravel().tolist() for points in polygons]
        return Patch(top, left, coco_mask(moved, bottom - top, right - left))


def rectangle(left: float, top: float, right: float, bottom: float, degrees: float = 0.0) -> tuple[float, ...]:
    """The corners of a rectangle, turned clockwise about its center."""
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    return _turned(points, ((left + right) / 2, (top + bottom) / 2), degrees)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> tuple[float, ...]:
    """The corners of a polygon along an ellipse, turned clockwise about its center."""
    angles = np.linspace(0, 2 * math.pi, _CORNERS_OF_ELLIPSE, endpoint=False)
    points = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
    return _turned(points, (x, y), degrees)


def _turned(points: Float64[np.ndarray, "V 2"], about: tuple[float, float], degrees: float) -> tuple[float, ...]:
    """Points turned clockwise (in an image, whose y goes down), as x and y in turns."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return tuple(((points - about) @ np.array([[cos, sin], [-sin, cos]]) + about).ravel().tolist())


def _corners(flat: Any) -> Float64[np.ndarray, "V 2"]:
    """The corners of a polygon from x and y in turns, which may be of any type."""
    if not isinstance(flat, Sequence) or len(flat) < 6 or len(flat) % 2:
        raise ValueError("a polygon that isn't a list of 3 corners or more, with x and y of each")
    try:
        return np.array(flat, np.float64).reshape(-1, 2)
    except TypeError:
        raise ValueError("a polygon with a corner that is no number") from None


def _moved(points: Float64[np.ndarray, "V 2"], left: int, top: int) -> Float64[np.ndarray, "V 2"]:
    """Corners as seen from (left, top), which pycocotools rounds to the same fifths of a pixel as before."""
    fifths = np.trunc(5 * points + 0.5) - [5 * left, 5 * top]
    return (fifths - (fifths < 0)) / 5  # it rounds towards zero


def _box_around(
    polygons: Sequence[Float64[np.ndarray, "V 2"]], height: int, width: int
) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the part of an image that has polygons; None without one."""
    points = np.concatenate(polygons)
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int), 0).tolist()
    right, bottom = (np.ceil(points.max(axis=0)).astype(int) + 1).tolist()
    right, bottom = min(right, width), min(bottom, height)
    return None if left >= right or top >= bottom else (left, top, right, bottom)


def check_box(left: int, top: int, columns: int, rows: int, height: int, width: int) -> None:
    """Check that the box of a mask is inside an image of this size."""
    if min(left, top) < 0 or min(columns, rows) < 1 or left + columns > width or top + rows > height:
        raise ValueError(f"a mask of {columns} x {rows} pixels at ({left}, {top}) is not inside its image")
