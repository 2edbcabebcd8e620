"""The rows of the ablation tables as layers, and the parts of an aggregation built from a configuration."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ImageEncoder
from segvoc.errors import UsageError
from segvoc.layers.aggregation import (
    ClassAggregation,
    DecoderSizes,
    HeadTokens,
    SpatialAggregation,
    StageGuidance,
    Summary,
    TwoStreamBlock,
    UpsamplingDecoder,
    cost_volume,
)
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import Fusion, Moments, RunChunks, Statistics, batch_moments
from segvoc.layers.class_selection import SelectedLogits, select_classes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.layers.maps import pool
from segvoc.layers.precision import without_autocast
from segvoc.layers.shapes import BothStreams, ClassTokens, FeatureMaps, Logits, ParsedStreams, PromptEmbeddings
from segvoc.networks.base import CostAggregation
from segvoc.networks.cat_seg import LastStream, SerialBlock
from segvoc.networks.cost_aggregation_config import ClassAttention, CostAggregationConfig, Decoder, Order
from segvoc.networks.pca_seg import CoefficientMapper, ExpertFusion, ExpertParser, ParallelBlock


class SoftmaxClassAggregation(ClassAggregation):
    """softmax(q k^T / sqrt(d)) v among the classes of each cell; otherwise like linear class aggregation.

    The summary consists of all keys and values, and of the logarithm of each class's count (pads count many times).
    """

    def sums(self, k: HeadTokens, v: HeadTokens, count: int) -> Summary:
        """Keys, values and log counts of a chunk of classes."""
        return k, v, k.new_full((k.shape[1],), math.log(count))

    def merge(self, summaries: Sequence[Summary]) -> Summary:
        """Concatenate the summaries of several groups of classes; pads have a single cell, which broadcasts."""
        batch, _, *cell = summaries[0][0].shape
        k, v = (torch.cat([summary[i].expand(batch, -1, *cell) for summary in summaries], dim=1) for i in (0, 1))
        return k, v, torch.cat([summary[2] for summary in summaries])

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention from a chunk of classes to all."""
        q, k, v = (rearrange(x, "b t h w n c -> b h w n t c") for x in (q, *summary[:2]))
        with without_autocast(q):
            attended = F.scaled_dot_product_attention(q, k, v, summary[2].expand(q.shape[-2], -1))
        return rearrange(attended, "b h w n t c -> b t h w n c")


class QueryClassAggregation(ClassAggregation):
    """a_ts = softmax over the queries t of q_t . k_s / sqrt(d), plus 1e-8; class t gets sum_s a_ts v_s / sum_s a_ts.

    As in slot attention (Locatello et al., NeurIPS 2020), the softmax runs over queries, not keys. The summary consists
    of all keys and values, and of each key's logsumexp over all queries. There are no pads.
    """

    def summarize(self, x: ClassTokens, text: Float[Tensor, "B T G"], context: AggregationContext) -> Summary:
        """Keys, values and their normalizers of all classes."""
        x = context.map(lambda part: pool(part, context.pooling), x)
        pairs = context.each(self.keys_values, x, text)
        k, v = (torch.cat([pair[i] for pair in pairs], dim=1) for i in (0, 1))
        totals = context.each(lambda *chunk: _scores(self.queries(*chunk), k).logsumexp(dim=-2), x, text)
        return k, v, torch.stack(totals).logsumexp(dim=0)

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention from a chunk of classes to all."""
        k, v, total = summary
        with without_autocast(q):
            weights = (_scores(q, k) - total[..., None, :]).exp() + 1e-8
            return torch.einsum("bhwnts,bshwnc->bthwnc", weights / weights.sum(dim=-1, keepdim=True), v)


def _scores(q: HeadTokens, k: Float[Tensor, "B S H W heads c"]) -> Float[Tensor, "B H W heads T S"]:
    with without_autocast(q):
        return torch.einsum("bthwnc,bshwnc->bhwnts", q * q.shape[-1] ** -0.5, k)


class ConcatenatedStreams(Fusion):
    """Concatenation and a 1x1 convolution: the baseline of Table 5a."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * dim, dim)

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """Fuse the two streams of every class and cell."""
        return self.project(torch.cat((spatial, semantic), dim=-1))


