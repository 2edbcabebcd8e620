"""Baseline without a cost volume: the decoder takes concatenated image and word features.

CAT-Seg, Table 7 (I, II) and Fig. 10 (a). Its counterpart with a cost volume (III, IV) is a cost aggregation without
blocks.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation import UpsamplingDecoder, cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, select_classes
from segvoc.shapes import FeatureMaps, Logits, PromptEmbeddings


class FeatureAggregation(nn.Module):
    """Computes logits from dense image features and word embeddings without comparing them."""

    def __init__(self, decoder: UpsamplingDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits; see `SegmentationNetwork.selected_logits`. Pooling and `observe` have no effect here."""
        text, kept = select_classes(cost_volume(maps[0], text), text, context.selection)[1:]
        image = F.normalize(maps[0], dim=1).permute(0, 2, 3, 1)[:, None]
        words = F.normalize(text.mean(dim=2), dim=-1).to(image.dtype)[:, :, None, None]
        guided = self.decoder.precompute_guidance(guidance[1:])

        def decoded(part: Float[Tensor, "B T 1 1 C"]) -> Logits:
            grid = (-1, part.shape[1], *image.shape[2:4], -1)
            return self.decoder(torch.cat((image.expand(grid), part.expand(grid)), dim=-1), guided)

        return context.map(decoded, words), kept
