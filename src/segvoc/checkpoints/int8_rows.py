"""Weights as int8 rows: a quarter of the size of fp32; each row has a scale of its own, set by its largest value."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

SCALE = ".int8_scale"
"""Ending of the name under which a weight keeps its rows' scales."""


def pack_int8_rows(
    state: Mapping[str, Tensor], keep_fp16: Collection[str] = (), smallest: int = 4096
) -> dict[str, Tensor]:
    """Quantise weights of two or more axes and at least `smallest` values; the others, and `keep_fp16`, become fp16.

    A row is everything under one index of the first axis: w = q * scale with q in -127..127, scale = max |row| / 127
    (fp32). Integer tensors are kept as they are.
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
    """The state dict in fp32 that `pack_int8_rows` was given, up to half a quantisation step."""
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
