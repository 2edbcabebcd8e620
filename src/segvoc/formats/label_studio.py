"""Label Studio: a JSON file of tasks whose predictions are brush masks, and the labeling interface for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Bool

from segvoc.formats.connected_regions import connected_regions
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_json_list, write_text, xml_text
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

_RUN_BITS = (3, 4, 8, 16)
"""Sizes of the numbers that give the lengths of runs [bits]."""

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
        for number, region in enumerate(connected_regions(result.labels, len(self.words))):
            mask[region.place] = region.inside
            value = {"format": "rle", "rle": brush_run_lengths(mask), "brushlabels": [self.words[region.label]]}
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


def brush_run_lengths(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """A mask as Label Studio stores it: bytes of run lengths of its RGBA pixels (255 inside), row by row.

    A stream of bits has the number of values (32 bits), the size of a value less 1 (5), and four sizes of run lengths
    less 1 (4 each). Then each run has a 1, the index of its size (2), its length less 1 and its value.
    """
    pixels = mask.ravel()
    bounds = np.flatnonzero(np.diff(pixels)) + 1
    starts = np.concatenate(([0], bounds))
    lengths = 4 * np.diff(starts, append=pixels.size)
    stream = [f"{4 * pixels.size:032b}{7:05b}", *(f"{bits - 1:04b}" for bits in _RUN_BITS)]
    for length, inside in zip(lengths.tolist(), pixels[starts].tolist(), strict=True):
        value = "11111111" if inside else "00000000"
        whole, rest = divmod(length, 1 << 16)
        stream.append(f"111{'1' * 16}{value}" * whole)
        if rest:
            index = next(index for index, bits in enumerate(_RUN_BITS) if rest <= 1 << bits)
            stream.append(f"1{index:02b}{rest - 1:0{_RUN_BITS[index]}b}{value}")
    text = "".join(stream)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))
