"""Reduced precision: most layers compute in bfloat16 or float16, class decisions in float32."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def float32_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List parameters and buffers that stay in float32 in reduced precision.

    These are batch norms, and the submodules that modules name in `float32_parts`. Costs of different classes are often
    closer than bfloat16 can resolve, so everything from the costs to the votes and the cost sum stays in float32.
    """
    kept = tuple(
        f"{path}.{part}".strip(".") + "."
        for path, module in network.named_modules()
        for part in (("",) if isinstance(module, _BatchNorm) else getattr(module, "float32_parts", ()))
    )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point() and f"{name}.".startswith(kept):
            yield name, tensor


class Float32Parts(nn.Module):
    """A network whose `float32_tensors` stay in float32 when it is converted."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float32Parts":
        """Convert or move all tensors; `half()`, `bfloat16()` and `to(dtype)` leave `float32_parts` in float32."""
        before = {name: tensor.data for name, tensor in float32_tensors(self)}
        super()._apply(fn, recurse)
        for name, tensor in float32_tensors(self):
            if tensor.dtype.itemsize < torch.float32.itemsize:
                tensor.data = before[name].to(tensor.device)
        return self


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
