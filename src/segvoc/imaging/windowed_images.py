"""Images read by windows, to keep only parts in memory, and georeferencing of TIFFs."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, TiffImagePlugin, TiffTags

from segvoc.imaging.image_formats import (
    GDAL_NODATA,
    MAX_PIXELS,
    MODEL_MATRIX,
    PLACE_TAGS,
    RPC,
    TIE_POINTS,
    TIFF_ERRORS,
    tiff_tags,
    world_file,
)
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, label_map_image
from segvoc.imaging.rasters import RasterImage, Stretch, is_raster
from segvoc.imaging.reading import decode_whole, rgb_window
from segvoc.storage.atomic_writes import write_atomically

_PLACE = (*PLACE_TAGS, 33550, 34736, 34737, RPC)
"""Those, ModelPixelScale, the values of the keys of the coordinate system, and RPCCoefficients."""

_ORIENTATION, _GDAL_METADATA = 274, 42112


@dataclass(frozen=True, kw_only=True)
class TiffPlace:
    """The georeferencing tags of a TIFF."""

    tags: Mapping[int, tuple[int, Any]]
    """Type and value by tag number, as in Pillow."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "TiffPlace | None":
        """Read the georeferencing of an image file, or of its world file (.tfw).

        None if the file isn't a TIFF, isn't georeferenced, can't be read, or has an orientation tag that reorders its
        pixels.
        """
        if not is_raster(path):
            return None
        try:
            with open(path, "rb") as file:
                directory = tiff_tags(file)
                if directory.get(_ORIENTATION, 1) != 1:
                    return None
                tags = {tag: (directory.tagtype[tag], directory[tag]) for tag in _PLACE if tag in directory}
        except TIFF_ERRORS:
            return None  # reading the image reports the error
        if not tags.keys() & {TIE_POINTS, MODEL_MATRIX} and (matrix := world_file(path)) is not None:
            tags[MODEL_MATRIX] = (TiffTags.DOUBLE, matrix)
        return cls(tags=tags) if tags.keys() & {*PLACE_TAGS, RPC} else None


def write_placed_label_map(
    path: Path,
    labels: UInt16[np.ndarray, "H W"],
    colors: UInt8[np.ndarray, "K 3"],
    words: Sequence[str],
    place: TiffPlace,
) -> None:
    """Write a label map as a GeoTIFF, atomically, as `segvoc.labeling.big_images` does.

    It has the values and colors of `segvoc.imaging.label_maps.label_map_image`, nodata for unlabeled pixels, and the
    words as JSON in the tag SEGVOC_WORDS.
    """
    image = label_map_image(labels, colors)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    # twice, as GDAL unescapes the text of an element once more
    names = f'<Item name="SEGVOC_WORDS">{escape(escape(json.dumps(list(words))))}</Item>'
    texts = {
        GDAL_NODATA: (TiffTags.ASCII, str(UNLABELED_8_BIT if image.mode == "P" else UNLABELED)),
        _GDAL_METADATA: (TiffTags.ASCII, f"<GDALMetadata>{names}</GDALMetadata>"),
    }
    for tag, (kind, value) in {**place.tags, **texts}.items():
        tags.tagtype[tag], tags[tag] = kind, value
    write_atomically(path, lambda file: image.save(file, "TIFF", compression="tiff_adobe_deflate", tiffinfo=tags))


STRIP_PIXELS = 16_000_000
"""Pixels per strip when reading an overview."""


class ArrayImage:
    """An image in memory, with all pixels valid, whose windows can be read, also from several threads."""

    def __init__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window, which lies inside the image."""
        return np.ascontiguousarray(self.pixels[rows, columns])

    def valid(self, rows: slice, columns: slice) -> None:
        """Which pixels of a window are valid; None: all."""

    def overview(self, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image downscaled by an integer factor (box filter) to at most `longest` pixels a side, read in strips."""
        factor = max(1, -(-max(self.height, self.width) // longest))
        rows = factor * max(1, STRIP_PIXELS // self.width // factor)
        strips = []
        for start in range(0, self.height, rows):
            strip = self.read(slice(start, min(start + rows, self.height)), slice(0, self.width))
            strips.append(np.asarray(Image.fromarray(strip).reduce(factor)) if factor > 1 else strip)
        return np.concatenate(strips)


class DecodedImage(ArrayImage):
    """An image of a format that can only be decoded as a whole, such as JPEG: 1 to 4 bytes per pixel stay in memory.

    See `segvoc.imaging.reading.read_image` for arguments and errors.
    """

    def __init__(
        self, path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, stretch: Stretch | None = None
    ) -> None:
        self._image = decode_whole(path, max_pixels=max_pixels, stretch=stretch)
        self.width, self.height = self._image.size

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window."""
        return rgb_window(self._image, rows, columns)


WindowedImage = ArrayImage | RasterImage
"""An image that is read by windows."""
