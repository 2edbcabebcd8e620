"""PCA-Seg: spatial and class aggregation in parallel, fused by experts.

Yin et al., "PCA-Seg: Revisiting Cost Aggregation for Open-Vocabulary Semantic and Part Segmentation", CVPR 2026. The
architecture follows the released code: four parallel blocks, and experts behind a projection with a scaled residual.
CAT-Seg (`cat_seg.py`) is the same network with serial blocks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation import Summary, TwoStreamBlock, WindowGuidance, fuse_streams
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import ClassBatchNorm, Fusion, Moments, RunChunks, Statistics, batch_moments
from segvoc.layers.guided import draw_as_one
from segvoc.layers.shapes import BothStreams, ClassTokens, ImageGuidance, ParsedStreams, TextGuidance
from segvoc.networks.cost_aggregation_config import CostAggregationConfig


class ExpertHalf(nn.Module):
    """Half of the hidden channels of all experts: a linear map, batch norm, and a depthwise 3x3 convolution."""

    def __init__(self, dim: int, experts: int, between: nn.Module) -> None:
        super().__init__()
        self.expand = nn.Linear(2 * dim, experts * dim)
        self.norm = ClassBatchNorm(experts * dim)
        self.between = between
        self.contract = nn.Conv2d(experts * dim, experts * dim, kernel_size=3, padding=1, groups=experts * dim)

    def forward(self, both: BothStreams, moments: Moments | None) -> Float[Tensor, "BT D H W"]:
        """The half's term of the experts' outputs, before the GELU; for `moments` see `ExpertParser.forward`."""
        hidden = self.between(self.norm(self.expand(both), moments))
        return self.contract(rearrange(hidden, "b t h w c -> (b t) c h w"))


class ExpertParser(nn.Module):
    """Multi-expert parser, Eq. 4: each expert is two convolutions with batch norm in between, followed by a GELU.

    All experts share tensors, side by side along the channels. In the released code the second convolution is a
    grouped 3x3 convolution, in which each output reads two hidden channels. Here the first channels of all these pairs
    form one half of the hidden channels and the second ones the other, so that the convolution is the sum of two
    depthwise ones, which are six times as fast. `between` follows the batch norm; the released code has a second GELU.
    """

    def __init__(self, dim: int, experts: int, between: nn.Module) -> None:
        super().__init__()
        self.experts = experts
        self.halves = nn.ModuleList(ExpertHalf(dim, experts, between) for _ in range(2))
        first, second = (cast(nn.Conv2d, half.contract) for half in self.halves)
        second.bias = None
        draw_as_one(first, second)

    def forward(self, both: BothStreams, moments: Sequence[Moments] | None = None) -> ParsedStreams:
        """Apply all experts to both streams.

        `moments` are the mean and variance of each half's `expand`, for `norm` (None: computed from `both` in training,
        the running statistics otherwise).
        """
        if self.training and moments is None:
            moments = batch_moments(self.halves, nn.Identity(), [(both,)], AggregationContext().run_chunks)
        pairs = zip(self.halves, moments or (None, None), strict=True)
        first, second = (half(both, of_half) for half, of_half in pairs)
        # GELU is twice as fast on a contiguous tensor
        return F.gelu(rearrange(first + second, "(b t) (e c) h w -> b t h w e c", b=both.shape[0], e=self.experts))


class CoefficientMapper(nn.Module):
    """Eqs. 5 and 6: averages the expert outputs with weights predicted for each class and cell."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.coefficients = nn.Sequential(nn.Linear(2 * dim, dim // 4), nn.ReLU(), nn.Linear(dim // 4, experts))

    def forward(self, both: BothStreams, parsed: ParsedStreams) -> ClassTokens:
        """Combine the expert outputs."""
        return torch.einsum("bthwe,bthwec->bthwc", self.weights(both), parsed)

    def weights(self, both: BothStreams) -> Float[Tensor, "B T H W experts"]:
        """Weight of each expert; the weights sum to 1 (Eq. 5)."""
        return self.coefficients(both).softmax(dim=-1)


class ExpertFusion(Fusion):
    """Expert-driven perceptual learning (EPL), Eqs. 4 to 6: experts parse both streams, coefficients weight them.

    As in the released code, which goes beyond the paper, each stream is projected first, and a scaled linear map of
    both is added. `integrate` builds the module (both streams, expert outputs) -> features.
    """

    def __init__(
        self, dim: int, *, experts: int = 4, integrate: Callable[[int, int], nn.Module] = CoefficientMapper
    ) -> None:
        super().__init__()
        self.spatial = nn.Linear(dim, dim)
        self.semantic = nn.Linear(dim, dim)
        self.parse = ExpertParser(dim, experts, between=nn.GELU())
        self.integrate = integrate(dim, experts)
        self.residual = nn.Linear(2 * dim, dim)
        self.residual_scale = nn.Parameter(torch.tensor(0.5))

    def forward(
        self, spatial: ClassTokens, semantic: ClassTokens, moments: Sequence[Moments] | None = None
    ) -> ClassTokens:
        """Fuse the two streams of every class and cell; for `moments` see `ExpertParser.forward`."""
        both = self.both(spatial, semantic)
        return self.integrate(both, self.parse(both, moments)) + self.residual_scale * self.residual(both)

    def both(self, spatial: ClassTokens, semantic: ClassTokens) -> BothStreams:
        """Project and concatenate the streams into the experts' input."""
        return torch.cat((self.spatial(spatial), self.semantic(semantic)), dim=-1)

    def statistics(self, run_chunks: RunChunks) -> Statistics:
        """See `Fusion.statistics`."""
        return partial(batch_moments, self.parse.halves, self.both, run_chunks=run_chunks)


class ParallelBlock(TwoStreamBlock):
    """Eq. 3 and EPL: both aggregations take the same features, and `fuse` joins their outputs."""

    def forward(
        self, x: ClassTokens, guidance: ImageGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes, chunk by chunk; class attention spans all chunks."""
        guided = self.spatial.precompute_guidance(guidance)
        summary = self.semantic.summarize(x, text, context)
        return fuse_streams(self.fuse, self.streams, (x, text), (guided, summary, context.pooling), context)

    def streams(
        self,
        x: ClassTokens,
        text: TextGuidance,
        guided: Sequence[WindowGuidance],
        summary: Summary,
        pooling: tuple[int, int],
    ) -> tuple[ClassTokens, ClassTokens]:
        """Spatial and class stream of a chunk of classes."""
        return self.spatial(x, guided), self.semantic(x, text, summary, pooling)


PCA_SEG = CostAggregationConfig(order="parallel", blocks=4, fusion="experts")
"""The released configuration: four parallel blocks with experts."""
