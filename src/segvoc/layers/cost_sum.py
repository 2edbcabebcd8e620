"""Logits straight from the cost volume, without an aggregation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segvoc.layers.aggregation import cost_volumes
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, gather_classes
from segvoc.layers.maps import resized
from segvoc.layers.precision import Float32Parts, without_autocast
from segvoc.layers.shapes import CostVolume, FeatureMaps, Logits, PromptEmbeddings


@dataclass(frozen=True, kw_only=True)
class CosineLogits:
    """The logits of a CLIP alone as a function of the cosine similarity: scale (cos - likely).

    The values don't change the order of words, only probabilities and thresholds.
    """

    scale: float = 1.0
    """Factor on the cosine similarity."""
    likely: float = 0.0
    """The cosine similarity with a probability of one half."""


COSINES = CosineLogits()
"""Logits that are the cosine similarities themselves."""


class CostSum(nn.Module):
    """Logits as a weighted sum of the costs of each class and cell: sum_p weight_p cost_p + bias."""

    def __init__(self, costs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(costs))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, cost: CostVolume) -> Logits:
        """Logits on the grid of the cost volume."""
        return self.weighted(cost, self.weight.expand(cost.shape[0], cost.shape[2], -1))

    def weighted(self, cost: CostVolume, weights: Float[Tensor, "B T P"]) -> Logits:
        """The sum with weights of each class."""
        with without_autocast(cost):
            return torch.einsum("bpthw,btp->bthw", cost, weights) + self.bias


class NoAggregation(Float32Parts):
    """Replaces an aggregation by a `CostSum` of the costs (PCA-Seg, Table 3, first row).

    Feature maps are interpolated to the size of the first before they are compared with the words.
    """

    float32_parts = ("skip",)

    def __init__(self, skip: nn.Module) -> None:
        super().__init__()
        self.skip = skip

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Logits on the grid of the first map, and the classes they belong to (None: all), selected by their logits."""
        size = (maps[0].shape[2], maps[0].shape[3])
        logits = self.logits([resized(image, size) for image in maps], text)
        kept = context.select(logits[:, None])
        return (logits if kept is None else gather_classes(logits, kept, 1)), kept

    def logits(self, maps: FeatureMaps, text: PromptEmbeddings) -> Logits:
        """Logits of all classes, from maps on one grid."""
        return self.skip(cost_volumes(maps, text))
