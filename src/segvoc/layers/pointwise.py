"""Linear layers that are applied at each cell."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.exporting import is_exporting
from segvoc.layers.onednn import fused_linear, is_fused


def pointwise_linear(
    x: Float[Tensor, "*cells C"],
    weight: Float[Tensor, "D C"],
    bias: Float[Tensor, " D"] | None = None,
    *,
    gelu: bool = False,
    added_to: Float[Tensor, "*cells D"] | None = None,
) -> Float[Tensor, "*cells D"]:
    """Apply a linear map at each cell, then a GELU or the sum with another tensor if asked for.

    On a CPU it is a 1x1 convolution, which oneDNN does 10 % faster than MKL a product; where nothing is learned,
    oneDNN's linear layer, which applies a GELU or adds to what it has in its registers: by themselves these take as
    long as a product in bfloat16. In a single thread, PyTorch leaves 1x1 convolutions to MKL. The gradient of a
    convolution's weight takes four times as long as that of a product. Exported programs run elsewhere, so they have
    the product.
    """
    one_step = gelu or added_to is not None or x.dtype == torch.bfloat16 or torch.get_num_threads() == 1
    if one_step and is_fused(x):
        return fused_linear(x, weight, bias, gelu=gelu, added_to=added_to)
    if x.device.type != "cpu" or is_exporting() or (torch.is_grad_enabled() and weight.requires_grad):
        y = F.linear(x, weight, bias)
    else:
        maps = F.conv2d(x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2), weight[:, :, None, None], bias)
        y = maps.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
    y = F.gelu(y) if gelu else y
    return y if added_to is None else added_to + y


class PointwiseLinear(nn.Linear):
    """A linear layer for features with channels last."""

    def forward(
        self, input: Float[Tensor, "*cells C"], added_to: Float[Tensor, "*cells D"] | None = None
    ) -> Float[Tensor, "*cells D"]:
        """Apply the layer at each cell, and add the result to another tensor, if there is one."""
        return pointwise_linear(input, self.weight, self.bias, added_to=added_to)


class PointwiseMLP(nn.Sequential):
    """Two linear layers at each cell with a GELU between them, four times as wide there."""

    def __init__(self, dim: int) -> None:
        super().__init__(PointwiseLinear(dim, 4 * dim), nn.GELU(), PointwiseLinear(4 * dim, dim))

    def forward(
        self, input: Float[Tensor, "*cells C"], added_to: Float[Tensor, "*cells C"] | None = None
    ) -> Float[Tensor, "*cells C"]:
        """Apply the layers at each cell, and add the result to another tensor, if there is one."""
        inner, _, outer = self
        assert isinstance(inner, PointwiseLinear)
        return outer(pointwise_linear(input, inner.weight, inner.bias, gelu=True), added_to)


def use_pointwise_linear(module: nn.Module) -> None:
    """Turn a third-party module's `nn.Linear` layers into `PointwiseLinear`; parameters and names stay the same."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = PointwiseLinear  # adds no state, so the instance stays valid
