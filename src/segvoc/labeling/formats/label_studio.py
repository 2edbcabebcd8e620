"""Label Studio's JSON: brushes, bitmaps, polygons, closed vectors, rectangles and ellipses."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Float64

from segvoc.errors import UsageError
from segvoc.imaging.annotations import packed_runs
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import (
    NO_XML,
    DatasetEntry,
    DatasetFormat,
    Facts,
    FormatWriter,
    list_lines,
    write_lines,
)
from segvoc.labeling.formats.parsed import DatasetSource, ParsedDataset, annotated, unique_stems
from segvoc.labeling.formats.shapes import NoArea, Patch, PngMask, Polygons, Shape, Shapes, ellipse, rectangle
from segvoc.labeling.formats.untrusted_files import Entry, inner_path, json_content, naming_damage, read_xml

_ABOUT_IMAGE = frozenset(
    ("choices", "datetime", "number", "pairwise", "ranker", "rating", "relation", "taxonomy", "textarea")
)
"""Result types about the whole image, or about a region with a separate entry."""

_MOST_FILES = 50
"""Maximum number of JSON files in a folder to look at."""

_STEPS = np.linspace(0, 1, 20, endpoint=False)[1:, None]
"""Curve parameters at which a side of a vector is sampled."""


def read_label_studio(source: DatasetSource) -> ParsedDataset:
    """Read tasks with their annotations, or predictions where there are none; later shapes are in front.

    If an image has several annotations, the last uncancelled counts. The classes are the labels in
    `label_config.xml`, or else all labels that occur, in alphabetical order.
    """
    path = source.path
    if not path.is_file():
        found = find_exports(path)
        if len(found) > 1:
            names = ", ".join(export.name for export in found[:5])
            raise UsageError(f"{str(path)!r} has several exports of Label Studio ({names}); give one of these files")
        if not found:
            raise UsageError(f"{str(path)!r} has no export of Label Studio in JSON; export it as JSON, not as JSON-MIN")
        path = found[0]
    with naming_damage(path):
        content = json_content(path)
        if not isinstance(content, list):
            raise ValueError("it is not a list of tasks")
        tasks = [Entry(task, f"task {number}") for number, task in enumerate(content)]
        labels, config = dict[str, str](), path.parent / "label_config.xml"
        for label in read_xml(config).iter("Label") if config.is_file() else ():
            value, alias = label.get("value", "").strip(), label.get("alias", "").strip()
            labels |= {name: alias or value for name in (value, alias) if name}  # exports have the alias, if any
        if not labels:
            words = {word for task in tasks for region in _regions(task) or () for word in _words(region)}
            labels = {word: word for word in sorted(words)}
        if not labels:
            raise ValueError("it has no labels")
        files = [_file_name(_address(task.entry("data"))) for task in tasks]
    names = list(dict.fromkeys(labels.values()))
    indices = {word: names.index(name) for word, name in labels.items()}
    images = [
        annotated(
            path,
            stem.removeprefix("images/"),
            partial(_image, source, path.parent, file),
            partial(_shapes, task, indices),
            name=task.name,
        )
        for task, file, stem in zip(tasks, files, unique_stems(list(map(inner_path, files))), strict=True)
    ]
    return ParsedDataset(names=names, images=images)


def find_exports(folder: Path) -> list[Path]:
    """The exports in a folder: `tasks.json`, or else all JSON files that are lists of tasks."""
    if (usual := folder / "tasks.json").is_file():
        return [usual]
    return [path for path in sorted(folder.glob("*.json"))[:_MOST_FILES] if _is_export(path)]


def is_export(content: object) -> bool:
    """Whether JSON content is a list of tasks."""
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "data" in content[0]


def _is_export(path: Path) -> bool:
    with suppress(OSError, UsageError):
        with path.open("rb") as file:  # most other files are recognized by their start
            start = file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n")
        return start.startswith(b"[") and start[1:].lstrip().startswith(b"{") and is_export(json_content(path))
    return False


def _address(data: Entry) -> str:
    """The image of a task: its "image", or else the only text that looks like an image path."""
    if "image" in data:
        return data.text("image")
    texts = [value for value in data.content.values() if isinstance(value, str) and ("/" in value or "\\" in value)]
    if len(texts) != 1:
        raise ValueError(f"{data.name} has no 'image'")
    return texts[0]


def _file_name(address: str) -> str:
    """The path in an address: "/data/local-files/?d=..." has it in `d`."""
    if "?d=" in address:
        return parse_qs(urlsplit(address).query, errors="surrogateescape").get("d", [""])[0]
    return address if re.match(r"[a-zA-Z][\w+.-]*://", address) else unquote(address.split("?")[0]).lstrip("/")


def _image(source: DatasetSource, folder: Path, name: str) -> Path:
    base = inner_path(name).name
    # uploaded files have a random prefix: "data/upload/1/0a1b2c3d-photo.jpg"
    others = (base, re.sub(r"^[0-9a-f]{8}-", "", base)) if "upload/" in name.replace("\\", "/") else ()
    return source.image(name, [folder, folder / "images"], others)


def _regions(task: Entry) -> Sequence[Any] | None:
    """The annotated regions, or the predicted ones without annotations; None if the task has neither or was skipped."""
    for key in ("annotations", "completions", "predictions"):
        listed = task.items(key) if key in task else []
        # ids refer to results outside the file
        answers = [Entry(answer, f"an entry of {key!r}") for answer in listed if not isinstance(answer, int)]
        valid = [answer for answer in answers if not answer.flag("was_cancelled")]
        if answers:
            return valid[-1].items("result") if valid else None
    return None


def _words(region: object) -> list[str]:
    """The labels of a region; empty for regions without labels, like a choice."""
    if not isinstance(region, Mapping) or not isinstance(value := region.get("value"), Mapping):
        return []
    kind = region.get("type")
    labels = value.get(kind) if isinstance(kind, str) and kind.endswith("labels") else None
    texts = [label.strip() for label in labels if isinstance(label, str)] if isinstance(labels, list) else []
    return [text for text in texts if text]


def _shapes(task: Entry, labels: Mapping[str, int]) -> Shapes:
    answer = _regions(task)
    # a shape drawn with one control and labeled with others has an entry of each, with the same id
    regions: dict[object, list[Entry]] = {}
    for number, content in enumerate(answer or ()):
        entry = Entry(content, f"region {number}")
        if entry.text("type") not in _ABOUT_IMAGE:
            regions.setdefault(entry.identity("id") if "id" in entry else (number,), []).append(entry)
    sizes = {entry.size("original_height", "original_width") for region in regions.values() for entry in region}
    if len(sizes - {None}) > 1:
        raise ValueError("its regions are of images of different sizes")
    further: list[str] = []

    def shape(region: Sequence[Entry]) -> Shape:
        words = list(dict.fromkeys(word for entry in region for word in _words(entry.content)))
        further.extend(["further label of a region"] * len(words[1:]))
        return _shape(region[0], words, labels)

    size = next(iter(sizes - {None}), None)
    shapes = Shapes.of(regions.values(), shape, size=size, is_answered=answer is not None)
    return replace(shapes, skipped=(*shapes.skipped, *further))


def _shape(region: Entry, words: Sequence[str], labels: Mapping[str, int]) -> Shape:
    kind = region.text("type")
    patch = _patch(region.entry("value"), kind)
    if not words:
        raise NoArea(f"{kind} without a label")
    if words[0] not in labels:
        raise ValueError(f"{region.name} has the label {words[0]!r}, which is not in label_config.xml")
    if region.content.get("image_rotation"):
        raise ValueError(f"{region.name} was drawn on an image rotated in Label Studio; rotate the image file")
    return Shape(label=labels[words[0]], patch=patch)


def _patch(value: Entry, kind: str) -> Callable[[int, int], Patch]:
    """The rasterizer of a region; its value, rather than its type, determines the shape."""
    if "rle" in value:
        return partial(_brush, value.items("rle"))
    if "imageDataURL" in value:
        return PngMask(value.text("imageDataURL").partition("base64,")[2], is_whole=True)
    if "points" in value and value.flag("closed", default=True):
        return Polygons([value.points("points")], relative=100.0)
    if "vertices" in value and value.flag("closed"):
        return Polygons([_vector(value.entries("vertices", "vertex"))], relative=100.0)
    if not {"x", "y", "height"} <= value.content.keys() and "radiusX" not in value:
        raise NoArea(kind)
    x, y = value.number("x"), value.number("y")
    degrees = value.number("rotation") if "rotation" in value else 0.0
    if "radiusX" in value:
        corners = ellipse(x, y, value.number("radiusX"), value.number("radiusY"))
    else:
        corners = rectangle(x, y, x + value.number("width"), y + value.number("height"))
    return Polygons([corners], relative=100.0, degrees=degrees, about=(x, y))


def _vector(vertices: Sequence[Entry]) -> list[float]:
    """The corners of a closed vector, whose sides may be cubic Bézier curves."""
    corners: list[float] = []
    for start, end in zip(vertices, [*vertices[1:], *vertices[:1]], strict=True):
        first, last = _point(start), _point(end)
        corners += first.tolist()
        has_out, has_back = (
            vertex.flag("isBezier") and key in vertex
            for vertex, key in ((start, "controlPoint2"), (end, "controlPoint1"))
        )
        if has_out or has_back:
            # a missing control point lies on the straight line
            near = _point(start.entry("controlPoint2")) if has_out else first + 0.3 * (last - first)
            far = _point(end.entry("controlPoint1")) if has_back else last - 0.3 * (last - first)
            rest = 1 - _STEPS
            curve = rest**3 * first + 3 * rest**2 * _STEPS * near + 3 * rest * _STEPS**2 * far + _STEPS**3 * last
            corners += curve.ravel().tolist()
    return corners


def _point(entry: Entry) -> Float64[np.ndarray, " 2"]:
    return np.array([entry.number("x"), entry.number("y")])


def _brush(runs: Sequence[Any], height: int, width: int) -> Patch:
    """Decodes Label Studio's run lengths of RGBA pixels (see `segvoc.imaging.annotations`)."""
    try:
        content = np.frombuffer(bytes(runs), np.uint8)
    except (TypeError, ValueError):
        raise ValueError("run lengths that aren't bytes") from None
    text = (np.unpackbits(content) + ord("0")).astype(np.uint8).tobytes().decode("ascii")
    at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(text):
            raise ValueError("run lengths that end too early")
        return int(text[at - size : at], 2)

    expected = 4 * height * width
    count, word = number(32), number(5) + 1
    if count != expected or word > 8:
        raise ValueError(f"run lengths of {count} values instead of {expected}")
    sizes = [number(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeated = number(1)
        end = place + 1 + number(sizes[number(2)])
        if end > count:
            raise ValueError("run lengths that are too long")
        values[place:end] = number(word) if repeated else [number(word) for _ in range(end - place)]
        place = end
    return Patch(0, 0, values.reshape(height, width, 4)[..., 3] > 0)


LOCAL_FILES = "/data/local-files/?d="
"""Label Studio's URL prefix of files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


class _LabelStudioWriter(FormatWriter):
    """`tasks.json`, to import; `label_config.xml`, the labeling interface; and the images."""

    lost = NO_XML

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        size = {"original_width": result.width, "original_height": result.height, "image_rotation": 0}
        kind = {"from_name": "label", "to_name": "image", "type": "brushlabels", "origin": "prediction"}
        mask = np.zeros(result.labels.shape, bool)
        entries = []
        for number, region in enumerate(self.regions(result)):
            mask[region.place] = region.inside
            runs = packed_runs(np.flatnonzero(np.diff(mask.ravel(), prepend=False, append=False)), mask.size).tolist()
            mask[region.place] = False
            value = {"format": "rle", "rle": runs, "brushlabels": [self.words[region.label]]}
            entries.append({"id": f"r{number}", **kind, **size, "value": value})
        return {"model": result.model, "result": entries}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        write_lines(folder / "tasks.json", list_lines(self._tasks(entries)))
        labels = [f'    <Label value={quoteattr(word)} background="{color}"/>' for word, color in self.hex_colors()]
        view = ["<View>", '  <Image name="image" value="$image" zoom="true"/>']
        view += ['  <BrushLabels name="label" toName="image">', *labels, "  </BrushLabels>", "</View>"]
        write_lines(folder / "label_config.xml", view)

    def _tasks(self, entries: Iterable[DatasetEntry]) -> Iterator[Facts]:
        for entry in entries:
            address = LOCAL_FILES + quote(entry.image, errors="surrogateescape")
            prediction = {"model_version": entry.facts["model"], "result": entry.facts["result"]}
            yield {"data": {"image": address}, "predictions": [prediction]}


LABEL_STUDIO = DatasetFormat(
    name="label-studio", read=read_label_studio, writer=_LabelStudioWriter, marks=find_exports, is_json=is_export
)
