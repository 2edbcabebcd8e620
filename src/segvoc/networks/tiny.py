"""tiny: the network that ships with segvoc, and small versions of the papers' aggregations for its encoders."""

from dataclasses import dataclass
from typing import Literal

from segvoc.layers.aggregation import DecoderSizes
from segvoc.networks.cost_aggregation_config import CostAggregationConfig, Order, Skip
from segvoc.networks.part_cat_seg import PartAggregationConfig
from segvoc.networks.syn_seg import ConditionedDecoderConfig, Pooled

MAPS = 3
"""Dense maps of the image encoder in the text embedding space; each gives one cost."""

DECODER = DecoderSizes(lifts=(), taps=(48, 24), guidance=(8, 8), stages=(32, 16))
"""Decoder sizes; the taps are the image encoder's."""


@dataclass(frozen=True, kw_only=True)
class TinySizes:
    """Sizes of an aggregation on tiny's encoders, in place of those of `CostAggregationConfig`, which explains them."""

    blocks: int = 1
    pad_classes: int = 0
    skip: Skip = "sum"
    familiar_words: int = 406
    costs: int = MAPS + 1
    known_classes: int = 1000
    appearance_channels: int | None = 472
    """Channels of the feature map that guides the blocks: the last stages, or None for the first dense map."""
    dim: int = 48
    guidance_dim: int = 48
    heads: int = 3
    window: int = 7
    decoder_sizes: DecoderSizes = DECODER


@dataclass(frozen=True, kw_only=True)
class TinyAggregationConfig(TinySizes, CostAggregationConfig):
    """tiny's own aggregation: one small block that adds to the sum of the costs."""

    order: Order = "parallel"
    fusion: str = "concatenation"


@dataclass(frozen=True, kw_only=True)
class TinyPartsConfig(TinySizes, PartAggregationConfig):
    """A small version of PartCATSeg's aggregation on tiny's encoders, which adds to the sums of their costs."""

    kind: Literal["parts"] = "parts"  # pyright: ignore[reportIncompatibleVariableOverride]
    prompts: int = 1


@dataclass(frozen=True, kw_only=True)
class TinySynergyConfig(ConditionedDecoderConfig):
    """A small version of SynSeg's decoder on tiny's encoders, which adds to the cost of ImageNet's classes."""

    hidden: int = 128
    finer: int = 8
    pooled: Pooled = "visual"
    skip: Skip = "sum"


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Configuration of a tiny network."""

    kind: Literal["tiny"] = "tiny"
    aggregation: TinyAggregationConfig | TinyPartsConfig | TinySynergyConfig = TinyAggregationConfig()
    """The aggregation between the encoders and the logits."""


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
