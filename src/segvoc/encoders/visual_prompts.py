"""Visual prompt tuning, "deep" (Jia et al., arXiv:2203.12119; CAT-Seg, arXiv v1, Table 3, II)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class VisualPrompts(nn.Module):
    """Learned tokens that each block of a transformer reads beside its input.

    Args:
        blocks: number of blocks.
        count: tokens for each block.
        width: channels of the tokens.
    """

    def __init__(self, blocks: int, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(nn.init.xavier_uniform_(torch.empty(blocks, count, width)))

    def forward(self, index: int, block: nn.Module, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """The tokens after the block at an index, which reads its prompts, too."""
        return block(torch.cat([x, self.table[index].expand(x.shape[0], -1, -1)], dim=1))[:, : x.shape[1]]