class PaperExpertFusion(Fusion):
    """EPL exactly as in the paper, Eqs. 4 to 6: no projections, no activation inside an expert, no residual.

    The paper doesn't give kernel sizes, so the experts use those of the released code.
    """

    def __init__(self, dim: int, *, experts: int = 4) -> None:
        super().__init__()
        self.parse = ExpertParser(dim, experts, between=nn.Identity())
        self.integrate = CoefficientMapper(dim, experts)

    def forward(
        self, spatial: ClassTokens, semantic: ClassTokens, moments: Sequence[Moments] | None = None
    ) -> ClassTokens:
        """Fuse the two streams of every class and cell; for `moments` see `ExpertParser.forward`."""
        both = self.both(spatial, semantic)
        return self.integrate(both, self.parse(both, moments))

    def both(self, spatial: ClassTokens, semantic: ClassTokens) -> BothStreams:
        """Concatenate the streams into the experts' input."""
        return torch.cat((spatial, semantic), dim=-1)

    def statistics(self, run_chunks: RunChunks) -> Statistics:
        """See `Fusion.statistics`."""
        return partial(batch_moments, self.parse.halves, self.both, run_chunks=run_chunks)


class ConvolvedExperts(nn.Module):
    """Joins the experts by a 1x1 convolution (Table 5e, "Convolution")."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.project = nn.Linear(experts * dim, dim)

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Combine the expert outputs."""
        return self.project(rearrange(parsed, "b t h w experts d -> b t h w (experts d)"))


class ReducedExperts(nn.Module):
    """Averages or sums the experts (Table 5e, "Average" and "Addition"); the mean of a single expert is the expert."""

    def __init__(self, dim: int, experts: int, *, reduce: Callable[..., Tensor]) -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Combine the expert outputs."""
        return self.reduce(parsed, dim=-2)


class NoUpsampling(UpsamplingDecoder):
    """Only the head: a convolution to one logit for each class, on the grid of the costs (Table 10, first row)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, (), DecoderSizes(lifts=(), taps=(), guidance=(), stages=()))

    def precompute_guidance(self, taps: FeatureMaps) -> list[StageGuidance]:
        """Nothing, since there are no stages to guide."""
        return []


