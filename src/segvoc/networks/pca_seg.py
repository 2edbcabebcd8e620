"""PCA-Seg: spatial and class aggregation side by side, fused by experts.

Yin et al., "PCA-Seg: Revisiting Cost Aggregation for Open-Vocabulary Semantic and Part Segmentation", CVPR 2026.
The shape follows the released code: four parallel blocks, and experts behind a projection with a scaled residual.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.axes import ClassTokens, Logits, Pixels
from segvoc.cost_volume import cost_volume, most_similar_classes
from segvoc.encoders.features import ImageEncoder, Tower
from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation, UpsamplingDecoder
from segvoc.layers.no_aggregation import CostSum, NoAggregation
from segvoc.layers.softmax_class_attention import SoftmaxClassAggregation

StreamObserver = Callable[[ClassTokens, ClassTokens], None]
"""Sees the spatial and the class stream of each parallel block, classes in chunks."""

CLASS_AGGREGATIONS = {"linear": ClassAggregation, "softmax": SoftmaxClassAggregation}
"""By the name of the attention."""

DROPPED = -100.0
"""Logit of a class that was not kept, as released."""


@dataclass(frozen=True, kw_only=True)
class PCASegConfig:
    """Sizes of PCA-Seg outside its two towers.

    costs: costs of one class (prompts x maps). blocks: parallel blocks (0: no aggregation, the sum of the costs
    alone). pad_classes: the class axis is filled up to it with a learnt token (0: not at all). lifts: factor by which
    each tap of the tower is enlarged before it guides the decoder; empty where the taps fit as they are. tap_dims:
    their channels after that. skip: whether the aggregation adds to that sum of the costs. familiar_words: how many
    words the maps behind that sum were trained on, where that matters to it.
    """

    costs: int = 1
    dim: int = 128
    heads: int = 4
    window: int = 12
    blocks: int = 4
    experts: int = 4
    pad_classes: int = 256
    class_attention: Literal["linear", "softmax"] = "linear"
    guidance_dim: int = 128
    lifts: tuple[int, ...] = (2, 4)
    tap_dims: tuple[int, int] = (256, 128)
    decoder_dims: tuple[int, int] = (64, 32)
    decoder_guidance_dims: tuple[int, int] = (32, 16)
    skip: bool = False
    familiar_words: int = 0


class ExpertFusion(nn.Module):
    """Expert-driven perceptual learning (EPL), Eqs. 4 to 6: experts parse both streams, coefficients weigh them.

    As released, which is more than the paper says: each stream is projected first, experts end in a grouped
    convolution, and a scaled linear map of both streams is added. The experts stand side by side in one set of
    channels.
    """

    def __init__(self, *, dim: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.spatial = nn.Linear(dim, dim)
        self.semantic = nn.Linear(dim, dim)
        self.expert_in = nn.Linear(2 * dim, experts * 2 * dim)
        self.expert_norm = nn.BatchNorm2d(experts * 2 * dim)
        self.expert_out = nn.Conv2d(experts * 2 * dim, experts * dim, kernel_size=3, padding=1, groups=experts * dim)
        self.coefficients = nn.Sequential(nn.Linear(2 * dim, dim // 4), nn.ReLU(), nn.Linear(dim // 4, experts))
        self.residual = nn.Linear(2 * dim, dim)
        self.residual_scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, spatial: ClassTokens, semantic: ClassTokens) -> ClassTokens:
        """Fuse the two streams of every class and cell."""
        both = torch.cat((self.spatial(spatial), self.semantic(semantic)), dim=-1)
        hidden = rearrange(self.expert_in(both), "b t h w c -> (b t) c h w")
        parsed = F.gelu(self._convolved(F.gelu(self.expert_norm(hidden))))
        parsed = rearrange(parsed, "(b t) (e c) h w -> b t h w e c", b=len(both), e=self.experts)
        coefficients = self.coefficients(both).softmax(dim=-1)
        fused = torch.einsum("bthwe,bthwec->bthwc", coefficients, parsed)
        return fused + self.residual_scale * self.residual(both)

    def _convolved(self, hidden: Float[Tensor, "BT C H W"]) -> Float[Tensor, "BT D H W"]:
        """`expert_out`, whose groups are pairs of channels, as two depthwise convolutions: six times as fast."""
        weight, bias = self.expert_out.weight, self.expert_out.bias
        first, second = (hidden[:, i::2].contiguous(memory_format=torch.channels_last) for i in (0, 1))
        out = F.conv2d(first, weight[:, :1], bias, padding=1, groups=len(weight))
        return out + F.conv2d(second, weight[:, 1:], padding=1, groups=len(weight))


class ParallelBlock(nn.Module):
    """Eq. 3 and EPL: both aggregations see the same features, and `fuse` joins what they give."""

    def __init__(self, spatial: SpatialAggregation, semantic: ClassAggregation, fuse: nn.Module) -> None:
        super().__init__()
        self.spatial, self.semantic, self.fuse = spatial, semantic, fuse

    def forward(
        self,
        x: ClassTokens,
        guidance: Float[Tensor, "B H W G"],
        text: Float[Tensor, "B T G"],
        *,
        pooling: tuple[int, int],
        chunk: int,
        observe: StreamObserver | None,
    ) -> ClassTokens:
        """Refine all classes, `chunk` of them at a time; class attention reaches across the chunks."""
        summary = self.semantic.summarise(x, text, pooling, chunk)
        fused = []
        for part, words in zip(x.split(chunk, 1), text.split(chunk, 1), strict=True):
            spatial = self.spatial(part, guidance)
            semantic = self.semantic(part, words, summary, pooling)
            if observe is not None:
                observe(spatial, semantic)
            fused.append(self.fuse(spatial, semantic))
        return torch.cat(fused, dim=1)


class ParallelAggregation(nn.Module):
    """From dense features and words to logits: cost volume, parallel blocks, decoder."""

    def __init__(self, config: PCASegConfig, channels: int) -> None:
        super().__init__()
        c = config
        self.embed_cost = nn.Conv2d(c.costs, c.dim, kernel_size=7, padding=3)
        self.guidance = nn.Conv2d(channels, c.guidance_dim, kernel_size=3, padding=1)
        self.text_guidance = nn.Linear(channels, c.guidance_dim)
        self.blocks = nn.ModuleList(
            ParallelBlock(
                SpatialAggregation(dim=c.dim, guidance_dim=c.guidance_dim, heads=c.heads, window=c.window),
                CLASS_AGGREGATIONS[c.class_attention](
                    dim=c.dim, guidance_dim=c.guidance_dim, heads=c.heads, pad_classes=c.pad_classes
                ),
                ExpertFusion(dim=c.dim, experts=c.experts),
            )
            for _ in range(c.blocks)
        )
        self.decoder_guidance = nn.ModuleList(
            nn.Conv2d(taps, dim, kernel_size=3, padding=1)
            for taps, dim in zip(c.tap_dims, c.decoder_guidance_dims, strict=True)
        )
        self.decoder = UpsamplingDecoder(dim=c.dim, guidance_dims=c.decoder_guidance_dims, stage_dims=c.decoder_dims)
        self.skip = CostSum(c.costs, c.familiar_words, channels) if c.skip else None

    def forward(
        self,
        maps: Sequence[Float[Tensor, "B C H W"]],
        text: Float[Tensor, "B T P C"],
        guidance: Sequence[Float[Tensor, "B _ _ _"]],
        *,
        pooling: tuple[int, int],
        keep_classes: int | None = None,
        chunk: int | None = None,
        observe: StreamObserver | None = None,
    ) -> Logits:
        """See `PCASeg.forward`; `guidance` is a map of the picture for the blocks and one for each decoder stage."""
        classes = text.shape[1]
        cost = torch.cat([cost_volume(image, text) for image in maps], dim=1)
        kept = None
        if keep_classes is not None and keep_classes < classes:
            kept = most_similar_classes(cost, keep_classes)
            cost = cost.take_along_dim(kept[:, None, :, None, None], dim=2)
            text = text.take_along_dim(kept[:, :, None, None], dim=1)
        chunk = chunk or classes

        x = rearrange(
            self.embed_cost(rearrange(cost, "b p t h w -> (b t) p h w")), "(b t) c h w -> b t h w c", b=len(cost)
        )
        appearance = rearrange(F.relu(self.guidance(guidance[0])), "b c h w -> b h w c")
        words = F.relu(self.text_guidance(F.normalize(text.mean(dim=2), dim=-1)))
        for block in self.blocks:
            x = block(x, appearance, words, pooling=pooling, chunk=chunk, observe=observe)
        guides = [F.relu(project(tap)) for project, tap in zip(self.decoder_guidance, guidance[1:], strict=True)]
        logits = torch.cat([self.decoder(part, guides) for part in x.split(chunk, dim=1)], dim=1)
        if self.skip is not None:
            logits = logits + F.interpolate(self.skip(cost, text), size=logits.shape[2:], mode="bilinear")
        if kept is not None:
            logits = logits.new_full((len(logits), classes, *logits.shape[2:]), DROPPED).scatter(
                1, kept[:, :, None, None].expand_as(logits), logits
            )
        return logits


class PCASeg(nn.Module):
    """Two towers and the parallel aggregation of their cost volume."""

    def __init__(self, config: PCASegConfig, image_encoder: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        channels = cast(ImageEncoder, image_encoder).channels
        self.aggregation = (
            ParallelAggregation(config, channels)
            if config.blocks
            else NoAggregation(CostSum(config.costs, config.familiar_words, channels))
        )
        self.lifts = nn.ModuleList(
            nn.ConvTranspose2d(cast(ImageEncoder, image_encoder).tap_channels[i], config.tap_dims[i], factor, factor)
            for i, factor in enumerate(config.lifts)
        )

    def trainable_parameters(self) -> tuple[str, ...]:
        """Names of what the published recipe trains: of the towers what each says itself, all of the rest."""
        towers = {"image_encoder.": self.image_encoder, "text_encoder.": self.text_encoder}
        tuned = {place + n for place, t in towers.items() for n in cast(Tower, t).fine_tuned_parameters()}
        return tuple(n for n, _ in self.named_parameters() if n in tuned or not n.startswith(tuple(towers)))

    def forward(
        self,
        image: Pixels,
        text: Float[Tensor, "T P C"],
        *,
        pooling: tuple[int, int] = (2, 2),
        keep_classes: int | None = None,
        chunk: int | None = None,
        observe: StreamObserver | None = None,
    ) -> Logits:
        """Logits of every class, on a grid four times as fine as the image tower's.

        Args:
            image: RGB pixels in [0, 255]; H and W are multiples of the image tower's stride.
            text: P prompt embeddings for each of T classes, from the text tower.
            pooling: cells (rows, columns) that class aggregation pools.
            keep_classes: only so many classes of each picture go on, the most similar; the logits of others are -100.
            chunk: classes refined and decoded at a time (None: all). Bounds memory; in evaluation mode the result is
                the same, in training mode the experts' batch statistics are those of a chunk.
            observe: sees the two streams of each block (`training.losses.OrthogonalityLoss`).
        """
        features = self.image_encoder(image)
        taps = [lift(tap) for lift, tap in zip(self.lifts, features.taps, strict=True)] if self.lifts else features.taps
        text = text.expand(len(image), -1, -1, -1)
        guidance = (features.maps[0], *taps)
        return self.aggregation(
            features.maps, text, guidance, pooling=pooling, keep_classes=keep_classes, chunk=chunk, observe=observe
        )
