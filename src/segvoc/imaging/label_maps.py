"""Label maps as PNG files, or as GeoTIFFs that lie where their image does."""

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import Bool, Integer, Shaped, UInt8, UInt16
from PIL import Image, TiffImagePlugin, TiffTags

from segvoc.errors import InputError
from segvoc.imaging.image_formats import check_size, has_deep_colors, load_pixels, raw_mode
from segvoc.imaging.palette import UNLABELED_COLOR
from segvoc.imaging.pictures import has_other_frames, is_misread, orientation
from segvoc.imaging.rasters import opened_raster
from segvoc.imaging.reading import opened_image
from segvoc.imaging.tiff_tags import GDAL_NODATA, TiffTagValues, numbers, tags_of
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import digest_of
from segvoc.vocabulary.files import ClassRow, shown_color

UNLABELED = 65_535
"""The label of a pixel without a class; in an 8-bit label map it is 255."""

UNLABELED_8_BIT = 255
"""The value of an unlabeled pixel in an 8-bit label map."""

UNLABELED_NAME = "unlabeled"
"""What tables call such pixels."""

MUCH_UNLABELED = 1 / 3
"""Share of unlabeled pixels from which labeled images may show more than their classes."""


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


# ---- the meaning of stored values


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """The classes of label maps and the meaning of their values."""

    names: tuple[str, ...]
    """The class names in label order, without void classes."""
    indices: Mapping[int, int]
    """The label of each index; 65535 if unlabeled."""
    colors: Mapping[int, int] | None = None
    """The label of each color (0xRRGGBB); None if the table has no colors."""
    has_indices: bool = True
    """Whether the table has explicit indices: if it has colors alone, gray and palette images are read as colors."""

    @classmethod
    def of(cls, names: Mapping[int, str], unlabeled: Iterable[int] = ()) -> "LabelTable":
        """The table of names by index; other indices are unlabeled: 255 and 65535, unless they have a name."""
        labels = dict.fromkeys((*unlabeled, UNLABELED_8_BIT, UNLABELED), UNLABELED)
        return cls(names=tuple(names.values()), indices=labels | {index: label for label, index in enumerate(names)})

    @classmethod
    def of_rows(cls, rows: Sequence[ClassRow]) -> "LabelTable":
        """The table of a file of classes; classes of the same name are one."""
        names = tuple(dict.fromkeys(row.name for row in rows if not row.is_void))
        labels = [UNLABELED if row.is_void else names.index(row.name) for row in rows]
        values = [order if row.value is None else row.value for order, row in enumerate(rows)]
        colors = {row.color: label for row, label in zip(rows, labels, strict=True) if row.color is not None}
        return cls(
            names=names,
            indices={UNLABELED_8_BIT: UNLABELED, UNLABELED: UNLABELED} | dict(zip(values, labels, strict=True)),
            colors=colors or None,
            has_indices=not colors or rows[0].value is not None,
        )

    @cached_property
    def digest(self) -> str:
        """Equal for equal tables."""
        return digest_of(self)


def looked_up(
    values: Integer[np.ndarray, "H W"], labels: Mapping[int, int], problem: Callable[[int], str]
) -> UInt16[np.ndarray, "H W"]:
    """Look up the label of each value of a map, or raise an `InputError` with the problem of a value without one."""
    distinct, inverse = np.unique(values, return_inverse=True)
    if unknown := [value for value in distinct.tolist() if value not in labels]:
        raise InputError(problem(unknown[0]))
    return np.array([labels[value] for value in distinct.tolist()], np.uint16)[inverse].reshape(values.shape)


