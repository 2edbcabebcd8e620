"""Protocols: preprocessing of images for a network, and mapping of logits back to the image."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from segvoc.imaging.color_profiles import Colors
from segvoc.layers.selection import PUBLISHED_VOTES, ClassSelection, Votes

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


def clip_protocols(size: int, patch_size: int) -> Protocols:
    """Protocols of CAT-Seg and PCA-Seg, whose image encoders take squares of `size` pixels.

    `auto` keeps the aspect ratio of images up to 2:1, with the same area as the square and an even number of patches
    per side (class aggregation pools 2 x 2 cells). Both test with detectron2's loader (`INPUT.FORMAT` is RGB).
    """
    single = Protocol(size=size)
    loaded = replace(
        single,
        colors="stored",
        loader=LoaderResize(shortest=640, longest=2560),
        selection=ClassSelection(keep=256, by="similarity"),
        sigmoid_first=True,
    )
    return {
        "auto": replace(single, multiple=2 * patch_size, max_aspect=2.0),
        "single": single,
        "official": replace(loaded, sliding=Sliding(canvas=640, window=384, stride=256), pooling=(1, 1)),
        "official-single": replace(loaded, pad_to=32),
    }


def part_protocols(size: int) -> Protocols:
    """Protocols of PartCATSeg, whose image encoders each squash their input to a square.

    The released code pads the loader's image to a multiple of 32 px and then squashes it. It never crops the padding
    from the output, which is therefore shifted by up to 26 px against the image (`official-single`). `official`
    squashes the image without padding. The loader is detectron2's.
    """
    single = Protocol(size=size)
    official = Protocol(size=0, colors="stored", loader=LoaderResize(shortest=640, longest=768), sigmoid_first=True)
    return {"auto": single, "single": single, "official": official, "official-single": replace(official, pad_to=32)}


ERR_SELECTION = ClassSelection(fraction=0.25, least=16, keep=48)
"""Class selection of ERR-Seg for an arbitrary vocabulary. It is ours: the paper only has a number per benchmark
(`segvoc.evaluation.protocol`), and the bounds are the smallest and largest of these."""


def err_protocols(size: int, votes: Votes = PUBLISHED_VOTES) -> Protocols:
    """Protocols of ERR-Seg, whose image encoder takes squares of `size` pixels: detectron2's loader, then the square.

    `auto` keeps the aspect ratio of images up to 2:1, with the same area as the square.
    """
    single = Protocol(size=size, selection=replace(ERR_SELECTION, votes=votes))
    official = replace(single, colors="stored", loader=LoaderResize(shortest=800, longest=1333), sigmoid_first=True)
    return {
        "auto": replace(single, multiple=32, max_aspect=2.0),
        "single": single,
        "official": official,
        "official-single": official,
    }


def syn_protocols() -> Protocols:
    """Protocols of SynSeg, whose image encoder takes squares of 224 pixels.

    `official` is the paper's five views: 2 x 2 tiles and the whole image. `auto` uses the same views at the image's
    aspect ratio, up to 2:1. There is no released code, so `official-single` equals `single`. `tcl` is the protocol of
    competing methods, whose loader is mmcv's (mmsegmentation 0.27); the paper compares with their scores, so `official`
    reads images alike.
    """
    single = Protocol(size=224)
    official = replace(single, colors="stored", sliding=Tiles(), sigmoid_first=True)
    return {
        "auto": replace(official, colors="srgb", multiple=16, max_aspect=2.0),
        "single": single,
        "official": official,
        "official-single": single,
        "tcl": Protocol(
            size=448,
            colors="stored",
            loader=LoaderResize(shortest=448, longest=2048),
            sliding=Strides(window=448, stride=224),
            sigmoid_first=True,
        ),
    }


def clip_seg_protocols() -> Protocols:
    """Protocols of CLIPSeg, which squashes every image to 352 x 352 pixels, in its authors' code and transformers.

    The official windows read images as transformers' `load_image`; its authors open them with Pillow, and have no
    profiles converted either.
    """
    squashed = Protocol(size=352)
    official = replace(squashed, colors="stored")
    return {"auto": squashed, "single": squashed, "official": official, "official-single": official}


def frozen_clip_protocols(size: int) -> Protocols:
    """Protocols of plain CLIP, whose image encoder was trained on squares of `size` pixels.

    `auto` and `official` are the windows of SCLIP (Wang et al., arXiv:2312.01597) and NACLIP (Hajimiri et al.,
    arXiv:2404.08181): the shorter side is 1.5 times that of a window, windows are half their side apart, and cosines
    are averaged. Their encoder is ViT-B/16, with 336, 224 and 112 px, and their loader mmcv's (mmsegmentation 1.x).
    """
    single = Protocol(size=size)
    slide = replace(
        single,
        loader=LoaderResize(shortest=size * 3 // 2, longest=2048),
        sliding=Strides(window=size, stride=size // 2),
    )
    return {"auto": slide, "single": single, "official": replace(slide, colors="stored"), "official-single": single}
