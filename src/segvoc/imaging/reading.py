"""Reading images: files, bytes, PIL images, arrays and tensors become upright 8-bit RGB, or a one-line error."""

import contextlib
import io
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from segvoc.errors import FirstFrameWarning, InputError, SegvocError, UsageError
from segvoc.imaging.color_profiles import Colors, to_srgb
from segvoc.imaging.image_formats import (
    GDAL_NODATA,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    PLACE_TAGS,
    RPC,
    TIFF_ERRORS,
    check_size,
    damaged_image,
    geo_header,
    identified,
    page_kinds,
    reason,
    tiff_tags,
    world_file,
)
from segvoc.imaging.rasters import (
    NO_IMAGE,
    PERCENTILES,
    SAMPLE_SIDE,
    RasterImage,
    Stretch,
    is_measured,
    is_raster,
    percentiles,
    reduced_size,
    stretched,
    warn_if_dark,
)
from segvoc.runtime.suggestions import did_you_mean
from segvoc.runtime.version import __version__

MAX_FETCHED = 500_000_000
"""Maximum size of an image at a URL [bytes]."""

FETCH_SECONDS = 30.0
"""Timeout of web servers [s]."""

STANDARD_INPUT = "-"
"""The path that stands for standard input, as in other commands."""

MAX_PLAIN_BYTES = 2_000_000
"""Maximum size of a plain-text PPM in memory [bytes]: Pillow reads 1 MB/s."""

MAX_SCANS = 100
"""Maximum number of scans of a progressive JPEG in memory: encoders write a dozen, and each costs a full pass."""

_LARGER_WITH_TILES = "; with --tile, a TIFF may have any size, and --max-megapixels raises the limit of others"

BACKGROUND = (255, 255, 255)
"""The color behind transparent pixels: white, as on a page or in an image viewer."""


@runtime_checkable
class BinaryFile(Protocol):
    """A file that is open for reading bytes, such as `open(path, "rb")` or `io.BytesIO(content)`."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; all, by default."""
        ...


@runtime_checkable
class ImageTensor(Protocol):
    """A PyTorch tensor, recognized by its members to avoid importing PyTorch."""

    def detach(self) -> Any:
        """The tensor without its gradient."""

    def cpu(self) -> Any:
        """The tensor in main memory."""


ImageSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | np.ndarray | ImageTensor
)
"""Accepted as an image: a path, the bytes of an image file, an open file, a PIL image, an (H, W, 3) uint8 RGB array, or
a (3, H, W) uint8 RGB PyTorch tensor."""

UNNAMED_BYTES, UNNAMED_IMAGE = "the bytes given as an image", "the PIL image"
"""Names in errors of an image given as bytes, or by Pillow."""

_URL = re.compile(r"(https?|ftp|s3|gs|file|data):/{0,3}(?=[^/])", re.IGNORECASE)

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


