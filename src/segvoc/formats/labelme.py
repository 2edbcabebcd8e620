"""LabelMe: a JSON file of polygons beside each image."""

from pathlib import Path

from segvoc.formats.connected_regions import connected_regions, pieces_of
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, relative, write_text
from segvoc.formats.outlines import polygon_of
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.json_files import write_json

LABELME_VERSION = "5.5.0"


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
        regions = [
            piece
            for region in connected_regions(result.labels, len(self.words), result.objects)
            for piece in pieces_of(region)
        ]
        # LabelMe draws outlines too, so that what lies in a hole has to come after what is around it
        regions.sort(key=lambda region: -region.area)
        content = {
            "version": LABELME_VERSION,
            "flags": {},
            "shapes": [
                {
                    "label": self.words[region.label],
                    "points": polygon_of(region).round(2).tolist(),
                    "group_id": region.number or None,
                    "description": "",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for region in regions
            ],
            "imagePath": relative(image, file),
            "imageData": None,
            "imageHeight": result.height,
            "imageWidth": result.width,
        }
        write_json(folder / file, content)
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        write_text(folder / "labels.txt", ["__ignore__", *self.words])
