"""How a picture is brought to a network and its answer back to the picture: one frozen value for each way."""

from dataclasses import dataclass, replace

from segvoc.inference.window_names import Window
from segvoc.layers.class_selection import ClassSelection, MostSimilar

Protocols = dict[Window, "Protocol"]
"""A network's protocol for each way."""


@dataclass(frozen=True, kw_only=True)
class LoaderResize:
    """A loader's resize: bilinear with antialiasing, on 8-bit pixels, aspect ratio kept.

    shortest: the shorter side becomes this long [px], or less where the longer would exceed `longest` [px].
    """

    shortest: int
    longest: int

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
    """Overlapping windows on a square, averaged, then averaged with one view of the whole picture.

    canvas: side of the square that the picture is squashed to [px]. window, stride: of the windows [px].
    """

    canvas: int
    window: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Even tiles without overlap, put together and then averaged with one view of the whole picture.

    rows, columns: how many.
    """

    rows: int = 2
    columns: int = 2


@dataclass(frozen=True, kw_only=True)
class Strides:
    """Overlapping windows of the picture in its own shape, averaged (mmseg's `slide`).

    window, stride: [px].
    """

    window: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The way of a picture through a network.

    size: side of the square that the image tower gets [px]; 0: it gets what the loader gives. multiple: its sides are
    multiples of this [px]. squash, max_aspect: the longer side is squashed by up to `squash`, and further where the
    ratio of sides would still exceed `max_aspect` (1: all become squares); the area is that of the square. loader:
    resize before everything else. sliding: several views of a picture; each is brought to the sizes above. pad_to:
    zeros (after normalisation) fill the sides up to a multiple [px] and are not cut off afterwards, a defect of the
    released code. pooling: cells (rows, columns) that class aggregation pools. selection: chooses the classes that the
    network goes on with (None: all). sigmoid_first: logits become probabilities before they are interpolated to the
    picture, not after.
    """

    size: int
    multiple: int = 1
    squash: float = 1.0
    max_aspect: float = 1.0
    loader: LoaderResize | None = None
    pad_to: int = 1
    sliding: Sliding | Tiles | Strides | None = None
    pooling: tuple[int, int] = (2, 2)
    selection: ClassSelection | None = None
    sigmoid_first: bool = False

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that the image tower gets of a picture [px]."""
        ratio = max(height, width) / min(height, width)
        kept = min(max(1.0, ratio / self.squash), self.max_aspect)
        aspect = kept if height > width else 1 / kept
        sides = (self.size * aspect**0.5, self.size / aspect**0.5)
        rounded = [max(self.multiple, round(side / self.multiple) * self.multiple) for side in sides]
        return rounded[0], rounded[1]


def clip_protocols(size: int, patch_size: int) -> Protocols:
    """The protocols of CAT-Seg and PCA-Seg, whose image towers see squares of `size` pixels.

    `auto` keeps the shape of pictures up to 2:1 at the area of the square, in whole pairs of patches (class aggregation
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

    The released code fills the loader's picture up to a multiple of 32 px and squashes that; the answer's pads are
    never cut off, and it lies up to 26 px beside the picture (`official-single`). `official` squashes the picture.
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

    `auto` keeps the shape of pictures up to 2:1 at the area of the square.
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

    `official` is the paper's five views: 2 x 2 tiles and the whole picture; `auto` the same in the picture's own shape
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
