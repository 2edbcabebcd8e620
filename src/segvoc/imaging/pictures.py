"""An image file whose header is read: its size, its orientation, and what it takes to decode it."""

import io
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import BinaryIO, Literal

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.image_formats import MAX_PIXELS, has_deep_colors
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
