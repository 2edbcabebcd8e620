"""The image encoder of OpenAI CLIP (ViT), with dense features from its last block.

CLIP: Radford et al., arXiv:2103.00020. The architecture is open_clip's; the dense features are by default those of
CAT-Seg (Cho et al., arXiv:2303.11797, released code), and of PCA-Seg's OpenAI presets.
"""

from collections.abc import Iterable
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from segvoc.encoders.base import CLIP_STATISTICS, IMAGENET_STATISTICS, ImageFeatures, TokenFeatures, normalized_pixels
from segvoc.encoders.dense_modes import SELF_SIMILARITIES, OpenAIDenseMode, mix_values
from segvoc.encoders.official_clip import PublishedTower, rename_openai
from segvoc.encoders.vit import (
    Activation,
    Attention,
    PixelStatistics,
    VitConfig,
    patch_grid,
    positions_on_grid,
    projection_weights,
    separate_projections,
)


class OpenAIClipImageEncoder(PublishedTower):
    """One dense map in the space shared with the text (not of unit norm), and taps of intermediate blocks.

    See `OpenAIEncoders` for the options. The dense last block treats each cell separately.
    """

    family, rename = "OpenAI CLIP", staticmethod(rename_openai)

    def __init__(
        self,
        config: VitConfig,
        *,
        dense: OpenAIDenseMode = "cat-seg",
        pixels: PixelStatistics = "clip",
        activation: Activation = "quick_gelu",
    ) -> None:
        super().__init__()
        self.config = config
        self.dense: OpenAIDenseMode = dense
        self.pixels: PixelStatistics = pixels
        self.input_size, self.stride, self.channels = config.input_size, config.patch_size, config.channels
        self.tap_channels = (config.width,) * len(config.taps)
        self.tower = VisionTransformer(
            config.pretrained_size,
            config.patch_size,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            mlp_ratio=4.0,
            output_dim=config.channels,
            act_layer=QuickGELU if activation == "quick_gelu" else nn.GELU,
        )
        separate_projections(self.tower.transformer.resblocks)

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the published recipe trains: the q and v weights of every block."""
        return projection_weights(self, "qv")

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W must be multiples of `stride`."""
        features = self.tokens(image, dense=True)
        rows = features.grid[0]
        taps = tuple(rearrange(tap[:, 1:], "b (h w) c -> b c h w", h=rows) for tap in features.taps)
        return ImageFeatures(maps=features.maps, taps=taps)

    def tokens(self, image: Float[Tensor, "B 3 H W"], *, dense: bool) -> TokenFeatures:
        """The taps, each with its CLS token first; without `dense`, no block after the deepest tap runs.

        The dense map is what the last block gives in the chosen mode, after ln_post and the projection. As in CAT-Seg,
        the block treats each token separately: t = W_out W_v ln_1(x) + x_CLS, then t + mlp(ln_2(t)). The residual is
        the CLS token's input for all tokens, since the released weights were trained so.
        """
        tower, (rows, columns) = self.tower, patch_grid(image, self.stride)
        pixels = normalized_pixels(image, CLIP_STATISTICS if self.pixels == "clip" else IMAGENET_STATISTICS)
        patches = rearrange(tower.conv1(pixels.to(tower.conv1.weight.dtype)), "b c h w -> b (h w) c")
        x = torch.cat([tower.class_embedding.expand(image.shape[0], 1, -1), patches], dim=1)
        pretrained = self.config.pretrained_size // self.stride
        x = tower.ln_pre(x + positions_on_grid(tower.positional_embedding[None], (rows, columns), pretrained))
        *blocks, last = cast(Iterable[ResidualAttentionBlock], tower.transformer.resblocks)
        taps = []
        for index, block in enumerate(blocks if dense else blocks[: max(self.config.taps) + 1]):
            x = block(x)
            if index in self.config.taps:
                taps.append(x)
        grid = (rows, columns)
        maps: tuple[Tensor, ...] = ()
        if dense:
            cells = tower.ln_post(self._last_block(last, x, grid)) @ tower.proj
            maps = (rearrange(cells, "b (h w) c -> b c h w", h=rows),)
        return TokenFeatures(taps=tuple(taps), grid=grid, maps=maps)

    def _last_block(
        self, last: ResidualAttentionBlock, x: Float[Tensor, "B L D"], grid: tuple[int, int]
    ) -> Float[Tensor, "B N D"]:
        """The N cells after the last block, without the CLS token; self-similarity has no residual and no MLP."""
        attention = cast(Attention, last.attn)
        if self.dense == "vanilla":
            return last(x)[:, 1:]
        if self.dense in SELF_SIMILARITIES:
            y = last.ln_1(x)
            similarity = SELF_SIMILARITIES[self.dense]
            mixed = mix_values(similarity, lambda name: getattr(attention, f"{name}_proj")(y), attention.heads, grid)
            return attention.out_proj(mixed[:, 1:])
        residual = x[:, :1] if self.dense == "cat-seg" else x[:, 1:]
        t = attention.out_proj(attention.v_proj(last.ln_1(x[:, 1:]))) + residual
        return t + last.mlp(last.ln_2(t))
