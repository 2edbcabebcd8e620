"""COCO: panoptic segments as PNGs with a JSON file, and instances with masks as run lengths."""

from abc import abstractmethod
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np
from PIL import Image

from segvoc.annotations.coco import categories, region_annotations, region_facts
from segvoc.annotations.connected_regions import Region
from segvoc.annotations.stuff import stuff_classes
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_json_lists
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

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
