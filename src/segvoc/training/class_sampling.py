"""Some of many words for a step: those in its pictures, and distractors."""

import torch
from jaxtyping import Int
from torch import Tensor


def chosen_words(
    labels: Int[Tensor, "B H W"], classes: int, words: int, seed: int
) -> tuple[Int[Tensor, "B H W"], Int[Tensor, " N"]]:
    """`words` of the classes, ascending, and the labels as indices into them.

    All classes of the pictures are among them, even if these are more; random others fill up. What is no class keeps
    its meaning: what is above all classes stays above all chosen ones.
    """
    there = labels.unique()
    there = there[there < classes]
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    others = order[~torch.isin(order, there)][: max(0, words - len(there))]
    chosen = torch.cat((there, others)).sort().values
    place = torch.searchsorted(chosen, labels)
    return torch.where(labels < classes, place, labels), chosen
