"""Sizes of CLIPs with timm image encoders, by name."""

from dataclasses import dataclass
from typing import Literal

TimmClipName = Literal[
    "siglip2-b",
    "siglip2-l",
    "siglip2-so400m",
    "pe-core-t",
    "pe-core-s",
    "pe-core-b",
    "pe-core-l",
    "mobileclip-s1",
    "mobileclip-s2",
    "mobileclip2-s0",
    "mobileclip2-s2",
    "dinov3-l",
]
"""Names of the encoders."""


@dataclass(frozen=True, kw_only=True)
class TimmClipSizes:
    """One of these CLIPs."""

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


TIMM_CLIPS: dict[TimmClipName, TimmClipSizes] = {
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
"""All of them."""