class FeatureAggregation(nn.Module):
    """Computes logits from dense image features and word embeddings without comparing them."""

    def __init__(self, decoder: UpsamplingDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits; see `SegmentationNetwork.selected_logits`. Pooling and `observe` have no effect here."""
        cost = cost_volume(maps[0], text)
        kept = context.select(cost)
        _, text = select_classes(cost, text, kept)
        image = F.normalize(maps[0], dim=1).permute(0, 2, 3, 1)[:, None]
        words = F.normalize(text.mean(dim=2), dim=-1).to(image.dtype)[:, :, None, None]
        guided = self.decoder.precompute_guidance(guidance[1:])

        def decoded(part: Float[Tensor, "B T 1 1 C"]) -> Logits:
            grid = (-1, part.shape[1], *image.shape[2:4], -1)
            return self.decoder(torch.cat((image.expand(grid), part.expand(grid)), dim=-1), guided)

        return context.map(decoded, words), kept


ORDERS: dict[Order, type[TwoStreamBlock]] = {"parallel": ParallelBlock, "serial": SerialBlock}
"""Blocks, by the order of their aggregations."""

CLASS_ATTENTIONS: dict[ClassAttention, Callable[[CostAggregationConfig], ClassAggregation]] = {
    "linear": lambda c: ClassAggregation(**_attention_sizes(c), pad_classes=c.pad_classes),
    "softmax": lambda c: SoftmaxClassAggregation(**_attention_sizes(c), pad_classes=c.pad_classes),
    "query": lambda c: QueryClassAggregation(**_attention_sizes(c), pad_classes=0),
}
"""Class aggregations, by their type of attention."""

FUSIONS: dict[str, Callable[[CostAggregationConfig], Fusion]] = {
    "experts": lambda c: ExpertFusion(c.dim, **_experts(c)),
    "experts-paper": lambda c: PaperExpertFusion(c.dim, **_experts(c)),
    "convolution": lambda c: ExpertFusion(c.dim, **_experts(c), integrate=ConvolvedExperts),
    "average": lambda c: ExpertFusion(c.dim, **_experts(c), integrate=_MEAN),
    "addition": lambda c: ExpertFusion(c.dim, **_experts(c), integrate=_SUM),
    "single": lambda c: ExpertFusion(c.dim, experts=1, integrate=_MEAN),
    "concatenation": lambda c: ConcatenatedStreams(c.dim),
    "last": lambda c: LastStream(),
}
"""Modules that fuse the two streams of a block; add a line here for a new `fusion=NAME`."""

WITH_EXPERTS = ("experts", "experts-paper", "convolution", "average", "addition")
"""Fusions whose number of experts can be chosen."""

DECODERS: dict[Decoder, Callable[[int, Sequence[int], DecoderSizes], UpsamplingDecoder]] = {
    "transposed": lambda dim, tap_channels, sizes: UpsamplingDecoder(dim, tap_channels, sizes),
    "none": lambda dim, tap_channels, sizes: NoUpsampling(dim),
}
"""Decoders, which map refined features to logits."""

_MEAN = partial(ReducedExperts, reduce=torch.mean)
_SUM = partial(ReducedExperts, reduce=torch.sum)


def build_aggregation(config: CostAggregationConfig, image_encoder: nn.Module) -> nn.Module:
    """Build the aggregation of a configuration, with random weights, for the features of an image encoder."""
    tower = cast(ImageEncoder, image_encoder)
    channels = tower.channels
    if config.kind == "none":
        return NoAggregation(CostSum(config.costs))
    if config.kind == "features":
        decoder = DECODERS[config.decoder](2 * channels, tower.tap_channels, config.decoder_sizes)
        return FeatureAggregation(decoder)
    return CostAggregation(config, channels, block_of, decoder_of(tower.tap_channels))


def block_of(config: CostAggregationConfig) -> nn.Module:
    """Build a block with random weights."""
    semantic = CLASS_ATTENTIONS[config.class_attention]
    return ORDERS[config.order](spatial_aggregation(config), semantic(config), fusion_of(config))


def decoder_of(tap_channels: Sequence[int]) -> Callable[[CostAggregationConfig], UpsamplingDecoder]:
    """What builds a configuration's decoder, for an image encoder's taps, from coarse to fine."""
    return lambda config: DECODERS[config.decoder](config.dim, tap_channels, config.decoder_sizes)


def spatial_aggregation(config: CostAggregationConfig) -> SpatialAggregation:
    """Build the spatial aggregation of a block, with random weights."""
    return SpatialAggregation(**_attention_sizes(config), window=config.window)


def fusion_of(config: CostAggregationConfig) -> Fusion:
    """Build the module (spatial stream, class stream) -> features, with random weights."""
    if config.fusion not in FUSIONS:
        raise UsageError(f"fusion={config.fusion} is unknown; it is one of {', '.join(FUSIONS)}")
    if config.experts is not None and config.fusion not in WITH_EXPERTS:
        raise UsageError(f"experts={config.experts} doesn't go with fusion={config.fusion}; add fusion=experts")
    return FUSIONS[config.fusion](config)


def _attention_sizes(config: CostAggregationConfig) -> dict[str, int]:
    return {"dim": config.dim, "guidance_dim": config.guidance_dim, "heads": config.heads}


def _experts(config: CostAggregationConfig) -> dict[str, Any]:
    return {} if config.experts is None else {"experts": config.experts}
