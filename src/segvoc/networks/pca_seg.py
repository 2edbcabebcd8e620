"""PCA-Seg: spatial and class aggregation side by side, fused by experts.

Yin et al., "PCA-Seg: Revisiting Cost Aggregation for Open-Vocabulary Semantic and Part Segmentation", CVPR 2026.
The shape follows the released code: four parallel blocks, and experts behind a projection with a scaled residual.
CAT-Seg (`cat_seg.py`) is the same network with other blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import Tower
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder, WordEncoder
from segvoc.layers.aggregation import ClassAggregation, DecoderSizes, SpatialAggregation, UpsamplingDecoder
from segvoc.layers.aggregation_context import AggregationContext, StreamObserver
from segvoc.layers.batch_statistics import Moments, batch_moments, stream_statistics
from segvoc.layers.class_selection import ClassSelection, SelectedLogits, among_all, selected
from segvoc.layers.cost_volume import cost_volume
from segvoc.layers.interpolation import resized
from segvoc.layers.pointwise import PointwiseLinear, pointwise_linear
from segvoc.shapes import (
    AppearanceGuidance,
    BothStreams,
    ClassTokens,
    FeatureMaps,
    Images,
    Logits,
    ParsedStreams,
    PromptEmbeddings,
    TextGuidance,
)


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


@dataclass(frozen=True, kw_only=True)
class CostAggregationConfig:
    """Sizes and parts of a cost aggregation; the defaults are PCA-Seg's.

    costs: costs of one class (prompts x maps). appearance_channels: of the map that guides the blocks (None: as many as
    the tower's maps have). skip: makes, for a number of costs, a sum of them: the aggregation adds to its logits, sees
    it as one more cost, and classes are selected by it (None: there is none). blocks: how many stand in a row (0: the
    embedded costs are decoded as they are). pad_classes: the class axis is filled up to it with a learnt token (0: not
    at all). block: joins both aggregations. fuse: makes, for a number of channels, the module (spatial stream, class
    stream) -> features.
    """

    costs: int = 1
    appearance_channels: int | None = None
    skip: Callable[[int], nn.Module] | None = None
    dim: int = 128
    heads: int = 4
    window: int = 12
    blocks: int = 4
    pad_classes: int = 256
    guidance_dim: int = 128
    block: Callable[[SpatialAggregation, ClassAggregation, nn.Module], nn.Module] = ParallelBlock
    class_aggregation: type[ClassAggregation] = ClassAggregation
    fuse: Callable[[int], nn.Module] = ExpertFusion
    decoder: type[UpsamplingDecoder] = UpsamplingDecoder
    decoder_sizes: DecoderSizes = field(default_factory=DecoderSizes)

    def new_block(self) -> nn.Module:
        """One of the blocks, with random weights."""
        sizes = {"dim": self.dim, "guidance_dim": self.guidance_dim, "heads": self.heads}
        spatial = SpatialAggregation(**sizes, window=self.window)
        semantic = self.class_aggregation(**sizes, pad_classes=self.pad_classes)
        return self.block(spatial, semantic, self.fuse(self.dim))


PCA_SEG = CostAggregationConfig()
"""As released: four parallel blocks with experts."""


class CostAggregation(nn.Module):
    """From dense features and words to logits: cost volume, blocks of aggregation, decoder."""

    def __init__(self, config: CostAggregationConfig, channels: int, tap_channels: Sequence[int] = ()) -> None:
        super().__init__()
        self.skip = None if config.skip is None else config.skip(config.costs)
        self.embed_cost = nn.Conv2d(config.costs + (self.skip is not None), config.dim, kernel_size=7, padding=3)
        self.guidance = nn.Conv2d(config.appearance_channels or channels, config.guidance_dim, kernel_size=3, padding=1)
        self.text_guidance = nn.Linear(channels, config.guidance_dim)
        self.blocks = nn.ModuleList(config.new_block() for _ in range(config.blocks))
        self.decoder = config.decoder(config.dim, tap_channels, config.decoder_sizes)

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """See `SegmentationNetwork`; `guidance`: a map of the picture for the blocks, then the tower's taps."""
        cost, by = torch.cat([cost_volume(image, text) for image in maps], dim=1), None
        if self.skip is not None:
            by = self.skip(cost, text)[:, None]
            cost = torch.cat((cost, by), dim=1)
        cost, text, kept = selected(cost, text, context.selection, by)
        return self.refined(cost, text, guidance, context), kept

    def refined(
        self,
        cost: Float[Tensor, "B P T H W"],
        text: PromptEmbeddings,
        guidance: FeatureMaps,
        context: AggregationContext,
    ) -> Logits:
        """Logits from the costs of the classes that go on; with a skip the last of them is the sum of the others."""
        x = self.embed_cost(rearrange(cost, "b p t h w -> (b t) p h w"))
        x = rearrange(x, "(b t) c h w -> b t h w c", b=len(cost))
        appearance = rearrange(F.relu(self.guidance(guidance[0])), "b c h w -> b h w c")
        words = F.relu(self.text_guidance(F.normalize(text.mean(dim=2), dim=-1)))
        for block in self.blocks:
            x = block(x, appearance, words, context)
        guided = self.decoder.precompute_guidance(guidance[1:])
        logits = torch.cat([context.run(self.decoder, chunk, guided) for chunk in x.split(context.chunk, 1)], dim=1)
        return logits if self.skip is None else logits + resized(cost[:, -1], (logits.shape[2], logits.shape[3]))


class SegmentationNetwork(nn.Module):
    """Two towers, and the aggregation of what their comparison gives.

    has_background: whether it has a map for "none of the words". selects: whether it can drop words.
    """

    has_background, selects = False, True

    def __init__(self, image_encoder: nn.Module, text_encoder: nn.Module, aggregation: nn.Module) -> None:
        super().__init__()
        self.image_encoder, self.text_encoder, self.aggregation = image_encoder, text_encoder, aggregation

    def word_encoder(self, templates: Sequence[str]) -> WordEncoder:
        """From a `Vocabulary` to what `selected_logits` reads: the embeddings of its words through prompt templates."""
        return VocabularyEncoder(self.text_encoder, templates)

    def trainable_parameters(self) -> tuple[str, ...]:
        """Names of what the published recipe trains: of the towers what each says itself, all of the rest."""
        towers = {"image_encoder.": self.image_encoder, "text_encoder.": self.text_encoder}
        tuned = {place + n for place, t in towers.items() for n in cast(Tower, t).fine_tuned_parameters()}
        return tuple(n for n, _ in self.named_parameters() if n in tuned or not n.startswith(tuple(towers)))

    def forward(self, image: Images, text: Float[Tensor, "T P C"], **way: Any) -> Logits:
        """Logits of every class; see `selected_logits`. Those of classes that are not selected are -100."""
        return among_all(*self.selected_logits(image, text, **way), len(text))

    def selected_logits(
        self,
        image: Images,
        text: Float[Tensor, "T P C"],
        *,
        pooling: tuple[int, int] = (2, 2),
        selection: ClassSelection | None = None,
        chunk: int | None = None,
        observe: StreamObserver | None = None,
        recompute: bool = False,
    ) -> SelectedLogits:
        """Logits on a grid finer than the image tower's, and the classes that they are of (None: all).

        Args:
            image: RGB pixels in [0, 255]; H and W are multiples of the image tower's stride.
            text: P prompt embeddings for each of T classes, from the text tower.
            pooling: cells (rows, columns) that class aggregation pools.
            selection: chooses the classes of each picture that go on; None: all do.
            chunk: classes refined and decoded at a time (None: all). Bounds memory; the result is the same.
            observe: sees the two streams of each block (`training.losses.OrthogonalityLoss`).
            recompute: what a chunk computes is not kept for the backward pass but computed there once more.
        """
        features = self.image_encoder(image)
        context = AggregationContext(pooling, selection, chunk or len(text), observe, recompute)
        appearance = features.maps[0] if features.appearance is None else features.appearance
        guidance = (appearance, *features.taps)
        return self.aggregation(features.maps, text.expand(len(image), -1, -1, -1), guidance, context)
