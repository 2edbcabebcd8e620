"""Reduced precision: most layers compute in bfloat16 or float16, and what decides between classes in float32."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def reduce_precision(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights of a network in place, except batch norms and the parts that its modules keep in float32.

    A module lists these parts, by their names in it, as `float32_parts`. Costs of different classes are often closer to
    each other than bfloat16 can tell, so everything from the costs to the votes and the sum of costs is among them.

    Args:
        network: the network.
        dtype: a floating-point dtype.
    """
    kept = tuple(
        f"{path}.{part}".strip(".") + "."
        for path, module in network.named_modules()
        for part in (("",) if isinstance(module, _BatchNorm) else getattr(module, "float32_parts", ()))
    )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point() and not f"{name}.".startswith(kept):
            tensor.data = tensor.data.to(dtype)


def lowest_precision(network: nn.Module) -> torch.dtype:
    """The least precise dtype of a network's parameters."""
    return min((parameter.dtype for parameter in network.parameters()), key=lambda dtype: dtype.itemsize)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or a float32 copy if its dtype is less precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
