"""A-847: the full ADE20K dataset, with large images and their labels shrunk as in the published preparation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.data.manifests import ManifestRecord
from segvoc.data.preparation.conversions import ConversionResult, ImageConversion, write_image, write_labels
from segvoc.data.preparation.label_ids import ids_to_labels
from segvoc.errors import InputError
from segvoc.imaging.reading import opened_image

SHORT_SIDE = 512
"""Images with a longer short side are shrunk to this one [px]."""


@dataclass(frozen=True, kw_only=True)
class FullAdeConversion(ImageConversion):
    """Converts an image and its `_seg.png`, where red / 10 * 256 + green is the id of a pixel's object.

    The image is always written as a new JPEG in Pillow's default quality, even if it keeps its size, as in the
    published preparation.
    """

    original: str
    """Path of the original image; its `_seg.png` is beside it, and `image` is the one to write."""
    labels: str
    """Path of the label map to write."""

    def run(self, root: Path) -> ConversionResult:
        """See `ImageConversion.run`."""
        original = root / self.original
        colored = original.with_name(f"{original.stem}_seg.png")
        image, segmentation = _read_rgb(original), _read_rgb(colored)
        if image.shape != segmentation.shape:
            raise InputError(
                f"{str(original)!r} is {image.shape[1]} x {image.shape[0]} pixels, but its labels are "
                f"{segmentation.shape[1]} x {segmentation.shape[0]}; unpack both again"
            )
        red, green = segmentation[..., 0].astype(np.int64), segmentation[..., 1].astype(np.int64)
        labels = ids_to_labels(red // 10 * 256 + green, "a-847", colored)
        height, width = shrunk_size(*labels.shape)
        if (height, width) != labels.shape:
            image, labels = resized_linear(image, height, width), resized_nearest(labels, height, width)
        written = {
            self.image: write_image(root / self.image, Image.fromarray(image), "JPEG"),
            self.labels: write_labels(root / self.labels, labels, self.ignored),
        }
        record = ManifestRecord(stem=self.stem, image=self.image, labels=self.labels)
        return ConversionResult(stem=self.stem, records=(record,), sha256=written)


def _read_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    # ignore the EXIF orientation: the labels match the stored pixels
    with opened_image(path) as image:
        return np.array(image.convert("RGB"))


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """Height and width [px] with a short side of at most `SHORT_SIDE`; the long side is rounded."""
    if min(height, width) <= SHORT_SIDE:
        return height, width
    if width >= height:
        return SHORT_SIDE, round(width / height * SHORT_SIDE)
    return round(height / width * SHORT_SIDE), SHORT_SIDE


def resized_linear(image: UInt8[np.ndarray, "H W 3"], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Resize like OpenCV's INTER_LINEAR: bilinear interpolation without antialiasing."""
    rows, columns = _neighbors(image.shape[0], height), _neighbors(image.shape[1], width)
    above, below, down = rows
    left, right, across = columns
    values = image.astype(np.float32)
    values = values[above] + (values[below] - values[above]) * down[:, None, None]
    values = values[:, left] + (values[:, right] - values[:, left]) * across[None, :, None]
    return np.rint(values).astype(np.uint8)


def _neighbors(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output position, the two input positions around it and the weight of the second, in [0, 1]."""
    position = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    lower = np.floor(position).astype(np.int64)
    return lower, np.minimum(lower + 1, size - 1), (position - lower).astype(np.float32)


def resized_nearest(labels: UInt16[np.ndarray, "H W"], height: int, width: int) -> UInt16[np.ndarray, "h w"]:
    """Resize like OpenCV's INTER_NEAREST, which takes the top-left input pixel of each output pixel."""
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], columns]
