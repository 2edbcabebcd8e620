"""YOLO segmentation: a text file of polygons for each image, and `data.yaml`."""

import json
from pathlib import Path

import numpy as np

from segvoc.annotations.connected_regions import connected_regions
from segvoc.annotations.outlines import polygon_of
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_text
from segvoc.inference.segmentation import Segmentation


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
