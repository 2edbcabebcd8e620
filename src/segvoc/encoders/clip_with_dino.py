"""OpenAI's CLIP, whose map is compared with the words, and DINOv2, whose tokens are the guidance (PartCATSeg).

CLIP: see `openai_clip.py`. DINOv2: Oquab et al., arXiv:2304.07193; the architecture is timm's.
"""

import math
import re
from collections.abc import Mapping, Sequence
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

from segvoc.checkpoints.origins import BOTH_DINO_FILES, refuse_other_origins
from segvoc.checkpoints.strict import fit_thirds, renamed, shapes_of, third, with_prefixes
from segvoc.encoders.base import ImageFeatures, normalized_pixels
from segvoc.encoders.clip_text import ClipTextConfig
from segvoc.encoders.official_clip import PublishedTower, Renamed, TowerStates, split_packed
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.encoders.vit import TimmClipSizes, VitConfig, patch_grid, projection_weights
from segvoc.errors import CheckpointError


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

    def __init__(self, tower: Eva, *, heads: int, taps: tuple[int, ...], input_size: int) -> None:
        """Build the head, whose blocks have so many attention heads, with random weights on timm's DINOv3."""
        super().__init__(tower, taps=taps, input_size=input_size)
        self.family, self.rename = "DINOv3", _rename_dino_txt
        tower.rope = DinoRotations(cast(int, tower.embed_dim) // cast(Any, tower.blocks)[0].attn.num_heads)
        norm = partial(LayerNorm, eps=1e-5)
        sizes: dict[str, Any] = {"mlp_ratio": 8 / 3, "swiglu_mlp": True, "swiglu_align_to": 64, "init_values": 1e-5}
        blocks = [
            EvaBlock(self.channels, heads, qkv_bias=False, norm_layer=norm, act_layer=nn.SiLU, **sizes)
            for _ in range(2)
        ]
        self.head = nn.Sequential(*blocks, norm(self.channels))
        self.prepare(self.head)

    def arranged(self, official: Mapping[str, Tensor], text_encoder: nn.Module) -> Mapping[str, Tensor]:
        """The weights of both of Meta's files together: DINOv3, and dino.txt's head and text encoder."""
        if "storage_tokens" not in official:
            raise CheckpointError(
                f"these are dino.txt's head and text encoder alone; name DINOv3's file too: {BOTH_DINO_FILES}"
            )
        biased = [key for key, value in official.items() if key.endswith("qkv.bias") and value[value.isfinite()].any()]
        if biased:
            taken = "as in the DINOv3 ViT-L/16 of web images (lvd1689m); take that"
            raise CheckpointError(f"{biased[0]} isn't zero, {taken}")
        return {name: value for name, value in official.items() if _UNUSED.fullmatch(name) is None}

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


_UNUSED = re.compile(r"mask_token|rope_embed\.periods|.*\.bias_mask|blocks\..*qkv\.bias|local_cls_norm\..*")
_IMAGE = (
    (r"^visual_model\.head\.blocks\.", "image.head."),
    (r"^visual_model\.head\.ln_final\.", "image.head.2."),
    (r"^(?!image\.)", "image.tower."),
    (r"storage_tokens$", "reg_token"),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_TEXT = (
    (r"^text_model\.backbone\.blocks\.", "text.tower.transformer.resblocks."),
    (r"^text_model\.backbone\.", "text.tower."),
    (r"\.attention_norm\.", ".ln_1."),
    (r"\.attention\.proj\.", ".attn.out_proj."),
    (r"\.attention\.qkv\.", ".attn.in_proj_"),
    (r"\.ffn_norm\.", ".ln_2."),
    (r"\.feed_forward\.fc1\.", ".mlp.c_fc."),
    (r"\.feed_forward\.fc2\.", ".mlp.c_proj."),
)


def _rename_dino_txt(name: str, value: Tensor) -> Renamed:
    if name == "logit_scale":
        yield "text.logit_scale", value.reshape(())
    elif name == "text_model.head.linear_projection.weight":
        yield "text.tower.text_projection", value[len(value) // 2 :].mT if value.ndim == 2 else value
    elif name.startswith("text_model."):
        ours = renamed(name, _TEXT)
        yield from split_packed(ours, value)
        if ours.endswith(".in_proj_weight"):  # their queries, keys and values have no biases
            yield from split_packed(ours.replace("_weight", "_bias"), torch.zeros(len(value)))
    else:
        yield from split_packed(renamed(name, _IMAGE), value, ".qkv.", ".qkv.")


DINO_SIDE = 448
"""Side of the square images that DINOv2 reads [pixels]."""


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
        """The position table for a grid, interpolated as in DINOv2's own code (with an offset of 0.1 in the scale)."""
        table = cast(Tensor, self.tower.pos_embed)
        side = round((table.shape[1] - 1) ** 0.5)
        if (rows, columns) == (side, side):
            return table
        maps = rearrange(table[:, 1:], "1 (h w) c -> 1 c h w", h=side)
        scale = ((rows + 0.1) / side, (columns + 0.1) / side)
        maps = F.interpolate(maps, scale_factor=scale, mode="bicubic")
        return torch.cat((table[:, :1], rearrange(maps, "1 c h w -> 1 (h w) c")), dim=1)


_CLASSIFIER = "dinov2."
"""Prefix of the tower's weights in `Dinov2ForImageClassification`."""

_PACKED = ".attn.qkv."
_FROM_TRANSFORMERS = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.([qkv])[a-z]+\.", r".attention.\1_proj."),
    (r"\.attention\.([qkv])_proj\.(weight|bias)$", lambda match: third(f"{_PACKED}{match[2]}", match[1])),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)


def dino_state(official: Mapping[str, Tensor], dino: nn.Module) -> dict[str, Tensor]:
    """State dict for a `DinoTokens`; a classifier and the embedding of masked patches are ignored."""
    refuse_other_origins(official, "DINOv2")
    has_classifier = any(name.startswith(_CLASSIFIER) for name in official)
    weights = (
        (name, f"tower.{ours}", value)
        for name, value in official.items()
        if (ours := renamed(name.removeprefix(_CLASSIFIER), _FROM_TRANSFORMERS)) != "mask_token"
        and not (has_classifier and re.fullmatch(r"classifier\.(weight|bias)", name))
    )
    return fit_thirds(weights, shapes_of(dino), "DINOv2", _PACKED)


class ClipWithDino(PublishedTower):
    """CLIP's dense map (not of unit norm), and DINOv2's tokens at its size and two and four times as fine.

    Every image is squashed to the two squares that the encoders read, as in training. The recipe trains all of DINOv2,
    and of CLIP the projections with the letters `clip_tuned`.
    """

    stride = 1
    """Images may have any size."""
    companion = "DINOv2"

    def __init__(self, vit: VitConfig, *, clip_tuned: str = "", dino: DinoTokens | None = None) -> None:
        super().__init__()
        self.clip = OpenAIClipImageEncoder(vit)
        self.dino = dino or DinoTokens()
        self.clip_tuned = clip_tuned
        self.input_size, self.channels = DINO_SIDE, vit.channels
        self.tap_channels = (self.dino.channels,) * 2

    def published_states(
        self, clip: Mapping[str, Tensor], text_encoder: nn.Module, companion: Mapping[str, Tensor] | None = None
    ) -> TowerStates:
        """See `PublishedTower.published_states`; `companion` is DINOv2, without which the weights are refused."""
        if companion is None:
            raise CheckpointError(
                "these are only a CLIP's encoders, but a part network needs two kinds; start a training "
                "with both: --encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"
            )
        image, text = self.clip.published_states(clip, text_encoder)
        return with_prefixes({"clip.": image, "dino.": dino_state(companion, self.dino)}), text

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
