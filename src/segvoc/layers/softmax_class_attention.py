"""Class aggregation with softmax attention, the released code's option `full`."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch.nn import functional as F

from segvoc.layers.aggregation import ClassAggregation, HeadTokens, Summary


class SoftmaxClassAggregation(ClassAggregation):
    """softmax(q k^T / sqrt(d)) v among the classes of each cell; the rest is as in linear class aggregation.

    Its summary is all keys and values, and the logarithm of how often each class counts (pads count many times).
    """

    def sums(self, k: HeadTokens, v: HeadTokens, count: int) -> Summary:
        """Keys, values and counts of some classes."""
        return k, v, k.new_full((k.shape[1],), math.log(count))

    def merge(self, parts: Sequence[Summary]) -> Summary:
        """Keys, values and counts of several groups of classes; pads have one cell, which stands for all."""
        batch, _, *cell = parts[0][0].shape
        k, v = (torch.cat([part[i].expand(batch, -1, *cell) for part in parts], dim=1) for i in (0, 1))
        return k, v, torch.cat([part[2] for part in parts])

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention of some classes to all."""
        q, k, v = (rearrange(x, "b t h w n c -> b h w n t c") for x in (q, *summary[:2]))
        attended = F.scaled_dot_product_attention(q, k, v, summary[2].expand(q.shape[-2], -1))
        return rearrange(attended, "b h w n t c -> b t h w n c")
