"""The cost volume: how alike is every cell of the picture to every word, and which words are worth keeping."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from segvoc.axes import Logits


def cost_volume(image: Float[Tensor, "B C H W"], text: Float[Tensor, "B T P C"]) -> Float[Tensor, "B P T H W"]:
    """Cosine similarity of every cell with every prompt of every class.

    Source: PCA-Seg, Eq. 1 (CAT-Seg, Eq. 1).

    Args:
        image: dense features, one cell per patch, of any norm.
        text: P prompt embeddings for each of T classes, of any norm.

    Returns:
        similarity in [-1, 1], unitless.

    Raises:
        ValueError: the channel counts differ.
    """
    if image.shape[1] != text.shape[-1]:
        raise ValueError(f"the picture has {image.shape[1]} feature channels, the text {text.shape[-1]}")
    return torch.einsum("bchw,btpc->bpthw", F.normalize(image, dim=1), F.normalize(text, dim=-1))


def most_similar_classes(cost: Float[Tensor, "B P T H W"], keep: int) -> Int[Tensor, "B K"]:
    """The `keep` classes of each picture whose best cell and prompt is the most similar, in ascending order.

    The released CAT-Seg and PCA-Seg choose the classes of a large vocabulary so. Equal classes: the lower index is
    kept.
    """
    best_cell = cost.detach().amax(dim=(1, 3, 4))
    return best_cell.argsort(dim=1, descending=True, stable=True)[:, :keep].sort(dim=1).values


DROPPED = -100.0
"""Logit of a class that was not kept, as released."""


def keep_most_similar(
    cost: Float[Tensor, "B P T H W"], text: Float[Tensor, "B T N C"], keep: int | None
) -> tuple[Float[Tensor, "B P K H W"], Float[Tensor, "B K N C"], Int[Tensor, "B K"] | None]:
    """Costs and prompts of each picture's most similar classes, and which they are; None: of all of them."""
    if keep is None or keep >= text.shape[1]:
        return cost, text, None
    kept = most_similar_classes(cost, keep)
    cost = cost.take_along_dim(kept[:, None, :, None, None], dim=2)
    return cost, text.take_along_dim(kept[:, :, None, None], dim=1), kept


def among_all(logits: Float[Tensor, "B K h w"], kept: Int[Tensor, "B K"] | None, classes: int) -> Logits:
    """Logits of all classes: those that were not kept get `DROPPED`."""
    if kept is None:
        return logits
    everyone = logits.new_full((len(logits), classes, *logits.shape[2:]), DROPPED)
    return everyone.scatter(1, kept[:, :, None, None].expand_as(logits), logits)
