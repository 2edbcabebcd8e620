"""Reading pictures: whatever a file or a PIL image holds becomes upright 8-bit RGB, or an error of one line."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from segvoc.errors import InputError, SegvocError, UsageError

MAX_PIXELS = 200_000_000
"""Largest picture that is read [pixels]: it takes 0.6 GB as RGB, and the largest phone cameras (200 Mpx) still fit."""

MAX_SIDE = 65_535
"""Longest side that is read [pixels]; JPEG can't hold a longer one either."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "HEIF")
"""Pillow's names of the formats that are read. A short list on purpose: Pillow's others include ones that start
programs (EPS) or have no signature (TGA). HEIF works where the caller has registered `pillow_heif`."""

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .tif .tiff .gif .bmp .dib .ppm .pgm .pbm .pnm .jp2 .j2k .jpx "
    ".heic .heif".split()
)
"""File suffixes (lower case) by which pictures are found in a folder."""

BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid on: white, as a page or a picture viewer shows them."""

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray
"""What can be given as a picture; an array is (H, W, 3) uint8 RGB."""

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


def read_image(source: ImageSource) -> UInt8[np.ndarray, "H W 3"]:
    """Read a picture as upright RGB in [0, 255].

    The first frame of an animation is taken, the EXIF orientation is applied, transparency is laid on white
    (`BACKGROUND`), greys of 16 bits, 32 bits and floats are scaled to 8 bits (`_grey_to_8_bit`), and CMYK, Lab, YCbCr
    and palettes are converted; colour profiles are not applied. Size limits (`MAX_PIXELS`, `MAX_SIDE`) are checked
    before any pixel is decoded. Safe to call from several threads at once.

    Args:
        source: a path, a PIL image (of any mode, also one that is not loaded yet), or an (H, W, 3) uint8 array, which
            is returned as it is (copied only if it is read-only or not contiguous).

    Raises:
        InputError: the file is missing, unreadable, empty, not a picture, damaged or too large.
        UsageError: the source is no path, no PIL image and no such array.
    """
    if isinstance(source, np.ndarray):
        return _checked_array(source)
    if isinstance(source, Image.Image):
        with _damage_named(source, "the PIL image"):
            return _upright_rgb(source)
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            f"a picture is a path, a PIL image or an (H, W, 3) uint8 array, not a {type(source).__name__}; convert it"
        )
    with opened_image(source) as image:
        return _upright_rgb(image)


def decode_image(content: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Read a picture that is in memory, as `read_image` reads a file; `name` is what errors call it.

    Raises:
        InputError: see `read_image`.
    """
    image = _identified(io.BytesIO(content), repr(name))
    with _damage_named(image, repr(name)):
        return _upright_rgb(image)


@contextlib.contextmanager
def opened_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open a picture file for a `with` block: of a known format, within the size limits, pixels not decoded yet.

    Raises:
        InputError: see `read_image`; also for what goes wrong in the block while the pixels are decoded.
    """
    name = repr(os.fsdecode(path))
    with _opened_file(os.fsdecode(path), name) as file:
        image = _identified(file, name)
        with _damage_named(image, name):
            yield image


def _opened_file(path: str, name: str) -> BinaryIO:
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise InputError(f"{name} is a folder, not a picture; name the pictures in it")
        if not stat.S_ISREG(kind):
            # Opening a named pipe would wait for ever.
            raise InputError(f"{name} is a pipe or a device, not a file; save the picture to a file first")
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError(f"{name} does not exist; check the path") from None
    except PermissionError:
        raise InputError(f"{name} can't be read: permission denied; change its permissions (chmod +r)") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} can't be read: {_one_line(error)}; check the path and the disk") from None


@contextlib.contextmanager
def _damage_named(image: Image.Image, name: str) -> Iterator[None]:
    """Check the size, then turn what Pillow raises while it decodes into errors of ours."""
    _check_size(image.width, image.height, name)
    try:
        yield
    except SegvocError:
        raise
    except MemoryError:
        raise InputError(f"{name} needs more memory than there is: {image.width} x {image.height}; shrink it") from None
    except Exception as error:
        # Pillow's decoders raise a dozen kinds of exceptions on damaged data, from struct.error to AttributeError.
        raise _damaged(name, image.format or "picture", error) from None


def _checked_array(array: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise UsageError(
            f"an array is a picture if it is (H, W, 3) uint8 RGB, not {array.shape} {array.dtype}; convert it first, "
            "for example through PIL.Image.fromarray, which takes greys and alpha too"
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    return np.require(array, requirements=("C", "W"))


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise InputError(f"{name} has no pixels ({width} x {height}); export it again")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InputError(
            f"{name} is too large: {width} x {height} pixels; make it at most {MAX_PIXELS // 10**6} megapixels "
            f"and {MAX_SIDE} pixels a side"
        )


def _identified(file: BinaryIO | io.BytesIO, name: str) -> Image.Image:
    """Read the header alone.

    `Image.open` would do, but it applies Pillow's own limit, which is lower than ours (also as a warning) and can only
    be moved for the whole process.
    """
    prefix = file.read(16)
    if not prefix:
        raise InputError(f"{name} is empty (0 bytes); copy or download it again")
    Image.init()
    for picture_format in IMAGE_FORMATS:
        factory, accept = Image.OPEN.get(picture_format, (None, None))
        if factory is None or accept is None or accept(prefix.ljust(16, b"\0")) is not True:
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except Exception as error:
            raise _damaged(name, picture_format, error) from None
    if prefix[4:8] == b"ftyp" and prefix[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis"):
        raise InputError(f"{name} is a HEIC picture, which can't be read; convert it to JPEG")
    raise InputError(f"{name} is not a picture of a known format; convert it to JPEG or PNG")


def _upright_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    image.load()
    rgb = _to_rgb(image)
    # TIFF and late eXIf chunks tell their orientation only after loading.
    operation = _UPRIGHT.get(_orientation(image))
    return np.array(rgb if operation is None else rgb.transpose(operation))


def _damaged(name: str, picture_format: str, error: Exception) -> InputError:
    return InputError(
        f"{name}: damaged, truncated or unusual {picture_format} data ({_one_line(error)}); "
        "copy it again, or export it anew as PNG or JPEG"
    )


def _one_line(error: Exception) -> str:
    """What an exception says, on one line; the errno in front of system errors says nothing to people."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # A damaged EXIF block must not cost the picture.
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey_to_8_bit(image).convert("RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, BACKGROUND)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
        return rgb
    return image.convert("RGB")


def _grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale greys of more than 8 bits to [0, 255], rounded.

    16-bit modes hold [0, 65535]. Mode I (32-bit integers) and F (floats) don't tell their range; it is taken as the
    smallest usual one that holds all values: [0, 1] (F only), [0, 255] or [0, 65535]; with values outside all of them,
    it is from the smaller of 0 and the minimum to the maximum. NaN and infinities are black.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;"):
        darkest, white = 0.0, 65535.0
        level = image.info.get("transparency")
        transparent = None if level is None else values == level
        values = values.astype(np.float32)
    else:
        finite = np.isfinite(values)
        values = values.astype(np.float32)
        darkest = float(values.min(where=finite, initial=0.0))
        brightest = float(values.max(where=finite, initial=darkest))
        usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((limit for limit in usual if darkest >= 0 and brightest <= limit), brightest)
        values = np.where(finite, values, darkest)
        transparent = None
    scale = 255 / (white - darkest) if white > darkest else 0.0
    grey = np.rint((values - darkest) * scale).astype(np.uint8)
    if transparent is not None:
        grey[transparent] = BACKGROUND[0]
    return Image.fromarray(grey)
