"""CAT-Seg: spatial aggregation followed by class aggregation.

Cho et al., "CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation", CVPR 2024. The architecture follows
the released code: the CLIP encoders' own features serve as guidance, without an additional backbone.
"""

import torch
from einops import rearrange
from torch import nn

from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation
from segvoc.layers.aggregation_context import AggregationContext, split_classes
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.shapes import AppearanceGuidance, ClassTokens, TextGuidance


class LastStream(nn.Module):
    """No fusion: returns the output of class aggregation, which already includes spatial aggregation."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """Return the class stream."""
        return semantic


class SerialBlock(ParallelBlock):
    """Eqs. 2 to 4 (PCA-Seg, Eq. 2): class aggregation refines the output of spatial aggregation.

    `fuse` joins the two streams for the baselines that need it (PCA-Seg, Table 5b).
    """

    def forward(
        self, x: ClassTokens, guidance: AppearanceGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes."""
        guided = self.spatial.precompute_guidance(guidance)
        x = torch.cat([context.run(self.spatial, chunk, guided) for chunk in context.split(x)], dim=1)
        return self.joined(x, lambda part: part, text, context)


class SpatialBlock(nn.Module):
    """Spatial aggregation alone (arXiv v1, Table 2, IV)."""

    def __init__(self, spatial: SpatialAggregation, semantic: ClassAggregation, fuse: nn.Module) -> None:
        super().__init__()
        self.spatial = spatial

    def forward(
        self, x: ClassTokens, guidance: AppearanceGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine every class on its own."""
        guided = self.spatial.precompute_guidance(guidance)
        return torch.cat([context.run(self.spatial, chunk, guided) for chunk in context.split(x)], dim=1)


class JointBlock(nn.Module):
    """Linear attention over all cells of all classes, which doesn't tell space from classes (Table 2, III)."""

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
        summary = self.attention.summarise(tokens, words, (1, 1), chunk)
        chunks = zip(split_classes(tokens, chunk), split_classes(words, chunk), strict=True)
        refined = torch.cat([context.run(self.attention, *part, summary, (1, 1)) for part in chunks], dim=1)
        return refined.reshape(x.shape)


CAT_SEG = CostAggregationConfig(order="serial", blocks=2, fusion="last")
"""The released configuration: two serial blocks."""
