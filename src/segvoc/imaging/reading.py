"""Reading images: files, bytes, PIL images, arrays and tensors become upright 8-bit RGB, or a one-line error."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.errors import InputError, UsageError
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.decoding import as_rgb, decoded
from segvoc.imaging.image_formats import IMAGE_SUFFIXES, MAX_PIXELS, check_size, identified, reason
from segvoc.imaging.pictures import Picture, damage_named, opened_picture, stored_orientation, web_address
from segvoc.imaging.stretching import Stretch
from segvoc.runtime.version import __version__

MAX_FETCHED = 500_000_000
"""Maximum size of an image at a URL [bytes]."""

FETCH_SECONDS = 30.0
"""Timeout of web servers [s]."""

STANDARD_INPUT = "-"
"""The path that stands for standard input, as in other commands."""


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


def read_image(
    source: ImageSource, stretch: Stretch | None = None, colors: Colors = "srgb"
) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as upright RGB in [0, 255].

    Applies the EXIF orientation, composites transparent images on white (`BACKGROUND`), scales 16-bit, 32-bit and float
    grays to 8 bits (`decoding.py`), and converts CMYK, Lab, YCbCr and palettes, and colors of an embedded profile
    (ICC) to sRGB. Reads the first frame or page of animations and documents. Checks the size limits (`MAX_PIXELS`,
    `MAX_SIDE`) before decoding any pixel. Thread-safe.

    Args:
        source: one of the following.
            A path.
            The bytes of an image file, or an open binary file, read from its start if seekable.
            A PIL image of any mode, loaded or not; of an animation, the current frame.
            An (H, W, 3) uint8 RGB array, which is copied.
            A (3, H, W) uint8 RGB PyTorch tensor, on any device.
        stretch: the values to map to black and white in grays of more than 8 bits; None: their range, or percentiles.
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
        with damage_named(source, UNNAMED_IMAGE):
            return as_rgb(decoded(Picture(image=source, name=UNNAMED_IMAGE, stretch=stretch, colors=colors)))
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_image(bytes(source), UNNAMED_BYTES, stretch=stretch, colors=colors)
    if isinstance(source, str | os.PathLike):
        with opened_picture(source, stretch=stretch, colors=colors) as picture:
            return as_rgb(decoded(picture))
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
    how = {"max_pixels": max_pixels, "stretch": stretch, "colors": colors}
    with opened_picture("", content, name=name, **how) as picture:
        return as_rgb(decoded(picture))


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


@contextlib.contextmanager
def opened_image(
    path: str | os.PathLike[str], *, content: bytes | None = None, rgb: bool = False
) -> Iterator[Image.Image]:
    """Open an image file as Pillow does, see `opened_picture`; with `rgb`, those that GDAL decodes are decoded."""
    with opened_picture(path, content) as picture:
        yield decoded(picture) if rgb and picture.is_raster else picture.image


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


def upright_size(path: str | os.PathLike[str], content: bytes | None = None) -> tuple[int, int]:
    """Upright height and width of an image [px], from its header; the arguments and errors are `opened_image`'s."""
    with opened_image(path, content=content) as image:
        # Pillow's sizes of TIFFs are upright
        is_sideways = image.format != "TIFF" and 5 <= stored_orientation(image) <= 8
        return (image.width, image.height) if is_sideways else (image.height, image.width)
