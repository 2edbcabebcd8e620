"""Cityscapes: maps of ids, of instances and of colors."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from segvoc.annotations.connected_regions import connected_regions
from segvoc.errors import UsageError
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_text
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import strict_json

OFFICIAL_IDS = {
    name: number
    for number, name in enumerate(
        (
            *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
            *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel"),
            *("pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider"),
            *("car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
        )
    )
}
"""The ids of Cityscapes' own classes; 0 is unlabeled."""

FIRST_INSTANCES = OFFICIAL_IDS["person"]
"""From this id on, Cityscapes has instances."""

CITYSCAPES_FACTOR = 1000
"""What an id is multiplied by before the number of an instance is added."""

LABELS_FILE = "labels.json"
"""The file with the id of each word; Cityscapes itself has none, as its ids never change."""

_HIGHEST = 254


def cityscapes_ids(words: Sequence[str]) -> dict[str, int]:
    """The id of each word: Cityscapes' own, or for other words those from 34 on, in their order.

    Raises:
        UsageError: there are too many.
    """
    own = {word: OFFICIAL_IDS[word] for word in words if OFFICIAL_IDS.get(word)}
    others = [word for word in words if word not in own]
    first = len(OFFICIAL_IDS)
    if first + len(others) - 1 > _HIGHEST:
        raise UsageError(
            f"cityscapes has room for {_HIGHEST - first + 1} words besides its own, not for {len(others)}; "
            "choose coco-panoptic, which has room for all"
        )
    return own | {word: number for number, word in enumerate(others, first)}


def split_stem(stem: str) -> tuple[str, str]:
    """The city and the image's name of a stem."""
    path = PurePosixPath(stem)
    return ("images" if path.parent == PurePosixPath() else path.parent.as_posix()), path.name


class Cityscapes(DatasetFormat):
    """`leftImg8bit/train/<city>/photo_leftImg8bit.png` and, in `gtFine`, `_labelIds`, `_instanceIds` and `_color`.

    Sub-folders are the cities; images without one are in "images". `labels.json` has the ids of the words.
    """

    name = "cityscapes"
    needs = ("skimage",)

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        super().__init__(words, background)
        self.ids = cityscapes_ids(words)
        colors = class_colors(len(self.words))
        self._table = np.zeros(UNLABELED + 1, np.uint16)
        self._table[: len(self.words)] = [self.ids[word] for word in self.words]
        self._colors = np.zeros((256, 3), np.uint8)
        self._colors[self._table[: len(self.words)]] = colors

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """See `DatasetFormat.image_file`; always a PNG, as Cityscapes' own tools look for nothing else."""
        city, name = split_stem(stem)
        return f"leftImg8bit/train/{city}/{name}_leftImg8bit.png"

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `DatasetFormat.files`."""
        city, name = split_stem(stem)
        return tuple(f"gtFine/train/{city}/{name}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds", "color"))

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        ids = self._table[result.labels]
        instances = ids.copy()
        counts: dict[int, int] = {}
        for region in connected_regions(result.labels, len(self.words), result.objects):
            number = self.ids[self.words[region.label]]
            # the values have 16 bits
            has_instances = FIRST_INSTANCES <= number < len(OFFICIAL_IDS) and not region.is_crowd
            if has_instances and (count := counts.get(number, 0)) < CITYSCAPES_FACTOR:
                instances[region.place][region.inside] = number * CITYSCAPES_FACTOR + count
                counts[number] = count + 1
        maps = (
            Image.fromarray(ids.astype(np.uint8)),
            Image.fromarray(instances),
            Image.fromarray(self._colors[ids]),
        )
        for file, png in zip(self.files(stem), maps, strict=True):
            write_atomically(folder / file, lambda file, png=png: png.save(file, "PNG"))
        return {}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        classes = [
            {"name": word, "id": self.ids[word], "color": color}
            for word, color in zip(self.words, class_colors(len(self.words)).tolist(), strict=True)
        ]
        write_text(folder / LABELS_FILE, ["[", ",\n".join(map(strict_json, classes)), "]"])
