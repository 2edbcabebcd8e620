"""Logits straight from the cost volume, without an aggregation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, gather_classes, kept_classes
from segvoc.layers.maps import resized
from segvoc.layers.precision import at_least_float32, without_autocast
from segvoc.layers.synthesized_classifiers import SynthesizedClassifiers, all_costs
from segvoc.shapes import CostVolume, FeatureMaps, Logits, PromptEmbeddings


@dataclass(frozen=True, kw_only=True)
class CosineLogits:
    """The logits of a CLIP alone as a function of the cosine similarity: scale (cos - likely).

    They order words as the cosines do, whatever the values; only probabilities and thresholds depend on them.
    """

    scale: float = 1.0
    """Factor on the cosine similarity."""
    likely: float = 0.0
    """The cosine similarity with a probability of one half."""


COSINES = CosineLogits()
"""Logits that are the cosine similarities themselves."""


class CostSum(nn.Module):
    """Logits as a weighted sum of the costs of each class and cell.

    Feature maps that were trained on some words carry little information about others. If these `familiar` words are
    known, the novelty of a word is its distance to the nearest of them, 1 - max cos, and the weights depend on it:
    logit_t = sum_p (weight_p + novelty_t * novelty_weight_p) cost_pt + bias.
    """

    familiar: Tensor

    def __init__(self, costs: int, familiar_words: int = 0, channels: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(costs))
        self.bias = nn.Parameter(torch.zeros(()))
        if familiar_words:
            self.novelty_weight = nn.Parameter(torch.zeros(costs))
            self.register_buffer("familiar", torch.zeros(familiar_words, channels))
        self.knows_familiar_words = familiar_words > 0

    def forward(self, cost: CostVolume, text: Float[Tensor, "B T N C"]) -> Logits:
        """Logits on the grid of the cost volume; `text` holds the prompt embeddings of each class, any norm."""
        weight = self.weight.expand(*text.shape[:2], -1)
        with without_autocast(cost):
            if self.knows_familiar_words:
                words = F.normalize(at_least_float32(text).mean(dim=2), dim=-1)
                novelty = 1 - (words @ F.normalize(self.familiar, dim=-1).mT).amax(dim=-1, keepdim=True)
                weight = weight + novelty * self.novelty_weight
            return torch.einsum("bpthw,btp->bthw", cost, weight) + self.bias


class NoAggregation(nn.Module):
    """Takes the place of an aggregation and only sums the costs with a `CostSum` (PCA-Seg, Table 3, first row).

    Feature maps are interpolated to the size of the first before they are compared with the words.
    """

    float32_parts = ("skip", "synthesized")

    def __init__(self, skip: nn.Module, synthesized: SynthesizedClassifiers | None = None) -> None:
        super().__init__()
        self.skip, self.synthesized = skip, synthesized

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Logits on the grid of the first map, and the classes they belong to (None: all), selected by their logits."""
        size = (maps[0].shape[2], maps[0].shape[3])
        maps = [resized(image, size) for image in maps]
        cost = all_costs(maps, text, self.synthesized, context.class_logits)
        logits = self.skip(cost, text)
        kept = kept_classes(context.selection, logits[:, None])
        return (logits if kept is None else gather_classes(logits, kept, 1)), kept
