"""tiny: the network that ships with segvoc.

Its image encoder gives three dense maps and the logits of ImageNet's classes, hence four costs of each word. A weighted
sum of them is the logit; a small cost aggregation adds to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ClassifiedFeatures, ImageEncoder
from segvoc.encoders.lexicon import trained_lexicon
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.encoders.word_encoder import WordEncoder
from segvoc.inference.protocols import SHIPPED_VIEW, LoaderResize, Protocol, Protocols, Strides
from segvoc.layers.aggregation import DecoderSizes, cost_volumes
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import Kept, SelectedLogits, select_classes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.layers.maps import resized
from segvoc.layers.precision import at_least_float32, without_autocast
from segvoc.layers.selection import ClassSelection
from segvoc.layers.shapes import CostVolume, FeatureMaps, Logits, PromptEmbeddings
from segvoc.networks.base import CostAggregation, NetworkConfig, SegmentationNetwork
from segvoc.networks.choices import block_of, decoder_of
from segvoc.networks.cost_aggregation_config import CostAggregationConfig, Order
from segvoc.storage.records import check_range

MAPS = 3
"""Dense maps of the image encoder in the text embedding space; each gives one cost."""

DECODER = DecoderSizes(lifts=(), taps=(48, 24), guidance=(8, 8), stages=(32, 16))
"""Decoder sizes; the taps are the image encoder's."""


@dataclass(frozen=True, kw_only=True)
class TinyAggregationConfig(CostAggregationConfig):
    """One small block that adds to the sum of the costs."""

    kind: Literal["cost", "none"] = "cost"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Whether an aggregation adds to the sum of the costs; "none" uses the sum as the logits."""
    order: Order = "parallel"
    blocks: int = 1
    fusion: str = "concatenation"
    familiar_words: int = 406
    """Number of words that the dense maps were trained on."""
    known_classes: Literal[1000] = 1000
    """ImageNet's classes, whose logits the image encoder gives; each word is compared with a blend of them."""
    sharpness: float = 25.0
    """How strongly the blend concentrates on the known classes whose names are most similar to the word."""
    skip: Literal["sum", "none"] = "sum"
    """Whether the sum of the costs is appended as an extra cost, added to the logits, and used to select classes."""
    pad_classes: int = 0
    costs: int = MAPS + 1
    appearance_channels: int | None = 472
    """Channels of the feature map that guides the blocks: the last stages, or None for the first dense map."""
    dim: int = 48
    guidance_dim: int = 48
    heads: int = 3
    window: int = 7
    decoder_sizes: DecoderSizes = DECODER

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, {"familiar_words": (1, 65_535), "sharpness": (0, 1000)})


TINY_SELECTION = ClassSelection(share=0.98, least=16)
"""Class selection of `tiny`: keeps all of up to 16 words, otherwise those with nearly all votes."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig(NetworkConfig):
    """Configuration of a tiny network."""

    kind: Literal["tiny"] = "tiny"
    aggregation: TinyAggregationConfig = TinyAggregationConfig()
    """The aggregation between the encoders and the logits."""

    def build(self) -> SegmentationNetwork:
        """See `NetworkConfig.build`."""
        from segvoc.encoders.efficientnet import EfficientNetLite
        from segvoc.encoders.minilm import MiniLM

        appearance = self.aggregation.appearance_channels is not None
        return tiny_network(self, EfficientNetLite(own_appearance=appearance), MiniLM())

    def protocols(self) -> Protocols:
        """Every image is squashed to a square, apart from `auto` and `fine`.

        `fine` has windows of the shorter side, two for images up to 7:4: twice the time of `auto`.
        """
        side = SHIPPED_VIEW.size
        single = Protocol(size=side, selection=TINY_SELECTION)
        fine = replace(
            single,
            loader=LoaderResize(shortest=side, longest=8 * side),
            sliding=Strides(window=side, stride=side * 3 // 4),
        )
        return {
            "auto": replace(SHIPPED_VIEW, selection=TINY_SELECTION),
            "single": single,
            "official": single,
            "official-single": single,
            "fine": fine,
        }

    def templates(self) -> tuple[str, ...]:
        """The bare word."""
        return ("{}",)


TWO_BLOCKS = TinyAggregationConfig(
    blocks=2,
    fusion="experts",
    pad_classes=256,
    appearance_channels=None,
    dim=64,
    guidance_dim=64,
    heads=4,
    window=14,
    decoder_sizes=DecoderSizes(lifts=(), taps=(48, 24), guidance=(16, 8), stages=(32, 16)),
)
"""Two parallel blocks with experts, for small-scale comparisons of the papers (the recipe `tiny-aggregation`)."""


class SynthesizedClassifiers(nn.Module):
    """Blends the classifiers of known classes into a classifier for each word.

    A word's classifier is a convex combination of the classifiers of the known classes, weighted by how similar their
    names are to the word: w_t = sum_k s_tk w_k with s_t = softmax(sharpness * cos(text_t, anchor_k)). It equals the
    same combination of the classes' logits, so only logits are needed.

    Source: Changpinyo et al., "Synthesized classifiers for zero-shot learning", CVPR 2016, Eqs. 2 and 3, with cosine
    similarities instead of distances.
    """

    anchors: Tensor

    def __init__(self, classes: int, channels: int, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.register_buffer("anchors", torch.randn(classes, channels))

    def forward(self, class_logits: Float[Tensor, "B K H W"], text: PromptEmbeddings) -> CostVolume:
        """Weighted mean over the known classes of each cell's centered logits, which have unit norm in each cell."""
        class_logits, text = at_least_float32(class_logits), at_least_float32(text)
        with without_autocast(text):
            similarity = F.normalize(text, dim=-1) @ F.normalize(self.anchors, dim=-1).mT
            share = (self.sharpness * similarity).softmax(dim=-1)
            centered = class_logits - class_logits.mean(dim=1, keepdim=True)
            return torch.einsum("bkhw,btpk->bpthw", F.normalize(centered, dim=1), share)


