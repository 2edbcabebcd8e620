"""CAT-Seg: spatial aggregation followed by class aggregation.

Cho et al., "CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation", CVPR 2024. The architecture follows
the released code: the CLIP encoders' own features serve as guidance, without an additional backbone.
"""

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import Fusion
from segvoc.layers.shapes import ClassTokens, ImageGuidance, TextGuidance
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.pca_seg import ParallelBlock


class LastStream(Fusion):
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
        self, x: ClassTokens, guidance: ImageGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes."""
        guided = self.spatial.precompute_guidance(guidance)
        x = context.map(self.spatial, x, shared=(guided,))
        return self.joined(x, None, text, context)


CAT_SEG = CostAggregationConfig(order="serial", blocks=2, fusion="last")
"""The released configuration: two serial blocks."""
