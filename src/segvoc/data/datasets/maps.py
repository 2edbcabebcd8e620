"""Label maps of datasets: files of indices or of colors, and of the numbers of objects."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import ExifTags, ImageOps

from segvoc.data.datasets.annotated_images import checked_size
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT
from segvoc.imaging.reading import opened_image


def numbers_of_map(values: np.ndarray) -> np.ndarray:
    """The numbers of objects as they are; 255 is none in 8 bits."""
    return np.where(values == UNLABELED_8_BIT, 0, values) if values.dtype == np.uint8 else values


@dataclass(frozen=True, kw_only=True)
class MapFile:
    """A map of indices (gray or palette) or of colors, maybe with a map of objects."""

    path: Path
    """The file."""
    labels: Mapping[int, int]
    """The label of each index; 65535 for those that are unlabeled."""
    colors: Mapping[int, int] | None = None
    """The label of each color, 0xRRGGBB."""
    palette_is_colors: bool = False
    """Whether a palette image is one of colors, whatever its indices are."""
    read: Callable[[Path], np.ndarray] | None = None
    """Reads the values of a file that is no plain image."""
    index: Callable[[np.ndarray], np.ndarray] | None = None
    """From the values to indices, if they aren't indices."""
    objects_path: Path | None = None
    """The file with objects; None: there is none."""
    numbers: Callable[[np.ndarray], np.ndarray] = numbers_of_map
    """From its values to what numbers each pixel's object, 0 for none."""
    only_things: bool = False
    """Whether numbers of stuff are no objects."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        values, name = self._values(self.path), self.path.name
        if self.index is not None:
            values = self.index(values)
        elif values.ndim == 3 and self.colors is None and (values == values[..., :1]).all():
            values = values[..., 0]  # indices, saved as gray of three channels
        checked_size(size, (values.shape[0], values.shape[1]))
        if values.ndim == 2:
            return looked_up(values, self.labels, lambda value: f"{name!r} has the index {value}, which no class has")
        if self.colors is None:
            raise ValueError(f"{name!r} is of colors, for which the table of classes has none")
        keys = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)

        def unknown(key: int) -> str:
            color = f"{key >> 16}, {key >> 8 & 255}, {key & 255} (#{key:06x})"
            return f"{name!r} has the color {color}, which no class has"

        return looked_up(keys, self.colors, unknown)

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.objects_path is None:
            return None
        numbers = self.numbers(self._values(self.objects_path))
        if numbers.ndim != 2:
            raise ValueError(f"{self.objects_path.name!r} is of colors, which are no numbers of objects")
        checked_size(size, numbers.shape)
        found = np.zeros(size, np.uint16)
        is_object = numbers > 0
        if self.only_things:
            is_object &= ~np.isin(self.draw(size, UNLABELED), [*stuff, UNLABELED])
        found[is_object] = np.unique(numbers[is_object], return_inverse=True)[1] + 1
        return found

    def _values(self, path: Path) -> np.ndarray:
        """Values (H W) or colors (H W 3)."""
        if self.read is not None:
            return self.read(path)
        with opened_image(path) as image:
            mode = image.mode
            values = np.array(image.convert("RGB") if mode == "P" and self.palette_is_colors else image)
        if mode == "1":
            return values.astype(np.uint8)
        if mode == "RGBA" and (values[..., 3] == 255).all():
            return values[..., :3]
        if mode not in ("P", "L", "RGB") and not mode.startswith("I"):
            raise ValueError(f"{path.name!r} is a {mode} image, neither of indices nor of colors")
        return values


def looked_up(
    values: np.ndarray, labels: Mapping[int, int], problem: Callable[[int], str]
) -> UInt16[np.ndarray, "H W"]:
    """The label of each value of a map.

    Raises:
        ValueError: a value has none; `problem` says so.
    """
    found, inverse = np.unique(values, return_inverse=True)
    if unknown := [value for value in found.tolist() if value not in labels]:
        raise ValueError(problem(unknown[0]))
    return np.array([labels[value] for value in found.tolist()], np.uint16)[inverse].reshape(values.shape)


# ---- values that have both an index and the number of an object


def index_times(values: np.ndarray, factor: int) -> np.ndarray:
    """The index, where values are `factor` times it plus a number."""
    if values.dtype == np.uint8 or values.ndim != 2:
        raise ValueError("the map of objects is not one of 16 bits")
    return values // factor


def index_or_times(values: np.ndarray, factor: int) -> np.ndarray:
    """The same where values below the factor are indices without an object."""
    return np.where(values < factor, values, values // factor)


def numbers_of_things(values: np.ndarray, factor: int, things: frozenset[int], first: int = 0) -> np.ndarray:
    """What numbers the objects of things; their numbers begin with `first`."""
    is_object = np.isin(index_times(values, factor), list(things)) & (values % factor >= first)
    return np.where(is_object, values.astype(np.int64) + 1, 0)


def ade_pixels(path: Path, photo: Path) -> np.ndarray:
    """The colors of a map of the full ADE20K, which fits the stored pixels of a photograph, whatever its EXIF says."""
    with opened_image(photo) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    with opened_image(path) as image:
        if image.mode != "RGB":
            raise ValueError(f"{path.name!r} is a {image.mode} image, not RGB")
        image.getexif()[ExifTags.Base.Orientation] = orientation
        return np.array(ImageOps.exif_transpose(image))


def ade_index(pixels: np.ndarray) -> np.ndarray:
    """The id of the class: red / 10 * 256 + green."""
    return pixels[..., 0].astype(np.uint16) // 10 * 256 + pixels[..., 1]


def ade_numbers(pixels: np.ndarray) -> np.ndarray:
    """The number of the object: blue."""
    return pixels[..., 2]
