"""Softmax attention, in bfloat16 as matrix products where PyTorch's fused kernel is slower."""

from itertools import repeat
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.hardware import bfloat16_instructions
from segvoc.layers.onednn import is_fused

_LEAST, _MOST = 1e-30, 1e30
"""Bounds of a row's sum of exponentials, between which none of them has overflowed and not all have vanished."""

_LOGITS = 1 << 21
"""How many logits to compute at a time, so that they stay in a core's cache."""


def softmax_attention(
    q: Float[Tensor, "N heads L C"],
    k: Float[Tensor, "N heads S C"],
    v: Float[Tensor, "N heads S D"],
    mask: Float[Tensor, "N 1 L S"] | None = None,
) -> Float[Tensor, "N heads L D"]:
    """softmax(q kᵀ / √C + mask) v, for many short sequences.

    PyTorch's fused kernel reaches a third of the rate at which AVX512-BF16 multiplies, and less where sequences are as
    short as a window's (AMX is another matter). Two matrix products with exponentials between them take half the time
    if the largest logit of each row isn't searched for. That is only needed where logits are so large or so small that
    their exponentials leave the range of floating-point numbers. The sums of the rows tell, and then the fused kernel
    computes it again.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: what is added to the logits.
    """
    if not (is_fused(q) and _products_are_faster(q)):
        return F.scaled_dot_product_attention(q, k, v, mask)
    logits = (*q.shape[:3], k.shape[2])
    size = max(1, _LOGITS // (logits[2] * logits[3]))
    heads = [x.reshape(-1, *x.shape[2:]).split(size) for x in (q, k, v)]
    masks = repeat(None) if mask is None else mask.expand(logits).reshape(-1, *logits[2:]).split(size)
    parts = [_sums_of_exponentials(*part) for part in zip(*heads, masks, strict=False)]
    values, totals = (torch.cat(sums) for sums in zip(*parts, strict=True))
    if not ((totals > _LEAST) & (totals < _MOST)).all():
        return F.scaled_dot_product_attention(q, k, v, mask)
    return values.div_(totals).view(*q.shape[:3], -1)


def unfuse_attention(network: nn.Module) -> None:
    """Have timm's attention modules multiply matrices, too, where that is faster; they have a switch for it."""
    for module in network.modules():
        if getattr(module, "fused_attn", False):
            cast(Any, module).fused_attn = not _products_are_faster(next(module.parameters()))


def _products_are_faster(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and bfloat16_instructions() == "AVX512-BF16"


def _sums_of_exponentials(
    q: Float[Tensor, "M L C"], k: Float[Tensor, "M S C"], v: Float[Tensor, "M S D"], mask: Float[Tensor, "M L S"] | None
) -> tuple[Float[Tensor, "M L D"], Float[Tensor, "M L 1"]]:
    """The sums of exp(logit) v over the keys, and of exp(logit) alone."""
    added = q.new_zeros(()) if mask is None else mask
    weights = torch.baddbmm(added, q, k.mT, beta=mask is not None, alpha=q.shape[-1] ** -0.5).exp_()
    return weights @ v, weights @ v.new_ones(()).expand(*v.shape[:2], 1)