def read_image(
    source: ImageSource, stretch: Stretch | None = None, colors: Colors = "srgb"
) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as upright RGB in [0, 255].

    Applies the EXIF orientation, composites transparent images on white (`BACKGROUND`), scales 16-bit, 32-bit and float
    grays to 8 bits (`_measured_rgb`), and converts CMYK, Lab, YCbCr and palettes, and colors of an embedded profile
    (ICC) to sRGB. Reads the first frame or page of animations and documents. Checks the size limits (`MAX_PIXELS`,
    `MAX_SIDE`) before decoding any pixel. Thread-safe.

    Args:
        source: one of the following.
            A path.
            The bytes of an image file, or an open binary file, read from its start if seekable.
            A PIL image of any mode, loaded or not; of an animation, the current frame.
            An (H, W, 3) uint8 RGB array, which is copied.
            A (3, H, W) uint8 RGB PyTorch tensor, on any device.
        stretch: the values to map to black and white in grays of more than 8 bits; None: as in `_measured_rgb`.
        colors: "stored" keeps the numbers of 8-bit images, without their profile and alpha; arrays and tensors have
            neither. Grays of more than 8 bits, which Pillow would clip, and TIFFs with coordinates are read alike.

    Warns:
        FirstFrameWarning: a file has several frames or pages; only the first is read.
        ColorProfileWarning: a color profile is damaged, and ignored.

    Raises:
        InputError: the file is missing, unreadable, empty, not an image, damaged or too large.
        UsageError: the source is none of the above.
    """
    if isinstance(source, np.ndarray):
        return _checked_array(source)
    if isinstance(source, Image.Image):
        with _damage_named(source, UNNAMED_IMAGE):
            return _upright_rgb(source, stretch, UNNAMED_IMAGE, colors)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_image(bytes(source), UNNAMED_BYTES, stretch=stretch, colors=colors)
    if isinstance(source, str | os.PathLike):
        with opened_image(source, rgb=True, stretch=stretch, colors=colors) as image:
            name = repr(os.fsdecode(source))
            _warn_of_other_frames(image, name)
            return _upright_rgb(image, stretch, name, colors)
    if isinstance(source, BinaryFile):
        name = image_name(source)
        name = "the file given as an image" if name is None else repr(name)
        # the position of a file that was just written is at its end
        if getattr(source, "seekable", bool)():
            source.seek(0)  # pyright: ignore[reportAttributeAccessIssue]
        content = None if isinstance(source, io.TextIOBase) else source.read()
        if not isinstance(content, bytes):
            raise UsageError("the file given as an image is open for text; open it in binary mode: open(path, 'rb')")
        return decode_image(content, name, stretch=stretch, colors=colors)
    if isinstance(source, ImageTensor):
        return _from_tensor(source)
    raise UsageError(
        "expected a path, the bytes of a file, an open binary file, a PIL image, an (H, W, 3) uint8 array or a "
        f"(3, H, W) uint8 tensor, got {'None' if source is None else type(source).__name__}; {_object_fix(source)}"
    )


def _object_fix(source: object) -> str:
    """How to make an image of an object that is none."""
    if source is None:
        return "check the path: cv2.imread gives None for a file that it can't read"
    if isinstance(source, Iterator):
        return "give a list of images, or call segment_many"
    if isinstance(source, list):
        return "give numpy.array(pixels, numpy.uint8)"
    return "give its .image" if isinstance(getattr(source, "image", None), np.ndarray) else "convert it"


def read_given(
    source: ImageSource, stretch: Stretch | None = None, colors: Colors = "srgb"
) -> tuple[UInt8[np.ndarray, "H W 3"], bytes | None]:
    """Read an image named by the user: as `read_image`, or a URL (http or https), or "-" for standard input.

    Returns the pixels, and the file's bytes of what is no file: from a URL or standard input. For names from files, use
    `read_image`, so that no file can trigger a download.
    """
    name, content = image_name(source), None
    if isinstance(source, str | os.PathLike):
        if (url := web_address(source)) is not None:
            content = _fetched(url)
        elif os.fspath(source) == STANDARD_INPUT and not os.path.lexists(STANDARD_INPUT):
            if sys.stdin is None:
                raise InputError("standard input is closed; give the image's path")
            content = sys.stdin.buffer.read()
    if content is None:
        return read_image(source, stretch, colors), None
    shown = "standard input" if name == STANDARD_INPUT else repr(name)
    return decode_image(content, shown, stretch=stretch, colors=colors), content


def web_address(path: str | os.PathLike[str]) -> str | None:
    """The web address if one is given in place of a path; None for a path."""
    url = _url_of(path)
    return url if url is not None and url.lower().startswith(("http://", "https://")) else None


def _fetched(url: str) -> bytes:
    import urllib.request  # here, since it takes a moment to import
    from http.client import HTTPException
    from urllib.error import HTTPError

    request = urllib.request.Request(url, headers={"User-Agent": f"segvoc/{__version__}"})
    try:
        with urllib.request.urlopen(request, timeout=FETCH_SECONDS) as answer:
            content = answer.read(MAX_FETCHED + 1)
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise InputError(f"{url!r} can't be fetched ({reason(error)}); check the address") from None
    if len(content) > MAX_FETCHED:
        raise InputError(f"{url!r} has more than {MAX_FETCHED // 10**6} MB; download it and give its path")
    return content


def decode_image(
    content: bytes,
    name: str = "the image",
    *,
    max_pixels: int = MAX_PIXELS,
    stretch: Stretch | None = None,
    colors: Colors = "srgb",
) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image file in memory, like `read_image`; `name` names it in errors, such as a file name in quotes."""
    image = identified(io.BytesIO(content), name, rgb=True, stretch=stretch, colors=colors)
    _refuse_slow(image, content, name)
    with _damage_named(image, name, max_pixels):
        _warn_of_other_frames(image, name)
        return _upright_rgb(image, stretch, name, colors)


