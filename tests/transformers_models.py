"""The small networks of the goldens of Hugging Face's transformers (`tests/golden/make_transformers.py`)."""

import re
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor

from segvoc.encoders.base import CLIP_STATISTICS, IMAGENET_STATISTICS
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, SiglipTextEncoder
from segvoc.encoders.clip_with_dino import DinoTokens
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.encoders.vit import PixelStatistics, VitConfig
from segvoc.networks.syn_seg import ConditionedDecoderConfig, Head, SynSeg, build_decoder
from tests.golden_sets import GoldenCase, compact_case, golden_input, golden_parameter

VERSIONS = ("4.57.6", "5.23.0")
"""Of transformers, whose outputs are stored."""

PHRASES = ["a glass", "something to fill", "wood", "a jar", "the shadow of a red umbrella"]
STATISTICS = {"openai": CLIP_STATISTICS, "imagenet": IMAGENET_STATISTICS, "siglip": ((0.5,) * 3, (0.5,) * 3)}
"""Mean and standard deviation of the pixels that transformers' models expect."""


def _images(side: int) -> Tensor:
    """Three images with pixels in [0, 255]."""
    return 255 * golden_input(f"images of {side}", (3, 3, side, side)).sigmoid()


CLIPSEG_IMAGES = _images(96)
"""Larger than CLIPSeg's position table: 6 x 6 cells, not 4 x 4."""

SIGLIP_TOKENS = (torch.arange(3 * 32).reshape(3, 32) * 37) % 300

CLIP_IMAGES, DINO_IMAGES = _images(64), _images(56)

PHOTOGRAPHS = [
    (255 * golden_input(f"photograph of {height} x {width}", (height, width, 3)).sigmoid()).round().byte().numpy()
    for height, width in ((90, 120), (64, 48), (420, 300))
]
"""Three images of other sizes than CLIPSeg's, in 8 bits, as a user gives them."""


@cache
def transformers_case() -> GoldenCase:
    return compact_case("transformers")


def shapes_of(kind: str, model: str) -> dict[str, torch.Size]:
    """Names and shapes of the file of a small model (of the kind "files") or one of published size ("full")."""
    grouped: dict[str, list[Any]] = transformers_case().record[kind][model]
    return {
        name.replace("*", str(number)): torch.Size(shape)
        for name, (count, shape) in grouped.items()
        for number in range(count)
    }


@cache
def weights_of(model: str) -> dict[str, Tensor]:
    """The file of a small model; not to be changed."""
    return {name: golden_parameter(name, tuple(shape)) for name, shape in shapes_of("files", model).items()}


def in_memory(weights: dict[str, Tensor], model: str) -> dict[str, Tensor]:
    """The file's weights under the names that `state_dict()` has in version 5."""
    memory = {theirs: ours for ours, theirs in transformers_case().record["memory"][model].items()}

    def named(name: str) -> str:
        numbers = re.findall(r"\.(\d+)\.", name)
        found = memory.get(re.sub(r"\.\d+\.", ".*.", name))
        return name if found is None else found.replace("*", *numbers)

    return {named(name): value for name, value in weights.items()}


SMALL: dict[str, Any] = {"channels": 64, "width": 64, "layers": 2, "heads": 2, "fine_tuned": "qv"}


def small_towers() -> tuple[OpenAIClipImageEncoder, ClipTextEncoder]:
    vit = VitConfig(
        channels=32, width=64, layers=4, heads=2, patch_size=16, pretrained_size=64, input_size=96, taps=(0, 1, 2)
    )
    text = ClipTextConfig(**SMALL | {"channels": 32}, quick_gelu=True)
    return OpenAIClipImageEncoder(vit).eval(), ClipTextEncoder(text).eval()


def small_siglip() -> tuple[TimmClipImageEncoder, SiglipTextEncoder]:
    sizes = {"embed_dim": 64, "depth": 3, "num_heads": 2, "img_size": 64, "act_layer": "gelu_tanh"}
    tower = timm.create_model("vit_base_patch16_siglip_224", num_classes=0, global_pool="map", **sizes)
    text = ClipTextConfig(**SMALL, quick_gelu=False, context_length=32, vocabulary_size=300, causal=False, siglip=True)
    return TimmClipImageEncoder(tower, taps=(0, 1), input_size=64).eval(), SiglipTextEncoder(text).eval()


def small_clipseg(head: Head, pixels: PixelStatistics = "clip") -> SynSeg:
    image_encoder, text_encoder = small_towers()
    image_encoder.pixels = pixels
    text_encoder.unit_length = False
    config = ConditionedDecoderConfig(dim=16, heads=2, hidden=24, head=head)
    return SynSeg(image_encoder, text_encoder, build_decoder(config, image_encoder)).eval()


def small_dino() -> DinoTokens:
    return DinoTokens(width=32, depth=2, heads=2, pretrained_size=56).eval()
