"""CAT-Seg: spatial aggregation followed by class aggregation.

Cho et al., "CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation", CVPR 2024. The architecture follows
the released code: the CLIP encoders' own features serve as guidance, without an additional backbone.
"""

from segvoc.layers.aggregation import Summary, TwoStreamBlock, fuse_streams
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import Fusion
from segvoc.layers.shapes import ClassTokens, ImageGuidance, TextGuidance
from segvoc.networks.cost_aggregation_config import CostAggregationConfig


class LastStream(Fusion):
    """No fusion: returns the output of class aggregation, which already includes spatial aggregation."""

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """Return the class stream."""
        return semantic


class SerialBlock(TwoStreamBlock):
    """Eqs. 2 to 4 (PCA-Seg, Eq. 2): class aggregation refines the output of spatial aggregation.

    `fuse` joins the two streams for the baselines that need it (PCA-Seg, Table 5b).
    """

    def forward(
        self, x: ClassTokens, guidance: ImageGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes, chunk by chunk; class attention spans all chunks."""
        x = context.map(self.spatial, x, shared=(self.spatial.precompute_guidance(guidance),))
        summary = self.semantic.summarize(x, text, context)
        return fuse_streams(self.fuse, self.streams, (x, text), (summary, context.pooling), context)

    def streams(
        self, x: ClassTokens, text: TextGuidance, summary: Summary, pooling: tuple[int, int]
    ) -> tuple[ClassTokens, ClassTokens]:
        """Spatial stream, which is x, and class stream of a chunk of classes."""
        return x, self.semantic(x, text, summary, pooling)


CAT_SEG = CostAggregationConfig(order="serial", blocks=2, fusion="last")
"""The released configuration: two serial blocks."""
