"""Images that are read by windows, so that only parts of them are in memory in the form that networks take."""

import os
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from segvoc.imaging.image_formats import MAX_PIXELS
from segvoc.imaging.reading import decode_whole, rgb_window

STRIP_PIXELS = 16_000_000
"""Pixels of a strip that are read at once to make an overview."""


@runtime_checkable
class WindowedImage(Protocol):
    """An image of which any window can be read, also from several threads."""

    @property
    def height(self) -> int:
        """Height [px]."""
        ...

    @property
    def width(self) -> int:
        """Width [px]."""
        ...

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window, which lies inside the image.

        Raises:
            InputError: the file is damaged.
        """
        ...

    def valid(self, rows: slice, columns: slice) -> Bool[np.ndarray, "h w"] | None:
        """Which pixels of a window hold an image; None: all of them.

        Raises:
            InputError: the file is damaged.
        """
        ...

    def overview(self, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image, reduced so that its longer side has at most `longest` pixels.

        Raises:
            InputError: the file is damaged.
        """
        ...


class ArrayImage:
    """An image in memory, all of whose pixels hold an image."""

    def __init__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window."""
        return np.ascontiguousarray(self.pixels[rows, columns])

    def valid(self, rows: slice, columns: slice) -> None:
        """All pixels hold an image."""

    def overview(self, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        """The reduced image."""
        return reduced(self, longest)


class DecodedImage(ArrayImage):
    """An image of a format that can only be decoded as a whole, such as JPEG: 1 to 4 bytes per pixel stay in memory.

    Args:
        path: the file.
        max_pixels: most pixels that it may have.

    Raises:
        InputError: see `segvoc.imaging.reading.read_image`.
    """

    def __init__(self, path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> None:
        self._image = decode_whole(path, max_pixels=max_pixels)
        self.width, self.height = self._image.size

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window."""
        return rgb_window(self._image, rows, columns)


def reduced(image: WindowedImage, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """An image reduced by a whole factor (means of squares of pixels), read in strips.

    Args:
        image: the image.
        longest: most pixels of the result's longer side.
    """
    factor = max(1, -(-max(image.height, image.width) // longest))
    rows = factor * max(1, STRIP_PIXELS // image.width // factor)
    strips = []
    for start in range(0, image.height, rows):
        strip = image.read(slice(start, min(start + rows, image.height)), slice(0, image.width))
        strips.append(np.asarray(Image.fromarray(strip).reduce(factor)) if factor > 1 else strip)
    return np.concatenate(strips)
