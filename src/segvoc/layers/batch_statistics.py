"""Batch norm over classes processed in chunks, with the statistics of all classes, whatever the chunk size.

The norm follows a linear map, y = W u + b, so the mean of y is W mean(u) + b, and its variance is the diagonal of
W cov(u) W^T. The mean and the covariance of u are accumulated over chunks, and y itself is never stored.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from segvoc.layers.precision import at_least_float32, without_autocast

Moments = tuple[Tensor, Tensor]
"""Mean and biased variance of each channel."""


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
        """Update the running statistics, with the unbiased variance, as PyTorch's own batch norm does.

        Args:
            moments: of `count` cells.
            count: a scalar.
        """
        momentum = cast(float, self.momentum)
        for running, seen in (
            (self.running_mean, moments[0]),
            (self.running_var, moments[1] * count / (count - 1).clamp(min=1)),
        ):
            cast(Tensor, running).lerp_(seen.to(cast(Tensor, running)), momentum)
        cast(Tensor, self.num_batches_tracked).add_(1)


def share_norms(module: nn.Module) -> None:
    """Compute the statistics of every `ClassBatchNorm` in a module over all processes."""
    for norm in module.modules():
        if isinstance(norm, ClassBatchNorm):
            norm.over_processes = True


def batch_moments(
    layers: Sequence[tuple[nn.Module, ClassBatchNorm]],
    inputs: Callable[..., Float[Tensor, "*cells C"]],
    chunks: Sequence[tuple[Tensor, ...]],
    over: Callable[..., list[Tensor]],
) -> list[Moments]:
    """Mean and biased variance of `linear(inputs(*chunk))` over all chunks, for each linear layer and its norm.

    They are computed in float32 even under autocast, and over all processes if a norm is synchronized. The running
    statistics of the norms are updated.

    Args:
        layers: linear maps of the same inputs, each with the batch norm that follows it.
        inputs: maps the tensors of a chunk to the input of the linear maps.
        chunks: tensors of each chunk.
        over: calls a function with each chunk (`AggregationContext.over`).
    """
    together = layers[0][1].over_processes and torch.distributed.is_initialized()
    sums = torch.stack(over(_sum, chunks, (inputs,))).sum(0)
    cells = sum(chunk[0].shape[:-1].numel() for chunk in chunks)
    total = torch.cat((sums, sums.new_tensor([cells])))
    total = all_reduce(total) if together else total
    mean, count = total[:-1] / total[-1], total[-1].detach()
    products = torch.stack(over(_centered_products, chunks, (inputs, mean))).sum(0)
    covariance = (all_reduce(products) if together else products) / count
    found = []
    for linear, norm in layers:
        with without_autocast(mean):
            # get the matrix from the layer's outputs for unit vectors, since the layer may be wrapped
            bias = linear(mean.new_zeros(1, len(mean)))
            weight = linear(torch.eye(len(mean), dtype=mean.dtype, device=mean.device)) - bias
            variance = (weight * (covariance @ weight)).sum(0)
            moments = (mean @ weight + bias[0], variance.clamp(min=0))
        norm.update(moments, count)
        found.append(moments)
    return found


def _sum(*chunk_and_inputs: Any) -> Tensor:
    *chunk, inputs = chunk_and_inputs
    return _cells(inputs(*chunk)).sum(0)


def _centered_products(*chunk_inputs_and_mean: Any) -> Tensor:
    *chunk, inputs, mean = chunk_inputs_and_mean
    centered = _cells(inputs(*chunk)) - mean
    with without_autocast(centered):
        return centered.mT @ centered


def _cells(x: Tensor) -> Tensor:
    # sums over many cells need more precision than float16 or bfloat16 has
    return at_least_float32(x.flatten(0, -2))
