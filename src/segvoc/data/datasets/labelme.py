"""LabelMe: a JSON file of shapes for each image."""

import base64
import binascii
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken, unique_stems
from segvoc.data.datasets.fields import DatasetSource, Entry, finite, json_content, read_lines, visible_files
from segvoc.data.datasets.shapes import NoArea, Patch, Polygons, Shape, Shapes, check_box, ellipse, rectangle
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.files import safe_path

LABELME_IGNORED = "__ignore__"
"""LabelMe's word for pixels without a class."""

_WITHOUT_AREA = ("point", "points", "line", "linestrip")

LABELME_BACKGROUND = "_background_"
"""LabelMe's word for "none of the others"."""


def read_labelme(source: DatasetSource) -> FoundDataset:
    """Read the JSON files in a folder; where shapes overlap, the later one is in front.

    The classes are the lines of `labels.txt`, or else all labels, in alphabetical order.
    """
    contents: dict[Path, Entry | None] = {}
    problems: dict[Path, str] = {}
    for path in visible_files(source.folder, lambda path: path.suffix.lower() == ".json"):
        try:
            content = Entry(json_content(path), "the file")
            if "shapes" in content:
                contents[path] = content
        except ValueError as error:
            contents[path], problems[path] = None, str(error)
    sound = [content for content in contents.values() if content is not None]
    if not sound:
        raise UsageError(f"{str(source.path)!r} has no JSON file of LabelMe's; check the path")
    names = _names(source, sound)
    stems = unique_stems([path.relative_to(source.folder) for path in contents])
    images = []
    for (path, content), stem in zip(contents.items(), stems, strict=True):
        if content is None:
            images.append(broken(path, stem, problems[path]))
            continue
        try:
            image, embedded = _image(source, path, content), None
            entries = [Entry(shape, f"shape {number}") for number, shape in enumerate(content.items("shapes"))]
            size = content.size("imageHeight", "imageWidth")
            annotation = Shapes.of(entries, lambda entry: _shape(entry, names), size)
            is_there = image.exists() and image.suffix.lower() in IMAGE_SUFFIXES
            if not is_there and "imageData" in content:
                image, embedded = path.with_name(image.name), content.text("imageData")
            images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation, embedded=embedded))
        except ValueError as error:
            images.append(broken(path, stem, str(error)))
    background = LABELME_BACKGROUND if LABELME_BACKGROUND in names else None
    return FoundDataset(names=names, images=images, background=background)


def _names(source: DatasetSource, contents: Sequence[Entry]) -> list[str]:
    file = source.folder / "labels.txt"
    if file.is_file():
        return [line.strip() for line in read_lines(file) if line.strip() and line.strip() != LABELME_IGNORED]
    found = set()
    for content in contents:
        shapes = content.content["shapes"]
        for shape in shapes if isinstance(shapes, list) else []:
            if isinstance(shape, dict) and isinstance(shape.get("label"), str) and shape["label"].strip():
                found.add(shape["label"].strip())
    return sorted(found - {LABELME_IGNORED})


def _image(source: DatasetSource, path: Path, content: Entry) -> Path:
    name = content.text("imagePath").replace("\\", "/")
    if source.images is not None:
        return source.image(PurePosixPath(name).name, [])
    # it may lead into another folder of the dataset ("../images/photo.jpg"), but not out of it
    inside = PurePosixPath(path.relative_to(source.folder).parent.as_posix(), name)
    return source.folder / safe_path(os.path.normpath(inside))


def _shape(entry: Entry, names: Sequence[str]) -> Shape:
    word = entry.text("label").strip()
    if word not in names and word != LABELME_IGNORED:
        raise ValueError(f"{entry.name} has the label {word[:60]!r}, which labels.txt lacks")
    label = UNLABELED if word == LABELME_IGNORED else names.index(word)
    stated = entry.content.get("group_id")
    group = stated if isinstance(stated, int | str) else None
    kind = entry.text("shape_type") if "shape_type" in entry else "polygon"
    points = [_point(point, entry.name) for point in entry.items("points")]
    if kind in _WITHOUT_AREA or (kind == "polygon" and len(points) < 3):
        raise NoArea(f"{entry.name} is a {kind}")
    if kind != "polygon" and (len(points) != 2 or kind not in ("rectangle", "circle", "mask")):
        raise ValueError(f"{entry.name} is a {kind[:30]} of {len(points)} points, which is no shape of LabelMe's")
    (left, top), (right, bottom) = points[:2]
    if kind == "mask":
        return _PngMask(label=label, left=left, top=top, png=entry.text("mask"), group=group)
    if kind == "rectangle":
        corners = rectangle(left, top, right, bottom)
    elif kind == "circle":
        radius = math.hypot(right - left, bottom - top)
        corners = ellipse(left, top, radius, radius)
    else:
        corners = tuple(value for point in points for value in point)
    return Polygons(label=label, corners=[corners], group=group)


def _point(point: object, name: str) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise ValueError(f"a point of {name} isn't x and y")
    x, y = (finite(value, f"a coordinate of {name}") for value in point)
    return x, y


@dataclass(frozen=True, kw_only=True)
class _PngMask(Shape):
    """A mask as LabelMe's PNG in base64."""

    left: float
    top: float
    png: str

    def patch(self, height: int, width: int) -> Patch:
        left, top = round(self.left), round(self.top)
        try:
            with Image.open(io.BytesIO(base64.b64decode(self.png, validate=True)), formats=["PNG"]) as image:
                check_box(left, top, image.width, image.height, height, width)
                inside = np.array(image.convert("L")) > 0
        except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError):
            raise ValueError("a mask that is no PNG in base64") from None
        return Patch(top, left, inside)
