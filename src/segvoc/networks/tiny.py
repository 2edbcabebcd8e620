"""tiny: the network that ships with segvoc, and the aggregations of the papers in small on its towers."""

from dataclasses import dataclass
from typing import Literal

from segvoc.layers.decoder_sizes import DecoderSizes
from segvoc.networks.cost_aggregation_config import CostAggregationConfig, Fusion, Order, Skip
from segvoc.networks.part_cat_seg import PartAggregationConfig
from segvoc.networks.syn_seg import ConditionedDecoderConfig, Pooled

MAPS = 3
"""Dense maps of the image encoder, each a cost."""

FAMILIAR_WORDS = 190
"""Words that its projections were trained on."""

STAGES = 472
"""Channels of its last stages, which guide the blocks."""

DECODER = DecoderSizes(lifts=(), taps=(48, 24), guidance=(8, 8), stages=(32, 16))
"""Channels of the decoder; the taps are the image encoder's."""


@dataclass(frozen=True, kw_only=True)
class TinySizes:
    """The sizes of an aggregation on tiny's towers, in place of the published ones."""

    blocks: int = 1
    """How many blocks stand in a row."""
    pad_classes: int = 0
    """The class axis is padded to this length with a learnt token; 0: not at all."""
    skip: Skip = "sum"
    """Whether the aggregation adds to the sum of the costs."""
    familiar_words: int = FAMILIAR_WORDS
    """Words that the costs were trained on."""
    costs: int = MAPS
    """Costs of each class."""
    appearance_channels: int | None = STAGES
    """Channels of the map that guides the blocks: the stages, or None: the first dense map."""
    dim: int = 48
    """Channels of a class's features at a cell."""
    guidance_dim: int = 48
    """Channels of the guidance by image and words."""
    heads: int = 3
    """Attention heads."""
    window: int = 7
    """Side of the windows of spatial aggregation, in cells."""
    decoder_sizes: DecoderSizes = DECODER
    """Channels of the decoder."""


@dataclass(frozen=True, kw_only=True)
class TinyAggregationConfig(TinySizes, CostAggregationConfig):
    """tiny's own aggregation: what one small block adds to the sum of its costs."""

    order: Order = "parallel"
    """Spatial and class aggregation side by side, or one after the other."""
    fusion: Fusion = "concatenation"
    """How the streams are joined."""


@dataclass(frozen=True, kw_only=True)
class TinyPartsConfig(TinySizes, PartAggregationConfig):
    """PartCATSeg's aggregation in small, on the towers of tiny: what it adds to the sums of their costs."""

    kind: Literal["parts"] = "parts"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Tells it from tiny's other aggregations."""
    prompts: int = 1
    """Prompts of each class."""


@dataclass(frozen=True, kw_only=True)
class TinySynergyConfig(ConditionedDecoderConfig):
    """SynSeg's decoder on tiny's towers: small, and added to the cost that no mask has taught."""

    hidden: int = 128
    """Channels of the hidden layer of its MLPs."""
    finer: int = 8
    """Logits of a cell along one side."""
    pooled: Pooled = "visual"
    """What synergy vectors are sums of."""
    skip: Skip = "sum"
    """Whether the decoder adds to a sum of costs."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """The whole of tiny."""

    kind: Literal["tiny"] = "tiny"
    """Tells it from other networks."""
    aggregation: TinyAggregationConfig | TinyPartsConfig | TinySynergyConfig = TinyAggregationConfig()
    """What stands between the towers' features and the logits."""


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
"""Two parallel blocks with experts, for the papers' comparisons in small (the recipe `tiny-aggregation`)."""
