"""The tags of TIFFs, and where images lie: by tags, by world files beside them, and in JPEG 2000."""

import io
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

TIE_POINTS, MODEL_MATRIX, GEO_KEYS = 33922, 34264, 34735
PLACE_TAGS = (TIE_POINTS, MODEL_MATRIX, GEO_KEYS)
"""Tags that georeference a GeoTIFF (ModelTiepoint, ModelTransformation, GeoKeyDirectory)."""

RPC, GDAL_NODATA = 50844, 42113
"""Tags with RPCCoefficients, which georeference an image too, and with the value of pixels without one."""

_PLACE = (*PLACE_TAGS, 33550, 34736, 34737, RPC)
"""Those, ModelPixelScale, the values of the keys of the coordinate system, and RPCCoefficients."""

MAX_THUMBNAILS = 32
"""Number of TIFF frames to check for thumbnails, pyramid levels and masks."""

TIFF_ERRORS = (OSError, SyntaxError, ValueError, KeyError, TypeError, EOFError, struct.error, MemoryError)
"""What Pillow raises for damaged tags of TIFFs."""


def tiff_tags(file: BinaryIO | io.BytesIO) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of a TIFF, from its start; raises `TIFF_ERRORS`."""
    file.seek(0)
    header = file.read(8)
    if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        header += file.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(directory.next)
    directory.load(file)
    return directory


def tags_of(image: Image.Image) -> Mapping[int, Any]:
    """The tags of an opened TIFF; none of other images."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def numbers(tags: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    """The numbers of a tag, such as one for each band; a single 1, the default of most, if it is missing or damaged."""
    values = tags.get(tag, 1)
    return tuple(value for value in np.atleast_1d(values).tolist() if isinstance(value, int)) or (1,)


class TagsOnly(Image.Image):
    """A TIFF that Pillow doesn't decode: five bands, LERC, ...; its header is that of Pillow's images."""

    format = "TIFF"

    def __init__(self, file: BinaryIO | io.BytesIO, problem: Exception) -> None:
        """Raises `TIFF_ERRORS` if it has no size."""
        super().__init__()
        self.tag_v2, self.problem = tiff_tags(file), problem
        self._mode, self._size = "RGB", (int(self.tag_v2[256]), int(self.tag_v2[257]))
        if 5 <= self.tag_v2.get(ExifTags.Base.Orientation, 1) <= 8:
            self._size = self._size[::-1]

    def getexif(self) -> Image.Exif:
        """Its orientation."""
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = self.tag_v2.get(ExifTags.Base.Orientation, 1)
        return exif

    def load(self) -> Any:
        """Raises why Pillow doesn't decode it."""
        raise self.problem


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
            kind = tags_of(image).get(254, 0)
            if is_mask and not kind & 4:
                return
            yield kind
    except Exception:  # the last page, or damage behind the first, which doesn't matter
        return
    finally:
        if image.tell():
            image.seek(0)


# ---- places

TiffTagValues = Mapping[int, tuple[int, Any]]
"""Type and value by tag number, as in Pillow."""

_GEO_JP2 = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
"""The identifier of the box of a JPEG 2000 file that holds a TIFF with the coordinates (GeoJP2)."""

JP2_SUFFIXES = (".jp2", ".j2k")


def geo_header(file: BinaryIO | io.BytesIO) -> io.BytesIO | None:
    """The TIFF in a JPEG 2000 file that holds its coordinates; None without one."""
    file.seek(0)
    _, found, tiff = file.read(1 << 16).partition(_GEO_JP2)
    file.seek(0)
    return io.BytesIO(tiff) if found else None


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


def is_raster(path: str | os.PathLike[str]) -> bool:
    """Whether a file is read by windows: its suffix is .tif or .tiff."""
    return os.path.splitext(os.fspath(path))[1].lower() in (".tif", ".tiff")


def place_of(path: str | os.PathLike[str]) -> TiffTagValues | None:
    """The georeferencing tags of an image file, or those that its world file (.tfw) stands for.

    None if the file is neither TIFF nor JPEG 2000, isn't georeferenced, can't be read, or has an orientation tag that
    reorders its pixels.
    """
    is_jp2 = Path(path).suffix.lower() in JP2_SUFFIXES
    if not is_raster(path) and not is_jp2:
        return None
    try:
        with open(path, "rb") as file:
            header = geo_header(file) if is_jp2 else file
            if header is None:
                return None
            directory = tiff_tags(header)
            if directory.get(ExifTags.Base.Orientation, 1) != 1:
                return None
            tags = {tag: (directory.tagtype[tag], directory[tag]) for tag in _PLACE if tag in directory}
    except TIFF_ERRORS:
        return None  # reading the image reports the error
    if not tags.keys() & {TIE_POINTS, MODEL_MATRIX} and (matrix := world_file(path)) is not None:
        tags[MODEL_MATRIX] = (TiffTags.DOUBLE, matrix)
    return tags if tags.keys() & {*PLACE_TAGS, RPC} else None
