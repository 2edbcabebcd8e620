"""Datumaro's own format: a JSON file with the masks of all images as run lengths."""

from collections.abc import Iterator
from pathlib import Path

from segvoc.annotations.coco import region_annotations
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_json_lists
from segvoc.inference.segmentation import Segmentation

DEFAULT_SUBSET = "default"
"""The subset of all images."""

_IMAGE = 2
"""Datumaro's number of this kind of media."""


class Datumaro(DatasetFormat):
    """`images/default/photo.jpg`, and `annotations/default.json` with a mask for each segment."""

    name = "datumaro"
    needs = ("skimage", "pycocotools")

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """See `DatasetFormat.image_file`."""
        return f"images/{DEFAULT_SUBSET}/{stem}{suffix}"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        found = region_annotations(self.segments_of(result), (result.height, result.width))
        masks = [
            {"label_id": region.label, "group": region.number or 0, "rle": entry["segmentation"]}
            for region, entry in found
        ]
        return {"size": [result.height, result.width], "masks": masks}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        labels = [{"name": word, "parent": "", "attributes": []} for word in self.words]
        head = {
            "dm_format_version": "1.0",
            "media_type": _IMAGE,
            "infos": {},
            "categories": {"label": {"labels": labels, "label_groups": [], "attributes": []}},
        }
        write_json_lists(folder / "annotations" / f"{DEFAULT_SUBSET}.json", head, {"items": self._items(entries)})

    def _items(self, entries: DatasetEntries) -> Iterator[Facts]:
        for entry in entries:
            annotations = [
                {"id": number, "type": "mask", "attributes": {}, "z_order": 0, **mask}
                for number, mask in enumerate(entry.facts["masks"])
            ]
            path = entry.image.removeprefix(f"images/{DEFAULT_SUBSET}/")
            image = {"path": path, "size": entry.facts["size"]}
            yield {"id": entry.stem, "annotations": annotations, "attr": {}, "image": image}
