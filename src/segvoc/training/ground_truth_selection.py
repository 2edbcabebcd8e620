"""Selecting classes while training: what is in the picture stays, the rest are the strongest of the others."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from segvoc.layers.class_selection import Kept, Voted
from segvoc.shapes import CostVolume


@dataclass(frozen=True, eq=False)
class GroundTruthFirst:
    """ERR-Seg's selection in training: a picture's labelled classes, filled up to `voted.keep` with voted ones.

    labels: (B H W) class of every pixel. ignored: value of pixels without one. fill: "strongest" takes the others by
    their votes; "released" as the released code, which cuts those off that have the largest index, not the fewest
    votes. Of more labelled classes than fit, those with the lowest index stay.
    """

    labels: Int[Tensor, "B H W"]
    voted: Voted
    ignored: int = 255
    fill: Literal["strongest", "released"] = "strongest"

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Choose."""
        keep, classes = self.voted.keep, cost.shape[2]
        if keep >= classes:
            return None
        order = self.voted.votes(cost).argsort(dim=1, descending=True, stable=True)
        if self.fill == "released":
            order = order[:, :keep].sort(dim=1).values
        rows = [
            self._filled(picture[picture < classes], others, keep)
            for picture, others in zip(self.labels, order, strict=True)
        ]
        return torch.stack(rows).sort(dim=1).values

    def _filled(self, labels: Int[Tensor, " N"], others: Int[Tensor, " M"], keep: int) -> Int[Tensor, " K"]:
        there = labels.unique()
        there = there[there != self.ignored].to(others)
        return torch.cat((there, others[~torch.isin(others, there)]))[:keep]
