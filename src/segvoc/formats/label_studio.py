"""Label Studio: a JSON file of tasks whose predictions are brush masks, and the labeling interface for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from segvoc.annotations.connected_regions import connected_regions
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_json_list, write_text, xml_text
from segvoc.imaging.brush_masks import packed_runs
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

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
