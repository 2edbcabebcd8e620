"""The image encoder of the embedded model `tiny`: EfficientNet-Lite2 with three projections to the text space.

Papers: Tan and Le, "EfficientNet", 2019; Norouzi et al., "Zero-shot learning by convex combination of semantic
embeddings", 2014 (ConSE).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from segvoc.encoders.base import ClassifiedFeatures
from segvoc.layers.precision import Float32Parts, at_least_float32

STEM_CHANNELS = 32
SEPARABLE_CHANNELS = 16
HEAD_CHANNELS = 1280
IMAGENET_CLASSES = 1000

EXPANSION = 6
"""Hidden width of an inverted residual relative to its input."""

NORM_EPSILON = 1e-3
"""Batch norm epsilon, as in TensorFlow."""


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
        # `dilation` is 1 if there is a stride
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
        super().__init__()
        self.conv_stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, NORM_EPSILON)
        stages = [nn.Sequential(SeparableBlock(STEM_CHANNELS, SEPARABLE_CHANNELS))]
        channels, dilation = SEPARABLE_CHANNELS, 1
        for number, out_channels, kernel, stride, next_dilation in LITE_2_STAGES:
            first = InvertedResidual(channels, out_channels, kernel, stride=stride, dilation=dilation)
            channels, dilation = out_channels, next_dilation
            others = (
                InvertedResidual(channels, channels, kernel, stride=1, dilation=dilation) for _ in range(number - 1)
            )
            stages.append(nn.Sequential(first, *others))
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
        """Input of the first stage, at stride 2; `pixels` are in [-1, 1]."""
        return _relu6(self.bn1(self.conv_stem(pixels)))

    def head(self, last: Float[Tensor, "B 352 h w"]) -> Float[Tensor, "B 1280 h w"]:
        """Input of the classifier in each cell of the last stage."""
        return _relu6(self.bn2(self.conv_head(last)))


def _relu6(x: Tensor) -> Tensor:
    return functional.relu6(x, inplace=True)  # in place: nothing else reads the batch norm's output


TEXT_CHANNELS = 384

UPPER = 5
"""First group of trunk blocks that `make tiny` trains."""


class EfficientNetLite(Float32Parts):
    """Dense maps at stride 16 from one trunk trained on ImageNet, in the space shared with the text.

    Maps: (1) a projection of the head's 1280 channels; (2) a projection of the stride-16 stage and the last stage;
    (3) ConSE: the trunk's ImageNet probabilities of each cell times the embeddings of the class names. The first two
    are trained on few words; the third isn't trained on words, so it works equally well for all. The
    logits of the ImageNet classes come with them.
    Taps: the stages at stride 8 and 4. Appearance, with `own_appearance`: the stages that map 2 is a projection of.
    The last stages are dilated instead of running at stride 32: same weights, twice the resolution.
    """

    class_embeddings: Tensor

    input_size = 448
    stride = 16
    channels = TEXT_CHANNELS
    tap_channels = (48, 24)
    appearance_channels = 120 + 352
    float32_parts = ("class_embeddings", "trunk.conv_stem", *(f"trunk.blocks.{index}" for index in range(UPPER + 1)))
    """bfloat16 in the first five groups of blocks would change 2 % of the labels, in the sixth 0.4 %, in all other
    layers together 0.2 %."""

    def __init__(self, *, own_appearance: bool = False) -> None:
        super().__init__()
        self.own_appearance = own_appearance
        self.trunk = EfficientNetTrunk()
        self.project_head = nn.Conv2d(HEAD_CHANNELS, self.channels, 1)
        self.project_stages = nn.Conv2d(self.appearance_channels, self.channels, 1)
        self.register_buffer("class_embeddings", torch.zeros(IMAGENET_CLASSES, self.channels))

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the projections' parameters. The trunk is frozen."""
        return tuple(name for name, _ in self.named_parameters() if name.startswith("project_"))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ClassifiedFeatures:
        """Encode RGB pixels in [0, 255]; H and W are multiples of 16."""
        stride_4, stride_8, stride_16 = self.lower_stages(image)
        last = self.last_stage(stride_16)
        stages = torch.cat([stride_16, last], dim=1)
        head = self.trunk.head(last)
        logits = self.class_logits(head)
        of_stages = self.project_stages(stages.to(self.project_stages.weight.dtype))
        maps = (self.project_head(head), of_stages, self.conse(logits))
        of_head, of_stages, of_classes = (at_least_float32(dense) for dense in maps)
        return ClassifiedFeatures(
            maps=(smoothed(of_head), of_stages, smoothed(of_classes)),
            taps=(stride_8, stride_4),
            appearance=stages if self.own_appearance else None,
            class_logits=smoothed(logits.movedim(-1, 1)),
        )

    def lower_stages(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of the trunk at strides 4 (24 channels), 8 (48) and 16 (120), which keep the weights of ImageNet."""
        pixels = (image / 127.5 - 1.0).to(self.trunk.conv_stem.weight.dtype)
        # with channels last, all convolutions are a fifth faster on a CPU
        x = self.trunk.stem(pixels.contiguous(memory_format=torch.channels_last))
        outputs: list[Tensor] = []
        for stage in list(self.trunk.blocks)[:UPPER]:
            x = stage(x)
            outputs.append(x)
        return outputs[1], outputs[2], outputs[4]

    def last_stage(self, stride_16: Float[Tensor, "B 120 h w"]) -> Float[Tensor, "B 352 h w"]:
        """The trunk's last map, at stride 16 and dilated."""
        x = stride_16
        for stage in list(self.trunk.blocks)[UPPER:]:
            x = stage(x)
        return x

    def class_logits(self, head: Float[Tensor, "B 1280 h w"]) -> Float[Tensor, "B h w K"]:
        """Logits of the K ImageNet classes in each cell, by the trunk's own classifier."""
        return at_least_float32(self.trunk.classifier(head.movedim(1, -1)))

    def conse(self, logits: Float[Tensor, "B h w K"]) -> Float[Tensor, "B C h w"]:
        """Mean of the class names' embeddings, weighted by the probability of each ImageNet class in the cell."""
        return (logits.softmax(dim=-1) @ self.class_embeddings).movedim(-1, 1)


def smoothed(maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Means over 3x3 cells, or as many of them as there are at the edge.

    In the dilated last stage, a cell's neighbors describe it as well as the cell itself.
    """
    return functional.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