def _refuse_slow(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse files whose decoding takes much longer than their size says."""
    if content[:2] in (b"P1", b"P2", b"P3") and len(content) > MAX_PLAIN_BYTES:
        raise InputError(f"{name} is a PPM of decimal numbers, {len(content)} bytes; save it as PNG or binary PPM")
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > MAX_SCANS:
        raise InputError(f"{name} is a JPEG of more than {MAX_SCANS} scans; export it again")


def image_size(content: bytes, name: str = "the image", *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of an image file in memory [px], from its header, before the orientation is applied.

    `InputError` if the header is not an image's, or the image has too many pixels.
    """
    image = identified(io.BytesIO(content), name)
    check_size(image.width, image.height, name, max_pixels)
    return image.height, image.width


def image_name(source: ImageSource) -> str | None:
    """The path or URL of an image, as given, or the path of an open file; None for an image from memory."""
    if isinstance(source, str | os.PathLike):
        return web_address(source) or os.fsdecode(source)
    name = getattr(source, "name", None) if isinstance(source, BinaryFile) else None
    return name if isinstance(name, str) and os.path.isfile(name) else None


def file_name(path: str | os.PathLike[str]) -> str:
    """The file name of a path or address; that of an address ends in the suffix of an image."""
    if (url := web_address(path)) is None:
        return os.path.basename(os.fsdecode(path))
    name = os.path.basename(urlsplit(url).path)
    return name if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES else f"{name}.png"


def url_problem(path: str | os.PathLike[str]) -> str | None:
    """A one-line error for a URL in place of a path; None for a path."""
    url = _url_of(path)
    if url is None:
        return None
    fix = "give the path alone" if url.startswith("file:") else "download the image first, and give its path"
    shown = url if len(url) <= 200 else f"{url[:199]}…"
    return f"{shown!r} is a URL, which isn't fetched here; {fix}"


def _url_of(path: str | os.PathLike[str]) -> str | None:
    """The URL if one is given in place of a path, even if `pathlib.Path` removed a slash; None for a path."""
    name = os.fsdecode(path)
    scheme = _URL.match(name)
    if scheme is None or os.path.lexists(name):
        return None
    kind = scheme[1].lower()
    return f"{kind}:{'' if kind == 'data' else '///' if kind == 'file' else '//'}{name[scheme.end() :]}"


@contextlib.contextmanager
def opened_image(
    path: str | os.PathLike[str],
    *,
    content: bytes | None = None,
    max_pixels: int = MAX_PIXELS,
    rgb: bool = False,
    stretch: Stretch | None = None,
    colors: Colors = "srgb",
) -> Iterator[Image.Image]:
    """Open an image file for a `with` block; checks format and size limits, and doesn't decode pixels yet.

    With `content`, the bytes of a file, `path` is only its name. With `rgb`, convert to colors (`identified`). Errors
    are those of `read_image`, also if decoding the pixels fails inside the block.
    """
    name = repr(os.fsdecode(path))
    with _opened_file(os.fsdecode(path), name) if content is None else io.BytesIO(content) as file:
        image = identified(file, name, rgb=rgb, stretch=stretch, colors=colors)
        with _damage_named(image, name, max_pixels, _LARGER_WITH_TILES):
            yield image


def _opened_file(path: str, name: str) -> BinaryIO:
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise InputError(f"{name} is a folder, not an image; give the images in it")
        if not stat.S_ISREG(kind):
            # opening a named pipe would block forever
            raise InputError(f"{name} is a pipe or a device, not a file; save the image to a file first")
        return Path(path).open("rb")
    except FileNotFoundError:
        if problem := url_problem(path):
            raise InputError(problem) from None
        raise InputError(f"{name} does not exist{_path_meant(path)}") from None
    except PermissionError:
        raise InputError(f"{name} can't be read: permission denied; change its permissions (chmod +r)") from None
    except (OSError, ValueError) as error:
        if len(name) > _LONGEST_NAME:
            fix = "no path is so long; of base64, give the bytes, base64.b64decode(text)"
            raise InputError(f"{name[:40]}...{name[-20:]} can't be read: {fix}") from None
        raise InputError(f"{name} can't be read: {reason(error)}; check the path and the disk") from None


_LONGEST_NAME = 4096
"""Characters of the longest path of Linux."""


def _path_meant(path: str) -> str:
    """What to do about a path of no file, with a close name in its folder."""
    if path.startswith("~"):
        return f"; '~' isn't expanded here: give {os.path.expanduser(path)!r}"
    if set("*?[") & set(path):
        return "; patterns are for the command; in Python, give a list: glob.glob(pattern)"
    if path.lower().startswith("www."):
        return "; an address begins with https://"
    with contextlib.suppress(OSError):
        names = islice(os.listdir(os.path.dirname(path) or "."), 1000)
        if meant := did_you_mean(os.path.basename(path), names):
            return meant
    return "; check the path"


@contextlib.contextmanager
def _damage_named(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS, if_larger: str = "") -> Iterator[None]:
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


def _from_tensor(tensor: Any) -> UInt8[np.ndarray, "H W 3"]:
    shape = tuple(tensor.shape)
    if len(shape) != 3 or shape[0] != 3 or 0 in shape or str(tensor.dtype) != "torch.uint8":
        fix = "scale it to three bands of 8 bits: (255 * tensor).to(torch.uint8) if its values are from 0 to 1"
        if len(shape) == 4:
            fix = "give a batch as a list of images: list(tensor)"
        elif shape[-1:] == (3,):
            fix = "put the channels first: tensor.permute(2, 0, 1)"
        raise UsageError(f"expected a (3, H, W) uint8 RGB tensor, got {shape} {tensor.dtype}; {fix}")
    if shape[2] == 3:
        raise UsageError(
            f"a {shape} tensor may be (3, H, W) or (H, W, 3); give an (H, W, 3) array instead, for example "
            "tensor.permute(1, 2, 0).numpy()"
        )
    return _checked_array(tensor.detach().cpu().numpy().transpose(1, 2, 0))


def _warn_of_other_frames(image: Image.Image, name: str) -> None:
    if has_other_frames(image):
        kind = "page" if image.format == "TIFF" else "frame"
        warnings.warn(
            f"{name} has several {kind}s, of which only the first is labeled; save the others as separate images",
            FirstFrameWarning,
            stacklevel=4,
        )


def has_other_frames(image: Image.Image) -> bool:
    """Whether a file has further frames or pages that are images of their own."""
    # further images in a phone's JPEG (MPO) are previews, depth maps and the like; in a PSD, layers
    if image.format in ("MPO", "PSD"):
        return False
    try:
        if not getattr(image, "is_animated", False):
            return False
        return image.format != "TIFF" or any(not kind & 0b101 for kind in page_kinds(image))
    except Exception:
        # damage behind the first frame doesn't matter
        return False


def _checked_array(array: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise UsageError(f"expected an (H, W, 3) uint8 RGB array, got {array.shape} {array.dtype}; {_array_fix(array)}")
    check_size(array.shape[1], array.shape[0], "the array")
    return np.array(array, order="C")  # a copy: its owner may use the buffer again


def _array_fix(array: np.ndarray) -> str:
    """How to make an image of an array that is none."""
    if 0 in array.shape:
        return "it has no pixels"
    shape = array.shape
    if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        return "put the channels last: array.transpose(1, 2, 0)"
    if array.ndim == 4:
        return "take the image out of its batch: array[0]" if shape[0] == 1 else "give a list of images: list(array)"
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 2, 3, 4)):
        return "give three bands of it, as red, green and blue"
    if array.ndim == 3 and shape[2] == 1:
        return "drop the last axis, array[..., 0], and give PIL.Image.fromarray of that"
    if array.dtype == np.uint8 or (array.ndim == 2 and array.dtype in (np.uint16, np.int32, np.float32, np.bool_)):
        return "give PIL.Image.fromarray of it"
    if array.dtype == np.bool_ or (1 < array.max() <= 255 and array.min() >= 0):
        return f"convert it: {'255 * ' if array.dtype == np.bool_ else ''}array.astype(numpy.uint8)"
    if np.issubdtype(array.dtype, np.floating):
        return "scale it to 8 bits: (255 * array).astype(numpy.uint8) if its values are from 0 to 1"
    return "scale it to 8 bits, and convert it with astype(numpy.uint8)"


