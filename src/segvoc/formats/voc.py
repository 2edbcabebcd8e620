"""PASCAL VOC: label maps as palette PNGs, in which 0 is the background and 255 is void.

The folders are those of the devkit of 2012, where torchvision and MMSegmentation look for them. CVAT needs
`labelmap.txt` too, which the devkit doesn't have, and finds it there.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.errors import UsageError
from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, refuse_words, write_text
from segvoc.formats.objects import consecutive
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

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
    """The names of the indices from 0: the background, then the words in their order.

    Args:
        words: the words.
        background: the one that is the background; None: the word "background", if there is one.
    """
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
