"""LabelMe: a JSON file of polygons beside each image."""

from pathlib import Path

from segvoc.annotations.labelme import labelme_content
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, relative, write_text
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.json_files import write_json


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