def _upright_rgb(image: Image.Image, stretch: Stretch | None, name: str, colors: Colors) -> UInt8[np.ndarray, "H W 3"]:
    return np.array(_to_rgb(_decoded(image, stretch, name, colors)))


def _decoded(image: Image.Image, stretch: Stretch | None, name: str, colors: Colors) -> Image.Image:
    """The upright image in a mode of which `_to_rgb` converts any window as it converts the whole."""
    image.load()
    if image.mode in ("P", "PA") and image.palette is None:
        # a PNG with a misplaced palette; with transparency, Pillow would make it all black
        raise ValueError("its palette is missing")
    if stretch is None and _is_16_bit(image):
        warn_if_dark(np.asarray(image))
    profile = image.info.get("icc_profile") if colors == "srgb" else None
    # their range depends on the whole image, or on its format
    if image.mode in ("F", "I") or (stretch is not None and image.mode.startswith("I")):
        return _turned(_measured_rgb(image, stretch), image)
    if colors == "stored" and not image.mode.startswith("I"):
        return _turned(_stored_rgb(image), image)
    if profile and image.mode.startswith("I"):
        return _turned(to_srgb(_measured_rgb(image, None).getchannel(0), profile, name), image)
    return _turned(to_srgb(image, profile, name), image)


def turned_array(values: Shaped[np.ndarray, "H W *C"], turn: int) -> Shaped[np.ndarray, "h w *C"]:
    """Apply an EXIF orientation to an array."""
    values = values.swapaxes(0, 1) if turn in (5, 6, 7, 8) else values
    values = values[:, ::-1] if turn in (2, 3, 6, 7) else values
    return values[::-1] if turn in (3, 4, 7, 8) else values


