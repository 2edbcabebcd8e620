"""Label maps of datasets: PNGs of indices or of colors."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import checked_size
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT
from segvoc.imaging.reading import opened_image


@dataclass(frozen=True, kw_only=True)
class IndexMap:
    """A palette or gray PNG of indices, or an RGB one of colors."""

    path: Path
    """The PNG."""
    labels: Mapping[int, int]
    """The label of each index; 65535 for those that are unlabeled."""
    factor: int | None = None
    """From this value on, values are this times the index plus the number of an object; None: all are indices."""
    colors: Mapping[tuple[int, int, int], int] | None = None
    """The label of each color, for an RGB image."""
    instances: Path | None = None
    """The PNG with the numbers of objects; None: there is none."""
    first_instance: int = 1
    """From this value on, its values are objects; 255 is none in 8 bits."""

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.instances is None:
            return None
        with opened_image(self.instances) as image:
            mode, values = image.mode, np.array(image)
        if mode not in ("P", "L") and not mode.startswith("I"):
            raise ValueError(f"{self.instances.name!r} is a {mode} image, which has no numbers")
        checked_size(size, values.shape)
        none = values < self.first_instance
        if mode in ("P", "L"):
            none |= values == UNLABELED_8_BIT
        numbers = np.zeros(size, np.uint16)
        numbers[~none] = np.unique(values[~none], return_inverse=True)[1] + 1
        return numbers

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        with opened_image(self.path) as image:
            mode, values = image.mode, np.array(image)
        if mode == "RGB" and self.colors is not None:
            values = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
            labels = {red * 65536 + green * 256 + blue: label for (red, green, blue), label in self.colors.items()}
        elif mode in ("P", "L") or mode.startswith("I"):
            labels = self.labels
            if self.factor is not None:
                values = np.where(values >= self.factor, values // self.factor, values)
        else:
            raise ValueError(f"{self.path.name!r} is a {mode} image, which has no indices")
        checked_size(size, values.shape)
        what = "the color #{:06x}" if mode == "RGB" else "the index {}"
        return looked_up(
            values, labels, lambda value: f"{self.path.name!r} has {what.format(value)}, which no class has"
        )


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


UNLABELED_INDEX = {255: UNLABELED}
"""The index that stands for "unlabeled" in maps of 8 bits."""
