"""LabelMe and AnyLabeling: a JSON file of shapes per image."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segvoc.data.datasets.annotated_images import (
    AnnotatedImage,
    FoundDataset,
    NoArea,
    PngMask,
    Polygons,
    Shape,
    Shapes,
    annotated,
    broken,
    ellipse,
    rectangle,
    unique_stems,
)
from segvoc.data.datasets.fields import DatasetSource, Entry, finite, json_content, path_ends, read_lines, visible_files
from segvoc.errors import UsageError
from segvoc.formats.writers import LABELME_IGNORED
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED

_WITHOUT_AREA = ("point", "points", "line", "linestrip", "cuboid")
_OF_CORNERS = ("polygon", "rectangle", "rotation", "oriented_rectangle", "quadrilateral")

LABELME_BACKGROUND = "_background_"
"""LabelMe's word for "none of the others"."""


def read_labelme(source: DatasetSource) -> FoundDataset:
    """Read the JSON files in a folder; where shapes overlap, the later one is in front.

    The classes are the lines of `labels.txt`, or else all labels, in alphabetical order.
    """
    contents: dict[Path, Entry] = {}
    problems: dict[Path, str] = {}
    for path in visible_files(source.folder, lambda path: path.suffix.lower() == ".json"):
        try:
            content = Entry(json_content(path), "the file")
            if "shapes" in content:
                contents[path] = content
        except ValueError as error:
            problems[path] = str(error)
    if not contents:
        raise UsageError(f"{str(source.path)!r} has no LabelMe JSON file; check the path")
    file = source.folder / "labels.txt"
    listed = read_lines(file) if file.is_file() else []
    if not listed:
        shapes = [one.content["shapes"] for one in contents.values() if isinstance(one.content["shapes"], list)]
        found = (shape.get("label") for of_image in shapes for shape in of_image if isinstance(shape, dict))
        listed = sorted({label.strip() for label in found if isinstance(label, str)})
    names = [name.strip() for name in listed if name.strip() and name.strip() != LABELME_IGNORED]
    labels = {name: label for label, name in reversed(list(enumerate(names)))} | {LABELME_IGNORED: UNLABELED}
    paths = sorted((*contents, *problems))
    images = [
        broken(path, stem, problems[path])
        if path in problems
        else _annotated(source, path, stem, contents[path], labels)
        for path, stem in zip(paths, unique_stems([path.relative_to(source.folder) for path in paths]), strict=True)
    ]
    return FoundDataset(
        names=names, images=images, background=LABELME_BACKGROUND if LABELME_BACKGROUND in names else None
    )


def _annotated(
    source: DatasetSource, path: Path, stem: str, content: Entry, labels: Mapping[str, int]
) -> AnnotatedImage:
    embedded = content.content.get("imageData")
    is_there = False

    def image() -> Path:
        nonlocal is_there
        name = content.text("imagePath").replace("\\", "/")
        if source.images is not None:
            name = (path_ends(name) or [Path("image")])[-1].as_posix()
        elif not re.match("/|[a-zA-Z]:", name):
            # the path may lead into another folder of the dataset ("../images/photo.jpg"), but not out of it
            name = os.path.normpath(PurePosixPath(path.relative_to(source.folder).parent.as_posix(), name))
        try:
            found = source.image(name, [source.folder, path.parent])
        except ValueError:
            if not isinstance(embedded, str):
                raise
            found = path.with_name("image")
        is_there = found.is_file() and found.suffix.lower() in IMAGE_SUFFIXES
        return found

    def annotation() -> Shapes:
        entries = [Entry(shape, f"shape {number}") for number, shape in enumerate(content.items("shapes"))]
        return Shapes.of(entries, lambda entry: _shape(entry, labels), size=content.size("imageHeight", "imageWidth"))

    found = annotated(path, stem, image, annotation)
    if is_there or not isinstance(embedded, str):
        return found
    return replace(found, image=path.with_name(found.image.name), embedded=embedded)


def _shape(entry: Entry, labels: Mapping[str, int]) -> Shape:
    word = entry.text("label").strip()
    if word not in labels:
        raise ValueError(f"{entry.name} has the label {word[:60]!r}, which is not in labels.txt")
    kind = entry.text("shape_type") if "shape_type" in entry else "polygon"
    points = [_point(point, entry.name) for point in entry.items("points")]
    if kind in _WITHOUT_AREA or (kind in _OF_CORNERS and len(points) < (2 if kind == "rectangle" else 3)):
        raise NoArea(kind)
    if kind in _OF_CORNERS:
        corners = [value for point in points for value in point]
        patch = Polygons([rectangle(*corners) if len(points) == 2 else corners])
    elif len(points) != 2 or kind not in ("circle", "mask"):
        raise ValueError(f"{entry.name} is a {kind[:30]} of {len(points)} points, which isn't a LabelMe shape")
    elif kind == "mask":
        patch = PngMask(entry.text("mask"), round(points[0][0]), round(points[0][1]))
    else:
        radius = math.dist(*points)
        patch = Polygons([ellipse(*points[0], radius, radius)])
    group = entry.content.get("group_id")
    return Shape(label=labels[word], patch=patch, group=group if isinstance(group, int | str) else None)


def _point(point: object, name: str) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise ValueError(f"a point of {name} isn't x and y")
    x, y = (finite(value, f"a coordinate of {name}") for value in point)
    return x, y
