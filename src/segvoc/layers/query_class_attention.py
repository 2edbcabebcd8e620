"""Class aggregation whose queries compete for each key, the attention of PartCATSeg's released code."""

import torch
from jaxtyping import Float
from torch import Tensor

from segvoc.layers.aggregation import ClassAggregation, HeadTokens, Summary
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.maps import pool
from segvoc.layers.precision import without_autocast
from segvoc.shapes import ClassTokens


class QueryClassAggregation(ClassAggregation):
    """a_ts = softmax over the queries t of q_t . k_s / sqrt(d), plus 1e-8; class t gets sum_s a_ts v_s / sum_s a_ts.

    As in slot attention (Locatello et al., NeurIPS 2020), the softmax runs over queries, not keys. The summary consists
    of all keys and values, and of each key's logsumexp over all queries. There are no pads.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, pad_classes: int = 0) -> None:
        super().__init__(dim=dim, guidance_dim=guidance_dim, heads=heads, pad_classes=0)

    def summarize(self, x: ClassTokens, text: Float[Tensor, "B T G"], context: AggregationContext) -> Summary:
        """Keys, values and their normalizers of all classes."""
        x = context.map(lambda part: pool(part, context.pooling), x)
        pairs = context.each(self.keys_values, x, text)
        k, v = (torch.cat([pair[i] for pair in pairs], dim=1) for i in (0, 1))
        totals = context.each(lambda *some: _scores(self.queries(*some), k).logsumexp(dim=-2), x, text)
        return k, v, torch.stack(totals).logsumexp(dim=0)

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention from some classes to all."""
        k, v, total = summary
        with without_autocast(q):
            weights = (_scores(q, k) - total[..., None, :]).exp() + 1e-8
            return torch.einsum("bhwnts,bshwnc->bthwnc", weights / weights.sum(dim=-1, keepdim=True), v)


def _scores(q: HeadTokens, k: Float[Tensor, "B S H W heads c"]) -> Float[Tensor, "B H W heads T S"]:
    with without_autocast(q):
        return torch.einsum("bthwnc,bshwnc->bhwnts", q * q.shape[-1] ** -0.5, k)
