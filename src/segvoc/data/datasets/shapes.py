"""Shapes of annotations, and how they are drawn: polygons by pycocotools, as COCO, CVAT and YOLO have them."""

import base64
import binascii
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, UInt16
from PIL import Image, ImageDraw

from segvoc.data.datasets.annotated_images import checked_size
from segvoc.data.preparation.coco_masks import COORDINATE_LIMIT, coco_mask
from segvoc.imaging.label_maps import UNLABELED

_Item = TypeVar("_Item")

_CORNERS_OF_ELLIPSE = 180


class Patch(NamedTuple):
    """Pixels of a rectangle of an image."""

    top: int
    """First row."""
    left: int
    """First column."""
    inside: Bool[np.ndarray, "h w"]
    """Which of them are meant; all are in the image."""


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
        """Its pixels in an image of this size [px].

        Raises:
            ValueError: it is damaged, or doesn't fit the image.
        """
        raise NotImplementedError


def with_area(shape: Callable[[_Item], Shape], items: Iterable[_Item]) -> tuple[tuple[Shape, ...], int]:
    """The shapes of some items that have an area, and the number of the others.

    Args:
        shape: makes the shape of an item, or raises `NoArea`.
        items: what a dataset says of each shape.
    """
    found, without_area = [], 0
    for item in items:
        try:
            found.append(shape(item))
        except NoArea:
            without_area += 1
    return tuple(found), without_area


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """The shapes of an image; where they overlap, later ones are in front."""

    shapes: tuple[Shape, ...]
    """In the order of drawing."""
    size: tuple[int, int] | None = None
    """Height and width of the image as the dataset says [px]."""

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
            polygons.append(_within_limits(points))
        if not polygons:
            raise ValueError("a shape without a polygon")
        return _filled(polygons, height, width)


@dataclass(frozen=True, kw_only=True)
class CocoRuns(Shape):
    """A mask as COCO's run lengths."""

    runs: Mapping[str, Any]
    """{"size": [H, W], "counts": ...}"""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        size = self.runs.get("size")
        if not isinstance(size, list) or not isinstance(self.runs.get("counts"), str | list):
            raise ValueError("a mask without size and run lengths")
        try:
            return Patch(0, 0, coco_mask(self.runs, height, width))
        except (TypeError, UnicodeError, OverflowError) as error:
            raise ValueError(f"run lengths that are none ({error})") from None


@dataclass(frozen=True, kw_only=True)
class BoxRuns(Shape):
    """A mask as CVAT's run lengths in a box, row by row: outside, inside, outside, ..."""

    box: tuple[int, int, int, int]
    """Left, top, width and height [px]."""
    runs: str
    """The lengths, separated by commas."""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        left, top, columns, rows = self.box
        _check_box(left, top, columns, rows, height, width)
        lengths = np.array([int(length) for length in self.runs.split(",")], np.int64)
        if (lengths < 0).any() or (lengths > rows * columns).any() or lengths.sum() != rows * columns:
            raise ValueError(f"run lengths that don't fill the {rows * columns} pixels of their box")
        inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        return Patch(top, left, inside.reshape(rows, columns))


@dataclass(frozen=True, kw_only=True)
class OutlinedPolygon(Shape):
    """A polygon, drawn by LabelMe's rule: with its outline, coordinates being those of pixels' centers."""

    corners: Sequence[float]
    """x and y of its corners in turns [px]."""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        return _drawn(ImageDraw.ImageDraw.polygon, _corners(self.corners), height, width)


@dataclass(frozen=True, kw_only=True)
class OutlinedCircle(Shape):
    """A circle, drawn by LabelMe's rule."""

    x: float
    """Of its center [px]."""
    y: float
    """Of its center [px]."""
    radius: float
    """[px]"""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        corners = np.array([(self.x - self.radius, self.y - self.radius), (self.x + self.radius, self.y + self.radius)])
        return _drawn(ImageDraw.ImageDraw.ellipse, corners, height, width)


@dataclass(frozen=True, kw_only=True)
class PngMask(Shape):
    """A mask as LabelMe's PNG in base64."""

    left: float
    """First column."""
    top: float
    """First row."""
    png: str
    """The file."""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        left, top = round(self.left), round(self.top)
        try:
            with Image.open(io.BytesIO(base64.b64decode(self.png, validate=True)), formats=["PNG"]) as image:
                _check_box(left, top, image.width, image.height, height, width)
                inside = np.array(image.convert("L")) > 0
        except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError):
            raise ValueError("a mask that is no PNG in base64") from None
        return Patch(top, left, inside)


