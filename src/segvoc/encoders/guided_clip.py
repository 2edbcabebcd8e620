"""A CLIP image encoder, whose map is compared with the words, and a separate guidance backbone (CAT-Seg v1).

CAT-Seg's first version (arXiv:2303.11797v1, Sec. 4.1 and A.1) guides the aggregation by ResNet-101 (`conv4_x`) or
Swin-B (stage 3), and the decoder by the two stages before. The architectures are timm's.
"""

from typing import Any, cast

import timm
from jaxtyping import Float
from torch import Tensor, nn

from segvoc.encoders.base import ImageEncoder, ImageFeatures, normalized_pixels
from segvoc.encoders.vit import attention_and_positions
from segvoc.layers.maps import resized

BACKBONE_STRIDE = 16
"""Pixels of the backbone's image for each cell of the cost volume."""

_BACKBONES: dict[str, dict[str, Any]] = {
    "resnet101": {"model_name": "resnet101", "out_indices": (1, 2, 3)},
    "swin_b": {"model_name": "swin_base_patch4_window12_384", "out_indices": (0, 1, 2), "strict_img_size": False},
}
"""timm's models; the indices are those of the stages at stride 4, 8 and 16."""


def build_backbone(kind: str) -> nn.Module:
    """Build "resnet101" or "swin_b" with random weights, up to the stage at stride 16."""
    return timm.create_model(**_BACKBONES[kind], features_only=True, feature_cls="getter")


class GuidedClip(nn.Module):
    """CLIP's dense map (not of unit norm), and the backbone's maps at stride 16, 8 and 4 for guidance."""

    companion = "a backbone for guidance"
    """The part with separate initial weights, besides CLIP."""

    def __init__(self, clip: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.clip, self.backbone = clip, backbone
        tower = cast(ImageEncoder, clip)
        self.input_size, self.stride, self.channels = tower.input_size, tower.stride, tower.channels
        fine, middle, coarse = cast(Any, backbone).feature_info.channels()
        self.tap_channels, self.appearance_channels = (middle, fine), coarse

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the paper's recipe trains: CLIP's attention and position embeddings (Fig. 9)."""
        return attention_and_positions(self, "clip.")

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]. The backbone reads the image at 16 px per CLIP cell, so both share a grid."""
        maps = self.clip(image).maps
        rows, columns = maps[0].shape[2:]
        pixels = normalized_pixels(resized(image, (BACKBONE_STRIDE * rows, BACKBONE_STRIDE * columns)))
        found = self.backbone(pixels.to(next(self.backbone.parameters()).dtype))
        grids = ((scale * rows, scale * columns) for scale in (4, 2, 1))
        fine, middle, coarse = (resized(one, grid) for one, grid in zip(found, grids, strict=True))
        return ImageFeatures(maps=maps, taps=(middle, fine), appearance=coarse)
