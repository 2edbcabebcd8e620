"""An aggregation without guidance (CAT-Seg, arXiv v1, Table 2, V)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class NoGuidance(nn.Module):
    """Takes the place of a projection to no channels, which PyTorch's layers can't have.

    Args:
        dim: the axis of the channels.
    """

    out_channels = 0
    weight: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        # it has the dtype of the other layers; no file holds it, so it is real also in a network that a file fills
        self.register_buffer("weight", torch.empty(0, device="cpu"), persistent=False)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape_without"]:
        """The same tensor with 0 channels."""
        return x.narrow(self.dim, 0, 0)
