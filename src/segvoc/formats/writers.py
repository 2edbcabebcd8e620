"""The formats of datasets that are written: files for each image, and files about all of them at the end."""

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote
from xml.sax.saxutils import XMLGenerator, quoteattr
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.annotations.connected_regions import Region, connected_regions, segments
from segvoc.annotations.entries import categories, labelme_content, region_annotations, region_facts, stuff_classes
from segvoc.annotations.outlines import polygon_of
from segvoc.errors import UsageError
from segvoc.formats.objects import consecutive
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.palette import class_colors
from segvoc.imaging.regions import packed_runs
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import strict_json, write_json

Facts = Mapping[str, Any]
"""What the files about all images have to know of one, as plain values."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """An image in a dataset."""

    stem: str
    """Its name in the dataset, which may begin with sub-folders, without suffix."""
    image: str
    """Path of the image below the dataset's folder, where it is or would be if it had gone along."""
    facts: Facts
    """What `DatasetFormat.write` has returned."""


DatasetEntries = Iterable[DatasetEntry]
"""The images of a dataset in the order of their names; each time they are gone through, they are read one by one."""


class DatasetFormat(ABC):
    """A format. Objects know the words of a dataset, classes where its files are.

    Args:
        words: the words, whose indices are the labels.
        background: the word that stands for "none of the others".

    Raises:
        UsageError: the format has no room for these words.
    """

    name: ClassVar[str]
    """Its name on the command line."""
    needs: ClassVar[tuple[str, ...]] = ()
    """The modules of the extra `data` that `write` needs."""

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        self.words, self.background = tuple(words), background

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """Where the format wants an image's image."""
        return f"images/{stem}{suffix}"

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """The files that `write` always writes for an image; none if all is in those about all images."""
        return ()

    def segments_of(self, result: Segmentation) -> Iterator[Region]:
        """The segments of a result: objects, and of words without any each connected region, or all of its stuff."""
        stuff = stuff_classes(self.words, self.background)
        return segments(result.labels, len(self.words), stuff, result.objects)

    @abstractmethod
    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """Write the files of an image, each atomically, and return what `finish` has to know of it.

        `image` is the path of the image: below `folder`, or absolute.
        """

    @abstractmethod
    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """Write the files about all images, each atomically."""


def refuse_words(words: Iterable[str], characters: str, name: str) -> None:
    """Check that no word has a character that separates words in a format."""
    for word in words:
        if found := [character for character in characters if character in word]:
            raise UsageError(f"{name} can't hold the word {word!r}, as {found[0]!r} separates words there; rename it")


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text in UTF-8, atomically."""

    def write(file: BinaryIO) -> None:
        for line in lines:
            file.write(f"{line}\n".encode("utf-8", "surrogateescape"))

    write_atomically(path, write)


def write_json_lists(
    path: Path, head: Mapping[str, object], lists: Mapping[str, Iterable[Mapping[str, object]]]
) -> None:
    """Write a JSON object of short values and then of long lists, an entry a line, atomically and in little memory."""

    def write(file: BinaryIO) -> None:
        file.write(b"{")
        for name, value in head.items():
            file.write(f"{json.dumps(name)}: {strict_json(value)},\n".encode())
        for index, (name, entries) in enumerate(lists.items()):
            file.write(f"{',' if index else ''}\n{json.dumps(name)}: ".encode())
            write_json_list(file, entries)
        file.write(b"}\n")

    write_atomically(path, write)


def write_json_list(file: BinaryIO, entries: Iterable[Mapping[str, object]]) -> None:
    """Write a JSON list into an open file, one entry a line."""
    file.write(b"[")
    for index, entry in enumerate(entries):
        file.write(f"{',' if index else ''}\n{strict_json(entry)}".encode())
    file.write(b"\n]")


def xml_text(text: str) -> str:
    """A text with "�" in place of what XML has no way to write, such as bytes of a file name that aren't Unicode."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def relative(path: str, start: str) -> str:
    """Path of an image as seen from a file of the dataset."""
    if os.path.isabs(path):
        return path
    return PurePosixPath(os.path.relpath(path, PurePosixPath(start).parent)).as_posix()


_SEGMENT_IDS = 256**3


