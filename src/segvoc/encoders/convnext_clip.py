"""The image encoder of ConvNeXt-CLIP with dense features at two strides, as in ERR-Seg.

ConvNeXt: Liu et al., arXiv:2201.03545 (the architecture is timm's); ConvNeXt-CLIP: open_clip's `convnext_base_w_320`
and `convnext_large_d_320`; the second pass through the last stage: ERR-Seg, Sec. 3.1.1 and its released code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm2d
from timm.models.convnext import ConvNeXt, ConvNeXtStage
from torch import Tensor, nn
from torch.func import functional_call

from segvoc.checkpoints.strict import inside, renamed
from segvoc.encoders.base import IMAGENET_STATISTICS, ImageFeatures, normalized_pixels
from segvoc.encoders.official_clip import PublishedTower, Renamed, rename_openai
from segvoc.encoders.vit import patch_grid

StageFourGradient = Literal["both", "stride_16", "stride_32"]
"""Which of the two passes trains the last stage's blocks (ERR-Seg, Table 6: F3 + F4, F3, F4)."""

PIXEL_STATISTICS = IMAGENET_STATISTICS
"""ImageNet's, although open_clip trained the encoder with OpenAI's: ERR-Seg's released configurations have detectron2's
`PIXEL_MEAN` 123.675, 116.28, 103.53 and `PIXEL_STD` 58.395, 57.12, 57.375 (these constants times 255), and its weights
were fine-tuned with them."""


@dataclass(frozen=True, kw_only=True)
class ConvNextClipConfig:
    """Sizes of the encoder, and how its last stage is used."""

    channels: int
    """Channels of the space shared with the text."""
    widths: tuple[int, int, int, int]
    """Channels of the four stages."""
    input_size: int
    """Side of the images [pixels]."""
    depths: tuple[int, int, int, int] = (3, 3, 27, 3)
    """Blocks of the four stages."""
    head_width: int | None = None
    """Hidden channels of the MLP from the last stage to the shared space; None for a linear map without bias."""
    head_dropout: float = 0.0
    """Dropout probability inside that MLP."""
    drop_path: float = 0.0
    """Stochastic depth: probability that a block is skipped in training."""
    hierarchical: bool = True
    """Give a map at stride 16 too (ERR-Seg, Table 6: "Hierarchical"), not only the one at stride 32 ("Single")."""
    stage_4_gradient: StageFourGradient = "both"
    """Which pass trains the last stage."""


def convnext_base_w() -> ConvNextClipConfig:
    """ConvNeXt-B of open_clip's `convnext_base_w_320`; ERR-Seg uses it at 640 px."""
    return ConvNextClipConfig(channels=640, widths=(128, 256, 512, 1024), input_size=640)


def convnext_large_d() -> ConvNextClipConfig:
    """ConvNeXt-L of open_clip's `convnext_large_d_320`; ERR-Seg trains it at 640 px and uses it at 768."""
    return ConvNextClipConfig(
        channels=768, widths=(192, 384, 768, 1536), head_width=1536, head_dropout=0.1, drop_path=0.1, input_size=768
    )


