"""Linear layers that are applied at each cell."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.hardware import bfloat16_instructions
from segvoc.layers.exporting import is_exporting


def pointwise_linear(
    x: Float[Tensor, "*cells C"],
    weight: Float[Tensor, "D C"],
    bias: Float[Tensor, " D"] | None = None,
    *,
    gelu: bool = False,
) -> Float[Tensor, "*cells D"]:
    """Apply a linear map at each cell, then a GELU if asked for.

    On a CPU it is a 1x1 convolution, which oneDNN does 10 % faster than MKL a product; in bfloat16, where nothing is
    learned, oneDNN's linear layer, which applies a GELU to what it has in its registers: by itself a GELU takes as long
    as the product. Exported programs run elsewhere, so they have the product.
    """
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and _is_fused():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [None], "none")
    if x.device.type != "cpu" or is_exporting():
        y = F.linear(x, weight, bias)
    else:
        maps = F.conv2d(x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2), weight[:, :, None, None], bias)
        y = maps.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
    return F.gelu(y) if gelu else y


def _is_fused() -> bool:
    """Whether oneDNN's linear layer can be called: it has no gradients, and isn't traced."""
    return _has_fused_linear() and not (torch.is_grad_enabled() or is_exporting() or torch.compiler.is_compiling())


@cache
def _has_fused_linear() -> bool:
    """Whether this processor and this PyTorch have oneDNN's linear layer in bfloat16; it is tried."""
    if bfloat16_instructions() not in ("AMX", "AVX512-BF16"):
        return False
    ones = torch.ones((2, 2), dtype=torch.bfloat16)
    try:
        return bool((torch.ops.mkldnn._linear_pointwise(ones, ones, None, "gelu", [None], "none") > 1.9).all())
    except (AttributeError, RuntimeError):  # a newer PyTorch may lack it; oneDNN may be held to older instructions
        return False


class PointwiseLinear(nn.Linear):
    """A linear layer for features with channels last."""

    def forward(self, input: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells D"]:
        """Apply the layer at each cell."""
        return pointwise_linear(input, self.weight, self.bias)


class PointwiseMLP(nn.Sequential):
    """Two linear layers at each cell with a GELU between them, four times as wide there."""

    def __init__(self, dim: int) -> None:
        super().__init__(PointwiseLinear(dim, 4 * dim), nn.GELU(), PointwiseLinear(4 * dim, dim))

    def forward(self, input: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells C"]:
        """Apply the layers at each cell."""
        inner, _, outer = self
        assert isinstance(inner, PointwiseLinear)
        return outer(pointwise_linear(input, inner.weight, inner.bias, gelu=True))


def use_pointwise_linear(module: nn.Module) -> None:
    """Turn a third-party module's `nn.Linear` layers into `PointwiseLinear`; parameters and names stay the same."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = PointwiseLinear  # adds no state, so the instance stays valid
