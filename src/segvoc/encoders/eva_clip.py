"""The image encoder of EVA02-CLIP, with dense features from its last block; PCA-Seg uses it as distilled by DeCLIP.

EVA02-CLIP: Sun et al., arXiv:2303.15389; DeCLIP: Wang et al., arXiv:2505.04410. The architecture is timm's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import build_rotary_pos_embed
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import Tensor, nn

from segvoc.encoders.base import ImageFeatures
from segvoc.encoders.vit import DenseMode, VitConfig, patch_grid, projection_weights
from segvoc.layers.pointwise import use_pointwise_linear

# which projections are compared with themselves: several terms are added, several letters share one softmax
_SELF_SIMILARITIES = {"csa": ("q", "k"), "qq": ("q",), "kk": ("k",), "vv": ("v",), "all": ("qkv",)}


@dataclass(frozen=True, kw_only=True)
class EvaClipConfig:
    """Sizes of the encoder, and how its last block attends."""

    vit: VitConfig
    """Sizes of the transformer."""
    dense: DenseMode = "csa"
    """How the last block attends: the mode in which the weights were distilled."""


class EvaClipImageEncoder(nn.Module):
    """One dense map of unit vectors in the space shared with the text, and taps of intermediate blocks."""

    def __init__(self, config: EvaClipConfig) -> None:
        super().__init__()
        vit = config.vit
        self.config = config
        self.input_size, self.stride, self.channels = vit.input_size, vit.patch_size, vit.channels
        self.tap_channels = (vit.width,) * len(vit.taps)
        self.tower = Eva(
            vit.pretrained_size,
            vit.patch_size,
            num_classes=vit.channels,
            global_pool="token",
            embed_dim=vit.width,
            depth=vit.layers,
            num_heads=vit.heads,
            mlp_ratio=8 / 3,
            qkv_fused=False,
            swiglu_mlp=True,
            scale_mlp=True,
            scale_attn_inner=True,
        )
        use_pointwise_linear(self.tower)

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the published recipe trains: the q and v weights of every block."""
        return projection_weights(self, "qv")

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255].

        Raises:
            UsageError: H or W is not a multiple of `stride`.
        """
        tower, (rows, columns) = self.tower, patch_grid(image, self.stride)
        # t = 16 i / side for row or column i: on any grid, the angles span those of the 16x16 pre-training grid
        head_width = self.config.vit.width // self.config.vit.heads
        angles = build_rotary_pos_embed(
            [rows, columns],
            dim=head_width,
            in_pixels=False,
            temperature=1e4,
            ref_feat_shape=[16, 16],
            device=image.device,
        )
        rope = torch.cat(angles, dim=-1)
        mean, std = torch.tensor((OPENAI_DATASET_MEAN, OPENAI_DATASET_STD), device=image.device).view(2, 3, 1, 1)
        pixels = (image / 255 - mean) / std
        patches = tower.patch_embed.proj(pixels.to(tower.patch_embed.proj.weight.dtype)).flatten(2).mT
        cls_token, positions = cast(Tensor, tower.cls_token), cast(Tensor, tower.pos_embed)
        x = torch.cat([cls_token.expand(len(image), -1, -1), patches], dim=1)
        x = x + resample_abs_pos_embed(positions, [rows, columns], antialias=False)
        *blocks, last = cast(Iterable[EvaBlock], tower.blocks)
        taps = []
        for index, block in enumerate(blocks):
            x = block(x, rope=rope)
            if index in self.config.vit.taps:
                taps.append(rearrange(x[:, 1:], "b (h w) c -> b c h w", h=rows))
        dense = F.normalize(tower.head(tower.norm(self._last_block(last, x, rope)[:, 1:])), dim=-1)
        return ImageFeatures(maps=(rearrange(dense, "b (h w) c -> b c h w", h=rows),), taps=tuple(taps))

    def _last_block(self, block: EvaBlock, x: Float[Tensor, "B L C"], rope: Float[Tensor, "N D"]) -> Tensor:
        """Self-similarity has no positions, no 1/sqrt(d), no residual and no MLP; other modes keep the last two."""
        if self.config.dense == "vanilla":
            return block(x, rope=rope)
        attention, y = cast(EvaAttention, block.attn), block.norm1(x)
        v = cast(nn.Linear, attention.v_proj)(y)
        if self.config.dense == "maskclip":
            x = x + attention.proj(attention.norm(v))
            return x + block.mlp(block.norm2(x))
        # only the projections that the mode compares are computed
        terms = _SELF_SIMILARITIES[self.config.dense]
        qkv = {"v": v} | {name: getattr(attention, f"{name}_proj")(y) for name in set("".join(terms)) - {"v"}}
        heads = {name: rearrange(x, "b l (n d) -> b n l d", n=attention.num_heads) for name, x in qkv.items()}
        mixed = torch.zeros_like(heads["v"])
        for term in terms:
            side = torch.cat([heads[name] for name in term], dim=-1)
            mixed = mixed + F.scaled_dot_product_attention(side, side, heads["v"], scale=1 / len(term))
        return attention.proj(attention.norm(rearrange(mixed, "b n l d -> b l (n d)")))
