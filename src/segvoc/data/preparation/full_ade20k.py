"""A-847: ADE20K in full, of which pictures and labels are shrunk before they are used."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.data.preparation.conversions import Converted, write_labels, write_picture
from segvoc.data.preparation.label_ids import translated
from segvoc.data.preparation.manifests import Record
from segvoc.errors import InputError
from segvoc.imaging.reading import opened_image

SHORT_SIDE = 512
"""Pictures whose short side is longer are shrunk to it [pixels]."""


@dataclass(frozen=True, kw_only=True)
class FullAdeConversion:
    """A picture and its `_seg.png`, of which red / 10 * 256 + green is the id of a pixel's object.

    original: the picture; image, labels: what is written, all below the root. The picture is written anew as a JPEG of
    Pillow's usual quality even where it keeps its size, as in the published preparation.
    """

    stem: str
    original: str
    image: str
    labels: str

    def run(self, root: Path) -> Converted:
        """See `ImageConversion.run`."""
        original = root / self.original
        coloured = original.with_name(f"{original.stem}_seg.png")
        picture, segmentation = _read_rgb(original), _read_rgb(coloured)
        if picture.shape != segmentation.shape:
            raise InputError(
                f"{str(original)!r} is {picture.shape[1]} x {picture.shape[0]} pixels, and its labels "
                f"{segmentation.shape[1]} x {segmentation.shape[0]}; unpack both again"
            )
        red, green = segmentation[..., 0].astype(np.int64), segmentation[..., 1].astype(np.int64)
        labels = translated(red // 10 * 256 + green, "a-847", coloured)
        height, width = shrunk_size(*labels.shape)
        if (height, width) != labels.shape:
            picture, labels = resized_linear(picture, height, width), resized_nearest(labels, height, width)
        written = {
            self.image: write_picture(root / self.image, Image.fromarray(picture), "JPEG"),
            self.labels: write_labels(root / self.labels, labels, 65535),
        }
        record = Record(stem=self.stem, image=self.image, labels=self.labels)
        return Converted(stem=self.stem, records=(record,), sha256=written)


def _read_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    # not turned upright: the labels are as the picture is stored
    with opened_image(path) as image:
        return np.array(image.convert("RGB"))


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """Height and width with a short side of at most `SHORT_SIDE`, the long one rounded."""
    if min(height, width) <= SHORT_SIDE:
        return height, width
    if width >= height:
        return SHORT_SIDE, round(width / height * SHORT_SIDE)
    return round(height / width * SHORT_SIDE), SHORT_SIDE


def resized_linear(image: UInt8[np.ndarray, "H W 3"], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Linear interpolation between the four nearest pixels, whatever the scale, as OpenCV's INTER_LINEAR."""
    rows, columns = _neighbours(image.shape[0], height), _neighbours(image.shape[1], width)
    above, below, down = rows
    left, right, across = columns
    values = image.astype(np.float32)
    values = values[above] + (values[below] - values[above]) * down[:, None, None]
    values = values[:, left] + (values[:, right] - values[:, left]) * across[None, :, None]
    return np.rint(values).astype(np.uint8)


def _neighbours(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each wanted cell the two cells around its centre, and how far it is from the first to the second."""
    position = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    lower = np.floor(position).astype(np.int64)
    return lower, np.minimum(lower + 1, size - 1), (position - lower).astype(np.float32)


def resized_nearest(labels: UInt16[np.ndarray, "H W"], height: int, width: int) -> UInt16[np.ndarray, "h w"]:
    """The cell at the corner of each wanted cell, as OpenCV's INTER_NEAREST."""
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], columns]
