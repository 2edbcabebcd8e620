"""Cut-outs: for each word of an image an RGBA image, transparent wherever another word is."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_text
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import strict_json

_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that mean devices on Windows."""

_LONGEST_NAME = 120
"""Bytes of a file's name."""


class Rgba(DatasetFormat):
    """`cutouts/photo/cat.png` for each word that was found but the background, of the image's own size.

    `classes.json` has the words.
    """

    name = "rgba"
    lists_files = True

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        names = cutout_names(self.words)
        present = np.flatnonzero(np.bincount(result.labels.ravel(), minlength=len(self.words))[: len(self.words)])
        files = []
        for label in present.tolist():
            if self.words[label] == self.background:
                continue
            inside = result.labels == label
            # what is transparent is black, which takes no space
            rgba = np.dstack([result.image * inside[..., None], inside.astype(np.uint8) * 255])
            png = Image.fromarray(rgba)
            files.append(f"cutouts/{stem}/{names[label]}.png")
            write_atomically(folder / files[-1], lambda file, png=png: png.save(file, "PNG", compress_level=4))
        return {"files": files}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        write_text(folder / "classes.json", [strict_json(list(self.words))])


def cutout_names(words: Sequence[str]) -> list[str]:
    """Names of files for the words, without suffix.

    What file systems don't like in names becomes "_"; words whose names would be the same, also in capitals, get their
    index behind it.
    """
    names: list[str] = []
    taken: set[str] = set()
    for label, word in enumerate(words):
        name = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", word).strip(" .") or "_"
        name = f"_{name}" if _DEVICE.fullmatch(name) else name
        name = name.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore")
        if name.casefold() in taken:
            name = f"{name} {label}"
        taken.add(name.casefold())
        names.append(name)
    return names
