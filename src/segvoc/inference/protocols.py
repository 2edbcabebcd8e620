"""Protocols: how an image is brought to a network, and its logits back to the image."""

from dataclasses import dataclass, replace

from segvoc.inference.window_names import Window
from segvoc.layers.class_selection import ClassSelection, MostSimilar

Protocols = dict[Window, "Protocol"]
"""A network's protocol for each `window`."""


@dataclass(frozen=True, kw_only=True)
class LoaderResize:
    """A data loader's resize: bilinear with antialiasing, on 8-bit pixels, keeping the aspect ratio."""

    shortest: int
    """Length of the shorter side afterwards [px], less where the longer side would exceed `longest`."""
    longest: int
    """Upper bound of the longer side [px]."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize [px], rounded to the nearest, at least 1."""
        # in the loader's own order of operations: another one rounds halves otherwise
        scale = self.shortest / min(height, width)
        sides = height * scale, width * scale
        if max(sides) > self.longest:
            scale = self.longest / max(sides)
            sides = sides[0] * scale, sides[1] * scale
        return max(1, int(sides[0] + 0.5)), max(1, int(sides[1] + 0.5))


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """Overlapping windows on a square, averaged; then averaged with one view of the whole image."""

    canvas: int
    """Side of the square that the image is squashed to [px]."""
    window: int
    """Side of a window [px]."""
    stride: int
    """Distance between windows [px]."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Even tiles without overlap, put together; then averaged with one view of the whole image."""

    rows: int = 2
    """Tiles from top to bottom."""
    columns: int = 2
    """Tiles from left to right."""


@dataclass(frozen=True, kw_only=True)
class Strides:
    """Overlapping windows of the image in its own shape, averaged (mmseg's `slide`)."""

    window: int
    """Side of a window [px]."""
    stride: int
    """Distance between windows [px]."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How an image is brought to a network, and its logits back to the image."""

    size: int
    """Side of the square that the image tower gets [px]; 0: it gets what the loader gives."""
    multiple: int = 1
    """The sides of what the tower gets are multiples of this [px]."""
    squash: float = 1.0
    """The longer side is squashed by up to this factor."""
    max_aspect: float = 1.0
    """Beyond `squash`, the longer side is squashed until the ratio of sides is at most this (1: a square). The area
    is always that of the square."""
    loader: LoaderResize | None = None
    """Resize before everything else."""
    pad_to: int = 1
    """Zeros (after normalisation) fill the sides up to a multiple of this [px], and are not cut off afterwards: a
    defect of the released code."""
    sliding: Sliding | Tiles | Strides | None = None
    """Several views of an image; each is brought to the sizes above."""
    pooling: tuple[int, int] = (2, 2)
    """Cells (rows, columns) that class aggregation pools."""
    selection: ClassSelection | None = None
    """Chooses the classes that the network refines (None: all)."""
    sigmoid_first: bool = False
    """Turn logits into probabilities before they are interpolated to the image, not after."""

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that the image tower gets of an image [px]."""
        ratio = max(height, width) / min(height, width)
        kept = min(max(1.0, ratio / self.squash), self.max_aspect)
        aspect = kept if height > width else 1 / kept
        sides = (self.size * aspect**0.5, self.size / aspect**0.5)
        rounded = [max(self.multiple, round(side / self.multiple) * self.multiple) for side in sides]
        return rounded[0], rounded[1]


def clip_protocols(size: int, patch_size: int) -> Protocols:
    """The protocols of CAT-Seg and PCA-Seg, whose image towers see squares of `size` pixels.

    `auto` keeps the shape of images up to 2:1 at the area of the square, in whole pairs of patches (class aggregation
    pools two by two).
    """
    single = Protocol(size=size)
    loaded = replace(
        single, loader=LoaderResize(shortest=640, longest=2560), selection=MostSimilar(256), sigmoid_first=True
    )
    return {
        "auto": replace(single, multiple=2 * patch_size, max_aspect=2.0),
        "single": single,
        "official": replace(loaded, sliding=Sliding(canvas=640, window=384, stride=256), pooling=(1, 1)),
        "official-single": replace(loaded, pad_to=32),
    }


def part_protocols(size: int) -> Protocols:
    """The protocols of PartCATSeg, whose image towers squash what they get to squares of their own.

    The released code fills the loader's image up to a multiple of 32 px and squashes that; the answer's pads are
    never cut off, and it lies up to 26 px beside the image (`official-single`). `official` squashes the image.
    """
    single = Protocol(size=size)
    official = Protocol(size=0, loader=LoaderResize(shortest=640, longest=768), sigmoid_first=True)
    return {
        "auto": single,
        "single": single,
        "official": official,
        "official-single": replace(official, pad_to=32),
    }


def err_protocols(size: int) -> Protocols:
    """The protocols of ERR-Seg, whose image tower sees squares of `size` pixels: a loader's resize, then the square.

    `auto` keeps the shape of images up to 2:1 at the area of the square.
    """
    single = Protocol(size=size)
    official = replace(single, loader=LoaderResize(shortest=800, longest=1333), sigmoid_first=True)
    return {
        "auto": replace(single, multiple=32, max_aspect=2.0),
        "single": single,
        "official": official,
        "official-single": official,
    }


def syn_protocols() -> Protocols:
    """The protocols of SynSeg, whose image tower sees squares of 224 pixels.

    `official` is the paper's five views: 2 x 2 tiles and the whole image; `auto` the same in the image's own shape
    up to 2:1. There is no released code, so `official-single` is `single`. `tcl` is how its rivals are measured.
    """
    single = Protocol(size=224)
    official = replace(single, sliding=Tiles(), sigmoid_first=True)
    return {
        "auto": replace(official, multiple=16, max_aspect=2.0),
        "single": single,
        "official": official,
        "official-single": single,
        "tcl": Protocol(
            size=448,
            loader=LoaderResize(shortest=448, longest=2048),
            sliding=Strides(window=448, stride=224),
            sigmoid_first=True,
        ),
    }