@dataclass(frozen=True, kw_only=True)
class BrushRuns(Shape):
    """A mask as Label Studio's run lengths of RGBA pixels (see `segvoc.imaging.brush_masks`)."""

    runs: Sequence[Any]
    """The bytes; checked when they are drawn."""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        try:
            content = bytes(self.runs)
        except (TypeError, ValueError):
            raise ValueError("run lengths that are no bytes") from None
        values = _brush_values(content, 4 * height * width)
        return Patch(0, 0, values.reshape(height, width, 4)[..., 3] > 0)


def _brush_values(content: bytes, expected: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    text = (bits + ord("0")).astype(np.uint8).tobytes().decode("ascii")
    at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(text):
            raise ValueError("run lengths that end too early")
        return int(text[at - size : at], 2)

    count, word = number(32), number(5) + 1
    if count != expected or word > 8:
        raise ValueError(f"run lengths of {count} values in place of {expected}")
    sizes = [number(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeated = number(1)
        end = place + 1 + number(sizes[number(2)])
        if end > count:
            raise ValueError("run lengths that are too long")
        if repeated:
            values[place:end] = number(word)
        else:
            values[place:end] = [number(word) for _ in range(end - place)]
        place = end
    return values


def rectangle(left: float, top: float, right: float, bottom: float, degrees: float = 0.0) -> tuple[float, ...]:
    """The corners of a rectangle, turned clockwise about its center."""
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    return turned(points, ((left + right) / 2, (top + bottom) / 2), degrees)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> tuple[float, ...]:
    """The corners of a polygon along an ellipse, turned clockwise about its center."""
    angles = np.linspace(0, 2 * math.pi, _CORNERS_OF_ELLIPSE, endpoint=False)
    points = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
    return turned(points, (x, y), degrees)


def turned(points: Float64[np.ndarray, "V 2"], about: tuple[float, float], degrees: float) -> tuple[float, ...]:
    """Points turned clockwise (in an image, whose y goes down), as x and y in turns."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return tuple(((points - about) @ np.array([[cos, sin], [-sin, cos]]) + about).ravel().tolist())


def _corners(flat: Any) -> Float64[np.ndarray, "V 2"]:
    if not isinstance(flat, Sequence) or len(flat) < 6 or len(flat) % 2:
        raise ValueError("a polygon that isn't a list of 3 corners or more, with x and y of each")
    try:
        return np.array(flat, np.float64).reshape(-1, 2)
    except TypeError:
        raise ValueError("a polygon with a corner that is no number") from None


def _within_limits(points: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, "V 2"]:
    # written so that NaN fails as well
    if not (np.abs(points) <= COORDINATE_LIMIT).all():
        raise ValueError("a corner of a polygon lies far outside its image")
    return points


def _filled(polygons: Sequence[Float64[np.ndarray, "V 2"]], height: int, width: int) -> Patch:
    box = _box_of(polygons, height, width)
    if box is None:
        return _nothing()
    left, top, right, bottom = box
    shifted = [(points - [left, top]).ravel().tolist() for points in polygons]
    return Patch(top, left, coco_mask(shifted, bottom - top, right - left))


def _drawn(draw: Callable[..., None], points: Float64[np.ndarray, "V 2"], height: int, width: int) -> Patch:
    """What a method of Pillow's ImageDraw draws with these points."""
    box = _box_of([_within_limits(points)], height, width, margin=1)
    if box is None:
        return _nothing()
    left, top, right, bottom = box
    image = Image.new("1", (right - left, bottom - top))
    draw(ImageDraw.Draw(image), [(x - left, y - top) for x, y in points.tolist()], fill=1, outline=1)
    return Patch(top, left, np.array(image))


def _box_of(
    polygons: Sequence[Float64[np.ndarray, "V 2"]], height: int, width: int, margin: int = 0
) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the part of an image that has polygons; None without one."""
    points = np.concatenate(polygons)
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - margin, 0).tolist()
    right, bottom = (np.ceil(points.max(axis=0)).astype(int) + 1 + margin).tolist()
    right, bottom = min(right, width), min(bottom, height)
    return None if left >= right or top >= bottom else (left, top, right, bottom)


def _check_box(left: int, top: int, columns: int, rows: int, height: int, width: int) -> None:
    if min(left, top) < 0 or min(columns, rows) < 1 or left + columns > width or top + rows > height:
        raise ValueError(f"a mask of {columns} x {rows} pixels at ({left}, {top}) is not inside its image")


def _nothing() -> Patch:
    return Patch(0, 0, np.zeros((0, 0), bool))
