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


def _siglip2(size: str, title: str, *, layers: int) -> TimmClipSizes:
    return TimmClipSizes(
        model=f"ViT-{size}-16-SigLIP2-384",
        title=f"SigLIP 2 ViT-{title}/16",
        stride=16,
        input_size=384,
        pretrained_size=384,
        taps=(layers // 3 - 1, 2 * layers // 3 - 1),
    )


def _pe_core(model: str, *, side: int, pretrained: int, layers: int) -> TimmClipSizes:
    size, patch = model.split("-")[:2]
    return TimmClipSizes(
        model=f"PE-Core-{model}",
        title=f"PE-Core-{size}/{patch}",
        stride=int(patch),
        input_size=side,
        pretrained_size=pretrained,
        taps=(layers // 3 - 1, 2 * layers // 3 - 1),
    )


def _mobileclip(model: str) -> TimmClipSizes:
    return TimmClipSizes(
        model=model,
        title=model.replace("CLIP2", "CLIP 2").replace("-", " "),
        stride=32,
        input_size=768,
        pretrained_size=256,
        taps=(2, 1),
        pyramid=True,
    )


TIMM_CLIPS: dict[TimmClipName, TimmClipSizes] = {
    "siglip2-b": _siglip2("B", "B", layers=12),
    "siglip2-l": _siglip2("L", "L", layers=24),
    "siglip2-so400m": _siglip2("SO400M", "So400m", layers=27),
    "pe-core-t": _pe_core("T-16-384", side=384, pretrained=384, layers=12),
    "pe-core-s": _pe_core("S-16-384", side=384, pretrained=384, layers=12),
    "pe-core-b": _pe_core("B-16", side=384, pretrained=224, layers=12),
    "pe-core-l": _pe_core("L-14-336", side=336, pretrained=336, layers=24),
    "mobileclip-s1": _mobileclip("MobileCLIP-S1"),
    "mobileclip-s2": _mobileclip("MobileCLIP-S2"),
    "mobileclip2-s0": _mobileclip("MobileCLIP2-S0"),
    "mobileclip2-s2": _mobileclip("MobileCLIP2-S2"),
    "dinov3-l": TimmClipSizes(
        model=None,
        title="DINOv3 ViT-L/16 with dino.txt",
        stride=16,
        input_size=384,
        pretrained_size=224,
        taps=(7, 15),
    ),
}
"""All of them."""
