"""Protocols: preprocessing of images for a network, and mapping of logits back to the image."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from segvoc.imaging.color_profiles import Colors
from segvoc.layers.selection import ClassSelection

Window = Literal["auto", "single", "official", "official-single", "tcl", "fine"]
"""The protocol by which an image is segmented.

- "auto": best trade-off for the image's size and aspect ratio
- "single": one pass over the squashed image
- "official": the published test protocol
- "official-single": the released code's path without sliding windows, including its defects
- "tcl": the protocol of TCL (Cha et al., CVPR 2023), the standard for caption-trained networks, and only theirs
- "fine": for small things, windows along the longer side; only the shipped model's
"""

WINDOWS: tuple[Window, ...] = get_args(Window)


@dataclass(frozen=True, kw_only=True)
class LoaderResize:
    """A data loader's resize: bilinear with antialiasing, on 8-bit pixels, keeping the aspect ratio."""

    shortest: int
    """Target length of the shorter side [px]; it ends up shorter if the longer side would exceed `longest`."""
    longest: int
    """Maximum length of the longer side [px]."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize [px], rounded to the nearest integer, at least 1."""
        # keep the loader's order of operations: others round halves differently
        scale = self.shortest / min(height, width)
        sides = height * scale, width * scale
        if max(sides) > self.longest:
            scale = self.longest / max(sides)
            sides = sides[0] * scale, sides[1] * scale
        return max(1, int(sides[0] + 0.5)), max(1, int(sides[1] + 0.5))


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """Overlapping windows of a square, averaged with each other and then with a view of the whole image."""

    kind: Literal["sliding"] = "sliding"
    """Discriminator."""
    canvas: int
    """Side of the square that the image is resized to [px]."""
    window: int
    """Side of a window [px]."""
    stride: int
    """Distance between windows [px]."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Equal tiles without overlap, stitched together and then averaged with a view of the whole image."""

    kind: Literal["tiles"] = "tiles"
    """Discriminator."""
    rows: int = 2
    columns: int = 2


@dataclass(frozen=True, kw_only=True)
class Strides:
    """Overlapping windows of the image at its aspect ratio, averaged (mmseg's `slide`)."""

    kind: Literal["strides"] = "strides"
    """Discriminator."""
    window: int
    """Side of a window [px]."""
    stride: int
    """Distance between windows [px]."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Preprocessing of an image for a network, and mapping of the logits back to the image."""

    size: int
    """Side of the image encoder's square input [px]; 0 keeps the loader's size."""
    multiple: int = 1
    """The sides of the input are multiples of this [px]."""
    squash: float = 1.0
    """The longer side is squashed by up to this factor."""
    max_aspect: float = 1.0
    """Beyond `squash`, the longer side is squashed further until the aspect ratio is at most this (1: a square). The
    area always equals that of the square."""
    colors: Colors = "srgb"
    """The colors that an image is read with; published protocols have those of their loaders."""
    loader: LoaderResize | None = None
    """Resize before all other steps."""
    pad_to: int = 1
    """Pad the sides with zeros (after normalization) to a multiple of this [px]. The padding is never cropped from the
    output: a defect of the released code."""
    sliding: Sliding | Tiles | Strides | None = None
    """Splits the image into several views, each resized to the input size."""
    pooling: tuple[int, int] = (2, 2)
    """Cells (rows, columns) over which class aggregation pools."""
    selection: ClassSelection | None = None
    """Selects the classes to refine if the caller requests no number (None: all)."""
    sigmoid_first: bool = False
    """Convert logits to probabilities before interpolating them to the image, instead of after. Windows of `Strides`
    are averaged in the same form; other views always as probabilities."""

    @property
    def counts_classes(self) -> bool:
        """Whether the number of refined classes depends on the image; it is the same within a batch."""
        return self.selection is not None and self.selection.couples_views

    @property
    def view_settings(self) -> "Protocol":
        """The protocol reduced to what decides the views: equal ones give an image equal views."""
        return replace(self, pooling=(1, 1), selection=None, sigmoid_first=False)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the image encoder's input for an image of this size [px]."""
        ratio = max(height, width) / min(height, width)
        kept = min(max(1.0, ratio / self.squash), self.max_aspect)
        aspect = kept if height > width else 1 / kept
        sides = (self.size * aspect**0.5, self.size / aspect**0.5)
        rounded = [max(self.multiple, round(side / self.multiple) * self.multiple) for side in sides]
        return rounded[0], rounded[1]


Protocols = dict[Window, Protocol]
"""A network's protocol for each `window`."""

SHIPPED_VIEW = Protocol(size=448, multiple=32, squash=2.0, max_aspect=4.0)
"""How the image encoder that ships with segvoc views an image; photographs up to 2:1 score at least as well squashed as
at their aspect ratio."""
