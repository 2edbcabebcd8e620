"""An aggregation without guidance (CAT-Seg, arXiv v1, Table 2, V)."""

from jaxtyping import Float
from torch import Tensor, nn


class NoGuidance(nn.Module):
    """Takes the place of a projection to no channels, which PyTorch's layers can't have.

    Args:
        dim: the axis of the channels.
    """

    out_channels = 0

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape_without"]:
        """The same tensor with 0 channels."""
        return x.narrow(self.dim, 0, 0)
