"""Costs taken for what they are: no aggregation, or the start to which an aggregation adds."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segvoc.axes import CostVolume, Logits
from segvoc.cost_volume import cost_volume


class CostSum(nn.Module):
    """A learnt weighted sum of the costs of each class and cell, as logits."""

    def __init__(self, costs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(costs))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, cost: CostVolume) -> Logits:
        """Logits on the grid of the costs."""
        return torch.einsum("bpthw,p->bthw", cost, self.weight) + self.bias


class NoAggregation(nn.Module):
    """Stands where an aggregation stands and only sums the costs (PCA-Seg, Table 3, first row)."""

    def __init__(self, costs: int) -> None:
        super().__init__()
        self.skip = CostSum(costs)

    def forward(
        self,
        maps: Sequence[Float[Tensor, "B C H W"]],
        text: Float[Tensor, "B T P C"],
        *_: object,
        **__: object,
    ) -> Logits:
        """Logits on the grid of the maps; nothing else that an aggregation is given matters."""
        return self.skip(torch.cat([cost_volume(image, text) for image in maps], dim=1))
