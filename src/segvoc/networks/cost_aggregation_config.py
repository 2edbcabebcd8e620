"""Configuration of a cost aggregation and of the networks built around one: PCA-Seg, CAT-Seg and their variants.

`networks/choices.py` maps the names of layers to classes. Encoders are imported only when they are built.
"""

from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from segvoc.encoders.dense_modes import DenseMode, OpenAIDenseMode
from segvoc.encoders.vit import TIMM_CLIPS, Activation, TimmClipName, VitConfig
from segvoc.errors import UsageError
from segvoc.layers.aggregation import DecoderSizes
from segvoc.storage.records import check_range


class NoGuidance(nn.Module):
    """Projection to 0 channels, which PyTorch's layers don't support, along the axis of the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape_without"]:
        """The same tensor with 0 channels."""
        return x.narrow(self.dim, 0, 0)


Order = Literal["parallel", "serial"]
ClassAttention = Literal["linear", "softmax", "query"]
Decoder = Literal["transposed", "none"]


@dataclass(frozen=True, kw_only=True)
class CostAggregationConfig:
    """Sizes and layers of a cost aggregation; the defaults are common to PCA-Seg and CAT-Seg."""

    kind: Literal["cost", "features", "none"] = "cost"
    """Whether to aggregate costs, or image and word features (CAT-Seg, Table 7); "none" uses the costs as logits."""
    order: Order
    """Whether spatial and class aggregation run in parallel or in series."""
    blocks: int
    """Number of consecutive blocks (CAT-Seg, Table 8); 0 decodes the embedded costs directly."""
    fusion: str
    """How the streams are fused, by a name of `FUSIONS` (`choices.py`): by experts as released or as in the paper;
    by a single expert, or by several joined by a convolution, their mean or their sum (PCA-Seg, Table 5e); by
    concatenation (Table 5a); or "last", the class stream alone."""
    experts: int | None = None
    """Number of experts, for the fusions that allow a choice (PCA-Seg, Table 5c); None: four."""
    class_attention: ClassAttention = "linear"
    """Linear attention; softmax attention (`full` in the released code); or softmax over the queries, as in
    PartCATSeg's code, which doesn't pad the classes."""
    pad_classes: int = 256
    """Pad the class axis to this length with a learned token; 0: no padding."""
    decoder: Decoder = "transposed"
    """The released decoder, or the head alone (CAT-Seg, Table 10)."""
    costs: int = 1
    """Costs per class: prompts x feature maps."""
    appearance_channels: int | None = None
    """Channels of the feature map that guides the blocks; None: same as the image encoder's dense maps."""
    dim: int = 128
    """Channels of the features of a class at a cell."""
    guidance_dim: int = 128
    """Channels of the image and text guidance; 0: no guidance (CAT-Seg, arXiv v1, Table 2, V)."""
    heads: int = 4
    """Attention heads."""
    window: int = 12
    """Side of the attention windows in spatial aggregation, in cells."""
    decoder_sizes: DecoderSizes = field(default_factory=DecoderSizes)
    """Channels of the decoder."""

    def __post_init__(self) -> None:
        sizes = ("costs", "experts", "appearance_channels", "dim", "heads", "window")
        counts = ("blocks", "pad_classes", "guidance_dim")
        check_range(self, {name: (0, 1000) for name in counts} | {name: (1, 4096) for name in sizes})
        if self.dim % self.heads:
            raise UsageError(f"dim={self.dim} does not divide into heads={self.heads}; give a multiple")

    def build_guidance(self, channels: int) -> tuple[nn.Module, nn.Module]:
        """Build the projections of image and word guidance, for word embeddings with this many channels."""
        if not self.guidance_dim:
            return NoGuidance(dim=1), NoGuidance(dim=-1)
        image = nn.Conv2d(self.appearance_channels or channels, self.guidance_dim, kernel_size=3, padding=1)
        return image, nn.Linear(channels, self.guidance_dim)


class _VitEncoders:
    """Shared by the ViT encoders."""

    vit: VitConfig

    @property
    def input_size(self) -> int:
        """Side of the images that the network reads [pixels]."""
        return self.vit.input_size

    @property
    def stride(self) -> int:
        """Side of a patch [pixels]."""
        return self.vit.patch_size


@dataclass(frozen=True, kw_only=True)
class EvaEncoders(_VitEncoders):
    """The image and text encoders of EVA02-CLIP."""

    kind: Literal["eva"] = "eva"
    vit: VitConfig
    """Sizes of the image encoder; the text encoder matches its channels."""
    dense: DenseMode = "csa"
    """Attention of the last block in dense mode; it must match the mode that the weights were distilled in, if any."""


@dataclass(frozen=True, kw_only=True)
class OpenAIEncoders(_VitEncoders):
    """The image and text encoders of OpenAI's CLIP."""

    kind: Literal["openai"] = "openai"
    vit: VitConfig
    """Sizes of the image encoder; the text encoder matches its channels."""
    dense: OpenAIDenseMode = "cat-seg"
    """Attention of the last block in dense mode; networks with an aggregation were trained with CAT-Seg's."""
    activation: Activation = "quick_gelu"
    """Activation of the MLPs."""


@dataclass(frozen=True, kw_only=True)
class TimmEncoders:
    """The image and text encoders of a CLIP with a timm image encoder."""

    kind: TimmClipName = "siglip2-b"
    """Name of the CLIP; its sizes are in `TIMM_CLIPS`."""
    side: int | None = None
    """Side of the images that the network reads [pixels]; None: the encoder's own."""

    def __post_init__(self) -> None:
        check_range(self, {"side": (1, 4096)})
        if self.side is not None and self.side % self.stride:
            raise UsageError(f"side={self.side} doesn't divide into cells of {self.stride} px; give a multiple of that")

    @property
    def input_size(self) -> int:
        """Side of the images that the network reads [pixels]."""
        return self.side or TIMM_CLIPS[self.kind].input_size

    @property
    def stride(self) -> int:
        """Side of a cell [pixels]."""
        return TIMM_CLIPS[self.kind].stride


@dataclass(frozen=True, kw_only=True)
class ClipNetworkConfig:
    """A network with CLIP encoders: PCA-Seg, CAT-Seg, or the encoders alone."""

    kind: Literal["clip"] = "clip"
    encoder: EvaEncoders | OpenAIEncoders | TimmEncoders
    """Image and text encoder."""
    aggregation: CostAggregationConfig
    """The aggregation between the encoders and the logits."""
    prompts: Literal["scene", "imagenet"] = "scene"
    """A single prompt template, or the mean of CLIP's 80 for ImageNet."""