class FamiliarCostSum(CostSum):
    """A sum of the costs whose weights depend on how novel a word is.

    Feature maps say little about words that they weren't trained on. With `familiar`, the words that they were trained
    on, and a word's novelty, its distance to the nearest of these, 1 - max cos:
    logit_t = sum_p (weight_p + novelty_t * novelty_weight_p) cost_pt + bias.
    """

    familiar: Tensor

    def __init__(self, costs: int, familiar_words: int, channels: int) -> None:
        super().__init__(costs)
        self.novelty_weight = nn.Parameter(torch.zeros(costs))
        self.register_buffer("familiar", torch.zeros(familiar_words, channels))

    # unlike those of a plain sum, the weights depend on the word
    def forward(self, cost: CostVolume, text: PromptEmbeddings) -> Logits:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits on the grid of the cost volume; `text` holds the prompt embeddings of each class, any norm."""
        with without_autocast(cost):
            words = F.normalize(at_least_float32(text).mean(dim=2), dim=-1)
            novelty = 1 - (words @ F.normalize(self.familiar, dim=-1).mT).amax(dim=-1, keepdim=True)
            weights = self.weight.expand(*text.shape[:2], -1) + novelty * self.novelty_weight
        return self.weighted(cost, weights)


class TinyCosts(nn.Module):
    """What tiny with and without an aggregation have in common: the costs of a word.

    `maps` are the dense maps, then the logits of the known classes, all on one grid.
    """

    float32_parts = ("skip", "synthesized")
    synthesized: SynthesizedClassifiers

    def costs(self, maps: FeatureMaps, text: PromptEmbeddings) -> CostVolume:
        """Compare the dense maps with the words by cosine, and the known classes by synthesized classifiers."""
        *dense, class_logits = maps
        return torch.cat((cost_volumes(dense, text), self.synthesized(class_logits, text)), dim=1)


class TinyAggregation(TinyCosts, CostAggregation):
    """Computes logits as the sum of the costs plus what a cost aggregation adds to it."""

    float32_parts = (*TinyCosts.float32_parts, *CostAggregation.float32_parts)

    def __init__(self, config: TinyAggregationConfig, channels: int, tap_channels: Sequence[int]) -> None:
        adds = config.skip == "sum"
        super().__init__(replace(config, costs=config.costs + adds), channels, block_of, decoder_of(tap_channels))
        self.skip = FamiliarCostSum(config.costs, config.familiar_words, channels) if adds else None
        self.synthesized = SynthesizedClassifiers(config.known_classes, channels, config.sharpness)
        if adds:
            # random logits would drown the sum that they are added to
            for parameter in self.decoder.head.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits; see `CostAggregation.forward` and, for the maps, `TinyCosts`."""
        cost, text, kept = self.selected_costs(maps, text, context)
        return self.refined(cost, text, guidance, context), kept

    def selected_costs(
        self, maps: FeatureMaps, text: PromptEmbeddings, context: AggregationContext
    ) -> tuple[Float[Tensor, "B P K H W"], Float[Tensor, "B K N C"], Kept | None]:
        """The costs of the classes selected by their sum, which is the last cost; their embeddings and indices."""
        cost = self.costs(maps, text)
        if self.skip is not None:
            cost = torch.cat((cost, self.skip(cost, text)[:, None]), dim=1)
        kept = context.select(cost if self.skip is None else cost[:, -1:])
        return *select_classes(cost, text, kept), kept

    def refined(
        self, cost: CostVolume, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> Logits:
        """Refine and decode the selected classes, and add the sum of the costs, the last cost."""
        logits = super().refined(cost, text, guidance, context)
        return logits if self.skip is None else with_sum(logits, cost[:, -1])


class TinyWithoutAggregation(TinyCosts, NoAggregation):
    """The sum of the costs alone."""

    float32_parts = TinyCosts.float32_parts

    def __init__(self, config: TinyAggregationConfig, channels: int) -> None:
        super().__init__(FamiliarCostSum(config.costs, config.familiar_words, channels))
        self.synthesized = SynthesizedClassifiers(config.known_classes, channels, config.sharpness)

    def logits(self, maps: FeatureMaps, text: PromptEmbeddings) -> Logits:
        """See `NoAggregation.logits`."""
        return self.skip(self.costs(maps, text), text)


class Tiny(SegmentationNetwork):
    """tiny, with its own aggregation or none."""

    features_type = ClassifiedFeatures

    def word_encoder(self, templates: Sequence[str]) -> WordEncoder:
        """See `SegmentationNetwork.word_encoder`; words are related to those that tiny was trained on."""
        return VocabularyEncoder(self.text_encoder, templates, average=self.average_prompts, lexicon=trained_lexicon())


def with_sum(logits: Logits, summed: Float[Tensor, "B T H W"]) -> Logits:
    """Add the sum of the costs, interpolated to the size of the logits."""
    return logits + resized(summed, (logits.shape[2], logits.shape[3]))


def tiny_network(config: TinyConfig, image_encoder: nn.Module, text_encoder: nn.Module) -> SegmentationNetwork:
    """Build tiny on these encoders, with random weights."""
    aggregation, tower = config.aggregation, cast(ImageEncoder, image_encoder)
    if aggregation.kind == "none":
        return Tiny(image_encoder, text_encoder, TinyWithoutAggregation(aggregation, tower.channels))
    return Tiny(image_encoder, text_encoder, TinyAggregation(aggregation, tower.channels, tower.tap_channels))
