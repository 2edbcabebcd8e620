"""Sampling of classes for a training step: those in its images, and random distractors."""

import torch
from jaxtyping import Int
from torch import Tensor


def chosen_words(
    labels: Int[Tensor, "B H W"], classes: int, words: int, seed: int
) -> tuple[Int[Tensor, "B H W"], Int[Tensor, " N"]]:
    """Sample classes for a step.

    Args:
        labels: the class of every pixel; values from `classes` on are not classes.
        classes: number of all classes.
        words: number of classes to sample. All classes in the images are kept even if there are more.
        seed: of the random distractors.

    Returns:
        The labels as indices into the sampled classes, where values that are not classes stay at or above their
        number; and the sampled classes in ascending order.
    """
    there = labels.unique()
    there = there[there < classes]
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    others = order[~torch.isin(order, there)][: max(0, words - len(there))]
    chosen = torch.cat((there, others)).sort().values
    place = torch.searchsorted(chosen, labels)
    return torch.where(labels < classes, place, labels), chosen