class StoredMap(NamedTuple):
    """The values of a label map as they are stored, upright."""

    values: Shaped[np.ndarray, "H W *C"]
    """Integers, or colors (H W 3)."""
    palette: UInt8[np.ndarray, "N 3"] | None = None
    """The color of each value of a palette image."""
    is_hidden: Bool[np.ndarray, "H W"] | None = None
    """Where the image is transparent."""

    def labels(self, table: LabelTable | None, name: str) -> UInt16[np.ndarray, "H W"]:
        """The labels; without a table, the values themselves (see `read_label_map`)."""
        values = self.values
        if values.ndim == 3 and (table is None or table.colors is None):
            if (values != values[..., :1]).any():
                if table is None:
                    raise InputError(f"{name} has the mode RGB; a label map is a palette or gray PNG")
                fix = "save indices, or give the classes colors"
                raise InputError(f"{name} is a color mask, but the class table has no colors; {fix}")
            values = values[..., 0]
        labels = self._plain(values, name) if table is None else self._by_table(values, table, name)
        return labels if self.is_hidden is None else np.where(self.is_hidden, np.uint16(UNLABELED), labels)

    def _plain(self, values: Integer[np.ndarray, "H W"], name: str) -> UInt16[np.ndarray, "H W"]:
        if values.dtype != np.uint8 and values.size and not 0 <= values.min() <= values.max() <= UNLABELED:
            wrong = values.min() if values.min() < 0 else values.max()
            raise InputError(f"{name} has the value {wrong}; labels are from 0 to {UNLABELED - 1}, {UNLABELED} is none")
        labels = values.astype(np.uint16)
        if values.dtype == np.uint8:
            labels[labels == UNLABELED_8_BIT] = UNLABELED
        return labels

    def _by_table(self, values: Integer[np.ndarray, "H W *C"], table: LabelTable, name: str) -> np.ndarray:
        colors, keys = table.colors, None
        if colors is not None:
            if values.ndim == 3:
                keys = values.astype(np.uint32) @ _KEY
            elif self.palette is not None:
                keys = (self.palette.astype(np.uint32) @ _KEY)[values]
            elif not table.has_indices and values.dtype == np.uint8:
                keys = values * np.uint32(0x010101)
        is_color = values.ndim == 3 or (self.palette is not None and not table.has_indices)
        if colors is not None and keys is not None and (is_color or colors.keys() >= set(np.unique(keys).tolist())):
            fix = "add it to the class table"
            return looked_up(keys, colors, lambda key: f"{name} has the undefined color {shown_color(key)}; {fix}")
        return looked_up(
            values,
            table.indices,
            lambda value: f"{name} has the undefined index {value}; the classes are {_shown(table.indices)}: add it",
        )


_KEY = np.array([65536, 256, 1], np.uint32)


def _shown(indices: Mapping[int, int]) -> str:
    known = sorted(index for index, label in indices.items() if label != UNLABELED)
    return f"{known[0]} to {known[-1]}" if len(known) > 8 else ", ".join(map(str, known))


# ---- reading


def read_label_map(
    path: str | os.PathLike[str], table: LabelTable | None = None, *, content: bytes | None = None
) -> UInt16[np.ndarray, "H W"]:
    """Read a label map: a palette or gray image, or an array (.npy), of whole numbers of any type.

    Three equal channels are a gray map. The EXIF orientation is applied, as to images.

    Args:
        path: the file.
        table: the meaning of values and colors. None: a value is the index of its class, 255 is unlabeled in up to 8
            bits, and 65535 in more. In a table with colors, RGB images and palettes in these colors are read by color,
            and where it has colors alone, so are gray images in them. Transparent pixels are unlabeled.
        content: the bytes of the file; `path` is then only its name.

    Returns:
        The index of each pixel's class; 65535 is unlabeled.

    Raises:
        InputError: the file can't be read, has other values, or is in colors that the table lacks.
    """
    return stored_map(path, content).labels(table, repr(os.fspath(path)))


def labels_of(image: Image.Image, name: str) -> UInt16[np.ndarray, "H W"]:
    """The labels in an opened image, as `read_label_map` returns them; `name` names it in errors."""
    return _stored_in(image, name).labels(None, name)


def stored_map(path: str | os.PathLike[str], content: bytes | None = None) -> StoredMap:
    """Read the values of a map of any kind; errors are those of `read_label_map`."""
    name = repr(os.fspath(path))
    if Path(path).suffix.lower() == ".npy" and content is None:
        return StoredMap(_whole(_array(path, name), name))
    with opened_image(path, content=content) as image:
        if has_other_frames(image):
            raise InputError(f"{name} has several pages or frames; save the label map as one image")
        if image.format in ("JPEG", "MPO"):
            raise InputError(f"{name} is a JPEG, which changes values; save the label map as PNG")
        if not is_misread(image) and not _is_narrowed(image):
            return _stored_in(image, name)
        turn = orientation(image)
        driver = {"PNG": "PNG", "PPM": "PNM"}.get(image.format or "", "GTiff")
    return _stored_by_gdal(path if content is None else io.BytesIO(content), name, driver, turn)


def _array(path: str | os.PathLike[str], name: str) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)  # which checks the size of the file
    except FileNotFoundError:
        raise InputError(f"{name} does not exist; check the path") from None
    except Exception:  # of the header, which NumPy parses as Python
        raise InputError(f"{name} is damaged, or no array of numbers; save it with numpy.save") from None
    if not isinstance(values, np.ndarray) or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3))):
        raise InputError(f"{name} is no array of rows and columns; save one label map with numpy.save")
    check_size(values.shape[1], values.shape[0], name)
    return np.array(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)


