"""Batch norm over classes that come in chunks: its statistics are those of all of them, whatever the chunk.

The norm follows a linear map, y = W u + b, so the mean of y is W mean(u) + b, and its variance the diagonal of
W cov(u) W^T. A mean and a covariance of u add up over chunks, and y itself is never kept.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

Moments = tuple[Tensor, Tensor]
"""Mean and variance of every channel."""


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics, where `batch_moments` takes them, are those of all processes; on CPUs too."""


def share_norms(module: nn.Module) -> None:
    """Make every batch norm of a module a `SharedBatchNorm`, in place; parameters and buffers stay themselves."""
    for name, norm in [(name, norm) for name, norm in module.named_modules() if type(norm) is nn.BatchNorm2d]:
        shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, device="meta")
        shared._parameters, shared._buffers = norm._parameters, norm._buffers
        module.set_submodule(name, shared)


def stream_statistics(
    fuse: nn.Module, streams: Sequence[tuple[Tensor, Tensor]], part: Callable[..., Any]
) -> tuple[Moments, ...]:
    """What `fuse` needs, beside its streams, of all classes: the moments of its batch norm, if it has one.

    fuse: the module (spatial, class, *these) -> features. streams: spatial and class stream (B T H W C) of each chunk.
    part: runs a function of a chunk (`AggregationContext.run`).
    """
    parse = getattr(fuse, "parse", None)
    if parse is None:
        return ()
    both = cast(Callable[..., Tensor], fuse.both)
    return (batch_moments(parse.expand, parse.norm, both, streams, part),)


def batch_moments(
    linear: nn.Linear,
    norm: nn.BatchNorm2d,
    inputs: Callable[..., Float[Tensor, "*cells C"]],
    chunks: Sequence[Sequence[Tensor]],
    part: Callable[..., Any],
) -> Moments:
    """Mean and (biased) variance of `linear` of `inputs` of all chunks; the running statistics of `norm` are updated.

    In float32 under autocast too. Where `norm` is a `SharedBatchNorm` and several processes run, of all processes.
    """
    sums = torch.stack([part(_sum, inputs, *chunk) for chunk in chunks]).sum(0)
    cells = sum(chunk[0].shape[:-1].numel() for chunk in chunks)
    total = _over_processes(torch.cat((sums, sums.new_tensor([cells]))), norm)
    mean, count = total[:-1] / total[-1], total[-1].detach()
    products = torch.stack([part(_centred_products, inputs, mean, *chunk) for chunk in chunks]).sum(0)
    covariance = _over_processes(products, norm) / count
    with _precisely(mean):
        weight, bias = linear.weight.to(mean.dtype), linear.bias.to(mean.dtype)
        moments = weight @ mean + bias, ((weight @ covariance) * weight).sum(1)
    with torch.no_grad():
        _update(norm, moments, count)
    return moments


def _sum(inputs: Callable[..., Tensor], *chunk: Tensor) -> Tensor:
    return _cells(inputs(*chunk)).sum(0)


def _centred_products(inputs: Callable[..., Tensor], mean: Tensor, *chunk: Tensor) -> Tensor:
    centred = _cells(inputs(*chunk)) - mean
    with _precisely(centred):
        return centred.mT @ centred


def _cells(x: Tensor) -> Tensor:
    # sums over many cells need more bits than half precision has
    return x.flatten(0, -2).to(torch.promote_types(x.dtype, torch.float32))


def _precisely(x: Tensor) -> torch.autocast:
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def _over_processes(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    shared = isinstance(norm, SharedBatchNorm) and torch.distributed.is_initialized()
    return all_reduce(values) if shared else values


def _update(norm: nn.BatchNorm2d, moments: Moments, count: Tensor) -> None:
    """The running statistics, with the unbiased variance, as PyTorch's own batch norm keeps them."""
    momentum = cast(float, norm.momentum)
    for running, seen in (
        (norm.running_mean, moments[0]),
        (norm.running_var, moments[1] * count / (count - 1).clamp(min=1)),
    ):
        cast(Tensor, running).lerp_(seen.to(cast(Tensor, running)), momentum)
    cast(Tensor, norm.num_batches_tracked).add_(1)
