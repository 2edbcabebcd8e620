"""The four losses of SynSeg (multi-category contrastive learning), as defined by versions 2 and 3 of its paper.

Zhang et al., arXiv:2508.06115: v2 (November 2025) has the formulas, v3 (June 2026, ICME 2026) changes three of them.
The N phrases of an image have foreground vectors f_i, background vectors g_i and text embeddings t_i:
    align  -1/N  sum_i log b(f_i, t_i)                 pull a phrase's foreground toward its text
    cont   -1/N  sum_i log(1 - b(f_i, g_i))            push foreground and background of a phrase apart
    back   -1/M  sum_jk log b(g_j, g_k)                pull all backgrounds together
    sep    -1/M  sum_jk log(1 - b(f_j, f_k))           push the foregrounds of different phrases apart
b is the cosine similarity, mapped or clipped into (0, 1).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from segvoc.training.recipe import Version

TERMS = ("align", "cont", "back", "sep")


@dataclass(frozen=True, kw_only=True)
class SynergyLosses:
    """Computes the losses of a batch."""

    version: Version = "v3"
    """Version of the paper; see `Version`."""
    eps: float = 5e-3
    """Distance that b keeps from 0 and 1."""
    active: float = 0.1
    """Cosine above which a pair counts in cont (v3)."""

    def __call__(
        self,
        foreground: Float[Tensor, "M C"],
        background: Float[Tensor, "M C"],
        text: Float[Tensor, "M C"],
        owner: Int[Tensor, " M"],
        images: int,
    ) -> dict[str, Float[Tensor, ""]]:
        """The mean of each loss over the images, by name.

        For an image with one phrase, back and sep are 0; for an image without phrases, all four are.

        Args:
            foreground: foreground synergy vectors of M phrases, of any norm.
            background: their background synergy vectors, of any norm.
            text: their text embeddings, of any norm.
            owner: for each phrase, its image's position in the batch.
            images: number of images in the batch.
        """
        f, g, t = (F.normalize(vectors, dim=-1) for vectors in (foreground, background, text))
        counts = owner.bincount(minlength=images)[owner].to(f.dtype)
        phrase_weight = 1 / (counts * images)
        same_image = owner[:, None] == owner
        pairs = counts * counts
        if self.version == "v3":
            same_image = same_image & ~torch.eye(len(owner), dtype=torch.bool, device=owner.device)
            pairs = counts * (counts - 1)
        pair_weight = torch.where(same_image & (counts > 1), 1 / (pairs.clamp(min=1) * images)[:, None], 0.0)
        similarity = (f * g).sum(dim=-1)
        active = (similarity > self.active).to(f.dtype) if self.version == "v3" else torch.ones_like(similarity)
        return {
            "align": -(phrase_weight * self.bounded((f * t).sum(dim=-1)).log()).sum(),
            "cont": -(phrase_weight * active * (1 - self.bounded(similarity)).log()).sum(),
            "back": -(pair_weight * self.bounded(g @ g.mT).log()).sum(),
            "sep": -(pair_weight * (1 - self.bounded(f @ f.mT)).log()).sum(),
        }

    def bounded(self, cosine: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """b: the cosine, mapped (v3) or clipped (v2) to [eps, 1 - eps]."""
        if self.version == "v2":
            return cosine.clamp(self.eps, 1 - self.eps)
        return self.eps + (1 - 2 * self.eps) * (cosine.clamp(-1, 1) + 1) / 2
