"""The published CLIP encoders that presets are built on, and the backbones that guide beside them."""

from typing import NamedTuple

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile, UnconfirmedFile
from segvoc.encoders.vit import vit_b16, vit_big_g14, vit_h14, vit_l14
from segvoc.networks.cost_aggregation_config import EvaEncoders, OpenAIEncoders


class ClipTowers(NamedTuple):
    """A pair of published image and text encoders."""

    name: str
    start: str
    """What training starts from."""
    file: PublishedFile | UnconfirmedFile
    """The file of it."""
    encoders: EvaEncoders | OpenAIEncoders


def _declip(size: str, original: str) -> str:
    return f"EVA02-CLIP-{size} of DeCLIP (github.com/xiaomoguhz/DeCLIP, which distils it from EVA-CLIP's {original})"


EVA_B = ClipTowers(
    "EVA02-CLIP-B/16", _declip("B-16", "EVA02_CLIP_B_psz16_s8B.pt"), UNCONFIRMED["declip-b"], EvaEncoders(vit=vit_b16())
)
EVA_L = ClipTowers(
    "EVA02-CLIP-L/14",
    _declip("L-14-336", "EVA02_CLIP_L_336_psz14_s6B.pt"),
    UNCONFIRMED["declip-l"],
    EvaEncoders(vit=vit_l14()),
)
OPENAI_B = ClipTowers(
    "OpenAI CLIP ViT-B/16", "OpenAI's ViT-B-16.pt", PUBLISHED["openai-clip-b"], OpenAIEncoders(vit=vit_b16())
)
OPENAI_L = ClipTowers(
    "OpenAI CLIP ViT-L/14", "OpenAI's ViT-L-14-336px.pt", PUBLISHED["openai-clip-l"], OpenAIEncoders(vit=vit_l14())
)
OPEN_CLIP_H = ClipTowers(
    "open_clip's ViT-H/14",
    "open_clip's ViT-H-14 of LAION-2B",
    UNCONFIRMED["open-clip-h"],
    OpenAIEncoders(vit=vit_h14(), activation="gelu"),
)
OPEN_CLIP_G = ClipTowers(
    "open_clip's ViT-bigG/14",
    "open_clip's ViT-bigG-14 of LAION-2B",
    UNCONFIRMED["open-clip-g"],
    OpenAIEncoders(vit=vit_big_g14(), activation="gelu", mlp_width=8192),
)

BACKBONES: dict[str, UnconfirmedFile] = {"resnet101": UNCONFIRMED["resnet101"], "swin_b": UNCONFIRMED["swin-b"]}
"""What the backbones for guidance start from."""
