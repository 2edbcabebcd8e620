"""Blocks with less than both aggregations (CAT-Seg, arXiv v1, Table 2)."""

from dataclasses import replace

from einops import rearrange
from torch import nn

from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.shapes import AppearanceGuidance, ClassTokens, TextGuidance


class SpatialBlock(nn.Module):
    """Spatial aggregation alone (row IV)."""

    def __init__(self, spatial: SpatialAggregation, semantic: ClassAggregation, fuse: nn.Module) -> None:
        super().__init__()
        self.spatial = spatial

    def forward(
        self, x: ClassTokens, guidance: AppearanceGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine every class on its own."""
        guided = self.spatial.precompute_guidance(guidance)
        return context.map(self.spatial, x, shared=(guided,))


class JointBlock(nn.Module):
    """Linear attention over all cells of all classes, which doesn't tell space from classes (row III)."""

    def __init__(self, spatial: SpatialAggregation, semantic: ClassAggregation, fuse: nn.Module) -> None:
        super().__init__()
        self.attention = semantic

    def forward(
        self, x: ClassTokens, guidance: AppearanceGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes; the guidance has no channels."""
        cells = x.shape[2] * x.shape[3]
        tokens, words = rearrange(x, "b t h w c -> b (t h w) 1 1 c"), text.repeat_interleave(cells, dim=1)
        chunk = None if context.chunk is None else context.chunk * cells
        context = replace(context, chunk=chunk, pooling=(1, 1))
        summary = self.attention.summarize(tokens, words, context)
        refined = context.map(self.attention, tokens, words, shared=(summary, context.pooling))
        return refined.reshape(x.shape)
