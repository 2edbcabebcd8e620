"""The image encoder of EVA02-CLIP, with dense features from its last block; PCA-Seg uses it as distilled by DeCLIP.

EVA02-CLIP: Sun et al., arXiv:2303.15389; DeCLIP: Wang et al., arXiv:2505.04410. The architecture is timm's.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from timm.layers.pos_embed_sincos import build_rotary_pos_embed
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import Tensor, nn

from segvoc.checkpoints.strict import renamed
from segvoc.encoders.base import CLIP_STATISTICS, ImageFeatures, normalized_pixels
from segvoc.encoders.dense_modes import SELF_SIMILARITIES, DenseMode, mix_values
from segvoc.encoders.official_clip import PublishedTower, Renamed, resized_positions, split_packed
from segvoc.encoders.vit import VitConfig, patch_grid, positions_on_grid, projection_weights

_OLD_TEXT_NAMES = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
_TO_TIMM = (
    (r"\.attn\.([qv])_bias$", r".attn.\1_proj.bias"),
    (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def _rename(name: str, value: Tensor) -> Renamed:
    if name == "logit_scale":
        yield "text.logit_scale", value
    elif name.startswith("visual.trunk."):
        yield f"image.tower.{name.removeprefix('visual.trunk.')}", value
    elif name.startswith("visual."):
        yield f"image.tower.{renamed(name, _TO_TIMM).removeprefix('visual.')}", value
    else:
        yield from split_packed(f"text.tower.{name.removeprefix('text.')}", value)


class EvaClipImageEncoder(PublishedTower):
    """One dense map of unit vectors in the space shared with the text, and taps of intermediate blocks."""

    family, rename = "EVA02-CLIP", staticmethod(_rename)

    def __init__(self, vit: VitConfig, *, dense: DenseMode = "csa") -> None:
        super().__init__()
        self.vit, self.dense = vit, dense
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

    def arranged(self, official: Mapping[str, Tensor], text_encoder: nn.Module) -> Mapping[str, Tensor]:
        """The weights of PCA-Seg, of EVA-CLIP's and DeCLIP's authors, and of open_clip ("visual.trunk.").

        Names of the text tower get the prefix "text."; position embeddings of another grid are resized (bicubic).
        """
        weights = {f"text.{name}" if name.startswith(_OLD_TEXT_NAMES) else name: x for name, x in official.items()}
        side = self.vit.pretrained_size // self.stride
        for name in ("visual.pos_embed", "visual.trunk.pos_embed"):
            if name in weights:
                weights[name] = resized_positions(weights[name], side)
        return weights

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the published recipe trains: the q and v weights of every block."""
        return projection_weights(self, "qv")

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W must be multiples of `stride`."""
        tower, (rows, columns) = self.tower, patch_grid(image, self.stride)
        # t = 16 i / side for row or column i: on any grid, the angles span those of the 16x16 pre-training grid
        head_width = self.vit.width // self.vit.heads
        angles = build_rotary_pos_embed(
            [rows, columns], dim=head_width, in_pixels=False, ref_feat_shape=[16, 16], device=image.device
        )
        rope = torch.cat(angles, dim=-1)
        pixels = normalized_pixels(image, CLIP_STATISTICS)
        patches = tower.patch_embed.proj(pixels.to(tower.patch_embed.proj.weight.dtype)).flatten(2).mT
        cls_token, positions = cast(Tensor, tower.cls_token), cast(Tensor, tower.pos_embed)
        x = torch.cat([cls_token.expand(image.shape[0], -1, -1), patches], dim=1)
        x = x + positions_on_grid(positions, (rows, columns), self.vit.pretrained_size // self.stride)
        *blocks, last = cast(Iterable[EvaBlock], tower.blocks)
        taps = []
        for index, block in enumerate(blocks):
            x = block(x, rope=rope)
            if index in self.vit.taps:
                taps.append(rearrange(x[:, 1:], "b (h w) c -> b c h w", h=rows))
        dense = F.normalize(tower.head(tower.norm(self._last_block(last, x, rope, (rows, columns))[:, 1:])), dim=-1)
        return ImageFeatures(maps=(rearrange(dense, "b (h w) c -> b c h w", h=rows),), taps=tuple(taps))

    def _last_block(
        self, block: EvaBlock, x: Float[Tensor, "B L C"], rope: Float[Tensor, "N D"], grid: tuple[int, int]
    ) -> Float[Tensor, "B L C"]:
        """Self-similarity has no positions, no residual and no MLP; other modes keep the last two."""
        if self.dense == "vanilla":
            return block(x, rope=rope)
        attention, y = cast(EvaAttention, block.attn), block.norm1(x)
        if self.dense == "maskclip":
            x = x + attention.proj(attention.norm(cast(nn.Linear, attention.v_proj)(y)))
            return x + block.mlp(block.norm2(x))
        similarity = SELF_SIMILARITIES[self.dense]
        mixed = mix_values(similarity, lambda name: getattr(attention, f"{name}_proj")(y), attention.num_heads, grid)
        return attention.proj(attention.norm(mixed))
