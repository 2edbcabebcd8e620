"""PCA-Seg: spatial and class aggregation side by side, fused by experts.

Yin et al., "PCA-Seg: Revisiting Cost Aggregation for Open-Vocabulary Semantic and Part Segmentation", CVPR 2026.
The shape follows the released code: four parallel blocks, and experts behind a projection with a scaled residual.
CAT-Seg (`cat_seg.py`) is the same network with other blocks.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import Moments, batch_moments, stream_statistics
from segvoc.layers.pointwise import PointwiseLinear, pointwise_linear
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.shapes import AppearanceGuidance, BothStreams, ClassTokens, ParsedStreams, TextGuidance


class ExpertParser(nn.Module):
    """Multi-expert parser, Eq. 4: each expert is two convolutions with batch norm between them, and a GELU.

    The experts stand side by side in one set of channels. As released, their second convolution is a grouped 3x3 one:
    each of its outputs sees two hidden channels. All first ones of these pairs stand before all second ones, so that it
    is two depthwise convolutions, which are six times as fast. between: what follows the batch norm; the released code
    has a second GELU there.
    """

    def __init__(self, dim: int, experts: int, between: nn.Module) -> None:
        super().__init__()
        self.experts = experts
        self.expand = PointwiseLinear(2 * dim, experts * 2 * dim)
        self.norm = nn.BatchNorm2d(experts * 2 * dim)
        self.between = between
        self.contract = nn.Conv2d(experts * 2 * dim, experts * dim, kernel_size=3, padding=1, groups=experts * dim)

    def forward(self, both: BothStreams, moments: Moments | None = None) -> ParsedStreams:
        """Parse both streams; `moments`: what `norm` takes for the statistics of `expand` (None: those of `both`)."""
        halves = (self.between(half) for half in self._expanded(both, moments))
        first, second = (rearrange(half, "b t h w c -> (b t) c h w") for half in halves)
        weight, bias = self.contract.weight, self.contract.bias
        parsed = F.conv2d(first, weight[:, :1], bias, padding=1, groups=len(weight))
        parsed += F.conv2d(second, weight[:, 1:], padding=1, groups=len(weight))
        # GELU of a tensor that lies in the order of its axes is twice as fast
        return F.gelu(rearrange(parsed, "(b t) (e c) h w -> b t h w e c", b=len(both), e=self.experts))

    def _expanded(self, both: BothStreams, moments: Moments | None) -> Sequence[Float[Tensor, "B T H W D"]]:
        """`norm` of `expand`, in two halves; both are one linear map."""
        norm, weight, bias = self.norm, self.expand.weight, self.expand.bias
        if norm.training and moments is None:
            moments = batch_moments(self.expand, norm, lambda x: x, [[both]], lambda f, *x: f(*x))
        mean, variance = moments or (cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var))
        scale = norm.weight * (variance + norm.eps).rsqrt()
        weight, bias = weight * scale[:, None], (bias - mean) * scale + norm.bias
        return [pointwise_linear(both, w, b) for w, b in zip(weight.chunk(2), bias.chunk(2), strict=True)]


class CoefficientMapper(nn.Module):
    """Eqs. 5 and 6: the mean of what the experts parsed, by weights that are learnt for each class and cell."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.coefficients = nn.Sequential(
            PointwiseLinear(2 * dim, dim // 4), nn.ReLU(), PointwiseLinear(dim // 4, experts)
        )

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Integrate what the experts made of `both` streams."""
        return torch.einsum("bthwe,bthwec->bthwc", self.weights(both), parsed)

    def weights(self, both: BothStreams) -> Float[Tensor, "B T H W experts"]:
        """The share of every expert; they sum to 1 (Eq. 5)."""
        return self.coefficients(both).softmax(dim=-1)


class ExpertFusion(nn.Module):
    """Expert-driven perceptual learning (EPL), Eqs. 4 to 6: experts parse both streams, coefficients weigh them.

    As released, which is more than the paper says: each stream is projected first, and a scaled linear map of both is
    added. integrate: makes the module (both streams, what each expert parsed) -> features.
    """

    def __init__(
        self, dim: int, *, experts: int = 4, integrate: Callable[[int, int], nn.Module] = CoefficientMapper
    ) -> None:
        super().__init__()
        self.spatial = PointwiseLinear(dim, dim)
        self.semantic = PointwiseLinear(dim, dim)
        self.parse = ExpertParser(dim, experts, between=nn.GELU())
        self.integrate = integrate(dim, experts)
        self.residual = PointwiseLinear(2 * dim, dim)
        self.residual_scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, spatial: ClassTokens, semantic: ClassTokens, moments: Moments | None = None) -> ClassTokens:
        """Fuse the two streams of every class and cell; for `moments` see `ExpertParser.forward`."""
        both = self.both(spatial, semantic)
        return self.integrate(both, self.parse(both, moments)) + self.residual_scale * self.residual(both)

    def both(self, spatial: ClassTokens, semantic: ClassTokens) -> BothStreams:
        """What the experts see."""
        return torch.cat((self.spatial(spatial), self.semantic(semantic)), dim=-1)


class ParallelBlock(nn.Module):
    """Eq. 3 and EPL: both aggregations see the same features, and `fuse` joins what they give."""

    def __init__(self, spatial: SpatialAggregation, semantic: ClassAggregation, fuse: nn.Module) -> None:
        super().__init__()
        self.spatial, self.semantic, self.fuse = spatial, semantic, fuse

    def forward(
        self, x: ClassTokens, guidance: AppearanceGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes."""
        guided = self.spatial.precompute_guidance(guidance)
        return self.joined(x, lambda part: self.spatial(part, guided), text, context)

    def joined(
        self,
        x: ClassTokens,
        spatially: Callable[[ClassTokens], ClassTokens],
        text: TextGuidance,
        context: AggregationContext,
    ) -> ClassTokens:
        """Class aggregation of x joined with `spatially` of x, chunk by chunk; class attention reaches across."""
        summary = self.semantic.summarise(x, text, context.pooling, context.chunk)

        def streams(part: ClassTokens, words: TextGuidance) -> tuple[ClassTokens, ClassTokens]:
            return spatially(part), self.semantic(part, words, summary, context.pooling)

        chunks = zip(x.split(context.chunk, 1), text.split(context.chunk, 1), strict=True)
        pairs, moments, fused = (context.run(streams, *chunk) for chunk in chunks), (), []
        if self.training:  # batch norm needs all classes before the first is fused
            pairs = list(pairs)
            moments = stream_statistics(self.fuse, pairs, context.run)
        for pair in pairs:
            if context.observe is not None:
                context.observe(*pair)
            fused.append(context.run(self.fuse, *pair, *moments))
        return torch.cat(fused, dim=1)


PCA_SEG = CostAggregationConfig(order="parallel", blocks=4, fusion="experts")
"""As released: four parallel blocks with experts."""
