"""Supported image formats, and detection of a file's format by its first bytes, whatever its name."""

import contextlib
import ctypes
import importlib
import io
import logging
import math
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import PIL
from PIL import ExifTags, Image, TiffImagePlugin

from segvoc.errors import ImageTooLargeError, InputError, UsageError, install_line

if TYPE_CHECKING:
    from segvoc.imaging.color_profiles import Colors
    from segvoc.imaging.rasters import Stretch

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

TIE_POINTS, MODEL_MATRIX, GEO_KEYS = 33922, 34264, 34735
PLACE_TAGS = (TIE_POINTS, MODEL_MATRIX, GEO_KEYS)
"""Tags that georeference a GeoTIFF (ModelTiepoint, ModelTransformation, GeoKeyDirectory)."""

RPC, GDAL_NODATA = 50844, 42113
"""Tags with RPCCoefficients, which georeference an image too, and with the value of pixels without one."""

_WEBP_IN_TIFF = 50001
_SIGNED, _EXTRA_BANDS = 2, 338
"""In the tag SampleFormat; the tag of bands beside the colors."""

MAX_THUMBNAILS = 32
"""Number of TIFF frames to check for thumbnails, pyramid levels and masks."""
_BYTE_COUNTS = (279, 325)
"""Tags with the sizes of the blocks of a TIFF, strips or tiles; blocks that GDAL leaves out have size 0."""


def check_size(width: int, height: int, name: str, max_pixels: int = MAX_PIXELS, more: str = "") -> None:
    """Refuse an image that has no pixels (`InputError`) or too many (`ImageTooLargeError`, which ends with `more`)."""
    if width < 1 or height < 1:
        raise InputError(f"{name} has no pixels ({width} x {height}); export it again")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(
            f"{name} is too large: {width} x {height} pixels; make it at most {max_pixels / 10**6:g} megapixels "
            f"and {MAX_SIDE} pixels a side{more}"
        )


def identified(
    file: BinaryIO | io.BytesIO,
    name: str,
    *,
    rgb: bool = False,
    stretch: "Stretch | None" = None,
    colors: "Colors" = "srgb",
) -> Image.Image:
    """Open an image of a supported format, reading only its header; `InputError` if it is none, or damaged.

    Replaces `Image.open`, whose size limit is lower than ours and can only be changed for the whole process. `name` is
    the image's in errors, such as a file name in quotes. `rgb` converts measurements to colors, by the
    stretch and the choice of colors.
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
            _quiet_libtiff()
        file.seek(0)
        try:
            image = factory(file, "")
        except Exception as error:
            _refuse_other_kinds(file, name)  # the first 128 bytes of DICOM may look like a TIFF
            if image_format == "TIFF" and isinstance(error, SyntaxError | KeyError):
                return _read_by_gdal(file, name, stretch, colors, error=error)
            raise damaged_image(name, image_format, error) from None
        tags = image.tag_v2 if image.format == "TIFF" else {}  # pyright: ignore[reportAttributeAccessIssue]
        if _is_misread(tags):
            return _read_by_gdal(file, name, stretch, colors)
        if rgb and (needs_gdal := _needs_gdal(image, file, stretch)) is not None:
            if needs_gdal or find_spec("rasterio") is not None:
                return _read_by_gdal(file, name, stretch, colors, image)
        return image
    _refuse_other_kinds(file, name)
    name = "the file" if name == "the image" else name
    raise InputError(f"{name} is not an image in a known format; convert it to JPEG or PNG")


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
def _quiet_libtiff() -> None:
    """Keep the libtiff of Pillow's wheel, if it is a separate library, from printing errors that Pillow raises."""
    for path in Path(PIL.__file__).parents[1].glob("pillow.libs/libtiff*"):
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


def _is_misread(tags: Mapping[int, Any]) -> bool:
    """Whether Pillow can't decode a TIFF, or mixes up its bytes.

    It can't decode WebP and omitted blocks, and mixes up bytes of uncompressed 16-bit planar TIFFs.
    """
    if tags.get(259) == _WEBP_IN_TIFF or any(0 in tags.get(tag, ()) for tag in _BYTE_COUNTS):
        return True
    return tags.get(284) == 2 and tags.get(259, 1) == 1 and max(tags.get(258, (1,))) > 8


def _needs_gdal(image: Image.Image, file: BinaryIO | io.BytesIO, stretch: "Stretch | None") -> bool | None:
    """Whether only rasterio reads an image as it is meant; False: Pillow does, if all else is missing; None: Pillow.

    rasterio reads TIFFs that hold more than the colors of a photograph: more than 8 bits, coordinates, masks, nodata,
    bands by their interpretation, or a range to stretch; coordinates and 16 bits in JPEG 2000; and colors of 16 bits.
    """
    if image.format == "PNG":
        deep = image.mode == "RGB" and ";16" in raw_mode(image) and "transparency" not in image.info
        return False if deep else None
    if image.format == "JPEG2000":
        if find_spec("rasterio") is None or image.width * image.height > MAX_PIXELS:
            return None
        try:
            image.load()
        except Exception:  # Pillow's decoders raise a dozen kinds of exceptions
            return True
        return False if geo_header(file) is not None or image.mode.startswith("I") else None
    if image.format != "TIFF":
        return None
    tags: Mapping[int, Any] = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    name, bits = getattr(file, "name", None), max(tags.get(258, (1,)))
    is_file = isinstance(name, str)
    is_placed = not tags.keys().isdisjoint((*PLACE_TAGS, RPC)) or (is_file and world_file(name) is not None)
    has_spare_band = image.mode == "RGBA" and _EXTRA_BANDS not in tags
    if stretch is not None or GDAL_NODATA in tags or (bits == 8 and _SIGNED in tags.get(339, ())):
        return True
    if has_spare_band or (is_placed and image.mode in ("LA", "La", "RGBA", "RGBa")):
        return True
    beside = is_file and any(os.path.exists(f"{name}{suffix}") for suffix in (".msk", ".aux.xml"))
    if tags.get(277, 1) > len(image.getbands()):
        return image.mode != "RGB"
    return False if bits > 8 or is_placed or beside or _has_mask(image) else None


