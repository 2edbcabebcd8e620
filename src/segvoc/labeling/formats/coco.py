"""COCO's JSON files: instances with run lengths or polygons, and panoptic segments in PNGs."""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import UsageError
from segvoc.imaging.annotations import categories, coco_mask, region_annotations, region_facts
from segvoc.imaging.connected_regions import Region, segments
from segvoc.imaging.label_maps import UNLABELED, looked_up, stored_map
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import DatasetEntry, DatasetFormat, Facts, FormatWriter, list_lines, write_lines
from segvoc.labeling.formats.parsed import (
    Annotation,
    DatasetSource,
    ParsedDataset,
    annotated,
    checked_size,
    unique_stems,
)
from segvoc.labeling.formats.shapes import NoArea, Patch, Polygons, Shape, Shapes
from segvoc.labeling.formats.untrusted_files import Entry, inner_path, json_content, naming_damage
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import digest_of

_LOOSE_FILES = ("_annotations.coco.json", "annotations.json", "result.json", "labels.json")
"""File names used by Roboflow, labelme2coco, Label Studio and FiftyOne, beside the images or their folder."""


@dataclass(frozen=True, kw_only=True)
class _PanopticSegments(Annotation):
    """A PNG whose colors are the ids of segments: red + 256 green + 256² blue; 0 is unlabeled."""

    path: Path
    labels: Mapping[int, int]
    things: frozenset[int]
    """The segments that are objects."""

    @property
    def table_digest(self) -> str:
        return digest_of(self.labels)

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        return self._mapped(size, {**self.labels, 0: UNLABELED})

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        numbers = {segment: number for number, segment in enumerate(sorted(self.things), 1)}
        return self._mapped(size, dict.fromkeys((*self.labels, 0), 0) | numbers)

    def _mapped(self, size: tuple[int, int], values: Mapping[int, int]) -> UInt16[np.ndarray, "H W"]:
        name = self.path.name
        if (colors := stored_map(self.path).values).ndim != 3:
            raise ValueError(f"{name!r} is a gray or palette image, not RGB")
        ids = colors.astype(np.uint32) @ np.array([1, 256, 256 * 256], np.uint32)
        checked_size(size, ids.shape)
        return looked_up(ids, values, lambda id: f"{name!r} has a segment {id} that the JSON file doesn't know")


_WITHOUT_MASK = {"box": "boxes or points", "line": "polygons of one or two corners"}
"""What annotations without an area are called in errors."""


def loose_coco_files(folder: Path) -> dict[str, Path]:
    """Find the JSON files beside the images of each set ("train/_annotations.coco.json"), by set name.

    A dataset with a single file in the folder itself has the set "".
    """
    files = [place / name for place in (folder, *sorted(folder.iterdir())) for name in _LOOSE_FILES]
    return {"" if file.parent == folder else file.parent.name: file for file in files if file.is_file()}


def coco_index(folder: Path) -> Path | None:
    """The JSON file of a folder that COCO's names don't mark: the only one of `annotations/`, or a loose one."""
    annotations = list((folder / "annotations").glob("*.json"))
    return annotations[0] if len(annotations) == 1 else min(loose_coco_files(folder).values(), default=None)


def _is_coco(content: object, *, panoptic: bool) -> bool:
    if not isinstance(content, dict) or not isinstance(listed := content.get("annotations"), list):
        return False
    return (isinstance(first := next(iter(listed), None), dict) and "segments_info" in first) == panoptic


def _annotation_file(source: DatasetSource, panoptic: bool) -> Path:
    folder = source.path / "annotations"
    if not folder.is_dir() and (loose := loose_coco_files(source.path)):
        return source.chosen(loose, "sets")
    files = sorted((folder if folder.is_dir() else source.path).glob("*.json"))
    kinds = ("panoptic",) if panoptic else ("instances", "stuff")
    named = [matching for kind in kinds if (matching := [file for file in files if file.stem.startswith(kind)])]
    if not (chosen := [*named, files][0]):
        raise UsageError(f"{str(folder)!r} has no JSON file; give the file itself as --dataset")
    return source.chosen({_set_of(file) or file.stem: file for file in chosen}, "files")