def _turned(drawn: Image.Image, image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of an image; that of TIFFs and of PNGs with a late eXIf is known after loading."""
    operation = _UPRIGHT.get(orientation(image))
    return drawn if operation is None else drawn.transpose(operation)


def upright_size(path: str | os.PathLike[str], content: bytes | None = None) -> tuple[int, int]:
    """Upright height and width of an image [px], from its header; the arguments and errors are `opened_image`'s."""
    with opened_image(path, content=content) as image:
        # Pillow's sizes of TIFFs are upright
        is_sideways = image.format != "TIFF" and 5 <= stored_orientation(image) <= 8
        return (image.width, image.height) if is_sideways else (image.height, image.width)


def stored_orientation(image: Image.Image) -> int:
    """The `orientation` of an image that isn't decoded yet, without decoding it."""
    may_hold_it = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
    # Pillow would decode a whole PNG to look for EXIF data after the pixels
    if isinstance(image, PngImageFile) and image.fp and not may_hold_it & image.info.keys():
        file, place, kinds = image.fp, image.fp.tell(), set[bytes]()
        file.seek(8)
        while len(head := file.read(8)) == 8:
            kinds.add(head[4:])
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        file.seek(place)
        if not kinds & {b"eXIf", b"iTXt"}:
            return 1
    return orientation(image)


def orientation(image: Image.Image) -> int:
    """EXIF orientation of the image, from 1 (upright) to 8."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # read the image even if its EXIF block is damaged
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _measured_rgb(image, None)
    image = _straight(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, BACKGROUND)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
        return rgb
    return image.convert("RGB")


def _stored_rgb(image: Image.Image) -> Image.Image:
    rgb = _straight(image).convert("RGB")
    rgb.info.pop("transparency", None)
    return rgb


def _straight(image: Image.Image) -> Image.Image:
    """The image without colors that are multiplied by alpha."""
    return image.convert(image.mode.upper()) if image.mode in ("La", "RGBa") else image


def _is_16_bit(image: Image.Image) -> bool:
    # Pillow's mode for a PGM of 16 bits
    return image.mode.startswith("I;") or (image.mode == "I" and image.format == "PPM")


def _measured_rgb(image: Image.Image, stretch: Stretch | None) -> Image.Image:
    """Scale grays of more than 8 bits to [0, 255], rounded.

    16-bit modes hold [0, 65535]. Other modes, of 32-bit integers and floats, are measurements, stretched by their
    percentiles, as `RasterImage` does; what is no measurement (NaN, -3.4e38) gets the color `NO_IMAGE`. A stretch
    overrides the range.
    """
    values = np.asarray(image)
    known = is_measured(values)
    limits = stretch or (Stretch(black=0.0, white=65535.0, percent=False) if _is_16_bit(image) else PERCENTILES)
    black, white = limits.black, limits.white
    if limits.percent:
        height, width = values.shape
        rows, columns = (
            ((np.arange(few) + 0.5) * every / few).astype(int)
            for few, every in zip(reduced_size(height, width, SAMPLE_SIDE), (height, width), strict=True)
        )
        sample = np.ix_(rows, columns)
        black, white = percentiles(values[sample], known[sample], limits)
    gray = stretched(values, np.array((black, white), np.float32))
    rgb = np.repeat(gray[..., None], 3, -1)
    rgb[~known] = NO_IMAGE
    if (level := image.info.get("transparency")) is not None and image.mode.startswith("I;"):
        rgb[values == level] = BACKGROUND
    return Image.fromarray(rgb)


# ---- images read by windows

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
        with opened_image(path, content=content, rgb=True, **how) as image:
            name = repr(os.fsdecode(path))
            if content is not None:
                _refuse_slow(image, content, name)
            _warn_of_other_frames(image, name)
            self._image = _decoded(image, stretch, name, colors)
        self.width, self.height = self._image.size

    def read(self, rows: slice, columns: slice) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a window."""
        return np.array(_to_rgb(self._image.crop((columns.start, rows.start, columns.stop, rows.stop))))


WindowedImage = ArrayImage | RasterImage
"""An image that is read by windows, to keep only parts in memory."""


def is_windowed(path: str | os.PathLike[str]) -> bool:
    """Whether a file can be read by windows (`RasterImage`) as `read_image` reads it; others are decoded as a whole.

    These are TIFFs, and JPEG 2000 with coordinates, but for photographs of at most `MAX_PIXELS` that are turned or
    transparent, or have other colors than red, green and blue.
    """
    try:
        with open(path, "rb") as file:
            if not is_raster(path):
                return Path(path).suffix.lower() in (".jp2", ".j2k") and geo_header(file) is not None
            tags = tiff_tags(file)
    except (*TIFF_ERRORS, AttributeError):
        return is_raster(path)  # reading it reports the error
    is_plain = max(tags.get(258, (1,))) <= 8 and tags.keys().isdisjoint((*PLACE_TAGS, RPC, GDAL_NODATA))
    has_alpha = not {1, 2}.isdisjoint(np.atleast_1d(tags.get(338, 0)).tolist())
    is_photo = is_plain and world_file(path) is None and (has_alpha or tags.get(262) in _OTHER_COLORS)
    is_decoded = is_photo or tags.get(ExifTags.Base.Orientation, 1) in _UPRIGHT
    return not is_decoded or tags.get(256, 0) * tags.get(257, 0) > MAX_PIXELS


_OTHER_COLORS = (5, 6, 8, 9, 10)
"""In the tag PhotometricInterpretation: inks, YCbCr and Lab."""
