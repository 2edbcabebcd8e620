"""Multiply-adds of one forward pass: those that our graph does, and those of the published graph.

Papers call multiply-adds "FLOPs". Ours are counted on the meta device: every product of matrices, convolution and
attention. The published graph does for each class some of what ours does once for a picture.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segvoc.analysis.single_view import refuse_two_levels
from segvoc.encoders.base import ImageEncoder
from segvoc.layers.class_selection import Voted
from segvoc.models.presets import find_preset
from segvoc.networks.err_seg import PUBLISHED_KEPT, ErrAggregation, own_kept
from segvoc.networks.options import Options
from segvoc.networks.pca_seg import SegmentationNetwork


def describe_multiply_adds(preset: str, options: Mapping[str, object], classes: int) -> dict[str, int]:
    """What one square picture of the preset's own size takes with so many words, text embeddings cached.

    ERR-Seg goes on with as many classes as its authors do on a benchmark of so many, else by the rule for free words.
    """
    found = find_preset(preset)
    chosen = Options.of(options)
    with torch.device("meta"):
        network = found.build(chosen).eval()
    refuse_two_levels(network)
    side = found.protocols_with(chosen)["single"].size
    if not isinstance(network.aggregation, ErrAggregation):
        return {"side": side, "classes": classes, "kept": classes, "counted": counted(network, side, classes, None)}
    keep = min(classes, PUBLISHED_KEPT.get(classes, own_kept(classes)))
    facts = {"side": side, "classes": classes, "kept": keep, "counted": counted(network, side, classes, keep)}
    return facts | {"as_published": published_err_seg(network, side, classes, keep)}


def counted(network: SegmentationNetwork, side: int, classes: int, keep: int | None) -> int:
    """Multiply-adds of our graph for one square picture of `side` pixels, text embeddings cached.

    The network is on the meta device, in evaluation mode; `keep` classes go on (None: all).
    """
    channels = cast(ImageEncoder, network.image_encoder).channels
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        picture, text = torch.empty(1, 3, side, side), torch.empty(classes, 1, channels)
        network.selected_logits(picture, text, selection=None if keep is None else Voted(keep))
    return counter.get_total_flops() // 2


def published_err_seg(network: SegmentationNetwork, side: int, classes: int, keep: int) -> int:
    """Multiply-adds of ERR-Seg's released graph: of the tower, which does the same here, and of the head."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network.image_encoder(torch.empty(1, 3, side, side))
    return counter.get_total_flops() // 2 + err_head(network.aggregation, (side // 16) ** 2, classes, keep)


def err_head(head: Any, cells: int, classes: int, keep: int) -> int:
    """Multiply-adds of the head (an `ErrAggregation`) as released, for so many cells at stride 16, layer by layer."""
    deep, quarter = cells // 4, 4 * cells
    channels, dim, embedded = (
        head.text_guidance.in_features,
        head.merge_costs.out_channels,
        head.merge_costs.in_channels,
    )
    os32, os16 = (conv.in_channels for conv in head.guidance)
    maps = (cells, deep)[-len(head.embed_costs) :]
    costs = sum(maps) * classes * channels + keep * (sum(maps) * embedded * 49 + cells * embedded * dim)
    guidance = (deep * os32 + cells * os16) * embedded * 9 + cells * embedded * dim + keep * channels * dim
    guides = head.decoder.guidance
    sizes = (cells, quarter, 4 * quarter)
    guidance += sum(9 * size * conv.in_channels * conv.out_channels for size, conv in zip(sizes, guides, strict=True))
    return costs + guidance + len(head.blocks) * err_block(head, cells, keep) + keep * _decoder(head, sizes)


def err_block(head: Any, cells: int, keep: int) -> int:
    """Multiply-adds of one block of redundancy-reduced aggregation (Table 11 gives those of four, 32 classes kept)."""
    block, dim, total = head.blocks[0], head.merge_costs.out_channels, 0
    if block.spatial is not None:
        r1 = block.spatial.reduction
        keys = cells // r1**2
        reduce = keys * r1**2 * (4 * dim**2 + dim**2) if r1 > 1 else 0
        attention = (2 * cells + 3 * keys + cells) * dim**2 + 2 * cells * keys * dim
        total += reduce + attention + cells * (_mlp(block.spatial.mlp) + dim * 49)
    if block.semantic is not None:
        pooled = cells // block.semantic.pooling[0] ** 2
        total += pooled * ((2 * 2 + 1 + 1) * dim**2 + 2 * keep * dim + _mlp(block.semantic.mlp))
    return keep * total


def _mlp(mlp: nn.Module) -> int:
    """Multiply-adds of one cell."""
    return sum(part.in_features * part.out_features for part in mlp.modules() if isinstance(part, nn.Linear))


def _decoder(head: Any, sizes: tuple[int, ...]) -> int:
    """Multiply-adds of the decoder for one class; transposed convolutions have a product for each coarse cell."""
    total = sizes[-1] * head.decoder.head.in_channels
    for stage, size in zip(head.decoder.stages, sizes, strict=True):
        up, conv1, conv2 = stage.upsample, stage.conv1, stage.conv2
        total += size * up.in_channels * up.out_channels
        total += 9 * size * (conv1.in_channels * conv1.out_channels + conv2.in_channels * conv2.out_channels)
    return total