def _set_of(file: Path) -> str:
    """The name of a file's set: "val2017" of "instances_val2017.json"."""
    return re.sub("^(instances|panoptic|stuff)", "", file.stem).strip("_")


def read_coco(source: DatasetSource, *, panoptic: bool) -> ParsedDataset:
    """Read panoptic segments, or instances; later instances are in front, and crowds behind all others.

    The source is a folder with `annotations/` or with a JSON file beside the images of each set, or a JSON file.
    """
    path = source.path if source.path.is_file() else _annotation_file(source, panoptic)
    with naming_damage(path):
        return _read(source, path, panoptic)


def _read(source: DatasetSource, path: Path, panoptic: bool) -> ParsedDataset:
    content = Entry(json_content(path), "the file")
    categories = content.entries("categories", "category")
    images, annotations = content.entries("images", "image"), content.entries("annotations", "annotation")
    if len({entry.identity("id") for entry in categories}) < len(categories):
        raise ValueError("two categories have the same id")
    by_image, left_out = _by_image(images, annotations)
    categories = _without_roots(categories, annotations, panoptic)
    labels = {entry.identity("id"): label for label, entry in enumerate(categories)}
    # only panoptic files must declare stuff; even COCO's stuff file doesn't
    is_stuff = path.stem.startswith("stuff_")
    stuff = {label for label, entry in enumerate(categories) if is_stuff or not entry.flag("isthing", default=True)}
    names = [entry.text("file_name") for entry in images]
    # "images", or a folder named after the set ("val2017" of "instances_val2017")
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    split = _set_of(path)
    folders = [root / "images", root / "images" / split, root / split, root / "data", root]

    def annotation(image: Entry) -> Annotation:
        entries = by_image[image.identity("id")]
        if panoptic:
            return _segments(path, entries, labels, stuff)
        # COCO's files list crowds last
        entries = sorted(entries, key=lambda entry: not entry.flag("iscrowd"))
        return Shapes.of(entries, lambda entry: _shape(entry, labels, stuff), size=image.size())

    images_read = []
    for entry, name, stem in zip(images, names, unique_stems(list(map(inner_path, names))), strict=True):
        image = annotated(path, stem, partial(source.image, name, folders), partial(annotation, entry))
        if isinstance(image.annotation, _PanopticSegments):
            # a corrected PNG is noticed by its time, the JSON by its content
            image = replace(image, labels=image.annotation.path)
        images_read.append(image)
    skipped = Counter(kind for image in images_read for kind in image.annotation.skipped)
    if images_read and skipped.total() == len(annotations) > 0:
        kinds = " and ".join(_WITHOUT_MASK[kind] for kind in sorted(skipped))
        raise ValueError(f"its annotations are {kinds}; masks are required")
    return ParsedDataset(
        names=[entry.text("name").strip() for entry in categories],
        images=images_read,
        are_shapes=not panoptic,
        left_out=left_out,
    )


def _by_image(images: Sequence[Entry], annotations: Sequence[Entry]) -> tuple[dict[int | str, list[Entry]], str | None]:
    """The annotations by image, and how many are of unlisted images."""
    by_image: dict[int | str, list[Entry]] = {entry.identity("id"): [] for entry in images}
    if len(by_image) < len(images):
        raise ValueError("two images have the same id")
    unlisted = Counter[int | str]()
    for entry in annotations:
        if (image_id := entry.identity("image_id")) in by_image:
            by_image[image_id].append(entry)
        else:
            unlisted[image_id] += 1
    if not unlisted:
        return by_image, None
    if unlisted.total() == len(annotations):
        raise ValueError(f"all of its annotations are of images that it doesn't list, such as {next(iter(unlisted))!r}")
    return by_image, f"annotations of images that it doesn't list ({len(unlisted)} images): {unlisted.total()}"


