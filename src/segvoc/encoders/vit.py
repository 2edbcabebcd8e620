"""Shared by the CLIP encoders: sizes by name, and attention whose q, k and v matrices are separate parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from segvoc.errors import UsageError
from segvoc.layers.maps import is_exporting
from segvoc.storage.records import check_range

PixelStatistics = Literal["clip", "imagenet"]
"""Pixel normalization by CLIP's statistics, or ImageNet's as in CLIPSeg."""

Activation = Literal["quick_gelu", "gelu"]
"""Activation of a transformer's MLPs: OpenAI's x sigmoid(1.702 x), or the exact GELU of open_clip's own models."""


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Sizes of a vision transformer.

    Raises:
        UsageError: a size isn't plausible (it may come from an untrusted file), or a tap is out of order or not before
            the last block, which only gives the dense map.
    """

    channels: int
    """Channels of the space shared with the text."""
    width: int
    """Channels of the tokens."""
    layers: int
    heads: int
    patch_size: int
    """Side of a patch [pixels]."""
    pretrained_size: int
    """Image side of the stored position table [pixels]."""
    input_size: int
    """Side of the images that the networks read [pixels]."""
    taps: tuple[int, ...]
    """Blocks, 0-based and shallow to deep, whose outputs guide the decoder."""

    def __post_init__(self) -> None:
        check_range(self, {name: (1, 256) for name in ("layers", "heads", "patch_size")})
        check_range(self, {"channels": (1, 8192), "width": (1, 8192)})
        check_range(self, {"pretrained_size": (1, 4096), "input_size": (1, 4096)})
        blocks = range(self.layers - 1)
        if list(self.taps) != sorted({*self.taps} & {*blocks}):
            raise UsageError(
                f"taps={self.taps} are not blocks of a transformer with {self.layers}; give increasing numbers from 0 "
                f"to {self.layers - 2}, since the last block gives the dense map"
            )


def vit_b16() -> VitConfig:
    """ViT-B/16 of OpenAI CLIP and of EVA02-CLIP: pre-trained at 224 px, used at 384."""
    return VitConfig(
        channels=512, width=768, layers=12, heads=12, patch_size=16, pretrained_size=224, input_size=384, taps=(3, 7)
    )


def clip_seg_b16(input_size: int = 224) -> VitConfig:
    """ViT-B/16 as tapped by CLIPSeg, at 352 px, and SynSeg, at 224: after the 4th, 7th and 10th block."""
    return replace(vit_b16(), input_size=input_size, taps=(3, 6, 9))


def vit_l14() -> VitConfig:
    """ViT-L/14 at 336 px of OpenAI CLIP and of EVA02-CLIP."""
    return VitConfig(
        channels=768, width=1024, layers=24, heads=16, patch_size=14, pretrained_size=336, input_size=336, taps=(7, 15)
    )


@dataclass(frozen=True, kw_only=True)
class TimmClipSizes:
    """Sizes of a CLIP with a timm image encoder."""

    model: str | None
    """open_clip's model name; weights of other resolutions fit too. None: not in open_clip."""
    title: str
    """Display name."""
    stride: int
    """Stride of the dense map [pixels]."""
    input_size: int
    """Side of the square images that a network reads [pixels]."""
    pretrained_size: int
    """Pre-training image side [pixels]."""
    taps: tuple[int, ...]
    """Blocks or stages, 0-based, whose outputs guide the decoder, in the order in which it uses them."""
    pyramid: bool = False
    """Whether the taps have 2 and 4 times the dense map's resolution, as in convolutional networks."""


