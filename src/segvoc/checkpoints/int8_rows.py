"""Weights quantized to int8 with one scale per row, set by the row's largest value: a quarter of the fp32 size."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

SCALE = ".int8_scale"
"""Suffix of the name under which the scales of a weight's rows are stored."""


def pack_int8_rows(
    state: Mapping[str, Tensor], keep_fp16: Collection[str] = (), smallest: int = 4096
) -> dict[str, Tensor]:
    """Quantize weights with at least two axes and `smallest` values; others, and those in `keep_fp16`, become fp16.

    A row is the slice at one index of the first axis: w = q * scale with q in -127..127 and scale = max |row| / 127
    (fp32). Integer tensors are stored unchanged.
    """
    packed: dict[str, Tensor] = {}
    for name, weight in state.items():
        if not weight.is_floating_point():
            packed[name] = weight
        elif weight.ndim < 2 or weight.numel() < smallest or name in keep_fp16:
            packed[name] = weight.half()
        else:
            rows = weight.float().flatten(1)
            scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            packed[name] = (rows / scale).round().to(torch.int8).view(weight.shape)
            packed[name + SCALE] = scale.squeeze(1)
    return packed


def unpack_int8_rows(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restore the state dict given to `pack_int8_rows`, in fp32 and to within half a quantisation step."""
    state: dict[str, Tensor] = {}
    for name, weight in packed.items():
        if name.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        if scale is not None:
            state[name] = weight.float().mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
        else:
            state[name] = weight.float() if weight.is_floating_point() else weight
    return state