def _has_mask(image: Image.Image) -> bool:
    """Whether a page of a TIFF is the mask of the first."""
    return any(kind & 4 for kind in page_kinds(image))


def page_kinds(image: Image.Image) -> Iterator[int]:
    """The kinds (NewSubfileType) of a TIFF's pages after the first: 1 a thumbnail, 4 a mask, else a page of its own."""
    try:
        # counting all would take hours for a malicious file
        for number in range(1, MAX_THUMBNAILS):
            is_mask = False
            try:
                image.seek(number)
            except (KeyError, SyntaxError):  # Pillow reads the tags of masks, and doesn't decode them
                is_mask = True
            kind = image.tag_v2.get(254, 0)  # pyright: ignore[reportAttributeAccessIssue]
            if is_mask and not kind & 4:
                return
            yield kind
    except Exception:  # the last page, or damage behind the first, which doesn't matter
        return
    finally:
        if image.tell():
            image.seek(0)


def raw_mode(image: Image.Image) -> str:
    """Pillow's name of the samples in the file, such as "RGB;16B", of an image that isn't decoded yet."""
    tiles: Any = getattr(image, "tile", ())
    args: Any = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


TIFF_ERRORS = (OSError, SyntaxError, ValueError, KeyError, TypeError, EOFError, struct.error, MemoryError)
"""What Pillow raises for damaged tags of TIFFs."""


def tiff_tags(file: BinaryIO | io.BytesIO) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of a TIFF, from its start; raises `TIFF_ERRORS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about truncated data
        header = file.read(8)
        if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF
            header += file.read(8)
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
    return directory


def world_file(path: str | os.PathLike[str]) -> tuple[float, ...] | None:
    """The 4 x 4 matrix from columns and rows to coordinates, by the six numbers of a world file."""
    for suffix in (".tfw", ".TFW", ".tifw", ".TIFW", ".tiffw", ".TIFFW", ".wld", ".WLD"):
        try:
            text = Path(path).with_suffix(suffix).read_bytes()[:1000].decode("ascii")
            numbers = [float(number) for number in text.replace(",", ".").split()]
        except (OSError, ValueError):
            continue
        if len(numbers) == 6 and all(map(math.isfinite, numbers)):
            x_of_column, y_of_column, x_of_row, y_of_row, x, y = numbers
            left, top = x - (x_of_column + x_of_row) / 2, y - (y_of_column + y_of_row) / 2  # from center to corner
            of_x, of_y = (x_of_column, x_of_row, 0.0, left), (y_of_column, y_of_row, 0.0, top)
            return (*of_x, *of_y, *(0.0,) * 7, 1.0)
    return None


def _read_by_gdal(
    file: BinaryIO | io.BytesIO,
    name: str,
    stretch: "Stretch | None",
    colors: "Colors",
    image: Image.Image | None = None,
    error: Exception | None = None,
) -> Image.Image:
    """The RGB of an image that Pillow doesn't read as it is meant, or can't read (`error`): five bands, LERC, ..."""
    from segvoc.imaging.rasters import RasterImage

    file.seek(0)
    try:
        turn = (tiff_tags(file) if image is None else image.getexif()).get(ExifTags.Base.Orientation, 1)
    except Exception:
        turn = 1
    file.seek(0)
    path = getattr(file, "name", None)
    try:
        # by its path, GDAL finds the files beside it
        source = path if isinstance(path, str) else file
        with RasterImage(source, name=name, stretch=stretch, colors=colors) as raster:
            check_size(raster.width, raster.height, name)
            read = Image.fromarray(raster.read(slice(0, raster.height), slice(0, raster.width)))
        read.getexif()[ExifTags.Base.Orientation] = turn
        return read
    except UsageError:
        raise InputError(
            f"{name} is a TIFF of an unusual kind, which needs rasterio: "
            f"{install_line('geo')}, or export it as 8-bit RGB"
        ) from None
    except ImageTooLargeError:
        raise
    except InputError:
        if error is None:
            raise
        raise damaged_image(name, "TIFF", error) from None


_GEO_JP2 = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
"""The identifier of the box of a JPEG 2000 file that holds a TIFF with the coordinates (GeoJP2)."""


def geo_header(file: BinaryIO | io.BytesIO) -> io.BytesIO | None:
    """The TIFF in a JPEG 2000 file that holds its coordinates; None without one."""
    file.seek(0)
    _, found, tiff = file.read(1 << 16).partition(_GEO_JP2)
    file.seek(0)
    return io.BytesIO(tiff) if found else None


def damaged_image(name: str, image_format: str, error: Exception) -> InputError:
    """The error for a file that starts like an image but can't be read because of `error`."""
    return InputError(
        f"{name}: damaged, truncated or unusual {image_format} data ({reason(error)}); "
        "copy it again, or export it again as PNG"
    )


def reason(error: Exception) -> str:
    """An exception's message on one line, without the errno of errors of the system and of FFmpeg."""
    if isinstance(inner := getattr(error, "reason", None), Exception):  # of urllib
        return reason(inner)
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
