"""CVAT's XML ("CVAT for images 1.1"): masks, polygons, boxes and ellipses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken, unique_stems
from segvoc.data.datasets.fields import DatasetSource, chosen_set, damaged, finite, read_xml
from segvoc.data.datasets.shapes import NoArea, Patch, Polygons, Shape, Shapes, check_box, ellipse, rectangle
from segvoc.errors import UsageError

_SHAPES = ("mask", "polygon", "box", "ellipse")
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")


@dataclass
class _Image:
    """An image in the file."""

    attributes: Mapping[str, str]
    shapes: list[tuple[int, Shape]] = field(default_factory=list)
    """The shapes with their z order."""
    problem: str | None = None


@dataclass
class _Content:
    """What has been read so far."""

    names: list[str] = field(default_factory=list)
    images: list[_Image] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    text: str = ""
    without_area: int = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self.path and name != "annotations":
            raise ValueError(f"it begins with <{name[:40]}>, not with <annotations>")
        self.path.append(name)
        if len(self.path) > 50:
            raise ValueError("it is nested too deeply")
        self.text = ""
        if self.path == ["annotations", "track"]:
            raise ValueError("it has the tracks of a video, which aren't read: export it as CVAT for images 1.1")
        if name == "image":
            self.images.append(_Image(dict(attributes)))
        elif name in (*_SHAPES, *_WITHOUT_AREA) and self.path[-2:-1] == ["image"]:
            image = self.images[-1]
            try:
                image.shapes.append((int(attributes.get("z_order", "0")), self._shape(name, attributes)))
            except NoArea:
                self.without_area += 1
            except ValueError as error:
                image.problem = image.problem or str(error)

    def end(self, name: str) -> None:
        if self.path[-3:] == ["labels", "label", "name"] and "image" not in self.path:
            self.names.append(self.text.strip())
        self.path.pop()

    def data(self, text: str) -> None:
        if self.path[-1:] == ["name"]:
            self.text += text

    def _shape(self, kind: str, attributes: Mapping[str, str]) -> Shape:
        def number(name: str, default: float | None = None) -> float:
            if name not in attributes and default is not None:
                return default
            return finite(attributes.get(name), f"{name!r} of a {kind}")

        word = attributes.get("label", "").strip()
        if kind in _WITHOUT_AREA:
            raise NoArea(f"a {kind}")
        if word not in self.names:
            raise ValueError(f"a {kind} has the label {word[:60]!r}, which the file doesn't list")
        label = self.names.index(word)
        group = attributes.get("group_id", "0")
        group = None if group == "0" else group
        if kind == "mask":
            left, top, width, height = (int(attributes.get(name, "")) for name in ("left", "top", "width", "height"))
            runs = attributes.get("rle", "")
            return _BoxRuns(label=label, box=(left, top, width, height), runs=runs, group=group)
        turn = number("rotation", 0.0)
        if kind == "box":
            corners = rectangle(number("xtl"), number("ytl"), number("xbr"), number("ybr"), turn)
        elif kind == "ellipse":
            corners = ellipse(number("cx"), number("cy"), number("rx"), number("ry"), turn)
        else:
            points = [point.split(",") for point in attributes.get("points", "").split(";")]
            if any(len(point) != 2 for point in points):
                raise ValueError("a polygon has a point that isn't x and y")
            corners = tuple(finite(value, "a coordinate of a polygon") for point in points for value in point)
        return Polygons(label=label, corners=[corners], group=group)


def find_xml(folder: Path) -> dict[str, Path]:
    """The files about all images in a folder, by the names of their sets."""
    files = [file for file in sorted(folder.glob("*.xml")) if file.name != "label_config.xml"]
    return {file.stem: file for file in files if file.stem == "annotations"} or {file.stem: file for file in files}


def read_cvat(source: DatasetSource) -> FoundDataset:
    """Read CVAT's XML file; shapes of a higher z order are in front, then later ones.

    Args:
        source: the folder with `annotations.xml`, or with XML files of its sets; or the file.
    """
    path = source.path
    if not path.is_file():
        files = find_xml(path)
        if not files:
            raise UsageError(f"{str(path)!r} has no XML file of CVAT's; give the file itself as --dataset")
        path = chosen_set(source, files, "files")
    content = _Content()
    read_xml(path, content.start, content.end, content.data)
    if not content.names:
        raise damaged(path, "it lists no labels")
    names = [image.attributes.get("name", "") for image in content.images]
    stems = unique_stems([Path(name.replace("\\", "/") or "image") for name in names])
    folders = [path.parent / "images", path.parent / "images" / "default", path.parent / path.stem, path.parent]
    images = []
    for image, name, stem in zip(content.images, names, stems, strict=True):
        try:
            place = source.image(name, folders)
            images.append(AnnotatedImage(image=place, labels=path, stem=stem, annotation=_annotation(image)))
        except ValueError as error:
            images.append(broken(path, stem, f"image {name[:60]!r}: {error}"))
    return FoundDataset(names=content.names, images=images, without_area=content.without_area)


def _annotation(image: _Image) -> Shapes:
    if image.problem is not None:
        raise ValueError(image.problem)
    size = None
    if {"width", "height"} <= image.attributes.keys():
        size = int(image.attributes["height"]), int(image.attributes["width"])
    return Shapes(shapes=tuple(shape for _, shape in sorted(image.shapes, key=lambda pair: pair[0])), size=size)


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
