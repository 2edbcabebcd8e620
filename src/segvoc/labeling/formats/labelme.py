"""LabelMe and AnyLabeling: a JSON file of shapes per image."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from segvoc.errors import UsageError
from segvoc.imaging.annotations import labelme_content
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import DatasetEntry, DatasetFormat, Facts, FormatWriter, write_lines
from segvoc.labeling.formats.parsed import AnnotatedImage, DatasetSource, ParsedDataset, annotated, broken, unique_stems
from segvoc.labeling.formats.shapes import NoArea, PngMask, Polygons, Shape, Shapes, ellipse, rectangle
from segvoc.labeling.formats.untrusted_files import Entry, inner_path, json_content, read_lines, visible_files
from segvoc.storage.files import write_json

_WITHOUT_AREA = ("point", "points", "line", "linestrip", "cuboid")
_OF_CORNERS = ("polygon", "rectangle", "rotation", "oriented_rectangle", "quadrilateral")

LABELME_IGNORED = "__ignore__"
"""LabelMe's word for pixels without a class."""

LABELME_BACKGROUND = "_background_"
"""LabelMe's word for "none of the others"."""


def _has_shapes(folder: Path) -> bool:
    """Whether one of the first JSON files below a folder lists shapes."""
    for path in visible_files(folder, (".json",))[:20]:
        with suppress(UsageError):
            content = json_content(path)
            if isinstance(content, dict) and "shapes" in content:
                return True
    return False


def read_labelme(source: DatasetSource) -> ParsedDataset:
    """Read the JSON files in a folder; where shapes overlap, the later one is in front.

    The classes are the lines of `labels.txt`, or else all labels, in alphabetical order.
    """
    contents: dict[Path, Entry | ValueError] = {}
    for path in visible_files(source.folder, (".json",)):
        try:
            content = Entry(json_content(path), "the file")
            if "shapes" in content:
                contents[path] = content
        except ValueError as error:
            contents[path] = error
    entries = [content for content in contents.values() if isinstance(content, Entry)]
    if not entries:
        raise UsageError(f"{str(source.path)!r} has no LabelMe JSON file; check the path")
    file = source.folder / "labels.txt"
    if not (listed := read_lines(file) if file.is_file() else []):
        shapes = [entry.content["shapes"] for entry in entries if isinstance(entry.content["shapes"], list)]
        labels_used = (shape.get("label") for of_image in shapes for shape in of_image if isinstance(shape, dict))
        listed = sorted({str(label).strip() for label in labels_used if isinstance(label, str | int)})
    names = [name.strip() for name in listed if name.strip() and name.strip() != LABELME_IGNORED]
    labels = {name: label for label, name in reversed(list(enumerate(names)))} | {LABELME_IGNORED: UNLABELED}
    stems = unique_stems([path.relative_to(source.folder) for path in contents])
    images = [
        _annotated(source, path, stem, content, labels) if isinstance(content, Entry) else broken(path, stem, content)
        for (path, content), stem in zip(contents.items(), stems, strict=True)
    ]
    return ParsedDataset(names=names, images=images, background=LABELME_BACKGROUND)


def _annotated(
    source: DatasetSource, path: Path, stem: str, content: Entry, labels: Mapping[str, int]
) -> AnnotatedImage:
    annotated_image = annotated(path, stem, partial(_image, source, path, content), partial(_shapes, content, labels))
    embedded = content.content.get("imageData")
    is_there = annotated_image.image.is_file() and annotated_image.image.suffix.lower() in IMAGE_SUFFIXES
    if is_there or not isinstance(embedded, str):
        return annotated_image
    return replace(annotated_image, image=path.with_name(annotated_image.image.name), embedded=embedded)


def _image(source: DatasetSource, path: Path, content: Entry) -> Path:
    name = content.text("imagePath").replace("\\", "/")
    if source.images is not None:
        name = inner_path(name).name
    elif not re.match("/|[a-zA-Z]:", name):
        # the path may lead into another folder of the dataset ("../images/photo.jpg"), but not out of it
        name = os.path.normpath(PurePosixPath(path.relative_to(source.folder).parent.as_posix(), name))
    try:
        return source.image(name, [source.folder, path.parent])
    except ValueError:
        if isinstance(content.content.get("imageData"), str):
            return path.with_name("image")
        raise


def _shapes(content: Entry, labels: Mapping[str, int]) -> Shapes:
    size = content.size("imageHeight", "imageWidth")
    return Shapes.of(content.entries("shapes", "shape"), lambda entry: _shape(entry, labels), size=size)


def _shape(entry: Entry, labels: Mapping[str, int]) -> Shape:
    word = str(entry.identity("label")).strip()
    if word not in labels:
        raise ValueError(f"{entry.name} has the label {word[:60]!r}, which is not in labels.txt")
    kind = entry.text("shape_type") if "shape_type" in entry else "polygon"
    corners = entry.points("points")
    count = len(corners) // 2
    if kind in _WITHOUT_AREA or (kind in _OF_CORNERS and count < (2 if kind == "rectangle" else 3)):
        raise NoArea(kind)
    if kind in _OF_CORNERS:
        patch = Polygons([rectangle(*corners) if count == 2 else corners])
    elif count != 2 or kind not in ("circle", "mask"):
        raise ValueError(f"{entry.name} is a {kind[:30]!r} of {count} points, which isn't a LabelMe shape")
    elif kind == "mask":
        patch = PngMask(entry.text("mask"), round(corners[0]), round(corners[1]))
    else:
        (x, y), radius = corners[:2], math.dist(corners[:2], corners[2:])
        patch = Polygons([ellipse(x, y, radius, radius)])
    group = entry.content.get("group_id")  # 1.0 if a table was in between
    group = int(group) if isinstance(group, float) and group.is_integer() else group
    return Shape(label=labels[word], patch=patch, group=group if isinstance(group, int | str) else None)


class _LabelMeWriter(FormatWriter):
    """`photo.json` beside `photo.jpg`, and `labels.txt` with the words.

    The polygons of an object have its number as their group. LabelMe has no background class, so a word `__ignore__`
    comes first, as its converters expect.
    """

    lost = rf"[\n\r]|^{LABELME_IGNORED}$"

    image_file = "{stem}{suffix}"
    own_file = "{stem}.json"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        # a copy is beside the file
        path = Path(image if os.path.isabs(image) else os.path.basename(image)).as_posix()
        content = labelme_content(result.labels, self.words, result.object_map, path=path)
        write_json(folder / self.files(stem)[0], content)
        return {}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        write_lines(folder / "labels.txt", [LABELME_IGNORED, *self.words])


LABELME = DatasetFormat(name="labelme", read=read_labelme, writer=_LabelMeWriter, is_alike=_has_shapes)
