"""From an opened image to its pixels: three decoders, each of which says what it takes, and windows of what they give.

Every image is taken by exactly one of them, so their order doesn't matter.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.errors import FirstFrameWarning, InputError, SegvocError
from segvoc.imaging.color_profiles import to_srgb
from segvoc.imaging.image_formats import MAX_PIXELS, check_size, damaged_image, has_deep_colors, load
from segvoc.imaging.pictures import Picture, has_other_frames, orientation
from segvoc.imaging.rasters import decoded_raster
from segvoc.imaging.stretching import (
    NO_IMAGE,
    PERCENTILES,
    SAMPLE_SIDE,
    full_range,
    is_measured,
    reduced_size,
    stretched,
    warn_if_dark,
)

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


class Decoder(NamedTuple):
    """A way to decode images."""

    takes: Callable[[Picture], bool]
    decoded: Callable[[Picture], Image.Image]
    """The image as its file stores it, not turned, in an 8-bit mode that `as_rgb` converts window by window."""


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _decoded_grays(picture: Picture) -> Image.Image:
    """Grays of more than 8 bits that Pillow reads, scaled to [0, 255], rounded.

    16 bits hold [0, 65535]. 32-bit integers and floats are measurements, stretched by their percentiles, as
    `RasterImage` does; what is no measurement (NaN, -3.4e38) gets the color `NO_IMAGE`. A stretch overrides the range.
    """
    image = picture.image
    load(image)
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
    load(image)
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


DECODERS = (
    Decoder(lambda picture: picture.is_raster, decoded_raster),
    Decoder(lambda picture: _is_deep(picture.image) and not picture.is_raster, _decoded_grays),
    Decoder(lambda picture: not _is_deep(picture.image) and not picture.is_raster, _decoded_colors),
)


def decoded(picture: Picture) -> Image.Image:
    """The upright image, of which `as_rgb` converts any window as it converts the whole.

    Warns with `FirstFrameWarning` if the file has several frames or pages.
    """
    if picture.file is not None and has_other_frames(picture.image):
        several = "pages" if picture.image.format == "TIFF" else "frames"
        first = f"{picture.name} has several {several}, of which only the first is labeled"
        warnings.warn(f"{first}; save the others as separate images", FirstFrameWarning, stacklevel=4)
    drawn = next(decoder for decoder in DECODERS if decoder.takes(picture)).decoded(picture)
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


@contextlib.contextmanager
def damage_named(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS, if_larger: str = "") -> Iterator[None]:
    """Check the size, and convert Pillow's decoding errors to ours."""
    check_size(image.width, image.height, name, max_pixels, if_larger)
    try:
        yield
    except (SegvocError, Warning):  # Python may turn warnings into errors
        raise
    except MemoryError:
        raise InputError(
            f"{name} needs more memory than there is: {image.width} x {image.height} pixels; shrink it"
        ) from None
    except Exception as error:
        # Pillow's decoders raise a dozen kinds of exceptions on damaged data, from struct.error to AttributeError
        raise damaged_image(name, image.format or "image", error) from None
