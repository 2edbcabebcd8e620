"""Multiply-adds of one block of CAT-Seg's and PCA-Seg's released graphs, counted as PCA-Seg's Table 4 counts them.

The table's numbers come from the counter `thop`, which sees layers but not the matrix products between them: linear
layers and convolutions count one for each weight and cell, batch and layer norm 4 for each value, softmax 3 n - 1 for
each row of n, average pooling 1 for each output, and attention's products nothing. Counted this way, with 171 classes,
24 x 24 cells and 2 x 2 pooling, all digits of the table are reproduced. The released graph repeats for each class some
work that ours does once for an image, and pads the classes to 256.
"""

from collections.abc import Iterable
from typing import cast

from torch import nn

from segvoc.errors import UsageError
from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation, WindowBlock
from segvoc.layers.softmax_class_attention import SoftmaxClassAggregation
from segvoc.networks.cat_seg import LastStream
from segvoc.networks.fusion_variants import ConcatenatedStreams, PaperExpertFusion
from segvoc.networks.pca_seg import CoefficientMapper, ExpertFusion, ExpertHalf, ExpertParser, ParallelBlock

NORM = 4
"""Operations that the counter charges for each input value of a norm with weights."""


def published_block(block: ParallelBlock, classes: int, side: int, pooling: int = 2) -> int:
    """Multiply-adds of a block.

    Args:
        block: the block.
        classes: number of classes.
        side: number of rows and of columns of cells.
        pooling: cells that class aggregation pools, in each direction.

    Raises:
        UsageError: the released code has no such fusion or class attention.
    """
    cells = classes * side * side
    return (
        _spatial(block.spatial, classes, side)
        + _semantic(block.semantic, classes, (side // pooling) ** 2, pooling)
        + _fusion(block.fuse, cells)
    )


def _spatial(spatial: SpatialAggregation, classes: int, side: int) -> int:
    cells, total = classes * side * side, 0
    for block in cast(Iterable[WindowBlock], spatial.blocks):
        padded = -(-side // block.window) * block.window
        row = block.window**2
        softmax = classes * block.heads * padded**2 * (3 * row - 1)
        total += cells * (_weights(block.project) + _weights(block.out) + _weights(block.mlp)) + softmax
        total += cells * NORM * 2 * block.out.out_features
    guidance = next(iter(spatial.guidance_norm.parameters()), None)
    return total + (0 if guidance is None else cells * NORM * guidance.numel())


def _semantic(semantic: ClassAggregation, classes: int, cells: int, pooling: int) -> int:
    if isinstance(semantic, SoftmaxClassAggregation):
        raise UsageError("the published numbers are for linear class attention; leave out class_attention=softmax")
    tokens, dim = max(classes, semantic.pad_classes) * cells, semantic.project.v.out_features
    pooled = classes * cells * dim if pooling > 1 else 0
    return tokens * (_weights(semantic.project) + _weights(semantic.mlp) + NORM * 2 * dim) + pooled


def _fusion(fusion: nn.Module, cells: int) -> int:
    if isinstance(fusion, LastStream):
        return 0
    if isinstance(fusion, ConcatenatedStreams):
        return cells * _weights(fusion)
    if not isinstance(fusion, ExpertFusion | PaperExpertFusion):
        raise UsageError(f"there are no published numbers for {type(fusion).__name__}; use a fusion of the papers")
    parse = cast(ExpertParser, fusion.parse)
    each = _weights(fusion) + NORM * sum(cast(ExpertHalf, half).norm.num_features for half in parse.halves)
    if isinstance(fusion.integrate, CoefficientMapper):
        each += 3 * parse.experts - 1
    return cells * each


def _weights(module: nn.Module) -> int:
    """Weights of all linear layers and convolutions, which are the multiply-adds for one cell."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return sum(layer.weight.numel() for layer in layers)
