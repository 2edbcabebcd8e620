"""The dataset formats: per-image files, and dataset-wide files at the end."""

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import UsageError
from segvoc.imaging.annotations import (
    categories,
    labelme_content,
    packed_runs,
    region_annotations,
    region_facts,
)
from segvoc.imaging.connected_regions import Region, connected_regions, polygon_of, segments
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.palette import class_colors
from segvoc.inference.objects import consecutive
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import strict_json, write_json
from segvoc.vocabulary import IGNORED_NAMES

Facts = Mapping[str, Any]
"""Data of an image for the dataset-wide files, as plain values."""


class DatasetEntry(NamedTuple):
    """An image in a dataset."""

    stem: str
    """Its name in the dataset, may include subfolders, without suffix."""
    image: str
    """Path of the image below the dataset's folder, copied or not."""
    facts: Facts
    """The return value of `DatasetFormat.write`."""


DatasetEntries = Iterable[DatasetEntry]
"""The images of a dataset, sorted by name; each iteration reads them lazily."""


class DatasetFormat(ABC):
    """A format. Instances hold the words of a dataset; classes define the layout of its files.

    `words` are in label order, `background` stands for "none of the others"; `UsageError` if the format can't hold a
    word.
    """

    name: ClassVar[str]
    lost: ClassVar[str] = "(?!)"
    """Pattern of text that words must not contain, since it wouldn't survive a round trip."""
    image_file: ClassVar[str] = "images/{stem}{suffix}"
    own_file: ClassVar[str | None] = None
    """The path of the file that `write` always writes for an image; None if all is in dataset-wide files."""

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        self.words, self.background = tuple(words), background
        for word in self.words:
            if (match := re.search(self.lost, word, re.IGNORECASE)) is not None:
                raise UsageError(
                    f"{self.name} can't hold the word {word!r}, as {match[0]!r} means something else there; rename it"
                )

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """The files that `write` always writes for an image."""
        return () if cls.own_file is None else (cls.own_file.format(stem=stem),)

    @abstractmethod
    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """Write the files of an image, each atomically, and return its data for `finish`.

        `image` is the path of the image: below `folder`, or absolute.
        """

    @abstractmethod
    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """Write the dataset-wide files, each atomically."""

    def _regions(self, result: Segmentation) -> list[Region]:
        return connected_regions(result.labels, len(self.words), result.object_map)

    def _hex_colors(self) -> Iterator[tuple[str, str]]:
        """Each word with its color, "#1f77b4"."""
        for word, color in zip(self.words, class_colors(len(self.words)).tolist(), strict=True):
            yield word, f"#{bytes(color).hex()}"


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text in UTF-8, one by one, atomically."""

    def write(file: BinaryIO) -> None:
        for line in lines:
            file.write(f"{line}\n".encode("utf-8", "surrogateescape"))

    write_atomically(path, write)


def _list_lines(entries: Iterable[Facts]) -> Iterator[str]:
    """The lines of a JSON list, an entry per line."""
    separator = "["
    for entry in entries:
        yield separator + strict_json(entry)
        separator = ","
    yield "]" if separator == "," else "[]"


_NO_XML = "[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""Characters that XML can't represent, or reads as a space."""


class _Coco(DatasetFormat):
    """`annotations/....json` about all images; the id of a category is label + 1."""

    _file: str

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        _write_lines(folder / self._file, self._lines(entries))

    def _lines(self, entries: DatasetEntries) -> Iterator[str]:
        # a word with objects in any image is a thing, whatever its name
        counted = {label for entry in entries for label in entry.facts["counted"]}
        stuff = surfaces_among(self.words, self.background) - counted
        yield '{"info": {"description": "labeled by segvoc", "version": "1.0"}, "licenses": [], "images":'
        yield from _list_lines(self._images(entries))
        yield ', "annotations":'
        yield from _list_lines(self._annotations(entries))
        yield ', "categories":'
        yield from _list_lines(categories(self.words, stuff))
        yield "}"

    def _images(self, entries: DatasetEntries) -> Iterator[Facts]:
        for number, entry in enumerate(entries, 1):
            height, width = entry.facts["size"]
            # below "images", as usual
            yield {"id": number, "file_name": entry.image.removeprefix("images/"), "width": width, "height": height}

    @abstractmethod
    def _annotations(self, entries: DatasetEntries) -> Iterator[Facts]: ...

    def _segments(self, result: Segmentation) -> tuple[list[Region], Facts]:
        """Objects, or for words without objects each connected component (stuff: all pixels); and the image's data.

        The data are its size and the words with objects.
        """
        stuff = surfaces_among(self.words, self.background)
        regions = list(segments(result.labels, len(self.words), stuff, result.object_map))
        counted = sorted({region.label for region in regions if region.number is not None})
        return regions, {"size": [result.height, result.width], "counted": counted}


class _CocoPanoptic(_Coco):
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

    def _annotations(self, entries: DatasetEntries) -> Iterator[Facts]:
        for number, entry in enumerate(entries, 1):
            yield {"image_id": number, "file_name": f"{entry.stem}.png", "segments_info": entry.facts["segments"]}


