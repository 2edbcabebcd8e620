"""OpenAI's CLIP, whose map is compared with the words, and DINOv2, whose tokens are the guidance (PartCATSeg).

CLIP: see `openai_clip.py`. DINOv2: Oquab et al., arXiv:2304.07193; the architecture is timm's.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import timm
import torch
from einops import rearrange
from jaxtyping import Float
from timm.layers.norm import LayerNorm
from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ImageFeatures, normalized_pixels
from segvoc.encoders.clip_text import ClipTextConfig
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.encoders.vit import TimmClipSizes, VitConfig, patch_grid, projection_weights


class DinoRotations(nn.Module):
    """DINOv3's rotary embedding of a grid as in timm, but traceable for any grid; `channels` are those of a head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("place", torch.empty(0), persistent=False)  # tracks the device

    def init_non_persistent_buffers(self) -> None:
        """Called by `TimmClipImageEncoder` as for timm's modules; nothing is stored."""

    def get_embed(self, shape: Sequence[int]) -> Float[Tensor, "N D"]:
        """Sine and cosine, side by side, of each cell's angles 2 pi p / 100^(4 i / channels), p in [-1, 1]."""
        device = cast(Tensor, self.place).device
        rates = 100.0 ** (torch.arange(0, self.channels, 4, dtype=torch.float32, device=device) / self.channels)
        places = [2 * ((torch.arange(side, device=device) + 0.5) / side) - 1 for side in shape]
        angles = torch.stack(torch.meshgrid(*places, indexing="ij"), dim=-1)[..., None] * (2 * math.pi) / rates
        angles = rearrange(angles, "h w two i -> (h w) (two i)").repeat(1, 2)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class DinoTxtImageEncoder(TimmClipImageEncoder):
    """One dense map in the space shared with the text (not of unit norm), and taps of DINOv3's blocks.

    dino.txt compares a text with the concatenated CLS token and mean patch token after its head. The dense map
    consists of these patch tokens, and a text's embedding of the matching half.
    """

    companion = "DINOv3"
    """The part with a separate weights file, besides dino.txt's."""

    def __init__(self, tower: Eva, *, heads: int, taps: tuple[int, ...], input_size: int) -> None:
        """Build the head, whose blocks have so many attention heads, with random weights on timm's DINOv3."""
        super().__init__(tower, taps=taps, input_size=input_size)
        tower.rope = DinoRotations(cast(int, tower.embed_dim) // cast(Any, tower.blocks)[0].attn.num_heads)
        norm = partial(LayerNorm, eps=1e-5)
        sizes: dict[str, Any] = {"mlp_ratio": 8 / 3, "swiglu_mlp": True, "swiglu_align_to": 64, "init_values": 1e-5}
        blocks = [
            EvaBlock(self.channels, heads, qkv_bias=False, norm_layer=norm, act_layer=nn.SiLU, **sizes)
            for _ in range(2)
        ]
        self.head = nn.Sequential(*blocks, norm(self.channels))
        self.prepare(self.head)

    def embedded(self, last: Float[Tensor, "B L D"], grid: tuple[int, int]) -> Float[Tensor, "B C h w"]:
        """The patch tokens after the head, which reads all tokens."""
        tokens = self.head(last)[:, self.tower.num_prefix_tokens :]
        return rearrange(tokens, "b (h w) c -> b c h w", h=grid[0])


def build_dino_txt(sizes: TimmClipSizes) -> DinoTxtImageEncoder:
    """Build the image encoder with random weights."""
    tower = cast(Eva, timm.create_model("vit_large_patch16_dinov3", num_classes=0, global_pool="token"))
    return DinoTxtImageEncoder(tower, heads=16, taps=sizes.taps, input_size=sizes.input_size)


def dino_txt_text() -> ClipTextConfig:
    """dino.txt's text encoder, whose embedding is compared with patches alone."""
    return ClipTextConfig(channels=1024, width=1280, layers=24, heads=20, quick_gelu=False, fine_tuned="qv")


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
        """Encode RGB pixels in [0, 255]; H and W must be multiples of 14."""
        tower, (rows, columns) = self.tower, patch_grid(image, 14)
        pixels = normalized_pixels(image).to(tower.patch_embed.proj.weight.dtype)
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

    Every image is squashed to the two squares that the encoders read, as in training. The recipe trains all of DINOv2,
    and of CLIP the projections with the letters `clip_tuned`.
    """

    stride = 1
    """Images may have any size."""
    companion = "DINOv2"
    """The part with separate initial weights, besides CLIP."""

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
