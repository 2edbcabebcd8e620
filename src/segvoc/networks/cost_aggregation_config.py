"""Configuration of a cost aggregation and of the networks built around one: PCA-Seg, CAT-Seg and their variants.

`networks/choices.py` maps the names of layers to classes. Encoders are imported only when they are built.
"""

from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

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
