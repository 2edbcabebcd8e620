"""An image file that is opened: its size, its orientation, what it takes to decode it, and what is wrong with it."""

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from segvoc.errors import InputError, SegvocError
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.image_formats import MAX_PIXELS, check_size, damaged_image, has_deep_colors, identified, reason
from segvoc.imaging.stretching import Stretch
from segvoc.imaging.tiff_tags import (
    GDAL_NODATA,
    PLACE_TAGS,
    RPC,
    TagsOnly,
    geo_header,
    numbers,
    page_kinds,
    tags_of,
    world_file,
)
from segvoc.runtime.suggestions import did_you_mean

_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA_BANDS, _SAMPLE_FORMAT = 258, 259, 262, 277, 284, 338, 339
_BYTE_COUNTS = (279, 325)
"""Tags with the sizes of the blocks of a TIFF, strips or tiles; blocks that GDAL leaves out have size 0."""

_WEBP, _SIGNED, _ALPHA, _OTHER_COLORS = 50001, 2, {1, 2}, {5, 6, 8, 9, 10}
"""Values of the tags Compression, SampleFormat, ExtraSamples and PhotometricInterpretation (inks, YCbCr and Lab)."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An opened image, whose pixels aren't decoded yet, and how they are wanted."""

    image: Image.Image
    """Pillow's, or `TagsOnly`."""
    name: str
    """The image's in errors, such as a file name in quotes."""
    file: BinaryIO | io.BytesIO | None = None
    """Its file; None: an image of Pillow that the caller opened."""
    stretch: Stretch | None = None
    colors: Colors = "srgb"

    @cached_property
    def raster_use(self) -> Literal["only", "rather", "alike"] | None:
        """Whether GDAL alone reads an image as it is meant, rather than Pillow, as Pillow does, or not (None).

        It reads TIFFs that hold more than the colors of a photograph: more than 8 bits, coordinates, masks, nodata,
        bands by their interpretation, or a range to stretch; coordinates and 16 bits in JPEG 2000; and colors of 16
        bits.
        """
        image, tags = self.image, tags_of(self.image)
        if self.file is None:
            return None
        if image.format in ("PNG", "PPM"):
            if not has_deep_colors(image) or (image.has_transparency_data and self.stretch is None):
                return None
            return "rather" if self.stretch is None else "only"
        if image.format == "JPEG2000":
            return self._raster_use_of_jp2()
        if image.format != "TIFF":
            return None
        bits = max(numbers(tags, _BITS))
        path = getattr(self.file, "name", None)
        is_file = isinstance(path, str)
        is_placed = not tags.keys().isdisjoint((*PLACE_TAGS, RPC)) or (is_file and world_file(path) is not None)
        has_more = GDAL_NODATA in tags or (bits == 8 and _SIGNED in numbers(tags, _SAMPLE_FORMAT))
        has_spare_band = image.mode == "RGBA" and _EXTRA_BANDS not in tags
        masks_by_alpha = is_placed and image.mode in ("LA", "La", "RGBA", "RGBa")
        if is_misread(image) or has_more or has_spare_band or masks_by_alpha or self.stretch is not None:
            return "only"
        if max(numbers(tags, _SAMPLES)) > len(image.getbands()):
            return "rather" if image.mode == "RGB" else "only"
        beside = is_file and any(os.path.exists(f"{path}{suffix}") for suffix in (".msk", ".aux.xml"))
        # without PhotometricInterpretation, 0 is white to Pillow
        if bits > 8 or is_placed or beside or _PHOTOMETRIC not in tags or any(kind & 4 for kind in page_kinds(image)):
            return "rather"
        has_alpha = _EXTRA_BANDS in tags and not _ALPHA.isdisjoint(numbers(tags, _EXTRA_BANDS))
        return None if has_alpha or not _OTHER_COLORS.isdisjoint(numbers(tags, _PHOTOMETRIC)) else "alike"

    def _raster_use_of_jp2(self) -> Literal["only", "rather"] | None:
        if find_spec("rasterio") is None or self.file is None:
            return None
        if geo_header(self.file) is not None or self.image.mode.startswith("I"):
            return "rather"
        if self.image.width * self.image.height > MAX_PIXELS:
            return None
        try:
            self.image.load()
        except Exception:  # Pillow's decoders raise a dozen kinds of exceptions
            return "only"
        return None

    @property
    def is_raster(self) -> bool:
        """Whether GDAL decodes the whole image."""
        return self.raster_use == "only" or (self.raster_use == "rather" and find_spec("rasterio") is not None)


def is_misread(image: Image.Image) -> bool:
    """Whether Pillow can't decode a TIFF (WebP, omitted blocks), or mixes up its bytes (plain 16-bit planes)."""
    tags = tags_of(image)
    compression, bits = numbers(tags, _COMPRESSION), max(numbers(tags, _BITS))
    if isinstance(image, TagsOnly) or compression == (_WEBP,) or any(0 in numbers(tags, tag) for tag in _BYTE_COUNTS):
        return True
    return numbers(tags, _PLANES) == (2,) and compression == (1,) and bits > 8


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


def orientation(image: Image.Image) -> int:
    """EXIF orientation of the image, from 1 (upright) to 8; that of TIFFs and of PNGs with a late eXIf once loaded."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # read the image even if its EXIF block is damaged
        return 1


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


# ---- files

MAX_PLAIN_BYTES = 2_000_000
"""Maximum size of a plain-text PPM in memory [bytes]: Pillow reads 1 MB/s."""

MAX_SCANS = 100
"""Maximum number of scans of a progressive JPEG in memory: encoders write a dozen, and each costs a full pass."""

_LARGER_WITH_TILES = "; with --tile, a TIFF may have any size, and --max-megapixels raises the limit of others"


_URL = re.compile(r"(https?|ftp|s3|gs|file|data):/{0,3}(?=[^/])", re.IGNORECASE)


@contextlib.contextmanager
def opened_picture(
    path: str | os.PathLike[str],
    content: bytes | None = None,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    stretch: Stretch | None = None,
    colors: Colors = "srgb",
) -> Iterator[Picture]:
    """Open an image file for a `with` block; checks format and size limits, and doesn't decode pixels yet.

    With `content`, the bytes of a file, `path` is only its name; `name` is the name in errors, by default the quoted
    path. Errors are those of `read_image`, also if decoding the pixels fails inside the block.
    """
    name, more = name or repr(os.fsdecode(path)), _LARGER_WITH_TILES if content is None else ""
    with _opened_file(os.fsdecode(path), name) if content is None else io.BytesIO(content) as file:
        image = identified(file, name)
        if content is not None:
            _refuse_slow(image, content, name)
        with damage_named(image, name, max_pixels, more):
            yield Picture(image=image, name=name, file=file, stretch=stretch, colors=colors)


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


def _refuse_slow(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse files whose decoding takes much longer than their size says."""
    if content[:2] in (b"P1", b"P2", b"P3") and len(content) > MAX_PLAIN_BYTES:
        raise InputError(f"{name} is a PPM of decimal numbers, {len(content)} bytes; save it as PNG or binary PPM")
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > MAX_SCANS:
        raise InputError(f"{name} is a JPEG of more than {MAX_SCANS} scans; export it again")


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


def web_address(path: str | os.PathLike[str]) -> str | None:
    """The web address if one is given in place of a path; None for a path."""
    url = _url_of(path)
    return url if url is not None and url.lower().startswith(("http://", "https://")) else None


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
