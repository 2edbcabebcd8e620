"""Image encoders of CLIPs that open_clip takes from timm: SigLIP 2, PE-Core and MobileCLIP.

SigLIP 2: Tschannen et al., arXiv:2502.14786; PE-Core: Bolya et al., arXiv:2504.13181; MobileCLIP: Vasu et al.,
arXiv:2311.17049, and MobileCLIP 2: Faghri et al., arXiv:2508.20691. The architectures are timm's. Of SigLIP 2, timm's
ViT-B and ViT-L have the exact GELU where Google's code and transformers approximate it by a tanh: with random weights,
dense features differ by 3e-4 of the largest.
"""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import timm
import torch
from einops import rearrange
from jaxtyping import Float
from open_clip import get_model_config
from open_clip.convert import convert_mobile_clip_state_dict
from timm.models.eva import Eva, checkpoint_filter_fn
from timm.models.fastvit import FastVit
from torch import Tensor, nn

from segvoc.checkpoints.origins import TOKENIZER
from segvoc.checkpoints.strict import renamed
from segvoc.encoders.base import ImageFeatures, normalized_pixels
from segvoc.encoders.clip_text import SiglipTextEncoder
from segvoc.encoders.official_clip import (
    PublishedTower,
    Renamed,
    openai_form,
    resized_positions,
    split_packed,
)
from segvoc.encoders.vit import TimmClipSizes, linear_of, patch_grid, projection_weights
from segvoc.errors import CheckpointError


