"""Label maps as PNG files, or as GeoTIFFs that lie where their image does."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import Integer, UInt8, UInt16
from PIL import Image, TiffImagePlugin, TiffTags

from segvoc.errors import InputError
from segvoc.imaging.image_formats import (
    GDAL_NODATA,
    MODEL_MATRIX,
    PLACE_TAGS,
    RPC,
    TIE_POINTS,
    TIFF_ERRORS,
    tiff_tags,
    world_file,
)
from segvoc.imaging.palette import UNLABELED_COLOR
from segvoc.imaging.rasters import is_raster
from segvoc.imaging.reading import opened_image, upright
from segvoc.storage.atomic_writes import write_atomically

UNLABELED = 65_535
"""The label of a pixel without a class; in an 8-bit label map it is 255."""

UNLABELED_8_BIT = 255
"""The value of an unlabeled pixel in an 8-bit label map."""


def write_label_map(
    path: str | os.PathLike[str], labels: UInt16[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]
) -> None:
    """Write a label map as PNG, atomically; see `label_map_image`."""
    image = label_map_image(labels, colors)
    write_atomically(path, lambda file: image.save(file, "PNG"))


def label_map_image(labels: UInt16[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]) -> Image.Image:
    """Convert a label map to an image for PNG; `ValueError` if a label is neither below K nor 65535 (`UNLABELED`).

    Up to 255 classes: an 8-bit palette image of these RGB colors, 255 is unlabeled and black (`UNLABELED_COLOR`); more:
    a 16-bit gray image, 65535 is unlabeled. In both, a pixel's value is the index of its class.
    """
    known = labels != UNLABELED
    if (highest := int(labels.max(where=known, initial=0))) >= len(colors) and known.any():
        raise ValueError(f"label {highest} has no color: there are {len(colors)} classes; give one color per class")
    if len(colors) > UNLABELED_8_BIT:
        return Image.fromarray(labels)
    # truncation to 8 bits turns 65535 into 255, as intended
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(label_palette(colors).tobytes())
    return image


def label_palette(colors: UInt8[np.ndarray, "K 3"]) -> UInt8[np.ndarray, "256 3"]:
    """The palette of an 8-bit label map of up to 255 classes."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[UNLABELED_8_BIT] = UNLABELED_COLOR
    return palette


def nearest(labels: Integer[np.ndarray, "H W"], size: tuple[int, int]) -> Integer[np.ndarray, "h w"]:
    """Resize a label map to (rows, columns) by nearest neighbor, at the center of each new pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def read_label_map(path: str | os.PathLike[str]) -> UInt16[np.ndarray, "H W"]:
    """Read a label map: 8-bit palette or gray with 255 as unlabeled, or 16-bit gray with 65535 as unlabeled.

    Three equal channels of 8 bits are a gray map.

    The EXIF orientation is applied, as to images.

    Returns:
        The index of each pixel's class; 65535 is unlabeled.

    Raises:
        InputError: the file can't be read, or isn't a palette or gray image.
    """
    with opened_image(path) as image:
        return labels_of(image, repr(os.fspath(path)))


def labels_of(image: Image.Image, name: str) -> UInt16[np.ndarray, "H W"]:
    """The labels in an opened image, as `read_label_map` returns them; `name` names it in errors."""
    values = np.array(upright(image))
    if image.mode == "1":
        return values.astype(np.uint16)
    if image.mode in ("P", "L"):
        labels = values.astype(np.uint16)
        labels[labels == UNLABELED_8_BIT] = UNLABELED
        return labels
    if image.mode.startswith("I;16"):
        return values.astype(np.uint16)
    if image.mode in ("RGB", "RGBA") and (values[..., :3] == values[..., :1]).all() and (values[..., 3:] == 255).all():
        return labels_of(Image.fromarray(values[..., 0]), name)
    raise InputError(f"{name} has the mode {image.mode}; a label map is a palette or gray PNG")


def label_table(labels: Mapping[int, int]) -> UInt16[np.ndarray, " N"]:
    """Lookup table from each of the 65,536 labels to its new label; unmapped labels become unlabeled."""
    table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
    table[list(labels)] = list(labels.values())
    return table


def object_counts(labels: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"]) -> dict[int, int]:
    """Number of objects (0: none) of each label that has objects; an object has a single label."""
    inside = (objects > 0) & (labels != UNLABELED)
    pairs = np.unique(labels[inside].astype(np.uint32) << 16 | objects[inside])
    distinct, counts = np.unique(pairs >> 16, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


# ---- label maps of georeferenced images

_PLACE = (*PLACE_TAGS, 33550, 34736, 34737, RPC)
"""Those, ModelPixelScale, the values of the keys of the coordinate system, and RPCCoefficients."""

_ORIENTATION, _GDAL_METADATA = 274, 42112


TiffTagValues = Mapping[int, tuple[int, Any]]
"""Type and value by tag number, as in Pillow."""


def place_of(path: str | os.PathLike[str]) -> TiffTagValues | None:
    """The georeferencing tags of an image file, or those that its world file (.tfw) stands for.

    None if the file isn't a TIFF, isn't georeferenced, can't be read, or has an orientation tag that reorders its
    pixels.
    """
    if not is_raster(path):
        return None
    try:
        with open(path, "rb") as file:
            directory = tiff_tags(file)
            if directory.get(_ORIENTATION, 1) != 1:
                return None
            tags = {tag: (directory.tagtype[tag], directory[tag]) for tag in _PLACE if tag in directory}
    except TIFF_ERRORS:
        return None  # reading the image reports the error
    if not tags.keys() & {TIE_POINTS, MODEL_MATRIX} and (matrix := world_file(path)) is not None:
        tags[MODEL_MATRIX] = (TiffTags.DOUBLE, matrix)
    return tags if tags.keys() & {*PLACE_TAGS, RPC} else None


def write_placed_label_map(
    path: Path,
    labels: UInt16[np.ndarray, "H W"],
    colors: UInt8[np.ndarray, "K 3"],
    words: Sequence[str],
    place: TiffTagValues,
) -> None:
    """Write a label map as a GeoTIFF, atomically, as `segvoc.labeling.big_images` does.

    It has the values and colors of `label_map_image`, nodata for unlabeled pixels, and the
    words as JSON in the tag SEGVOC_WORDS.
    """
    image = label_map_image(labels, colors)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    # twice, as GDAL unescapes the text of an element once more
    names = f'<Item name="SEGVOC_WORDS">{escape(escape(json.dumps(list(words))))}</Item>'
    texts = {
        GDAL_NODATA: (TiffTags.ASCII, str(UNLABELED_8_BIT if image.mode == "P" else UNLABELED)),
        _GDAL_METADATA: (TiffTags.ASCII, f"<GDALMetadata>{names}</GDALMetadata>"),
    }
    for tag, (kind, value) in {**place, **texts}.items():
        tags.tagtype[tag], tags[tag] = kind, value
    write_atomically(path, lambda file: image.save(file, "TIFF", compression="tiff_adobe_deflate", tiffinfo=tags))
