"""Label maps of datasets: files of indices or of colors, and of the numbers of objects."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import checked_size
from segvoc.data.datasets.label_tables import LabelTable
from segvoc.imaging.label_maps import UNLABELED_8_BIT
from segvoc.imaging.reading import opened_image


class ObjectNumbers(NamedTuple):
    """How values of 16 bits have an index and an object's number: `factor` times the index plus the number."""

    factor: int
    things: frozenset[int]
    """The indices that have objects."""
    first: int = 0
    """The first number of an object."""

    def of(self, values: np.ndarray) -> np.ndarray:
        """What numbers each pixel's object, 0 for none."""
        if values.dtype == np.uint8:
            raise ValueError("the map of objects is not one of 16 bits")
        is_object = np.isin(values // self.factor, list(self.things)) & (values % self.factor >= self.first)
        return np.where(is_object, values.astype(np.int64) + 1, 0)


@dataclass(frozen=True, kw_only=True)
class MapFile:
    """A map of indices (gray or palette) or of colors, maybe with a map of objects."""

    path: Path
    table: LabelTable
    """What its values stand for."""
    objects_path: Path | None = None
    """The file with objects; None: there is none."""
    numbers: ObjectNumbers | None = None
    """What its values are; None: the objects' numbers, of which 255 is none in 8 bits."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        values, name = self._values(self.path), self.path.name
        if values.ndim == 3 and self.table.colors is None and (values == values[..., :1]).all():
            values = values[..., 0]  # indices, saved as gray of three channels
        checked_size(size, (values.shape[0], values.shape[1]))
        if values.ndim == 2:
            return looked_up(
                values, self.table.indices, lambda value: f"{name!r} has the index {value}, which no class has"
            )
        if self.table.colors is None:
            raise ValueError(f"{name!r} is of colors, for which the table of classes has none")

        def unknown(key: int) -> str:
            color = f"{key >> 16}, {key >> 8 & 255}, {key & 255} (#{key:06x})"
            return f"{name!r} has the color {color}, which no class has"

        return looked_up(values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32), self.table.colors, unknown)

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.objects_path is None:
            return None
        values = self._values(self.objects_path)
        if values.ndim != 2:
            raise ValueError(f"{self.objects_path.name!r} is of colors, which are no numbers of objects")
        checked_size(size, values.shape)
        if self.numbers is not None:
            values = self.numbers.of(values)
        elif values.dtype == np.uint8:
            values = np.where(values == UNLABELED_8_BIT, 0, values)
        found = np.zeros(size, np.uint16)
        found[values > 0] = np.unique(values[values > 0], return_inverse=True)[1] + 1
        return found

    def _values(self, path: Path) -> np.ndarray:
        """Values (H W) or colors (H W 3)."""
        with opened_image(path) as image:
            mode = image.mode
            values = np.array(image.convert("RGB") if mode == "P" and self.table.has_colors_alone else image)
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