class SeparateProjections(nn.Module):
    """Replaces timm's `packed` queries, keys and values by layers with separate parameters and the same weights."""

    def __init__(self, packed: nn.Linear) -> None:
        super().__init__()
        values = zip(*(parameter.detach().chunk(3) for parameter in packed.parameters()), strict=True)
        self.q_proj, self.k_proj, self.v_proj = (linear_of(*of_layer) for of_layer in values)

    def forward(self, x: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells 3*C"]:
        """Queries, keys and values, side by side."""
        return torch.cat([layer(x) for layer in self.children()], dim=-1)


class TimmClipImageEncoder(PublishedTower):
    """One dense map in the space shared with the text (not of unit norm), and taps of intermediate blocks or stages.

    The dense map is the encoder's head applied to each cell alone, as if it were the whole image: the pooling becomes
    trivial, and everything after it is kept. For SigLIP and PE-Core this is MaskCLIP's reading (Zhou et al.,
    arXiv:2112.01071) of the attention pooling. `TimmClipSizes` explains the sizes.
    """

    def __init__(self, tower: nn.Module, *, taps: Sequence[int], input_size: int) -> None:
        super().__init__()
        self.rename = _rename
        self.family = "PE-Core" if isinstance(tower, Eva) else "MobileCLIP" if isinstance(tower, FastVit) else "SigLIP"
        self.tower, self.taps, self.input_size = cast(Any, tower), tuple(taps), input_size
        stages = self.tower.feature_info
        self.stride: int = stages[-1]["reduction"]
        self.channels: int = self.tower.num_classes or self.tower.num_features
        self.tap_channels = tuple(stages[tap]["num_chs"] for tap in self.taps)
        self.prepare(tower)
        self.register_load_state_dict_post_hook(_fill_tables)

    def prepare(self, module: nn.Module) -> None:
        """Separate the joined query, key and value projections of a third-party module, in place."""
        for parent in list(module.modules()):
            if type(getattr(parent, "qkv", None)) is nn.Linear:
                parent.qkv = SeparateProjections(cast(nn.Linear, parent.qkv))

    def train(self, mode: bool = True) -> "TimmClipImageEncoder":
        """Switch between training and inference; batch norms keep the published statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def arranged(self, official: Mapping[str, Tensor], text_encoder: nn.Module) -> Mapping[str, Tensor]:
        """The weights by open_clip's names, from these or those of transformers (SigLIP 2), Meta or Apple.

        Position embeddings of another grid are resized (bicubic). A SigLIP needs its tokenizer among the weights.
        """
        weights, table = _open_clip_form(official, self.tower), f"{_TRUNK}pos_embed"
        if table in weights:
            others = self.tower.num_prefix_tokens
            side = math.isqrt(self.tower.pos_embed.shape[1] - others)
            weights[table] = resized_positions(weights[table], side, others)
        if isinstance(text_encoder, SiglipTextEncoder) and TOKENIZER not in weights:
            raise CheckpointError(
                "these weights come without their tokenizer; put the file tokenizer.json of the same model beside them"
            )
        return weights

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """The q and v weights of each block, as in CAT-Seg and PCA-Seg; in a CNN its blocks' MLPs, as in ERR-Seg."""
        endings = (".mlp.fc1.weight", ".mlp.fc2.weight")
        convolutions = [name for name, value in self.named_parameters() if name.endswith(endings) and value.ndim == 4]
        return (*projection_weights(self, "qv"), *convolutions)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W must be multiples of `stride`."""
        tower, grid = self.tower, patch_grid(image, self.stride)
        statistics = [tower.pretrained_cfg[name] for name in ("mean", "std")]
        pixels = normalized_pixels(image, statistics).to(next(tower.parameters()).dtype)
        last, intermediates = tower.forward_intermediates(pixels, indices=sorted(self.taps))
        by_place = dict(zip(sorted(self.taps), intermediates, strict=True))
        return ImageFeatures(maps=(self.embedded(last, grid),), taps=tuple(by_place[tap] for tap in self.taps))

    def embedded(
        self, last: Float[Tensor, "B L D"] | Float[Tensor, "B D h w"], grid: tuple[int, int]
    ) -> Float[Tensor, "B C h w"]:
        """The dense map from the normalized output of the last block: tokens (the CLS token first) or a map."""
        if last.ndim == 4:
            cells = rearrange(last, "b c h w -> (b h w) c 1 1")
        else:
            cells = rearrange(last[:, self.tower.num_prefix_tokens :], "b n c -> (b n) 1 c")
        return rearrange(self.tower.forward_head(cells), "(b h w) c -> b c h w", h=grid[0], w=grid[1])


def _fill_tables(encoder: nn.Module, _: object) -> None:
    """Compute tables that aren't in the weights, if the encoder was built without weights (`weightless`)."""
    for module in encoder.modules():
        tables = {name: table for name, table in module.named_buffers(recurse=False) if table.is_meta}
        for name, table in tables.items():
            module.register_buffer(name, torch.empty_like(table, device="cpu"), persistent=False)
        if tables:
            cast(Any, module).init_non_persistent_buffers()


def build_timm_clip(sizes: TimmClipSizes) -> TimmClipImageEncoder:
    """Build an encoder with random weights."""
    config = cast(dict[str, Any], get_model_config(cast(str, sizes.model)))
    vision = config["vision_cfg"]
    options: dict[str, Any] = {} if sizes.pyramid else {"dynamic_img_size": True}
    tower = timm.create_model(
        vision["timm_model_name"],
        global_pool=vision["timm_pool"],
        num_classes=0 if vision["timm_proj"] == "none" else config["embed_dim"],
        **options,
    )
    return TimmClipImageEncoder(tower, taps=sizes.taps, input_size=sizes.input_size)


_SIGLIP_TO_OPEN_CLIP = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.trunk.patch_embed.proj."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.trunk.pos_embed"),
    (r"^vision_model\.post_layernorm\.", "visual.trunk.norm."),
    (r"^vision_model\.head\.probe$", "visual.trunk.attn_pool.latent"),
    (r"^vision_model\.head\.attention\.out_proj\.", "visual.trunk.attn_pool.proj."),
    (r"^vision_model\.head\.layernorm\.", "visual.trunk.attn_pool.norm."),
    (r"^vision_model\.head\.", "visual.trunk.attn_pool."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.layer_norm", r"visual.trunk.blocks.\1.norm"),
    (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"visual.trunk.blocks.\1.attn.proj."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.", r"visual.trunk.blocks.\1.attn.qkv."),
    (r"^vision_model\.encoder\.layers\.", "visual.trunk.blocks."),
    (r"^text_model\.head\.", "text.text_projection."),
)
_TRUNK = "visual.trunk."


def _open_clip_form(official: Mapping[str, Tensor], tower: nn.Module) -> dict[str, Tensor]:
    """The weights by open_clip's names."""
    if any(name.startswith("image_encoder.model.") for name in official):
        model = cast(Any, SimpleNamespace(visual=SimpleNamespace(trunk=tower)))
        try:
            return convert_mobile_clip_state_dict(model, dict(official))
        except KeyError as error:
            raise CheckpointError(f"these MobileCLIP weights lack {error}; fetch the file again") from None
    if "visual.conv1.weight" in official:
        image = {f"{_TRUNK}{name}": value for name, value in checkpoint_filter_fn(dict(official), tower).items()}
        text = {name: value for name, value in official.items() if not name.startswith("visual.")}
        return image | {name if name == "logit_scale" else f"text.{name}": value for name, value in text.items()}
    if any(name.startswith("vision_model.") for name in official):
        return _open_clip_form_of_siglip(official)
    return dict(official)


def _rename(name: str, value: Tensor) -> Renamed:
    if name == TOKENIZER:
        yield f"text.{TOKENIZER}", value
    elif name == "logit_scale":
        yield "text.logit_scale", value.reshape(())
    elif name.startswith(_TRUNK):
        yield from split_packed(f"image.tower.{name.removeprefix(_TRUNK)}", value, ".qkv.", ".qkv.")
    elif name != "logit_bias":
        yield from split_packed(f"text.tower.{name.removeprefix('text.')}", value)


def _open_clip_form_of_siglip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of transformers' `SiglipModel` to open_clip's names and layout.

    Queries, keys and values of the blocks stay separate; in the pooling, only the queries do.
    """
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        stem, packed, suffix = name.partition("vision_model.head.attention.in_proj_")
        if packed and not stem and value.ndim:
            queries, others = value.tensor_split([len(value) // 3])
            state |= {f"visual.trunk.attn_pool.q.{suffix}": queries, f"visual.trunk.attn_pool.kv.{suffix}": others}
        elif name.startswith("text_model.") and not name.startswith("text_model.head."):
            state[f"text.{openai_form(name, value)[0]}"] = value
        else:
            ours = renamed(name, _SIGLIP_TO_OPEN_CLIP)
            state[ours] = value[None] if ours == "visual.trunk.pos_embed" else value
    return state
