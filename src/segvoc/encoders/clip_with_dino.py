"""OpenAI's CLIP, whose map is compared with the words, and DINOv2, whose tokens are the guidance (PartCATSeg).

CLIP: see `openai_clip.py`. DINOv2: Oquab et al., arXiv:2304.07193; the architecture is timm's.
"""

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ImageFeatures
from segvoc.encoders.imagenet_pixels import imagenet_pixels
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, patch_grid, projection_weights

DINO_SIDE = 448
"""Side of the square images that DINOv2 reads [pixels]."""

POSITION_OFFSET = 0.1
"""Added to the grid's size when the position table is interpolated, as in DINOv2's own code."""


class DinoTokens(nn.Module):
    """DINOv2 ViT-S/14 without registers, which gives normalized patch tokens."""

    def __init__(self, *, width: int = 384, depth: int = 12, heads: int = 6, pretrained_size: int = 518) -> None:
        super().__init__()
        self.channels = width
        self.tower = VisionTransformer(
            img_size=pretrained_size,
            patch_size=14,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            init_values=1e-5,
            num_classes=0,
        )

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Encode RGB pixels in [0, 255].

        Raises:
            UsageError: H or W is not a multiple of 14.
        """
        tower, (rows, columns) = self.tower, patch_grid(image, 14)
        pixels = imagenet_pixels(image).to(tower.patch_embed.proj.weight.dtype)
        patches = rearrange(tower.patch_embed.proj(pixels), "b c h w -> b (h w) c")
        x = torch.cat([cast(Tensor, tower.cls_token).expand(image.shape[0], -1, -1), patches], dim=1)
        x = tower.norm(tower.blocks(x + self.positions(rows, columns)))
        return rearrange(x[:, 1:], "b (h w) c -> b c h w", h=rows)

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 L C"]:
        """The position table for a grid, interpolated as in DINOv2's own code (with an offset in the scale)."""
        table = cast(Tensor, self.tower.pos_embed)
        side = round((table.shape[1] - 1) ** 0.5)
        if (rows, columns) == (side, side):
            return table
        maps = rearrange(table[:, 1:], "1 (h w) c -> 1 c h w", h=side)
        scale = ((rows + POSITION_OFFSET) / side, (columns + POSITION_OFFSET) / side)
        maps = F.interpolate(maps, scale_factor=scale, mode="bicubic")
        return torch.cat((table[:, :1], rearrange(maps, "1 c h w -> 1 (h w) c")), dim=1)


class ClipWithDino(nn.Module):
    """CLIP's dense map (not of unit norm), and DINOv2's tokens at its size and two and four times as fine.

    Every image is squashed to the two squares that the encoders read, as in training.

    Args:
        vit: sizes of CLIP.
        clip_tuned: letters of CLIP's projections whose weights the recipe trains; all of DINOv2 is trained.
        dino: the DINOv2 encoder; by default ViT-S/14.
    """

    stride = 1
    """Images may have any size."""
    companion = "DINOv2"
    """What is started from weights of its own, beside CLIP."""

    def __init__(self, vit: VitConfig, *, clip_tuned: str = "", dino: DinoTokens | None = None) -> None:
        super().__init__()
        self.clip = OpenAIClipImageEncoder(vit)
        self.dino = dino or DinoTokens()
        self.clip_tuned = clip_tuned
        self.input_size, self.channels = DINO_SIDE, vit.channels
        self.tap_channels = (self.dino.channels,) * 2

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the recipe trains: all of DINOv2, and the chosen projections of CLIP."""
        guide = tuple(f"dino.{name}" for name, _ in self.dino.named_parameters())
        return guide + tuple(f"clip.{name}" for name in projection_weights(self.clip, self.clip_tuned))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255] of any size."""
        maps = self.clip(_squashed(image, self.clip.input_size)).maps
        tokens = self.dino(_squashed(image, DINO_SIDE))
        same, twice, fourfold = (_squashed(tokens, scale * maps[0].shape[2]) for scale in (1, 2, 4))
        return ImageFeatures(maps=maps, taps=(twice, fourfold), appearance=same)


def _squashed(maps: Float[Tensor, "B C h w"], side: int) -> Float[Tensor, "B C S S"]:
    return F.interpolate(maps, size=(side, side), mode="bilinear")
