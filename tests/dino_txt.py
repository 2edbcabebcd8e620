"""The small DINOv3 with dino.txt of the goldens in tests/golden/dino_txt.*, which are outputs of Meta's own code.

Its `DINOTxt` (github.com/facebookresearch/dinov3), built with these sizes and filled by `dino_txt_parameter`, gave the
names and shapes of the weights in both files, and every `step`-th value of patch tokens, two blocks and texts.
"""

from functools import cache

import timm
import torch
from torch import Tensor

from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.clip_with_dino import DinoTxtImageEncoder
from tests.golden_rules import golden_input, golden_parameter
from tests.golden_sets import GoldenCase, compact_case

WIDTH, DEPTH, HEADS = 64, 3, 2
"""Of the image encoder; its head has as many heads."""

TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 48, 2, 2
CONTEXT, WORDS = 24, 49408
"""Tokens of the longest prompt, and of the vocabulary."""

IMAGES = 255 * golden_input("images of dino.txt", (2, 3, 64, 96)).sigmoid()
"""Two images (2 3 64 96) with pixels in [0, 255]."""

TOKENS = torch.tensor([[49406, 5, 7, 49407, *20 * [0]], [49406, *range(100, 122), 49407]])
"""Two prompts of CLIP's tokenizer."""


def dino_txt_parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of Meta's parameter: by the rule of the goldens, but for biases that are zero where published."""
    if name.endswith("bias_mask"):
        return torch.cat((torch.ones(shape[0] // 3), torch.zeros(shape[0] // 3), torch.ones(shape[0] // 3)))
    value = golden_parameter(name, shape)
    return torch.zeros(shape) if name.endswith("qkv.bias") else 20 * value if name.endswith(".gamma") else value


@cache
def dino_txt_case() -> GoldenCase:
    return compact_case("dino_txt")


@cache
def dino_txt_weights(file: str) -> dict[str, Tensor]:
    """One of the two files ("backbone", "dino_txt"); not to be changed."""
    shapes = dino_txt_case().record["files"][file]
    return {name: dino_txt_parameter(name, tuple(shape)) for name, shape in shapes.items()}


def both_dino_files() -> dict[str, Tensor]:
    """The weights of both."""
    return {**dino_txt_weights("dino_txt"), **dino_txt_weights("backbone")}


def small_dino_txt() -> tuple[DinoTxtImageEncoder, ClipTextEncoder]:
    """Encoders of these sizes."""
    sizes = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    tower = timm.create_model("vit_large_patch16_dinov3", num_classes=0, global_pool="token", **sizes)
    text = ClipTextConfig(
        channels=WIDTH,
        width=TEXT_WIDTH,
        layers=TEXT_LAYERS,
        heads=TEXT_HEADS,
        quick_gelu=False,
        fine_tuned="qv",
        context_length=CONTEXT,
        vocabulary_size=WORDS,
    )
    image = DinoTxtImageEncoder(tower, heads=HEADS, taps=(0, 1), input_size=96)
    return image.eval(), ClipTextEncoder(text).eval()
