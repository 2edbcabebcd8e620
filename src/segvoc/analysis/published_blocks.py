"""Multiply-adds of one block of CAT-Seg's and PCA-Seg's released graphs, counted as PCA-Seg's Table 4 counts them.

The table's figures are those of the counter `thop`, which sees layers and no products of matrices between them: linear
maps and convolutions count one for each weight and cell, batch and layer norm 4 for each value, softmax 3 n - 1 for
each row of n, average pooling 1 for each result; attention's products count nothing. So counted, the table is met to
all its digits, with 171 classes, 24 x 24 cells and cells pooled two by two. The released graph does for each class what
ours does once for a picture, and fills the classes up to 256.
"""

from collections.abc import Iterable
from typing import cast

from torch import nn

from segvoc.errors import UsageError
from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation, WindowBlock
from segvoc.layers.softmax_class_attention import SoftmaxClassAggregation
from segvoc.networks.cat_seg import LastStream
from segvoc.networks.pca_seg import CoefficientMapper, ExpertFusion, ExpertParser, ParallelBlock
from segvoc.networks.stream_fusions import ConcatenatedStreams, PaperExpertFusion

NORM = 4
"""What the counter takes for each value that a norm with weights sees."""


def published_block(block: ParallelBlock, classes: int, side: int, pooling: int = 2) -> int:
    """Multiply-adds of a block for so many classes on a square of `side` cells.

    Raises: UsageError: the released code has no such fusion or class attention.
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
    return total + cells * NORM * spatial.guidance_norm.weight.numel()


def _semantic(semantic: ClassAggregation, classes: int, cells: int, pooling: int) -> int:
    if isinstance(semantic, SoftmaxClassAggregation):
        raise UsageError("the published figures are of linear class attention; leave out class_attention=softmax")
    tokens, dim = max(classes, semantic.pad_classes) * cells, semantic.project.v.out_features
    pooled = classes * cells * dim if pooling > 1 else 0
    return tokens * (_weights(semantic.project) + _weights(semantic.mlp) + NORM * 2 * dim) + pooled


def _fusion(fusion: nn.Module, cells: int) -> int:
    if isinstance(fusion, LastStream):
        return 0
    if isinstance(fusion, ConcatenatedStreams):
        return cells * _weights(fusion)
    if not isinstance(fusion, ExpertFusion | PaperExpertFusion):
        raise UsageError(f"nothing is published of {type(fusion).__name__}; take a fusion of the papers")
    parse = cast(ExpertParser, fusion.parse)
    each = _weights(fusion) + NORM * parse.norm.num_features
    if isinstance(fusion.integrate, CoefficientMapper):
        each += 3 * parse.experts - 1
    return cells * each


def _weights(module: nn.Module) -> int:
    """Weights of all linear maps and convolutions: multiply-adds of one cell."""
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    return sum(layer.weight.numel() for layer in layers)