def _without_roots(categories: Sequence[Entry], annotations: Sequence[Entry], panoptic: bool) -> list[Entry]:
    """Drop categories that only group others, like Roboflow's first category."""
    segments = (entry.content.get("segments_info") if panoptic else [entry.content] for entry in annotations)
    flat = [info for some in segments if isinstance(some, list) for info in some if isinstance(info, Mapping)]
    used = {repr(info.get("category_id")) for info in flat}
    groups = {repr(entry.content.get("supercategory")) for entry in categories}

    def is_root(entry: Entry) -> bool:
        groups_others = repr(entry.content.get("name")) in groups and repr(entry.content["id"]) not in used
        return groups_others and entry.content.get("supercategory") in (None, "", "none")

    return [entry for entry in categories if not is_root(entry)]


def _segments(path: Path, entries: Sequence[Entry], known: Mapping[int | str, int], stuff: Set[int]) -> Annotation:
    if len(entries) != 1:
        raise ValueError(f"an image has {len(entries)} panoptic annotations instead of one")
    folders = [path.with_suffix(""), path.parent / "panoptic", path.parent]
    png = DatasetSource(path=path).image(entries[0].text("file_name"), folders)
    segments = entries[0].entries("segments_info", "segment")
    labels = {segment.whole("id"): _label(segment, known) for segment in segments}
    crowds = {segment.whole("id") for segment in segments if segment.flag("iscrowd")}
    things = frozenset(id for id, label in labels.items() if label not in stuff and id not in crowds)
    return _PanopticSegments(path=png, labels=labels, things=things)


def _shape(entry: Entry, labels: Mapping[int | str, int], stuff: Set[int]) -> Shape:
    label = _label(entry, labels)
    content: Any = entry.content.get("segmentation")
    if isinstance(content, Mapping):
        patch = partial(_runs, content)
    elif not content:
        raise NoArea("box")
    elif not isinstance(content, list):
        raise ValueError(f"{entry.name} has a segmentation that is neither polygons nor run lengths")
    else:
        # some tools write a single polygon without the list around it
        content = content if any(isinstance(polygon, list) and len(polygon) != 2 for polygon in content) else [content]
        polygons = [flat for polygon in content for flat in _flattened(polygon)]
        # some tools write clipped polygons as lines of at most two corners
        patch = Polygons([flat for flat in polygons if not (isinstance(flat, list) and len(flat) in (0, 2, 4))])
        if not patch.corners:
            raise NoArea("line")
    # each annotation is an object, so its name serves as its group
    is_crowd = label in stuff or entry.flag("iscrowd")
    return Shape(label=label, patch=patch, group=entry.name, is_crowd=is_crowd)


def _flattened(polygon: Any) -> list[Any]:
    """The polygons of an entry, with alternating x and y: some tools nest corners, or whole polygons once more."""
    if not isinstance(polygon, list) or not polygon or not all(isinstance(part, list) for part in polygon):
        return [polygon]
    if all(len(corner) == 2 and not any(isinstance(value, list) for value in corner) for corner in polygon):
        return [[value for corner in polygon for value in corner]]
    return [flat for part in polygon for flat in _flattened(part)]


def _label(entry: Entry, labels: Mapping[int | str, int]) -> int:
    category = entry.identity("category_id")
    if category not in labels:
        raise ValueError(f"{entry.name} is of the undefined category {repr(category)[:60]}")
    return labels[category]


def _runs(runs: Mapping[str, Any], height: int, width: int) -> Patch:
    try:
        return Patch(0, 0, coco_mask(runs, height, width))
    except (KeyError, TypeError, UnicodeError, OverflowError):
        raise ValueError("run lengths that aren't numbers, or COCO's text of them") from None


