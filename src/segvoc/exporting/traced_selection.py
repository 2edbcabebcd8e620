"""Class selection as part of a program: its settings are inputs, so one program serves all of them.

The classes of an image are scored by votes or by similarity. The program keeps at least `least` of them, and as many
as hold a `share` of all votes. With `least` >= T it keeps all, with `share` = 0 exactly `least`.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor
from torch.export import Dim

from segvoc.layers.class_selection import Kept, count_votes
from segvoc.selection_rules import PUBLISHED_VOTES, Votes
from segvoc.shapes import CostVolume

SELECTION_INPUTS = ("least", "share", "by_similarity", "objects", "part", "owner")
"""Inputs of a program that selects classes."""


@dataclass(frozen=True)
class TracedSelection:
    """Selects classes by settings that are tensors; see `segvoc.layers.class_selection` for the rules in Python."""

    least: Int64[Tensor, ""]
    """Smallest number of objects to keep."""
    share: Float64[Tensor, ""]
    """Share of the votes that the kept objects hold, in [0, 1]."""
    by_similarity: Bool[Tensor, ""]
    """Score by the largest similarity at any cell instead of by votes."""
    objects: Int64[Tensor, ""]
    """Number of objects, which are the first classes. The others are parts, which are kept with their objects."""
    part: Int64[Tensor, " M"]
    """Classes that are parts; one that is an object has no effect."""
    owner: Int64[Tensor, " M"]
    """For each of them, an object that it is kept with, in all images if any image keeps it."""
    votes: Votes = PUBLISHED_VOTES
    """How cells vote, which is part of the program."""

    @staticmethod
    def example() -> dict[str, Tensor]:
        """Inputs to trace a program with: all classes are objects, one is listed as its own part."""
        return {
            "least": torch.tensor(5),
            "share": torch.tensor(0.9, dtype=torch.float64),
            "by_similarity": torch.tensor(False),
            "objects": torch.tensor(1 << 30),
            "part": torch.zeros(2, dtype=torch.int64),
            "owner": torch.zeros(2, dtype=torch.int64),
        }

    @staticmethod
    def free_axes() -> dict[str, dict[int, Any]]:
        """Axes of any size of these inputs."""
        pairs = Dim("parts", min=1, max=1 << 20)
        return {name: {0: pairs} if name in ("part", "owner") else {} for name in SELECTION_INPUTS}

    def __call__(self, cost: CostVolume) -> Kept:
        """Select classes, in ascending order."""
        is_object = torch.arange(cost.shape[2], device=cost.device) < self.objects
        cost = cost.masked_fill(~is_object[:, None, None], -torch.inf)
        kept = self._kept_objects(cost, is_object)
        owner_kept = kept.any(dim=0)[self.owner].float()
        with_owner = owner_kept.new_zeros(cost.shape[2]).scatter_add(0, self.part, owner_kept)
        kept = kept | ((with_owner > 0) & ~is_object)
        count = cast(int, kept[0].sum().item())
        torch._check(count >= 1)
        torch._check(count <= kept.shape[1])
        return kept.int().argsort(dim=1, descending=True, stable=True)[:, :count]

    def _kept_objects(self, cost: CostVolume, is_object: Bool[Tensor, " T"]) -> Bool[Tensor, "B T"]:
        votes = count_votes(cost, self.votes).double() * is_object
        held = votes.sort(dim=1, descending=True).values.cumsum(dim=1)
        needed = 1 + (held < self.share * held[:, -1:]).sum(dim=1).amax(dim=0)
        score = torch.where(self.by_similarity, cost.amax(dim=(1, 3, 4)).double(), votes)
        score = score.masked_fill(~is_object, -torch.inf)
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < torch.maximum(self.least, needed)) & is_object
