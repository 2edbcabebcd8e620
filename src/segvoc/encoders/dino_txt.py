"""DINOv3 with dino.txt: an image encoder that never saw texts, and a head and a text encoder that were trained on it.

DINOv3: Siméoni et al., arXiv:2508.10104; dino.txt: Jose et al., arXiv:2412.16334. The architectures are timm's and
open_clip's.
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
from torch import Tensor, nn

from segvoc.encoders.clip_text import ClipTextConfig
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.encoders.timm_clip_sizes import TimmClipSizes

DINO_V3 = "vit_large_patch16_dinov3"
"""timm's name of the image encoder that dino.txt was trained on."""

HEAD_BLOCKS = 2
"""Blocks of dino.txt's head on the image encoder."""


class DinoRotations(nn.Module):
    """DINOv3's rotary embedding of a grid, as timm computes it, which fixes the grid when it is traced.

    Args:
        channels: channels of an attention head.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("place", torch.empty(0), persistent=False)  # tells the device

    def init_non_persistent_buffers(self) -> None:
        """Called by `TimmClipImageEncoder` as for timm's modules; nothing is stored."""

    def get_embed(self, shape: Sequence[int]) -> Float[Tensor, "N D"]:
        """Sine and cosine, side by side, of each cell's angles 2 pi p / 100^(4 i / channels), p in [-1, 1].

        Args:
            shape: rows and columns of cells.
        """
        device = cast(Tensor, self.place).device
        rates = 100.0 ** (torch.arange(0, self.channels, 4, dtype=torch.float32, device=device) / self.channels)
        places = [2 * ((torch.arange(side, device=device) + 0.5) / side) - 1 for side in shape]
        angles = torch.stack(torch.meshgrid(*places, indexing="ij"), dim=-1)[..., None] * (2 * math.pi) / rates
        angles = rearrange(angles, "h w two i -> (h w) (two i)").repeat(1, 2)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class DinoTxtImageEncoder(TimmClipImageEncoder):
    """One dense map in the space shared with the text (not of unit norm), and taps of DINOv3's blocks.

    dino.txt compares a text with the CLS token and with the mean of the patch tokens, side by side, both after its
    head. The dense map consists of these patch tokens, and a text's embedding of the half that belongs to them.
    """

    companion = "DINOv3"
    """What has a file of weights of its own, beside dino.txt's."""

    def __init__(self, tower: Eva, *, heads: int, taps: tuple[int, ...], input_size: int) -> None:
        """Build the head, with random weights, on an image encoder.

        Args:
            tower: DINOv3, as timm builds it.
            heads: attention heads of the head's blocks.
            taps: blocks of DINOv3, 0-based, whose outputs guide the decoder, in the order in which it uses them.
            input_size: side of the square images that the networks read [pixels].
        """
        super().__init__(tower, taps=taps, input_size=input_size)
        tower.rope = DinoRotations(cast(int, tower.embed_dim) // cast(Any, tower.blocks)[0].attn.num_heads)
        norm = partial(LayerNorm, eps=1e-5)
        sizes: dict[str, Any] = {"mlp_ratio": 8 / 3, "swiglu_mlp": True, "swiglu_align_to": 64, "init_values": 1e-5}
        blocks = [
            EvaBlock(self.channels, heads, qkv_bias=False, norm_layer=norm, act_layer=nn.SiLU, **sizes)
            for _ in range(HEAD_BLOCKS)
        ]
        self.head = nn.Sequential(*blocks, norm(self.channels))
        self.prepare(self.head)

    def embedded(self, last: Float[Tensor, "B L D"], grid: tuple[int, int]) -> Float[Tensor, "B C h w"]:
        """The patch tokens after the head, which reads all tokens."""
        tokens = self.head(last)[:, self.tower.num_prefix_tokens :]
        return rearrange(tokens, "b (h w) c -> b c h w", h=grid[0])


def build_dino_txt(sizes: TimmClipSizes) -> DinoTxtImageEncoder:
    """Build the image encoder with random weights."""
    tower = cast(Eva, timm.create_model(DINO_V3, num_classes=0, global_pool="token"))
    return DinoTxtImageEncoder(tower, heads=16, taps=sizes.taps, input_size=sizes.input_size)


def dino_txt_text() -> ClipTextConfig:
    """dino.txt's text encoder, whose embedding is compared with patches alone."""
    return ClipTextConfig(channels=1024, width=1280, layers=24, heads=20, quick_gelu=False, fine_tuned="qv")
