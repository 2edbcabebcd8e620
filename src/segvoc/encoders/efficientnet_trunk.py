"""EfficientNet-Lite2 with its last stages dilated, the trunk of `tiny`.

Paper: Tan and Le, "EfficientNet", arXiv:1905.11946; the Lite variant has no squeeze-excitation and uses ReLU6. Names
and arithmetic are those of timm's `tf_efficientnet_lite2(output_stride=16)`. Importing timm, and torchvision with it,
takes longer than labeling an image.
"""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

STEM_CHANNELS = 32
SEPARABLE_CHANNELS = 16
HEAD_CHANNELS = 1280
IMAGENET_CLASSES = 1000

EXPANSION = 6
"""Channels inside an inverted residual, relative to those of its input."""

NORM_EPSILON = 1e-3
"""Of batch norm, as in TensorFlow."""


class Stage(NamedTuple):
    """Inverted residuals with equal outputs."""

    blocks: int
    channels: int
    """Channels of their output."""
    kernel: int
    """Side of their depthwise kernels [cells]."""
    stride: int
    """Stride of the first block."""
    dilation: int
    """Dilation of all blocks but the first, which has that of the stage before."""


LITE_2_STAGES = (
    Stage(blocks=3, channels=24, kernel=3, stride=2, dilation=1),
    Stage(blocks=3, channels=48, kernel=5, stride=2, dilation=1),
    Stage(blocks=4, channels=88, kernel=3, stride=2, dilation=1),
    Stage(blocks=4, channels=120, kernel=5, stride=1, dilation=1),
    Stage(blocks=5, channels=208, kernel=5, stride=1, dilation=2),  # in the paper the stride is 2
    Stage(blocks=1, channels=352, kernel=3, stride=1, dilation=2),
)
"""The stages of Lite2 after its first block, with the last two dilated instead of running at stride 32."""


class SameConv2d(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: ceil(side / stride) cells, an odd pad at the end."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        """Build the convolution; `dilation` is 1 if there is a stride."""
        padding = dilation * (kernel // 2) if stride == 1 else 0
        super().__init__(channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Convolve a map of any size."""
        if self.stride[0] > 1:
            height, width = input.shape[-2:]
            input = functional.pad(input, (*self._pads(width), *self._pads(height)))
        return super().forward(input.to(self.weight.dtype))

    def _pads(self, side: int) -> tuple[int, int]:
        """Cells before and after a side of this many cells."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        # `torch.export` needs this form: with a rounded quotient, sizes of later stages become endless formulas
        total = max(kernel - (side % stride if side % stride else stride), 0)
        return total // 2, total - total // 2


class SeparableBlock(nn.Module):
    """A depthwise convolution and a linear pointwise one."""

    def __init__(self, channels: int, out_channels: int) -> None:
        """Build the block."""
        super().__init__()
        self.conv_dw = SameConv2d(channels, channels, 3, groups=channels)
        self.bn1 = nn.BatchNorm2d(channels, NORM_EPSILON)
        self.conv_pw = SameConv2d(channels, out_channels, 1)
        self.bn2 = nn.BatchNorm2d(out_channels, NORM_EPSILON)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Map to the input of the next block."""
        return self.bn2(self.conv_pw(_relu6(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """A pointwise expansion, a depthwise convolution, and a linear pointwise one; added to the input if it fits."""

    def __init__(self, channels: int, out_channels: int, kernel: int, *, stride: int, dilation: int) -> None:
        """Build the block."""
        super().__init__()
        inner = EXPANSION * channels
        self.has_skip = stride == 1 and channels == out_channels
        self.conv_pw = SameConv2d(channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner, NORM_EPSILON)
        self.conv_dw = SameConv2d(inner, inner, kernel, stride=stride, dilation=dilation, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner, NORM_EPSILON)
        self.conv_pwl = SameConv2d(inner, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels, NORM_EPSILON)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Map to the input of the next block."""
        inner = _relu6(self.bn1(self.conv_pw(x)))
        inner = _relu6(self.bn2(self.conv_dw(inner)))
        out = self.bn3(self.conv_pwl(inner)).to(x.dtype)
        return out + x if self.has_skip else out


class EfficientNetTrunk(nn.Module):
    """Stem, stages, head and classifier, which `EfficientNetLite` runs one by one to classify each cell."""

    def __init__(self) -> None:
        """Build the trunk with random weights."""
        super().__init__()
        self.conv_stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, NORM_EPSILON)
        stages = [nn.Sequential(SeparableBlock(STEM_CHANNELS, SEPARABLE_CHANNELS))]
        channels, dilation = SEPARABLE_CHANNELS, 1
        for stage in LITE_2_STAGES:
            stages.append(_blocks(channels, dilation, stage))
            channels, dilation = stage.channels, stage.dilation
        self.blocks = nn.Sequential(*stages)
        self.conv_head = SameConv2d(channels, HEAD_CHANNELS, 1)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS, NORM_EPSILON)
        self.classifier = nn.Linear(HEAD_CHANNELS, IMAGENET_CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        bound = 1 / math.sqrt(IMAGENET_CLASSES)
        nn.init.uniform_(self.classifier.weight, -bound, bound)
        nn.init.zeros_(self.classifier.bias)

    def stem(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 32 h w"]:
        """What the first stage reads, at stride 2; `pixels` are in [-1, 1]."""
        return _relu6(self.bn1(self.conv_stem(pixels)))

    def head(self, last: Float[Tensor, "B 352 h w"]) -> Float[Tensor, "B 1280 h w"]:
        """What the classifier reads, in each cell of the last stage."""
        return _relu6(self.bn2(self.conv_head(last)))


def _blocks(channels: int, dilation: int, stage: Stage) -> nn.Sequential:
    blocks = [InvertedResidual(channels, stage.channels, stage.kernel, stride=stage.stride, dilation=dilation)]
    for _ in range(stage.blocks - 1):
        blocks.append(InvertedResidual(stage.channels, stage.channels, stage.kernel, stride=1, dilation=stage.dilation))
    return nn.Sequential(*blocks)


def _relu6(x: Tensor) -> Tensor:
    return functional.relu6(x, inplace=True)  # of the result of a batch norm, which nothing else reads
