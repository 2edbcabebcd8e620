"""Logits straight from the cost volume, without an aggregation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, gather_classes
from segvoc.layers.maps import resized
from segvoc.layers.precision import Float32Parts, at_least_float32, without_autocast
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


class SynthesizedClassifiers(nn.Module):
    """Blends the classifiers of known classes into a classifier for each word.

    A word's classifier is a convex combination of the classifiers of the known classes, weighted by how similar their
    names are to the word: w_t = sum_k s_tk w_k with s_t = softmax(sharpness * cos(text_t, anchor_k)). It equals the
    same combination of the classes' logits, so only logits are needed.

    Source: Changpinyo et al., "Synthesized classifiers for zero-shot learning", CVPR 2016, Eqs. 2 and 3, with cosine
    similarities instead of distances.
    """

    anchors: Tensor

    def __init__(self, classes: int, channels: int, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.register_buffer("anchors", torch.randn(classes, channels))

    def forward(self, class_logits: Float[Tensor, "B K H W"], text: PromptEmbeddings) -> CostVolume:
        """Weighted mean over the known classes of each cell's centered logits, which have unit norm in each cell."""
        class_logits, text = at_least_float32(class_logits), at_least_float32(text)
        with without_autocast(text):
            similarity = F.normalize(text, dim=-1) @ F.normalize(self.anchors, dim=-1).mT
            share = (self.sharpness * similarity).softmax(dim=-1)
            centered = class_logits - class_logits.mean(dim=1, keepdim=True)
            return torch.einsum("bkhw,btpk->bpthw", F.normalize(centered, dim=1), share)


def all_costs(
    maps: FeatureMaps,
    text: PromptEmbeddings,
    synthesized: SynthesizedClassifiers | None,
    class_logits: Float[Tensor, "B K h w"] | None,
) -> CostVolume:
    """Compare the maps with the words by cosine, and the known classes by synthesized classifiers, if there are any.

    All maps, and the known classes' logits, which the synthesized classifiers blend, have the same grid. A word with P
    prompts has P costs for each map, and P for the synthesized classifiers.
    """
    costs = [cost_volume(image, text) for image in maps]
    if synthesized is not None:
        if class_logits is None:
            raise ValueError("synthesized classifiers need an image encoder with known classes")
        costs.append(synthesized(class_logits, text))
    return torch.cat(costs, dim=1)


class CostSum(nn.Module):
    """Logits as a weighted sum of the costs of each class and cell.

    Feature maps say little about words that they weren't trained on. With `familiar`, the words that they were trained
    on, the weights depend on a word's novelty, its distance to the nearest of these, 1 - max cos:
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


class NoAggregation(Float32Parts):
    """Replaces an aggregation by a `CostSum` of the costs (PCA-Seg, Table 3, first row).

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
        kept = context.select(logits[:, None])
        return (logits if kept is None else gather_classes(logits, kept, 1)), kept


def start_at_zero(head: nn.Module) -> None:
    """Initialize a head to output zeros; random logits would drown the cost sum that they are added to."""
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
