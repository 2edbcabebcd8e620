"""Label Studio's JSON: brush masks, polygons, rectangles and ellipses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken, unique_stems
from segvoc.data.datasets.fields import DatasetSource, Entry, finite, json_content, naming_damage, read_xml
from segvoc.data.datasets.shapes import Patch, Polygons, Shape, Shapes, ellipse, rectangle

_TYPES = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")


def read_label_studio(source: DatasetSource) -> FoundDataset:
    """Read tasks with their annotations, or, where nobody has annotated, with predictions; later shapes are in front.

    Of several annotations of an image, the last that wasn't cancelled counts. The classes are the labels of
    `label_config.xml`, or else all that occur, in alphabetical order.
    """
    path = source.path if source.path.is_file() else source.path / "tasks.json"
    with naming_damage(path):
        content = json_content(path)
        if not isinstance(content, list):
            raise ValueError("it is no list of tasks")
        tasks = [Entry(task, f"task {number}") for number, task in enumerate(content)]
        names = _names(tasks, path.parent / "label_config.xml")
        if not names:
            raise ValueError("it has no labels")
        addresses = [_address(task.entry("data")) for task in tasks]
    files = [Path(_file_name(address).lstrip("/")) for address in addresses]
    stems = [stem.removeprefix("images/") for stem in unique_stems(files)]
    images = []
    for task, file, address, stem in zip(tasks, files, addresses, stems, strict=True):
        try:
            if re.match(r"[a-zA-Z0-9+.-]+://", address):
                raise ValueError(f"its image {address[:80]!r} is a URL, which isn't fetched")
            image = _image(source, path.parent, file)
            annotation = Shapes(shapes=tuple(_shapes(task, names)), size=_size(task))
            images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
        except ValueError as error:
            images.append(broken(path, stem, f"{task.name}: {error}"))
    return FoundDataset(names=names, images=images)


def _names(tasks: Sequence[Entry], config: Path) -> list[str]:
    """The labels of the labeling interface; without its file those that occur, in alphabetical order."""
    if config.is_file():
        labels = (label.get("value", "").strip() for label in read_xml(config).iter("Label"))
        if names := [label for label in labels if label]:
            return names
    words = (_word(region) for task in tasks for region in _regions(task))
    return sorted({word for word in words if word is not None})


def _address(data: Entry) -> str:
    """The image of a task: its "image", or else the only text that looks like one."""
    if "image" in data:
        return data.text("image")
    texts = [value for value in data.content.values() if isinstance(value, str) and "/" in value]
    if len(texts) != 1:
        raise ValueError(f"{data.name} has no 'image'")
    return texts[0]


def _file_name(address: str) -> str:
    """The path in an address: "/data/local-files/?d=..." has it in `d`."""
    if "?d=" in address:
        return parse_qs(urlsplit(address).query, errors="surrogateescape").get("d", [""])[0]
    return unquote(address.split("?")[0])


def _image(source: DatasetSource, folder: Path, file: Path) -> Path:
    name = file.as_posix()
    if name.startswith("data/upload/"):
        # uploaded files have a random prefix: "data/upload/1/0a1b2c3d-photo.jpg"
        base = file.name
        plain = re.sub(r"^[0-9a-f]{8}-", "", base)
        places = [source.image(one, [folder / "images", folder]) for one in (base, plain)]
        return next((place for place in places if place.exists()), places[0])
    return source.image(name, [folder, folder / "images"])


def _regions(task: Entry) -> Sequence[Any]:
    """What was annotated, or predicted if nothing was."""
    for key in ("annotations", "completions", "predictions"):
        answers = [Entry(answer, f"an entry of {key!r}") for answer in (task.items(key) if key in task else [])]
        answers = [answer for answer in answers if not answer.content.get("was_cancelled")]
        if answers:
            return answers[-1].items("result")
    return []


def _word(region: object) -> str | None:
    """The first label of a region; None if it has none, like a choice."""
    if not isinstance(region, dict) or region.get("type") not in _TYPES:
        return None
    value = region.get("value")
    labels = value.get(region["type"]) if isinstance(value, dict) else None
    if not isinstance(labels, list) or not labels or not isinstance(labels[0], str) or not labels[0].strip():
        return None
    return labels[0].strip()


def _size(task: Entry) -> tuple[int, int] | None:
    sizes = {Entry(region, "a region").size("original_height", "original_width") for region in _regions(task)} - {None}
    if len(sizes) > 1:
        raise ValueError("its regions are of images of different sizes")
    return next(iter(sizes), None)


def _shapes(task: Entry, names: Sequence[str]) -> list[Shape]:
    shapes: list[Shape] = []
    for number, content in enumerate(_regions(task)):
        region = Entry(content, f"region {number}")
        if region.content.get("type") not in _TYPES:
            continue
        word = _word(content)
        if word not in names:
            raise ValueError(f"{region.name} has the label {word!r}, which label_config.xml lacks")
        shapes.append(_shape(region, names.index(word)))
    return shapes


def _shape(region: Entry, label: int) -> Shape:
    value, kind = region.entry("value"), region.text("type")
    if kind == "brushlabels":
        return _BrushRuns(label=label, runs=value.items("rle"))
    if kind == "polygonlabels":
        points = value.items("points")
        if not all(isinstance(point, list) and len(point) == 2 for point in points):
            raise ValueError(f"a point of {region.name} isn't x and y")
        corners = [finite(one, f"a coordinate of {region.name}") for point in points for one in point]
        return Polygons(label=label, corners=[corners], relative=100.0)
    if "rotation" in value and value.number("rotation"):
        raise ValueError(f"{region.name} is turned; draw it as a polygon")
    x, y = value.number("x"), value.number("y")
    if kind == "ellipselabels":
        corners = ellipse(x, y, value.number("radiusX"), value.number("radiusY"))
    else:
        corners = rectangle(x, y, x + value.number("width"), y + value.number("height"))
    return Polygons(label=label, corners=[corners], relative=100.0)


@dataclass(frozen=True, kw_only=True)
class _BrushRuns(Shape):
    """A mask as Label Studio's run lengths of RGBA pixels (see `segvoc.imaging.brush_masks`)."""

    runs: Sequence[Any]
    """The bytes; checked when they are drawn."""

    def patch(self, height: int, width: int) -> Patch:
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
