"""Class aggregation with softmax attention, the option `full` of the released code."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch.nn import functional as F

from segvoc.layers.aggregation import ClassAggregation, HeadTokens, Summary
from segvoc.layers.precision import without_autocast


class SoftmaxClassAggregation(ClassAggregation):
    """softmax(q k^T / sqrt(d)) v among the classes of each cell; otherwise like linear class aggregation.

    The summary consists of all keys and values, and of the logarithm of each class's count (pads count many times).
    """

    def sums(self, k: HeadTokens, v: HeadTokens, count: int) -> Summary:
        """Keys, values and log counts of some classes."""
        return k, v, k.new_full((k.shape[1],), math.log(count))

    def merge(self, summaries: Sequence[Summary]) -> Summary:
        """Concatenate the summaries of several groups of classes; pads have a single cell, which broadcasts."""
        batch, _, *cell = summaries[0][0].shape
        k, v = (torch.cat([summary[i].expand(batch, -1, *cell) for summary in summaries], dim=1) for i in (0, 1))
        return k, v, torch.cat([summary[2] for summary in summaries])

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention from some classes to all."""
        q, k, v = (rearrange(x, "b t h w n c -> b h w n t c") for x in (q, *summary[:2]))
        with without_autocast(q):
            attended = F.scaled_dot_product_attention(q, k, v, summary[2].expand(q.shape[-2], -1))
        return rearrange(attended, "b h w n t c -> b t h w n c")
