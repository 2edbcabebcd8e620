"""A convolution to a single map."""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segvoc.layers.exporting import is_exporting


class SingleMapConv(nn.Conv2d):
    """A 3x3 convolution, with padding, to a single map.

    Where nothing is learned it is one product of matrices, to the nine terms of each cell's neighbors, and their sum:
    four times as fast on a CPU, whose kernels for convolutions need several maps to fill their registers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, kernel_size=3, padding=1)

    def forward(self, input: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1 H W"]:
        """Apply the convolution."""
        if torch.is_grad_enabled() or is_exporting() or input.device.type != "cpu":
            return super().forward(input)
        images, _, rows, columns = input.shape
        cells = input.permute(0, 2, 3, 1).flatten(0, 2)
        terms = (self.weight[0].flatten(1).T @ cells.T).view(3, 3, images, rows, columns)
        found = self.bias.expand(images, rows, columns).clone()  # pyright: ignore[reportOptionalMemberAccess]
        for i, j in product(range(3), range(3)):
            (from_row, to_row), (from_column, to_column) = _overlap(i - 1, rows), _overlap(j - 1, columns)
            found[:, to_row, to_column] += terms[i, j, :, from_row, from_column]
        return found[:, None]


def _overlap(distance: int, size: int) -> tuple[slice, slice]:
    """Along an axis, the cells that are a neighbor at a distance of -1, 0 or 1, and those whose neighbor they are."""
    return slice(max(distance, 0), size + min(distance, 0)), slice(max(-distance, 0), size + min(-distance, 0))