class _CocoInstances(_Coco):
    """`annotations/instances_default.json`, with a mask for each segment."""

    _file = "annotations/instances_default.json"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        regions, facts = self._segments(result)
        annotations = region_annotations(regions, (result.height, result.width))
        return {**facts, "segments": [annotation for _, annotation in annotations]}

    def _annotations(self, entries: DatasetEntries) -> Iterator[Facts]:
        annotation = 0
        for number, entry in enumerate(entries, 1):
            for segment in entry.facts["segments"]:
                annotation += 1
                yield {"id": annotation, "image_id": number, **segment}


VOC_ROOT = "VOCdevkit/VOC2012"
"""The folder of all others."""

VOC_SETS = ("train", "val", "trainval")
"""The lists of images. Each has all images; splits are up to the user."""

_VOID, _IGNORED = 255, "ignored"
"""The index of pixels without a class, and its name."""

VOC_BACKGROUND = "background"
"""The name of index 0 where no word is the background."""


def voc_colors() -> UInt8[np.ndarray, "256 3"]:
    """VOC's palette: three bits of an index at a time go to red, green and blue, highest bit first."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colors


class _Voc(DatasetFormat):
    """`VOCdevkit/VOC2012` with `JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation/*.txt` and `labelmap.txt`.

    Results with objects also have `SegmentationObject`, with their numbers: the 254 largest, and void for pixels that
    are in no object though their word has some.
    """

    name = "voc"
    lost = rf"[:\n\r]|^#|^({'|'.join(IGNORED_NAMES)})$"
    # whatever the image was: VOC's own tools and torchvision look for nothing else
    image_file = f"{VOC_ROOT}/JPEGImages/{{stem}}.jpg"
    own_file = f"{VOC_ROOT}/SegmentationClass/{{stem}}.png"

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        super().__init__(words, background)
        first = VOC_BACKGROUND if background is None else background
        self.names = (first, *(word for word in words if word != first))
        if len(self.names) > _VOID:
            raise UsageError(
                f"voc has room for {_VOID - 1} words besides the background, not for {len(self.names) - 1}; "
                "choose coco-panoptic, which has room for all"
            )
        self._indices = np.full(UNLABELED + 1, _VOID, np.uint8)
        self._indices[: len(self.words)] = [self.names.index(word) for word in self.words]

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        if stem != stem.strip():
            raise UsageError(f"{stem!r} has a space at an end, which VOC's lists of images lose; rename the image")
        _write_palette_png(folder / self.files(stem)[0], self._indices[result.labels])
        file = folder / f"{VOC_ROOT}/SegmentationObject/{stem}.png"
        if result.object_map is None:
            file.unlink(missing_ok=True)  # left by an earlier result
            return {}
        numbers = consecutive(result.labels, result.object_map, len(self.words))
        counted = np.isin(result.labels, result.labels[numbers > 0])
        uncounted = (numbers == 0) & (counted | (result.labels >= len(self.words)))
        _write_palette_png(file, np.where(uncounted, _VOID, np.minimum(numbers, _VOID)).astype(np.uint8))
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        colors = voc_colors().tolist()
        lines = [f"{name}:{','.join(map(str, color))}::" for name, color in zip(self.names, colors, strict=False)]
        lines.append(f"{_IGNORED}:{','.join(map(str, colors[_VOID]))}::")
        _write_lines(folder / VOC_ROOT / "labelmap.txt", ["# label:color_rgb:parts:actions", *lines])
        for name in VOC_SETS:
            file = folder / VOC_ROOT / f"ImageSets/Segmentation/{name}.txt"
            _write_lines(file, (entry.stem for entry in entries))


def _write_palette_png(path: Path, values: UInt8[np.ndarray, "H W"]) -> None:
    png = Image.fromarray(values)
    png.putpalette(voc_colors().tobytes())
    write_atomically(path, lambda file: png.save(file, "PNG"))


class _YoloSegmentation(DatasetFormat):
    """`images/photo.jpg`, `labels/photo.txt`, `images.txt` and `data.yaml`; a line of labels is a polygon."""

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `DatasetFormat.files`; YOLO looks for "labels" in place of the last "images" in an image's path."""
        before, _, after = f"/images/{stem}".rpartition("/images/")
        return (f"{before}/labels/{after}.txt".lstrip("/"),)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        lines = []
        for region in self._regions(result):
            corners = np.clip(polygon_of(region) / [result.width, result.height], 0, 1).ravel().tolist()
            lines.append(" ".join([str(region.label), *(f"{corner:.7g}" for corner in corners)]))
        _write_lines(folder / self.files(stem)[0], lines)
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        names = [f"  {label}: {_yaml_text(word)}" for label, word in enumerate(self.words)]
        # not the folder, which may have images of an earlier call, whose labels are of other words
        _write_lines(folder / "images.txt", (f"./{entry.image}" for entry in entries))
        _write_lines(folder / "data.yaml", ["train: images.txt", "val: images.txt", "names:", *names])


