"""Datumaro's own format: a JSON file for each subset, with masks, polygons, boxes and ellipses."""

from collections.abc import Sequence
from pathlib import Path

from segvoc.data.datasets.annotated_images import AnnotatedImage, Annotation, FoundDataset, broken, unique_stems
from segvoc.data.datasets.fields import Entry, finite, json_content, naming_damage
from segvoc.data.datasets.places import DatasetSource, chosen_set
from segvoc.data.datasets.shapes import CocoRuns, NoArea, Polygons, Shape, Shapes, ellipse, rectangle, with_area
from segvoc.errors import UsageError

_OF_THE_IMAGE = ("label", "caption")
"""Annotations that are about the image as a whole."""


def is_datumaro(content: object) -> bool:
    """Whether the content of a JSON file is Datumaro's."""
    return isinstance(content, dict) and isinstance(content.get("items"), list) and "categories" in content


def read_datumaro(source: DatasetSource) -> FoundDataset:
    """Read a dataset in Datumaro's format; shapes of a higher z order are in front, then later ones.

    Args:
        source: the folder with `annotations/` and `images/`, or the JSON file of a subset.

    Raises:
        UsageError: there is no such file, or several, or it is damaged.
    """
    path = source.path
    if not path.is_file():
        files = {file.stem: file for file in sorted((path / "annotations").glob("*.json"))}
        if not files:
            raise UsageError(f"{str(path)!r} has no JSON file in annotations/; give the file itself as --dataset")
        path = chosen_set(source, files, "subsets")
    with naming_damage(path):
        return _read(source, path, Entry(json_content(path), "the file"))


def _read(source: DatasetSource, path: Path, content: Entry) -> FoundDataset:
    labels = content.entry("categories").entry("label").items("labels")
    names = [Entry(label, "a label").text("name").strip() for label in labels]
    items = [Entry(item, f"item {number}") for number, item in enumerate(content.items("items"))]
    files = [_file(item) for item in items]
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    folders = [root / "images" / path.stem, root / "images", path.parent / "images" / path.stem]
    images, without_area = [], 0
    for item, file, stem in zip(items, files, unique_stems([Path(file) for file in files]), strict=True):
        try:
            annotation, skipped = _annotation(item, names)
            without_area += skipped
            place = source.image(file, folders)
            images.append(AnnotatedImage(image=place, labels=path, stem=stem, annotation=annotation))
        except ValueError as error:
            images.append(broken(path, stem, f"item {stem[:60]!r}: {error}"))
    return FoundDataset(names=names, images=images, without_area=without_area)


def _file(item: Entry) -> str:
    """The image's file, which items without an image don't name."""
    for key in ("image", "media"):
        if key in item and isinstance(item.content[key], dict) and "path" in item.entry(key):
            return item.entry(key).text("path").replace("\\", "/")
    return f"{item.identity('id')}.jpg"


def _annotation(item: Entry, names: Sequence[str]) -> tuple[Annotation, int]:
    """The annotation of an image, and the number of shapes that aren't in it because they have no area."""
    entries = [Entry(entry, f"annotation {number}") for number, entry in enumerate(item.items("annotations"))]
    shapes = [entry for entry in entries if entry.text("type") not in _OF_THE_IMAGE]
    shapes.sort(key=lambda entry: entry.whole("z_order") if "z_order" in entry else 0)
    found, without_area = with_area(lambda entry: _shape(entry, names), shapes)
    size, image = None, item.content.get("image")
    stated = image.get("size") if isinstance(image, dict) else None
    if isinstance(stated, list) and len(stated) == 2:
        size = (int(finite(stated[0], "the height")), int(finite(stated[1], "the width")))
    return Shapes(shapes=found, size=size), without_area


def _shape(entry: Entry, names: Sequence[str]) -> Shape:
    kind = entry.text("type")
    if kind not in ("mask", "polygon", "bbox", "ellipse"):
        raise NoArea(f"{entry.name} is a {kind}")
    if "label_id" not in entry:
        raise NoArea(f"{entry.name} has no label")
    label = entry.whole("label_id")
    if not 0 <= label < len(names):
        raise ValueError(f"{entry.name} has the label {label}, of which the file has no name")
    group = entry.whole("group") if "group" in entry else 0
    own = {"label": label, "group": group or None}
    if kind == "mask":
        return CocoRuns(runs=entry.entry("rle").content, **own)
    if kind == "polygon":
        return Polygons(corners=[_numbers(entry, "points")], **own)
    numbers = _numbers(entry, "bbox" if kind == "bbox" else "points")
    if len(numbers) != 4:
        raise ValueError(f"{entry.name} has {len(numbers)} numbers in place of 4")
    left, top, third, fourth = numbers
    if kind == "bbox":
        return Polygons(corners=[rectangle(left, top, left + third, top + fourth)], **own)
    x, y = (left + third) / 2, (top + fourth) / 2
    return Polygons(corners=[ellipse(x, y, abs(third - left) / 2, abs(fourth - top) / 2)], **own)


def _numbers(entry: Entry, key: str) -> tuple[float, ...]:
    return tuple(finite(value, f"a number in {key!r} of {entry.name}") for value in entry.items(key))
