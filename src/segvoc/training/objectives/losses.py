"""Losses of the published networks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segvoc.shapes import ClassTokens, Logits


def squared_cosine(spatial: ClassTokens, semantic: ClassTokens) -> Float[Tensor, "B T H W"]:
    """Squared cosine of the two streams of every class and cell, in [0, 1] (PCA-Seg, Eqs. 7 and 8).

    As released, 1e-6 is added to each norm.
    """
    kind = torch.promote_types(spatial.dtype, torch.float32)  # half precision can't sum up so many cells
    spatial, semantic = spatial.to(kind), semantic.to(kind)
    norms = (spatial.norm(dim=-1) + 1e-6) * (semantic.norm(dim=-1) + 1e-6)
    return ((spatial * semantic).sum(dim=-1) / norms).square()


def released_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255, chunk: int | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy of every class at every pixel, as CAT-Seg, PCA-Seg and ERR-Seg were trained.

    Logits are interpolated to the labels' size. A pixel that is `ignored`, or whose label no class has, belongs to no
    class, and counts as that. chunk: classes at a time; their maps at the labels' size are then not kept but computed
    once more in the backward pass (None: all, and kept).
    """
    return _entropy(logits, labels, labels.new_ones(()).bool(), chunk) / (labels.numel() * logits.shape[1])


def masked_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255, chunk: int | None = None
) -> Float[Tensor, ""]:
    """The same, where `ignored` pixels don't count; zero if all are."""
    counted = labels != ignored
    return _entropy(logits, labels, counted[:, None], chunk) / (counted.sum() * logits.shape[1]).clamp(min=1)


def competing_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255, chunk: int | None = None
) -> Float[Tensor, ""]:
    """Softmax cross-entropy of a pixel's class among all classes and "none of them", whose logit is 0.

    A class then beats none where its sigmoid is above 1/2, which is the background rule's default. Few pictures teach
    more this way than by binary losses, in which the many classes that a pixel is not drown the one that it is. No
    published network is trained so. See `released_segmentation_loss`; `ignored` pixels don't count.
    """
    size, counted = labels.shape[1:], labels != ignored

    def sums(logits: Logits, first: int) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
        """Log of the sum of exponentials over some classes, and the logit of the true one where it is among them."""
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        scores = F.interpolate(precise, size=size, mode="bilinear")
        place = labels - first
        here = (place >= 0) & (place < scores.shape[1])
        true = scores.gather(1, place.where(here, place.new_zeros(()))[:, None])[:, 0]
        return scores.logsumexp(dim=1), true * here

    step = chunk or logits.shape[1]
    total, true = torch.zeros_like(labels, dtype=torch.float32), torch.zeros_like(labels, dtype=torch.float32)
    for number, part in enumerate(logits.split(step, dim=1)):
        more, found = sums(part, 0) if chunk is None else checkpoint(sums, part, number * step, use_reentrant=False)  # pyright: ignore[reportGeneralTypeIssues]
        total, true = torch.logaddexp(total, more), true + found
    return ((total - true) * counted).sum() / counted.sum().clamp(min=1)


def _entropy(logits: Logits, labels: Int[Tensor, "B H W"], counted: Tensor, chunk: int | None) -> Float[Tensor, ""]:
    """The sum over all classes and counted pixels."""

    def of_some(logits: Logits, first: int) -> Float[Tensor, ""]:
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        scores = F.interpolate(precise, size=labels.shape[1:], mode="bilinear")
        classes = torch.arange(first, first + scores.shape[1], device=labels.device)
        targets = (labels[:, None] == classes[:, None, None]).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, targets, weight=counted.to(scores.dtype), reduction="sum")

    if chunk is None:
        return of_some(logits, 0)
    sums = [
        checkpoint(of_some, part, number * chunk, use_reentrant=False)
        for number, part in enumerate(logits.split(chunk, dim=1))
    ]
    return torch.stack(sums).sum()  # pyright: ignore[reportArgumentType]


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
        self._cells: list[int] = []

    def observe(self, spatial: ClassTokens, semantic: ClassTokens) -> None:
        """Count in the streams of one block."""
        squared = squared_cosine(spatial, semantic)
        self._terms.append(squared.sum())
        self._cells.append(squared.numel())

    def forward(self) -> Float[Tensor, ""]:
        """`weight` times the mean over the blocks, classes and cells seen since the last call.

        Raises:
            RuntimeError: nothing was seen.
        """
        return self.weight * self.by_block(1)[0]

    def by_block(self, blocks: int | Sequence[int]) -> Float[Tensor, " blocks"]:
        """The mean of each block, without the weight, of what was seen since the last call.

        blocks: how many there are, all in equally many chunks of classes; or the chunks of each.

        Raises:
            RuntimeError: nothing was seen.
        """
        if not self._terms:
            raise RuntimeError("no streams were seen: pass `observe=loss.observe` to the network's forward pass")
        chunks = [len(self._terms) // blocks] * blocks if isinstance(blocks, int) else list(blocks)
        sums = torch.stack([terms.sum() for terms in torch.stack(self._terms).split(chunks)])
        cells = [sum(cells.tolist()) for cells in torch.tensor(self._cells).split(chunks)]
        self._terms, self._cells = [], []
        return sums / sums.new_tensor(cells)
