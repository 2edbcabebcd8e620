"""Supported image formats, and detection of a file's format by its first bytes, whatever its name."""

import contextlib
import ctypes
import importlib
import io
import logging
import math
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import PIL
from PIL import Image

from segvoc.errors import ImageTooLargeError, InputError, install_line
from segvoc.imaging.tiff_tags import TIFF_ERRORS, TagsOnly

MAX_PIXELS = 200_000_000
"""Maximum number of pixels of an image: 0.6 GB as RGB; covers the largest phone cameras (200 Mpx)."""

MAX_SIDE = 65_535
"""Maximum side of an image [px], which is also JPEG's limit."""

IMAGE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "HEIF", "JXL"),
    *("PSD", "DDS", "QOI", "ICO", "SGI", "PCX", "DIB", "TGA"),
)
"""Pillow's names of the supported formats, in the order of trial. Other Pillow formats are excluded on purpose: some
run programs (EPS, WMF), hold no image, or are all but extinct."""

logging.getLogger("PIL").addHandler(logging.NullHandler())
"""Silences Pillow's log, which our errors repeat; without a handler, Python prints it."""

_ABOUT_TAGS = "Tag (data|offset)|Corrupt EXIF|Metadata Warning|Truncated File Read"
warnings.filterwarnings("ignore", _ABOUT_TAGS, UserWarning, r"PIL\.TiffImagePlugin")
# once, since undoing it after each image would let Python repeat all other warnings, and isn't safe in threads

_TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")
"""TGA has no signature, so it is detected by suffix only."""

IMAGE_SUFFIXES = frozenset(_TGA_SUFFIXES).union(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .avifs .tif .tiff .gif .bmp .dib .ppm .pgm .pbm .pnm .jp2 .j2k "
    ".jpx .jpf .j2c .jpc .heic .heif .hif .jxl .psd .dds .qoi .ico .sgi .pcx".split()
)
"""File suffixes (lower case) of images in a folder."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf"),
    *(".flv", ".ogv", ".3gp", ".3g2", ".mxf", ".y4m"),
)
"""File suffixes (lower case) of videos."""

DICOM_SUFFIXES = (".dcm", ".dicom")
"""File suffixes of medical images, which aren't supported."""

DICOM_EXPORT = "export it as an 8-bit PNG, with the window to look through"
"""How to convert them, for errors."""

_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
"""How a bare codestream and a container begin (ISO/IEC 18181-2)."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_EITHER_BRANDS = {b"mif1", b"msf1"}
"""Generic brands of both formats, whose specific brand is among the compatible brands that follow."""


def check_size(width: int, height: int, name: str, max_pixels: int = MAX_PIXELS, more: str = "") -> None:
    """Refuse an image that has no pixels (`InputError`) or too many (`ImageTooLargeError`, which ends with `more`)."""
    if width < 1 or height < 1:
        raise InputError(f"{name} has no pixels ({width} x {height}); export it again")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(
            f"{name} is too large: {width} x {height} pixels; make it at most {max_pixels / 10**6:g} megapixels "
            f"and {MAX_SIDE} pixels a side{more}"
        )


def identified(file: BinaryIO | io.BytesIO, name: str) -> Image.Image:
    """Open an image of a supported format, reading only its header; `InputError` if it is none, or damaged.

    `name` is the image's in errors, such as a file name in quotes. TIFFs that Pillow doesn't decode are `TagsOnly`.
    """
    prefix = file.read(64)
    if not prefix:
        raise InputError(f"{name} is empty (0 bytes); copy or download it again")
    Image.init()
    _add_plugin(prefix, name)
    for image_format in IMAGE_FORMATS:
        factory, accept = Image.OPEN.get(image_format, (None, None))
        if factory is None or not _is_accepted(image_format, accept, prefix, name):
            continue
        if image_format == "TIFF":
            quiet_libtiff("pillow")
        file.seek(0)
        try:
            try:
                return factory(file, "")
            except Image.DecompressionBombError:
                file.seek(0)
                with _without_pillows_limit():
                    return factory(file, "")
        except Exception as error:
            _refuse_other_kinds(file, name)  # the first 128 bytes of DICOM may look like a TIFF
            if image_format == "TIFF" and isinstance(error, SyntaxError | KeyError):
                with contextlib.suppress(*TIFF_ERRORS):
                    return TagsOnly(file, error)
            raise damaged_image(name, image_format, error) from None
    _refuse_other_kinds(file, name)
    name = "the file" if name == "the image" else name
    raise InputError(f"{name} is not an image in a known format; convert it to JPEG or PNG")


_LIMIT = threading.RLock()


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Let Pillow read more than its `MAX_IMAGE_PIXELS`, a setting of the process, which is lower than `MAX_PIXELS`."""
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def load_pixels(image: Image.Image) -> None:
    """Decode an opened image, whose size was checked (`check_size`)."""
    is_large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf)
    with _without_pillows_limit() if is_large else contextlib.nullcontext():
        image.load()


