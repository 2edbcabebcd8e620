"""oneDNN's operators that do more in one pass than PyTorch's own: those that `torch.compile` puts in their place.

They have no gradients and aren't part of PyTorch's interface, so all are tried before any is used; where one is
missing, the layers compute the same in several steps.
"""

from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segvoc.hardware import bfloat16_instructions
from segvoc.layers.exporting import is_exporting

_ops = cast(Any, torch.ops.mkldnn)


def is_fused(x: Tensor) -> bool:
    """Whether `fused_linear` and `add_depthwise` may be called for a tensor: nothing is learned, exported or traced."""
    if x.device.type != "cpu" or x.dtype not in (torch.bfloat16, torch.float32):
        return False
    traced = is_exporting() or torch.compiler.is_compiling()
    return not traced and not torch.is_grad_enabled() and _works(x.dtype)


def fused_linear(
    x: Float[Tensor, "*cells C"],
    weight: Float[Tensor, "D C"],
    bias: Float[Tensor, " D"] | None,
    *,
    gelu: bool = False,
    added_to: Float[Tensor, "*cells D"] | None = None,
) -> Float[Tensor, "*cells D"]:
    """A linear map, then a GELU or the sum with another tensor, while the results are still in registers."""
    if added_to is not None:
        return _ops._linear_pointwise.binary(x, added_to, weight, bias, "add")
    return _ops._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [None], "none")


def add_depthwise(
    total: Float[Tensor, "N C H W"], x: Float[Tensor, "N C H W"], weight: Float[Tensor, "C 1 3 3"]
) -> Float[Tensor, "N C H W"]:
    """Add a depthwise 3x3 convolution of `x` to `total`, in place; without oneDNN, in two steps."""
    if is_fused(x):
        return _add_depthwise(total, x, weight)
    return total.add_(F.conv2d(x, weight, padding=1, groups=len(weight)))


def _add_depthwise(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    padding = stride = dilation = [1, 1]
    convolution = (weight, None, padding, stride, dilation, len(weight))
    return _ops._convolution_pointwise_.binary(total, x, *convolution, "add", 1.0, None, [], None)


@cache
def _works(dtype: torch.dtype) -> bool:
    """Whether this processor and this PyTorch have the operators, fast enough to be worth it; they are tried."""
    if bfloat16_instructions() not in ("AMX", "AVX512-BF16"):
        return False
    ones, maps, kernel = (torch.ones(size, dtype=dtype) for size in ((2, 2), (1, 2, 3, 3), (2, 1, 3, 3)))
    try:
        found = [
            fused_linear(ones, ones, None, gelu=True).amin() > 1.9,
            fused_linear(ones, ones, None, added_to=ones).eq(3).all(),
            _add_depthwise(maps.clone(), maps, kernel)[:, :, 1, 1].eq(10).all(),
        ]
    except (AttributeError, RuntimeError):  # a newer PyTorch may lack one; oneDNN may be held to older instructions
        return False
    return all(map(bool, found))