def _vit(
    model: str | None, title: str, side: int, layers: int, *, stride: int = 16, pretrained: int | None = None
) -> TimmClipSizes:
    """A ViT, tapped after one and two thirds of its layers."""
    taps = (layers // 3 - 1, 2 * layers // 3 - 1)
    pretrained = pretrained or side
    return TimmClipSizes(
        model=model, title=title, stride=stride, input_size=side, pretrained_size=pretrained, taps=taps
    )


def _mobileclip(model: str) -> TimmClipSizes:
    title = model.replace("CLIP2", "CLIP 2").replace("-", " ")
    return TimmClipSizes(
        model=model, title=title, stride=32, input_size=768, pretrained_size=256, taps=(2, 1), pyramid=True
    )


TIMM_CLIPS: dict[str, TimmClipSizes] = {
    "siglip2-b": _vit("ViT-B-16-SigLIP2-384", "SigLIP 2 ViT-B/16", 384, 12),
    "siglip2-l": _vit("ViT-L-16-SigLIP2-384", "SigLIP 2 ViT-L/16", 384, 24),
    "siglip2-so400m": _vit("ViT-SO400M-16-SigLIP2-384", "SigLIP 2 ViT-So400m/16", 384, 27),
    "pe-core-t": _vit("PE-Core-T-16-384", "PE-Core-T/16", 384, 12),
    "pe-core-s": _vit("PE-Core-S-16-384", "PE-Core-S/16", 384, 12),
    "pe-core-b": _vit("PE-Core-B-16", "PE-Core-B/16", 384, 12, pretrained=224),
    "pe-core-l": _vit("PE-Core-L-14-336", "PE-Core-L/14", 336, 24, stride=14),
    "mobileclip-s1": _mobileclip("MobileCLIP-S1"),
    "mobileclip-s2": _mobileclip("MobileCLIP-S2"),
    "mobileclip2-s0": _mobileclip("MobileCLIP2-S0"),
    "mobileclip2-s2": _mobileclip("MobileCLIP2-S2"),
    "dinov3-l": _vit(None, "DINOv3 ViT-L/16 with dino.txt", 384, 24, pretrained=224),
}
"""All CLIPs with timm image encoders."""

if TYPE_CHECKING:
    TimmClipName = str
else:
    TimmClipName = Literal[*TIMM_CLIPS]
"""Names of CLIPs with timm image encoders."""


def patch_grid(image: Float[Tensor, "B 3 H W"], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches; H and W must be multiples of `patch_size`."""
    height, width = image.shape[-2:]
    if height % patch_size or width % patch_size:
        raise UsageError(
            f"{height}x{width} px can't be divided into patches of {patch_size} px; use a multiple of that"
        )
    return height // patch_size, width // patch_size


def positions_on_grid(table: Float[Tensor, "1 N C"], grid: tuple[int, int], pretrained: int) -> Float[Tensor, "1 L C"]:
    """Position embeddings of the CLS token and L - 1 cells, interpolated (bicubic) from a square of `pretrained` cells.

    Each axis is interpolated alone, beside channels as if they were pixels: PyTorch's GPU kernel computes all channels
    of a pixel in one thread, which takes 2 ms for so few pixels.
    """
    if grid == (pretrained, pretrained) and not is_exporting():  # an exported program takes any grid
        return table
    channels = table.shape[2]
    cells = table[0, 1:].to(torch.promote_types(table.dtype, torch.float32)).reshape(1, 1, pretrained, -1)
    cells = F.interpolate(cells, size=(grid[0], pretrained * channels), mode="bicubic")
    cells = cells.reshape(1, grid[0], pretrained, channels)
    cells = F.interpolate(cells, size=(grid[1], channels), mode="bicubic")
    return torch.cat((table[:, :1], cells.reshape(1, -1, channels).to(table.dtype)), dim=1)


class Attention(nn.Module):
    """Replaces open_clip's `nn.MultiheadAttention`, with the same arguments.

    PyTorch packs q, k and v in one parameter, but the published recipes train only some of the three. Separated, "train
    q and v" is a rule on parameter names, and the dense last block computes the values alone.
    """

    def __init__(self, packed: nn.MultiheadAttention, *, causal: bool = False) -> None:
        super().__init__()
        self.heads = packed.num_heads
        self.causal = causal
        weights = cast(Tensor, packed.in_proj_weight).detach().chunk(3)
        biases = cast(Tensor, packed.in_proj_bias).detach().chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(linear_of, weights, biases)
        self.out_proj = packed.out_proj

    def forward(
        self,
        query: Float[Tensor, "B L C"],
        key: Float[Tensor, "B S C"],
        value: Float[Tensor, "B S C"],
        need_weights: bool = False,
        attn_mask: Float[Tensor, "L S"] | None = None,
    ) -> tuple[Float[Tensor, "B L C"], None]:
        """softmax(q kᵀ / √d) v per head; None stands for the attention weights, which are never kept."""
        q, k, v = (
            rearrange(projection(x), "b l (heads d) -> b heads l d", heads=self.heads)
            for projection, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        mask = None if attn_mask is None else attn_mask.expand(len(q), 1, -1, -1)
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal)
        return self.out_proj(rearrange(mixed, "b heads l d -> b l (heads d)")), None


def separate_projections(blocks: Iterable[nn.Module], *, causal: bool = False) -> None:
    """Replace the packed attention of open_clip's transformer blocks by `Attention` with the same weights, in place."""
    for block in blocks:
        block.attn = Attention(cast(nn.MultiheadAttention, block.attn), causal=causal)


def projection_weights(tower: nn.Module, projections: str) -> tuple[str, ...]:
    """Names of the weights (not the biases) of some attention projections ("qv", "qkv", ...) in all blocks."""
    endings = tuple(f".{place}.{letter}_proj.weight" for letter in projections for place in ("attn", "qkv"))
    return tuple(name for name, _ in tower.named_parameters() if name.endswith(endings))


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with a copy of these values."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, "meta")  # no memory, no random numbers
    linear.weight = nn.Parameter(weight.clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.clone())
    return linear