def _yaml_text(text: str) -> str:
    """Quote text for YAML: as in JSON, but with eight-digit escapes for non-ASCII, since YAML has no surrogates."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if " " <= char <= "~" else f"\\U{ord(char):08x}" for char in quoted)


LABELME_IGNORED = "__ignore__"
"""LabelMe's word for pixels without a class."""


class _LabelMe(DatasetFormat):
    """`photo.json` beside `photo.jpg`, and `labels.txt` with the words.

    The polygons of an object have its number as their group. LabelMe has no background class, so a word `__ignore__`
    comes first, as its converters expect.
    """

    name = "labelme"
    lost = rf"[\n\r]|^{LABELME_IGNORED}$"

    image_file = "{stem}{suffix}"
    own_file = "{stem}.json"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        # a copy is beside the file
        path = Path(image if os.path.isabs(image) else os.path.basename(image)).as_posix()
        content = labelme_content(result.labels, self.words, result.object_map, path=path)
        write_json(folder / self.files(stem)[0], content)
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        _write_lines(folder / "labels.txt", [LABELME_IGNORED, *self.words])


class _Cvat(DatasetFormat):
    """`annotations.xml`, and the images."""

    name = "cvat"
    lost = _NO_XML

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        regions = self._regions(result)
        masks = [{"label": region.label, "box": region.box, "rle": _box_runs(region)} for region in regions]
        return {"size": [result.height, result.width], "masks": masks}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        _write_lines(folder / "annotations.xml", self._lines(entries))

    def _lines(self, entries: DatasetEntries) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>'
        yield "<annotations><version>1.1</version><meta><task><labels>"
        for word, color in self._hex_colors():
            name = escape(word)
            yield f"<label><name>{name}</name><color>{color}</color><type>mask</type><attributes></attributes></label>"
        yield "</labels></task></meta>"
        words = [quoteattr(word) for word in self.words]
        for number, entry in enumerate(entries):
            height, width = entry.facts["size"]
            # CVAT matches the uploaded image by this name
            name = quoteattr(re.sub(_NO_XML, "\ufffd", entry.image.removeprefix("images/")))
            yield f'<image id="{number}" name={name} width="{width}" height="{height}">'
            for mask in entry.facts["masks"]:
                left, top, columns, rows = mask["box"]
                place = f'left="{left}" top="{top}" width="{columns}" height="{rows}" z_order="0"'
                yield f'<mask label={words[mask["label"]]} source="auto" occluded="0" rle="{mask["rle"]}" {place}/>'
            yield "</image>"
        yield "</annotations>"


def _box_runs(region: Region) -> str:
    """The lengths of the runs in a region's bounding box, row by row: outside, inside, outside, ..."""
    pixels = region.inside.ravel()
    bounds = np.flatnonzero(np.diff(pixels, prepend=False))
    return ", ".join(map(str, np.diff(bounds, prepend=0, append=pixels.size).tolist()))


LOCAL_FILES = "/data/local-files/?d="
"""Label Studio's URL prefix of files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


class _LabelStudio(DatasetFormat):
    """`tasks.json`, to import; `label_config.xml`, the labeling interface; and the images."""

    name = "label-studio"
    lost = _NO_XML

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        size = {"original_width": result.width, "original_height": result.height, "image_rotation": 0}
        kind = {"from_name": "label", "to_name": "image", "type": "brushlabels", "origin": "prediction"}
        mask = np.zeros(result.labels.shape, bool)
        entries = []
        for number, region in enumerate(self._regions(result)):
            mask[region.place] = region.inside
            runs = packed_runs(np.flatnonzero(np.diff(mask.ravel(), prepend=False, append=False)), mask.size).tolist()
            mask[region.place] = False
            value = {"format": "rle", "rle": runs, "brushlabels": [self.words[region.label]]}
            entries.append({"id": f"r{number}", **kind, **size, "value": value})
        return {"model": result.model, "result": entries}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        _write_lines(folder / "tasks.json", _list_lines(self._tasks(entries)))
        labels = [f'    <Label value={quoteattr(word)} background="{color}"/>' for word, color in self._hex_colors()]
        view = ["<View>", '  <Image name="image" value="$image" zoom="true"/>']
        view += ['  <BrushLabels name="label" toName="image">', *labels, "  </BrushLabels>", "</View>"]
        _write_lines(folder / "label_config.xml", view)

    def _tasks(self, entries: DatasetEntries) -> Iterator[Facts]:
        for entry in entries:
            address = LOCAL_FILES + quote(entry.image, errors="surrogateescape")
            prediction = {"model_version": entry.facts["model"], "result": entry.facts["result"]}
            yield {"data": {"image": address}, "predictions": [prediction]}


FORMATS: Mapping[str, type[DatasetFormat]] = {
    "coco-panoptic": _CocoPanoptic,
    "coco-instances": _CocoInstances,
    "labelme": _LabelMe,
    "cvat": _Cvat,
    "yolo-seg": _YoloSegmentation,
    "voc": _Voc,
    "label-studio": _LabelStudio,
}
"""The formats by their names on the command line."""
