"""Losses of the published networks."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.axes import ClassTokens, Logits


def squared_cosine(spatial: ClassTokens, semantic: ClassTokens) -> Float[Tensor, "B T H W"]:
    """Squared cosine of the two streams of every class and cell, in [0, 1] (PCA-Seg, Eqs. 7 and 8).

    As released, 1e-6 is added to each norm.
    """
    norms = (spatial.norm(dim=-1) + 1e-6) * (semantic.norm(dim=-1) + 1e-6)
    return ((spatial * semantic).sum(dim=-1) / norms).square()


def released_segmentation_loss(logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255) -> Float[Tensor, ""]:
    """Binary cross-entropy of every class at every pixel, as CAT-Seg, PCA-Seg and ERR-Seg were trained.

    Logits are interpolated to the labels' size. A pixel that is `ignored` belongs to no class, and counts as that.
    """
    return F.binary_cross_entropy_with_logits(*_scores_and_targets(logits, labels))


def masked_segmentation_loss(logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255) -> Float[Tensor, ""]:
    """The same, where `ignored` pixels don't count; zero if all are."""
    scores, targets = _scores_and_targets(logits, labels)
    counted = (labels != ignored)[:, None].expand_as(scores)
    total = F.binary_cross_entropy_with_logits(scores, targets, weight=counted.to(scores.dtype), reduction="sum")
    return total / counted.sum().clamp(min=1)


def _scores_and_targets(logits: Logits, labels: Int[Tensor, "B H W"]) -> tuple[Tensor, Tensor]:
    scores = F.interpolate(logits, size=labels.shape[1:], mode="bilinear")
    targets = torch.stack([labels == number for number in range(scores.shape[1])], dim=1)
    return scores, targets.to(scores.dtype)


class OrthogonalityLoss(nn.Module):
    """Feature orthogonalisation decoupling (FOD): keeps the spatial and the class stream apart (PCA-Seg, Eqs. 7 to 10).

    `observe` is handed to the network's forward pass; `forward` gives the loss of all that was seen since the last
    call:

        logits = network(image, text, observe=orthogonality.observe)
        loss = segmentation_loss(logits, labels) + orthogonality()

    weight: lambda of Eq. 10, 0.01 in the paper, 0.001 in the released code.
    """

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        self.weight = weight
        self._terms: list[Float[Tensor, ""]] = []
        self._cells = 0

    def observe(self, spatial: ClassTokens, semantic: ClassTokens) -> None:
        """Count in the streams of one block."""
        squared = squared_cosine(spatial, semantic)
        self._terms.append(squared.sum())
        self._cells += squared.numel()

    def forward(self) -> Float[Tensor, ""]:
        """`weight` times the mean over the blocks, classes and cells seen since the last call.

        Raises:
            RuntimeError: nothing was seen.
        """
        if not self._terms:
            raise RuntimeError("no streams were seen: pass `observe=loss.observe` to the network's forward pass")
        mean = torch.stack(self._terms).sum() / self._cells
        self._terms, self._cells = [], 0
        return self.weight * mean
