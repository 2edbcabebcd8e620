"""Costs of any words from the logits of classes that an image encoder was trained to recognize."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.precision import at_least_float32, without_autocast
from segvoc.shapes import CostVolume, FeatureMaps, PromptEmbeddings


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
        """Build the module with random embeddings of the class names.

        Args:
            classes: known classes.
            channels: channels of the word embeddings.
            sharpness: factor of the cosine similarities in the softmax.
        """
        super().__init__()
        self.sharpness = sharpness
        self.register_buffer("anchors", torch.randn(classes, channels))

    def forward(self, class_logits: Float[Tensor, "B K H W"], text: PromptEmbeddings) -> CostVolume:
        """Weighted mean over the known classes of each cell's centered logits, which have unit norm in each cell.

        Args:
            class_logits: logits of the K known classes.
            text: prompt embeddings of the words, any norm.

        Returns:
            Costs in [-1, 1], unitless.
        """
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
    """Compare the maps with the words by their cosine, and the known classes by the classifiers made for the words.

    Args:
        maps: dense feature maps on one grid, in the space shared with the text.
        text: prompt embeddings of the words, any norm.
        synthesized: the synthesized classifiers; None: only the maps are compared.
        class_logits: logits of the known classes on the same grid, which the synthesized classifiers need.

    Returns:
        P prompts x (maps and synthesized classifiers) costs for each word.

    Raises:
        ValueError: there are synthesized classifiers and no logits, since the image encoder knows no classes.
    """
    costs = [cost_volume(image, text) for image in maps]
    if synthesized is not None:
        if class_logits is None:
            raise ValueError("synthesized classifiers need an image encoder with known classes")
        costs.append(synthesized(class_logits, text))
    return torch.cat(costs, dim=1)
