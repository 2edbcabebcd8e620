"""CAT-Seg: spatial, then class aggregation.

Cho et al., "CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation", CVPR 2024. The shape follows the
released code: the towers' own features guide, no backbone stands beside them.
"""

import torch
from torch import nn

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.shapes import AppearanceGuidance, ClassTokens, TextGuidance


class LastStream(nn.Module):
    """No fusion: class aggregation comes last and has seen all."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """The class stream."""
        return semantic


class SerialBlock(ParallelBlock):
    """Eqs. 2 to 4 (PCA-Seg, Eq. 2): class aggregation refines what spatial aggregation gives.

    `fuse` joins the two streams where a baseline asks for it (PCA-Seg, Table 5b).
    """

    def forward(
        self, x: ClassTokens, guidance: AppearanceGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes."""
        guided = self.spatial.precompute_guidance(guidance)
        x = torch.cat([context.run(self.spatial, chunk, guided) for chunk in x.split(context.chunk, 1)], dim=1)
        return self.joined(x, lambda part: part, text, context)


CAT_SEG = CostAggregationConfig(order="serial", blocks=2, fusion="last")
"""As released: two serial blocks."""
