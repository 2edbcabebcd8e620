"""Losses of the published networks."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segvoc.layers.precision import at_least_float32
from segvoc.shapes import ClassTokens, Logits

Count = Float[Tensor, ""] | None
"""How many pixels a mean is over; None: as many as are counted."""


def stream_cosine(spatial: ClassTokens, semantic: ClassTokens) -> Float[Tensor, "B T H W"]:
    """Cosine similarity of the two streams for every class and cell, in [-1, 1] (PCA-Seg, Eq. 7).

    As in the released code, 1e-6 is added to each norm.
    """
    # sums over many cells overflow in half precision
    spatial, semantic = at_least_float32(spatial), at_least_float32(semantic)
    norms = (spatial.norm(dim=-1) + 1e-6) * (semantic.norm(dim=-1) + 1e-6)
    return (spatial * semantic).sum(dim=-1) / norms


def squared_cosine(spatial: ClassTokens, semantic: ClassTokens) -> Float[Tensor, "B T H W"]:
    """The square of `stream_cosine`, in [0, 1] (PCA-Seg, Eq. 8)."""
    return stream_cosine(spatial, semantic).square()


def released_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255, chunk: int | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy of every class at every pixel, as CAT-Seg, PCA-Seg and ERR-Seg were trained.

    Args:
        logits: at any size; they are interpolated to that of the labels.
        labels: the class of every pixel.
        ignored: pixels with this label, or with a label that is not a class, are trained as belonging to no class.
        chunk: classes processed at a time, whose maps at the labels' size are recomputed in the backward pass instead
            of stored; None: all classes at once, stored.
    """
    return _entropy(logits, labels, labels.new_ones(()).bool(), chunk) / (labels.numel() * logits.shape[1])


def masked_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255, chunk: int | None = None, pixels: Count = None
) -> Float[Tensor, ""]:
    """`released_segmentation_loss` over all but the `ignored` pixels; 0 if all pixels are ignored.

    The sum over these pixels is divided by `pixels`, by default their number; see `Training`.
    """
    counted = labels != ignored
    pixels = counted.sum().clamp(min=1) if pixels is None else pixels
    return _entropy(logits, labels, counted[:, None], chunk) / (pixels * logits.shape[1])


