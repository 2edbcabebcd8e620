"""Reduced precision: most layers compute in bfloat16 or float16, class decisions in float32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Float32Parts(nn.Module):
    """A module with parts that stay in float32 in reduced precision.

    Costs of different classes are often closer than bfloat16 can resolve, so everything from the costs to the votes and
    the cost sum stays in float32.
    """

    float32_parts: tuple[str, ...] = ()
    """Names of submodules, parameters or buffers."""


def float32_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List parameters and buffers that stay in float32 in reduced precision: batch norms and `float32_parts`."""
    modules = list(network.named_modules())
    parts = [path for path, module in modules if isinstance(module, _BatchNorm)]
    for path, module in modules:
        if isinstance(module, Float32Parts):
            parts += [f"{path}.{part}" for part in module.float32_parts]
    prefixes = tuple(f"{part}.".removeprefix(".") for part in parts)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point() and f"{name}.".startswith(prefixes):
            yield name, tensor


def reduce_precision(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert a network to float16 or bfloat16, except its `float32_tensors`."""
    exact = {name for name, _ in float32_tensors(network)}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point() and name not in exact:
            tensor.data = tensor.data.to(dtype)


def lowest_precision(network: nn.Module) -> torch.dtype:
    """The least precise dtype of a network's parameters."""
    return min((parameter.dtype for parameter in network.parameters()), key=lambda dtype: dtype.itemsize)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or a float32 copy if its dtype is less precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Disable autocast, which would round the inputs of float32 products."""
    device = "cpu" if x.is_meta else x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