def _is_narrowed(image: Image.Image) -> bool:
    """Whether Pillow would change the values: signed bytes, colors of more than 8 bits, or large integers."""
    if image.format == "TIFF":
        bits, kind = max(numbers(tags_of(image), 258)), max(numbers(tags_of(image), 339))
        is_color = image.mode not in ("1", "P", "L", "F") and not image.mode.startswith("I")
        return (bits == 8 and kind == _SIGNED) or (bits > 8 and is_color) or (bits > 16 and kind != _FLOAT)
    return has_deep_colors(image)


_SIGNED, _FLOAT, _INVERTED = 2, 3, 0
"""In the tags SampleFormat and PhotometricInterpretation."""


def _stored_in(image: Image.Image, name: str) -> StoredMap:
    tags = tags_of(image)
    if tags.get(262) == _INVERTED and tags.get(258) != (1,):
        raise InputError(f"{name} stores white as 0 (MinIsWhite); save it with black as 0 (MinIsBlack)")
    raw, mode = raw_mode(image), image.mode
    load_pixels(image)
    values, turn = np.asarray(image), orientation(image)
    palette = hidden = None
    if image.has_transparency_data:
        level = image.info.get("transparency")
        hidden = values == level if mode[0] == "I" else np.asarray(image.convert("RGBA"))[..., 3] == 0
        hidden = _turned(hidden, turn) if hidden.any() else None
    if mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        values = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    if mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette = np.concatenate((palette, np.zeros((256 - len(palette), 3), np.uint8)))
    elif narrow := re.match("L;([24])", raw):  # which Pillow scales to 8 bits
        values = values // (255 // ((1 << int(narrow[1])) - 1))
    elif mode not in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa", "F") and not mode.startswith("I"):
        raise InputError(f"{name} has the mode {mode}: neither indices nor colors; save it as a palette or gray PNG")
    return StoredMap(_turned(_whole(values, name), turn), palette, hidden)


def _stored_by_gdal(file: str | os.PathLike[str] | io.BytesIO, name: str, driver: str, turn: int) -> StoredMap:
    """The values that Pillow doesn't read, or would change."""
    with opened_raster(file, name, driver) as dataset:
        if dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
            raise InputError(f"{name} stores white as 0 (MinIsWhite); save it with black as 0 (MinIsBlack)")
        if len(dataset.subdatasets) > 1 or dataset.count not in ((1, 2, 3, 4) if driver == "PNG" else (1, 3, 4)):
            what = f"{dataset.count} bands" if len(dataset.subdatasets) < 2 else "several pages"
            raise InputError(f"{name} has {what}; save the label map as one image of one band")
        bands = np.moveaxis(dataset.read(), 0, -1)
    values, hidden = _whole(bands[..., 0] if bands.shape[2] < 3 else bands[..., :3], name), None
    if bands.shape[2] in (2, 4):
        hidden = _turned(bands[..., -1] == 0, turn)
    if values.ndim == 3:
        if values.dtype != np.uint8 and (values != values[..., :1]).any():
            if values.dtype != np.uint16 or (values % 257).any():
                raise InputError(f"{name} has colors of more than 8 bits; save it as 8-bit RGB")
            values = (values // 257).astype(np.uint8)
    return StoredMap(_turned(values, turn), is_hidden=hidden)


def _turned(values: Shaped[np.ndarray, "H W *C"], turn: int) -> Shaped[np.ndarray, "h w *C"]:
    """Apply an EXIF orientation to an array."""
    values = values.swapaxes(0, 1) if turn in (5, 6, 7, 8) else values
    values = values[:, ::-1] if turn in (2, 3, 6, 7) else values
    return values[::-1] if turn in (3, 4, 7, 8) else values


def _whole(values: Shaped[np.ndarray, "*shape"], name: str) -> Integer[np.ndarray, "*shape"]:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        if (wrong := values[~(np.abs(values) <= UNLABELED) | (values % 1 != 0)]).size:
            raise InputError(f"{name} has the value {wrong.flat[0]:g}; labels are whole numbers from 0 to {UNLABELED}")
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise InputError(f"{name} has values of the type {values.dtype}; labels are whole numbers")
    return values


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

_GDAL_METADATA = 42112


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
