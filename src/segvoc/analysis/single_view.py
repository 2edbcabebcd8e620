"""One forward pass of a network over an image, with the maps between its encoders and its logits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from segvoc.encoders.base import ImageFeatures
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource, read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Window
from segvoc.inference.windows import views
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.synthesized_classifiers import SynthesizedClassifiers
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.shapes import BothStreams, ClassTokens
from segvoc.vocabulary import Vocabulary

WordInput = Iterable[str] | Vocabulary
"""Words as the caller gives them."""

CLASSES_AT_ONCE = 8
"""Classes whose streams are processed at a time."""


@dataclass(frozen=True, kw_only=True)
class SingleView:
    """Intermediate maps and logits of one view of an image, for T words."""

    image: UInt8[np.ndarray, "rows columns 3"]
    """The whole image, at its own size."""
    words: tuple[str, ...]
    costs: tuple[Float[Tensor, "T _ _"], ...]
    """Cost of each word, averaged over its prompts, in [-1, 1]: for each map of the image encoder the cosine
    similarity, then the cost of the classifiers synthesized for the words, if the network has some."""
    streams: tuple[tuple[ClassTokens, ClassTokens], ...]
    """Spatial and class stream of every block that has both."""
    logits: Float[Tensor, "T y x"]
    """Logits before the sigmoid."""


def forward_single_view(
    segmenter: NetworkSegmenter, image: ImageSource, words: WordInput, window: Window = "auto"
) -> SingleView:
    """Run a network once over an image, without class selection.

    Of a window with several views, the one of the whole image is taken.

    Raises:
        InputError: the image can't be read.
        UsageError: the words or the window are invalid, or it is a part network.
    """
    require_single_level(segmenter.network)
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
    protocol = segmenter.protocol(LabelOptions(window=window).keeping_all(), len(vocabulary))
    array = read_image(image)
    pixels = torch.from_numpy(views(array, protocol)[-1:]).to(segmenter.device)
    text = cast(Tensor, segmenter.encode_words(vocabulary))
    streams: list[tuple[ClassTokens, ClassTokens]] = []
    network = segmenter.network
    with torch.inference_mode():
        features: ImageFeatures = cast(nn.Module, network.image_encoder)(pixels)
        synthesized: SynthesizedClassifiers | None = getattr(network.aggregation, "synthesized", None)
        known = None if features.class_logits is None else features.class_logits.float()
        costs = [cost_volume(dense.float(), text[None].float())[0].mean(dim=0) for dense in features.maps]
        if synthesized is not None and known is not None:
            costs.append(synthesized(known, text[None].float())[0].mean(dim=0))
        # all classes in one chunk, so that each block calls back once
        logits, _ = network.selected_logits(
            pixels, text, pooling=protocol.pooling, observe=lambda _, *both: streams.append(both)
        )
    return SingleView(
        image=array,
        words=vocabulary.words,
        costs=tuple(costs),
        streams=tuple(streams),
        logits=logits[0].float(),
    )


def require_single_level(network: nn.Module) -> None:
    """Check that a network has one cost volume and one sequence of blocks, which all analyses expect.

    Raises:
        UsageError: it is a part network, which has an object and a part level.
    """
    if isinstance(network, PartNetwork):
        raise UsageError(
            "part networks have two levels and this analysis reads one; use another model, such as pca-seg-b or tiny"
        )


def parallel_blocks(segmenter: NetworkSegmenter) -> list[ParallelBlock]:
    """The blocks of a network that have a spatial and a class stream.

    Raises:
        UsageError: it has none.
    """
    blocks = [
        block for block in getattr(segmenter.network.aggregation, "blocks", ()) if isinstance(block, ParallelBlock)
    ]
    if not blocks:
        raise UsageError(
            f"{segmenter.name} has no blocks with a spatial and a class stream; use PCA-Seg or CAT-Seg, or tiny with "
            "--set aggregation=cost and weights trained that way"
        )
    return blocks


def block_fusions(segmenter: NetworkSegmenter, submodule: str, description: str) -> list[nn.Module]:
    """The fusion of each block, all of which must have a submodule.

    Args:
        segmenter: the network.
        submodule: dotted name of the submodule.
        description: what users call it, for the error.

    Raises:
        UsageError: the network has no blocks, or its fusions lack the submodule.
    """
    fusions = [block.fuse for block in parallel_blocks(segmenter)]
    for fusion in fusions:
        try:
            fusion.get_submodule(submodule)
        except AttributeError:
            raise UsageError(
                f"{segmenter.name} has no {description}: its streams are joined by {type(fusion).__name__}; "
                "use PCA-Seg or --set fusion=experts"
            ) from None
    return fusions


def chunked_streams(fusion: nn.Module, streams: tuple[ClassTokens, ClassTokens]) -> Iterator[BothStreams]:
    """The input of a fusion's experts, both streams together, a few classes at a time."""
    with torch.inference_mode():
        for spatial, semantic in zip(*(stream.split(CLASSES_AT_ONCE, dim=1) for stream in streams), strict=True):
            yield fusion.both(spatial, semantic)  # pyright: ignore[reportCallIssue]
