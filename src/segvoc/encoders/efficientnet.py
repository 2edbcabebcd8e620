"""The image encoder of the embedded model `tiny`: EfficientNet-Lite2 with three projections to the text space.

Papers: Tan and Le, "EfficientNet", 2019; Norouzi et al., "Zero-shot learning by convex combination of semantic
embeddings", 2014 (ConSE).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from segvoc.encoders.base import ImageFeatures, TokenFeatures
from segvoc.encoders.efficientnet_trunk import HEAD_CHANNELS, IMAGENET_CLASSES, EfficientNetTrunk
from segvoc.layers.precision import at_least_float32

TEXT_CHANNELS = 384

UPPER = 5
"""First of the trunk's groups of blocks that `make tiny` trains."""

FLOAT32_PARTS = ("conv_stem", *(f"blocks.{index}" for index in range(UPPER + 1)))
"""Parts of the trunk that stay in float32. bfloat16 in the first five groups of blocks would change 2 % of the labels,
in the sixth 0.4 %, in all other layers together 0.2 %."""


class EfficientNetLite(nn.Module):
    """Dense maps at stride 16 from one trunk trained on ImageNet, in the space shared with the text.

    Maps: (1) a projection of the head's 1280 channels; (2) a projection of the stride-16 stage and the last stage;
    (3) ConSE: the trunk's ImageNet probabilities of each cell times the embeddings of the class names. The first two
    are trained on few words; the third isn't trained on words, so it works equally well for all. With `known_classes`,
    there are also the logits of the ImageNet classes.
    Taps: the stages at stride 8 and 4. Appearance, with `own_appearance`: the stages that map 2 is a projection of.
    The last stages are dilated instead of running at stride 32: same weights, twice the resolution.
    """

    class_embeddings: Tensor

    input_size = 448
    stride = 16
    channels = TEXT_CHANNELS
    tap_channels = (48, 24)
    appearance_channels = 120 + 352
    token_channels = (120, 352, TEXT_CHANNELS)
    float32_parts = ("class_embeddings", *(f"trunk.{part}" for part in FLOAT32_PARTS))

    def __init__(self, *, own_appearance: bool = False, known_classes: bool = False) -> None:
        """Build the encoder with random weights.

        Args:
            own_appearance: return the stages that map 2 is a projection of, to guide the aggregation.
            known_classes: return the logits of the ImageNet classes too.
        """
        super().__init__()
        self.own_appearance, self.known_classes = own_appearance, known_classes
        self.trunk = EfficientNetTrunk()
        self.project_head = nn.Conv2d(HEAD_CHANNELS, self.channels, 1)
        self.project_stages = nn.Conv2d(self.appearance_channels, self.channels, 1)
        self.register_buffer("class_embeddings", torch.zeros(IMAGENET_CLASSES, self.channels))

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the projections' parameters. The trunk is frozen."""
        return tuple(name for name, _ in self.named_parameters() if name.startswith("project_"))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W are multiples of 16."""
        stride_4, stride_8, stride_16, last = self.stages(image)
        stages = torch.cat([stride_16, last], dim=1)
        head = self.head(last)
        logits = self.class_logits(head)
        return ImageFeatures(
            maps=self.project(head, stages, logits),
            taps=(stride_8, stride_4),
            appearance=stages if self.own_appearance else None,
            class_logits=smoothed(logits.movedim(-1, 1)) if self.known_classes else None,
        )

    def tokens(self, image: Float[Tensor, "B 3 H W"], *, dense: bool) -> TokenFeatures:
        """The stride-16 stage, the last stage, and map (3) with unit norm, in cells of 32 px; their means serve as CLS.

        The projections are not used. There are no dense maps, whatever `dense` is.
        """
        _, _, stride_16, last = self.stages(image)
        words = functional.normalize(smoothed(self.conse(self.class_logits(self.head(last)))), dim=1)
        # as many tokens as CLIP has at 224 px: attention over four times as many would take most of the time
        cells = [functional.avg_pool2d(tap, 2, ceil_mode=True) for tap in (stride_16, last, words)]
        taps = tuple(tap.flatten(2).mT for tap in cells)
        taps = tuple(torch.cat((tap.mean(dim=1, keepdim=True), tap), dim=1) for tap in taps)
        return TokenFeatures(taps=taps, grid=(cells[0].shape[2], cells[0].shape[3]))

    def project(
        self,
        head: Float[Tensor, "B 1280 h w"],
        stages: Float[Tensor, "B 472 h w"],
        logits: Float[Tensor, "B h w K"],
    ) -> tuple[Tensor, ...]:
        """The maps; `stages` is the stride-16 stage and the last one, concatenated, and `logits` the class logits.

        Maps (1) and (3) are averaged over 3x3 cells, as the returned class logits are: in the dilated last stage, a
        cell's neighbors describe it as well as the cell itself.
        """
        stages = stages.to(self.project_stages.weight.dtype)
        maps = (self.project_head(head), self.project_stages(stages), self.conse(logits))
        of_head, of_stages, of_classes = (at_least_float32(one) for one in maps)
        return smoothed(of_head), of_stages, smoothed(of_classes)

    def stages(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps of the trunk: stride 4 (24 channels), 8 (48), 16 (120) and the last stage (352, stride 16, dilated)."""
        stride_4, stride_8, stride_16 = self.lower_stages(image)
        return stride_4, stride_8, stride_16, self.last_stage(stride_16)

    def lower_stages(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """The first three of `stages`, which keep the weights of ImageNet."""
        pixels = (image / 127.5 - 1.0).to(self.trunk.conv_stem.weight.dtype)
        # with channels last, all convolutions are a fifth faster on a CPU
        x = self.trunk.stem(pixels.contiguous(memory_format=torch.channels_last))
        outputs: list[Tensor] = []
        for stage in list(self.trunk.blocks.children())[:UPPER]:
            x = stage(x)
            outputs.append(x)
        return outputs[1], outputs[2], outputs[4]

    def last_stage(self, stride_16: Float[Tensor, "B 120 h w"]) -> Float[Tensor, "B 352 h w"]:
        """The last of `stages`."""
        x = stride_16
        for stage in list(self.trunk.blocks.children())[UPPER:]:
            x = stage(x)
        return x

    def head(self, last: Float[Tensor, "B 352 h w"]) -> Float[Tensor, "B 1280 h w"]:
        """The trunk's own head on each cell of its last stage."""
        return self.trunk.head(last)

    def class_logits(self, head: Float[Tensor, "B 1280 h w"]) -> Float[Tensor, "B h w K"]:
        """Logits of the K ImageNet classes in each cell, by the trunk's own classifier."""
        return at_least_float32(self.trunk.classifier(head.movedim(1, -1)))

    def conse(self, logits: Float[Tensor, "B h w K"]) -> Float[Tensor, "B C h w"]:
        """Mean of the class names' embeddings, weighted by the probability of each ImageNet class in the cell."""
        return (logits.softmax(dim=-1) @ self.class_embeddings).movedim(-1, 1)


def smoothed(maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Means over 3x3 cells, or as many of them as there are at the edge."""
    return functional.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
