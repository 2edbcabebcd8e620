"""The configuration of a cost aggregation, and of PCA-Seg, CAT-Seg and their variants, which are made of one.

The towers and the layers are named; `networks/choices.py` has the layers' classes, and towers are imported where one is
built.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import nn

from segvoc.configuration import check_range
from segvoc.encoders.vit import DenseMode, VitConfig
from segvoc.errors import UsageError
from segvoc.layers.aggregation import ClassAggregation, SpatialAggregation, UpsamplingDecoder
from segvoc.layers.cost_sum import CostSum
from segvoc.layers.decoder_sizes import DecoderSizes

Order = Literal["parallel", "serial"]
Fusion = Literal["experts", "experts-paper", "single", "convolution", "average", "addition", "concatenation", "last"]
ClassAttention = Literal["linear", "softmax", "query"]
Decoder = Literal["transposed", "bilinear", "none"]
Skip = Literal["sum", "none"]

EXPERT_FUSIONS: tuple[Fusion, ...] = ("experts", "experts-paper", "convolution", "average", "addition")
"""The fusions whose number of experts can be chosen."""


class AggregationLayers(NamedTuple):
    """The classes that the names in a `CostAggregationConfig` stand for; `networks/choices.py` looks them up."""

    block: Callable[[SpatialAggregation, ClassAggregation, nn.Module], nn.Module]
    """Joins both aggregations."""
    fusion: Callable[[int], nn.Module]
    """From a number of channels to the module (spatial stream, class stream) -> features."""
    class_attention: type[ClassAggregation]
    """The attention among classes."""
    decoder: type[UpsamplingDecoder]
    """From the refined features to logits."""


@dataclass(frozen=True, kw_only=True)
class CostAggregationConfig:
    """Sizes and layers of a cost aggregation; the defaults are what PCA-Seg and CAT-Seg share."""

    kind: Literal["cost", "features", "none"] = "cost"
    """Aggregates costs, or the features of image and word (CAT-Seg, Table 7); "none": the costs are the logits."""
    order: Order
    """Spatial and class aggregation side by side, or one after the other."""
    blocks: int
    """How many blocks stand in a row (CAT-Seg, Table 8); 0: the embedded costs are decoded as they are."""
    fusion: Fusion
    """How the streams are joined: by experts as released or as in the paper; by one expert, or several joined by a
    convolution, their mean or their sum (PCA-Seg, Table 5e); by concatenation (Table 5a); or the class stream alone."""
    experts: int | None = None
    """Experts of each fusion that has a choice (PCA-Seg, Table 5c); None: four."""
    class_attention: ClassAttention = "linear"
    """Linear; softmax, the released code's `full`; or over the queries, as in PartCATSeg's code, which has no pads."""
    pad_classes: int = 256
    """The class axis is padded to this length with a learnt token; 0: not at all."""
    decoder: Decoder = "transposed"
    """The released one, the one of CAT-Seg's arXiv v1, or the head alone (its Table 10)."""
    skip: Skip = "none"
    """Whether a weighted sum of the costs is one more cost, is added to the logits, and selects the classes."""
    familiar_words: int = 0
    """Words that the costs were trained on, for a sum whose weights depend on a word's distance to them."""
    costs: int = 1
    """Costs of each class: prompts x maps."""
    appearance_channels: int | None = None
    """Channels of the map that guides the blocks; None: as many as the tower's maps have."""
    dim: int = 128
    """Channels of a class's features at a cell."""
    guidance_dim: int = 128
    """Channels of the guidance by image and words."""
    heads: int = 4
    """Attention heads."""
    window: int = 12
    """Side of the windows of spatial aggregation, in cells."""
    decoder_sizes: DecoderSizes = field(default_factory=DecoderSizes)
    """Channels of the decoder."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range, and experts where there are none."""
        sizes = ("costs", "appearance_channels", "dim", "guidance_dim", "heads", "window")
        counts = ("blocks", "experts", "pad_classes", "familiar_words")
        check_range(self, {name: (0, 1000) for name in counts} | {name: (1, 4096) for name in sizes})
        if self.experts is not None and (self.fusion not in EXPERT_FUSIONS or not self.experts):
            has = "give 1 or more" if self.fusion in EXPERT_FUSIONS else f"add fusion={EXPERT_FUSIONS[0]}"
            raise UsageError(f"experts={self.experts} doesn't go with fusion={self.fusion}; {has}")
        if self.dim % self.heads:
            raise UsageError(f"dim={self.dim} does not divide into heads={self.heads}; give a multiple")

    def build_cost_sum(self, channels: int) -> CostSum:
        """The weighted sum of the costs, for words of so many channels."""
        return CostSum(self.costs, self.familiar_words if self.skip == "sum" else 0, channels)

    def build_block(self, layers: AggregationLayers) -> nn.Module:
        """A block with random weights."""
        sizes = {"dim": self.dim, "guidance_dim": self.guidance_dim, "heads": self.heads}
        spatial = SpatialAggregation(**sizes, window=self.window)
        semantic = layers.class_attention(**sizes, pad_classes=self.pad_classes)
        return layers.block(spatial, semantic, layers.fusion(self.dim))


def check_vit(vit: VitConfig) -> None:
    """Refuse sizes that no ViT has: the header of a file could ask for any.

    Raises: UsageError: a size out of range.
    """
    counts = ("layers", "heads", "patch_size")
    check_range(vit, {name: (1, 256) for name in counts} | {"channels": (1, 8192), "width": (1, 8192)})
    check_range(vit, {"pretrained_size": (1, 4096), "input_size": (1, 4096), "taps": (0, 255)})


@dataclass(frozen=True, kw_only=True)
class EvaEncoders:
    """The image and text encoder of EVA02-CLIP."""

    kind: Literal["eva"] = "eva"
    """Tells it from other encoders."""
    vit: VitConfig
    """Sizes of the image encoder; the text encoder goes with its channels."""
    dense: DenseMode = "csa"
    """How the last block attends when it is read densely: the mode that the weights were distilled in."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        check_vit(self.vit)


@dataclass(frozen=True, kw_only=True)
class OpenAIEncoders:
    """The image and text encoder of OpenAI's CLIP."""

    kind: Literal["openai"] = "openai"
    """Tells it from other encoders."""
    vit: VitConfig
    """Sizes of the image encoder; the text encoder goes with its channels."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        check_vit(self.vit)


@dataclass(frozen=True, kw_only=True)
class ClipNetworkConfig:
    """A network of CLIP's encoders and a cost aggregation: PCA-Seg, and CAT-Seg."""

    kind: Literal["clip"] = "clip"
    """Tells it from other networks."""
    encoders: EvaEncoders | OpenAIEncoders
    """The two towers."""
    aggregation: CostAggregationConfig
    """What stands between their features and the logits."""
