"""SynSeg: every word conditions a light decoder of CLIP's tokens; learnt from captions alone.

Zhang et al., "SynSeg: Feature Synergy for Multi-Category Contrastive Learning in End-to-End Open-Vocabulary Semantic
Segmentation", ICME 2026 (arXiv:2508.06115). The decoder is CLIPSeg's (Lüddecke and Ecker, CVPR 2022), whose published
weights fit. No official code exists; docs/papers/syn_seg.md lists what the paper leaves open and what is chosen here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.configuration import check_range
from segvoc.encoders.base import TokenEncoder, TokenFeatures
from segvoc.encoders.vit import VitConfig
from segvoc.errors import UsageError
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext, StreamObserver
from segvoc.layers.class_selection import ClassSelection, SelectedLogits, gather_classes
from segvoc.layers.cost_sum import CostSum
from segvoc.layers.interpolation import resized
from segvoc.layers.pointwise import PointwiseLinear, pointwise_linear
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cost_aggregation_config import Skip, check_vit
from segvoc.shapes import Images, Logits, PromptEmbeddings

Head = Literal["plain", "refined"]
Pooled = Literal["conditional", "visual", "map"]

Film = Literal["linear", "mlp"]

REFINED = 16
"""Logits of a cell along one side that the refined head makes."""

FILM_WIDTH = 2
"""The hidden layer of FiLM's MLP has so many times the decoder's channels; the paper says "small"."""

NEARLY = 0.1
"""What of FiLM's random weights stays where it begins as the identity."""

COST_SCALE, LIKELY_COST = 10.0, 0.15
"""Where the logit begins as the cost: its factor, and the cosine whose probability is one half."""

TOKENS = 1536
"""Tokens that an MLP of the decoder maps together on a CPU."""

Tokens = Float[Tensor, "... L C"]
"""Tokens of pairs of a picture and a word: first one of the whole picture, then a cell each."""


@dataclass(frozen=True, kw_only=True)
class ConditionedDecoderConfig:
    """Sizes and choices of SynSeg's decoder; the defaults are those of CLIPSeg's rd64."""

    kind: Literal["synergy"] = "synergy"
    """Tells it from aggregations of costs."""
    film: Film = "linear"
    """What conditions the image: two linear maps as CLIPSeg's, or an MLP."""
    head: Head = "plain"
    """One transposed convolution, or three convolutions."""
    pooled: Pooled = "conditional"
    """What synergy vectors are sums of: the deepest tap behind FiLM, as in the paper; the tap before FiLM; or "map",
    the tap itself where it is a map in the words' space and needs no projector."""
    skip: Skip = "none"
    """Whether the decoder adds to a sum of costs; the deepest tap is then the maps that give these costs."""
    dim: int = 64
    """Channels of the decoder."""
    heads: int = 4
    """Attention heads of its layers, of which there is one for each tap."""
    hidden: int = 2048
    """Channels of the hidden layer of their MLPs."""
    finer: int = REFINED
    """Logits of a cell along one side."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range, and a refined head that doesn't fit."""
        check_range(self, {"dim": (1, 4096), "heads": (1, 256), "hidden": (1, 16384), "finer": (1, 64)})
        if self.head == "refined" and self.finer != REFINED:
            raise UsageError(f"the refined head makes {REFINED} logits of a cell; this network has {self.finer}")

    @property
    def film_hidden(self) -> int:
        """Channels of the hidden layer of FiLM's MLP; 0: there is none."""
        return FILM_WIDTH * self.dim if self.film == "mlp" else 0


