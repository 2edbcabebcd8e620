"""Dense modes: how the last block of a ViT attends to give dense features, including self-similarities.

A CLIP is trained to describe whole images: its unmodified last block mixes all cells. The modes here change only that
block and no weights. On frozen encoders, papers report the better scores the less of the block is left: OpenAI's
ViT-B/16 has, on average over eight benchmarks, 14.1 mIoU as it is and 38.2 with SCLIP's self-similarity (Wang et al.,
arXiv:2312.01597, abstract), and 39.4 with NACLIP's (Hajimiri et al., arXiv:2404.08181, Table 1, without refinement).
Leaving out the block's residual and its MLP gives most of it: 27.3 against 37.5 on five benchmarks (Lan et al.,
ClearCLIP, arXiv:2407.12442, ablation). segvoc has measured none of these.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

DenseMode = Literal["csa", "qq", "kk", "vv", "all", "maskclip", "vanilla", "clearclip", "naclip"]
"""A dense mode of the last block.

- "vanilla": the block as it is
- "maskclip": each token's own value instead of the attention (Zhou et al., arXiv:2112.01071)
- "csa", "qq", "kk", "vv", "all": self-similarity as in the code of DeCLIP and PCA-Seg, for weights distilled so
- "clearclip": self-similarity of the queries (Lan et al., ClearCLIP, arXiv:2407.12442), for weights as CLIP trains them
- "naclip": self-similarity of the keys and nearness in the image (Hajimiri et al., NACLIP, arXiv:2404.08181), likewise
"""

OpenAIDenseMode = Literal["cat-seg", DenseMode]
"""The same, or "cat-seg": each token's own value plus the CLS token, as in the code of CAT-Seg and PCA-Seg."""


@dataclass(frozen=True, kw_only=True)
class SelfSimilarity:
    """Attention of tokens to those with similar projections; the block's residual and its MLP are left out."""

    terms: tuple[str, ...]
    """Which projections are compared with themselves: several terms are added, several letters share one softmax."""
    scaled: bool = False
    """Whether similarities are scaled by 1/sqrt(d), as in the encoder's own attention; DeCLIP's code doesn't."""
    neighbors: float = 0.0
    """Standard deviation of the Gaussian of the distance that is added to the similarity [cells]; 0: none."""


SELF_SIMILARITIES: Mapping[str, SelfSimilarity] = {
    "csa": SelfSimilarity(terms=("q", "k")),
    "qq": SelfSimilarity(terms=("q",)),
    "kk": SelfSimilarity(terms=("k",)),
    "vv": SelfSimilarity(terms=("v",)),
    "all": SelfSimilarity(terms=("qkv",)),
    "clearclip": SelfSimilarity(terms=("q",), scaled=True),
    "naclip": SelfSimilarity(terms=("k",), scaled=True, neighbors=5.0),
}
"""The modes that are self-similarities."""


def mix_values(
    similarity: SelfSimilarity, project: Callable[[str], Float[Tensor, "B L D"]], heads: int, grid: tuple[int, int]
) -> Float[Tensor, "B L D"]:
    """Mix the tokens' values by self-similarity: the sum of softmax(s x xᵀ + g) v over the terms, per head.

    `project` gives the projection x ("q", "k" or "v") of all L = 1 + h w tokens, the CLS token first.
    """
    v = project("v")
    projected = {"v": v} | {name: project(name) for name in set("".join(similarity.terms)) - {"v"}}
    split = {name: rearrange(x, "b l (n d) -> b n l d", n=heads) for name, x in projected.items()}
    near = None
    if similarity.neighbors:
        near = nearness(grid, similarity.neighbors, v.device).to(v.dtype)
    mixed = torch.zeros_like(split["v"])
    for term in similarity.terms:
        side = torch.cat([split[name] for name in term], dim=-1)
        scale = side.shape[-1] ** -0.5 if similarity.scaled else 1 / len(term)
        mixed = mixed + F.scaled_dot_product_attention(side, side, split["v"], attn_mask=near, scale=scale)
    return rearrange(mixed, "b n l d -> b l (n d)")


def nearness(grid: tuple[int, int], deviation: float, device: torch.device) -> Float[Tensor, "L L"]:
    """exp(-d² / 2 deviation²) for the distance d between two cells [cells]; 0 for the CLS token, which comes first."""
    rows, columns = (torch.arange(side, device=device, dtype=torch.float32) for side in grid)
    y, x = (torch.exp(-((place[:, None] - place) ** 2) / (2 * deviation**2)) for place in (rows, columns))
    near = rearrange(y, "r s -> r 1 s 1") * rearrange(x, "c d -> 1 c 1 d")  # exporting `kron` would fix the grid
    return F.pad(rearrange(near, "r c s d -> (r c) (s d)"), (1, 0, 1, 0))
