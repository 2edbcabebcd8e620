"""Label maps of datasets: PNGs of indices or of colors, and cut-outs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import checked_size
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image


@dataclass(frozen=True, kw_only=True)
class IndexMap:
    """A palette or gray PNG of indices, or an RGB one of colors."""

    path: Path
    """The PNG."""
    labels: Mapping[int, int]
    """The label of each index; 65535 for those that are unlabeled."""
    colors: Mapping[tuple[int, int, int], int] | None = None
    """The label of each color, for an RGB image."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        with opened_image(self.path) as image:
            mode, values = image.mode, np.array(image)
        if mode == "RGB" and self.colors is not None:
            values = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
            labels = {red * 65536 + green * 256 + blue: label for (red, green, blue), label in self.colors.items()}
        elif mode in ("P", "L") or mode.startswith("I"):
            labels = self.labels
        else:
            raise ValueError(f"{self.path.name!r} is a {mode} image, which has no indices")
        checked_size(size, values.shape)
        found, inverse = np.unique(values, return_inverse=True)
        table = np.empty(len(found), np.uint16)
        for place, value in enumerate(found.tolist()):
            if value not in labels:
                what = f"the color #{value:06x}" if mode == "RGB" else f"the index {value}"
                raise ValueError(f"{self.path.name!r} has {what}, which no class has")
            table[place] = labels[value]
        return table[inverse].reshape(size)


@dataclass(frozen=True, kw_only=True)
class CutOuts:
    """RGBA images, one for each word, that are opaque where it is."""

    files: tuple[tuple[int, Path], ...]
    """The label and the file of each."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        labels = np.full(size, outside, np.uint16)
        for label, path in self.files:
            with opened_image(path) as image:
                if not image.has_transparency_data:
                    raise ValueError(f"{path.name!r} has no transparency")
                alpha = np.asarray(image.convert("RGBA").getchannel("A"))
            checked_size(size, alpha.shape)
            labels[alpha > 127] = label
        return labels


UNLABELED_INDEX = {255: UNLABELED}
"""The index that stands for "unlabeled" in maps of 8 bits."""
