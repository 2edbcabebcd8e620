"""Images that are read by windows, to keep only parts in memory; whole and by windows they have the same pixels."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.decoding import as_rgb, decoded
from segvoc.imaging.image_formats import MAX_PIXELS, identified
from segvoc.imaging.pictures import Picture, orientation
from segvoc.imaging.rasters import RasterImage
from segvoc.imaging.reading import opened_picture
from segvoc.imaging.stretching import Stretch
from segvoc.imaging.tiff_tags import JP2_SUFFIXES, geo_header, is_raster

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

    Its windows are those of `read_image`, which documents arguments and errors; with `content`, the bytes of a file,
    `path` is only its name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_pixels: int = MAX_PIXELS,
        stretch: Stretch | None = None,
        colors: Colors = "srgb",
        *,
        content: bytes | None = None,
    ) -> None:
        how = {"max_pixels": max_pixels, "stretch": stretch, "colors": colors}
        with opened_picture(path, content, **how) as picture:
            self._image = decoded(picture)
        self.width, self.height = self._image.size

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window."""
        return as_rgb(self._image.crop((columns.start, rows.start, columns.stop, rows.stop)))


WindowedImage = ArrayImage | RasterImage
"""An image that is read by windows."""


def is_windowed(path: str | os.PathLike[str]) -> bool:
    """Whether a file can be read by windows (`RasterImage`) as `read_image` reads it; others are decoded as a whole.

    These are TIFFs, and JPEG 2000 with coordinates, but for photographs of at most `MAX_PIXELS` that are turned or
    transparent, or have other colors than red, green and blue.
    """
    if not is_raster(path) and Path(path).suffix.lower() not in JP2_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            if not is_raster(path):
                return geo_header(file) is not None
            picture = Picture(image=identified(file, os.fspath(path)), name="", file=file)
            is_decoded = picture.raster_use is None or orientation(picture.image) != 1
    except (InputError, OSError):
        return is_raster(path)  # reading it reports the error
    return not is_decoded or picture.image.width * picture.image.height > MAX_PIXELS
