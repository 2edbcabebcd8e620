"""The four contrastive losses of SynSeg (multi-category contrastive learning), as two versions of its paper have them.

Zhang et al., arXiv:2508.06115: v2 of November 2025 prints the formulas, v3 of June 2026 (ICME 2026) changes three of
them. N phrases of a picture have foreground vectors f_i, background vectors g_i and embeddings t_i:
    align  -1/N  sum_i log b(f_i, t_i)                 a phrase's foreground is like its text
    cont   -1/N  sum_i log(1 - b(f_i, g_i))            foreground and background of a phrase differ
    back   -1/M  sum_jk log b(g_j, g_k)                backgrounds are alike
    sep    -1/M  sum_jk log(1 - b(f_j, f_k))           foregrounds of different phrases differ
b is a cosine brought inside (0, 1).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

Version = Literal["v3", "v2"]
"""v3: b maps [-1, 1] to [eps, 1 - eps]; cont counts pairs whose cosine is above a threshold; back and sep are of
ordered pairs j != k, M = N (N - 1). v2: b cuts the cosine off at eps and 1 - eps; all pairs count, M = N²."""

TERMS = ("align", "cont", "back", "sep")


@dataclass(frozen=True, kw_only=True)
class SynergyLosses:
    """The losses of a batch, by name.

    version: see `Version`. eps: how far b stays from 0 and 1. active: cosine from which a pair counts in cont (v3).
    """

    version: Version = "v3"
    eps: float = 5e-3
    active: float = 0.1

    def __call__(
        self,
        foreground: Float[Tensor, "M C"],
        background: Float[Tensor, "M C"],
        text: Float[Tensor, "M C"],
        owner: Int[Tensor, " M"],
        pictures: int,
    ) -> dict[str, Float[Tensor, ""]]:
        """The mean of each loss over the pictures.

        Where a picture has one phrase, back and sep are 0; without phrases all are.

        Args:
            foreground: synergy vectors of M phrases, of any norm.
            background: the same.
            text: embeddings of the phrases, of any norm.
            owner: the picture of each phrase.
            pictures: how many there are.
        """
        f, g, t = (F.normalize(vectors, dim=-1) for vectors in (foreground, background, text))
        counts = owner.bincount(minlength=pictures)[owner].to(f.dtype)
        of_phrase = 1 / (counts * pictures)
        together = owner[:, None] == owner
        pairs = counts * counts
        if self.version == "v3":
            together = together & ~torch.eye(len(owner), dtype=torch.bool, device=owner.device)
            pairs = counts * (counts - 1)
        of_pair = torch.where(together & (counts > 1), 1 / (pairs.clamp(min=1) * pictures)[:, None], 0.0)
        apart = (f * g).sum(dim=-1)
        active = (apart > self.active).to(f.dtype) if self.version == "v3" else torch.ones_like(apart)
        return {
            "align": -(of_phrase * self.bounded((f * t).sum(dim=-1)).log()).sum(),
            "cont": -(of_phrase * active * (1 - self.bounded(apart)).log()).sum(),
            "back": -(of_pair * self.bounded(g @ g.mT).log()).sum(),
            "sep": -(of_pair * (1 - self.bounded(f @ f.mT)).log()).sum(),
        }

    def bounded(self, cosine: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """A cosine inside [eps, 1 - eps]."""
        if self.version == "v2":
            return cosine.clamp(self.eps, 1 - self.eps)
        return self.eps + (1 - 2 * self.eps) * (cosine.clamp(-1, 1) + 1) / 2