def competing_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], ignored: int = 255, chunk: int | None = None, pixels: Count = None
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over all classes and "none of them", whose logit is fixed at 0.

    A class then wins over "none of them" where its sigmoid exceeds 1/2, the default threshold of the background rule.
    With few training images this works better than binary losses, in which the many negative classes of a pixel
    outweigh its positive one. No published network is trained this way. The arguments are those of
    `masked_segmentation_loss`.
    """
    size, counted = labels.shape[1:], labels != ignored

    def sums(logits: Logits, first: int) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
        """Log-sum-exp over a chunk of classes, and the logit of the true class where the chunk contains it."""
        precise = at_least_float32(logits)
        scores = F.interpolate(precise, size=size, mode="bilinear")
        place = labels - first
        here = (place >= 0) & (place < scores.shape[1])
        true = scores.gather(1, place.where(here, place.new_zeros(()))[:, None])[:, 0]
        return scores.logsumexp(dim=1), true * here

    step = chunk or logits.shape[1]
    total, true = torch.zeros_like(labels, dtype=torch.float32), torch.zeros_like(labels, dtype=torch.float32)
    for number, some in enumerate(logits.split(step, dim=1)):
        more, found = sums(some, 0) if chunk is None else checkpoint(sums, some, number * step, use_reentrant=False)  # pyright: ignore[reportGeneralTypeIssues]
        total, true = torch.logaddexp(total, more), true + found
    return ((total - true) * counted).sum() / (counted.sum().clamp(min=1) if pixels is None else pixels)


def _entropy(logits: Logits, labels: Int[Tensor, "B H W"], counted: Tensor, chunk: int | None) -> Float[Tensor, ""]:
    """The sum of binary cross-entropies over all classes and counted pixels."""

    def of_some(logits: Logits, first: int) -> Float[Tensor, ""]:
        precise = at_least_float32(logits)
        scores = F.interpolate(precise, size=labels.shape[1:], mode="bilinear")
        classes = torch.arange(first, first + scores.shape[1], device=labels.device)
        targets = (labels[:, None] == classes[:, None, None]).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, targets, weight=counted.to(scores.dtype), reduction="sum")

    if chunk is None:
        return of_some(logits, 0)
    sums = [
        checkpoint(of_some, some, number * chunk, use_reentrant=False)
        for number, some in enumerate(logits.split(chunk, dim=1))
    ]
    return torch.stack(sums).sum()  # pyright: ignore[reportArgumentType]


class StreamMeans(NamedTuple):
    """Similarity of the two streams in each block, averaged over classes and cells."""

    squared: Float[Tensor, " blocks"]
    """Mean squared cosine, which the loss reduces (PCA-Seg, Eq. 8)."""
    cosine: Float[Tensor, " blocks"]
    """Mean cosine, which the released code returns beside its loss; without a gradient."""

    def metrics(self) -> dict[str, Float[Tensor, ""]]:
        """Entries of `metrics.jsonl`: fod_1, fod_2, ... are the squared cosines, cosine_1, ... the signed ones."""
        named = (("fod", self.squared.detach()), ("cosine", self.cosine))
        return {f"{name}_{number}": mean for name, means in named for number, mean in enumerate(means, 1)}


class StreamSimilarity:
    """Collects how similar the two streams of each block are in one forward pass; `observe` is its observer."""

    def __init__(self, *, gradients: bool = True) -> None:
        """Begin a forward pass; without `gradients`, none pass through the collected numbers."""
        self._gradients = gradients
        self._sums: dict[int, list[tuple[Float[Tensor, ""], Float[Tensor, ""], int]]] = {}

    def observe(self, block: int, spatial: ClassTokens, semantic: ClassTokens) -> None:
        """Add streams of the block with this number."""
        cosine = (
            stream_cosine(spatial, semantic) if self._gradients else stream_cosine(spatial.detach(), semantic.detach())
        )
        self._sums.setdefault(block, []).append((cosine.square().sum(), cosine.detach().sum(), cosine.numel()))

    def means(self) -> StreamMeans:
        """The means of each block over all of its classes and cells, in the order of the blocks.

        Raises:
            RuntimeError: nothing was observed.
        """
        if not self._sums:
            raise RuntimeError("no streams were observed: pass `observe=streams.observe` to the network's forward pass")
        blocks = [zip(*self._sums[number], strict=True) for number in sorted(self._sums)]
        squared, cosine = zip(
            *((torch.stack(s).sum() / sum(n), torch.stack(c).sum() / sum(n)) for s, c, n in blocks), strict=True
        )
        return StreamMeans(torch.stack(squared), torch.stack(cosine))


class OrthogonalityLoss(nn.Module):
    """Feature orthogonalization decoupling (FOD): pushes the spatial and the class stream apart (PCA-Seg, Eqs. 7-10).

        streams = StreamSimilarity()
        logits = network(image, text, observe=streams.observe)
        loss = segmentation_loss(logits, labels) + orthogonality(streams.means())

    Args:
        weight: lambda of Eq. 10; 0.01 in the paper, 0.001 in the released code.
    """

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, means: StreamMeans) -> Float[Tensor, ""]:
        """`weight` times the mean squared cosine over all blocks, classes and cells (Eq. 10)."""
        return self.weight * means.squared.mean()

    def similarity(self, *, log: bool) -> StreamSimilarity | None:
        """What a forward pass collects: without a weight nothing, or numbers without gradients if they are logged."""
        return StreamSimilarity(gradients=self.weight > 0) if self.weight > 0 or log else None

    def add_to(self, losses: dict[str, Tensor], streams: StreamSimilarity | None) -> dict[str, Tensor]:
        """Losses by name with the means of each block; with a weight, "fod" is added to "loss"."""
        if streams is None:
            return losses
        means = streams.means()
        if self.weight > 0:
            weighted = self(means)
            losses = losses | {"loss": losses["loss"] + weighted, "fod": weighted.detach()}
        return losses | means.metrics()
