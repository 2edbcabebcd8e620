"""One look of a network at a picture, with what lies between its towers and its logits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource, read_image
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.window_names import Window
from segvoc.inference.windows import views
from segvoc.layers.cost_volume import cost_volume
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.shapes import BothStreams, ClassTokens
from segvoc.vocabulary import Vocabulary

Words = Iterable[str] | Vocabulary
"""What a picture is asked for."""

CLASSES = 8
"""Classes whose streams are looked at together."""


@dataclass(frozen=True, kw_only=True)
class SingleView:
    """What a network made of one view of a picture, for every word.

    image: the picture. words: T of them. costs: cosines with the words in [-1, 1], the mean over the prompts, for each
    of the image tower's maps. streams: the spatial and the class stream of every block (none where a block has no two
    streams). logits: before the sigmoid.
    """

    image: UInt8[np.ndarray, "rows columns 3"]
    words: tuple[str, ...]
    costs: tuple[Float[Tensor, "T _ _"], ...]
    streams: tuple[tuple[ClassTokens, ClassTokens], ...]
    logits: Float[Tensor, "T y x"]


def look(segmenter: Segmenter, picture: ImageSource, words: Words, window: Window = "auto") -> SingleView:
    """Look once, with all words going on; where the window has several views, at the whole picture.

    Raises:
        InputError: the picture can't be read.
        UsageError: the words or the window make no sense.
    """
    refuse_two_levels(segmenter.network)
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    protocol = segmenter.protocol(window, "all", len(vocabulary))
    image = read_image(picture)
    pixels = views(image, protocol)[-1:].to(segmenter.device)
    text = cast(Tensor, segmenter.encode_words(vocabulary)).to(segmenter.dtype)
    streams: list[tuple[ClassTokens, ClassTokens]] = []
    network = segmenter.network
    with torch.inference_mode():
        maps = cast(nn.Module, network.image_encoder)(pixels).maps
        costs = [cost_volume(features.float(), text[None].float())[0].mean(dim=0) for features in maps]
        # all classes in one chunk, so that each block is seen once
        logits, _ = network.selected_logits(
            pixels, text, pooling=protocol.pooling, observe=lambda *s: streams.append(s)
        )
    return SingleView(
        image=image,
        words=vocabulary.words,
        costs=tuple(costs),
        streams=tuple(streams),
        logits=logits[0].float(),
    )


def refuse_two_levels(network: nn.Module) -> None:
    """Analyses look at one cost volume and one row of blocks.

    Raises: UsageError: the network compares and refines on two levels.
    """
    if isinstance(network, PartNetwork):
        raise UsageError("a network of parts has two levels, and this analysis looks at one; analyse pca-seg-b or tiny")


def blocks_of(segmenter: Segmenter) -> list[ParallelBlock]:
    """The blocks of a network, each with its two streams.

    Raises: UsageError: it has none.
    """
    blocks = [
        block for block in getattr(segmenter.network.aggregation, "blocks", ()) if isinstance(block, ParallelBlock)
    ]
    if not blocks:
        raise UsageError(
            f"{segmenter.name} has no blocks of a spatial and a class stream; take a PCA-Seg or CAT-Seg, or tiny with "
            "--set aggregation=cost and weights that were trained so"
        )
    return blocks


def fusions_with(segmenter: Segmenter, part: str, what: str) -> list[nn.Module]:
    """The fusion of each block, where it has a part of that name; `what` that is, in words.

    Raises: UsageError: the network has no blocks, or its fusions have no such part.
    """
    fusions = [block.fuse for block in blocks_of(segmenter)]
    for fusion in fusions:
        try:
            fusion.get_submodule(part)
        except AttributeError:
            raise UsageError(
                f"{segmenter.name} has no {what}: its streams are joined by {type(fusion).__name__}; take PCA-Seg, or "
                "--set fusion=experts"
            ) from None
    return fusions


def both_streams(fusion: nn.Module, streams: tuple[ClassTokens, ClassTokens]) -> Iterator[BothStreams]:
    """What the experts of a fusion see of both streams, a few classes at a time."""
    with torch.inference_mode():
        for spatial, semantic in zip(*(stream.split(CLASSES, dim=1) for stream in streams), strict=True):
            yield fusion.both(spatial, semantic)  # pyright: ignore[reportCallIssue]
