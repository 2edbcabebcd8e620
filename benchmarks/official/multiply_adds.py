"""Multiply-adds of a forward pass, for our graph and the published graph.

Papers call multiply-adds "FLOPs". Ours are counted on the meta device: all matrix products, convolutions and attention.
The published graph repeats some work per class that ours does once per image.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segvoc.data.benchmarks import find_benchmark
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.evaluation.protocol import ERR_SEG_KEPT
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.err_seg import ERR_SELECTION


def multiply_adds_of(work: Callable[[], object]) -> int:
    """Count multiply-adds of matrix products, convolutions and attention in a call, including any backward pass."""
    counted: dict[Any, Callable[..., int]] = {torch.ops.aten.convolution_backward: _of_convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        work()
    return counter.get_total_flops() // 2


def _of_convolution_backward(out: Sequence[int], x: Sequence[int], weight: Sequence[int], *more: Any, **_: Any) -> int:
    """Operations of a convolution's gradients; PyTorch ignores groups in the weight gradients."""
    transposed, wanted = more[4], more[7]
    return 2 * math.prod(x if transposed else out) * math.prod(weight[1:]) * sum(wanted[:2])


def err_seg_kept(classes: int) -> int:
    """Number of classes that ERR-Seg keeps: P of the benchmark with this many classes, else by our rule."""
    by_size = {len(find_benchmark(name).classes): kept for name, kept in ERR_SEG_KEPT.items()}
    return by_size.get(classes, ERR_SELECTION.number(classes))


def published_err_seg(network: SegmentationNetwork, side: int, classes: int, keep: int) -> int | None:
    """Multiply-adds of ERR-Seg's released graph: our encoder, another head; None for a ViT, which wasn't released."""
    if not isinstance(network.image_encoder, ConvNextClipImageEncoder):
        return None
    with torch.device("meta"):
        image = torch.empty(1, 3, side, side)
        encoder = multiply_adds_of(lambda: network.image_encoder(image))
    return encoder + err_head(network.aggregation, (side // 16) ** 2, classes, keep)


def err_head(head: Any, cells: int, classes: int, keep: int) -> int:
    """Multiply-adds of the head (an `ErrAggregation`) as released, layer by layer; cells are those at stride 16."""
    deep, quarter = cells // 4, 4 * cells
    channels, merge = head.text_guidance.in_features, head.merge_costs
    dim, embedded = merge.out_channels, merge.in_channels
    os32, os16 = (conv.in_channels for conv in head.guidance)
    maps = (cells, deep)[-len(head.embed_costs) :]
    costs = sum(maps) * classes * channels + keep * (sum(maps) * embedded * 49 + cells * embedded * dim)
    guidance = (deep * os32 + cells * os16) * embedded * 9 + cells * embedded * dim + keep * channels * dim
    guides = head.decoder.guidance
    sizes = (cells, quarter, 4 * quarter)
    guidance += sum(9 * size * conv.in_channels * conv.out_channels for size, conv in zip(sizes, guides, strict=True))
    return costs + guidance + len(head.blocks) * err_block(head, cells, keep) + keep * _decoder(head, sizes)


def err_block(head: Any, cells: int, keep: int) -> int:
    """Multiply-adds of one redundancy-reduced aggregation block (Table 11 lists four blocks, for 32 classes)."""
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
    """Multiply-adds for one cell."""
    return sum(layer.in_features * layer.out_features for layer in mlp.modules() if isinstance(layer, nn.Linear))


def _decoder(head: Any, sizes: tuple[int, ...]) -> int:
    """Multiply-adds of the decoder per class; transposed convolutions count one per input cell and weight."""
    total = sizes[-1] * head.decoder.head.in_channels
    for stage, size in zip(head.decoder.stages, sizes, strict=True):
        up, conv1, conv2 = stage.upsample, stage.conv1, stage.conv2
        seen = conv1.own.in_channels + conv1.guidance.in_channels
        total += size * up.in_channels * up.out_channels
        total += 9 * size * (seen * conv2.in_channels + conv2.in_channels * conv2.out_channels)
    return total