class _CocoWriter(FormatWriter):
    """`annotations/....json` about all images; the id of a category is label + 1."""

    _file: str

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        write_lines(folder / self._file, self._lines(entries))

    def _lines(self, entries: Iterable[DatasetEntry]) -> Iterator[str]:
        # a word with objects in any image is a thing, whatever its name
        counted = {label for entry in entries for label in entry.facts["counted"]}
        stuff = surfaces_among(self.words, self.background) - counted
        yield '{"info": {"description": "labeled by segvoc", "version": "1.0"}, "licenses": [], "images":'
        yield from list_lines(self._images(entries))
        yield ', "annotations":'
        yield from list_lines(self._annotations(entries))
        yield ', "categories":'
        yield from list_lines(categories(self.words, stuff))
        yield "}"

    def _images(self, entries: Iterable[DatasetEntry]) -> Iterator[Facts]:
        for number, entry in enumerate(entries, 1):
            height, width = entry.facts["size"]
            # below "images", as usual
            yield {"id": number, "file_name": entry.image.removeprefix("images/"), "width": width, "height": height}

    @abstractmethod
    def _annotations(self, entries: Iterable[DatasetEntry]) -> Iterator[Facts]: ...

    def _segments(self, result: Segmentation) -> tuple[list[Region], Facts]:
        """Objects, or for words without objects each connected component (stuff: all pixels); and the image's data.

        The data are its size and the words with objects.
        """
        stuff = surfaces_among(self.words, self.background)
        regions = list(segments(result.labels, len(self.words), stuff, result.object_map))
        counted = sorted({region.label for region in regions if region.number is not None})
        return regions, {"size": [result.height, result.width], "counted": counted}


class _PanopticWriter(_CocoWriter):
    """`annotations/panoptic_default/photo.png`, whose colors are ids of segments, and `panoptic_default.json`.

    The id of a pixel's segment is red + 256 green + 256² blue; 0 is unlabeled.
    """

    _file = "annotations/panoptic_default.json"
    own_file = "annotations/panoptic_default/{stem}.png"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        ids = np.zeros(result.labels.shape, np.uint32)
        entries: dict[int, Facts] = {}
        regions, facts = self._segments(result)
        for region in regions:
            red, green, blue = result.colors[region.label].tolist()
            number = red + 256 * green + 256 * 256 * blue
            while number in entries or number == 0:  # a color near that of the class
                number = (number + 0x0B0705) % 256**3
            ids[region.place][region.inside] = number
            entries[number] = {"id": number, **region_facts(region)}
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        write_atomically(folder / self.files(stem)[0], lambda file: Image.fromarray(rgb).save(file, "PNG"))
        return {**facts, "segments": list(entries.values())}

    def _annotations(self, entries: Iterable[DatasetEntry]) -> Iterator[Facts]:
        for number, entry in enumerate(entries, 1):
            yield {"image_id": number, "file_name": f"{entry.stem}.png", "segments_info": entry.facts["segments"]}


class _InstancesWriter(_CocoWriter):
    """`annotations/instances_default.json`, with a mask for each segment."""

    _file = "annotations/instances_default.json"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        regions, facts = self._segments(result)
        annotations = region_annotations(regions, (result.height, result.width))
        return {**facts, "segments": [annotation for _, annotation in annotations]}

    def _annotations(self, entries: Iterable[DatasetEntry]) -> Iterator[Facts]:
        annotation = 0
        for number, entry in enumerate(entries, 1):
            for segment in entry.facts["segments"]:
                annotation += 1
                yield {"id": annotation, "image_id": number, **segment}


COCO_PANOPTIC = DatasetFormat(
    name="coco-panoptic",
    read=partial(read_coco, panoptic=True),
    writer=_PanopticWriter,
    marks=lambda folder: any(folder.glob("annotations/panoptic*.json")),
    is_json=partial(_is_coco, panoptic=True),
)
COCO_INSTANCES = DatasetFormat(
    name="coco-instances",
    read=partial(read_coco, panoptic=False),
    writer=_InstancesWriter,
    marks=lambda folder: any(re.match("instances|stuff", file.name) for file in folder.glob("annotations/*.json")),
    is_json=partial(_is_coco, panoptic=False),
)
