"""From an opened image to its pixels: rasters, deep grays, and all else; and windows of these."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.errors import FirstFrameWarning, InputError
from segvoc.imaging.color_profiles import Colors, to_srgb
from segvoc.imaging.image_formats import MAX_PIXELS, has_deep_colors, identified, load_pixels
from segvoc.imaging.pictures import Picture, has_other_frames, opened_picture, orientation
from segvoc.imaging.rasters import RasterImage, decoded_raster
from segvoc.imaging.stretching import (
    NO_IMAGE,
    PERCENTILES,
    SAMPLE_SIDE,
    Stretch,
    full_range,
    is_measured,
    reduced_size,
    stretched,
    warn_if_dark,
)
from segvoc.imaging.tiff_tags import JP2_SUFFIXES, TIFF_ERRORS, geo_header, is_raster

BACKGROUND = (255, 255, 255)
"""The color behind transparent pixels: white, as on a page or in an image viewer."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the operation that undoes it (EXIF 2.32, tag 0x0112)."""


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _decoded_grays(picture: Picture) -> Image.Image:
    """Grays of more than 8 bits that Pillow reads, scaled to [0, 255], rounded.

    16 bits hold [0, 65535]. 32-bit integers and floats are measurements, stretched by their percentiles, as
    `RasterImage` does; what is no measurement (NaN, -3.4e38) gets the color `NO_IMAGE`. A stretch overrides the range.
    """
    image = picture.image
    load_pixels(image)
    values = np.asarray(image)
    # Pillow's mode for a PGM of 16 bits is I
    is_16_bit = image.mode.startswith("I;") or (image.mode == "I" and image.format == "PPM")
    if picture.stretch is None and is_16_bit:
        warn_if_dark(values)
    stretch = picture.stretch or (full_range(16) if is_16_bit else PERCENTILES)
    height, width = values.shape
    pairs = zip((height, width), reduced_size(height, width, SAMPLE_SIDE), strict=True)
    sample = np.ix_(*(((np.arange(few) + 0.5) * every / few).astype(int) for every, few in pairs))
    gray = Image.fromarray(stretched(values, stretch.limits(values[sample][None])[0]))
    profile = image.info.get("icc_profile")
    if profile and picture.colors == "srgb" and picture.stretch is None and image.mode.startswith("I;"):
        gray = to_srgb(gray, profile, picture.name)
    rgb, level = np.array(gray.convert("RGB")), image.info.get("transparency")
    rgb[~is_measured(values)] = NO_IMAGE
    if level is not None and image.mode.startswith("I;"):
        rgb[values == level] = BACKGROUND
    return Image.fromarray(rgb)


def _decoded_colors(picture: Picture) -> Image.Image:
    """Colors and grays of up to 8 bits that Pillow reads, in sRGB or as they are stored."""
    image, is_deep = picture.image, has_deep_colors(picture.image)
    load_pixels(image)
    if is_deep:
        warn_if_dark(np.asarray(image)[..., :3].astype(np.uint16) << 8 | 255)
    if image.mode in ("P", "PA") and image.palette is None:
        # a PNG with a misplaced palette; with transparency, Pillow would make it all black
        raise ValueError("its palette is missing")
    if picture.colors == "srgb":
        return to_srgb(image, image.info.get("icc_profile"), picture.name)
    rgb = _straight(image).convert("RGB")
    rgb.info.pop("transparency", None)
    return rgb


def decoded(picture: Picture) -> Image.Image:
    """The upright image, of which `as_rgb` converts any window as it converts the whole.

    Warns with `FirstFrameWarning` if the file has several frames or pages.
    """
    if picture.file is not None and has_other_frames(picture.image):
        several = "pages" if picture.image.format == "TIFF" else "frames"
        first = f"{picture.name} has several {several}, of which only the first is labeled"
        warnings.warn(f"{first}; save the others as separate images", FirstFrameWarning, stacklevel=4)
    if picture.is_raster:
        drawn = decoded_raster(picture)
    else:
        drawn = _decoded_grays(picture) if _is_deep(picture.image) else _decoded_colors(picture)
    operation = _UPRIGHT.get(orientation(picture.image))
    return drawn if operation is None else drawn.transpose(operation)


def as_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """The RGB of an 8-bit image of any mode, on `BACKGROUND` where it is transparent."""
    image = _straight(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, BACKGROUND)
        image.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(image.convert("RGB"))


def _straight(image: Image.Image) -> Image.Image:
    """The image without colors that are multiplied by alpha."""
    return image.convert(image.mode.upper()) if image.mode in ("La", "RGBa") else image


# ---- images read by windows, to keep only parts in memory

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
    except (InputError, *TIFF_ERRORS):
        return is_raster(path)  # reading it reports the error
    return not is_decoded or picture.image.width * picture.image.height > MAX_PIXELS
