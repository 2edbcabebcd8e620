"""Batch norm over classes processed in chunks, with the statistics of all classes, whatever the chunk size.

The norm follows a linear map, y = W u + b, so the mean of y is W mean(u) + b, and its variance is the diagonal of
W cov(u) W^T. The mean and the covariance of u are accumulated over chunks, and y itself is never stored.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from segvoc.layers.precision import at_least_float32, without_autocast

Moments = tuple[Tensor, Tensor]
"""Mean and biased variance of each channel."""

RunChunks = Callable[..., list[Tensor]]
"""Calls a function with the tensors of each chunk: `AggregationContext.run_chunks`."""

Statistics = Callable[[Sequence[tuple[Tensor, ...]]], list[Moments]]
"""Computes the moments of each norm from the tensors of all chunks: `batch_moments`."""


class ClassBatchNorm(nn.BatchNorm2d):
    """Channels-last batch norm with external training statistics from `batch_moments`."""

    over_processes = False
    """Whether statistics are computed over all processes, on CPUs too."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Float[Tensor, "*cells C"], moments: Moments | None
    ) -> Float[Tensor, "*cells C"]:
        """(x - mean) / √(variance + eps) times the weight, plus the bias, with the running statistics for None."""
        mean, variance = moments or (cast(Tensor, self.running_mean), cast(Tensor, self.running_var))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift.to(input.dtype), input, scale.to(input.dtype))

    @torch.no_grad()
    def update(self, moments: Moments, count: Tensor) -> None:
        """Update the running statistics with those of `count` cells; the variance is unbiased, as in PyTorch's norm."""
        unbiased = moments[1] * count / (count - 1).clamp(min=1)
        for running, seen in ((self.running_mean, moments[0]), (self.running_var, unbiased)):
            cast(Tensor, running).lerp_(seen.to(cast(Tensor, running)), cast(float, self.momentum))
        cast(Tensor, self.num_batches_tracked).add_(1)


class Fusion(nn.Module):
    """Joins the two streams of a block: (spatial, semantic) -> features."""

    def statistics(self, run_chunks: RunChunks) -> Statistics | None:
        """What computes `forward`'s `moments` in training from the streams of all chunks; None: it takes none."""
        return None


def share_norms(module: nn.Module) -> None:
    """Compute the statistics of every `ClassBatchNorm` in a module over all processes."""
    for norm in module.modules():
        if isinstance(norm, ClassBatchNorm):
            norm.over_processes = True


def batch_moments(
    layers: Iterable[Any],
    inputs: Callable[..., Float[Tensor, "*cells C"]],
    chunks: Sequence[tuple[Tensor, ...]],
    run_chunks: RunChunks,
) -> list[Moments]:
    """Mean and biased variance of `expand(inputs(*chunk))` over all chunks, for each of `layers`.

    `expand` is a layer's linear map, and `norm` the `ClassBatchNorm` that follows it. The moments are computed in
    float32 even under autocast, and over all processes if a norm is synchronized. The running statistics are updated.
    """

    def cells(*chunk: Tensor) -> Float[Tensor, "N C"]:
        # sums over many cells need more precision than float16 or bfloat16 has
        return at_least_float32(inputs(*chunk).flatten(0, -2))

    def centered_products(*chunk: Tensor) -> Float[Tensor, "C C"]:
        centered = cells(*chunk) - mean
        with without_autocast(centered):
            return centered.mT @ centered

    synced = any(layer.norm.over_processes for layer in layers) and torch.distributed.is_initialized()
    sums = torch.stack(run_chunks(lambda *chunk: cells(*chunk).sum(0), chunks)).sum(0)
    total = torch.cat((sums, sums.new_full((1,), sum(chunk[0].shape[:-1].numel() for chunk in chunks))))
    total = all_reduce(total) if synced else total
    mean, count = total[:-1] / total[-1], total[-1].detach()
    products = torch.stack(run_chunks(centered_products, chunks)).sum(0)
    covariance = (all_reduce(products) if synced else products) / count
    per_layer = []
    for layer in layers:
        with without_autocast(mean):
            # get the matrix from the layer's outputs for unit vectors, since the layer may be wrapped
            bias = layer.expand(mean.new_zeros(1, len(mean)))
            weight = layer.expand(torch.eye(len(mean), dtype=mean.dtype, device=mean.device)) - bias
            variance = (weight * (covariance @ weight)).sum(0)
            moments = (mean @ weight + bias[0], variance.clamp(min=0))
        layer.norm.update(moments, count)
        per_layer.append(moments)
    return per_layer