class _Coco(DatasetFormat):
    """What both have in common: `annotations/....json` about all images; the id of a category is label + 1."""

    _file: str

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        head = {"info": {"description": "labeled by segvoc", "version": "1.0"}, "licenses": []}
        lists = {
            "images": self._images(entries),
            "annotations": self._annotations(entries),
            "categories": self._categories({label for entry in entries for label in entry.facts["counted"]}),
        }
        write_json_lists(folder / self._file, head, lists)

    def _segments(self, result: Segmentation, counted: set[int]) -> Iterator[Region]:
        """The segments of an image; the labels of the words that have objects are added to the set."""
        for region in self.segments_of(result):
            if region.number is not None:
                counted.add(region.label)
            yield region

    def _images(self, entries: DatasetEntries) -> Iterator[Facts]:
        for number, entry in enumerate(entries, 1):
            height, width = entry.facts["size"]
            # below "images", as it is usual
            yield {"id": number, "file_name": entry.image.removeprefix("images/"), "width": width, "height": height}

    def _categories(self, counted: Set[int]) -> Iterator[Facts]:
        # what has objects in one of the images is counted, whatever its name
        return categories(self.words, stuff_classes(self.words, self.background) - counted)

    @abstractmethod
    def _annotations(self, entries: DatasetEntries) -> Iterator[Facts]: ...


class CocoPanoptic(_Coco):
    """`annotations/panoptic_default/photo.png`, whose colors are ids of segments, and `panoptic_default.json`.

    The id of a pixel's segment is red + 256 green + 256² blue; 0 is unlabeled.
    """

    name = "coco-panoptic"
    needs = ("skimage",)
    _file = "annotations/panoptic_default.json"

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `DatasetFormat.files`."""
        return (f"annotations/panoptic_default/{stem}.png",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        ids = np.zeros(result.labels.shape, np.uint32)
        entries: list[Facts] = []
        taken: set[int] = {0}
        counted: set[int] = set()
        for region in self._segments(result, counted):
            red, green, blue = result.colors[region.label].tolist()
            number = red + 256 * green + 256 * 256 * blue
            while number in taken:  # a color near that of the class
                number = (number + 0x0B0705) % _SEGMENT_IDS
            taken.add(number)
            ids[region.place][region.inside] = number
            entries.append({"id": number, **region_facts(region)})
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        png = Image.fromarray(rgb)
        write_atomically(folder / self.files(stem)[0], lambda file: png.save(file, "PNG"))
        return {"size": list(ids.shape), "segments": entries, "counted": sorted(counted)}

    def _annotations(self, entries: DatasetEntries) -> Iterator[Facts]:
        for number, entry in enumerate(entries, 1):
            segments_info = entry.facts["segments"]
            yield {"image_id": number, "file_name": f"{entry.stem}.png", "segments_info": segments_info}


class CocoInstances(_Coco):
    """`annotations/instances_default.json`, with a mask for each segment."""

    name = "coco-instances"
    needs = ("skimage", "pycocotools")
    _file = "annotations/instances_default.json"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        counted: set[int] = set()
        found = region_annotations(self._segments(result, counted), (result.height, result.width))
        entries = [annotation for _, annotation in found]
        return {"size": [result.height, result.width], "segments": entries, "counted": sorted(counted)}

    def _annotations(self, entries: DatasetEntries) -> Iterator[Facts]:
        annotation = 0
        for number, entry in enumerate(entries, 1):
            for segment in entry.facts["segments"]:
                annotation += 1
                yield {"id": annotation, "image_id": number, **segment}


VOC_ROOT = "VOCdevkit/VOC2012"
"""The folder with all others, below that of the dataset."""

VOC_SETS = ("train", "val", "trainval")
"""The lists of images. Each has all of them: who divides them is the user."""

VOID = 255
"""The index of pixels without a class."""

VOC_IGNORED = "ignored"
"""The name of index 255, of pixels without a class."""

VOC_BACKGROUND = "background"
"""The name of index 0 where no word is the background."""


def voc_names(words: Sequence[str], background: str | None) -> tuple[str, ...]:
    """The names of the indices from 0: the background (None: the word "background"), then the other words in order."""
    first = VOC_BACKGROUND if background is None else background
    return (first, *(word for word in words if word != first))


def voc_colors() -> UInt8[np.ndarray, "256 3"]:
    """VOC's palette: the bits of an index, three at a time, from the highest bits of red, green and blue on."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colors


