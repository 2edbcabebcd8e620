"""Image encoders of CLIPs that open_clip takes from timm: SigLIP 2, PE-Core and MobileCLIP.

SigLIP 2: Tschannen et al., arXiv:2502.14786; PE-Core: Bolya et al., arXiv:2504.13181; MobileCLIP: Vasu et al.,
arXiv:2311.17049, and MobileCLIP 2: Faghri et al., arXiv:2508.20691. The architectures are timm's. Of SigLIP 2, timm's
ViT-B and ViT-L have the exact GELU where Google's code and transformers approximate it by a tanh: with random weights,
dense features differ by 3e-4 of the largest.
"""

from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from einops import rearrange
from jaxtyping import Float
from open_clip import get_model_config
from torch import Tensor, nn

from segvoc.encoders.base import ImageFeatures, normalized_pixels
from segvoc.encoders.vit import TimmClipSizes, linear_of, patch_grid, projection_weights


class SeparateProjections(nn.Module):
    """Replaces timm's `packed` queries, keys and values by layers with separate parameters; the weights are kept."""

    def __init__(self, packed: nn.Linear) -> None:
        super().__init__()
        values = zip(*(parameter.detach().chunk(3) for parameter in packed.parameters()), strict=True)
        self.q_proj, self.k_proj, self.v_proj = (linear_of(*of_layer) for of_layer in values)

    def forward(self, x: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells 3*C"]:
        """Queries, keys and values, side by side."""
        return torch.cat([layer(x) for layer in self.children()], dim=-1)


class TimmClipImageEncoder(nn.Module):
    """One dense map in the space shared with the text (not of unit norm), and taps of intermediate blocks or stages.

    The dense map is the encoder's head applied to each cell alone, as if it were the whole image: the pooling becomes
    trivial, and everything after it is kept. For SigLIP and PE-Core this is MaskCLIP's reading (Zhou et al.,
    arXiv:2112.01071) of the attention pooling. `TimmClipSizes` explains the sizes.
    """

    def __init__(self, tower: nn.Module, *, taps: Sequence[int], input_size: int) -> None:
        super().__init__()
        self.tower, self.taps, self.input_size = cast(Any, tower), tuple(taps), input_size
        stages = self.tower.feature_info
        self.stride: int = stages[-1]["reduction"]
        self.channels: int = self.tower.num_classes or self.tower.num_features
        self.tap_channels = tuple(stages[tap]["num_chs"] for tap in self.taps)
        self.prepare(tower)
        self.register_load_state_dict_post_hook(_fill_tables)

    def prepare(self, module: nn.Module) -> None:
        """Separate the projections of a third-party module and make its linear layers segvoc's, in place."""
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
        last, found = tower.forward_intermediates(pixels, indices=sorted(self.taps))
        by_place = dict(zip(sorted(self.taps), found, strict=True))
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
