"""Costs taken for what they are: no aggregation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, of_classes
from segvoc.layers.interpolation import resized
from segvoc.shapes import CostVolume, FeatureMaps, Logits, PromptEmbeddings


class CostSum(nn.Module):
    """A weighted sum of the costs of each class and cell, as logits.

    Maps that were trained on some words say little of others. Where those `familiar` words are known, a word's novelty
    is its distance to the nearest of them, 1 - max cos, and the weights of the costs change with it:
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
        """Logits on the grid of the costs; `text` are the classes' prompt embeddings, of any norm."""
        weight = self.weight.expand(*text.shape[:2], -1)
        if self.knows_familiar_words:
            words = F.normalize(text.mean(dim=2), dim=-1)
            novelty = 1 - (words @ F.normalize(self.familiar, dim=-1).mT).amax(dim=-1, keepdim=True)
            weight = weight + novelty * self.novelty_weight
        return torch.einsum("bpthw,btp->bthw", cost, weight) + self.bias


class NoAggregation(nn.Module):
    """Stands where an aggregation stands and only sums the costs (PCA-Seg, Table 3, first row), as `CostSum` does.

    Coarser maps than the first are interpolated to its size before they are compared with the words.
    """

    def __init__(self, skip: nn.Module) -> None:
        super().__init__()
        self.skip = skip

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Logits on the grid of the maps, and the classes that they are of (None: all); these are chosen by the sum."""
        size = (maps[0].shape[2], maps[0].shape[3])
        costs = [cost_volume(resized(image, size), text) for image in maps]
        cost = torch.cat(costs, dim=1)
        logits = self.skip(cost, text)
        kept = None if context.selection is None else context.selection(logits[:, None])
        return (logits if kept is None else of_classes(logits, kept, 1)), kept
