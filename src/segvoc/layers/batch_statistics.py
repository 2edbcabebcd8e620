"""Batch norm over classes that are processed in chunks, with the statistics of all classes, whatever the chunk size.

The norm follows a linear map, y = W u + b, so the mean of y is W mean(u) + b, and its variance is the diagonal of
W cov(u) W^T. The mean and the covariance of u are accumulated over chunks, and y itself is never stored.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from segvoc.layers.precision import at_least_float32

Moments = tuple[Tensor, Tensor]
"""Mean and variance of each channel."""


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm for which `batch_moments` computes statistics over all processes, on CPUs too."""


def share_norms(module: nn.Module) -> None:
    """Replace every batch norm of a module by a `SharedBatchNorm` in place, with the same parameters and buffers."""
    for name, norm in [(name, norm) for name, norm in module.named_modules() if type(norm) is nn.BatchNorm2d]:
        shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, device="meta")
        shared._parameters, shared._buffers = norm._parameters, norm._buffers
        module.set_submodule(name, shared)


def stream_statistics(
    fuse: nn.Module, streams: Sequence[tuple[Tensor, Tensor]], over: Callable[..., list[Tensor]]
) -> tuple[Moments, ...]:
    """Statistics over all classes that `fuse` needs beside its streams: the moments of its batch norm, if it has one.

    Args:
        fuse: the module (spatial, class, *statistics) -> features.
        streams: spatial and class stream (B T H W C) of each chunk.
        over: calls a function with each chunk (`AggregationContext.over`).
    """
    parse = getattr(fuse, "parse", None)
    if parse is None:
        return ()
    both = cast(Callable[..., Tensor], fuse.both)
    return (batch_moments(parse.expand, parse.norm, both, streams, over),)


def batch_moments(
    linear: nn.Linear,
    norm: nn.BatchNorm2d,
    inputs: Callable[..., Float[Tensor, "*cells C"]],
    chunks: Sequence[tuple[Tensor, ...]],
    over: Callable[..., list[Tensor]],
) -> Moments:
    """Mean and biased variance of `linear(inputs(*chunk))` over all chunks; updates the running statistics of `norm`.

    They are computed in float32 even under autocast, and over all processes if `norm` is a `SharedBatchNorm`.

    Args:
        linear: the linear map before the norm.
        norm: the batch norm.
        inputs: from the tensors of a chunk to the input of `linear`.
        chunks: tensors of each chunk.
        over: calls a function with each chunk (`AggregationContext.over`).
    """
    sums = torch.stack(over(_sum, chunks, (inputs,))).sum(0)
    cells = sum(chunk[0].shape[:-1].numel() for chunk in chunks)
    total = _over_processes(torch.cat((sums, sums.new_tensor([cells]))), norm)
    mean, count = total[:-1] / total[-1], total[-1].detach()
    products = torch.stack(over(_centered_products, chunks, (inputs, mean))).sum(0)
    covariance = _over_processes(products, norm) / count
    with _precisely(mean):
        weight, bias = linear.weight.to(mean.dtype), linear.bias.to(mean.dtype)
        moments = weight @ mean + bias, ((weight @ covariance) * weight).sum(1)
    with torch.no_grad():
        _update(norm, moments, count)
    return moments


def _sum(*chunk_and_inputs: Any) -> Tensor:
    *chunk, inputs = chunk_and_inputs
    return _cells(inputs(*chunk)).sum(0)


def _centered_products(*chunk_inputs_and_mean: Any) -> Tensor:
    *chunk, inputs, mean = chunk_inputs_and_mean
    centered = _cells(inputs(*chunk)) - mean
    with _precisely(centered):
        return centered.mT @ centered


def _cells(x: Tensor) -> Tensor:
    # sums over many cells need more precision than float16 or bfloat16 has
    return at_least_float32(x.flatten(0, -2))


def _precisely(x: Tensor) -> torch.autocast:
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def _over_processes(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    shared = isinstance(norm, SharedBatchNorm) and torch.distributed.is_initialized()
    return all_reduce(values) if shared else values


def _update(norm: nn.BatchNorm2d, moments: Moments, count: Tensor) -> None:
    """Update the running statistics, with the unbiased variance, as PyTorch's own batch norm does."""
    momentum = cast(float, norm.momentum)
    for running, seen in (
        (norm.running_mean, moments[0]),
        (norm.running_var, moments[1] * count / (count - 1).clamp(min=1)),
    ):
        cast(Tensor, running).lerp_(seen.to(cast(Tensor, running)), momentum)
    cast(Tensor, norm.num_batches_tracked).add_(1)