class StrideOneDownsample(nn.Module):
    """conv_{s=1} of ERR-Seg's Eq. 2: the last stage's downsampling, with its own weights, on the same grid.

    Its 2x2 convolution pads every side with one zero, and its (H+1)x(W+1) outputs are resized to HxW.
    """

    def __init__(self, channels: int, widened: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels)
        self.conv = nn.Conv2d(channels, widened, 2, padding=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """D channels for each cell."""
        return F.interpolate(self.conv(self.norm(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)


ERR_CLIP = "sem_seg_head.clip_model."
"""Prefix of the towers' weights in the released ERR-Seg."""

_STRIDE_ONE = "visual.modify_downsample."
_CONVNEXT = (
    (r"^visual\.modify_downsample\.0\.", "stride_one.0.norm."),
    (r"^visual\.modify_downsample\.2\.", "stride_one.0.conv."),
    (r"^visual\.head\.(proj|mlp)\.", "project."),
    (r"^visual\.trunk\.", "tower."),
)


def with_stride_one(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add ERR-Seg's downsampling with stride 1 to a plain CLIP, initialized from that of the last stage (Eq. 2)."""
    if any(name.startswith(_STRIDE_ONE) for name in clip):
        return dict(clip)
    copies = {
        name.replace(f"visual.trunk.stages.3.downsample.{theirs}.", f"{_STRIDE_ONE}{ours}."): value.clone()
        for theirs, ours in (("0", "0"), ("1", "2"))
        for name, value in clip.items()
        if name.startswith(f"visual.trunk.stages.3.downsample.{theirs}.")
    }
    return {**clip, **copies}


def _rename(name: str, value: Tensor) -> Renamed:
    if name.startswith("visual."):
        yield f"image.{renamed(name, _CONVNEXT)}", value
    else:
        yield from rename_openai(name, value)


class ConvNextClipImageEncoder(PublishedTower):
    """ConvNeXt-CLIP with dense maps in the space shared with the text.

    Maps (not of unit norm): F3^s at stride 16 (ERR-Seg, Eq. 2), unless `hierarchical` is off, then F4^s at stride 32
    (Eq. 1). Taps: the outputs of the stages at stride 32, 16, 8 and 4; no gradient flows back through the last two, as
    released.
    """

    family, rename = "ConvNeXt-CLIP", staticmethod(_rename)
    stride = 32

    def __init__(self, config: ConvNextClipConfig) -> None:
        super().__init__()
        self.config = config
        self.input_size, self.channels = config.input_size, config.channels
        self.tap_channels = config.widths[::-1]
        *_, channels, widened = config.widths
        self.tower = ConvNeXt(
            num_classes=0,
            global_pool="",  # keeps the head's norm, which is applied to each cell
            depths=config.depths,
            dims=config.widths,
            drop_path_rate=config.drop_path,
        )
        self.stride_one = nn.ModuleList([StrideOneDownsample(channels, widened)] if config.hierarchical else [])
        self.project = (
            nn.Linear(widened, config.channels, bias=False)
            if config.head_width is None
            else Mlp(widened, config.head_width, config.channels, bias=(True, False), drop=(config.head_dropout, 0.0))
        )

    def arranged(self, official: Mapping[str, Tensor], text_encoder: nn.Module) -> Mapping[str, Tensor]:
        """The weights of a plain CLIP of open_clip, or of the towers in the whole state dict of the released ERR-Seg.

        `visual.modify_downsample` is ignored if the tower only uses stride 32.
        """
        clip = inside(ERR_CLIP, official) or with_stride_one(official)
        return {name: value for name, value in clip.items() if self.stride_one or not name.startswith(_STRIDE_ONE)}

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Gamma, depth-wise kernels and MLP weights of all blocks, and the weights of an MLP head (ConvNeXt-L).

        In the published recipe biases, norms, the stem, all downsampling layers and a linear head stay frozen.
        """
        endings = (".gamma", ".conv_dw.weight", ".fc1.weight", ".fc2.weight")
        return tuple(name for name, _ in self.named_parameters() if name.endswith(endings))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W must be multiples of `stride`, or convolutions would drop rows."""
        patch_grid(image, self.stride)
        pixels = normalized_pixels(image, PIXEL_STATISTICS).to(next(self.tower.stem.parameters()).dtype)
        stage_1, stage_2, stage_3, stage_4 = (cast(ConvNeXtStage, stage) for stage in self.tower.stages)
        stride_4 = stage_1(self.tower.stem(pixels))
        stride_8 = stage_2(stride_4)
        stride_16 = stage_3(stride_8)
        source = self.config.stage_4_gradient
        fine = [_run(stage_4.blocks, down(stride_16), trained=source != "stride_32") for down in self.stride_one]
        stride_32 = _run(stage_4.blocks, stage_4.downsample(stride_16), trained=source != "stride_16")
        return ImageFeatures(
            maps=tuple(self._embed(x) for x in (*fine, stride_32)),
            taps=(stride_32, stride_16, stride_8.detach(), stride_4.detach()),
        )

    def _embed(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B C H W"]:
        """CLIP's own head, applied to each cell instead of the mean over the image."""
        return self.project(cast(LayerNorm2d, self.tower.head.norm)(x).movedim(1, -1)).movedim(-1, 1)


def _run(blocks: nn.Module, x: Tensor, *, trained: bool) -> Tensor:
    """The output of the blocks; unless they are trained, its gradient reaches `x` alone."""
    if trained:
        return blocks(x)
    return functional_call(blocks, {name: value.detach() for name, value in blocks.named_parameters()}, (x,))