class Voc(DatasetFormat):
    """`VOCdevkit/VOC2012` with `JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation/*.txt` and `labelmap.txt`.

    Results with objects also have `SegmentationObject`, with their numbers: the 254 largest, and void for pixels that
    are in no object though their word has some.
    """

    name = "voc"

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        super().__init__(words, background)
        self.names = voc_names(words, background)
        if len(self.names) > VOID:
            raise UsageError(
                f"voc has room for {VOID - 1} words besides the background, not for {len(self.names) - 1}; "
                "choose coco-panoptic, which has room for all"
            )
        refuse_words(self.names, ":\n", "voc")
        self._indices = np.full(UNLABELED + 1, VOID, np.uint8)
        self._indices[: len(self.words)] = [self.names.index(word) for word in self.words]

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """See `DatasetFormat.image_file`; always `.jpg`, as VOC's own tools and torchvision look for nothing else."""
        return f"{VOC_ROOT}/JPEGImages/{stem}.jpg"

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `DatasetFormat.files`."""
        return (f"{VOC_ROOT}/SegmentationClass/{stem}.png",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        png = Image.fromarray(self._indices[result.labels])
        png.putpalette(voc_colors().tobytes())
        write_atomically(folder / self.files(stem)[0], lambda file: png.save(file, "PNG"))
        file = f"{VOC_ROOT}/SegmentationObject/{stem}.png"
        if result.objects is None:
            (folder / file).unlink(missing_ok=True)  # that of an earlier result
            return {}
        numbers = consecutive(result.labels, result.objects, len(self.words))
        counted = np.isin(result.labels, result.labels[numbers > 0])
        uncounted = (numbers == 0) & (counted | (result.labels >= len(self.words)))
        instances = Image.fromarray(np.where(uncounted, VOID, np.minimum(numbers, VOID)).astype(np.uint8))
        instances.putpalette(voc_colors().tobytes())
        write_atomically(folder / file, lambda file: instances.save(file, "PNG"))
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        colors = voc_colors().tolist()
        lines = [f"{name}:{','.join(map(str, color))}::" for name, color in zip(self.names, colors, strict=False)]
        lines.append(f"{VOC_IGNORED}:{','.join(map(str, colors[VOID]))}::")
        write_text(folder / VOC_ROOT / "labelmap.txt", ["# label:color_rgb:parts:actions", *lines])
        for name in VOC_SETS:
            file = folder / VOC_ROOT / f"ImageSets/Segmentation/{name}.txt"
            write_text(file, (entry.stem for entry in entries))


class YoloSegmentation(DatasetFormat):
    """`images/photo.jpg`, `labels/photo.txt` and `data.yaml`; a line of a text file is a label and a polygon."""

    name = "yolo-seg"
    needs = ("skimage",)

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `DatasetFormat.files`."""
        return (f"labels/{stem}.txt",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        size = np.array([result.width, result.height])
        lines = []
        for region in connected_regions(result.labels, len(self.words), result.objects):
            corners = np.clip(polygon_of(region) / size, 0, 1).ravel().tolist()
            lines.append(" ".join([str(region.label), *(f"{corner:.7g}" for corner in corners)]))
        write_text(folder / self.files(stem)[0], lines)
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        # a JSON string is one of YAML too
        names = [f"  {label}: {json.dumps(word)}" for label, word in enumerate(self.words)]
        write_text(folder / "data.yaml", ["train: images", "val: images", "names:", *names])


class LabelMe(DatasetFormat):
    """`photo.json` beside `photo.jpg`, and `labels.txt` with the words.

    The polygons of an object have its number as their group. LabelMe has no word for "none of them", so a word
    `__ignore__` comes first there, as its own converters want it.
    """

    name = "labelme"
    needs = ("skimage",)

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """See `DatasetFormat.image_file`."""
        return f"{stem}{suffix}"

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `DatasetFormat.files`."""
        return (f"{stem}.json",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        file = self.files(stem)[0]
        path = relative(image, file)
        content = labelme_content(result.labels, self.words, result.objects, path=path)
        write_json(folder / file, content)
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        write_text(folder / "labels.txt", ["__ignore__", *self.words])


class Cvat(DatasetFormat):
    """`annotations.xml`, and the images."""

    name = "cvat"
    needs = ("skimage",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        regions = connected_regions(result.labels, len(self.words), result.objects)
        masks = [{"label": region.label, "box": region.box, "rle": run_lengths(region)} for region in regions]
        return {"size": [result.height, result.width], "masks": masks}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        write_atomically(folder / "annotations.xml", lambda file: self._write_xml(file, entries))

    def _write_xml(self, file: BinaryIO, entries: DatasetEntries) -> None:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)  # pyright: ignore[reportArgumentType]
        xml.startDocument()
        _start(xml, "annotations")
        _leaf(xml, "version", "1.1")
        for name in ("meta", "task", "labels"):
            _start(xml, name)
        for word, (red, green, blue) in zip(self.words, class_colors(len(self.words)).tolist(), strict=True):
            _start(xml, "label")
            _leaf(xml, "name", word)
            _leaf(xml, "color", f"#{red:02x}{green:02x}{blue:02x}")
            _leaf(xml, "type", "mask")
            _start(xml, "attributes")
            xml.endElement("attributes")
            xml.endElement("label")
        for name in ("labels", "task", "meta"):
            xml.endElement(name)
        for number, entry in enumerate(entries):
            height, width = entry.facts["size"]
            # CVAT finds its image by this name, as it was uploaded
            name = entry.image.removeprefix("images/")
            xml.characters("\n")
            _start(xml, "image", id=number, name=name, width=width, height=height)
            for mask in entry.facts["masks"]:
                left, top, columns, rows = mask["box"]
                kind = {"label": self.words[mask["label"]], "source": "auto", "occluded": 0, "rle": mask["rle"]}
                _start(xml, "mask", **kind, left=left, top=top, width=columns, height=rows, z_order=0)
                xml.endElement("mask")
            xml.endElement("image")
        xml.endElement("annotations")
        xml.endDocument()


def run_lengths(region: Region) -> str:
    """The lengths of the runs in a region's bounding box, row by row: outside, inside, outside, ..."""
    pixels = region.inside.ravel()
    bounds = np.flatnonzero(np.diff(pixels, prepend=False))
    return ", ".join(map(str, np.diff(bounds, prepend=0, append=pixels.size).tolist()))


def _start(xml: XMLGenerator, element: str, /, **attributes: object) -> None:
    xml.startElement(element, AttributesImpl({name: xml_text(str(value)) for name, value in attributes.items()}))


def _leaf(xml: XMLGenerator, name: str, text: str) -> None:
    _start(xml, name)
    xml.characters(xml_text(text))
    xml.endElement(name)


LOCAL_FILES = "/data/local-files/?d="
"""How Label Studio addresses files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


class LabelStudio(DatasetFormat):
    """`tasks.json`, to import; `label_config.xml`, the labeling interface; and the images."""

    name = "label-studio"
    needs = ("skimage",)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        size = {"original_width": result.width, "original_height": result.height, "image_rotation": 0}
        mask = np.zeros(result.labels.shape, bool)
        entries = []
        for number, region in enumerate(connected_regions(result.labels, len(self.words), result.objects)):
            mask[region.place] = region.inside
            changes = np.flatnonzero(np.diff(mask.ravel(), prepend=False, append=False))
            value = {
                "format": "rle",
                "rle": packed_runs(changes, mask.size).tolist(),
                "brushlabels": [self.words[region.label]],
            }
            mask[region.place] = False
            place = {"id": f"r{number}", "from_name": "label", "to_name": "image", "type": "brushlabels", **size}
            entries.append({**place, "origin": "prediction", "value": value})
        return {"model": result.model, "result": entries}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""

        def write(file: BinaryIO) -> None:
            write_json_list(file, self._tasks(entries))
            file.write(b"\n")

        write_atomically(folder / "tasks.json", write)
        colors = class_colors(len(self.words)).tolist()
        labels = [
            f'    <Label value={quoteattr(xml_text(word))} background="#{red:02x}{green:02x}{blue:02x}"/>'
            for word, (red, green, blue) in zip(self.words, colors, strict=True)
        ]
        view = ["<View>", '  <Image name="image" value="$image" zoom="true"/>']
        view += ['  <BrushLabels name="label" toName="image">', *labels, "  </BrushLabels>", "</View>"]
        write_text(folder / "label_config.xml", view)

    def _tasks(self, entries: DatasetEntries) -> Iterator[Facts]:
        for entry in entries:
            address = LOCAL_FILES + quote(entry.image, errors="surrogateescape")
            prediction: dict[str, Any] = {"model_version": entry.facts["model"], "result": entry.facts["result"]}
            yield {"data": {"image": address}, "predictions": [prediction]}
