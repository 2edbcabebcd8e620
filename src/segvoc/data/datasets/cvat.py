"""CVAT's XML ("CVAT for images 1.1"): masks, polygons, boxes and ellipses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken, unique_stems
from segvoc.data.datasets.fields import DatasetSource, chosen_set, finite, naming_damage, read_xml
from segvoc.data.datasets.shapes import (
    NoArea,
    Patch,
    Polygons,
    Shape,
    Shapes,
    check_box,
    ellipse,
    rectangle,
)
from segvoc.errors import UsageError

_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")


def find_xml(folder: Path) -> dict[str, Path]:
    """The files about all images in a folder, by the names of their sets."""
    files = {file.stem: file for file in sorted(folder.glob("*.xml")) if file.name != "label_config.xml"}
    return {"annotations": files["annotations"]} if "annotations" in files else files


def read_cvat(source: DatasetSource) -> FoundDataset:
    """Read CVAT's XML file; shapes of a higher z order are in front, then later ones."""
    path = source.path
    if not path.is_file():
        files = find_xml(path)
        if not files:
            raise UsageError(f"{str(path)!r} has no XML file of CVAT's; give the file itself as --dataset")
        path = chosen_set(source, files, "files")
    with naming_damage(path):
        root = read_xml(path)
        if root.tag != "annotations":
            raise ValueError(f"it begins with <{root.tag[:40]}>, not with <annotations>")
        if root.find("track") is not None:
            raise ValueError("it has the tracks of a video, which aren't read: export it as CVAT for images 1.1")
        names = [(name.text or "").strip() for name in root.iterfind("meta//labels/label/name")]
        if not names:
            raise ValueError("it lists no labels")
    elements = root.findall("image")
    files = [element.get("name", "") for element in elements]
    stems = unique_stems([Path(name.replace("\\", "/") or "image") for name in files])
    folders = [path.parent / "images", path.parent / "images" / "default", path.parent / path.stem, path.parent]
    images = []
    for element, name, stem in zip(elements, files, stems, strict=True):
        try:
            image = source.image(name, folders)
            annotation = _annotation(element, names)
            images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
        except ValueError as error:
            images.append(broken(path, stem, f"image {name[:60]!r}: {error}"))
    return FoundDataset(names=names, images=images)


def _annotation(image: Element, names: Sequence[str]) -> Shapes:
    kinds = ("mask", "polygon", "box", "ellipse", *_WITHOUT_AREA)
    elements = sorted(
        (element for element in image if element.tag in kinds), key=lambda element: int(element.get("z_order", "0"))
    )
    height, width = image.get("height"), image.get("width")
    size = (int(height), int(width)) if height and width else None
    return Shapes.of(elements, lambda element: _shape(element, names), size)


def _shape(element: Element, names: Sequence[str]) -> Shape:
    def number(name: str, default: str | None = None) -> float:
        return finite(element.get(name, default), f"{name!r} of a {kind}")

    kind, word, group = element.tag, element.get("label", "").strip(), element.get("group_id", "0")
    if kind in _WITHOUT_AREA:
        raise NoArea(f"a {kind}")
    if word not in names:
        raise ValueError(f"a {kind} has the label {word[:60]!r}, which the file doesn't list")
    label, group = names.index(word), None if group == "0" else group
    if kind == "mask":
        left, top, width, height = (int(element.get(name, "")) for name in ("left", "top", "width", "height"))
        return _BoxRuns(label=label, box=(left, top, width, height), runs=element.get("rle", ""), group=group)
    turn = number("rotation", "0")
    if kind == "box":
        corners = rectangle(number("xtl"), number("ytl"), number("xbr"), number("ybr"), turn)
    elif kind == "ellipse":
        corners = ellipse(number("cx"), number("cy"), number("rx"), number("ry"), turn)
    else:
        points = [point.split(",") for point in element.get("points", "").split(";")]
        if any(len(point) != 2 for point in points):
            raise ValueError("a polygon has a point that isn't x and y")
        corners = tuple(finite(value, "a coordinate of a polygon") for point in points for value in point)
    return Polygons(label=label, corners=[corners], group=group)


@dataclass(frozen=True, kw_only=True)
class _BoxRuns(Shape):
    """A mask as CVAT's run lengths in a box, row by row: outside, inside, outside, ..."""

    box: tuple[int, int, int, int]
    """Left, top, width and height [px]."""
    runs: str
    """The lengths, separated by commas."""

    def patch(self, height: int, width: int) -> Patch:
        left, top, columns, rows = self.box
        check_box(left, top, columns, rows, height, width)
        lengths = np.array([int(length) for length in self.runs.split(",")], np.int64)
        if (lengths < 0).any() or (lengths > rows * columns).any() or lengths.sum() != rows * columns:
            raise ValueError(f"run lengths that don't fill the {rows * columns} pixels of their box")
        inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        return Patch(top, left, inside.reshape(rows, columns))
