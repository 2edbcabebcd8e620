"""Class selection in training: the classes of an image's labels first, then others by their votes."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from segvoc.layers.class_selection import Kept, count_votes
from segvoc.selection_rules import Voted
from segvoc.shapes import CostVolume


@dataclass(frozen=True, eq=False)
class GroundTruthFirst:
    """ERR-Seg's selection in training: the classes of an image's labels, then others up to `voted.keep`.

    If more labeled classes exist than fit, those with the lowest indices are kept.
    """

    labels: Int[Tensor, "B H W"]
    """The class of every pixel."""
    voted: Voted
    """How many classes are kept, and how cells vote for them."""
    ignored: int = 255
    """Value of unlabeled pixels."""
    fill: Literal["strongest", "released"] = "strongest"
    """Which other classes are added: those with the most votes, or as in the released code, which drops the classes
    with the highest indices, not those with the fewest votes."""

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Select classes."""
        keep, classes = self.voted.keep, cost.shape[2]
        if keep >= classes:
            return None
        order = count_votes(cost, self.voted.votes).argsort(dim=1, descending=True, stable=True)
        if self.fill == "released":
            order = order[:, :keep].sort(dim=1).values
        # ranked instead of picked by masks, whose sizes the host would wait for
        number = torch.arange(classes, device=order.device).expand(len(order), -1)
        rank = torch.full_like(number, classes).scatter(1, order, number[:, : order.shape[1]])
        known = (self.labels < classes) & (self.labels != self.ignored)
        seen = self.labels.where(known, classes).flatten(1).to(order.device)
        labeled = rank.new_zeros(len(order), classes + 1).scatter(1, seen, 1)[:, :-1].bool()
        rank = torch.where(labeled, number - classes, rank)
        return rank.argsort(dim=1, stable=True)[:, :keep].sort(dim=1).values