def _refuse_other_kinds(file: BinaryIO | io.BytesIO, name: str) -> None:
    """Raise an error for a DICOM file, by its signature or, since old files have none, its name; and for a video."""
    file.seek(0)
    lower = name.rstrip("'\"").lower()
    if file.read(132)[128:] == b"DICM" or lower.endswith(DICOM_SUFFIXES):
        raise InputError(f"{name} is a DICOM file, which isn't supported; {DICOM_EXPORT}")
    if lower.endswith(VIDEO_SUFFIXES):
        how = f"segvoc.label_video(model, {name}, words), or `segvoc segment` with --words"
        raise InputError(f"{name} is a video, not an image; label it by {how}")


@cache
def quiet_libtiff(package: str) -> None:
    """Keep the libtiff of a wheel, Pillow's or rasterio's, from printing errors that are raised, too."""
    for path in Path(PIL.__file__).parents[1].glob(f"{package}.libs/libtiff*"):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            library.TIFFSetErrorHandler(None)
            library.TIFFSetErrorHandlerExt(None)


def _is_accepted(image_format: str, accept: Callable[[bytes], object] | None, prefix: bytes, name: str) -> bool:
    if image_format == "AVIF" and _is_heif(prefix):
        return False
    if image_format == "TGA":
        return name.rstrip("'\"").lower().endswith(_TGA_SUFFIXES)
    return accept is not None and accept(prefix[:16].ljust(16, b"\0")) is True


def _add_plugin(prefix: bytes, name: str) -> None:
    """Register Pillow's plugin for a HEIC or JPEG XL file; raise an error if it isn't installed."""
    if prefix.startswith(_JPEG_XL) and "JXL" not in Image.OPEN:
        try:
            importlib.import_module("pillow_jxl")
        except ImportError:
            fix = "pip install pillow-jxl-plugin, or use JPEG"
            raise InputError(f"{name} is a JPEG XL image, which needs a plugin: {fix}") from None
    if not _is_heif(prefix) or "HEIF" in Image.OPEN:
        return
    for package in ("pi_heif", "pillow_heif"):
        with contextlib.suppress(ImportError):
            importlib.import_module(package).register_heif_opener()
            return
    raise InputError(f"{name} is a HEIC image, which needs pi-heif: {install_line('data')}, or use JPEG")


def _is_heif(prefix: bytes) -> bool:
    """Whether a file is HEIC, by the brands at its start."""
    if prefix[4:8] != b"ftyp":
        return False
    major, end = prefix[8:12], min(int.from_bytes(prefix[:4], "big"), len(prefix))
    compatible = {prefix[at : at + 4] for at in range(16, end, 4)}
    return major in _HEIF_BRANDS or (major in _EITHER_BRANDS and not compatible & _AVIF_BRANDS)


def damaged_image(name: str, image_format: str, error: Exception) -> InputError:
    """The error for a file that starts like an image but can't be read because of `error`."""
    return InputError(
        f"{name}: damaged, truncated or unusual {image_format} data ({reason(error)}); "
        "copy it again, or export it again as PNG"
    )


def raw_mode(image: Image.Image) -> str:
    """Pillow's name of the samples in the file, such as "RGB;16B", of an image that isn't decoded yet."""
    tiles: Any = getattr(image, "tile", ())
    args: Any = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def has_deep_colors(image: Image.Image) -> bool:
    """Whether an image that isn't decoded yet has colors, or grays with alpha, of 16 bits, which Pillow cuts to 8."""
    if image.format == "PPM":
        tiles: Any = getattr(image, "tile", ())
        return image.mode == "RGB" and any(tile.args[-1] == 65_535 for tile in tiles)
    return image.mode in ("RGB", "RGBA", "LA") and ";16" in raw_mode(image)


def reason(error: Exception) -> str:
    """An exception's message on one line, without the errno of errors of the system and of FFmpeg."""
    if isinstance(inner := getattr(error, "reason", None), Exception):  # of urllib
        return reason(inner)
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    if isinstance(error, (struct.error, KeyError, AssertionError)) or _OF_PYTHON.search(text):
        return "its values don't fit together"
    return text or type(error).__name__


_OF_PYTHON = re.compile(
    "^(unpack|invalid literal|could not convert|(string |list |tuple )?index out of range)|object (is|has)|instances of"
)
"""Messages of decoders about Python's values, not about the image's."""