@dataclass(frozen=True, kw_only=True)
class SynSegConfig:
    """The whole of SynSeg."""

    kind: Literal["syn-seg"] = "syn-seg"
    """Tells it from other networks."""
    vit: VitConfig
    """Sizes of OpenAI's image encoder; the text encoder goes with its channels."""
    decoder: ConditionedDecoderConfig = ConditionedDecoderConfig()
    """What stands behind the frozen towers."""
    prompts: Literal["one", "tcl"] = "one"
    """One template, or TCL's nine."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        check_vit(self.vit)


class Synergy(NamedTuple):
    """What a picture's features are inside and outside of the activation of each of M phrases, in the words' space."""

    foreground: Float[Tensor, "M C"]
    background: Float[Tensor, "M C"]


class FeatureModulation(nn.Module):
    """FiLM: a word scales and shifts the channels of a picture's tokens, mul(t) a + add(t)."""

    def __init__(self, channels: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.mul, self.add = (nn.Linear(hidden or channels, dim) for _ in range(2))

    def forward(self, x: Tokens, words: Float[Tensor, "... W"]) -> Tokens:
        """Condition every token."""
        words = self.shared(words)[..., None, :]
        return self.mul(words) * x + self.add(words)


class DecoderLayer(nn.Module):
    """A transformer layer with its norms behind: attention, then a ReLU MLP."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value, self.out = PointwiseLinear(dim, 3 * dim), PointwiseLinear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.mlp_norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "N L C"]) -> Float[Tensor, "N L C"]:
        """Refine the tokens of N pairs."""
        q, k, v = rearrange(self.query_key_value(x), "n l (part h d) -> part n h l d", part=3, h=self.heads)
        attended = rearrange(F.scaled_dot_product_attention(q, k, v), "n h l d -> n l (h d)")
        x = self.attention_norm(x + self.out(attended))
        return self.mlp_norm(x + self._mlp(x))

    def _mlp(self, x: Float[Tensor, "N L C"]) -> Float[Tensor, "N L C"]:
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self.contract(F.relu(self.expand(x), inplace=True))
        # the hidden layer of a few tokens stays in the cache; so, and as convolutions, this takes half of the time
        done = []
        for few in x.flatten(0, 1).chunk(-(-x[..., 0].numel() // TOKENS)):
            hidden = F.relu(pointwise_linear(few, self.expand.weight, self.expand.bias), inplace=True)
            done.append(pointwise_linear(hidden, self.contract.weight, self.contract.bias))
        return torch.cat(done).view(x.shape)


class PlainHead(nn.ConvTranspose2d):
    """One transposed convolution whose kernels don't overlap: a linear map of every cell, five times as fast."""

    def __init__(self, dim: int, finer: int) -> None:
        super().__init__(dim, 1, kernel_size=finer, stride=finer)

    def forward(self, input: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 1 H W"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits of every cell."""
        bias = cast(Tensor, self.bias).expand(self.weight[0].numel())
        logits = F.linear(rearrange(input, "n c h w -> n h w c"), self.weight.flatten(1).mT, bias)
        return rearrange(logits, "n h w (y x) -> n 1 (h y) (w x)", y=self.stride[0])


def refined_head(dim: int) -> nn.Module:
    """A 3x3 convolution, and two transposed ones of stride 4."""
    return nn.Sequential(
        nn.Conv2d(dim, dim, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(dim, dim // 2, kernel_size=4, stride=4),
        nn.ReLU(),
        nn.ConvTranspose2d(dim // 2, 1, kernel_size=4, stride=4),
    )


class ConditionedDecoder(nn.Module):
    """From the taps of a frozen image tower and the words to one activation map for each word."""

    def __init__(self, config: ConditionedDecoderConfig, channels: int, tap_channels: Sequence[int]) -> None:
        super().__init__()
        c = config
        self.reduce = nn.ModuleList(PointwiseLinear(tap, c.dim) for tap in reversed(tap_channels))
        self.film = FeatureModulation(channels, c.dim, c.film_hidden)
        self.layers = nn.ModuleList(DecoderLayer(c.dim, c.heads, c.hidden) for _ in tap_channels)
        self.head = refined_head(c.dim) if c.head == "refined" else PlainHead(c.dim, c.finer)
        self.projector, self.pooled = PointwiseLinear(c.dim, channels), c.pooled
        self.costs = tap_channels[-1] // channels if c.skip == "sum" else 0
        self.skip = CostSum(self.costs) if c.skip == "sum" else None

    def forward(self, features: TokenFeatures, text: PromptEmbeddings, context: AggregationContext) -> SelectedLogits:
        """Logits of every word that goes on; several prompts of a word are averaged.

        Words are chosen by the sum of costs where there is one, else by the cosine with the tower's dense map.
        """
        cost, summed = self._costs(features, text)
        kept = None if context.selection is None else context.selection(cost if summed is None else summed[:, None])
        if kept is not None:
            text, summed = gather_classes(text, kept, 1), None if summed is None else gather_classes(summed, kept, 1)
        reduced = [tap[:, None] for tap in self.reduce_taps(features.taps)]
        words = text.mean(dim=2)
        parts = words.split(context.chunk, dim=1)
        logits = torch.cat([context.run(self._decoded, reduced, part, features.grid) for part in parts], dim=1)
        return logits if summed is None else logits + resized(summed, (logits.shape[2], logits.shape[3])), kept

    def reduce_taps(self, taps: Sequence[Float[Tensor, "B L _"]]) -> list[Float[Tensor, "B L C"]]:
        """What is the same for all words: the reduced taps, deepest first."""
        return [reduce(tap) for reduce, tap in zip(self.reduce, reversed(taps), strict=True)]

    def conditioned(self, reduced: Sequence[Tokens], words: Float[Tensor, "... W"]) -> Tokens:
        """The conditional visual features: the deepest tap as each word modulates it."""
        return self.film(reduced[0], words)

    def decode(self, conditional: Tokens, reduced: Sequence[Tokens], grid: tuple[int, int]) -> Float[Tensor, "... h w"]:
        """Logits from the conditional features and the reduced taps."""
        x = conditional
        for layer, tap in zip(self.layers, (None, *reduced[1:]), strict=True):
            x = x if tap is None else x + tap
            x = layer(x.flatten(0, -3)).view(x.shape)
        cells = rearrange(x[..., 1:, :].flatten(0, -3), "n (h w) c -> n c h w", h=grid[0])
        return self.head(cells)[:, 0].unflatten(0, x.shape[:-2])

    @torch.no_grad()
    def begin_as_cost(self, embeddings: Float[Tensor, "N W"]) -> None:
        """Start where the logit is the sum of costs, and the synergy vectors are means of the deepest tap.

        FiLM leaves that tap nearly as it is, reduced to the main directions of these embeddings of words; the projector
        goes back to their space; the head gives nothing yet.
        """
        reduce, dim = self.reduce[0], self.projector.in_features
        main = torch.linalg.svd(F.normalize(embeddings.float(), dim=-1), full_matrices=False).Vh[:dim]
        cast(Tensor, reduce.weight).copy_(main)
        self.projector.weight.copy_(main.mT)
        self.film.mul.weight.mul_(NEARLY)
        self.film.add.weight.mul_(NEARLY)
        self.film.mul.bias.fill_(1)
        for bias in (reduce.bias, self.projector.bias, self.film.add.bias, *self.head.parameters()):
            cast(Tensor, bias).zero_()
        if self.skip is not None:
            cast(CostSum, self.skip).weight.fill_(COST_SCALE / self.costs)
            cast(CostSum, self.skip).bias.fill_(-COST_SCALE * LIKELY_COST)

    def synergy(
        self, cells: Float[Tensor, "M N C"], activation: Float[Tensor, "M h w"], grid: tuple[int, int]
    ) -> Synergy:
        """Feature Synergy Structure: sums of features in the words' space, weighted by A and by 1 - A.

        A is averaged over each cell, which gives the sums of the full map with the features repeated.
        """
        inside = F.adaptive_avg_pool2d(activation[:, None], grid).flatten(1)
        foreground, background = (torch.einsum("ml,mlc->mc", weight, cells) for weight in (inside, 1 - inside))
        return Synergy(foreground / cells.shape[1], background / cells.shape[1])

    def cost_sum(self, deepest: Float[Tensor, "B L D"], text: PromptEmbeddings, rows: int) -> Logits:
        """The sum of the costs of the maps that the deepest tap is."""
        maps = rearrange(deepest[:, 1:], "b (h w) (p c) -> p b c h w", h=rows, p=self.costs)
        return cast(nn.Module, self.skip)(torch.cat([cost_volume(one, text) for one in maps], dim=1), text)

    def _costs(
        self, features: TokenFeatures, text: PromptEmbeddings
    ) -> tuple[Float[Tensor, "B _ T _ _"], Logits | None]:
        """Costs to choose words by, and their sum if the decoder adds to it."""
        if self.skip is not None:
            summed = self.cost_sum(features.taps[-1], text, features.grid[0])
            return summed[:, None], summed
        costs = [cost_volume(dense, text) for dense in features.maps]
        return torch.cat(costs, dim=1) if costs else text.new_zeros(len(text), 1, text.shape[1], 1, 1), None

    def _decoded(self, reduced: Sequence[Tokens], words: Float[Tensor, "B t W"], grid: tuple[int, int]) -> Logits:
        return self.decode(self.conditioned(reduced, words), reduced, grid)


class SynSeg(SegmentationNetwork):
    """Two frozen towers and the decoder, which stands where others have their aggregation."""

    aggregation: ConditionedDecoder

    def trainable_parameters(self) -> tuple[str, ...]:
        """Names of what the paper trains: FiLM, projector and decoder; the towers are frozen."""
        return tuple(name for name, _ in self.named_parameters() if name.startswith("aggregation."))

    def selected_logits(
        self,
        image: Images,
        text: Float[Tensor, "T P C"],
        *,
        pooling: tuple[int, int] = (1, 1),
        selection: ClassSelection | None = None,
        chunk: int | None = None,
        observe: StreamObserver | None = None,
        recompute: bool = False,
    ) -> SelectedLogits:
        """See `SegmentationNetwork.selected_logits`; there are no classes to pool and no streams to observe."""
        encoder = cast(TokenEncoder, self.image_encoder)
        # the tower's last blocks only serve to choose words
        features = encoder.tokens(image, dense=selection is not None)
        context = AggregationContext(pooling, selection, chunk or len(text), observe, recompute)
        return self.aggregation(features, text.expand(len(image), -1, -1, -1), context)

    def learn(
        self, taps: Sequence[Float[Tensor, "B L _"]], phrases: Float[Tensor, "M C"], owner: Int[Tensor, " M"]
    ) -> tuple[Synergy, Float[Tensor, "M h w"]]:
        """Synergy vectors of phrases, each with its picture's taps (`owner`), and their logits; grids are square."""
        decoder, side = self.aggregation, round((taps[0].shape[1] - 1) ** 0.5)
        reduced = [tap[owner] for tap in decoder.reduce_taps(taps)]
        conditional = decoder.conditioned(reduced, phrases)
        logits = decoder.decode(conditional, reduced, (side, side))
        if decoder.skip is not None:
            summed = decoder.cost_sum(taps[-1][owner], phrases[:, None, None], side)
            logits = logits + resized(summed, (logits.shape[1], logits.shape[2]))[:, 0]
        if decoder.pooled == "map":
            cells = taps[-1][owner][:, 1:]
        else:
            cells = decoder.projector((conditional if decoder.pooled == "conditional" else reduced[0])[:, 1:])
        return decoder.synergy(cells, logits.sigmoid(), (side, side)), logits
